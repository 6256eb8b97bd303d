//! What the aggregator sees by itself: pods (without a node, or where there are no agents all of them), nodes, and the
//! fleet of agents. Pure: events of watches and time go in, [`Steps`] come out.
//!
//! Each watch has an engine of its own, so one that goes quiet freezes what it shows and nothing else. What the agents are
//! like is seen through two watches, their pods' and the nodes': it freezes with either.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use process::Event;
use process::watch;
use rules::view::Meta;
use rules::{Config, Engine, Finding, FindingId, Node, Observer, Pod, Realm, Time};

use super::doubt::{Doubts, Sorted, Verdict};
use super::fleet::{Fleet, Strength};
use crate::config::Coverage;
use crate::ingest::sessions::Heard;

/// What the aggregator sees by itself.
pub struct Sight {
    coverage: Coverage,
    pods: Vec<Pods>,
    nodes: Engine,
    agents: Engine,
    fleet: Fleet,
    doubts: Doubts,
    nodes_seen: watch::Sight,
    agents_seen: watch::Sight,
    interval: Duration,
    next_sweep: Time,
    /// When the agents were looked at last.
    swept: Time,
}

/// What one watch over pods shows.
struct Pods {
    /// Of which namespace; `None` for all.
    namespace: Option<Arc<str>>,
    engine: Engine,
    seen: watch::Sight,
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
    /// These are to be listed again.
    pub list_again: Vec<Collection>,
}

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Collection {
    /// Pods, in the watch of that number: one for each namespace of [`Coverage::Namespaces`], else one.
    Pods(usize),
    /// Nodes.
    Nodes,
    /// Pods in the agents' namespace.
    Agents,
}

/// The fleet is looked over at least so often, however rare heartbeats are.
const SWEEP_MAX: Duration = Duration::from_secs(30);

impl Sight {
    /// Nothing is seen yet. Agents are told to send a heartbeat once in every `interval`.
    pub fn new(config: &Arc<Config>, coverage: Coverage, daemon_set: Arc<str>, interval: Duration, now: Time) -> Self {
        let engine = |observer| Engine::new(observer, Arc::clone(config));
        let pods = |observer, namespace| Pods { namespace, engine: engine(observer), seen: watch::Sight::default() };
        Self {
            pods: match &coverage {
                Coverage::Agents => vec![pods(Observer::Aggregator, None)],
                Coverage::Cluster => vec![pods(Observer::Alone, None)],
                Coverage::Namespaces(names) => {
                    names.iter().map(|name| pods(Observer::Alone, Some(Arc::clone(name)))).collect()
                }
            },
            coverage,
            nodes: engine(Observer::Aggregator),
            agents: engine(Observer::Aggregator),
            fleet: Fleet::new(daemon_set),
            doubts: Doubts::new(),
            nodes_seen: watch::Sight::default(),
            agents_seen: watch::Sight::default(),
            interval,
            next_sweep: now,
            swept: now,
        }
    }

    /// Goes on with findings of the aggregator's own that are open. Returns which of them this will say the end of. To be
    /// called before anything is seen.
    pub fn adopt(&mut self, open: Vec<Finding>, now: Time) -> BTreeSet<FindingId> {
        for finding in open {
            if let Some(engine) = self.engine_of(&finding) {
                engine.adopt(vec![finding], now);
            }
        }
        self.engines().flat_map(Engine::findings).map(|finding| finding.id).collect()
    }

    /// Goes by other rules from now on: what is there is looked at again.
    pub fn configure(&mut self, config: &Arc<Config>, interval: Duration, now: Time) -> Steps {
        self.interval = interval;
        self.next_sweep = now;
        let mut list_again = Vec::new();
        for (number, pods) in self.pods.iter_mut().enumerate() {
            if pods.engine.configure(Arc::clone(config)) {
                // No pod is kept.
                list_again.push(Collection::Pods(number));
            }
        }
        if self.nodes.configure(Arc::clone(config)) {
            if self.nodes_seen.is_live() {
                let nodes: Vec<_> = self.fleet.nodes().cloned().collect();
                self.nodes.on_node_relist(&nodes, now);
            } else {
                list_again.push(Collection::Nodes);
            }
        }
        self.agents.configure(Arc::clone(config));
        self.steps(Vec::new(), list_again)
    }

    /// The watch over pods of that number has something.
    pub fn on_pods(&mut self, number: usize, event: Event<Pod>, now: Time) -> Steps {
        let Pods { engine, seen, .. } = &mut self.pods[number];
        let list_again = seen.on(&event, is_due(engine, now));
        match event {
            Event::Listed { objects, skipped, .. } => engine.on_relist_but(&objects, &skipped, now),
            Event::Applied(pod) => engine.on_pod(&pod, now),
            Event::Deleted(pod) => engine.on_pod_deleted(&pod, now),
            Event::Quiet { .. } | Event::Live => {}
        }
        self.steps(Vec::new(), list_again.then_some(Collection::Pods(number)).into_iter().collect())
    }

    /// The watch over nodes has something.
    pub fn on_nodes(&mut self, event: Event<Node>, now: Time) -> Steps {
        let list_again = self.nodes_seen.on(&event, is_due(&self.nodes, now) || self.is_fleet_due(now));
        let gone = match event {
            Event::Listed { objects, skipped, .. } => {
                self.nodes.on_node_relist_but(&objects, &skipped, now);
                let skipped: Vec<_> = skipped.into_iter().map(|Meta { name, .. }| name).collect();
                let mut gone = self.fleet.on_nodes(objects, &skipped);
                // What a predecessor told may be of a node that went before we looked.
                let silent = self.agents.findings().map(|finding| Arc::clone(&finding.subject.node));
                let left: Vec<_> = silent.filter(|node| !self.fleet.has(node) && !gone.contains(node)).collect();
                gone.extend(left);
                gone
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
        self.steps(gone, list_again.then_some(Collection::Nodes).into_iter().collect())
    }

    /// The watch over the agents' pods has something.
    pub fn on_agents(&mut self, event: Event<Pod>, now: Time) -> Steps {
        let list_again = self.agents_seen.on(&event, self.is_fleet_due(now));
        match event {
            Event::Listed { objects, .. } => {
                self.fleet.on_pods(&objects, now);
                self.next_sweep = now;
            }
            Event::Applied(pod) => self.fleet.on_pod(&pod, now),
            Event::Deleted(pod) => self.fleet.on_pod_deleted(&pod),
            Event::Quiet { .. } | Event::Live => {}
        }
        Steps { list_again: list_again.then_some(Collection::Agents).into_iter().collect(), ..Steps::default() }
    }

    /// Time has passed. `heard` says when each node's agent was heard last.
    pub fn on_tick(&mut self, heard: &HashMap<Arc<str>, Heard>, now: Time) -> Steps {
        for pods in self.pods.iter_mut().filter(|pods| pods.seen.is_live()) {
            pods.engine.on_tick(now);
        }
        if self.nodes_seen.is_live() {
            self.nodes.on_tick(now);
        }
        let mut gone = Vec::new();
        if now >= self.next_sweep {
            self.next_sweep = now + self.sweep_every();
            if self.knows_fleet() {
                self.swept = now;
                self.agents.on_agents(&self.fleet.sights(heard, self.interval, now), now);
                gone.extend(self.fleet.left(heard, now).cloned());
            }
        }
        self.steps(gone, Vec::new())
    }

    /// A node's Lease was read.
    pub fn on_verdict(&mut self, id: FindingId, verdict: Verdict) -> Steps {
        Steps { findings: self.doubts.on_verdict(id, verdict).into_iter().collect(), ..Steps::default() }
    }

    /// When [`Self::on_tick`] has something to do.
    pub fn next_deadline(&self) -> Time {
        // For the agents time goes on with each sweep: who is due may have been heard since the last.
        let pods = self.pods.iter().map(|pods| (pods.seen, &pods.engine));
        let engines = pods.chain([(self.nodes_seen, &self.nodes)]).filter(|(seen, _)| seen.is_live());
        engines.filter_map(|(_, engine)| engine.next_deadline()).fold(self.next_sweep, Time::min)
    }

    /// The nodes whose agents will report if they are well; `None` while that is not known.
    pub fn expected(&self) -> Option<Vec<Arc<str>>> {
        match self.coverage {
            Coverage::Agents => self.knows_fleet().then(|| self.fleet.expected()),
            Coverage::Cluster | Coverage::Namespaces(_) => self.sees_all_pods().then(Vec::new),
        }
    }

    /// How many agents there are.
    pub fn strength(&self, heard: &HashMap<Arc<str>, Heard>, now: Time) -> Strength {
        self.fleet.strength(heard, now)
    }

    /// The nodes that are there; `None` while that is not known.
    pub fn nodes(&self) -> Option<BTreeSet<Arc<str>>> {
        self.nodes_seen.is_live().then(|| self.fleet.names().cloned().collect())
    }

    /// The nodes on which no agent is heard, and none is about to be; `None` while that is not known.
    pub fn without_agent(&self, heard: &HashMap<Arc<str>, Heard>, now: Time) -> Option<BTreeSet<Arc<str>>> {
        self.knows_fleet().then(|| self.fleet.without_agent(heard, now))
    }

    /// Whether there are no agents, and all that they would see is seen here.
    pub fn sees_all_pods(&self) -> bool {
        self.coverage != Coverage::Agents && self.pods.iter().all(|pods| pods.seen.is_live())
    }

    /// How many findings of its own it had no room for.
    pub fn shed(&self) -> u64 {
        self.engines().map(Engine::shed).sum()
    }

    fn engines(&self) -> impl Iterator<Item = &Engine> {
        self.pods.iter().map(|pods| &pods.engine).chain([&self.nodes, &self.agents])
    }

    /// Who goes on with a finding; `None` where what it is about is not watched.
    fn engine_of(&mut self, finding: &Finding) -> Option<&mut Engine> {
        let is_theirs =
            |pods: &&mut Pods| pods.namespace.as_ref().is_none_or(|name| *name == finding.subject.namespace);
        match Realm::of(finding.kind) {
            Realm::Pods => self.pods.iter_mut().find(is_theirs).map(|pods| &mut pods.engine),
            Realm::Nodes => (!matches!(self.coverage, Coverage::Namespaces(_))).then_some(&mut self.nodes),
            Realm::Agents => (self.coverage == Coverage::Agents).then_some(&mut self.agents),
        }
    }

    fn knows_fleet(&self) -> bool {
        self.nodes_seen.is_live() && self.agents_seen.is_live()
    }

    /// Whether the agents would have been looked at, had they been seen.
    fn is_fleet_due(&self, now: Time) -> bool {
        now.since(self.swept) > self.sweep_every() || is_due(&self.agents, now)
    }

    fn sweep_every(&self) -> Duration {
        self.interval.min(SWEEP_MAX)
    }

    fn steps(&mut self, gone: Vec<Arc<str>>, list_again: Vec<Collection>) -> Steps {
        let mut changes: Vec<_> = self.pods.iter_mut().flat_map(|pods| pods.engine.changes()).collect();
        changes.append(&mut self.nodes.changes());
        changes.append(&mut self.agents.changes());
        let Sorted { tell, ask } = self.doubts.sort(changes);
        Steps { findings: tell, gone, ask, list_again }
    }
}

fn is_due(engine: &Engine, now: Time) -> bool {
    engine.next_deadline().is_some_and(|deadline| deadline <= now)
}

#[cfg(test)]
mod tests;
