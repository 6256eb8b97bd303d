//! The engine: views and time in, findings out.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::agent::AgentSight;
use crate::config::Config;
use crate::finding::{Finding, FindingId};
use crate::time::Time;
use crate::view::{Node, Pod};

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
}

/// The detection engine of one observer.
pub struct Engine {
    observer: Observer,
    config: Arc<Config>,
    open: BTreeMap<FindingId, Finding>,
}

impl Engine {
    /// An engine that has seen nothing yet.
    pub fn new(observer: Observer, config: Arc<Config>) -> Self {
        Self { observer, config, open: BTreeMap::new() }
    }

    /// Goes on with other settings. What is switched off now is cleared. True when the settings differ: then what the
    /// engine saw before must be shown to it again (a relist), for it keeps no views.
    pub fn configure(&mut self, config: Arc<Config>, _now: Time) -> bool {
        let differs = self.config != config;
        self.config = config;
        differs
    }

    /// The node's wall clock minus the API server's, in milliseconds: times that the kubelet wrote are shifted by it.
    pub fn set_kubelet_offset(&mut self, _millis: i64) {}

    /// Goes on with findings that an observer before this one left open.
    pub fn adopt(&mut self, _open: Vec<Finding>, _now: Time) {}

    /// A pod is there or has changed.
    pub fn on_pod(&mut self, _pod: &Pod, _now: Time) {}

    /// A pod is gone, or has left the selection that is watched.
    pub fn on_pod_deleted(&mut self, _pod: &Pod, _now: Time) {}

    /// These are all pods. What happened to pods of the first call may be old: it is [`crate::Seen::Found`].
    pub fn on_relist(&mut self, _pods: &[Pod], _now: Time) {}

    /// A node is there or has changed.
    pub fn on_node(&mut self, _node: &Node, _now: Time) {}

    /// A node is gone.
    pub fn on_node_deleted(&mut self, _node: &Node, _now: Time) {}

    /// These are all nodes.
    pub fn on_node_relist(&mut self, _nodes: &[Node], _now: Time) {}

    /// What is known about the agent of a node. To be called for every node at least once an interval.
    pub fn on_agent(&mut self, _agent: &AgentSight<'_>, _now: Time) {}

    /// There is no agent to wait for on that node any more: the node was removed.
    pub fn on_agent_gone(&mut self, _node: &str, _now: Time) {}

    /// Time has passed.
    pub fn on_tick(&mut self, _now: Time) {}

    /// When [`Self::on_tick`] has something to do next.
    pub fn next_deadline(&self) -> Option<Time> {
        None
    }

    /// The findings that have changed since the last call, each once, as they stand now.
    pub fn changes(&mut self) -> Vec<Finding> {
        Vec::new()
    }

    /// All findings that are pending or active.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.open.values()
    }

    /// How many findings did not fit since the start.
    pub fn shed(&self) -> u64 {
        0
    }

    /// Who this is.
    pub fn observer(&self) -> &Observer {
        &self.observer
    }
}
