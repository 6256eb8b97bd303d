//! `/metrics` of real processes, and what the chart's README says of it.

use anyhow::{Context as _, Result};
use serde_json::json;
use tocsin_tests::chart;
use tocsin_tests::exposition::{families, table};
use tocsin_tests::installation::Installation;
use tocsin_tests::processes::Programs;

/// Two aggregators show all that there is: one that leads, and one that stands by.
#[test]
fn the_readme_has_a_row_for_every_metric_and_no_other() -> Result<()> {
    let installation = Installation::start_two(Programs::built()?, &["node-1"], &json!({}))?;
    let (aggregators, agent) = installation.all_metrics()?;
    let aggregators: Vec<_> = aggregators.iter().map(|metrics| &*metrics.0).collect();
    let readme = std::fs::read_to_string(chart::folder().join("README.md"))?;
    for (name, scrapes) in [("metrics-aggregator", &aggregators[..]), ("metrics-agent", &[&agent.0])] {
        let (_, rest) = readme.split_once(&format!("<!-- {name} -->\n")).context("it has the table")?;
        let (there, _) = rest.split_once(&format!("<!-- /{name} -->\n")).context("the table ends")?;
        let table = table(&families(scrapes)?);
        assert!(there == table, "the table {name} is not what is shown, which is\n{table}");
        for scrape in scrapes {
            assert!(scrape.ends_with("# EOF\n"), "{scrape}");
        }
    }
    installation.end()
}
