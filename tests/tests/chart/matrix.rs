//! What is asked of every installation.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tocsin_tests::chart::{self, Helm};

use crate::installation::{matrix, object, of_kinds, rendered, with, with_file};

/// The oldest and the newest Kubernetes.
const MINORS: std::ops::RangeInclusive<u32> = 24..=36;

/// What may be rendered: every one of these has been there in this version since before Kubernetes 1.24, and still is.
const APIS: &[(&str, &str)] = &[
    ("apps/v1", "DaemonSet"),
    ("apps/v1", "Deployment"),
    ("monitoring.coreos.com/v1", "PodMonitor"),
    ("monitoring.coreos.com/v1", "PrometheusRule"),
    ("monitoring.coreos.com/v1", "ServiceMonitor"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
    ("policy/v1", "PodDisruptionBudget"),
    ("rbac.authorization.k8s.io/v1", "ClusterRole"),
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"),
    ("rbac.authorization.k8s.io/v1", "Role"),
    ("rbac.authorization.k8s.io/v1", "RoleBinding"),
    ("v1", "ConfigMap"),
    ("v1", "Pod"),
    ("v1", "Secret"),
    ("v1", "Service"),
    ("v1", "ServiceAccount"),
];

#[test]
fn what_is_made_from_the_values_is_up_to_date() {
    for (path, text) in chart::generated().expect("it is made") {
        let there = std::fs::read_to_string(&path).expect("it is there");
        assert!(there == text, "{} is not up to date: run `make chart-docs`", path.display());
    }
}

#[test]
fn the_chart_has_the_version_of_the_programs() {
    let text = std::fs::read_to_string(chart::folder().join("Chart.yaml")).expect("it is there");
    let chart = chart::yaml(&text).expect("it is YAML");
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
    assert_eq!(chart["kubeVersion"], ">=1.24.0-0");
}

#[test]
fn every_matrix_entry_passes_both_lints() {
    for values in matrix() {
        let (folder, values) = (chart::folder().display().to_string(), values.display().to_string());
        for helm in Helm::BOTH {
            helm.run(&["lint", "--strict", &folder, "--values", &values])
                .unwrap_or_else(|error| panic!("{helm:?} {values}: {error:#}"));
        }
    }
}

#[test]
fn every_kubernetes_gets_the_same_and_both_helms_render_it() {
    for values in matrix() {
        let arguments = with_file(&values);
        let expected = rendered(&arguments);
        let of_version = |helm: Helm, minor: u32| {
            let version = format!("1.{minor}.0");
            helm.template(&[&arguments[..], &["--kube-version".to_owned(), version]].concat())
                .unwrap_or_else(|error| panic!("{helm:?} 1.{minor} {}: {error:#}", values.display()))
        };
        let of = |minor: u32| without_what_is_newer(expected.clone(), minor);
        for minor in MINORS {
            assert_eq!(of_version(Helm::Four, minor), of(minor), "{} on 1.{minor}", values.display());
        }
        let sorted = |mut objects: Vec<Value>| {
            objects.sort_by_key(ToString::to_string);
            objects
        };
        for minor in [*MINORS.start(), *MINORS.end()] {
            assert_eq!(sorted(of_version(Helm::Three, minor)), sorted(of(minor)), "{}", values.display());
        }
    }
}

/// The one field that some Kubernetes of the range does not know (KEP-3017, beta in 1.27).
fn without_what_is_newer(mut objects: Vec<Value>, minor: u32) -> Vec<Value> {
    for object in objects.iter_mut().filter(|object| minor < 27 && object["kind"] == "PodDisruptionBudget") {
        let spec = object["spec"].as_object_mut().expect("a budget has one");
        assert_eq!(spec.remove("unhealthyPodEvictionPolicy"), Some("AlwaysAllow".into()));
    }
    objects
}

#[test]
fn a_kubernetes_that_is_too_old_is_refused() {
    let arguments = [with(&[]), vec!["--kube-version".to_owned(), "1.23.17".to_owned()]].concat();
    crate::installation::refused(&arguments, &["kubeVersion: >=1.24.0-0", "1.23.17"]);
}

#[test]
fn the_readme_says_for_which_kubernetes_it_is_rendered_and_on_which_it_is_tested() {
    let readme = std::fs::read_to_string(chart::folder().join("README.md")).expect("it is there");
    let pins = std::fs::read_to_string(chart::folder().join("../../tests/cluster/versions.env")).expect("it is there");
    let (oldest, newest) = (MINORS.start(), MINORS.end());
    let says = format!("is tested on Kubernetes 1.{newest} and rendered for 1.{oldest} to 1.{newest}.");
    assert!(readme.contains(&says), "it does not say: {says}");
    assert!(pins.contains(&format!("\nKUBERNETES_VERSION=1.{newest}.")), "{pins}");
}

#[test]
fn the_readme_says_of_each_size_what_its_values_ask_for() {
    let read = |file: &str| std::fs::read_to_string(chart::folder().join(file)).expect("it is there");
    let readme = read("README.md");
    let resources =
        |component: &str, file: &str| chart::yaml(&read(file)).expect("YAML")[component]["resources"].clone();
    let of =
        |resources: &Value, path: &str| resources.pointer(path).and_then(Value::as_str).expect("it is said").to_owned();
    let sizes = [
        ("`-f charts/tocsin/values-small.yaml`", "values-small.yaml"),
        ("the defaults", "values.yaml"),
        ("`-f charts/tocsin/values-large.yaml`", "values-large.yaml"),
    ];
    let says = sizes.map(|(shown, file)| {
        let aggregator = resources("aggregator", file);
        let [cpu, memory, limit] =
            ["/requests/cpu", "/requests/memory", "/limits/memory"].map(|path| of(&aggregator, path));
        format!("| {shown} | {cpu}, {memory} | {limit} |")
    });
    let (agent, large) = (resources("nodeAgent", "values.yaml"), resources("nodeAgent", "values-large.yaml"));
    let [cpu, memory, limit] = ["/requests/cpu", "/requests/memory", "/limits/memory"].map(|path| of(&agent, path));
    let large = of(&large, "/limits/memory");
    let agents =
        format!("An agent asks for {cpu} and {memory}, and has {limit} as its limit ({large} in `values-large.yaml`)");
    for says in says.iter().chain([&agents]) {
        assert!(readme.contains(says), "it does not say: {says}");
    }
}

#[test]
fn the_readme_has_a_row_for_every_value_of_a_sink_and_of_a_rule() {
    let (folder, entries) = (chart::folder(), chart::entries().expect("they are there"));
    let readme = std::fs::read_to_string(folder.join("README.md")).expect("it is there");
    let rows_of = |of: &str| -> BTreeSet<String> {
        let begin = format!("| `{of}.");
        let rows = readme.lines().filter_map(|line| line.strip_prefix(&begin)?.split_once('`'));
        rows.map(|(key, _)| key.to_owned()).collect()
    };
    let properties = |schema: &Value| -> BTreeSet<String> {
        schema["properties"].as_object().expect("properties").keys().cloned().collect()
    };
    let schema = |path: &str| {
        let entry = entries.iter().find(|entry| entry.path == path).expect("there is such a value");
        entry.schema.clone().expect("it says what it may be")
    };
    assert_eq!(rows_of("sinks.<name>"), properties(&schema("sinks")["additionalProperties"]));
    let rule = properties(&schema("rules")["properties"]["AgentSilent"]);
    let thresholds = ["intervals", "youngSeconds"].map(str::to_owned).into();
    let named = ["<threshold>".to_owned()].into();
    assert_eq!(rows_of("rules.<kind>"), &(&rule - &thresholds) | &named);
    for (threshold, _) in rules::Kind::all().flat_map(|kind| kind.row().thresholds) {
        assert!(readme.contains(&format!("\n- `{threshold}`: ")), "{threshold} is explained nowhere");
    }
}

/// The README's table shows a value without what is around it in `values.yaml`.
#[test]
fn no_row_of_the_values_needs_the_words_above_it() {
    let vague = [
        "Its ",
        "Their ",
        "Beside ",
        "Between ",
        "Default",
        "As ",
        "For ",
        "Without ",
        "Whether there is one",
        "How many.",
    ];
    for entry in chart::entries().expect("they are there").iter().filter(|entry| !entry.is_block()) {
        let begins = vague.iter().find(|words| entry.words.starts_with(**words));
        assert_eq!(begins, None, "{}: {}", entry.path, entry.words);
    }
}

#[test]
fn only_apis_that_every_kubernetes_has_are_used() {
    for values in matrix() {
        for object in rendered(&with_file(&values)) {
            let api = (object["apiVersion"].as_str().unwrap_or_default(), object["kind"].as_str().unwrap_or_default());
            assert!(APIS.contains(&api), "{}: {api:?}", values.display());
        }
    }
}

#[test]
fn every_object_has_its_labels_and_no_two_the_same_name() {
    for values in matrix() {
        let mut seen = BTreeSet::new();
        for object in rendered(&with_file(&values)) {
            let metadata = &object["metadata"];
            let name = (object["kind"].to_string(), metadata["namespace"].to_string(), metadata["name"].to_string());
            assert!(seen.insert(name), "twice: {metadata}");
            // extraManifests are the user's.
            if metadata["name"].as_str().is_some_and(|name| name.ends_with("more")) {
                continue;
            }
            for label in ["app.kubernetes.io/name", "app.kubernetes.io/instance", "helm.sh/chart"] {
                assert!(metadata["labels"][label].is_string(), "{}: no {label} on {metadata}", values.display());
            }
        }
    }
}

#[test]
fn a_long_release_name_still_makes_names_that_fit() {
    let chart = chart::folder().display().to_string();
    let name = "a-release-whose-name-is-as-long-as-helm-allows-them-1";
    let arguments = [name, &chart, "--namespace", "tocsin", "--set", "clusterName=x"].map(str::to_owned);
    for object in rendered(&arguments) {
        let name = object["metadata"]["name"].as_str().expect("a name");
        assert!(name.len() <= 63 && !name.contains("--"), "{name}");
    }
}

#[test]
fn what_the_aggregator_writes_is_rendered_without_data() {
    for values in matrix() {
        let objects = rendered(&with_file(&values));
        let ours =
            of_kinds(&objects, &["ConfigMap", "Secret"]).filter(|object| object["metadata"].get("labels").is_some());
        for state in ours {
            let name = state["metadata"]["name"].as_str().expect("a name");
            let is_state = ["-serving", "-trust", "-told-"].iter().any(|part| name.contains(part));
            assert_eq!(state.get("data").is_none() && state.get("stringData").is_none(), is_state, "{name}");
        }
        let text = serde_json::to_string(&objects).expect("JSON");
        assert!(!text.contains("PRIVATE KEY"), "{}", values.display());
    }
}

/// What is asked for often is in the configuration that the aggregator follows, and in a Secret that is mounted anyway.
#[test]
fn a_changed_rule_sink_scope_or_token_rolls_no_pod() {
    let before = templates(&with(&[]));
    for set in [
        "rules.ImagePull.sustain=3m",
        "sinks.team.type=webhook,sinks.team.url=https://x.example,sinks.team.token=t",
        "token=t,ingest.url=https://x.example",
        "caBundle=-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----",
        "watchNamespaces={a}",
        "systemNamespaces=all",
        "clusterName=other",
        "proxy.https=http://proxy.example:3128,proxy.noProxy=internal.example",
        "extraLabels.region=x",
        "reporting.heartbeat=1m",
        "networkPolicy.enabled=true",
        "metrics.serviceMonitor.enabled=true",
        "metrics.prometheusRule.enabled=true",
        "metrics.dashboard.enabled=true",
    ] {
        assert_eq!(templates(&with(&[set])), before, "{set}");
    }
    assert_ne!(templates(&with(&["logLevel=debug"])), before, "this would see a change");
}

/// Of both workloads, the pods' templates.
fn templates(arguments: &[String]) -> BTreeMap<String, Value> {
    let objects = rendered(arguments);
    let kinds = ["DaemonSet", "Deployment"];
    of_kinds(&objects, &kinds).map(|object| (object["kind"].to_string(), object["spec"]["template"].clone())).collect()
}

#[test]
fn agents_report_to_the_service_that_the_certificate_is_made_for() {
    let objects = rendered(&with(&[]));
    let service = object(&objects, "Service", "-aggregator");
    let selector = &service["spec"]["selector"];
    let pods = &object(&objects, "Deployment", "-aggregator")["spec"]["template"]["metadata"]["labels"];
    for (label, value) in selector.as_object().expect("a selector") {
        assert_eq!(&pods[label], value, "{label}");
    }
    let name = service["metadata"]["name"].as_str().expect("a name");
    let args = |kind: &str, name: &str| {
        object(&objects, kind, name)["spec"]["template"]["spec"]["containers"][0]["args"].to_string()
    };
    assert!(args("DaemonSet", "-node-agent").contains(&format!("--aggregator={name}.tocsin.svc:8443")));
    assert!(args("Deployment", "-aggregator").contains(&format!("--service={name}")));
}

#[test]
fn network_policies_open_the_ports_of_sinks_and_proxy() {
    let values = chart::folder().join("ci/network-policy-values.yaml");
    let objects = rendered(&with_file(&values));
    let ports = |policy: &Value| {
        let rules = policy["spec"]["egress"].as_array().expect("rules");
        let ports = rules.iter().filter_map(|rule| rule["ports"].as_array()).flatten();
        ports.map(|port| port["port"].to_string()).collect::<BTreeSet<_>>()
    };
    let set = |ports: &[&str]| ports.iter().map(|port| (*port).to_owned()).collect::<BTreeSet<_>>();
    let aggregator = object(&objects, "NetworkPolicy", "-aggregator");
    assert_eq!(ports(aggregator), set(&["53", "6443", "443", "9443", "3128"]));
    assert_eq!(
        aggregator["spec"]["ingress"][1]["from"][0]["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"],
        "monitoring"
    );
    assert_eq!(ports(object(&objects, "NetworkPolicy", "-node-agent")), set(&["53", "6443", "\"agents\""]));
}
