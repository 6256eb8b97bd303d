//! The release: helm, its pods, who leads, and everything that is there.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tocsin_tests::chart::Helm;
use tocsin_tests::cluster::{Cluster, condition};

use super::{LIMIT, OWN};

pub(crate) fn helm(cluster: &Cluster, arguments: &[&str]) -> Result<String> {
    helm_of(Helm::Four, cluster, arguments)
}

/// What it prints on standard output.
pub(crate) fn helm_of(helm: Helm, cluster: &Cluster, arguments: &[&str]) -> Result<String> {
    let mut command: Command = cluster.command_in(helm.program()?);
    command.args(arguments).env("KUBECONFIG", cluster.admin_kubeconfig()).env("HOME", cluster.scratch_dir());
    let output = command.stdin(Stdio::null()).output()?;
    let (said, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "helm {arguments:?}: {said}{error}");
    Ok(said.into_owned())
}

/// Which pods there are and how often their containers were restarted, once they are an agent and two aggregators, all Ready.
pub(crate) fn pods_when_ready(cluster: &mut Cluster) -> Result<BTreeSet<String>> {
    these_pods_when_ready(cluster, 3)
}

/// The same once they are so many.
pub(crate) fn these_pods_when_ready(cluster: &mut Cluster, count: usize) -> Result<BTreeSet<String>> {
    cluster.wait_for(&format!("{count} pods are Ready"), LIMIT, |cluster| {
        let list = cluster.get(&["pods", "-n", OWN])?;
        let pods = list["items"].as_array().context("a list of pods")?;
        let is_ready =
            |pod: &Value| condition(pod, "Ready") == Some("True") && pod["metadata"]["deletionTimestamp"].is_null();
        Ok((pods.len() == count && pods.iter().all(is_ready)).then(|| pods.iter().map(identity).collect()))
    })
}

/// The same once all of them have taken the place of those from before.
pub(crate) fn others_when_ready(cluster: &mut Cluster, before: &BTreeSet<String>) -> Result<BTreeSet<String>> {
    let now = pods_when_ready(cluster)?;
    ensure!(now.is_disjoint(before), "not all were replaced: {before:#?}, {now:#?}");
    Ok(now)
}

/// The same as they are now.
pub(crate) fn pods(cluster: &Cluster) -> Result<BTreeSet<String>> {
    let list = cluster.get(&["pods", "-n", OWN])?;
    Ok(list["items"].as_array().context("a list of pods")?.iter().map(identity).collect())
}

/// The agents' pods among these.
pub(crate) fn agents(pods: &BTreeSet<String>) -> Vec<&String> {
    pods.iter().filter(|pod| pod.contains("-node-agent-")).collect()
}

/// Where the aggregators hear agents.
pub(crate) fn aggregators(cluster: &Cluster) -> Result<Vec<String>> {
    let pods = cluster.get(&["pods", "-n", OWN, "--selector=app.kubernetes.io/component=aggregator"])?;
    let pods = pods["items"].as_array().context("a list of pods")?;
    let addresses: Vec<_> = pods.iter().filter_map(|pod| pod["status"]["podIP"].as_str()).collect();
    ensure!(!addresses.is_empty(), "no aggregator has an address");
    Ok(addresses.into_iter().map(|address| format!("{address}:8443")).collect())
}

/// The CAs that agents trust.
pub(crate) fn trusted(cluster: &Cluster) -> Result<String> {
    let map = cluster.get(&["-n", OWN, &format!("configmap/{OWN}-trust")])?;
    Ok(map["data"]["ca.crt"].as_str().context("no CA is published")?.to_owned())
}

/// The pods are those from before, and none was restarted.
pub(crate) fn same(before: &BTreeSet<String>, now: &BTreeSet<String>) -> Result<()> {
    ensure!(now == before, "other pods: {before:#?}, now {now:#?}");
    Ok(())
}

fn identity(pod: &Value) -> String {
    let restarts = &pod["status"]["containerStatuses"][0]["restartCount"];
    format!("{} {}, restarted {restarts} times", pod["metadata"]["name"], pod["metadata"]["uid"])
}

/// The pod that leads, once it is one that is meant.
pub(crate) fn leader(cluster: &Cluster, is_meant: impl Fn(&str) -> bool) -> Result<String> {
    cluster.watch(&["lease", "-n", OWN, &format!("{OWN}-leader")], LIMIT, |lease| {
        let (pod, _) = lease["spec"]["holderIdentity"].as_str()?.rsplit_once('_')?;
        is_meant(pod).then(|| pod.to_owned())
    })
}

/// Everything in the own namespace, every right, and everything of the release wherever it is.
pub(crate) fn objects(cluster: &Cluster) -> Result<BTreeSet<String>> {
    let kinds = cluster.kubectl(&["api-resources", "--verbs=list", "-o", "name"])?;
    let kinds: Vec<_> = kinds.lines().filter(|kind| !kind.starts_with("events")).collect();
    let kinds = kinds.join(",");
    let of_release = format!("--selector=app.kubernetes.io/instance={OWN}");
    let rights = ["clusterroles,clusterrolebindings,roles,rolebindings", "-A"];
    let mut names = BTreeSet::new();
    for which in [&rights[..], &[&kinds, "-n", OWN], &[&kinds, "-A", &of_release]] {
        let list = cluster.kubectl(&[&["get", "-o", "name", "--ignore-not-found"], which].concat())?;
        names.extend(list.lines().map(str::to_owned));
    }
    Ok(names)
}

/// What there is and what it said, for errors.
pub(crate) fn state(cluster: &Cluster) -> String {
    let said = |arguments: &[&str]| cluster.kubectl(arguments).unwrap_or_else(|error| format!("{error:#}"));
    let logs = |part: &str| {
        let selector = format!("--selector=app.kubernetes.io/component={part}");
        said(&["logs", "-n", OWN, &selector, "--prefix", "--tail=40"])
    };
    [
        said(&["get", "pods", "-A", "-o", "wide"]),
        said(&["get", "events", "-n", OWN]),
        logs("aggregator"),
        logs("node-agent"),
    ]
    .join("\n")
}
