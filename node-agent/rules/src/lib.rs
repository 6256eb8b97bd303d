//! Tocsin's detection rules: the part of the pipeline that decides what is wrong.
//!
//! ```text
//!                 watch → observe → DETECT → report ─┐            (node-agent: its own node's pods)
//!                         └─ here ────────┘          ├→ ingest → dedupe → limit → forward → sinks
//!                 watch → observe → DETECT → report ─┘            (aggregator: what no single node can see)
//!
//!   the API's JSON → view → Engine → rule → verdict → track → Finding
//! ```
//!
//! - [`view`] is what of a Kubernetes object is read at all.
//! - [`catalogue`] lists the kinds. Each is one file in `kinds/`: its row, its rule, its table of tests. A rule is a
//!   function from a view and `now` to a verdict. To add a kind is to write its file and to add its line to the table.
//! - [`Engine`] turns verdicts into [`Finding`]s: pending while the sustain runs, active, and cleared when the hold has
//!   passed.
//!
//! What always holds:
//!
//! - Pure: no clock, no I/O, no tasks. `now` is the API server's time and a parameter; the kubelet's times are shifted
//!   to it.
//! - Sustain and hold count from the API's own timestamps where there are any, so a restart does not begin them anew.
//! - An incarnation is made of facts of the API: one occurrence has the same before and after a restart.
//! - Nothing resolves by not being seen: what an engine adopts stays as it is until the first complete LIST, and what
//!   that does not show must be gone for the hold.
//! - An edge is told once for each occurrence, however long the API goes on showing it, and told before it is told to
//!   be over.
//! - `changes` and `findings` agree: who applies every change has what `findings` gives.
//! - A healthy pod costs no memory; an unhealthy one a few hundred bytes; what does not fit is counted.

pub mod agent;
pub mod bounded;
pub mod catalogue;
pub mod config;
pub mod engine;
pub mod finding;
mod gates;
mod kinds;
pub mod name;
pub mod owner;
mod scope;
#[cfg(test)]
mod testing;
pub mod time;
mod verdict;
pub mod view;
mod wishes;

pub use agent::AgentSight;
pub use catalogue::{Kind, Nature, Row, Side};
pub use config::{Config, KindConfig, Scope, SystemNamespaces};
pub use engine::{Engine, Observer, Realm};
pub use finding::{Evidence, Finding, FindingId, Incarnation, Owner, Seen, Severity, State, Subject};
pub use owner::top_owner;
pub use time::Time;
pub use view::{Node, Object, Pod};
