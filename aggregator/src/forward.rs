//! Forward: what is told, to whom, and that it arrives.

pub mod notification;
pub mod outbox;
pub mod text;
