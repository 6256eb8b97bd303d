//! What every Tocsin process needs around its pure core.
//!
//! ```text
//! node-agent   watch → observe → detect → report ─┐
//!                                                 ├→ ingest → dedupe → limit → forward → sinks
//! aggregator   watch → observe → detect → report ─┘
//! ```
//!
//! This crate gives both binaries the same *watch* (one LIST and WATCH loop for any [`rules::view::Object`]) and the
//! process shell that the stages stand in. What holds everywhere:
//!
//! - Time is read in [`clock`] alone and is the API server's; tasks start in [`tasks`] alone and are watched.
//! - Decisions (when to list, how long to wait, which phase comes next) are pure values; sockets are at the edge.
//! - A process says that it is unready before it stops accepting, and stops accepting before it flushes.

pub mod admin;
pub mod backoff;
pub mod clock;
pub mod cost;
pub mod exit;
pub mod file;
pub mod kube_client;
pub mod liveness;
pub mod logs;
pub mod objects;
pub mod options;
pub mod port;
pub mod readiness;
pub mod shutdown;
pub mod tasks;
pub mod tls;
pub mod watch;

pub use admin::Shown;
pub use clock::{Clock, Mark};
pub use cost::Cost;
pub use exit::Exit;
pub use liveness::{Liveness, Pulse};
pub use readiness::Readiness;
pub use shutdown::{Phase, Phases, Shutdown};
pub use tasks::{Stage, Tasks};
pub use watch::{Event, Watch};
