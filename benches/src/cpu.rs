//! Processor time that the processes take, as they are shipped: the agent of a full node while nothing happens there and for
//! each event, and both for one message. It is what each costs wherever the clock on the wall stands meanwhile. What the
//! aggregator takes by the number of its agents is in [`crate::sizes`].

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::json;
use tocsin_tests::apiserver::{Container, On, PodRef, PodTemplate};
use tocsin_tests::installation::{Installation, LIMIT};
use tocsin_tests::metrics::http_get;
use tocsin_tests::processes::Programs;
use tocsin_tests::receiver::Received;

use crate::asked::Asked;
use crate::figures::Figures;
use crate::memory::{PODS, reports};
use crate::processor::{Stretch, micros, micros_each};

const NODE: &str = "node-1";
const HEARTBEATS: usize = 5;
/// How often the agent is asked what a kubelet and Prometheus ask it.
const ASKED: usize = 100;
/// How often each pod changes.
const CHANGES: usize = 5;
/// Between events that come one by one: far above what one takes.
const PAUSE: Duration = Duration::from_millis(2);
/// In a second, by the chart's defaults: a heartbeat, the kubelet's probes, and a scrape of every half minute.
const HEARTBEAT_RATE: f64 = 1.0 / 30.0;
const PROBE_RATE: f64 = 1.0 / 10.0 + 1.0 / 20.0;
const SCRAPE_RATE: f64 = 1.0 / 30.0;

/// Of a second: a ten-thousandth of a core.
const IDLE_MICROS_MAX: f64 = 100.0;
/// Of a pod of 11 KiB.
const EVENT_MICROS_MAX: f64 = 50.0;
/// All pods of a full node replaced within a minute, at ten events each.
const EVENTS_PER_SECOND: f64 = 20.0;

/// One node with as many pods as it may have, each of a Deployment of its own.
pub(crate) fn run(figures: &mut Figures) -> anyhow::Result<()> {
    let rules = json!({"CrashLoopBackOff": {"sustain": "0s", "hold": "1h"}});
    let installation = Installation::start(Programs::released()?, &[NODE], &rules)?;
    let template = PodTemplate::new("api", Container::new("app", "registry.example/shop/api:1.0"))
        .and(Container::new("proxy", "registry.example/mesh/proxy:3.2"));
    // Its own pod is one of them.
    let pods: Vec<_> = (1..PODS)
        .flat_map(|number| installation.cluster.deploy("shop", &format!("api-{number}"), 1, &template, &[NODE]).pods)
        .collect();
    reports(&installation, 2)?;
    let idle = idle(&installation)?;
    figures.at_most("of a second while nothing happens", idle, "µs", IDLE_MICROS_MAX);
    let [alone, together] = events(&installation, &pods)?;
    figures.at_most("for an event of such a pod, of many that wait", together, "µs", EVENT_MICROS_MAX);
    Figures::plain("for one that comes alone", alone, "µs");
    // On a node that has no more to give than was asked for events wait, and are read together.
    let spare = Asked::of("nodeAgent", "values.yaml")?.cpu * 1_000.0 - idle;
    figures.at_least("events a second that its request is enough for", spare / together, "/s", EVENTS_PER_SECOND);
    Figures::plain("of such that come alone", spare / alone, "/s");
    messages(&installation, &pods)?;
    installation.end()
}

/// What the agent takes of a second in which nothing happens, in microseconds.
fn idle(installation: &Installation) -> anyhow::Result<f64> {
    let agent = installation.agent_id(NODE);
    let (_, agents) = installation.metrics_addresses()?;
    let address = agents.first().context("there is an agent")?;
    let ask = |path: &str| (0..ASKED).try_for_each(|_| http_get(address, path).map(drop));
    let heartbeat = micros_each(agent, HEARTBEATS, || reports(installation, HEARTBEATS as u64))?;
    let probe = micros_each(agent, ASKED, || ask("/readyz"))?;
    let scrape = micros_each(agent, ASKED, || ask("/metrics"))?;
    Figures::plain("node-agent with 110 pods, for a heartbeat", heartbeat, "µs");
    Figures::plain("for a probe of the kubelet", probe, "µs");
    Figures::plain("for a scrape", scrape, "µs");
    Ok(heartbeat * HEARTBEAT_RATE + probe * PROBE_RATE + scrape * SCRAPE_RATE)
}

/// What an event costs the agent, in microseconds: one that comes alone, and one of many that wait.
fn events(installation: &Installation, pods: &[PodRef]) -> anyhow::Result<[f64; 2]> {
    let (agent, cluster) = (installation.agent_id(NODE), &installation.cluster);
    let mut count = 0;
    let mut change_all = |pause: Duration| {
        for pod in (0..CHANGES).flat_map(|_| pods) {
            count += 1;
            cluster.edit_pod(pod, |pod| pod["metadata"]["annotations"] = json!({"changes": count.to_string()}));
            sleep(pause);
        }
    };
    let parts = CHANGES * pods.len();
    let alone = micros_each(agent, parts, || {
        change_all(PAUSE);
        reports(installation, 2)
    })?;
    let together = micros_each(agent, parts, || {
        cluster.hold(&On::watch("pods"));
        change_all(Duration::ZERO);
        cluster.release(&On::watch("pods"));
        reports(installation, 2)
    })?;
    let watches = installation.lists_and_watches(NODE);
    ensure!(watches == (1, 1, 1), "the agent has not heard of all in its first watch: {watches:?}");
    let bytes = cluster.objects("/api/v1/pods").iter().map(|pod| pod.to_string().len()).max();
    Figures::plain("the largest of its pods as JSON", bytes.unwrap_or_default() as f64 / 1024.0, "KiB");
    Ok([alone, together])
}

/// What it costs that a pod crashes again and again, from the event to the message.
fn messages(installation: &Installation, pods: &[PodRef]) -> anyhow::Result<()> {
    let outside = &installation.outside;
    let stretch = |id: Option<u32>| Stretch::begin(id.context("the process does not run")?);
    let (agent, aggregator) = (stretch(installation.agent_id(NODE))?, stretch(installation.aggregator_id())?);
    for pod in pods {
        outside.forget();
        installation.cluster.crash_loop(pod, 5);
        let told = outside.until("it was told", LIMIT, |received| received.iter().any(Received::accepted));
        installation.block_on(told)?;
    }
    let [agent, aggregator] = [agent.end()?, aggregator.end()?].map(|time| micros(time) / pods.len() as f64);
    Figures::plain("for a crash loop, from the event to its acknowledgement", agent, "µs");
    Figures::plain("aggregator, for the same", aggregator, "µs");
    installation.metrics()?.balance()
}
