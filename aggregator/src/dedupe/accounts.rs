//! The books: every (finding, incarnation) is in exactly one place, so nothing is lost without a trace.
//!
//! `observed = told + merged + suppressed + shed + pending`, exported as metrics and checked at the end of every test.

use std::collections::BTreeMap;

use super::decision::Decision;

/// How many findings were observed, and where each of them is now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accounts {
    observed: u64,
    decided: BTreeMap<(&'static str, bool), u64>,
}

impl Accounts {
    /// One more was observed, and stands at `decision`.
    pub fn open(&mut self, decision: Decision) {
        self.observed += 1;
        *self.decided.entry(entry(decision)).or_default() += 1;
    }

    /// One moves on.
    pub fn change(&mut self, from: Decision, to: Decision) {
        debug_assert!(!from.is_final(), "{from} is the last word");
        self.transfer(from, to);
    }

    /// The last word on one is taken back: what it was for is no more, be it that there was no room, or no sink.
    pub fn take_back(&mut self, from: Decision, to: Decision) {
        debug_assert!(from.is_final(), "{from} is not the last word");
        self.transfer(from, to);
    }

    /// How many were observed.
    pub fn observed(&self) -> u64 {
        self.observed
    }

    /// How many stand at `decision`.
    pub fn at(&self, decision: Decision) -> u64 {
        self.decided.get(&entry(decision)).copied().unwrap_or_default()
    }

    /// How many wait for a decision.
    pub fn pending(&self) -> u64 {
        self.decided.iter().filter(|((_, is_final), _)| !is_final).map(|(_, count)| count).sum()
    }

    /// Whether the books balance.
    pub fn balance(&self) -> bool {
        self.observed == self.decided.values().sum::<u64>()
    }

    fn transfer(&mut self, from: Decision, to: Decision) {
        let left = self.decided.entry(entry(from)).or_default();
        *left = left.saturating_sub(1);
        *self.decided.entry(entry(to)).or_default() += 1;
    }
}

/// `inhibited` is both a way to wait and a last word, hence the second half of the key.
fn entry(decision: Decision) -> (&'static str, bool) {
    (decision.name(), decision.is_final())
}
