//! node-agent.
pub mod report;
