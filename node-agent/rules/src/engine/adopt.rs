//! Going on with findings that an observer before this one left open.

use crate::finding::{Finding, State};
use crate::time::Time;

use super::memory::{Anchor, Memory, Realm};
use super::track::{Condition, Track};
use super::{Engine, Observer};

impl Engine {
    /// True when its subject may have been shown already.
    pub(super) fn adopt_one(&mut self, mut finding: Finding, now: Time) -> bool {
        let id = finding.id;
        let Some(settings) = self.config.of(finding.kind).filter(|_| self.admits(&finding)).cloned() else {
            finding.state = State::Cleared;
            self.outbox.push_ended(finding);
            return false;
        };
        let realm = Realm::of(finding.kind);
        let anchor = Anchor::of_subject(realm, &finding.subject);
        if let Some(track) = self.tracks.get_mut(&id) {
            track.take_over(&finding);
            self.rearm(id);
            return false;
        }
        if finding.is_edge() {
            self.memories.entry(anchor).or_insert_with(|| Memory::new(realm, &finding.subject)).spend_found(&finding);
        }
        let listed = match realm {
            Realm::Pods => self.pods_listed,
            Realm::Nodes => self.nodes_listed,
            Realm::Agents => false,
        };
        let unclear = self.memories.get(&anchor).is_some_and(|memory| memory.is_unclear(&finding));
        let subject = finding.subject.clone();
        self.begin(Track::adopted(finding, anchor, realm, &settings), anchor, &subject);
        match (listed, unclear) {
            (true, true) => self.set_condition(id, Condition::Unclear),
            (true, false) => self.quieten(id, now),
            (false, _) => {}
        }
        listed
    }

    /// Whether a finding that others made could be this engine's.
    pub(super) fn is_mine(&self, finding: &Finding) -> bool {
        let is_there = match &self.observer {
            Observer::NodeAgent { node } => finding.subject.node == *node,
            Observer::Aggregator | Observer::Alone => true,
        };
        is_there && self.observer.detects(finding.kind)
    }
}
