//! Tocsin's detection rules.
pub mod catalogue;
pub mod config;
pub mod finding;
pub mod time;
pub mod view;

pub use catalogue::{Kind, Nature, Row, Side};
pub use config::{Config, KindConfig, Scope, SystemNamespaces};
pub use finding::{Evidence, Finding, FindingId, Incarnation, Owner, Seen, Severity, State, Subject};
pub use time::Time;
