//! What there is to tell: every finding that is not forgotten yet, and what the aggregator has heard of it. At most
//! [`ROOM`] of them; the less urgent a finding, the sooner there is no room for it.

use std::collections::BTreeMap;

use rules::{Evidence, Finding, FindingId, State};
use wire::{Entry, OpenSet, Settled};

mod room;
mod tracked;

use room::{Shed, room_for};
use tracked::{Before, Heard, Tracked};

pub use room::ROOM;

/// While the findings' texts take more than this many bytes, evidence is kept as its reason only. A full report of
/// [`ROOM`] bare findings and this much evidence fits into [`wire::codec::LIMIT`].
const TEXT_ROOM: usize = 1024 * 1024;

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
        let waiting = tracked.then.take();
        if tracked.finding == finding {
            return Change::Nothing;
        }
        if finding.state == State::Cleared && tracked.finding.state != State::Cleared {
            tracked.then = Some(Box::new(finding));
            self.settle_clear(id);
            return if self.tracked.contains_key(&id) { Change::News } else { Change::Nothing };
        }
        self.replace(id, finding, waiting);
        Change::News
    }

    /// A session has begun. `open` is what its aggregator holds open, which is all that it is known to have heard. Gives
    /// those of `open` that this process goes on with: of the others it knows better.
    pub(super) fn on_session(&mut self, open: Vec<Finding>) -> Vec<Finding> {
        for tracked in self.tracked.values_mut() {
            (tracked.sent, tracked.accepted) = (0, 0);
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

    /// Whether the aggregator has accepted everything.
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
            heard: Heard::Nothing,
            then: None,
            before: None,
            finding,
        };
        self.insert(tracked);
        Change::News
    }

    /// Puts `finding` in the place of an older state of itself, and of the clear that was `waiting`. A clear that is not
    /// decided gives way for good to an active incarnation; behind a pending one it waits for what comes of it.
    fn replace(&mut self, id: FindingId, finding: Finding, waiting: Option<Box<Finding>>) {
        let Some(mut tracked) = self.remove(id) else { return };
        let old = std::mem::replace(&mut tracked.finding, finding);
        let was_over = old.state == State::Cleared || waiting.is_some();
        if old.state == State::Cleared && tracked.accepted == tracked.revision {
            tracked.heard = Heard::Nothing;
        } else if tracked.finding.incarnation != old.incarnation {
            tracked.heard = tracked.heard.min(Heard::Perhaps);
        }
        if tracked.finding.state == State::Active {
            tracked.held = true;
            tracked.before = None;
        } else if tracked.finding.state == State::Pending && was_over {
            let before = match waiting {
                Some(cleared) => Before { active: Some(old), cleared: *cleared },
                None => Before { active: None, cleared: old },
            };
            // Had its fate been decided, it would not be here any more.
            tracked.before = tracked.held.then(|| Box::new(before));
            tracked.held = false;
        }
        tracked.revision = self.next_revision();
        self.insert(tracked);
    }

    /// Decides about a clear once it is known what the aggregator has heard: it goes out, waits, or is news to nobody.
    fn settle_clear(&mut self, id: FindingId) {
        let Some(tracked) = self.tracked.get_mut(&id) else { return };
        if let Some(before) = tracked.before.take() {
            return self.bring_back(id, *before);
        }
        if tracked.heard == Heard::Nothing && !tracked.held {
            return self.forget(id);
        }
        let is_understood = tracked.heard == Heard::Nothing || tracked.heard >= tracked.to_be_heard();
        if let Some(cleared) = tracked.then.take_if(|_| is_understood) {
            self.replace(id, *cleared, None);
        }
    }

    /// A pending incarnation came to nothing: there is still the one before it to tell.
    fn bring_back(&mut self, id: FindingId, Before { active, cleared }: Before) {
        let Some(tracked) = self.tracked.get_mut(&id) else { return };
        (tracked.then, tracked.held) = (None, true);
        let Some(active) = active else { return self.replace(id, cleared, None) };
        self.replace(id, active, None);
        if let Some(tracked) = self.tracked.get_mut(&id) {
            tracked.then = Some(Box::new(cleared));
            self.settle_clear(id);
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

fn text_bytes(finding: &Finding) -> usize {
    let evidence = &finding.evidence;
    let texts = [&evidence.reason, &evidence.message, &evidence.image, &evidence.memory_limit];
    texts.into_iter().flatten().chain(&evidence.names).map(|text| text.len()).sum()
}
