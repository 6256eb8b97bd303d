//! The alerts of the PrometheusRule: each fires when it is to, and only then, and says what to do.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tempfile::TempDir;
use tocsin_tests::chart::{self, Prometheus};

use crate::installation::{object, rendered, with, with_file};

/// What one alert is tried with: series and their values, one a minute.
struct Case {
    alert: &'static str,
    /// After 20 minutes of these it fires…
    fires: &'static [(&'static str, &'static str)],
    /// …with these labels beside its severity…
    labels: &'static [(&'static str, &'static str)],
    /// …and, where it says one, with this value.
    value: &'static str,
    /// After 20 minutes of these it does not.
    quiet: &'static [(&'static str, &'static str)],
}

/// What the figures of this installation are labelled with: by the operator, and by who scrapes without one.
const OURS: [&str; 2] = ["namespace=\"tocsin\"", "kubernetes_namespace=\"tocsin\""];
/// In each case: another installation, of which nothing is known to these alerts.
const ELSEWHERE: &str = "namespace=\"elsewhere\"";

const CASES: &[Case] = &[
    Case {
        alert: "TocsinAgentSilent",
        fires: &[("tocsin_agents_silent{pod=\"a\"}", "0x4 2x16")],
        labels: &[],
        value: "2",
        quiet: &[("tocsin_agents_silent{pod=\"a\"}", "2x12 0 2x6")],
    },
    Case {
        alert: "TocsinNodesUncovered",
        fires: &[("tocsin_agents_uncovered{pod=\"a\"}", "0x4 3x16"), ("tocsin_agents_uncovered{pod=\"b\"}", "0x20")],
        labels: &[],
        value: "3",
        quiet: &[("tocsin_agents_uncovered{pod=\"a\"}", "3x12 0 3x6")],
    },
    Case {
        alert: "TocsinLeaderless",
        fires: &[("tocsin_leader{pod=\"a\"}", "1x10 0x10"), ("tocsin_leader{pod=\"b\"}", "0x20")],
        labels: &[],
        value: "",
        quiet: &[("tocsin_leader{pod=\"a\"}", "1x10 0x10"), ("tocsin_leader{pod=\"b\"}", "0x11 1x9")],
    },
    Case {
        alert: "TocsinLeaderless",
        fires: &[("up{pod=\"a\"}", "0x20")],
        labels: &[],
        value: "",
        quiet: &[("tocsin_leader{pod=\"a\"}", "1x20")],
    },
    Case {
        alert: "TocsinQueueFilling",
        fires: &[("tocsin_sink_queued{pod=\"a\",sink=\"team\"}", "0x3 1x17")],
        labels: &[("sink", "team")],
        value: "1",
        quiet: &[("tocsin_sink_queued{pod=\"a\",sink=\"team\"}", "9x10 0 9x9")],
    },
    Case {
        alert: "TocsinSendingFails",
        fires: &[("tocsin_sink_health{pod=\"a\",sink=\"team\",health=\"failing\"}", "0x13 1x7")],
        labels: &[("sink", "team")],
        value: "",
        quiet: &[
            ("tocsin_sink_health{pod=\"a\",sink=\"team\",health=\"failing\"}", "0x16 1x4"),
            ("tocsin_sink_health{pod=\"a\",sink=\"team\",health=\"unauthorized\"}", "1x20"),
        ],
    },
    Case {
        alert: "TocsinTokenRejected",
        fires: &[("tocsin_sink_health{pod=\"a\",sink=\"team\",health=\"unauthorized\"}", "0x16 1x4")],
        labels: &[("sink", "team")],
        value: "",
        quiet: &[
            ("tocsin_sink_health{pod=\"a\",sink=\"team\",health=\"unauthorized\"}", "1x10 0x10"),
            ("tocsin_sink_health{pod=\"a\",sink=\"team\",health=\"failing\"}", "1x20"),
        ],
    },
    Case {
        alert: "TocsinShedding",
        fires: &[("tocsin_findings{pod=\"a\",decision=\"shed\",state=\"final\"}", "0x15 3x5")],
        labels: &[],
        value: "",
        quiet: &[
            ("tocsin_findings{pod=\"a\",decision=\"shed\",state=\"final\"}", "3x20"),
            ("tocsin_findings{pod=\"a\",decision=\"told\",state=\"final\"}", "0+3x20"),
        ],
    },
    Case {
        alert: "TocsinShedding",
        fires: &[("tocsin_findings_without_room{pod=\"a\",observer=\"agents\"}", "0x15 3x5")],
        labels: &[],
        value: "",
        quiet: &[("tocsin_findings_without_room{pod=\"a\",observer=\"agents\"}", "9x15 0x5")],
    },
    Case {
        alert: "TocsinWatchStale",
        fires: &[("tocsin_watch_silent_seconds{pod=\"a\",watch=\"nodes\"}", "0+60x20")],
        labels: &[("watch", "nodes")],
        value: "",
        quiet: &[("tocsin_watch_silent_seconds{pod=\"a\",watch=\"nodes\"}", "0+60x10 60x9")],
    },
    Case {
        alert: "TocsinConfigRejected",
        fires: &[("tocsin_config_in_force{pod=\"a\"}", "1x20"), ("tocsin_config_in_force{pod=\"b\"}", "1x15 0x5")],
        labels: &[],
        value: "",
        quiet: &[("tocsin_config_in_force{pod=\"a\"}", "0x15 1x5"), ("tocsin_config_in_force{pod=\"b\"}", "1x20")],
    },
];

/// The rule as it is rendered with these arguments.
fn rule(arguments: &[String]) -> Value {
    object(&rendered(arguments), "PrometheusRule", "-aggregator").clone()
}

/// The alerts that are ours.
fn alerts(rule: &Value) -> Vec<Value> {
    rule["spec"]["groups"][0]["rules"].as_array().expect("rules").clone()
}

fn ours() -> Value {
    rule(&with(&["metrics.prometheusRule.enabled=true"]))
}

#[test]
fn every_alert_fires_when_it_is_to_and_only_then() {
    let rule = ours();
    let alerts = alerts(&rule);
    let tests: Vec<_> = CASES
        .iter()
        .flat_map(|case| {
            let alert = alerts.iter().find(|alert| alert["alert"] == case.alert).expect("there is such an alert");
            OURS.into_iter()
                .flat_map(|ours| [test(case, ours, case.fires, Some(alert)), test(case, ours, case.quiet, None)])
        })
        .collect();
    let folder = TempDir::new().expect("a folder can be made");
    let write = |name: &str, content: &Value| {
        std::fs::write(folder.path().join(name), content.to_string()).expect("it can be written");
        folder.path().join(name).display().to_string()
    };
    // JSON is YAML, too.
    let rules = write("rules.yaml", &rule["spec"]);
    let tests = write("tests.yaml", &json!({"rule_files": [rules], "evaluation_interval": "1m", "tests": tests}));
    Prometheus::tool(&["test", "rules", &tests], "").unwrap_or_else(|said| panic!("{said}"));

    let tried: BTreeSet<_> = CASES.iter().map(|case| json!(case.alert).to_string()).collect();
    let there: BTreeSet<_> = alerts.iter().map(|alert| alert["alert"].to_string()).collect();
    assert_eq!(tried, there, "each alert has a case");
}

/// As `promtool test rules` takes it: `alert` is what fires.
fn test(case: &Case, ours: &str, series: &[(&str, &str)], alert: Option<&Value>) -> Value {
    let of = |namespace: &str, (series, values): &(&str, &str)| json!({"series": series.replacen('{', &format!("{{{namespace},"), 1), "values": values});
    let own = series.iter().map(|series| of(ours, series));
    // There everything is the other way round.
    let other = if alert.is_some() { case.quiet } else { case.fires };
    let series: Vec<_> = own.chain(other.iter().map(|series| of(ELSEWHERE, series))).collect();
    let expected = alert.map(|alert| {
        let mut labels = alert["labels"].clone();
        let mut annotations = alert["annotations"].to_string();
        for (name, value) in case.labels {
            labels[*name] = json!(value);
            annotations = annotations.replace(&format!("{{{{ $labels.{name} }}}}"), value);
        }
        let annotations: Value =
            serde_json::from_str(&annotations.replace("{{ $value }}", case.value)).expect("still JSON");
        json!({"exp_labels": labels, "exp_annotations": annotations})
    });
    json!({
        "interval": "1m",
        "input_series": series,
        "alert_rule_test": [
            {"eval_time": "20m", "alertname": case.alert, "exp_alerts": expected.into_iter().collect::<Vec<_>>()},
        ],
    })
}

#[test]
fn every_alert_says_what_is_wrong_and_links_to_its_heading_of_the_runbook() {
    let runbook = std::fs::read_to_string(chart::folder().join("runbook.md")).expect("it is there");
    let headings: BTreeSet<_> = runbook.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let alerts = alerts(&ours());
    let names: BTreeSet<_> = alerts.iter().filter_map(|alert| alert["alert"].as_str()).collect();
    assert_eq!(names, headings);
    for alert in &alerts {
        let said = |name: &str| alert["annotations"][name].as_str().unwrap_or_default().to_owned();
        assert!(said("summary").ends_with('.') && said("description").ends_with('.'), "{alert}");
        let anchor = alert["alert"].as_str().expect("a name").to_lowercase();
        assert_eq!(said("runbook_url"), format!("charts/tocsin/runbook.md#{anchor}"));
        assert!(["warning", "critical"].map(Value::from).contains(&alert["labels"]["severity"]), "{alert}");
    }
}

#[test]
fn labels_further_rules_and_the_address_of_the_runbook_are_the_users() {
    let rule = rule(&with_file(&chart::folder().join("ci/monitoring-values.yaml")));
    assert_eq!(rule["metadata"]["labels"]["release"], "prometheus");
    assert_eq!(rule["spec"]["groups"][1]["rules"][0]["alert"], "TocsinTellsMuch");
    let link = &alerts(&rule)[0]["annotations"]["runbook_url"];
    assert_eq!(link, "https://wiki.example.com/tocsin#tocsinagentsilent");
    let folder = TempDir::new().expect("a folder can be made");
    let rules = folder.path().join("rules.yaml");
    std::fs::write(&rules, rule["spec"].to_string()).expect("it can be written");
    Prometheus::tool(&["check", "rules", &rules.display().to_string()], "").unwrap_or_else(|said| panic!("{said}"));
}
