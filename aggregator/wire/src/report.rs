//! What is said within a session, version 1.

use std::sync::Arc;

use rules::{Config, Finding, FindingId, bounded};
use serde::{Deserialize, Serialize};

use crate::LIST_MAX;
use crate::codec;
use crate::digest::OpenSet;
use crate::session::SessionId;

/// A report. An empty [`Body::Delta`] is a heartbeat.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Which session it belongs to.
    pub session: SessionId,
    /// Its number in the session, from 1, without gaps. Sent again with the same number until it is answered.
    pub seq: u64,
    /// What is new.
    pub body: Body,
    /// The agent's open set after this report.
    pub open: OpenSet,
    /// Number of the last settled batch that the agent took in; 0 before the first.
    pub settled_seen: u64,
    /// Hash of the configuration that the agent goes by.
    pub config_hash: u64,
    /// Findings that the agent had no room for, since it started.
    pub shed: u64,
}

/// What a report says, in at most [`LIST_MAX`] entries, one for a finding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Body {
    /// Everything that the agent has not forgotten. Never sent before the first complete LIST.
    Full(#[serde(deserialize_with = "bounded::list::<_, _, LIST_MAX>")] Vec<Entry>),
    /// What changed since the last report.
    Delta(#[serde(deserialize_with = "bounded::list::<_, _, LIST_MAX>")] Vec<Entry>),
}

/// One finding in a report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// How often this finding has changed in the eyes of its agent: names the state that is accepted and settled.
    pub revision: u32,
    /// The finding, whole.
    pub finding: Finding,
}

/// What a report is answered with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    /// Taken in.
    Answer(Answer),
    /// No such session here (a new epoch, or it ran out): open a new one.
    UnknownSession,
    /// A newer session of the same node has taken its place: this agent is the old one and ends.
    Retired,
    /// The leader is elsewhere (`host:port`); empty when nobody knows where.
    NotLeader(String),
    /// Not understood, and why. Sending it again would not help: send a full report.
    Malformed(String),
    /// Too much at once: the same report again after that many milliseconds.
    Busy(u32),
}

/// What an accepted report is answered with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The last number accepted.
    pub accepted: u64,
    /// What has been settled, repeated until a report names its number.
    pub settled: Option<SettledBatch>,
    /// A full report is needed, and why.
    pub need_full: Option<NeedFull>,
    /// Hash of the configuration in force.
    pub config_hash: u64,
    /// The configuration itself, when the agent's is another one.
    pub configuration: Option<Configuration>,
    /// No further report for that many milliseconds; 0 for no such wish.
    pub retry_after_ms: u32,
}

/// A numbered batch of what has been settled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettledBatch {
    /// Its number in the session, from 1.
    pub number: u64,
    /// What is settled; at most [`LIST_MAX`].
    #[serde(deserialize_with = "bounded::list::<_, _, LIST_MAX>")]
    pub settled: Vec<Settled>,
}

/// The fate of this state of a finding is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Settled {
    /// Which finding.
    pub id: FindingId,
    /// Up to which of its revisions.
    pub revision: u32,
}

/// Why a full report is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NeedFull {
    /// A number is missing.
    Gap,
    /// The open sets differ.
    Digest,
    /// A cause has ended: what it explained is judged by what is there now.
    CauseEnded,
}

/// The rules to go by, with the hash that names them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Configuration {
    /// Names the configuration: the same for the same rules, see [`Configuration::new`].
    pub hash: u64,
    /// The rules.
    pub config: Arc<Config>,
}

impl Configuration {
    /// Names `config` by its hash.
    pub fn new(config: Arc<Config>) -> Self {
        Self { hash: codec::fingerprint(&*config), config }
    }
}

impl Body {
    /// What it says, of either form.
    pub fn entries(&self) -> &[Entry] {
        match self {
            Self::Full(entries) | Self::Delta(entries) => entries,
        }
    }
}
