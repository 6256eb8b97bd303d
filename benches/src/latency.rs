//! From a watch event to the POST outside, through real processes: the API server of the harness, five agents, the
//! aggregator, and a receiver. Limits and sustain are off; the reading of the pod before its issue is told is in it.

use std::time::{Duration, Instant};

use serde_json::json;
use tocsin_tests::apiserver::{Container, PodTemplate};
use tocsin_tests::installation::{Installation, LIMIT};
use tocsin_tests::processes::Programs;
use tocsin_tests::receiver::Received;

use crate::figures::Figures;

const NODES: &[&str] = &["node-1", "node-2", "node-3", "node-4", "node-5"];
const EVENTS: usize = 300;
/// The first ones open connections.
const WARM_UP: usize = 5;
const BUDGET_MS: f64 = 250.0;

/// Crash loops of as many Deployments, one after the other.
pub(crate) fn run(figures: &mut Figures) -> anyhow::Result<()> {
    let rules = json!({"CrashLoopBackOff": {"sustain": "0s", "hold": "1h"}});
    let installation = Installation::start(Programs::released()?, NODES, &rules)?;
    let (cluster, outside) = (&installation.cluster, &installation.outside);
    let template = PodTemplate::new("api", Container::new("app", "registry.example/shop/api:1.0"));
    let mut pods = Vec::new();
    for number in 0..WARM_UP + EVENTS {
        let node = NODES[number % NODES.len()];
        pods.extend(cluster.deploy("shop", &format!("api-{number}"), 1, &template, &[node]).pods);
    }
    let mut took = Vec::new();
    for pod in &pods {
        outside.forget();
        let begun = Instant::now();
        cluster.crash_loop(pod, 5);
        let told = outside.until("it was told", LIMIT, |received| received.iter().any(Received::accepted));
        installation.block_on(told)?;
        took.push(begun.elapsed());
    }
    let mut took = took.split_off(WARM_UP);
    took.sort();
    let quantile = |of_hundred: usize| ms(took[(took.len() * of_hundred).div_ceil(100) - 1]);
    Figures::plain("events, one after the other", took.len() as f64, "");
    Figures::plain("watch event to outbound POST: p50", quantile(50), "ms");
    figures.at_most("watch event to outbound POST: p99", quantile(99), "ms", BUDGET_MS);
    Figures::plain("watch event to outbound POST: the slowest", quantile(100), "ms");
    installation.metrics()?.balance()?;
    installation.end()
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}
