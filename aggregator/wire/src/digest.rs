//! The digest of the open set, kept by both ends of a session.

use rules::{Finding, FindingId, State};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::report::Entry;

/// How many findings are open (pending or active) and a digest of which, in which revision. Order does not matter, so
/// both ends keep it by adding and removing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenSet {
    /// How many.
    pub count: u32,
    /// The sum of the hashes of (id, revision).
    pub digest: u64,
}

impl OpenSet {
    /// Adds one.
    pub fn add(&mut self, id: FindingId, revision: u32) {
        self.count = self.count.wrapping_add(1);
        self.digest = self.digest.wrapping_add(hash(id, revision));
    }

    /// Removes one that was added.
    pub fn remove(&mut self, id: FindingId, revision: u32) {
        self.count = self.count.wrapping_sub(1);
        self.digest = self.digest.wrapping_sub(hash(id, revision));
    }

    /// Whether a finding counts.
    pub fn counts(finding: &Finding) -> bool {
        finding.state != State::Cleared
    }
}

impl<'a> FromIterator<&'a Entry> for OpenSet {
    fn from_iter<I: IntoIterator<Item = &'a Entry>>(entries: I) -> Self {
        let mut open = Self::default();
        for entry in entries {
            if Self::counts(&entry.finding) {
                open.add(entry.finding.id, entry.revision);
            }
        }
        open
    }
}

fn hash(id: FindingId, revision: u32) -> u64 {
    let mut bytes = [0; 12];
    bytes[..8].copy_from_slice(&id.0.to_le_bytes());
    bytes[8..].copy_from_slice(&revision.to_le_bytes());
    xxh3_64(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_does_not_matter_and_revisions_do() {
        let (one, two) = (FindingId(1), FindingId(2));
        let mut forward = OpenSet::default();
        forward.add(one, 1);
        forward.add(two, 7);
        let mut backward = OpenSet::default();
        backward.add(two, 7);
        backward.add(one, 1);
        assert_eq!(forward, backward);

        forward.remove(one, 1);
        forward.add(one, 2);
        assert_ne!(forward, backward);
        forward.remove(one, 2);
        forward.remove(two, 7);
        assert_eq!(forward, OpenSet::default());
    }
}
