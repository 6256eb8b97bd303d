//! How much one node may ask for, over all of its connections. A node that wants more is told to wait; others do not
//! notice.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dashmap::DashMap;
use rules::Time;

use crate::limit::TokenBucket;

/// The nodes that have connections.
#[derive(Debug)]
pub(super) struct Nodes {
    requests_per_minute: u32,
    /// Asked by every connection: locked by shard, so that thousands that begin at once do not queue for one lock.
    nodes: DashMap<Arc<str>, Arc<NodeLimit>>,
}

/// One node's allowance. Its connections share it.
#[derive(Debug)]
pub(super) struct NodeLimit(Mutex<TokenBucket>);

/// So many nodes are remembered before those without a connection are forgotten.
const SWEEP: usize = 1_024;
/// Connections of one node at once, about: its agent has one, and for a moment a new one beside an old one.
const CONNECTIONS_MAX: usize = 16;
/// Bytes of a body that count as one request.
const BYTES_PER_REQUEST: usize = 64 * 1024;

impl Nodes {
    pub(super) fn new(requests_per_minute: u32) -> Self {
        Self { requests_per_minute, nodes: DashMap::new() }
    }

    /// The allowance of `node`.
    pub(super) fn of(&self, node: &Arc<str>, now: Time) -> Arc<NodeLimit> {
        let known = self.nodes.len();
        // Doubling keeps the work per node constant; live ones are as many as there are connections, at most.
        if known >= SWEEP && known.is_power_of_two() && !self.nodes.contains_key(node) {
            self.nodes.retain(|_, limit| Arc::strong_count(limit) > 1);
        }
        let fresh = || Arc::new(NodeLimit(Mutex::new(TokenBucket::new(self.requests_per_minute, now))));
        Arc::clone(&self.nodes.entry(Arc::clone(node)).or_insert_with(fresh))
    }
}

impl NodeLimit {
    /// Whether the node has as many connections as it may have. (Each holds this, and so does each request under way.)
    pub(super) fn is_crowded(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) > CONNECTIONS_MAX
    }

    /// A request has come: `Err` says how long to wait with it.
    pub(super) fn on_request(&self, now: Time) -> Result<(), Duration> {
        let mut bucket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if bucket.take(1, now) == 1 { Ok(()) } else { Err(bucket.next_at(now).since(now)) }
    }

    /// Its body was that long: a long one counts as several requests, of which the rest is taken from those to come.
    pub(super) fn on_body(&self, bytes: usize, now: Time) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take(bytes / BYTES_PER_REQUEST, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_millis(1_000_000);

    #[test]
    fn a_node_that_asks_too_often_waits_and_another_does_not() {
        let nodes = Nodes::new(60);
        let (greedy, modest) = (nodes.of(&"greedy".into(), NOW), nodes.of(&"modest".into(), NOW));
        for _ in 0..60 {
            assert_eq!(greedy.on_request(NOW), Ok(()));
        }
        assert_eq!(nodes.of(&"greedy".into(), NOW).on_request(NOW), Err(Duration::from_secs(1)));
        assert_eq!(modest.on_request(NOW), Ok(()));
        assert_eq!(greedy.on_request(NOW + Duration::from_secs(1)), Ok(()));
    }

    #[test]
    fn a_long_body_counts_as_several_requests() {
        let nodes = Nodes::new(60);
        let node = nodes.of(&"node-1".into(), NOW);
        node.on_body(59 * BYTES_PER_REQUEST, NOW);
        assert_eq!(node.on_request(NOW), Ok(()));
        assert!(node.on_request(NOW).is_err());
    }

    #[test]
    fn nodes_without_a_connection_are_forgotten() {
        let nodes = Nodes::new(60);
        let live = nodes.of(&"live".into(), NOW);
        assert_eq!(live.on_request(NOW), Ok(()));
        for number in 0..10 * SWEEP {
            nodes.of(&format!("node-{number}").into(), NOW);
            assert!(nodes.nodes.len() <= SWEEP);
        }
        assert!(Arc::ptr_eq(&live, &nodes.of(&"live".into(), NOW)));
    }
}
