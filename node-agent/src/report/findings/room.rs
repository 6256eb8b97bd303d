//! Who finds room, and who was shed for want of it.

use std::collections::BTreeSet;

use rules::{FindingId, Severity, State};

/// The most findings kept. Pending and less severe ones get a part of it only, so that what is critical finds room.
pub const ROOM: usize = 2_000;

/// The most shed findings remembered by name, to count each of them once.
const SHED_MAX: usize = 4_096;

/// What there was no room for.
#[derive(Debug, Default)]
pub(super) struct Shed {
    /// Names, to count each once until there is room for it or it is over.
    pub(super) ids: BTreeSet<FindingId>,
    pub(super) count: u64,
    /// Some may still be open and could be let in once there is room.
    pub(super) missing: bool,
}

/// How many findings there may be for one like this to still be let in.
pub(super) const fn room_for(state: State, severity: Severity) -> usize {
    match (state, severity) {
        (State::Pending, _) => ROOM / 2,
        (_, Severity::Info) => ROOM / 10 * 7,
        (_, Severity::Warning) => ROOM / 10 * 9,
        (_, Severity::Critical) => ROOM,
    }
}

impl Shed {
    pub(super) fn add(&mut self, id: FindingId) {
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
