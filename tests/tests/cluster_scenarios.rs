//! Real pods fail on a real cluster, and each failure is told once, and once that it is over.
//!
//! One aggregator and one node-agent run as processes in the cluster's network, with real tokens, real TokenReview and
//! no more rights than they need (`tests/cluster/tocsin.yaml`); a receiver stands for the world outside. The rules'
//! sustains and holds are seconds here. What is told and not expected fails the test at once, whenever it comes.

#[path = "cluster_scenarios/failures.rs"]
mod failures;
#[path = "cluster_scenarios/outside.rs"]
mod outside;
#[path = "cluster_scenarios/tocsin.rs"]
mod tocsin;
#[path = "cluster_scenarios/workloads.rs"]
mod workloads;

use std::time::Duration;

use anyhow::{Context as _, Result};
use tocsin_tests::cluster::{Cluster, Options};

use failures::{Scene, failures, node_answers, node_is_silent};
use outside::Outside;
use tocsin::{CLUSTER_NAME, Tocsin};
use workloads::{NAMESPACE, deployment, ready_if};

/// Far above what any step takes, also while other tests keep the machine busy.
const LIMIT: Duration = Duration::from_mins(2);

#[test]
fn each_real_failure_is_told_once_and_once_that_it_is_over() -> Result<()> {
    let mut cluster = Cluster::start(Options::default())?;
    cluster.enter_network()?;
    let outside = Outside::start(&cluster.scratch_dir())?;
    let mut tocsin = Tocsin::start(&mut cluster, &outside)?;
    let played = play(&mut cluster, &outside, &mut tocsin);
    let ended = played.and_then(|()| tocsin.balances());
    if let Err(error) = ended {
        return Err(error.context(tocsin.tails()).context(outside.dump()));
    }
    tocsin.end().map_err(|error| error.context(outside.dump()))?;
    drop(outside);
    cluster.stop()
}

fn play(cluster: &mut Cluster, outside: &Outside, tocsin: &mut Tocsin) -> Result<()> {
    let id = cluster.get(&["namespace", "kube-system"])?["metadata"]["uid"].as_str().map(str::to_owned);
    let scene = Scene {
        cluster: [CLUSTER_NAME.to_owned(), id.context("kube-system has a uid")?],
        node: cluster.node_name().to_owned(),
    };

    // What is healthy comes first: the rest of the test is the time in which it could still be told of.
    healthy_changes(cluster)?;
    outside.hears(Vec::new(), Duration::ZERO)?;

    let failures = failures();
    start_failures(cluster)?;
    let first = failures.iter().map(|failure| first_pod(cluster, failure.owner)).collect::<Result<Vec<_>>>()?;
    touch(cluster, "deployment/littering", "/tmp/litter")?;
    let firing = failures.iter().zip(&first).map(|(failure, pod)| failure.firing(&scene, pod)).collect();
    outside.hears(firing, LIMIT)?;

    // One more pod with the same failure is nothing new.
    in_namespace(cluster, &["scale", "deployment/crashing", "--replicas=2"])?;
    tocsin.until_members("CrashLoopBackOff", "crashing", 2, LIMIT)?;

    // Nor is what another aggregator finds when it takes over.
    tocsin.replace_aggregator(cluster)?;
    tocsin.until_members("CrashLoopBackOff", "crashing", 2, LIMIT)?;

    let crashing = pods_of(cluster, &["-l", "app=crashing"])?;
    cluster.restart_apiserver()?;
    end_failures(cluster)?;
    let resolved = failures.iter().zip(first).map(|(failure, first)| match failure.owner {
        "crashing" => failure.resolved(&scene, &crashing),
        _ => failure.resolved(&scene, &[first]),
    });
    outside.hears(resolved.collect(), LIMIT)?;

    let on_node = pods_of(cluster, &["--all-namespaces"])?;
    cluster.pause_kubelet()?;
    outside.hears(vec![node_is_silent(&scene, &on_node)], LIMIT)?;
    cluster.resume_kubelet()?;
    outside.hears(vec![node_answers(&scene)], LIMIT)?;
    tocsin.until_nothing_is_open(LIMIT)?;
    outside.is_complete()
}

/// A rolling update of pods with readiness probes, and all of a workload's pods deleted at once.
fn healthy_changes(cluster: &Cluster) -> Result<()> {
    let web = deployment("web", 3, "sleep 36000", Some(&ready_if("true")));
    cluster.apply(&web.to_string())?;
    let rolled_out = || in_namespace(cluster, &["rollout", "status", "deployment/web", "--timeout=120s"]);
    rolled_out()?;
    in_namespace(cluster, &["rollout", "restart", "deployment/web"])?;
    rolled_out()?;
    in_namespace(cluster, &["delete", "pods", "-l", "app=web"])?;
    rolled_out().context("after the pods were deleted")
}

fn start_failures(cluster: &Cluster) -> Result<()> {
    for workload in workloads::failing() {
        cluster.apply(&workload.to_string())?;
    }
    Ok(())
}

/// Removes each cause in the way that its people would.
fn end_failures(cluster: &mut Cluster) -> Result<()> {
    for workload in workloads::mended() {
        cluster.apply(&workload.to_string())?;
    }
    touch(cluster, "deployment/unready", "/tmp/ready")?;
    // An evicted pod lies around until somebody takes it away.
    in_namespace(cluster, &["delete", "pods", "-l", "app=littering", "--field-selector=status.phase=Failed"])
}

/// Makes an empty file in a pod, once it can be reached.
fn touch(cluster: &mut Cluster, pod: &str, file: &str) -> Result<()> {
    cluster.wait_for(&format!("touch {file} in {pod}"), LIMIT, |cluster| {
        in_namespace(cluster, &["exec", pod, "--", "touch", file]).map(Some)
    })
}

/// The pod that a Deployment began with.
fn first_pod(cluster: &mut Cluster, deployment: &str) -> Result<String> {
    let label = format!("app={deployment}");
    cluster.wait_for("a Deployment's pod", LIMIT, |cluster| {
        let pods = cluster.get(&["pods", "-n", NAMESPACE, "-l", &label, "--sort-by=.metadata.creationTimestamp"])?;
        Ok(pods["items"][0]["metadata"]["name"].as_str().map(str::to_owned))
    })
}

/// The names of the pods that kubectl's arguments select, in order.
fn pods_of(cluster: &Cluster, selection: &[&str]) -> Result<Vec<String>> {
    let pods = cluster.get(&[&["pods", "-n", NAMESPACE], selection].concat())?;
    let items = pods["items"].as_array().context("a list has items")?.iter();
    let mut names: Vec<_> = items.filter_map(|pod| pod["metadata"]["name"].as_str().map(str::to_owned)).collect();
    names.sort();
    Ok(names)
}

fn in_namespace(cluster: &Cluster, arguments: &[&str]) -> Result<()> {
    cluster.kubectl(&[&["-n", NAMESPACE], arguments].concat()).map(|_| ())
}
