//! The catalogue: every kind of issue is one [`Row`], next to its rule, and one line in [`CATALOGUE`].

use std::fmt;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::finding::Severity;
use crate::gates::Gates;
use crate::kinds;
use crate::verdict::Rule;

/// Every kind that there is.
pub static CATALOGUE: &[&Row] = &[
    &kinds::crash_loop::ROW,
    &kinds::image_pull::ROW,
    &kinds::oom_killed::ROW,
    &kinds::not_ready::ROW,
    &kinds::pod_failed::ROW,
    &kinds::evicted::ROW,
    &kinds::stuck_terminating::ROW,
    &kinds::unschedulable::ROW,
    &kinds::node_not_ready::ROW,
    &kinds::agent_silent::ROW,
];

/// All that is fixed about a kind.
pub struct Row {
    /// Its name, everywhere: configuration, messages, metrics, annotations.
    pub name: &'static str,
    /// What is wrong, as the end of a sentence that begins with the subject: "is crash-looping".
    pub headline: &'static str,
    /// What is right again, in the same form: "runs again".
    pub recovered: &'static str,
    /// The command to look closer; `{namespace}`, `{owner}` (kind/name), `{pod}`, `{container}`, `{node}` are filled in.
    pub look: &'static str,
    /// Level or edge.
    pub nature: Nature,
    /// Who sees it.
    pub side: Side,
    /// How bad, by default.
    pub severity: Severity,
    /// How long the condition must last before the finding is active, by default.
    pub sustain: Duration,
    /// How long it must be quiet before the finding is cleared, by default.
    pub hold: Duration,
    /// The rule's own numbers, by default: name and value.
    pub thresholds: &'static [(&'static str, f64)],
    /// Names of the kinds of the same owner (of the same node, for a kind about a node) that it explains: their
    /// findings are evidence of this one and get no message of their own. `"*"`: every kind about a pod.
    pub explains: &'static [&'static str],
    /// In which states of a pod it is looked for.
    pub(crate) gates: Gates,
    /// What finds it.
    pub(crate) rule: Rule,
}

/// Whether a kind lasts or happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nature {
    /// Holds until it clears.
    Level,
    /// Happened at a time; over when the container is ready for the hold, the pod gone for the hold, or after
    /// [`Row::EDGE_LASTS`].
    Edge,
}

/// Who sees a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The node-agent, on its own node's pods and figures.
    NodeAgent,
    /// The aggregator, with its cluster-wide watches.
    Aggregator,
}

/// A kind of issue: its row.
#[derive(Clone, Copy)]
pub struct Kind(&'static Row);

impl Row {
    /// How long after its last occurrence an edge is over at the latest.
    pub const EDGE_LASTS: Duration = Duration::from_hours(1);
}

impl Kind {
    /// The kind of that name.
    pub fn named(name: &str) -> Option<Self> {
        CATALOGUE.iter().find(|row| row.name == name).map(|row| Self(row))
    }

    /// Every kind.
    pub fn all() -> impl Iterator<Item = Self> {
        CATALOGUE.iter().map(|row| Self(row))
    }

    /// Its row.
    pub fn row(self) -> &'static Row {
        self.0
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.0.name
    }
}

impl PartialEq for Kind {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.0, other.0)
    }
}

impl Eq for Kind {}

impl PartialOrd for Kind {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Kind {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.name().cmp(other.name())
    }
}

impl Hash for Kind {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;

        impl de::Visitor<'_> for Name {
            type Value = Kind;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("the name of a kind in the catalogue")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Kind, E> {
                Kind::named(name).ok_or_else(|| E::invalid_value(de::Unexpected::Str(name), &self))
            }
        }

        deserializer.deserialize_str(Name)
    }
}
