//! One finding, and who knows what about it.

use rules::{Finding, State};
use wire::Entry;

/// One finding and who knows what about it.
#[derive(Debug)]
pub(super) struct Tracked {
    pub(super) finding: Finding,
    pub(super) revision: u32,
    /// The last revision put into a report of this session; 0 for none.
    pub(super) sent: u32,
    /// The last revision accepted in this session; 0 for none.
    pub(super) accepted: u32,
    /// The last revision whose fate is decided; 0 for none.
    pub(super) settled: u32,
    /// This incarnation has been active: it must be told of even when it is over.
    pub(super) held: bool,
    pub(super) heard: Heard,
    /// The clear that waits until the aggregator has accepted what is now being cleared. Of a finding that it never
    /// heard of it takes a clear to mean that it was active, of one that it knows as pending that it came to nothing:
    /// it must know which.
    pub(super) then: Option<Box<Finding>>,
    /// The clear of an earlier incarnation whose fate is not decided, while a pending one stands in its place: should
    /// that come to nothing, this is what there is to tell.
    pub(super) before: Option<Box<Before>>,
}

/// An earlier incarnation that is over.
#[derive(Debug)]
pub(super) struct Before {
    /// It as it was active, where the aggregator may know it as pending only.
    pub(super) active: Option<Finding>,
    pub(super) cleared: Finding,
}

/// What the aggregator, in its present life, has heard of a finding's present incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Heard {
    /// Nothing: it was never in a report.
    Nothing,
    /// Perhaps something: another incarnation, or a report that was not answered.
    Perhaps,
    /// That it is pending.
    Pending,
    /// That it is active.
    Active,
}

impl Tracked {
    /// Its entry in a report that is about to be sent.
    pub(super) fn entry(&mut self) -> Entry {
        self.sent = self.revision;
        self.heard = self.heard.max(Heard::Perhaps);
        Entry { revision: self.revision, finding: self.finding.clone() }
    }

    /// The aggregator has this in its memory.
    pub(super) fn hear(&mut self, finding: &Finding) {
        if finding.incarnation == self.finding.incarnation {
            self.heard = self.heard.max(heard(finding.state));
        } else {
            self.heard = self.heard.max(Heard::Perhaps);
        }
    }

    /// What the aggregator must have accepted before it can take a clear for what it is.
    pub(super) fn to_be_heard(&self) -> Heard {
        match self.finding.state {
            State::Pending => Heard::Pending,
            State::Active => Heard::Active,
            State::Cleared => Heard::Nothing,
        }
    }
}

/// What accepting a finding in that state lets the aggregator hear.
pub(super) const fn heard(state: State) -> Heard {
    match state {
        State::Pending => Heard::Pending,
        State::Active | State::Cleared => Heard::Active,
    }
}
