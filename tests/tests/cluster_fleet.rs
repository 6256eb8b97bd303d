//! A cluster of two hundred nodes: what it is told of, and what it costs.
//!
//! The real node and its kubelet are there, and beside it simulated ones, whose kubelets kwok plays. Of each node there is an
//! agent, as it is shipped, as a process with tokens bound to its pod of the DaemonSet on that node; so the API server and the
//! aggregator see what they would see of agents in pods. What they are asked for is counted by the API server itself.

#[path = "cluster_fleet/cost.rs"]
mod cost;
#[path = "cluster_fleet/outside.rs"]
mod outside;
#[path = "cluster_fleet/tocsin.rs"]
mod tocsin;
#[path = "cluster_fleet/workloads.rs"]
mod workloads;

use std::time::Duration;

use anyhow::{Result, ensure};
use tocsin_tests::cluster::{Cluster, Options};
use tocsin_tests::processes::Programs;

use cost::{Asked, Cost};
use outside::Outside;
use tocsin::Tocsin;
use workloads::{FAILING, PODS, PODS_EACH};

/// Far above what any step takes, also while other tests keep the machine busy.
const LIMIT: Duration = Duration::from_mins(2);
const SIMULATED: usize = 200;
/// A silent node counts as Ready for so long: two hundred Leases cost the machine something, too.
const NODE_GRACE: Duration = Duration::from_secs(20);

#[test]
fn of_two_hundred_nodes_each_cause_is_told_once_and_each_agent_costs_one_list_and_one_watch() -> Result<()> {
    let programs = Programs::released()?;
    let mut cluster = Cluster::start(Options { node_grace: NODE_GRACE, ..Options::default() })?;
    cluster.enter_network()?;
    let mut nodes = cluster.simulate_nodes(SIMULATED)?;
    nodes.push(cluster.node_name().to_owned());
    let mut outside = Outside::start(&cluster.scratch_dir())?;
    let tocsin = Tocsin::start(&mut cluster, &programs, &outside, &nodes)?;
    let played = play(&mut cluster, &mut outside, &tocsin, &nodes);
    if let Err(error) = played.and_then(|()| tocsin.balances()) {
        return Err(error.context(tocsin.tails(&nodes[0])).context(outside.dump()));
    }
    tocsin.end()?;
    drop(outside);
    cluster.stop()
}

fn play(cluster: &mut Cluster, outside: &mut Outside, tocsin: &Tocsin, nodes: &[String]) -> Result<()> {
    workloads::roll_out(cluster, LIMIT)?;
    tocsin.until_all_have_reported()?;
    outside.hears(&[])?;

    // All pods of one workload fail, on as many nodes: one message, and one that it is over.
    workloads::break_one(cluster)?;
    let [record] = outside.hears(&[&format!("firing CrashLoopBackOff {FAILING}/Deployment/web")])?;
    ensure!(record["namespace"] == FAILING, "{record:#}");
    tocsin.until_members("CrashLoopBackOff", PODS_EACH)?;
    workloads::mend(cluster)?;
    let [record] = outside.hears(&[&format!("resolved CrashLoopBackOff {FAILING}/Deployment/web")])?;
    ensure!(record["pods"]["total"] == PODS_EACH, "it was not about all of its pods: {record:#}");

    // A node dies: one message, and none about its pods.
    let dying = &nodes[0];
    let on_it = workloads::pods_on(cluster, dying)?;
    cluster.silence_simulated_node(dying)?;
    let [record] = outside.hears(&[&format!("firing NodeNotReady Node/{dying}")])?;
    ensure!(record["swallowed"]["total"] == on_it, "it does not explain all of its {on_it} pods: {record:#}");
    cluster.wake_simulated_node(dying)?;
    outside.hears(&[&format!("resolved NodeNotReady Node/{dying}")])?;
    tocsin.until_nothing_is_open()?;
    outside.hears(&[])?;

    let (asked, cost) = (Asked::of(cluster)?, Cost::of(tocsin)?);
    println!("{} nodes with {PODS} pods: {cost}; the API server was asked for {asked}", nodes.len());
    asked.is_no_more_than_promised(nodes.len() as u64)?;
    cost.is_within_bounds()
}
