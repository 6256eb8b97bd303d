//! Observe: what no single node can see. The aggregator watches pods without a node, nodes and its agents' pods, and
//! reports what it finds into the same pipeline that the agents report into.
//!
//! [`sight`] decides; this file moves events and time into it, and carries out what comes out.

pub mod doubt;
pub mod fleet;
pub mod sight;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use kube::Client;
use process::readiness::Handle;
use process::watch::{self, Health};
use process::{Clock, Event, Pulse, Readiness, Watch};
use rules::name::is_object_name;
use rules::view::{Meta, Object};
use rules::{FindingId, Node, Pod, Time};
use serde::Deserialize;
use tokio::sync::watch as published;

use self::doubt::{LOOK_AGAIN, Verdict};
use self::fleet::Strength;
use self::sight::{Collection, Sight, Steps};
use crate::config::Config;
use crate::core::Core;

/// The aggregator's own watches.
pub struct Observe {
    core: Arc<Core>,
    client: Client,
    config: published::Receiver<Arc<Config>>,
    sight: Sight,
    pods: Listened<Pod>,
    nodes: Listened<Node>,
    agents: Listened<Pod>,
    seen: published::Sender<Seen>,
}

/// What metrics show of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// The agents.
    pub strength: Strength,
    /// Findings of the aggregator's own that had no room.
    pub shed: u64,
}

/// The names of the watches, and how each is doing.
pub type Healths = [(&'static str, Health); 3];

/// A watch, and whether its first LIST has been waited for.
struct Listened<V> {
    watch: Watch<V>,
    ready: Handle,
}

/// Of a Lease only this counts: that it changes.
#[derive(Deserialize)]
struct Lease {
    metadata: Meta,
}

/// For one look at a Lease.
const LEASE_TIMEOUT: Duration = Duration::from_secs(5);
/// While agents that have not reported yet keep issues from resolving, they are looked for so often.
const RESYNC_POLL: Duration = Duration::from_secs(1);

impl Observe {
    /// Watches that have not asked for anything yet. `readiness` waits for the first LIST of each.
    pub fn new(
        core: Arc<Core>,
        client: Client,
        config: published::Receiver<Arc<Config>>,
        readiness: &Readiness,
    ) -> Self {
        let now = core.clock().now();
        let Config { settings, agents, agent_selector, .. } = &*Arc::clone(&config.borrow());
        let unscheduled = watch::Options { field_selector: Some("spec.nodeName=".into()), ..watch::Options::default() };
        let of_agents = watch::Options {
            namespace: Some(agents.daemon_set.namespace.to_string()),
            label_selector: agent_selector.as_deref().map(Into::into),
            ..watch::Options::default()
        };
        let clock = core.clock();
        Self {
            sight: Sight::new(&settings.rules, Arc::clone(&agents.daemon_set.name), settings.heartbeat, now),
            pods: Listened::new(&client, clock, unscheduled, readiness.handle("pods without a node")),
            nodes: Listened::new(&client, clock, watch::Options::default(), readiness.handle("nodes")),
            agents: Listened::new(&client, clock, of_agents, readiness.handle("agents' pods")),
            seen: published::Sender::default(),
            core,
            client,
            config,
        }
    }

    /// How the watches are doing.
    pub fn healths(&self) -> Healths {
        [
            ("unscheduled_pods", self.pods.watch.health()),
            ("nodes", self.nodes.watch.health()),
            ("agent_pods", self.agents.watch.health()),
        ]
    }

    /// What metrics show of it, as it changes.
    pub fn seen(&self) -> published::Receiver<Seen> {
        self.seen.subscribe()
    }

    /// Observes until it is dropped; `pulse` beats on every turn.
    pub async fn run(mut self, pulse: Pulse) -> anyhow::Result<()> {
        self.adopt();
        let mut leases = FuturesUnordered::new();
        loop {
            pulse.beat();
            let deadline = self.next_deadline();
            let clock = self.core.clock().clone();
            let now = || clock.now();
            let steps = tokio::select! {
                event = self.pods.next() => self.sight.on_pods(event, now()),
                event = self.nodes.next() => self.sight.on_nodes(event, now()),
                event = self.agents.next() => self.sight.on_agents(event, now()),
                Some((id, verdict)) = leases.next() => self.sight.on_verdict(id, verdict),
                Ok(()) = self.config.changed() => self.configure(now()),
                () = clock.sleep_until(deadline) => self.tick(now()),
            };
            let Steps { findings, gone, ask, list_again } = steps;
            for collection in list_again {
                match collection {
                    Collection::Pods => self.pods.watch.list_again(),
                    Collection::Nodes => self.nodes.watch.list_again(),
                    Collection::Agents => self.agents.watch.list_again(),
                }
            }
            leases.extend(ask.into_iter().map(|(id, node)| read_lease(self.client.clone(), clock.clone(), id, node)));
            if !findings.is_empty() || !gone.is_empty() {
                self.core.with(|pipeline, now| {
                    for node in &gone {
                        pipeline.on_node_gone(node, now);
                    }
                    pipeline.on_own_findings(findings, now);
                });
            }
        }
    }

    /// Goes on with what a predecessor told.
    fn adopt(&mut self) {
        let sight = &mut self.sight;
        self.core.with(|pipeline, now| {
            let adopted = sight.adopt(pipeline.dedupe().recalled_own(), now);
            pipeline.on_own_adopted(&adopted, now);
        });
    }

    fn next_deadline(&self) -> Time {
        let deadline = self.sight.next_deadline();
        let (is_resyncing, now) = self.core.quietly(|pipeline, now| (pipeline.dedupe().is_resyncing(), now));
        if is_resyncing { deadline.min(now + RESYNC_POLL) } else { deadline }
    }

    fn tick(&mut self, now: Time) -> Steps {
        let heard: HashMap<_, _> = self.core.quietly(|pipeline, _| {
            pipeline.sessions().heard().map(|(node, heard)| (Arc::clone(node), heard)).collect()
        });
        if self.core.quietly(|pipeline, _| pipeline.dedupe().is_resyncing()) {
            // While it is not known who is expected, only the window ends the wait: nobody is called like that.
            let expected = self.sight.expected().unwrap_or_else(|| vec![Arc::from("")]);
            self.core.with(|pipeline, now| pipeline.on_expected(expected.iter().map(|node| &**node), now));
        }
        if let Some(nodes) = self.sight.nodes() {
            self.core.with(|pipeline, now| pipeline.on_nodes_known(&nodes, now));
        }
        let steps = self.sight.on_tick(&heard, now);
        self.seen.send_replace(Seen { strength: self.sight.strength(&heard, now), shed: self.sight.shed() });
        steps
    }

    fn configure(&mut self, now: Time) -> Steps {
        let config = Arc::clone(&self.config.borrow_and_update());
        self.sight.configure(&config.settings.rules, config.settings.heartbeat, now)
    }
}

impl<V: Object> Listened<V> {
    fn new(client: &Client, clock: &Clock, options: watch::Options, ready: Handle) -> Self {
        let watch = Watch::new(client.clone(), clock.clone(), options, fastrand::Rng::new());
        Self { watch, ready }
    }

    /// The next event. Cancel-safe.
    async fn next(&mut self) -> Event<V> {
        let event = self.watch.next().await;
        match &event {
            Event::Listed { .. } => self.ready.ready(),
            // Later the API server may be away: that is no reason to turn agents away.
            Event::Quiet { reason } if self.watch.health().lists() == 0 => self.ready.unready(reason.to_string()),
            Event::Quiet { .. } | Event::Live | Event::Applied(_) | Event::Deleted(_) => {}
        }
        event
    }
}

/// Looks at a node's Lease twice.
async fn read_lease(client: Client, clock: Clock, id: FindingId, node: Arc<str>) -> (FindingId, Verdict) {
    let first = version_of_lease(&client, &node).await;
    if first.is_none() {
        return (id, Verdict::Unknown);
    }
    clock.sleep(LOOK_AGAIN).await;
    let second = version_of_lease(&client, &node).await;
    (id, Verdict::of(first.as_deref(), second.as_deref()))
}

/// `metadata.resourceVersion` of a node's Lease; `None` when there is none or it cannot be read.
async fn version_of_lease(client: &Client, node: &str) -> Option<String> {
    if !is_object_name(node) {
        return None;
    }
    let path = format!("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{node}");
    let request = http::Request::get(path).body(Vec::new()).ok()?;
    let reading = client.request::<Lease>(request);
    match tokio::time::timeout(LEASE_TIMEOUT, reading).await {
        Ok(Ok(Lease { metadata })) => Some(metadata.resource_version),
        Ok(Err(error)) => {
            tracing::debug!(target: "observe", node, %error, "lease_unread");
            None
        }
        Err(_) => None,
    }
}
