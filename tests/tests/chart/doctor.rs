//! `helm test`: the aggregator's own pod, which looks and ends.

use serde_json::{Value, json};
use tocsin_tests::chart;

use crate::installation::{matrix, notes, object, rendered, with, with_file};
use crate::program::said_of;

/// What is left of a pod without what only one that serves has.
fn of_one_that_ends(pod: &Value) -> Value {
    let mut pod = pod.clone();
    for only in ["ports", "livenessProbe", "readinessProbe"] {
        pod["containers"][0].as_object_mut().expect("a container").remove(only);
    }
    pod
}

#[test]
fn it_is_the_aggregators_pod_with_another_task_in_every_matrix_entry() {
    for values in matrix() {
        let objects = rendered(&with_file(&values));
        let test = object(&objects, "Pod", "-doctor");
        let annotations = &test["metadata"]["annotations"];
        assert_eq!(annotations["helm.sh/hook"], "test");
        assert_eq!(annotations["helm.sh/hook-delete-policy"], "before-hook-creation,hook-succeeded");
        let mut expected = of_one_that_ends(&object(&objects, "Deployment", "-aggregator")["spec"]["template"]["spec"]);
        expected["restartPolicy"] = json!("Never");
        expected["containers"][0]["name"] = json!("doctor");
        let args = expected["containers"][0]["args"].as_array_mut().expect("arguments");
        args.insert(0, json!("doctor"));
        for volume in expected["volumes"].as_array_mut().expect("volumes") {
            if volume["name"].as_str().is_some_and(|name| name == "proxy" || name.starts_with("token-")) {
                volume["secret"]["optional"] = json!(true);
            }
        }
        let of_component = |spec: &Value| {
            let mut spec = spec.clone();
            // Which pods are kept apart follows from whose they are.
            spec.as_object_mut().expect("a pod").remove("topologySpreadConstraints");
            spec
        };
        assert_eq!(of_component(&test["spec"]), of_component(&expected), "{}", values.display());
    }
}

#[test]
fn no_service_budget_or_monitor_takes_it_for_an_aggregator_and_nobody_is_told_when_it_fails() {
    let objects = rendered(&with_file(&chart::folder().join("ci/monitoring-values.yaml")));
    let labels = &object(&objects, "Pod", "-doctor")["metadata"]["labels"];
    let selectors = objects.iter().filter(|object| object["kind"] != "NetworkPolicy").filter_map(|object| {
        let selector = &object["spec"]["selector"];
        let selector = if selector["matchLabels"].is_object() { &selector["matchLabels"] } else { selector };
        Some((&object["kind"], selector.as_object()?))
    });
    let mut seen = 0;
    for (kind, selector) in selectors.filter(|(_, selector)| selector.contains_key("app.kubernetes.io/component")) {
        seen += 1;
        assert!(selector.iter().any(|(label, value)| labels[label] != *value), "{kind} selects it");
    }
    assert!(seen >= 5, "{seen} selectors were found");
    assert_eq!(object(&objects, "Pod", "-doctor")["metadata"]["annotations"]["tocsin.dev/ignore"], "all");
}

#[test]
fn network_policies_let_it_look_at_what_the_aggregator_looks_at_and_at_the_leaders_figures() {
    let objects = rendered(&with_file(&chart::folder().join("ci/network-policy-values.yaml")));
    let [aggregator, doctor] =
        ["-aggregator", "-doctor"].map(|name| object(&objects, "NetworkPolicy", name)["spec"].clone());
    let labels = &object(&objects, "Pod", "-doctor")["metadata"]["labels"];
    for (label, value) in doctor["podSelector"]["matchLabels"].as_object().expect("labels") {
        assert_eq!(labels[label], *value);
    }
    let mut egress = aggregator["egress"].as_array().expect("rules").clone();
    let metrics = json!([{"port": "metrics", "protocol": "TCP"}]);
    egress.push(json!({"to": [{"podSelector": aggregator["podSelector"]}], "ports": metrics}));
    assert_eq!(doctor["egress"].as_array().expect("rules"), &egress);
    let lets_in = json!({"from": [{"podSelector": doctor["podSelector"]}], "ports": metrics});
    assert!(aggregator["ingress"].as_array().expect("rules").contains(&lets_in), "{aggregator}");
    assert_eq!(doctor["ingress"], json!([]));
}

#[test]
fn the_program_knows_its_arguments_and_names_a_token_that_is_not_there() {
    let values = ["ingest.url=https://127.0.0.1:1/in", "existingSecret=absent", "aggregator.extraArgs={--patience=0s}"];
    // Nobody is there to be asked, but that is what it says, and not that it was called wrongly.
    let said = said_of("Pod", "-doctor", &with(&values));
    assert!(said.contains("FAILED   API server"), "{said}");
    assert!(said.contains("ok       configuration"), "{said}");
    assert!(said.contains("FAILED   files "), "{said}");
    assert!(said.contains("cannot be read: No such file") && said.contains("FAILED   sink ingest"), "{said}");
}

#[test]
fn the_notes_say_how_it_is_run() {
    let notes = notes(&with(&[]));
    assert!(notes.contains("helm test tocsin --namespace tocsin"), "{notes}");
    assert!(notes.contains("kubectl -n tocsin logs tocsin-doctor"), "{notes}");
}
