//! Ingest: agents' reports come in.

pub mod identity;
pub mod server;
pub mod sessions;
