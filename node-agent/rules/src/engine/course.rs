//! How findings go on: the deadlines, the bounds, what ends them.

use std::collections::HashSet;

use crate::catalogue::Row;
use crate::finding::{FindingId, Severity, State, Subject};
use crate::time::Time;

use super::memory::{Anchor, Memory, Realm};
use super::track::{Condition, Due, Track};
use super::{Engine, Observer, RETIRED_MAX};

impl Engine {
    /// Does what is due at `now`.
    pub(super) fn advance(&mut self, now: Time) {
        while let Some(&(at, id)) = self.deadlines.first()
            && at <= now
        {
            let Some(track) = self.tracks.get_mut(&id) else {
                self.deadlines.pop_first();
                continue;
            };
            match track.due() {
                Due::Announce => track.announced = true,
                Due::Activate => {
                    track.announced = true;
                    track.finding.state = State::Active;
                }
                Due::Clear => {
                    self.end(id);
                    continue;
                }
            }
            self.outbox.push(id);
            self.rearm(id);
        }
        self.forget_retired(now);
    }

    /// Puts the deadline of a track where it belongs.
    pub(super) fn rearm(&mut self, id: FindingId) {
        let Some(track) = self.tracks.get_mut(&id) else { return };
        let next = track.deadline();
        if track.armed != next {
            if let Some(before) = track.armed {
                self.deadlines.remove(&(before, id));
            }
            if let Some(next) = next {
                self.deadlines.insert((next, id));
            }
            track.armed = next;
        }
    }

    /// Adds a track, unless there is no room for one so urgent.
    pub(super) fn begin(&mut self, track: Track, anchor: Anchor, subject: &Subject) {
        let id = track.finding.id;
        if self.tracks.len() >= self.room(track.finding.severity) {
            // Bounded like the findings themselves: past that, some may count twice.
            if self.shed.known.len() >= self.room(Severity::Critical) {
                self.shed.known.clear();
            }
            self.shed.count += u64::from(self.shed.known.insert(id, (track.realm, anchor)).is_none());
            return;
        }
        self.shed.known.remove(&id);
        let memory = self.memories.entry(anchor).or_insert_with(|| Memory::new(track.realm, subject));
        memory.open.push(id);
        if track.announced && track.told.is_none() {
            self.outbox.push(id);
        }
        self.tracks.insert(id, track);
        self.rearm(id);
    }

    /// Ends a track: the finding is cleared, which is told if the finding was.
    pub(super) fn end(&mut self, id: FindingId) {
        let Some(mut track) = self.tracks.remove(&id) else { return };
        if let Some(armed) = track.armed {
            self.deadlines.remove(&(armed, id));
        }
        if track.told.is_some() {
            track.finding.state = State::Cleared;
            self.outbox.push_ended(track.finding);
        }
        if let Some(memory) = self.memories.get_mut(&track.anchor) {
            memory.open.retain(|open| *open != id);
            if memory.is_empty() {
                self.memories.remove(&track.anchor);
            }
        }
    }

    /// A subject is gone: what is open starts its hold, what is pending ends.
    pub(super) fn gone(&mut self, anchor: Anchor, now: Time) {
        self.shed.known.retain(|_, (_, of)| *of != anchor);
        let Some(memory) = self.memories.get_mut(&anchor) else { return };
        memory.unclear.clear();
        if memory.gone.is_none() {
            memory.gone = Some(now);
            self.retired.push_back((now, anchor));
        }
        for id in memory.open.clone() {
            self.quieten(id, now);
        }
        if self.memories.get(&anchor).is_some_and(Memory::is_empty) {
            self.memories.remove(&anchor);
        }
    }

    /// The condition of a track is not there any more, since that time.
    pub(super) fn quieten(&mut self, id: FindingId, since: Time) {
        let Some(track) = self.tracks.get_mut(&id) else { return };
        if track.finding.state == State::Pending {
            return self.end(id);
        }
        track.condition = match track.condition {
            Condition::Quiet(before) => Condition::Quiet(before.min(since)),
            _ => Condition::Quiet(since),
        };
        self.rearm(id);
    }

    /// After a complete LIST: what is remembered and not `there` is gone.
    pub(super) fn sweep(&mut self, realm: Realm, there: &HashSet<Anchor>, now: Time) {
        let missing = self.memories.iter().filter(|(anchor, memory)| memory.realm == realm && !there.contains(anchor));
        for anchor in missing.map(|(anchor, _)| *anchor).collect::<Vec<_>>() {
            self.gone(anchor, now);
        }
        self.shed.known.retain(|_, (of, anchor)| *of != realm || there.contains(anchor));
    }

    /// Forgets the edges of subjects that have been gone for long, and when there are too many, of the first of them.
    pub(super) fn forget_retired(&mut self, now: Time) {
        loop {
            let is_full = self.retired.len() > RETIRED_MAX;
            let is_over = |(gone, _): &mut (Time, Anchor)| is_full || *gone + Row::EDGE_LASTS <= now;
            let Some((gone, anchor)) = self.retired.pop_front_if(is_over) else { break };
            // Who was back since is remembered from when it went again.
            let is_meant = |memory: &&mut Memory| memory.gone == Some(gone);
            let Some(memory) = self.memories.get_mut(&anchor).filter(is_meant) else { continue };
            memory.spent.clear();
            if memory.is_empty() {
                self.memories.remove(&anchor);
            }
        }
    }

    pub(super) fn set_condition(&mut self, id: FindingId, condition: Condition) {
        if let Some(track) = self.tracks.get_mut(&id) {
            track.condition = condition;
            self.rearm(id);
        }
    }

    pub(super) fn room(&self, severity: Severity) -> usize {
        let all = match self.observer {
            Observer::NodeAgent { .. } => Self::FINDINGS_MAX_AGENT,
            Observer::Aggregator | Observer::Alone => Self::FINDINGS_MAX_AGGREGATOR,
        };
        match severity {
            Severity::Critical => all,
            Severity::Warning => all / 4 * 3,
            Severity::Info => all / 2,
        }
    }
}
