//! `_defaults.tpl`, and the tables of the README.

use anyhow::{Context as _, Result};
use rules::time::write_span;
use rules::{Kind, Nature, Severity};
use serde_json::Value;

use super::aliases::Aliases;
use super::values::Entry;

/// The defaults by path, for templates: a file of values is nothing that they can read.
pub(super) fn defaults(entries: &[Entry]) -> String {
    let lines =
        entries.iter().filter(|entry| !entry.is_block()).map(|entry| format!("{}: {}\n", entry.path, entry.default));
    let lines: String = lines.collect();
    let kinds = Kind::all().map(|kind| format!("- {}\n", kind.name())).collect::<Vec<_>>().concat();
    format!(
        "{{{{/* The default of each value by its path: made from values.yaml by `make chart-docs`. */}}}}\n\
         {{{{- define \"tocsin.defaults\" -}}}}\n{lines}{{{{- end -}}}}\n\n\
         {{{{/* Every kind of issue. */}}}}\n\
         {{{{- define \"tocsin.kinds\" -}}}}\n{kinds}{{{{- end -}}}}\n"
    )
}

/// The README's tables by name.
pub(super) fn tables(entries: &[Entry], aliases: &Aliases) -> Vec<(&'static str, String)> {
    let values = entries
        .iter()
        .filter(|entry| !entry.is_block())
        .map(|entry| vec![format!("`{}`", entry.path), format!("`{}`", shown(&entry.default)), entry.words.clone()]);
    let names = aliases.names.iter().map(|(alias, names)| {
        let unless = match alias.as_str() {
            "image.repository" => {
                format!(
                    ", unless it is another product's image: {} in any registry",
                    code(&aliases.images).join(" or ")
                )
            }
            "image.tag" => ", unless `image.repository` is another product's".to_owned(),
            _ => String::new(),
        };
        vec![format!("`{alias}`"), code(names).join(", ") + &unless]
    });
    let without_effect = aliases.without_effect.iter().map(|(path, why)| vec![format!("`{path}`"), why.clone()]);
    let kinds = Kind::all().map(|kind| {
        let row = kind.row();
        let thresholds: Vec<_> = row.thresholds.iter().map(|(name, value)| format!("`{name}` {value}")).collect();
        vec![
            row.name.to_owned(),
            severity(row.severity).to_owned(),
            if row.nature == Nature::Level { write_span(row.sustain) } else { String::new() },
            write_span(row.hold),
            thresholds.join(", "),
        ]
    });
    vec![
        ("values", table(&["value", "default", "what it is"], values)),
        ("aliases", table(&["name", "read as"], names)),
        ("without-effect", table(&["value", "why"], without_effect)),
        ("rules", table(&["kind", "severity", "sustain", "hold", "thresholds"], kinds)),
    ]
}

/// The README with each table between its markers, `<!-- name -->` and `<!-- /name -->`.
pub(super) fn fill(readme: &str, tables: &[(&str, String)]) -> Result<String> {
    let mut readme = readme.to_owned();
    for (name, table) in tables {
        let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
        let marked = readme.split_once(&begin).and_then(|(before, rest)| Some((before, rest.split_once(&end)?.1)));
        let (before, after) = marked.with_context(|| format!("README.md has no {} … {end}", begin.trim()))?;
        readme = format!("{before}{begin}{table}{end}{after}");
    }
    Ok(readme)
}

fn table(heads: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let heads: Vec<_> = heads.iter().map(|head| (*head).to_owned()).collect();
    let rule = vec!["---".to_owned(); heads.len()];
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | ").replace('\n', " "));
    [heads, rule].into_iter().chain(rows).map(line).collect::<Vec<_>>().concat()
}

fn code(names: &[String]) -> Vec<String> {
    names.iter().map(|name| format!("`{name}`")).collect()
}

fn shown(default: &Value) -> String {
    match default {
        Value::String(text) if !text.is_empty() => text.clone(),
        other => other.to_string(),
    }
}

fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Critical => "critical",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_stands_between_its_markers_and_nothing_else_changes() {
        let readme = "# It\n<!-- a -->\nold\n<!-- /a -->\nend\n";
        let filled = fill(readme, &[("a", "| new |\n".to_owned())]).expect("it has the markers");
        assert_eq!(filled, "# It\n<!-- a -->\n| new |\n<!-- /a -->\nend\n");
        assert_eq!(fill(&filled, &[("a", "| new |\n".to_owned())]).expect("again"), filled);
        let error = fill(readme, &[("b", String::new())]).expect_err("no such markers");
        assert_eq!(error.to_string(), "README.md has no <!-- b --> … <!-- /b -->");
    }
}
