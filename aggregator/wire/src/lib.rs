//! The report contract between node-agents and the aggregator: what they say ([`session`], [`report`]) and how it
//! looks as bytes ([`codec`]).
//!
//! ```text
//! node-agent   watch → observe → detect → report ─┐        this crate is the bytes of that arrow
//!                                                 ├→ ingest → dedupe → limit → forward → sinks
//! aggregator   watch → observe → detect → report ─┘
//! ```
//!
//! Invariants:
//! - A session begins with a [`session::Hello`], whose format never changes; all that follows is in the version agreed on.
//! - Reports of a session are numbered without gaps and answered one by one; one that comes twice changes nothing.
//! - An answer says two things: *accepted* (it is in the aggregator's memory) and *settled* (its fate is decided). Only
//!   what is settled may be forgotten by the agent.
//! - Both ends compute the same [`digest`] of the open set, so a divergence is seen within one heartbeat.
//! - No bytes, however hostile, make [`codec::decode`] panic or hold more memory than [`codec::MEMORY_MAX`].

pub mod codec;
pub mod digest;
pub mod report;
pub mod session;

use std::time::Duration;

pub use codec::{DecodeError, EncodeError, decode, encode, encode_in};
pub use digest::OpenSet;
pub use report::{Answer, Body, Configuration, Entry, NeedFull, Reply, Report, Settled, SettledBatch};
pub use session::{Epoch, Hello, Opening, SessionId, SessionReply, Welcome};

/// The version of the report format that this build prefers.
pub const VERSION: u16 = VERSIONS[0];

/// The versions that this build speaks, best first: the current one and, once there is one, its predecessor.
#[cfg(not(feature = "successor"))]
pub const VERSIONS: &[u16] = &[1];

/// Those of a test build: what is shipped is its predecessor. The next version is the same but for its number.
#[cfg(feature = "successor")]
pub const VERSIONS: &[u16] = &[2, 1];

/// The most elements of any list in a message. An agent keeps at most 2,000 findings; the rest is room for its peer.
pub const LIST_MAX: usize = 4_096;

/// The path of [`session::Hello`].
pub const SESSION_PATH: &str = "/v1/session";

/// The path of [`report::Report`].
pub const REPORT_PATH: &str = "/v1/report";

/// The content type of every body.
pub const CONTENT_TYPE: &str = "application/vnd.tocsin.wire";

/// A span in whole milliseconds, as messages say it; the most that they can say for a longer one.
pub fn millis(span: Duration) -> u32 {
    u32::try_from(span.as_millis()).unwrap_or(u32::MAX)
}
