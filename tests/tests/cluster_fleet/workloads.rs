//! The workloads: many Deployments on the simulated nodes, one of which breaks and is mended, and one on the real node.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tocsin_tests::cluster::Cluster;

/// How many namespaces there are, each with one Deployment `web`.
const NAMESPACES: usize = 20;
/// The pods of each.
pub(crate) const PODS_EACH: usize = 110;
/// All of them.
pub(crate) const PODS: usize = NAMESPACES * PODS_EACH;
/// The namespace of the Deployment that breaks.
pub(crate) const FAILING: &str = "team-7";
/// Its pods crash (`tests/cluster/kwok/stages.yaml`).
const BROKEN: &str = r#"--patch={"spec": {"template": {"metadata": {"labels": {"plays": "crash-loop"}}}}}"#;

/// Makes all of them at once, and waits until all pods are ready.
pub(crate) fn roll_out(cluster: &Cluster, limit: Duration) -> Result<()> {
    let names: Vec<_> = (1..=NAMESPACES).map(|number| format!("team-{number}")).collect();
    let namespaces =
        names.iter().map(|name| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}));
    apply_all(cluster, &namespaces.collect::<Vec<_>>())?;
    for name in &names {
        cluster.until_pods_can_be_made(name, limit)?;
    }
    let [key, value] = Cluster::SIMULATED;
    let simulated = names.iter().map(|name| deployment(name, "web", PODS_EACH, &json!({key: value})));
    let here = json!({"kubernetes.io/hostname": cluster.node_name()});
    let real = deployment("default", "real", 5, &here);
    apply_all(cluster, &simulated.chain([real]).collect::<Vec<_>>())?;
    for (namespace, name) in names.iter().map(|name| (name.as_str(), "web")).chain([("default", "real")]) {
        rolled_out(cluster, namespace, name)?;
    }
    Ok(())
}

/// A new version of one Deployment: all of its pods are replaced by such that crash.
pub(crate) fn break_one(cluster: &Cluster) -> Result<()> {
    cluster.kubectl(&["patch", "deployment/web", "-n", FAILING, BROKEN]).map(drop)
}

/// The version before.
pub(crate) fn mend(cluster: &Cluster) -> Result<()> {
    cluster.kubectl(&["rollout", "undo", "deployment/web", "-n", FAILING])?;
    rolled_out(cluster, FAILING, "web")
}

/// How many pods are on a node.
pub(crate) fn pods_on(cluster: &Cluster, node: &str) -> Result<usize> {
    let pods = cluster.get(&["pods", "--all-namespaces", &format!("--field-selector=spec.nodeName={node}")])?;
    pods["items"].as_array().map(Vec::len).context("a list has items")
}

fn rolled_out(cluster: &Cluster, namespace: &str, name: &str) -> Result<()> {
    cluster.kubectl(&["rollout", "status", &format!("deployment/{name}"), "-n", namespace, "--timeout=180s"]).map(drop)
}

fn apply_all(cluster: &Cluster, items: &[Value]) -> Result<()> {
    cluster.apply(&json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string())
}

fn deployment(namespace: &str, name: &str, replicas: usize, on: &Value) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": "100%"}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {
                    "nodeSelector": on,
                    "terminationGracePeriodSeconds": 1,
                    "containers": [{
                        "name": "app",
                        "image": Cluster::BUSYBOX_IMAGE,
                        "imagePullPolicy": "IfNotPresent",
                        "args": ["-c", "sleep 36000"],
                    }],
                },
            },
        },
    })
}
