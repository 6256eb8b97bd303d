//! One finding's way: pending → active → clearing → cleared.

use std::time::Duration;

use crate::catalogue::{Nature, Row};
use crate::config::KindConfig;
use crate::finding::{Finding, Seen, Severity, State};
use crate::time::Time;
use crate::verdict::Observation;

use super::memory::{Anchor, Realm};

/// A finding that is not over, and what decides how it goes on.
pub(super) struct Track {
    pub(super) finding: Finding,
    pub(super) anchor: Anchor,
    pub(super) realm: Realm,
    pub(super) condition: Condition,
    pub(super) sustain: Duration,
    pub(super) hold: Duration,
    /// Whether others may know of it. One whose condition begins in the time to come (a deletion) is kept back.
    pub(super) announced: bool,
    /// The state in which it was drained last.
    pub(super) told: Option<State>,
    /// The deadline that it is entered under.
    pub(super) armed: Option<Time>,
}

/// How the condition of a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    /// It is there. An edge's occurrence is the newest, and its subject is not well.
    There,
    /// Neither there nor gone: a pending finding waits, no hold runs.
    Unclear,
    /// Adopted, and its subject was not seen yet.
    Unseen,
    /// Not there since that time: the hold runs.
    Quiet(Time),
}

/// What is to be done at a track's deadline.
pub(super) enum Due {
    /// Others may know of it now.
    Announce,
    /// Its sustain has passed.
    Activate,
    /// Its hold has passed, or as an edge it is old.
    Clear,
}

impl Track {
    /// A finding whose condition is there. Pending, it is activated by its deadline, which may be past.
    pub(super) fn begun(finding: Finding, anchor: Anchor, realm: Realm, sustain: Duration, hold: Duration) -> Self {
        Self {
            finding,
            anchor,
            realm,
            condition: Condition::There,
            sustain,
            hold,
            announced: false,
            told: None,
            armed: None,
        }
    }

    /// A finding that others told already.
    pub(super) fn adopted(finding: Finding, anchor: Anchor, realm: Realm, settings: &KindConfig) -> Self {
        let told = Some(finding.state);
        let begun = Self::begun(finding, anchor, realm, settings.sustain, settings.hold);
        Self { condition: Condition::Unseen, announced: true, told, ..begun }
    }

    /// Goes on where others stood with the same finding: when it was only found here, theirs says since when it is.
    pub(super) fn take_over(&mut self, theirs: &Finding) {
        self.told = self.told.max(Some(theirs.state));
        self.announced = true;
        let ours = &mut self.finding;
        // What is open to others is over for them only after its hold.
        ours.state = ours.state.max(theirs.state);
        let same = ours.incarnation == theirs.incarnation;
        if ours.seen == Seen::Happening || (ours.is_edge() && !same) {
            return;
        }
        ours.seen = theirs.seen;
        ours.since = theirs.since;
        ours.incarnation = theirs.incarnation;
    }

    /// Whether `seen` is another and worse occurrence than the one that is active: that one is over, and the new one has
    /// to last anew. (A pod kept back on purpose that, let go, finds no node.)
    pub(super) fn is_replaced_by(&self, seen: &Observation, severity: Severity) -> bool {
        self.finding.state == State::Active
            && !seen.unbroken
            && self.finding.incarnation != seen.incarnation
            && severity > self.finding.severity
    }

    /// Sees the condition of a level. True when what others know has changed.
    pub(super) fn observe(&mut self, seen: Observation, severity: Severity, now: Time) -> bool {
        self.condition = Condition::There;
        let finding = &mut self.finding;
        let mut changed = false;
        if !self.announced {
            // Nobody knows of it: a deletion may be called in sooner.
            finding.since = seen.since;
        }
        if finding.state == State::Pending && !seen.unbroken && finding.incarnation != seen.incarnation {
            // Another occurrence: it has to last anew. The API may date it as the one before.
            finding.since = if seen.since > finding.since { seen.since } else { now };
            finding.incarnation = seen.incarnation;
            changed = true;
        }
        if finding.severity != severity || finding.evidence != seen.evidence {
            finding.severity = severity;
            finding.evidence = seen.evidence;
            changed = true;
        }
        changed
    }

    /// When something is to be done without anything being seen:
    ///
    /// | state | condition | level | edge |
    /// | --- | --- | --- | --- |
    /// | pending, not announced | there | when it begins | |
    /// | pending | there | begin + sustain | |
    /// | pending | unclear, unseen | never | |
    /// | active, not told | any | never: what is over must have been told before it is told to be over | never |
    /// | active | there, unclear | never | when it is old |
    /// | active | quiet | since then + hold | the same, or when it is old |
    /// | active | unseen | never | never |
    ///
    /// A pending one that goes quiet has ended, and an edge is never pending.
    pub(super) fn deadline(&self) -> Option<Time> {
        let Finding { since, state, .. } = self.finding;
        let old = self.finding.is_edge().then(|| since + Row::EDGE_LASTS);
        match (state, self.condition) {
            (State::Pending, Condition::There) if !self.announced => Some(since),
            (State::Pending, Condition::There) => Some(since + self.sustain),
            (State::Pending, _) | (_, Condition::Unseen) => None,
            _ if self.told != Some(State::Active) => None,
            (_, Condition::There | Condition::Unclear) => old,
            (_, Condition::Quiet(quiet)) => Some(old.map_or(quiet + self.hold, |old| old.min(quiet + self.hold))),
        }
    }

    /// What is to be done when the deadline has come.
    pub(super) fn due(&self) -> Due {
        match self.finding.state {
            State::Pending if !self.announced => Due::Announce,
            State::Pending => Due::Activate,
            State::Active | State::Cleared => Due::Clear,
        }
    }
}

impl Finding {
    /// Whether its kind happens rather than lasts.
    pub(super) fn is_edge(&self) -> bool {
        self.kind.row().nature == Nature::Edge
    }
}
