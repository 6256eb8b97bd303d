//! `/metrics` of real processes, and what the chart's README says of it.

use anyhow::{Context as _, Result};
use serde_json::json;
use tocsin_tests::chart;
use tocsin_tests::exposition::{families, labels, table, table_of_labels};
use tocsin_tests::installation::Installation;
use tocsin_tests::processes::Programs;

/// What labels say whose values are not the same everywhere.
const OPEN: &[(&str, &str, &str)] = &[
    ("kind", "tocsin_issues_open", "the kinds above"),
    ("sink", "", "the names of your sinks; `stdout` where there are none"),
    ("version", "", "that of the program"),
    (
        "watch",
        "",
        "`agent_pods`, `nodes`, `unscheduled_pods`; without agents `nodes`, `pods`; restricted to namespaces `pods`",
    ),
];

/// Two aggregators show all that there is: one that leads, and one that stands by.
#[test]
fn the_readme_has_a_row_for_every_metric_and_no_other() -> Result<()> {
    let installation = Installation::start_two(Programs::built()?, &["node-1"], &json!({}))?;
    let (aggregators, agent) = installation.all_metrics()?;
    let aggregators: Vec<_> = aggregators.iter().map(|metrics| &*metrics.0).collect();
    let readme = std::fs::read_to_string(chart::folder().join("README.md"))?;
    for (name, scrapes) in [("metrics-aggregator", &aggregators[..]), ("metrics-agent", &[&agent.0])] {
        let of_labels = name.replace("metrics", "labels");
        let tables = [(name, table(&families(scrapes)?)), (&of_labels, table_of_labels(&labels(scrapes), OPEN))];
        for (name, table) in tables {
            let (_, rest) = readme.split_once(&format!("<!-- {name} -->\n")).context("it has the table")?;
            let (there, _) = rest.split_once(&format!("<!-- /{name} -->\n")).context("the table ends")?;
            assert!(there == table, "the table {name} is not what is shown, which is\n{table}");
        }
        for scrape in scrapes {
            assert!(scrape.ends_with("# EOF\n"), "{scrape}");
        }
    }
    installation.end()
}
