//! What the aggregator knows about the node-agent of one node.

use std::sync::Arc;
use std::time::Duration;

use crate::time::Time;
use crate::view::Node;

/// What the aggregator knows about the node-agent of one node.
#[derive(Clone, Debug)]
pub struct AgentSight<'a> {
    /// The node.
    pub node: &'a Node,
    /// The name of the agents' DaemonSet.
    pub daemon_set: Arc<str>,
    /// Whether the DaemonSet wants an agent on this node.
    pub wanted: bool,
    /// Whether its pod is being replaced: it is terminating, or there is a new one that has not started yet.
    pub replacing: bool,
    /// When its pod started, by the API server's clock; `None` when it has not or is not known.
    pub started: Option<Time>,
    /// The last heartbeat or report of its session, by the API server's clock; `None` when there was none yet.
    pub last_heartbeat: Option<Time>,
    /// How often it is told to send one.
    pub interval: Duration,
}
