//! Findings: one subject in one abnormal condition, as one observer sees it.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::bounded;
use crate::catalogue::Kind;
use crate::time::Time;

/// What a finding is about. Fields that do not apply are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Subject {
    /// Namespace; empty for a node.
    pub namespace: Arc<str>,
    /// Pod; empty for a node.
    pub pod: Arc<str>,
    /// The pod's `metadata.uid`; empty for a static pod (its mirror is deleted and made anew) and for a node.
    pub uid: Arc<str>,
    /// Container; empty when the finding is about the whole pod or a node.
    pub container: Arc<str>,
    /// The node that the subject runs on or is; empty when it has none (an unscheduled pod).
    pub node: Arc<str>,
}

/// The top owner that issues are grouped under.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Owner {
    /// `Deployment`, `StatefulSet`, `CronJob`, `Node`, … ; `Pod` for pods without a controller.
    pub kind: Arc<str>,
    /// Its name; for pods without a controller their `generateName`, else their name; empty where only the kind counts.
    pub name: Arc<str>,
}

/// How bad it is. The order is the order of urgency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Look today.
    Warning,
    /// Look now.
    Critical,
}

/// What makes this occurrence this one and no other: a hash of facts that the API gives (terminated container id,
/// restart count, transition time), never of a local clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Incarnation(pub u64);

/// Names a finding within its observer: a hash of kind and subject.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FindingId(pub u64);

/// Where a finding stands, as its observer tells it. (That it is clearing is known to its observer alone: until the
/// hold has passed nothing has changed for anybody else.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum State {
    /// The condition is there, its sustain has not passed. Told so that symptoms can wait for their cause.
    Pending,
    /// It holds (a level), or it happened and is not over (an edge).
    Active,
    /// Over: its hold has passed, or nobody can have it any more.
    Cleared,
}

/// Whether an observer was there when it happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Seen {
    /// It happened while the observer watched.
    Happening,
    /// It was there in the observer's first complete LIST: it may be weeks old.
    Found,
}

/// What is known besides: the facts that a message shows. Text in here comes from pods and is hostile; it is
/// length-capped here ([`Evidence::TEXT_MAX`]) and made safe where it is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// The API's own word for the condition (`ImagePullBackOff`, `Error`, `MemoryPressure` …).
    pub reason: Option<Arc<str>>,
    /// The API's message.
    pub message: Option<Arc<str>>,
    /// Image of the container.
    pub image: Option<Arc<str>>,
    /// Restarts of the container so far.
    pub restarts: Option<u32>,
    /// Exit code of the last termination.
    pub exit_code: Option<i32>,
    /// Signal of the last termination.
    pub signal: Option<i32>,
    /// Memory limit of the container, as its spec says it.
    pub memory_limit: Option<Arc<str>>,
    /// Names that the condition depends on: finalizers that hold an object, resources that ran out.
    #[serde(deserialize_with = "bounded::list::<_, _, { Evidence::NAMES_MAX }>")]
    pub names: Vec<Arc<str>>,
    /// How many times it happened within the last hour (an edge), or the condition changed lately (one that flaps).
    pub occurrences: Option<u32>,
}

/// One subject in one abnormal condition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Its name within its observer.
    pub id: FindingId,
    /// The row of the catalogue.
    pub kind: Kind,
    /// What it is about.
    pub subject: Subject,
    /// What it is grouped under.
    pub owner: Owner,
    /// Which occurrence this is.
    pub incarnation: Incarnation,
    /// Where it stands.
    pub state: State,
    /// When the condition began (a level) or when it happened (an edge), by the API server's clock.
    pub since: Time,
    /// Whether its observer was there.
    pub seen: Seen,
    /// How bad it is, after configuration and annotations.
    pub severity: Severity,
    /// What is known besides.
    pub evidence: Evidence,
}

impl FindingId {
    /// The id of `kind` on `subject`. The node is no part of it: a subject is the same wherever it is seen from.
    pub fn of(kind: Kind, subject: &Subject) -> Self {
        let pod_less = if subject.pod.is_empty() { &*subject.node } else { "" };
        Self(hash(&[kind.name(), &subject.namespace, &subject.pod, &subject.uid, &subject.container, pod_less]))
    }
}

impl Incarnation {
    /// The incarnation made of these facts.
    pub fn of(facts: &[&str]) -> Self {
        Self(hash(facts))
    }
}

impl Evidence {
    /// The longest text kept, in bytes.
    pub const TEXT_MAX: usize = 1024;
    /// The most names kept.
    pub const NAMES_MAX: usize = 16;

    /// `text`, cut at a character's boundary to [`Self::TEXT_MAX`] bytes.
    pub fn text(text: &str) -> Arc<str> {
        Arc::from(&text[..text.floor_char_boundary(Self::TEXT_MAX)])
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        })
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.is_empty() { out.write_str(&self.kind) } else { write!(out, "{}/{}", self.kind, self.name) }
    }
}

/// A hash of `parts` in which no two lists of parts run together.
fn hash(parts: &[&str]) -> u64 {
    let mut bytes = Vec::with_capacity(parts.iter().map(|part| part.len() + 8).sum());
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
    xxh3_64(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_run_together() {
        assert_ne!(Incarnation::of(&["ab", "c"]), Incarnation::of(&["a", "bc"]));
        assert_ne!(Incarnation::of(&["a"]), Incarnation::of(&["a", ""]));
    }

    #[test]
    fn text_is_cut_at_a_characters_boundary() {
        let text = "é".repeat(Evidence::TEXT_MAX);
        assert_eq!(Evidence::text(&text).len(), Evidence::TEXT_MAX);
        assert_eq!(&*Evidence::text(&format!("a{text}")), &format!("a{}", "é".repeat(Evidence::TEXT_MAX / 2 - 1)));
    }
}
