//! Prometheus, given what our programs show and what the chart renders for it.

use serde_json::json;
use tocsin_tests::chart::Prometheus;
use tocsin_tests::installation::Installation;
use tocsin_tests::processes::Programs;

#[test]
fn promtool_finds_nothing_to_say_against_any_metric() {
    let programs = Programs::built().expect("they can be built");
    let installation = Installation::start_two(programs, &["node-1"], &json!({})).expect("it starts");
    let (aggregators, agent) = installation.all_metrics().expect("they show metrics");
    for metrics in aggregators.iter().chain([&agent]) {
        let said = Prometheus::tool(&["check", "metrics"], &metrics.0);
        assert_eq!(said.unwrap_or_else(|error| panic!("{error}\n{}", metrics.0)), "");
    }
    installation.end().expect("it ends");
}
