//! Standing in for agents: a node on which none is heard (a virtual one, one without Linux, one that the DaemonSet leaves
//! out, one whose agent is silent) has its pods listed once a minute, and judged by the agents' rules. Pure.
//!
//! What is found is reported as the node's agent would: so an agent that comes is given it as it is given what an agent
//! before it told, and who stands in goes on with what the agent told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use process::watch::{Failure, Listing};
use rules::{Config, Engine, Observer, Pod, Time};

use crate::ingest::sessions::Heard;
use crate::pipeline::Pipeline;

/// Those that stand in, by node.
pub struct StandIns {
    config: Arc<Config>,
    nodes: BTreeMap<Arc<str>, StandIn>,
    /// On how many nodes no agent is heard.
    wanted: usize,
    looks: u64,
    /// Findings without room of those that stand in no more.
    shed: u64,
    random: fastrand::Rng,
}

/// The pods of a node are to be listed, and [`StandIns::on_looked`] called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// The node.
    pub node: Arc<str>,
    /// Not older than this; `None` for any version.
    pub version: Option<String>,
    /// Which look this is.
    number: u64,
    /// When it began.
    at: Time,
}

/// One node's.
struct StandIn {
    /// `None` before the first look.
    engine: Option<Engine>,
    version: Option<String>,
    /// When it last took in what it saw.
    took_in: Option<Time>,
    /// When to look next, or which look is on its way.
    next: Next,
    failures: u32,
}

enum Next {
    At(Time),
    Looking(u64),
}

/// The most nodes: each costs a LIST a minute.
pub const NODES_MAX: usize = 50;
/// From one look to the next, give or take a tenth.
const PERIOD: Duration = Duration::from_mins(1);
/// After so many looks in a row that failed, it is begun anew: the API server may have been restored from a backup.
const FAILURES_MAX: u32 = 3;

impl StandIns {
    /// Nobody stands in yet. `seed` is for jitter.
    pub fn new(config: Arc<Config>, seed: u64) -> Self {
        let random = fastrand::Rng::with_seed(seed);
        Self { config, nodes: BTreeMap::new(), wanted: 0, looks: 0, shed: 0, random }
    }

    /// Goes by other rules from the next look on.
    pub fn configure(&mut self, config: &Arc<Config>) {
        self.config = Arc::clone(config);
        for engine in self.nodes.values_mut().filter_map(|it| it.engine.as_mut()) {
            engine.configure(Arc::clone(config));
        }
    }

    /// On these nodes no agent is heard, and on no others. Agents are told to send a heartbeat once in every `interval`: one
    /// that is about to start is given time.
    pub fn want(&mut self, nodes: &BTreeSet<Arc<str>>, interval: Duration, now: Time) {
        self.wanted = nodes.len();
        let left: Vec<_> = self.nodes.extract_if(.., |node, _| !nodes.contains(node)).collect();
        self.shed += left.iter().map(|(_, it)| it.shed()).sum::<u64>();
        for node in nodes {
            if self.nodes.len() == NODES_MAX {
                return;
            }
            if !self.nodes.contains_key(node) {
                let grace = interval * Heard::MISSED_MAX;
                let next = Next::At(now + grace + grace.mul_f64(self.random.f64()));
                self.nodes.insert(Arc::clone(node), StandIn::new(next));
            }
        }
    }

    /// A node is no more: a look at it that is on its way changes nothing.
    pub fn on_node_gone(&mut self, node: &str) {
        if let Some(it) = self.nodes.remove(node) {
            self.wanted -= 1;
            self.shed += it.shed();
        }
    }

    /// The looks that are due.
    pub fn looks(&mut self, now: Time) -> Vec<Look> {
        let mut looks = Vec::new();
        for (node, it) in &mut self.nodes {
            if matches!(it.next, Next::At(at) if at <= now) {
                self.looks += 1;
                it.next = Next::Looking(self.looks);
                looks.push(Look { node: Arc::clone(node), version: it.version.clone(), number: self.looks, at: now });
            }
        }
        looks
    }

    /// When the next look is due.
    pub fn next_deadline(&self) -> Option<Time> {
        let at = |it: &StandIn| if let Next::At(at) = it.next { Some(at) } else { None };
        self.nodes.values().filter_map(at).min()
    }

    /// The pods of a node were listed, or not: then nothing is known, and all stays as it is.
    pub fn on_looked(
        &mut self,
        look: &Look,
        listing: Result<Listing<Pod>, Failure>,
        pipeline: &mut Pipeline,
        now: Time,
    ) {
        let Some(it) = self.nodes.get_mut(&look.node) else { return };
        if !matches!(it.next, Next::Looking(number) if number == look.number) {
            return;
        }
        it.next = Next::At(now + PERIOD.mul_f64(0.9 + 0.2 * self.random.f64()));
        let heard = pipeline.sessions().last_heard(&look.node);
        if it.took_in <= heard {
            // What the agent has told since is to be gone on with.
            self.shed += it.begin_anew();
        }
        if pipeline.sessions().is_heard(&look.node, now) || heard >= Some(look.at) {
            // It came back meanwhile, and speaks for itself.
            return;
        }
        match listing {
            Ok(listing) => it.judge(look, listing, &self.config, pipeline, now),
            Err(failure) => {
                tracing::debug!(target: "observe", node = %look.node, %failure, "node_not_looked_at");
                it.failures += 1;
                if it.failures.is_multiple_of(FAILURES_MAX) {
                    self.shed += it.begin_anew();
                }
            }
        }
    }

    /// Nodes on which no agent is heard, and whose pods nobody else looks at.
    pub fn uncovered(&self) -> usize {
        self.wanted - self.nodes.values().filter(|it| it.engine.is_some() && it.failures == 0).count()
    }

    /// How many findings had no room.
    pub fn shed(&self) -> u64 {
        self.shed + self.nodes.values().map(StandIn::shed).sum::<u64>()
    }
}

impl StandIn {
    fn new(next: Next) -> Self {
        Self { engine: None, version: None, took_in: None, next, failures: 0 }
    }

    /// Knows nothing any more; how many findings had no room until then.
    fn begin_anew(&mut self) -> u64 {
        let shed = self.shed();
        (self.engine, self.version, self.took_in) = (None, None, None);
        shed
    }

    fn judge(
        &mut self,
        Look { node, at, .. }: &Look,
        listing: Listing<Pod>,
        config: &Arc<Config>,
        pipeline: &mut Pipeline,
        now: Time,
    ) {
        let Listing { objects, skipped, version } = listing;
        let engine = self.engine.get_or_insert_with(|| {
            let mut engine = Engine::new(Observer::NodeAgent { node: Arc::clone(node) }, Arc::clone(config));
            engine.adopt(pipeline.on_stand_in(node), now);
            engine
        });
        engine.on_relist_but(&objects, &skipped, now);
        let changes = engine.changes();
        let there = engine.findings().map(|finding| finding.id).collect();
        pipeline.on_looked(node, changes, &there, *at, now);
        (self.version, self.took_in, self.failures) = (Some(version), Some(now), 0);
    }

    fn shed(&self) -> u64 {
        self.engine.as_ref().map_or(0, Engine::shed)
    }
}

#[cfg(test)]
mod tests;
