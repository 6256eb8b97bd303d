//! The engine: views and time in, findings out.
//!
//! It keeps no views. What it remembers is the findings that are open ([`track`]), and of few subjects a little more
//! ([`memory`]): edges that were told already, containers that are neither well nor ill, how often a node changed. A
//! healthy pod costs nothing.

mod adopt;
mod course;
mod judge;
mod memory;
mod outbox;
mod track;

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use crate::agent::AgentSight;
use crate::catalogue::{Kind, Side};
use crate::config::{Config, KindConfig};
use crate::finding::{Finding, FindingId, State};
use crate::time::Time;
use crate::verdict::Moment;
use crate::view::{Meta, Node, Pod};

pub(crate) use memory::NodeHistory;
pub use memory::Realm;
use memory::{Anchor, Memory};
use outbox::Outbox;
use track::Track;

/// Who detects: it says which side's rules run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observer {
    /// A node-agent, for the pods of its node.
    NodeAgent {
        /// The node's name.
        node: Arc<str>,
    },
    /// The aggregator, for what no single node can see.
    Aggregator,
    /// The aggregator where there are no agents, for both sides.
    Alone,
}

/// The detection engine of one observer.
///
/// After each input the caller drains [`Self::changes`] and arms a timer for [`Self::next_deadline`]. While it is cut
/// off from what it watches it neither feeds nor ticks: what nobody can see neither fires nor resolves.
pub struct Engine {
    observer: Observer,
    config: Arc<Config>,
    watched: Arc<[Watched]>,
    kubelet_offset: i64,
    pods_listed: bool,
    nodes_listed: bool,
    tracks: HashMap<FindingId, Track>,
    deadlines: BTreeSet<(Time, FindingId)>,
    memories: HashMap<Anchor, Memory>,
    nodes: HashMap<Anchor, NodeHistory>,
    /// Subjects that are gone whose edges are remembered for a while, and since when; at most [`RETIRED_MAX`].
    retired: VecDeque<(Time, Anchor)>,
    outbox: Outbox,
    shed: Shed,
}

/// A kind of this observer's side and its settings.
struct Watched {
    kind: Kind,
    enabled: bool,
    settings: KindConfig,
}

/// What did not fit.
#[derive(Default)]
struct Shed {
    count: u64,
    /// Those counted already, so that none counts twice while it lasts, and whose they are.
    known: HashMap<FindingId, (Realm, Anchor)>,
}

/// The most subjects that are gone whose edges are remembered.
const RETIRED_MAX: usize = 2_000;

impl Observer {
    /// Whether its rules run there.
    fn detects(&self, kind: Kind) -> bool {
        match self {
            Self::NodeAgent { .. } => kind.row().side == Side::NodeAgent,
            Self::Aggregator => kind.row().side == Side::Aggregator,
            Self::Alone => true,
        }
    }
}

impl Engine {
    /// How many findings a node-agent keeps. Warnings leave a quarter of them to criticals, infos half to both.
    pub const FINDINGS_MAX_AGENT: usize = 2_000;
    /// How many the aggregator keeps: 5,000 nodes and as many unscheduled pods fit.
    pub const FINDINGS_MAX_AGGREGATOR: usize = 20_000;

    /// An engine that has seen nothing yet.
    pub fn new(observer: Observer, config: Arc<Config>) -> Self {
        Self {
            watched: watched(&observer, &config),
            observer,
            config,
            kubelet_offset: 0,
            pods_listed: false,
            nodes_listed: false,
            tracks: HashMap::new(),
            deadlines: BTreeSet::new(),
            memories: HashMap::new(),
            nodes: HashMap::new(),
            retired: VecDeque::new(),
            outbox: Outbox::default(),
            shed: Shed::default(),
        }
    }

    /// Goes on with other settings. What they rule out is cleared at once. True when they differ from the last and there
    /// was a complete LIST before: then it must be shown again, for no views are kept.
    pub fn configure(&mut self, config: Arc<Config>) -> bool {
        if self.config == config {
            return false;
        }
        self.watched = watched(&self.observer, &config);
        self.config = config;
        let out: Vec<FindingId> =
            self.tracks.values().map(|track| &track.finding).filter(|it| !self.admits(it)).map(|it| it.id).collect();
        for id in out {
            self.end(id);
        }
        self.pods_listed || self.nodes_listed
    }

    /// The node's wall clock minus the API server's, in milliseconds: times that the kubelet wrote are shifted by it.
    pub fn set_kubelet_offset(&mut self, millis: i64) {
        self.kubelet_offset = millis;
    }

    /// Goes on with findings that an observer before this one left open. What the first complete LIST does not show
    /// again starts its hold then; what is not this observer's any more is cleared.
    ///
    /// True when that LIST has been already: what it said about these is not known any more. Listed again, their holds
    /// count from the API's own times, else from `now`. No time passes by this: the caller may be cut off.
    pub fn adopt(&mut self, open: Vec<Finding>, now: Time) -> bool {
        let mut list_again = false;
        for finding in open.into_iter().filter(|finding| finding.state != State::Cleared) {
            if self.is_mine(&finding) {
                list_again |= self.adopt_one(finding, now);
            }
        }
        list_again
    }

    /// A pod is there or has changed.
    pub fn on_pod(&mut self, pod: &Pod, now: Time) {
        self.advance(now);
        self.judge_pod(pod, now);
        self.advance(now);
    }

    /// A pod is gone, or has left the selection that is watched.
    pub fn on_pod_deleted(&mut self, pod: &Pod, now: Time) {
        self.advance(now);
        self.gone(Anchor::of_pod(&pod.meta), now);
    }

    /// These are all pods. What happened to pods of the first call may be old: it is [`crate::Seen::Found`]. What was there
    /// before and is not among them starts its hold.
    pub fn on_relist(&mut self, pods: &[Pod], now: Time) {
        self.on_relist_but(pods, &[], now);
    }

    /// The same, but for pods that are there and could not be read: nothing becomes of these. Of one that has no name here
    /// nobody knows which it is, so then nobody is gone.
    pub fn on_relist_but(&mut self, pods: &[Pod], skipped: &[Meta], now: Time) {
        for pod in pods {
            self.judge_pod(pod, now);
        }
        self.pods_listed = true;
        if are_named(skipped) {
            let there = pods.iter().map(|pod| &pod.meta).chain(skipped).map(Anchor::of_pod).collect();
            self.sweep(Realm::Pods, &there, now);
        }
        self.advance(now);
    }

    /// A node is there or has changed.
    pub fn on_node(&mut self, node: &Node, now: Time) {
        self.advance(now);
        self.judge_node(node, now);
        self.advance(now);
    }

    /// A node is gone.
    pub fn on_node_deleted(&mut self, node: &Node, now: Time) {
        self.advance(now);
        let anchor = Anchor::of(Realm::Nodes, &node.meta.name);
        self.nodes.remove(&anchor);
        self.gone(anchor, now);
    }

    /// These are all nodes.
    pub fn on_node_relist(&mut self, nodes: &[Node], now: Time) {
        self.on_node_relist_but(nodes, &[], now);
    }

    /// The same, but for nodes that are there and could not be read, as [`Self::on_relist_but`].
    pub fn on_node_relist_but(&mut self, nodes: &[Node], skipped: &[Meta], now: Time) {
        for node in nodes {
            self.judge_node(node, now);
        }
        self.nodes_listed = true;
        if are_named(skipped) {
            let metas = nodes.iter().map(|node| &node.meta).chain(skipped);
            let there: HashSet<Anchor> = metas.map(|meta| Anchor::of(Realm::Nodes, &meta.name)).collect();
            self.nodes.retain(|anchor, _| there.contains(anchor));
            self.sweep(Realm::Nodes, &there, now);
        }
        self.advance(now);
    }

    /// What is known about the agents of nodes. To be called with every node at least once an interval: that time has
    /// passed since the last heartbeat is seen here, not in [`Self::on_tick`]. All of them are judged before time goes on:
    /// who has been heard since must not be told because of how it was before.
    pub fn on_agents(&mut self, agents: &[AgentSight<'_>], now: Time) {
        for agent in agents {
            self.judge_agent(agent, now);
        }
        self.advance(now);
    }

    /// What is known about the agent of one node, as [`Self::on_agents`].
    pub fn on_agent(&mut self, agent: &AgentSight<'_>, now: Time) {
        self.on_agents(std::slice::from_ref(agent), now);
    }

    /// There is no agent to wait for on that node any more: the node was removed, which ends the finding at once.
    pub fn on_agent_gone(&mut self, node: &str, now: Time) {
        self.advance(now);
        let open = self.memories.get(&Anchor::of(Realm::Agents, node)).map(|memory| memory.open.clone());
        for id in open.unwrap_or_default() {
            self.end(id);
        }
    }

    /// Time has passed.
    pub fn on_tick(&mut self, now: Time) {
        self.advance(now);
    }

    /// When [`Self::on_tick`] has something to do next.
    pub fn next_deadline(&self) -> Option<Time> {
        self.deadlines.first().map(|&(at, _)| at)
    }

    /// The findings that have changed since the last call, each once, as they stand now.
    pub fn changes(&mut self) -> Vec<Finding> {
        let mut changes = Vec::new();
        for id in self.outbox.drain() {
            let ended = self.outbox.take_ended(id);
            let Some(track) = self.tracks.get_mut(&id).filter(|track| track.announced) else {
                changes.extend(ended);
                continue;
            };
            track.told = Some(track.finding.state);
            changes.push(track.finding.clone());
            self.rearm(id);
        }
        changes
    }

    /// All findings that are pending or active.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.tracks.values().filter(|track| track.announced).map(|track| &track.finding)
    }

    /// How many findings did not fit since the start.
    pub fn shed(&self) -> u64 {
        self.shed.count
    }

    /// Whether the configuration lets a finding be.
    fn admits(&self, finding: &Finding) -> bool {
        self.config.of(finding.kind).is_some() && self.config.scope.admits(&finding.subject.namespace, finding.severity)
    }

    fn moment(&self, now: Time) -> Moment {
        Moment { now, kubelet_offset: self.kubelet_offset }
    }
}

/// Whether it is known of each which one it is.
fn are_named(skipped: &[Meta]) -> bool {
    skipped.iter().all(|meta| !meta.name.is_empty())
}

/// The kinds of an observer's side. Those switched off are among them: what happens meanwhile is not told later.
fn watched(observer: &Observer, config: &Config) -> Arc<[Watched]> {
    let kinds = Kind::all().filter(|kind| observer.detects(*kind));
    let watched = kinds.map(|kind| Watched {
        kind,
        enabled: config.of(kind).is_some(),
        settings: config.of(kind).cloned().unwrap_or_else(|| KindConfig::of(kind.row())),
    });
    watched.collect()
}

#[cfg(test)]
mod tests;
