//! What the metrics and the freshness of findings need to know of a watch.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Mark;

/// A view onto one watch from outside of its loop; clones show the same.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    live: AtomicBool,
    last_heard_millis: AtomicU64,
    lists: AtomicU64,
    watches: AtomicU64,
    failures: AtomicU64,
    skipped: AtomicU64,
}

impl Health {
    /// Whether a WATCH is open, or was and nothing says yet that it cannot be had again.
    pub fn is_live(&self) -> bool {
        self.0.live.load(Ordering::Relaxed)
    }

    /// When the API server was last heard in this watch, be it a bookmark; the clock's start when never.
    pub fn last_heard(&self) -> Mark {
        Mark::from_start(Duration::from_millis(self.0.last_heard_millis.load(Ordering::Relaxed)))
    }

    /// Complete LISTs.
    pub fn lists(&self) -> u64 {
        self.0.lists.load(Ordering::Relaxed)
    }

    /// Opened WATCHes.
    pub fn watches(&self) -> u64 {
        self.0.watches.load(Ordering::Relaxed)
    }

    /// LISTs and WATCHes that failed.
    pub fn failures(&self) -> u64 {
        self.0.failures.load(Ordering::Relaxed)
    }

    /// Objects passed over because they could not be decoded or were too large.
    pub fn skipped(&self) -> u64 {
        self.0.skipped.load(Ordering::Relaxed)
    }

    pub(super) fn set_live(&self, live: bool) {
        self.0.live.store(live, Ordering::Relaxed);
    }

    pub(super) fn heard(&self, now: Mark) {
        let millis = u64::try_from(now.since_start().as_millis()).unwrap_or(u64::MAX);
        self.0.last_heard_millis.store(millis, Ordering::Relaxed);
    }

    pub(super) fn listed(&self) {
        self.0.lists.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn opened(&self) {
        self.0.watches.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn failed(&self) {
        self.0.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts skipped objects, and says how many there were before.
    pub(super) fn skip(&self, objects: u64) -> u64 {
        self.0.skipped.fetch_add(objects, Ordering::Relaxed)
    }
}
