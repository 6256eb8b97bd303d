//! What there was no room for, remembered, so that each counts once however often it is reported.

use std::collections::{HashMap, HashSet};

use rules::{Finding, FindingId, Incarnation, State};

use super::issue::{MemberId, Observer};

/// What there is no room for and is not over, as far as is known.
#[derive(Debug, Default)]
pub(super) struct Shed {
    by_observer: HashMap<Observer, HashMap<FindingId, Incarnation>>,
    /// How many that are.
    count: usize,
}

impl Shed {
    /// There is no room for a finding; whether that is to be counted. At most `max` are remembered: past that, some may
    /// count twice.
    pub(super) fn note(&mut self, id: &MemberId, finding: &Finding, max: usize) -> bool {
        match finding.state {
            State::Pending => false,
            State::Active => {
                let is_known = self.by_observer.get(&id.observer).is_some_and(|of| of.contains_key(&id.finding));
                if self.count >= max && !is_known {
                    *self = Self::default();
                }
                let of_observer = self.by_observer.entry(id.observer.clone()).or_default();
                let before = of_observer.insert(id.finding, finding.incarnation);
                self.count += usize::from(before.is_none());
                before != Some(finding.incarnation)
            }
            State::Cleared => !self.take(id, finding.incarnation),
        }
    }

    /// Forgets a finding, of which something else becomes; whether this incarnation of it was counted.
    pub(super) fn take(&mut self, id: &MemberId, incarnation: Incarnation) -> bool {
        let Some(of_observer) = self.by_observer.get_mut(&id.observer) else { return false };
        let known = of_observer.remove(&id.finding);
        self.count -= usize::from(known.is_some());
        if of_observer.is_empty() {
            self.by_observer.remove(&id.observer);
        }
        known == Some(incarnation)
    }

    /// Forgets findings that their observer has forgotten: all but those `named`.
    pub(super) fn retain(&mut self, observer: &Observer, named: &HashSet<FindingId>) {
        let Some(of_observer) = self.by_observer.get_mut(observer) else { return };
        let before = of_observer.len();
        of_observer.retain(|id, _| named.contains(id));
        self.count -= before - of_observer.len();
        if of_observer.is_empty() {
            self.by_observer.remove(observer);
        }
    }

    /// Forgets what an observer saw that is no more.
    pub(super) fn forget_all_of(&mut self, observer: &Observer) {
        self.count -= self.by_observer.remove(observer).map_or(0, |of_observer| of_observer.len());
    }
}
