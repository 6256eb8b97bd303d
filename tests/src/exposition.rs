//! What a scrape says of its metrics, and what a table in a README says of them. Pure.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};

/// A metric, by what is said of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Family {
    /// `counter`, `gauge` or `histogram`.
    pub kind: String,
    /// What it is.
    pub words: String,
    /// The names of its labels, `le` left out.
    pub labels: BTreeSet<String>,
}

/// Every metric of scrapes in Prometheus' text format, by name.
pub fn families(scrapes: &[&str]) -> Result<BTreeMap<String, Family>> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    for line in scrapes.iter().flat_map(|text| text.lines()) {
        if let Some(said) = line.strip_prefix("# HELP ") {
            let (name, words) = said.split_once(' ').with_context(|| format!("no words: {line}"))?;
            words.trim_end_matches('.').clone_into(&mut families.entry(name.to_owned()).or_default().words);
        } else if let Some(said) = line.strip_prefix("# TYPE ") {
            let (name, kind) = said.split_once(' ').with_context(|| format!("no type: {line}"))?;
            kind.clone_into(&mut families.entry(name.to_owned()).or_default().kind);
        } else if !line.starts_with('#') {
            let end = line.find(['{', ' ']).with_context(|| format!("no sample: {line}"))?;
            let (name, rest) = line.split_at(end);
            let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part));
            let name = of_histogram.filter(|name| families.contains_key(*name)).unwrap_or(name);
            let family = families.get_mut(name).with_context(|| format!("nothing is said above {line}"))?;
            let labels = rest.strip_prefix('{').and_then(|rest| rest.split_once("} ")).map_or("", |(labels, _)| labels);
            // No value of ours has a comma or a quote.
            let names = labels.split(',').filter_map(|label| Some(label.split_once('=')?.0));
            family.labels.extend(names.filter(|name| *name != "le").map(str::to_owned));
        }
    }
    ensure!(!families.is_empty(), "a scrape without metrics");
    Ok(families)
}

/// What the labels of scrapes' metrics are, `le` left out: by label and its values, the metrics that have just these.
pub fn labels(scrapes: &[&str]) -> BTreeMap<(String, Vec<String>), BTreeSet<String>> {
    let mut values: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
    for line in scrapes.iter().flat_map(|text| text.lines()).filter(|line| !line.starts_with('#')) {
        let Some((name, rest)) = line.split_once('{') else { continue };
        let name = ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part)).unwrap_or(name);
        let labels = rest.split_once("} ").map_or("", |(labels, _)| labels).split(',');
        for (label, value) in labels.filter_map(|label| label.split_once('=')).filter(|(label, _)| *label != "le") {
            values.entry((label, name)).or_default().insert(value.trim_matches('"'));
        }
    }
    let mut alike: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for ((label, name), values) in values {
        let values: Vec<_> = values.into_iter().map(str::to_owned).collect();
        alike.entry((label.to_owned(), values)).or_default().insert(name.to_owned());
    }
    alike
}

/// The table of a README that says which values labels have. What is `open` is said in its own words: of a label, and of one
/// metric's if it is named.
pub fn table_of_labels(
    labels: &BTreeMap<(String, Vec<String>), BTreeSet<String>>,
    open: &[(&str, &str, &str)],
) -> String {
    let code =
        |names: &mut dyn Iterator<Item = &String>| names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let rows = labels.iter().map(|((label, values), metrics)| {
        let metrics = code(&mut metrics.iter());
        let is_meant = |(of, metric, _): &&(&str, &str, &str)| label == of && metrics.contains(metric);
        let words = open.iter().find(is_meant).map(|(_, _, words)| (*words).to_owned());
        format!("| `{label}` | {metrics} | {} |\n", words.unwrap_or_else(|| code(&mut values.iter())))
    });
    let head = "| label | of | values |\n| --- | --- | --- |\n";
    [head.to_owned()].into_iter().chain(rows).collect()
}

/// The table of a README that says all of this.
pub fn table(families: &BTreeMap<String, Family>) -> String {
    let rows = families.iter().map(|(name, Family { kind, words, labels })| {
        let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
        format!("| `{name}` | {kind} | {} | {words} |\n", labels.join(", "))
    });
    let head = "| metric | type | labels | what it is |\n| --- | --- | --- | --- |\n";
    [head.to_owned()].into_iter().chain(rows).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_says_what_two_scrapes_say_together() {
        let one = "# HELP a_total It.\n# TYPE a_total counter\na_total{x=\"1\",y=\"2\"} 3\n# EOF\n";
        let other =
            "# HELP b_seconds Time.\n# TYPE b_seconds histogram\nb_seconds_sum 0.5\nb_seconds_bucket{le=\"1\"} 1\n";
        let table = table(&families(&[one, other]).expect("they can be read"));
        assert!(
            table.ends_with("| `a_total` | counter | `x`, `y` | It |\n| `b_seconds` | histogram |  | Time |\n"),
            "{table}"
        );
        let scrape =
            "a_total{x=\"1\",y=\"2\"} 3\na_total{x=\"3\",y=\"2\"} 3\nb_sum{y=\"2\"} 1\nb_bucket{y=\"2\",le=\"1\"} 1\n";
        let table = table_of_labels(&labels(&[scrape]), &[("x", "", "any"), ("y", "c", "no")]);
        assert!(table.ends_with("| `x` | `a_total` | any |\n| `y` | `a_total`, `b` | `2` |\n"), "{table}");
        assert!(families(&["c 1\n"]).is_err(), "a sample that nothing is said of");
    }
}
