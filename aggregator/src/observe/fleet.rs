//! The fleet of node-agents: on which nodes there should be one, and what is known of it. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use rules::view::{ConditionStatus, ConditionType, Phase};
use rules::{AgentSight, Node, Pod, Time};

use crate::ingest::sessions::Heard;

/// Nodes, and the pods of the agents' DaemonSet.
#[derive(Debug)]
pub struct Fleet {
    daemon_set: Arc<str>,
    nodes: BTreeMap<Arc<str>, Node>,
    /// Nodes that are there, and of which nothing could be read.
    unread: HashSet<Arc<str>>,
    /// By pod's uid.
    agents: HashMap<Arc<str>, Agent>,
}

/// How many agents there are, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Strength {
    /// Nodes on which the DaemonSet wants one.
    pub expected: usize,
    /// Of these, how many have been heard lately ([`Heard::is_recent`]).
    pub connected: usize,
    /// The rest.
    pub silent: usize,
}

/// One pod of the DaemonSet.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Agent {
    node: Arc<str>,
    created: Option<Time>,
    /// When it should be gone.
    leaves: Option<Time>,
    /// When it first ran, once it has.
    started: Option<Time>,
}

/// An agent's pod may take so long to start or to go before that is no replacement any more but trouble: the agent
/// that could tell of it is the one that is missing.
const REPLACING_MAX: Duration = Duration::from_mins(10);

impl Fleet {
    /// Nothing is known yet about the DaemonSet of that name.
    pub fn new(daemon_set: Arc<str>) -> Self {
        Self { daemon_set, nodes: BTreeMap::new(), unread: HashSet::new(), agents: HashMap::new() }
    }

    /// These are all nodes; the names of those that are no more. `skipped` are there but could not be read.
    pub fn on_nodes(&mut self, nodes: Vec<Node>, skipped: &[Arc<str>]) -> Vec<Arc<str>> {
        let mut before = std::mem::take(&mut self.nodes);
        for node in nodes {
            before.remove(&node.meta.name);
            self.nodes.insert(Arc::clone(&node.meta.name), node);
        }
        for name in skipped {
            self.nodes.extend(before.remove_entry(name));
        }
        self.unread = skipped.iter().cloned().collect();
        before.into_keys().collect()
    }

    /// A node is there or has changed.
    pub fn on_node(&mut self, node: Node) {
        self.nodes.insert(Arc::clone(&node.meta.name), node);
    }

    /// A node is gone.
    pub fn on_node_deleted(&mut self, name: &str) {
        self.nodes.remove(name);
    }

    /// These are all pods of the agents' namespace.
    pub fn on_pods(&mut self, pods: &[Pod], now: Time) {
        let before = std::mem::take(&mut self.agents);
        for pod in pods {
            self.insert(pod, before.get(&pod.meta.uid), now);
        }
    }

    /// A pod of the agents' namespace is there or has changed.
    pub fn on_pod(&mut self, pod: &Pod, now: Time) {
        let before = self.agents.remove(&pod.meta.uid);
        self.insert(pod, before.as_ref(), now);
    }

    /// A pod of the agents' namespace is gone.
    pub fn on_pod_deleted(&mut self, pod: &Pod) {
        self.agents.remove(&pod.meta.uid);
    }

    /// Every node.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    /// The name of every node, also of those that could not be read.
    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.nodes.keys().chain(&self.unread)
    }

    /// Whether that node is there.
    pub fn has(&self, name: &Arc<str>) -> bool {
        self.nodes.contains_key(name) || self.unread.contains(name)
    }

    /// What is known about the agent of each node. `interval` is how often those that were never heard are to be.
    pub fn sights(&self, heard: &HashMap<Arc<str>, Heard>, interval: Duration, now: Time) -> Vec<AgentSight<'_>> {
        let by_node = self.by_node();
        let sight = |(name, node)| {
            let agents: &[&Agent] = by_node.get(name).map_or(&[], Vec::as_slice);
            AgentSight {
                node,
                daemon_set: Arc::clone(&self.daemon_set),
                wanted: !agents.is_empty(),
                replacing: agents.iter().any(|agent| agent.is_replaced(now)),
                started: agents.iter().filter_map(|agent| agent.started).max(),
                last_heartbeat: heard.get(name).map(|heard| heard.at),
                interval: heard.get(name).map_or(interval, |heard| heard.interval),
            }
        };
        self.nodes.iter().map(sight).collect()
    }

    /// Those of `heard` that are no more and whose agents have fallen silent since: one may outlive its node for a while,
    /// and is heard before its node is seen.
    pub fn left<'a>(&self, heard: &'a HashMap<Arc<str>, Heard>, now: Time) -> impl Iterator<Item = &'a Arc<str>> {
        let left = heard.iter().filter(move |(name, heard)| !self.has(name) && !heard.is_recent(now));
        left.map(|(name, _)| name)
    }

    /// The nodes whose agents will report if they are well: the others need not be waited for.
    pub fn expected(&self) -> Vec<Arc<str>> {
        let by_node = self.by_node();
        let answers =
            |name: &Arc<str>| self.nodes.get(name).is_some_and(|node| is_ready(node) && !node.being_removed());
        by_node.into_keys().filter(|name| answers(name)).cloned().collect()
    }

    /// The nodes that are well and on which no agent is heard, nor about to be: it may be new, or being replaced.
    pub fn without_agent(&self, heard: &HashMap<Arc<str>, Heard>, now: Time) -> BTreeSet<Arc<str>> {
        let by_node = self.by_node();
        let is_replaced = |name| by_node.get(name).is_some_and(|agents| agents.iter().any(|it| it.is_replaced(now)));
        let without = self.nodes.iter().filter(|(name, node)| {
            let is_heard = heard.get(*name).is_some_and(|heard| heard.is_recent(now));
            is_ready(node) && !node.being_removed() && !is_heard && !is_replaced(*name)
        });
        without.map(|(name, _)| Arc::clone(name)).collect()
    }

    /// How many agents there are.
    pub fn strength(&self, heard: &HashMap<Arc<str>, Heard>, now: Time) -> Strength {
        let by_node = self.by_node();
        let is_heard = |name: &Arc<str>| heard.get(name).is_some_and(|heard| heard.is_recent(now));
        let connected = by_node.keys().filter(|name| is_heard(name)).count();
        Strength { expected: by_node.len(), connected, silent: by_node.len() - connected }
    }

    fn insert(&mut self, pod: &Pod, before: Option<&Agent>, now: Time) {
        let is_ours =
            pod.meta.controller().is_some_and(|owner| &*owner.kind == "DaemonSet" && owner.name == self.daemon_set);
        let has_ended = matches!(pod.status.phase, Phase::Succeeded | Phase::Failed);
        if is_ours && !has_ended && !pod.spec.node_name.is_empty() {
            self.agents.insert(Arc::clone(&pod.meta.uid), Agent::new(pod, before, now));
        }
    }

    fn by_node(&self) -> HashMap<&Arc<str>, Vec<&Agent>> {
        let mut by_node: HashMap<_, Vec<_>> = HashMap::new();
        for agent in self.agents.values() {
            by_node.entry(&agent.node).or_default().push(agent);
        }
        by_node
    }
}

impl Agent {
    fn new(pod: &Pod, before: Option<&Self>, now: Time) -> Self {
        let created = pod.meta.creation_timestamp;
        let started = before.and_then(|before| before.started).or_else(|| started(pod, now));
        Self { node: Arc::clone(&pod.spec.node_name), created, leaves: pod.meta.deletion_timestamp, started }
    }

    /// Whether it is on its way out, or new and not there yet.
    fn is_replaced(&self, now: Time) -> bool {
        let is_recent = |since: Time| now.since(since) < REPLACING_MAX;
        self.leaves.is_some_and(is_recent) || (self.started.is_none() && self.created.is_some_and(is_recent))
    }
}

/// When a pod began to run. One whose containers start again and again began once.
fn started(pod: &Pod, now: Time) -> Option<Time> {
    let created = pod.meta.creation_timestamp.unwrap_or(now);
    let containers = &pod.status.container_statuses;
    if containers.iter().any(|container| container.restart_count > 0) {
        return Some(created);
    }
    let running = containers.iter().find_map(|container| container.state.running.as_ref())?;
    // The kubelet's clock may be wrong: it began neither before it was there nor in the future.
    Some(running.started_at.unwrap_or(now).max(created).min(now))
}

fn is_ready(node: &Node) -> bool {
    node.condition(ConditionType::Ready).is_some_and(|ready| ready.status == ConditionStatus::True)
}

#[cfg(test)]
mod tests;
