//! What there is to tell: every finding that is not forgotten yet, and what the aggregator has heard of it. At most
//! [`ROOM`] of them; the less urgent a finding, the sooner there is no room for it.

use std::collections::{BTreeMap, BTreeSet};

use rules::{Evidence, Finding, FindingId, Severity, State};
use wire::{Entry, OpenSet, Settled};

/// The most findings kept. Pending and less severe ones get a part of it only, so that what is critical finds room.
pub const ROOM: usize = 2_000;

/// While the findings' texts take more than this many bytes, evidence is kept as its reason only. A full report of
/// [`ROOM`] bare findings and this much evidence fits into [`wire::codec::LIMIT`].
const TEXT_ROOM: usize = 1024 * 1024;

/// The most shed findings remembered by name, to count each of them once.
const SHED_MAX: usize = 4_096;

/// The findings of this process, in every state until they are forgotten.
#[derive(Debug, Default)]
pub(super) struct Findings {
    tracked: BTreeMap<FindingId, Tracked>,
    /// Kept beside them by adding and removing.
    open: OpenSet,
    /// The last revision given to any finding. One count for all, so that no revision of a finding ever comes again,
    /// even when it was forgotten in between.
    revision: u32,
    text_bytes: usize,
    shed: Shed,
    had_session: bool,
}

/// One finding and who knows what about it.
#[derive(Debug)]
struct Tracked {
    finding: Finding,
    revision: u32,
    /// The last revision put into a report of this session; 0 for none.
    sent: u32,
    /// The last revision that the aggregator, in its present life, has accepted; 0 for none.
    accepted: u32,
    /// The last revision whose fate is decided; 0 for none.
    settled: u32,
    /// It has been active, now or before it cleared: it must be told of even when it is over.
    held: bool,
    heard: Heard,
    /// The clear that waits until the aggregator has accepted what is now being cleared. Of a finding that it never
    /// heard of it takes a clear to mean that it was active, of one that it knows as pending that it came to nothing:
    /// it must know which.
    then: Option<Box<Finding>>,
}

/// What the aggregator, in its present life, has heard of a finding's present incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Heard {
    /// Nothing: it was never in a report.
    Nothing,
    /// Perhaps something: another incarnation, or a report that was not answered.
    Perhaps,
    /// That it is pending.
    Pending,
    /// That it is active.
    Active,
}

/// What there was no room for.
#[derive(Debug, Default)]
struct Shed {
    /// Names, to count each once until there is room for it or it is over.
    ids: BTreeSet<FindingId>,
    count: u64,
    /// Some may still be open and could be let in once there is room.
    missing: bool,
}

/// How many findings there are, by what is known of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Pending.
    pub pending: usize,
    /// Active.
    pub active: usize,
    /// Cleared, not settled yet.
    pub cleared: usize,
    /// Whose last revision is in no report of this session.
    pub unsent: usize,
    /// Whose last revision is not settled.
    pub unsettled: usize,
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// There is something new to send.
    News,
    /// Nothing that the aggregator needs to hear.
    Nothing,
    /// There is no room for it.
    Shed,
}

impl Findings {
    /// Takes in what has become of a finding.
    pub(super) fn change(&mut self, finding: Finding) -> Change {
        let id = finding.id;
        let finding = self.within_text_room(finding);
        let Some(tracked) = self.tracked.get_mut(&id) else { return self.admit(finding) };
        if tracked.then.as_deref().unwrap_or(&tracked.finding) == &finding {
            return Change::Nothing;
        }
        tracked.then = None;
        if tracked.finding == finding {
            return Change::Nothing;
        }
        if finding.state == State::Cleared && tracked.heard < tracked.to_be_heard() {
            tracked.then = Some(Box::new(finding));
            self.settle_clear(id);
            return if self.tracked.contains_key(&id) { Change::News } else { Change::Nothing };
        }
        self.replace(id, finding);
        Change::News
    }

    /// A session has begun. `open` is what its aggregator holds open; `new_epoch` when it knows nothing of what an older
    /// one was told. Gives those of `open` that this process goes on with: of the others it knows better.
    pub(super) fn on_session(&mut self, open: Vec<Finding>, new_epoch: bool) -> Vec<Finding> {
        self.had_session = true;
        for tracked in self.tracked.values_mut() {
            tracked.sent = 0;
            tracked.accepted = if new_epoch { 0 } else { tracked.accepted };
            tracked.heard = Heard::Nothing;
        }
        let mut adopted = Vec::new();
        for finding in open {
            if !self.tracked.contains_key(&finding.id) {
                if self.admit(self.within_text_room(finding.clone())) != Change::News {
                    continue;
                }
                adopted.push(finding.clone());
            }
            if let Some(tracked) = self.tracked.get_mut(&finding.id) {
                tracked.hear(&finding);
            }
        }
        // Now it is known which clears make sense to whom.
        let over = |tracked: &&Tracked| tracked.then.is_some() || tracked.finding.state == State::Cleared;
        let over: Vec<FindingId> = self.tracked.values().filter(over).map(|tracked| tracked.finding.id).collect();
        for id in over {
            self.settle_clear(id);
        }
        adopted
    }

    /// Everything, marked as sent.
    pub(super) fn full(&mut self) -> Vec<Entry> {
        self.tracked.values_mut().map(Tracked::entry).collect()
    }

    /// What is not sent yet, marked as sent.
    pub(super) fn delta(&mut self) -> Vec<Entry> {
        self.tracked.values_mut().filter(|tracked| tracked.sent < tracked.revision).map(Tracked::entry).collect()
    }

    /// The aggregator has these in its memory. True when that makes way for something new to send.
    pub(super) fn on_accepted(&mut self, entries: &[Entry]) -> bool {
        let mut news = false;
        for entry in entries {
            let Some(tracked) = self.tracked.get_mut(&entry.finding.id) else { continue };
            tracked.accepted = tracked.accepted.max(entry.revision);
            tracked.hear(&entry.finding);
            if tracked.then.is_some() && tracked.heard >= tracked.to_be_heard() {
                self.settle_clear(entry.finding.id);
                news = true;
            }
        }
        news
    }

    /// The fate of these is decided.
    pub(super) fn on_settled(&mut self, settled: &[Settled]) {
        for &Settled { id, revision } in settled {
            let Some(tracked) = self.tracked.get_mut(&id) else { continue };
            // A revision that was never sent is nobody's to settle.
            if revision <= tracked.sent {
                tracked.settled = tracked.settled.max(revision);
            }
            if tracked.finding.state == State::Cleared && tracked.settled >= tracked.revision {
                self.forget(id);
            }
        }
    }

    /// Forgets the findings whose kind `knows` denies: their reader could not even decode them.
    pub(super) fn retain(&mut self, knows: impl Fn(&Finding) -> bool) {
        let unknown =
            self.tracked.values().filter(|tracked| !knows(&tracked.finding)).map(|tracked| tracked.finding.id);
        let unknown: Vec<FindingId> = unknown.collect();
        for id in unknown {
            self.forget(id);
        }
    }

    /// The state that a finding was last said to be in; `None` when it is not kept.
    pub(super) fn state(&self, id: FindingId) -> Option<State> {
        self.tracked.get(&id).map(|tracked| tracked.then.as_ref().map_or(tracked.finding.state, |then| then.state))
    }

    /// The open set, as it is after the last change.
    pub(super) const fn open(&self) -> OpenSet {
        self.open
    }

    /// Findings for which there was no room, each counted once until there is or it is over.
    pub(super) const fn shed(&self) -> u64 {
        self.shed.count
    }

    /// True, once, when findings were shed and there is room for any of them again.
    pub(super) fn has_room_again(&mut self) -> bool {
        self.shed.missing && self.tracked.len() < ROOM / 2 && std::mem::take(&mut self.shed.missing)
    }

    /// Whether there is something to send that is in no report of this session.
    pub(super) fn is_unsent(&self) -> bool {
        self.tracked.values().any(|tracked| tracked.sent < tracked.revision)
    }

    /// Whether the aggregator, in its present life, has accepted everything.
    pub(super) fn is_told(&self) -> bool {
        self.tracked.values().all(|tracked| tracked.accepted == tracked.revision && tracked.then.is_none())
    }

    pub(super) fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for tracked in self.tracked.values() {
            match tracked.finding.state {
                State::Pending => counts.pending += 1,
                State::Active => counts.active += 1,
                State::Cleared => counts.cleared += 1,
            }
            counts.unsent += usize::from(tracked.sent < tracked.revision);
            counts.unsettled += usize::from(tracked.settled < tracked.revision);
        }
        counts
    }

    fn admit(&mut self, finding: Finding) -> Change {
        let id = finding.id;
        if finding.state == State::Cleared {
            self.shed.ids.remove(&id);
            return Change::Nothing;
        }
        if self.tracked.len() >= room_for(finding.state, finding.severity) {
            self.shed.add(id);
            return Change::Shed;
        }
        self.shed.ids.remove(&id);
        let tracked = Tracked {
            revision: self.next_revision(),
            sent: 0,
            accepted: 0,
            settled: 0,
            held: finding.state == State::Active,
            // Until the first session nobody knows what the process before this one has told.
            heard: if self.had_session { Heard::Nothing } else { Heard::Perhaps },
            then: None,
            finding,
        };
        self.insert(tracked);
        Change::News
    }

    /// Puts `finding` in the place of an older state of itself.
    fn replace(&mut self, id: FindingId, finding: Finding) {
        let Some(mut tracked) = self.remove(id) else { return };
        let over_and_known = tracked.finding.state == State::Cleared && tracked.accepted == tracked.revision;
        if over_and_known {
            tracked.held = false;
            tracked.heard = Heard::Nothing;
        } else if tracked.finding.incarnation != finding.incarnation {
            tracked.heard = tracked.heard.min(Heard::Perhaps);
        }
        tracked.held |= finding.state == State::Active;
        tracked.revision = self.next_revision();
        tracked.finding = finding;
        self.insert(tracked);
    }

    /// Decides about a clear once it is known what the aggregator has heard: it goes out, waits, or is news to nobody.
    fn settle_clear(&mut self, id: FindingId) {
        let Some(tracked) = self.tracked.get_mut(&id) else { return };
        let is_understood = tracked.heard == Heard::Nothing || tracked.heard >= tracked.to_be_heard();
        if tracked.heard == Heard::Nothing && !tracked.held {
            self.forget(id);
        } else if let Some(cleared) = tracked.then.take_if(|_| is_understood) {
            self.replace(id, *cleared);
        }
    }

    fn forget(&mut self, id: FindingId) {
        self.remove(id);
    }

    fn insert(&mut self, tracked: Tracked) {
        self.text_bytes += text_bytes(&tracked.finding);
        if OpenSet::counts(&tracked.finding) {
            self.open.add(tracked.finding.id, tracked.revision);
        }
        self.tracked.insert(tracked.finding.id, tracked);
    }

    fn remove(&mut self, id: FindingId) -> Option<Tracked> {
        let tracked = self.tracked.remove(&id)?;
        self.text_bytes -= text_bytes(&tracked.finding);
        if OpenSet::counts(&tracked.finding) {
            self.open.remove(id, tracked.revision);
        }
        Some(tracked)
    }

    fn within_text_room(&self, mut finding: Finding) -> Finding {
        let replaced = self.tracked.get(&finding.id).map_or(0, |tracked| text_bytes(&tracked.finding));
        if self.text_bytes - replaced + text_bytes(&finding) > TEXT_ROOM {
            finding.evidence = Evidence { reason: finding.evidence.reason, ..Evidence::default() };
        }
        finding
    }

    fn next_revision(&mut self) -> u32 {
        self.revision = self.revision.saturating_add(1);
        self.revision
    }
}

impl Tracked {
    /// Its entry in a report that is about to be sent.
    fn entry(&mut self) -> Entry {
        self.sent = self.revision;
        self.heard = self.heard.max(Heard::Perhaps);
        Entry { revision: self.revision, finding: self.finding.clone() }
    }

    /// The aggregator has this in its memory.
    fn hear(&mut self, finding: &Finding) {
        if finding.incarnation == self.finding.incarnation {
            self.heard = self.heard.max(heard(finding.state));
        } else {
            self.heard = self.heard.max(Heard::Perhaps);
        }
    }

    /// What the aggregator must have accepted before it can take a clear for what it is.
    fn to_be_heard(&self) -> Heard {
        match self.finding.state {
            State::Pending => Heard::Pending,
            State::Active => Heard::Active,
            State::Cleared => Heard::Nothing,
        }
    }
}

impl Shed {
    fn add(&mut self, id: FindingId) {
        self.missing = true;
        if self.ids.contains(&id) {
            return;
        }
        self.count += 1;
        if self.ids.len() < SHED_MAX {
            self.ids.insert(id);
        }
    }
}

/// What accepting a finding in that state lets the aggregator hear.
const fn heard(state: State) -> Heard {
    match state {
        State::Pending => Heard::Pending,
        State::Active | State::Cleared => Heard::Active,
    }
}

/// How many findings there may be for one like this to still be let in.
const fn room_for(state: State, severity: Severity) -> usize {
    match (state, severity) {
        (State::Pending, _) => ROOM / 2,
        (_, Severity::Info) => ROOM / 10 * 7,
        (_, Severity::Warning) => ROOM / 10 * 9,
        (_, Severity::Critical) => ROOM,
    }
}

fn text_bytes(finding: &Finding) -> usize {
    let evidence = &finding.evidence;
    let texts = [&evidence.reason, &evidence.message, &evidence.image, &evidence.memory_limit];
    texts.into_iter().flatten().chain(&evidence.names).map(|text| text.len()).sum()
}
