//! Real pods fail on a real cluster, and each failure is told once, and once that it is over.
//!
//! One aggregator and one node-agent run as processes in the cluster's network, with real tokens, real TokenReview and
//! no more rights than they need (`tests/cluster/tocsin.yaml`); a receiver stands for the world outside. The rules'
//! sustains and holds are seconds here. What is told and not expected fails the test at once, whenever it comes.

#[path = "cluster_scenarios/outside.rs"]
mod outside;
#[path = "cluster_scenarios/tocsin.rs"]
mod tocsin;
#[path = "cluster_scenarios/workloads.rs"]
mod workloads;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tocsin_tests::cluster::{Cluster, Options, condition};

use outside::{Outside, Status, Told};
use tocsin::Tocsin;
use workloads::{NAMESPACE, deployment, ready_if};

/// Far above what any step takes, also while other tests keep the machine busy.
const LIMIT: Duration = Duration::from_mins(2);

/// Kind, owner and what is wrong with it.
const FAILURES: [(&str, &str); 6] = [
    ("CrashLoopBackOff", "crashing"),
    ("ImagePull", "imageless"),
    ("OOMKilled", "hungry"),
    ("NotReady", "unready"),
    ("Unschedulable", "huge"),
    ("Evicted", "littering"),
];

#[test]
fn each_real_failure_is_told_once_and_once_that_it_is_over() -> Result<()> {
    let mut cluster = Cluster::start(Options::default())?;
    cluster.enter_network()?;
    let outside = Outside::start()?;
    let tocsin = Tocsin::start(&mut cluster, &outside)?;
    let played = play(&mut cluster, &outside, &tocsin);
    let ended = played.and_then(|()| tocsin.balances());
    if let Err(error) = ended {
        return Err(error.context(tocsin.tails()).context(outside.dump()));
    }
    tocsin.end().map_err(|error| error.context(outside.dump()))?;
    drop(outside);
    cluster.stop()
}

fn play(cluster: &mut Cluster, outside: &Outside, tocsin: &Tocsin) -> Result<()> {
    // What is healthy comes first: the rest of the test is the time in which it could still be told of.
    healthy_changes(cluster)?;

    start_failures(cluster)?;
    let firing = FAILURES.map(|(kind, owner)| Told::new(kind, NAMESPACE, "Deployment", owner, Status::Firing));
    outside.hears(&firing, LIMIT)?;

    cluster.restart_apiserver()?;
    end_failures(cluster)?;
    let resolved = FAILURES.map(|(kind, owner)| Told::new(kind, NAMESPACE, "Deployment", owner, Status::Resolved));
    outside.hears(&resolved, LIMIT)?;

    let node = cluster.node_name().to_owned();
    let told = |status| [Told::new("NodeNotReady", "", "Node", &node, status)];
    cluster.pause_kubelet()?;
    let records = outside.hears(&told(Status::Firing), LIMIT)?;
    ensure!(records[0]["nodes"][0] == *node, "{:#}", records[0]);
    // Long enough for Kubernetes to say of every pod that it is not ready, and for that to last.
    cluster.watch(&["pods", "-n", NAMESPACE, "-l", "app=web"], LIMIT, |pod| {
        (condition(pod, "Ready") == Some("False")).then_some(())
    })?;
    tocsin.until_inhibited(LIMIT)?;
    cluster.resume_kubelet()?;
    outside.hears(&told(Status::Resolved), LIMIT)?;
    tocsin.until_nothing_is_open(LIMIT)?;
    outside.is_complete()
}

/// A rolling update of pods with readiness probes, and all of a workload's pods deleted at once.
fn healthy_changes(cluster: &Cluster) -> Result<()> {
    let web = deployment("web", 3, "sleep 36000", Some(&ready_if("true")));
    cluster.apply(&web.to_string())?;
    let in_namespace = |arguments: &[&str]| cluster.kubectl(&[&["-n", NAMESPACE], arguments].concat());
    let rolled_out = || in_namespace(&["rollout", "status", "deployment/web", "--timeout=120s"]);
    rolled_out()?;
    in_namespace(&["rollout", "restart", "deployment/web"])?;
    rolled_out()?;
    in_namespace(&["delete", "pods", "-l", "app=web"])?;
    rolled_out().map(|_| ()).context("after the pods were deleted")
}

fn start_failures(cluster: &Cluster) -> Result<()> {
    for workload in workloads::failing() {
        cluster.apply(&workload.to_string())?;
    }
    Ok(())
}

/// Removes each cause in the way that its people would.
fn end_failures(cluster: &mut Cluster) -> Result<()> {
    let in_namespace =
        |cluster: &Cluster, arguments: &[&str]| cluster.kubectl(&[&["-n", NAMESPACE], arguments].concat()).map(|_| ());
    for workload in workloads::mended() {
        cluster.apply(&workload.to_string())?;
    }
    cluster.wait_for("exec in the pod that is not ready", LIMIT, |cluster| {
        in_namespace(cluster, &["exec", "deployment/unready", "--", "touch", "/tmp/ready"]).map(Some)
    })?;
    in_namespace(cluster, &["rollout", "status", "deployment/littering", "--timeout=120s"])?;
    // Evicted pods lie around until somebody takes them away.
    in_namespace(cluster, &["delete", "pods", "-l", "app=littering", "--field-selector=status.phase=Failed"])
}
