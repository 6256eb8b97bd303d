//! The dashboard: what the chart renders, and what a Prometheus that scrapes our programs answers it.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tocsin_tests::apiserver::{Container, PodTemplate};
use tocsin_tests::chart::Scraping;
use tocsin_tests::installation::Installation;
use tocsin_tests::processes::Programs;

use crate::installation::{object, rendered, with};

/// What Grafana puts into a query: longer than the test, so that what happened once is still seen.
const VARIABLES: &[(&str, &str)] = &[("$namespace", ".*"), ("$__rate_interval", "5m")];

/// The dashboard as the sidecar finds it.
fn dashboard() -> Value {
    let objects = rendered(&with(&["metrics.dashboard.enabled=true"]));
    let config_map = object(&objects, "ConfigMap", "-dashboard");
    assert_eq!(config_map["metadata"]["labels"]["grafana_dashboard"], "1");
    serde_json::from_str(config_map["data"]["tocsin.json"].as_str().expect("a text")).expect("JSON")
}

fn panels(dashboard: &Value) -> impl Iterator<Item = &Value> {
    dashboard["panels"].as_array().expect("panels").iter().filter(|panel| panel["type"] != "row")
}

/// The queries of a panel, as Prometheus is asked them.
fn queries(panel: &Value) -> Vec<String> {
    let targets = panel["targets"].as_array().expect("targets");
    let queries = targets.iter().map(|target| {
        let text = target["expr"].as_str().expect("a query").to_owned();
        VARIABLES.iter().fold(text, |text, (variable, value)| text.replace(variable, value))
    });
    queries.collect()
}

#[test]
fn every_query_of_every_panel_has_data() {
    let programs = Programs::built().expect("they can be built");
    let rules = json!({"CrashLoopBackOff": {"sustain": "0s"}});
    let installation = Installation::start_two(programs, &["node-1"], &rules).expect("it starts");
    let (aggregators, _) = installation.metrics_addresses().expect("they say where");
    let prometheus = Scraping::start(&aggregators).expect("it starts");
    prometheus.until_data("count(tocsin_sink_attempts_total == 0) > 0").expect("it is scraped before anything is told");

    let template = PodTemplate::new("api", Container::new("app", "registry.example/shop/api:1.0"));
    let api = installation.cluster.deploy("shop", "api", 1, &template, &["node-1"]);
    installation.cluster.crash_loop(&api.pods[0], 5);
    let dashboard = dashboard();
    for panel in panels(&dashboard) {
        for query in queries(panel) {
            assert!(!query.contains('$'), "{query}");
            prometheus.until_data(&query).unwrap_or_else(|error| panic!("{}: {error:#}", panel["title"]));
        }
    }
    installation.end().expect("it ends");
}

#[test]
fn panels_have_names_and_numbers_of_their_own_and_lie_beside_each_other() {
    let dashboard = dashboard();
    let all = dashboard["panels"].as_array().expect("panels");
    let numbers: BTreeSet<_> = all.iter().map(|panel| panel["id"].to_string()).collect();
    assert_eq!(numbers.len(), all.len());
    let mut taken = BTreeSet::new();
    for panel in all {
        let at = |key: &str| panel["gridPos"][key].as_u64().expect("a number");
        assert!(panel["title"].as_str().is_some_and(|title| !title.is_empty()), "{panel}");
        assert!(at("x") + at("w") <= 24, "{panel}");
        for (x, y) in (at("x")..at("x") + at("w")).flat_map(|x| (at("y")..at("y") + at("h")).map(move |y| (x, y))) {
            assert!(taken.insert((x, y)), "{} lies on another", panel["title"]);
        }
    }
}
