//! The test harness: everything around Tocsin that tests, benches and the demo need, and nothing of Tocsin itself.
//!
//! ```text
//!   ApiServer ── list, watch, reviews ──▶ agents, aggregator ── issues ──▶ Receiver
//!   (simulated, scriptable faults)         (the code under test)           (records, answers anything)
//! ```
//!
//! Invariants: it listens on loopback, or in a test cluster's own network, on ports that the system chooses; whoever waits,
//! waits for an event and names a deadline; every script is a value that can be taken back.
#![allow(
    clippy::disallowed_methods,
    reason = "the harness plays the world outside the processes under test: it has a clock of its own, and a task of \
              it that fails shows as a failed test"
)]

pub mod apiserver;
pub mod certs;
pub mod chart;
pub mod cluster;
pub mod demo;
pub mod earlier;
pub mod exposition;
pub mod forward_proxy;
pub mod images;
pub mod installation;
mod listener;
pub mod metrics;
pub mod package;
pub mod pair;
pub mod processes;
pub mod receiver;
pub mod record;
