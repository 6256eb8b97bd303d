//! Tocsin's detection rules.
pub mod agent;
pub mod bounded;
pub mod catalogue;
pub mod config;
pub mod engine;
pub mod finding;
mod gates;
mod kinds;
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
pub use engine::{Engine, Observer};
pub use finding::{Evidence, Finding, FindingId, Incarnation, Owner, Seen, Severity, State, Subject};
pub use owner::top_owner;
pub use time::Time;
pub use view::{Node, Object, Pod};
