//! The aggregator.
pub mod dedupe;
pub mod forward;
pub mod ingest;
pub mod limit;
pub mod pipeline;
pub mod settings;
