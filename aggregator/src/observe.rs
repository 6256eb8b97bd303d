//! Observe: what no single node can see, and where there are no agents the pods, too. The aggregator watches, and reports
//! what it finds into the same pipeline that the agents report into.
//!
//! [`sight`] decides; this file moves events and time into it, and carries out what comes out.

pub mod doubt;
pub mod fleet;
pub mod sight;
pub mod stand_in;
mod watches;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use kube::Client;
use process::watch::{self, Failure, Listing, list_once};
use process::{Clock, Pulse, Readiness};
use rules::name::is_object_name;
use rules::view::Meta;
use rules::{FindingId, Pod, Time};
use serde::Deserialize;
use tokio::sync::watch as published;

use self::doubt::{LOOK_AGAIN, Verdict};
use self::fleet::Strength;
use self::sight::{Sight, Steps};
use self::stand_in::{Look, StandIns};
pub use self::watches::Healths;
use self::watches::{Seen, Watches};
use crate::config::{Config, Coverage};
use crate::core::Core;
use crate::pipeline::Pipeline;

/// The aggregator's own watches, and what it makes of them.
pub struct Observe {
    core: Arc<Core>,
    client: Client,
    config: published::Receiver<Arc<Config>>,
    readiness: Readiness,
    coverage: Coverage,
    sight: Sight,
    stand_ins: StandIns,
    watches: Watches,
    shown: published::Sender<Shown>,
}

/// What metrics show of it.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    /// The agents.
    pub strength: Strength,
    /// Nodes on which no agent is heard, and whose pods nobody else looks at.
    pub uncovered: usize,
    /// Findings of the aggregator's own that had no room.
    pub shed: u64,
    /// Its watches.
    pub watches: Healths,
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
        let in_force = Arc::clone(&config.borrow());
        let watches = Watches::new(&in_force, &client, core.clock(), readiness);
        let shown = Shown { watches: watches.healths(), ..Shown::default() };
        Self {
            coverage: in_force.coverage.clone(),
            sight: sight(&in_force, core.clock().now()),
            stand_ins: StandIns::new(Arc::clone(&in_force.settings.rules), fastrand::u64(..)),
            watches,
            shown: published::Sender::new(shown),
            readiness: readiness.clone(),
            core,
            client,
            config,
        }
    }

    /// What metrics show of it, as it changes.
    pub fn shown(&self) -> published::Receiver<Shown> {
        self.shown.subscribe()
    }

    /// Observes until it is dropped; `pulse` beats on every turn.
    pub async fn run(mut self, pulse: Pulse) -> anyhow::Result<()> {
        self.adopt();
        let (mut leases, mut looks) = (FuturesUnordered::new(), FuturesUnordered::new());
        loop {
            pulse.beat();
            let deadline = self.next_deadline();
            let clock = self.core.clock().clone();
            let now = || clock.now();
            let steps = tokio::select! {
                seen = self.watches.next() => match seen {
                    Seen::Pods(number, event) => self.sight.on_pods(number, event, now()),
                    Seen::Nodes(event) => self.sight.on_nodes(event, now()),
                    Seen::Agents(event) => self.sight.on_agents(event, now()),
                },
                Some((id, verdict)) = leases.next() => self.sight.on_verdict(id, verdict),
                Some((look, listing)) = looks.next() => {
                    let stand_ins = &mut self.stand_ins;
                    self.core.with(|pipeline, now| stand_ins.on_looked(&look, listing, pipeline, now));
                    tracing::debug!(target: "observe", node = %look.node, "look_taken");
                    Steps::default()
                }
                Ok(()) = self.config.changed() => self.configure(now()),
                () = clock.sleep_until(deadline) => self.tick(now()),
            };
            let Steps { findings, gone, ask, list_again } = steps;
            for node in &gone {
                self.stand_ins.on_node_gone(node);
            }
            for collection in list_again {
                self.watches.list_again(collection);
            }
            leases.extend(ask.into_iter().map(|(id, node)| read_lease(self.client.clone(), clock.clone(), id, node)));
            looks.extend(self.stand_ins.looks(now()).into_iter().map(|look| look_at(self.client.clone(), look)));
            if !findings.is_empty() || !gone.is_empty() {
                let (findings_taken, nodes_gone) = (findings.len(), gone.len());
                self.core.with(|pipeline, now| {
                    for node in &gone {
                        pipeline.on_node_gone(node, now);
                    }
                    pipeline.on_own_findings(findings, now);
                });
                tracing::debug!(target: "observe", findings = findings_taken, nodes_gone, "own_report_taken");
            }
        }
    }

    /// Goes on with what is open of the aggregator's own findings.
    fn adopt(&mut self) {
        let sight = &mut self.sight;
        self.core.with(|pipeline, now| {
            let adopted = sight.adopt(pipeline.dedupe().own_findings(), now);
            pipeline.on_own_adopted(&adopted, now);
        });
    }

    fn next_deadline(&self) -> Time {
        let deadline = self.sight.next_deadline();
        let deadline = self.stand_ins.next_deadline().map_or(deadline, |look| look.min(deadline));
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
        if self.sight.sees_all_pods() {
            self.core.with(Pipeline::on_no_agents);
        } else if let Some(nodes) = self.sight.nodes() {
            self.core.with(|pipeline, now| pipeline.on_nodes_known(&nodes, now));
        }
        if let Some(nodes) = self.sight.without_agent(&heard, now) {
            self.stand_ins.want(&nodes, self.config.borrow().settings.heartbeat, now);
        }
        let steps = self.sight.on_tick(&heard, now);
        self.shown.send_replace(Shown {
            strength: self.sight.strength(&heard, now),
            uncovered: self.stand_ins.uncovered(),
            shed: self.sight.shed() + self.stand_ins.shed(),
            watches: self.watches.healths(),
        });
        steps
    }

    fn configure(&mut self, now: Time) -> Steps {
        let config = Arc::clone(&self.config.borrow_and_update());
        self.stand_ins.configure(&config.settings.rules);
        if config.coverage == self.coverage {
            return self.sight.configure(&config.settings.rules, config.settings.heartbeat, now);
        }
        tracing::info!(target: "observe", coverage = ?config.coverage, "coverage_changed");
        self.coverage = config.coverage.clone();
        self.core.with(Pipeline::on_other_observers);
        self.watches = Watches::new(&config, &self.client, self.core.clock(), &self.readiness);
        self.sight = sight(&config, now);
        self.stand_ins.want(&BTreeSet::new(), config.settings.heartbeat, now);
        self.adopt();
        Steps::default()
    }
}

/// Nothing is seen yet.
fn sight(config: &Config, now: Time) -> Sight {
    let Config { settings, coverage, agents, .. } = config;
    Sight::new(&settings.rules, coverage.clone(), Arc::clone(&agents.daemon_set.name), settings.heartbeat, now)
}

/// Lists a node's pods.
async fn look_at(client: Client, look: Look) -> (Look, Result<Listing<Pod>, Failure>) {
    if !is_object_name(&look.node) {
        return (look, Err(Failure::Unusable("no node can have that name".into())));
    }
    let field_selector = Some(format!("spec.nodeName={}", look.node));
    let options = watch::Options { field_selector, ..watch::Options::default() };
    let listing = list_once(client, &options, look.version.clone()).await;
    (look, listing)
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
