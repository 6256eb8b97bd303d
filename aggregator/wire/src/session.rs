//! How an agent and an aggregator meet. [`Hello`], [`SessionReply`] and [`Welcome`] are frozen: builds of any two
//! versions must understand them, so fields are neither added, removed nor reordered. What may change lies in
//! [`Opening`], encoded in the version that the aggregator chose.

use rules::{Finding, bounded};
use serde::{Deserialize, Serialize};

use crate::LIST_MAX;
use crate::report::Configuration;

/// Names a session. Random, so that knowing it is proof of having opened it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SessionId(pub u128);

/// Names one life of an aggregator. A new epoch knows nothing of what an older one had accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Epoch(pub u64);

/// The agent's first words. Who it is and on which node is in its token, never in here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Versions of the report format that it speaks, best first.
    #[serde(deserialize_with = "bounded::list::<_, _, LIST_MAX>")]
    pub versions: Vec<u16>,
    /// Its build, for people.
    pub build: String,
    /// Names of the kinds that it knows: open findings of others mean nothing to it and are not given to it.
    #[serde(deserialize_with = "bounded::list::<_, _, LIST_MAX>")]
    pub kinds: Vec<String>,
}

/// What a [`Hello`] is answered with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SessionReply {
    /// Come in. Any older session of the node is retired.
    Welcome(Welcome),
    /// No version in common; these are the aggregator's.
    NoCommonVersion(#[serde(deserialize_with = "bounded::list::<_, _, LIST_MAX>")] Vec<u16>),
    /// The leader is elsewhere (`host:port`); empty when nobody knows where.
    NotLeader(String),
    /// Not let in, and why.
    Refused(String),
    /// Too much at once: again after that many milliseconds.
    Busy(u32),
}

/// A session is open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The version of the report format to use.
    pub version: u16,
    /// The session's name.
    pub session: SessionId,
    /// The aggregator's life.
    pub epoch: Epoch,
    /// An [`Opening`], encoded in `version`.
    pub opening: Vec<u8>,
}

/// What an agent needs to know to begin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Opening {
    /// The rules to go by.
    pub configuration: Configuration,
    /// The findings of its node that are open in the aggregator's memory: the agent goes on with them. At most
    /// [`LIST_MAX`].
    #[serde(deserialize_with = "bounded::list::<_, _, LIST_MAX>")]
    pub open: Vec<Finding>,
    /// Milliseconds between heartbeats.
    pub heartbeat_ms: u32,
    /// Milliseconds over which to spread a reconnect, by full jitter.
    pub reconnect_window_ms: u32,
}
