//! Decisions: what became of a finding, each with its reason.

use std::fmt;

use serde::Serialize;

/// What became of one (finding, incarnation).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Decision {
    /// It opened an issue, and every sink that must have it has it.
    Told,
    /// It joined what was told.
    Merged,
    /// Nobody gets it, for a reason.
    Suppressed(Suppression),
    /// There was no room for it.
    Shed,
    /// Not decided yet, for a reason.
    Pending(Waiting),
}

/// Why a finding is not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Suppression {
    /// An edge that was found, not seen, and is no newer than what was told or than the time of installation.
    Old,
    /// A cause explained it until it ended.
    Inhibited,
    /// It ended while it was held, before anybody could have been told.
    ClearedUntold,
    /// No sink wants issues of this severity.
    Unrouted,
    /// The pod that it names is not the one that the API has there.
    Unverified,
    /// The sink refuses the record (400, 413, 422) and would refuse it again.
    Quarantined,
}

/// Why a finding is not decided yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Waiting {
    /// What may be its cause is pending, or has just ended.
    Held,
    /// Its cause is there, and explains it.
    Inhibited,
    /// Its pod is being read from the API.
    Verifying,
    /// In the outbox: limited, or the sink does not answer.
    Queued,
}

impl Decision {
    /// Every decision, for metrics that begin at zero.
    pub const ALL: [Self; 13] = [
        Self::Told,
        Self::Merged,
        Self::Suppressed(Suppression::Old),
        Self::Suppressed(Suppression::Inhibited),
        Self::Suppressed(Suppression::ClearedUntold),
        Self::Suppressed(Suppression::Unrouted),
        Self::Suppressed(Suppression::Unverified),
        Self::Suppressed(Suppression::Quarantined),
        Self::Shed,
        Self::Pending(Waiting::Held),
        Self::Pending(Waiting::Inhibited),
        Self::Pending(Waiting::Verifying),
        Self::Pending(Waiting::Queued),
    ];

    /// Its one spelling: metric label, log field, API and status page.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Told => "told",
            Self::Merged => "merged",
            Self::Suppressed(Suppression::Old) => "old",
            Self::Suppressed(Suppression::Inhibited) => "inhibited",
            Self::Suppressed(Suppression::ClearedUntold) => "cleared-untold",
            Self::Suppressed(Suppression::Unrouted) => "unrouted",
            Self::Suppressed(Suppression::Unverified) => "unverified",
            Self::Suppressed(Suppression::Quarantined) => "quarantined",
            Self::Shed => "shed",
            Self::Pending(Waiting::Held) => "held",
            Self::Pending(Waiting::Inhibited) => "inhibited",
            Self::Pending(Waiting::Verifying) => "verifying",
            Self::Pending(Waiting::Queued) => "queued",
        }
    }

    /// Whether it is the last word on this finding.
    pub const fn is_final(self) -> bool {
        !matches!(self, Self::Pending(_))
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl Serialize for Decision {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}
