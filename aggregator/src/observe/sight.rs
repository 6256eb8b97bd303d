//! What the aggregator sees by itself: pods without a node, nodes, and the fleet of agents. Pure: events of watches and
//! time go in, [`Steps`] come out.
//!
//! Each watch has an engine of its own, so one that goes quiet freezes what it shows and nothing else.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use process::Event;
use rules::view::Meta;
use rules::{Config, Engine, Finding, FindingId, Node, Observer, Pod, Time};

use super::doubt::{Doubts, Sorted, Verdict};
use super::fleet::{Fleet, Strength};

/// What the aggregator sees by itself.
pub struct Sight {
    pods: Engine,
    nodes: Engine,
    agents: Engine,
    fleet: Fleet,
    doubts: Doubts,
    pods_known: Known,
    nodes_known: Known,
    agents_known: Known,
    interval: Duration,
    next_sweep: Time,
}

/// What there is to do.
#[derive(Debug, Default, PartialEq)]
pub struct Steps {
    /// To be told to the pipeline.
    pub findings: Vec<Finding>,
    /// These nodes are no more.
    pub gone: Vec<Arc<str>>,
    /// The Lease of that node is to be read, and [`Sight::on_verdict`] called.
    pub ask: Vec<(FindingId, Arc<str>)>,
    /// The pods without a node are to be listed again: no object of theirs is kept.
    pub list_again: bool,
}

/// Whether a watch shows what is there.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    listed: bool,
    quiet: bool,
}

/// The fleet is looked over at least so often, however rare heartbeats are.
const SWEEP_MAX: Duration = Duration::from_secs(30);

impl Sight {
    /// Nothing is seen yet. Agents are told to send a heartbeat once in every `interval`.
    pub fn new(config: &Arc<Config>, daemon_set: Arc<str>, interval: Duration, now: Time) -> Self {
        let engine = || Engine::new(Observer::Aggregator, Arc::clone(config));
        Self {
            pods: engine(),
            nodes: engine(),
            agents: engine(),
            fleet: Fleet::new(daemon_set),
            doubts: Doubts::new(),
            pods_known: Known::default(),
            nodes_known: Known::default(),
            agents_known: Known::default(),
            interval,
            next_sweep: now,
        }
    }

    /// Goes by other rules from now on: what is there is looked at again.
    pub fn configure(&mut self, config: &Arc<Config>, interval: Duration, now: Time) -> Steps {
        self.interval = interval;
        self.next_sweep = now;
        let list_again = self.pods.configure(Arc::clone(config));
        if self.nodes.configure(Arc::clone(config)) && self.nodes_known.is_known() {
            let nodes: Vec<_> = self.fleet.nodes().cloned().collect();
            self.nodes.on_node_relist(&nodes, now);
        }
        self.agents.configure(Arc::clone(config));
        Steps { list_again, ..self.steps(Vec::new()) }
    }

    /// The watch over pods without a node has something.
    pub fn on_pods(&mut self, event: Event<Pod>, now: Time) -> Steps {
        self.pods_known.on(&event);
        match event {
            Event::Listed { objects, .. } => self.pods.on_relist(&objects, now),
            Event::Applied(pod) => self.pods.on_pod(&pod, now),
            Event::Deleted(pod) => self.pods.on_pod_deleted(&pod, now),
            Event::Quiet { .. } | Event::Live => {}
        }
        self.steps(Vec::new())
    }

    /// The watch over nodes has something.
    pub fn on_nodes(&mut self, event: Event<Node>, now: Time) -> Steps {
        self.nodes_known.on(&event);
        let gone = match event {
            Event::Listed { objects, skipped, .. } => {
                self.nodes.on_node_relist(&objects, now);
                let skipped: Vec<_> = skipped.into_iter().map(|Meta { name, .. }| name).collect();
                self.fleet.on_nodes(objects, &skipped)
            }
            Event::Applied(node) => {
                self.nodes.on_node(&node, now);
                self.fleet.on_node(node);
                Vec::new()
            }
            Event::Deleted(node) => {
                self.nodes.on_node_deleted(&node, now);
                self.fleet.on_node_deleted(&node.meta.name);
                vec![node.meta.name]
            }
            Event::Quiet { .. } | Event::Live => Vec::new(),
        };
        for node in &gone {
            self.agents.on_agent_gone(node, now);
        }
        self.steps(gone)
    }

    /// The watch over the agents' pods has something.
    pub fn on_agents(&mut self, event: Event<Pod>, now: Time) -> Steps {
        self.agents_known.on(&event);
        match event {
            Event::Listed { objects, .. } => {
                self.fleet.on_pods(&objects, now);
                self.next_sweep = now;
            }
            Event::Applied(pod) => self.fleet.on_pod(&pod, now),
            Event::Deleted(pod) => self.fleet.on_pod_deleted(&pod),
            Event::Quiet { .. } | Event::Live => {}
        }
        Steps::default()
    }

    /// Time has passed. `heard` says when each node's agent was heard last.
    pub fn on_tick(&mut self, heard: &HashMap<Arc<str>, Time>, now: Time) -> Steps {
        if self.pods_known.is_known() {
            self.pods.on_tick(now);
        }
        if self.nodes_known.is_known() {
            self.nodes.on_tick(now);
        }
        if self.knows_fleet() {
            self.agents.on_tick(now);
        }
        if now >= self.next_sweep {
            self.next_sweep = now + self.interval.min(SWEEP_MAX);
            if self.knows_fleet() {
                for sight in self.fleet.sights(heard, self.interval, now) {
                    self.agents.on_agent(&sight, now);
                }
            }
        }
        self.steps(Vec::new())
    }

    /// A node's Lease was read.
    pub fn on_verdict(&mut self, id: FindingId, verdict: Verdict) -> Steps {
        Steps { findings: self.doubts.on_verdict(id, verdict).into_iter().collect(), ..Steps::default() }
    }

    /// When [`Self::on_tick`] has something to do.
    pub fn next_deadline(&self) -> Time {
        let engines = [
            (self.pods_known.is_known(), &self.pods),
            (self.nodes_known.is_known(), &self.nodes),
            (self.knows_fleet(), &self.agents),
        ];
        let deadlines = engines.into_iter().filter(|(is_known, _)| *is_known).filter_map(|(_, it)| it.next_deadline());
        deadlines.fold(self.next_sweep, Time::min)
    }

    /// The nodes whose agents will report if they are well; `None` while that is not known.
    pub fn expected(&self) -> Option<Vec<Arc<str>>> {
        self.knows_fleet().then(|| self.fleet.expected())
    }

    /// How many agents there are.
    pub fn strength(&self, heard: &HashMap<Arc<str>, Time>, now: Time) -> Strength {
        self.fleet.strength(heard, self.interval, now)
    }

    /// How many findings of its own it had no room for.
    pub fn shed(&self) -> u64 {
        [&self.pods, &self.nodes, &self.agents].into_iter().map(Engine::shed).sum()
    }

    fn knows_fleet(&self) -> bool {
        self.nodes_known.is_known() && self.agents_known.is_known()
    }

    fn steps(&mut self, gone: Vec<Arc<str>>) -> Steps {
        let mut changes = self.pods.changes();
        changes.append(&mut self.nodes.changes());
        changes.append(&mut self.agents.changes());
        let Sorted { tell, ask } = self.doubts.sort(changes);
        Steps { findings: tell, gone, ask, list_again: false }
    }
}

impl Known {
    fn on<V>(&mut self, event: &Event<V>) {
        match event {
            Event::Listed { .. } => *self = Self { listed: true, quiet: false },
            Event::Quiet { .. } => self.quiet = true,
            Event::Live => self.quiet = false,
            Event::Applied(_) | Event::Deleted(_) => {}
        }
    }

    const fn is_known(self) -> bool {
        self.listed && !self.quiet
    }
}

#[cfg(test)]
mod tests;
