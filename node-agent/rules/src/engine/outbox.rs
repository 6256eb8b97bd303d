//! What has changed and is not drained yet.

use std::collections::{HashMap, HashSet};

use crate::finding::{Finding, FindingId};

/// What has changed and is not drained yet: each finding once, in the order of their first change. Never more than
/// were tracked since the last drain.
#[derive(Default)]
pub(super) struct Outbox {
    order: Vec<FindingId>,
    queued: HashSet<FindingId>,
    /// Findings that are over, as they are told.
    ended: HashMap<FindingId, Finding>,
}

impl Outbox {
    pub(super) fn push(&mut self, id: FindingId) {
        if self.queued.insert(id) {
            self.order.push(id);
        }
    }

    pub(super) fn push_ended(&mut self, finding: Finding) {
        self.push(finding.id);
        self.ended.insert(finding.id, finding);
    }

    pub(super) fn drain(&mut self) -> Vec<FindingId> {
        self.queued.clear();
        std::mem::take(&mut self.order)
    }

    pub(super) fn take_ended(&mut self, id: FindingId) -> Option<Finding> {
        self.ended.remove(&id)
    }
}
