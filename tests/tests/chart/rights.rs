//! Who may do what, to the letter: a right that is added shows here.

use std::collections::{BTreeMap, BTreeSet};

use clap::Parser as _;
use serde_json::Value;
use tocsin_aggregator::config::Config;
use tocsin_aggregator::doctor::rights::Right;
use tocsin_aggregator::options::{CommandLine, Task};
use tocsin_tests::chart;

use crate::installation::{matrix, notes, object, of_kinds, rendered, with, with_file};

/// Without values: who, where, what, which verbs.
const DEFAULT: &str = "\
tocsin-aggregator everywhere: authentication.k8s.io/tokenreviews create
tocsin-aggregator everywhere: namespaces kube-system get
tocsin-aggregator everywhere: nodes list watch
tocsin-aggregator everywhere: pods get list watch
tocsin-aggregator kube-node-lease: coordination.k8s.io/leases get
tocsin-aggregator tocsin: apps/deployments tocsin-aggregator get
tocsin-aggregator tocsin: configmaps tocsin-told-journal tocsin-told-snapshot-0 tocsin-told-snapshot-1 \
tocsin-told-snapshot-2 tocsin-told-snapshot-3 get patch
tocsin-aggregator tocsin: configmaps tocsin-trust get patch
tocsin-aggregator tocsin: coordination.k8s.io/leases create
tocsin-aggregator tocsin: coordination.k8s.io/leases tocsin-leader get patch
tocsin-aggregator tocsin: secrets tocsin-serving get patch
tocsin-node-agent everywhere: pods list watch
tocsin-node-agent tocsin: configmaps tocsin-trust get
";

#[test]
fn the_rights_are_these_and_no_more() {
    assert_eq!(rights(&rendered(&with(&[]))), DEFAULT);
}

#[test]
fn a_certificate_of_ones_own_is_only_read() {
    let rights = rights(&rendered(&with_file(&chart::folder().join("ci/own-certificate-values.yaml"))));
    assert_eq!(rights, DEFAULT.replace("secrets tocsin-serving get patch", "secrets tocsin-cert get"));
}

#[test]
fn further_rules_are_the_aggregators() {
    let set = [
        "rbac.additionalRules[0].apiGroups={apps}",
        "rbac.additionalRules[0].resources={statefulsets}",
        "rbac.additionalRules[0].verbs={get}",
    ];
    let more = "tocsin-aggregator everywhere: apps/statefulsets get\n";
    assert_eq!(rights(&rendered(&with(&set))), format!("{more}{DEFAULT}"));
}

/// Of an aggregator without agents, in its own namespace.
const OWN: &str = "\
tocsin-aggregator tocsin: apps/deployments tocsin-aggregator get
tocsin-aggregator tocsin: configmaps tocsin-told-journal tocsin-told-snapshot-0 tocsin-told-snapshot-1 \
tocsin-told-snapshot-2 tocsin-told-snapshot-3 get patch
tocsin-aggregator tocsin: configmaps tocsin-trust get patch
tocsin-aggregator tocsin: coordination.k8s.io/leases create
tocsin-aggregator tocsin: coordination.k8s.io/leases tocsin-leader get patch
";

#[test]
fn without_agents_no_right_is_for_them() {
    let objects = rendered(&with_file(&chart::folder().join("ci/without-agents-values.yaml")));
    let expected = format!(
        "\
tocsin-aggregator everywhere: namespaces kube-system get
tocsin-aggregator everywhere: nodes list watch
tocsin-aggregator everywhere: pods list watch
{OWN}tocsin-aggregator tocsin: secrets tocsin-serving get patch
"
    );
    assert_eq!(rights(&objects), expected);
    assert_no_agents(&objects);
}

#[test]
fn restricted_to_namespaces_there_is_no_right_in_the_whole_cluster() {
    let objects = rendered(&with_file(&chart::folder().join("ci/restricted-values.yaml")));
    let expected = format!(
        "\
tocsin-aggregator production: apps/statefulsets get list watch
tocsin-aggregator production: pods list watch
tocsin-aggregator staging: apps/statefulsets get list watch
tocsin-aggregator staging: pods list watch
{OWN}tocsin-aggregator tocsin: namespaces tocsin get
tocsin-aggregator tocsin: secrets tocsin-serving get patch
"
    );
    assert_eq!(rights(&objects), expected);
    assert_eq!(of_kinds(&objects, &["ClusterRole", "ClusterRoleBinding"]).count(), 0);
    assert_no_agents(&objects);
    let notes = notes(&with_file(&chart::folder().join("ci/restricted-values.yaml")));
    assert!(notes.contains("Not seen: other namespaces, and nodes"), "{notes}");
    assert!(!notes.contains("daemonset/"), "{notes}");
}

fn assert_no_agents(objects: &[Value]) {
    let kinds: Vec<_> = objects.iter().filter(|object| object.to_string().contains("tocsin-node-agent")).collect();
    // Its name stands in the configuration, for when agents are turned on.
    assert!(kinds.iter().all(|object| object["kind"] == "ConfigMap"), "{kinds:#?}");
    assert_eq!(of_kinds(objects, &["DaemonSet"]).count(), 0);
}

/// The doctor asks for each right that the chart grants, and for no other: neither can have one that the other has not.
#[test]
fn the_rights_are_those_that_the_program_says_it_needs() {
    for values in matrix() {
        let arguments = with_file(&values);
        let objects = rendered(&arguments);
        let container = &object(&objects, "Deployment", "-aggregator")["spec"]["template"]["spec"]["containers"][0];
        let args = container["args"].as_array().expect("arguments").iter().map(|arg| arg.as_str().expect("a text"));
        let pod = ["--pod-name=a", "--pod-ip=::1", "--namespace=tocsin"];
        let parsed = CommandLine::try_parse_from(["aggregator"].into_iter().chain(args).chain(pod));
        let Ok(Task::Run(launch)) = parsed.expect("options that are known").resolve() else { panic!("it runs") };
        let file = object(&objects, "ConfigMap", "-config")["data"]["config.yaml"].as_str().expect("a file");
        let config =
            Config::parse(file, "tocsin").unwrap_or_else(|problems| panic!("{}: {problems}", values.display()));
        let needed = Right::needed(&launch, &config.coverage);
        let line = |right: &Right| {
            let place = right.namespace.as_deref().unwrap_or("everywhere");
            let group = if right.group.is_empty() { String::new() } else { format!("{}/", right.group) };
            let rest = right.names.iter().map(String::as_str).chain(right.verbs.iter().copied());
            let rest = rest.collect::<Vec<_>>().join(" ");
            format!("{place}: {group}{} {rest}", right.resource)
        };
        let needed: BTreeSet<_> = needed.iter().map(line).collect();
        let granted = rights(&objects);
        let name = object(&objects, "Deployment", "-aggregator")["metadata"]["name"].as_str().expect("a name");
        let granted: BTreeSet<_> =
            granted.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).collect();
        // What the user adds is the user's.
        let is_added = |line: &&str| line.contains(" apps/statefulsets ");
        let granted: BTreeSet<_> = granted.into_iter().filter(|line| !is_added(line)).map(str::to_owned).collect();
        assert_eq!(granted, needed, "{}", values.display());
    }
}

/// One line for each resource that a ServiceAccount has rights on.
fn rights(objects: &[Value]) -> String {
    let words = |list: &Value| {
        let words = list.as_array().into_iter().flatten().map(|word| word.as_str().expect("a word").to_owned());
        words.collect::<Vec<_>>()
    };
    let key = |kind: &Value, namespace: &Value, name: &Value| format!("{kind} {namespace} {name}");
    let granted: BTreeMap<_, _> = of_kinds(objects, &["ClusterRole", "Role"])
        .map(|role| (key(&role["kind"], &role["metadata"]["namespace"], &role["metadata"]["name"]), &role["rules"]))
        .collect();
    let mut lines = Vec::new();
    let mut bound = 0;
    for binding in of_kinds(objects, &["ClusterRoleBinding", "RoleBinding"]) {
        let (role, namespace) = (&binding["roleRef"], &binding["metadata"]["namespace"]);
        bound += 1;
        let [subject] = &binding["subjects"].as_array().expect("subjects")[..] else { panic!("{binding}") };
        assert_eq!((&subject["kind"], &subject["namespace"]), (&"ServiceAccount".into(), &"tocsin".into()));
        let who =
            format!("{} {}", subject["name"].as_str().expect("a name"), namespace.as_str().unwrap_or("everywhere"));
        for rule in granted[&key(&role["kind"], namespace, &role["name"])].as_array().expect("rules") {
            let what_for = [words(&rule["resourceNames"]), words(&rule["verbs"])].concat().join(" ");
            for resource in words(&rule["resources"]) {
                for group in words(&rule["apiGroups"]) {
                    let group = if group.is_empty() { group } else { format!("{group}/") };
                    lines.push(format!("{who}: {group}{resource} {what_for}\n"));
                }
            }
        }
    }
    assert_eq!(bound, granted.len(), "every role is bound once");
    lines.sort();
    lines.concat()
}
