//! Ingest: agents' reports come in.

pub mod sessions;
