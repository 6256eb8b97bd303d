//! The simulated API server keeps the semantics of the real one: over plain HTTP, and as the `kube` client sees it.
#![allow(clippy::disallowed_methods, reason = "a test is a client with tasks and a clock of its own")]

#[path = "apiserver/authorization.rs"]
mod authorization;
#[path = "apiserver/client.rs"]
mod client;
#[path = "apiserver/faults.rs"]
mod faults;
#[path = "apiserver/reading.rs"]
mod reading;
#[path = "apiserver/stories.rs"]
mod stories;
#[path = "apiserver/through_kube.rs"]
mod through_kube;
#[path = "apiserver/watching.rs"]
mod watching;
#[path = "apiserver/writing.rs"]
mod writing;
