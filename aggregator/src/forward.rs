//! Forward: what is told, to whom, and that it arrives.

pub mod heard;
pub mod notification;
pub mod outbox;
pub mod sender;
pub mod text;
mod words;
