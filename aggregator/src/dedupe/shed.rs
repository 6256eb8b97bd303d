//! What there was no room for, remembered, so that each counts once however often it is reported.

use std::collections::HashMap;
use std::sync::Arc;

use rules::{Finding, FindingId, Incarnation, State};

use super::issue::{MemberId, Observer};

/// What there was no room for and is not over, as far as is known.
#[derive(Debug, Default)]
pub(super) struct Shed(HashMap<MemberId, Incarnation>);

impl Shed {
    /// There is no room for a finding; whether that is to be counted. At most `max` are remembered: past that, some may
    /// count twice.
    pub(super) fn note(&mut self, id: &MemberId, finding: &Finding, max: usize) -> bool {
        match finding.state {
            State::Pending => false,
            State::Active => {
                if self.0.len() >= max && !self.0.contains_key(id) {
                    self.0.clear();
                }
                self.0.insert(id.clone(), finding.incarnation) != Some(finding.incarnation)
            }
            State::Cleared => !self.take(id, finding.incarnation),
        }
    }

    /// Forgets a finding, of which something else becomes; whether this incarnation of it was counted.
    pub(super) fn take(&mut self, id: &MemberId, incarnation: Incarnation) -> bool {
        self.0.remove(id) == Some(incarnation)
    }

    /// Forgets findings that their observer has forgotten.
    pub(super) fn forget(&mut self, observer: &Observer, findings: &[FindingId]) {
        for &finding in findings {
            self.0.remove(&MemberId { observer: Arc::clone(observer), finding });
        }
    }

    /// Forgets what an observer saw that is no more.
    pub(super) fn forget_all_of(&mut self, observer: &Observer) {
        self.0.retain(|id, _| id.observer != *observer);
    }
}
