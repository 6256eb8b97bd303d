//! What the chart would render, and no pod could start with, or no API server take: it is refused before.

use tocsin_tests::chart::{self, Helm};

use crate::installation::{refused, rendered, with};

#[test]
fn what_no_pod_could_start_with_fails_with_the_fix() {
    for (sets, says) in [
        (
            &["aggregator.image.repository=Tocsin/Aggregator"][..],
            "aggregator.image.repository: \"Tocsin/Aggregator\" is no repository: write it in small letters, without scheme and \
             tag, for example tocsin/aggregator",
        ),
        (
            &["nodeAgent.image.repository=registry.example:5000/tocsin/node-agent:1"],
            "nodeAgent.image.repository: \"registry.example:5000/tocsin/node-agent:1\" is no repository",
        ),
        (&["nodeAgent.image.repository="], "nodeAgent.image.repository: \"\" is no repository"),
        (&["nodeAgent.image.tag=:1"], "nodeAgent.image.tag: \":1\" is no tag: use letters, digits, _, . and -"),
        (
            &["token=", "existingSecret=Team_Hook"],
            "existingSecret: no Secret can be called \"Team_Hook\": it is one of the release's namespace, by its name alone",
        ),
        (&["tls.existingSecret=X_Y"], "tls.existingSecret: no Secret can be called \"X_Y\""),
        (&["proxy.existingSecret=other/way"], "proxy.existingSecret: no Secret can be called \"other/way\""),
        (
            &["sinks.team.type=webhook", "sinks.team.url=https://x.example", "sinks.team.existingSecret=x/y"],
            "sinks.team.existingSecret: no Secret can be called \"x/y\"",
        ),
        (
            &[
                "sinks.team.type=webhook",
                "sinks.team.existingSecret=hook",
                "sinks.team.existingSecretUrlKey=a/b",
                "sinks.team.existingSecretKey=c d",
            ],
            "sinks.team.existingSecretUrlKey: a Secret has no key \"a/b\": use letters, digits, -, _ and .",
        ),
        (&["existingSecret=x", "existingSecretKey=a:b"], "existingSecretKey: a Secret has no key \"a:b\""),
    ] {
        refused(&with(sets), &[says]);
    }
    for right in ["registry.example:5000/a/b_c.d", "a", "r/x--y"] {
        rendered(&with(&[&format!("aggregator.image.repository={right}")]));
    }
}

#[test]
fn a_quantity_of_the_wrong_form_fails_with_one_of_the_right_form() {
    for (path, wrong, example) in [
        ("nodeAgent.resources.limits.memory", "64m", "64Mi or 1Gi"),
        ("nodeAgent.resources.limits.memory", "256", "64Mi or 1Gi"),
        ("nodeAgent.resources.limits.memory", "-1", "64Mi or 1Gi"),
        ("aggregator.resources.requests.memory", "1GB", "64Mi or 1Gi"),
        ("aggregator.resources.requests.ephemeral-storage", "1gi", "64Mi or 1Gi"),
        ("aggregator.resources.requests.cpu", "50mc", "50m (0.05 of a core) or 2"),
    ] {
        let says =
            format!("{path}: expected a quantity as Kubernetes writes them, for example {example}, found {wrong}");
        // Not in the name of an object that has nothing to do with it.
        refused(&with(&[&format!("{path}={wrong}")]), &[&says, "tocsin/templates/values/check.yaml"]);
    }
    for right in ["cpu=.5", "cpu=2", "cpu=100m", "memory=134217728", "memory=1.5Gi", "memory=1e9", "hugepages-2Mi=4Mi"]
    {
        rendered(&with(&[&format!("aggregator.resources.limits.{right}")]));
    }
}

#[test]
fn a_limit_below_what_is_requested_fails_with_both() {
    for (sets, says) in [
        (
            "aggregator.resources.limits.memory=32Mi",
            "aggregator.resources.limits.memory: 32Mi is less than what is requested, 64Mi: raise it, or lower \
             aggregator.resources.requests.memory",
        ),
        (
            "resources.limits.memory=48Mi",
            "aggregator.resources.limits.memory: 48Mi is less than what is requested, 64Mi",
        ),
        (
            "nodeAgent.resources.requests.cpu=2,nodeAgent.resources.limits.cpu=500m",
            "nodeAgent.resources.limits.cpu: 500m is less than what is requested, 2: raise it",
        ),
    ] {
        refused(&with(&[sets]), &[says]);
    }
    for right in [
        "aggregator.resources.limits.memory=64Mi",
        "aggregator.resources.limits.memory=67108864,aggregator.resources.limits.cpu=.5",
    ] {
        rendered(&with(&[right]));
    }
}

#[test]
fn a_policy_without_a_port_of_the_api_server_would_open_all_and_is_refused() {
    let ports = ["--set-json", "networkPolicy.apiServerPorts=[]"].map(str::to_owned).to_vec();
    refused(&[with(&["networkPolicy.enabled=true"]), ports].concat(), &["/networkPolicy/apiServerPorts", "minItems"]);
}

#[test]
fn names_that_yaml_would_read_as_something_else_stay_texts() {
    let texts = [
        "rbac.namespaceRestriction.namespaces={no,y}",
        "nameOverride=123",
        "aggregator.priorityClassName=1",
        "tls.existingSecret=12",
        "metrics.serviceMonitor.interval=30",
    ];
    let switches = ["rbac.namespaceRestriction", "metrics.serviceMonitor", "metrics.prometheusRule"];
    let chart = chart::folder().display().to_string();
    let mut arguments = ["on", &chart, "--namespace", "no", "--set", "clusterName=c"].map(str::to_owned).to_vec();
    for text in texts {
        arguments.extend(["--set-string".to_owned(), text.to_owned()]);
    }
    for switch in switches {
        arguments.extend(["--set".to_owned(), format!("{switch}.enabled=true")]);
    }
    for helm in Helm::BOTH {
        for object in helm.template(&arguments).expect("it is rendered") {
            let namespace = &object["metadata"]["namespace"];
            assert!(namespace.is_null() || namespace.is_string(), "{object:#}");
            for label in ["app.kubernetes.io/name", "app.kubernetes.io/instance"] {
                assert!(object["metadata"]["labels"][label].is_string(), "{object:#}");
            }
            for subject in object["subjects"].as_array().into_iter().flatten() {
                assert!(subject["namespace"].is_string(), "{object:#}");
            }
            for rule in object["rules"].as_array().into_iter().flatten() {
                for name in rule["resourceNames"].as_array().into_iter().flatten() {
                    assert!(name.is_string(), "{object:#}");
                }
            }
            assert!(object["spec"]["template"]["spec"]["priorityClassName"].as_str().is_none_or(|it| it == "1"));
            assert!(!object["spec"]["endpoints"][0]["interval"].is_number());
        }
    }
}
