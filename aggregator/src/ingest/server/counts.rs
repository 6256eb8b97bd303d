//! What the agents' port counts. Labels are of closed sets: nothing that a peer says becomes one.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

/// Counts of the port, to be registered for `/metrics`; clones share them.
#[derive(Clone, Debug)]
pub struct Counts {
    /// Connections that are open.
    pub connections: Gauge,
    /// Connections that were closed because of what their peer did or did not do, by reason.
    pub dropped: Family<DropLabels, Counter>,
    /// Requests, by what they were answered.
    pub requests: Family<RequestLabels, Counter>,
}

/// What dropped connections are counted by.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct DropLabels {
    /// `full`, `handshake`, `stranger` or `idle`.
    pub reason: &'static str,
}

/// What requests are counted by.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    /// `session`, `report` or `none` for no such path.
    pub path: &'static str,
    /// The answer, in the words of the contract.
    pub answer: &'static str,
}

/// Why connections are dropped.
const DROPS: [&str; 4] = ["full", "handshake", "stranger", "idle"];
/// What requests to each path are answered.
const ANSWERS: [(&str, &[&str]); 3] = [
    ("session", &["welcome", "no_common_version", "not_leader", "refused", "busy"]),
    ("report", &["answer", "unknown_session", "retired", "not_leader", "malformed", "busy"]),
    ("none", &["method", "content_type", "not_found"]),
];

impl Default for Counts {
    /// Every series is there from the start, so that the first of its kind is seen as an increase.
    fn default() -> Self {
        let counts = Self { connections: Gauge::default(), dropped: Family::default(), requests: Family::default() };
        for reason in DROPS {
            drop(counts.dropped.get_or_create(&DropLabels { reason }));
        }
        for (path, answers) in ANSWERS {
            for answer in answers {
                drop(counts.requests.get_or_create(&RequestLabels { path, answer }));
            }
        }
        counts
    }
}

impl Counts {
    #[cfg(test)]
    pub(super) fn dropped_for(&self, reason: &'static str) -> u64 {
        self.dropped.get_or_create(&DropLabels { reason }).get()
    }

    #[cfg(test)]
    pub(super) fn answered(&self, path: &'static str, answer: &'static str) -> u64 {
        self.requests.get_or_create(&RequestLabels { path, answer }).get()
    }

    pub(super) fn dropped(&self, reason: &'static str) {
        debug_assert!(DROPS.contains(&reason), "{reason} is none of the reasons");
        self.dropped.get_or_create(&DropLabels { reason }).inc();
    }

    pub(super) fn request(&self, path: &'static str, answer: &'static str) {
        debug_assert!(
            ANSWERS.iter().any(|(of, answers)| *of == path && answers.contains(&answer)),
            "{answer} is no answer of {path}"
        );
        self.requests.get_or_create(&RequestLabels { path, answer }).inc();
    }
}
