//! The doctor: looks whether an aggregator with these options could do its work, and whether the one that leads does it. It
//! changes nothing and tells no sink anything.
//!
//! ```text
//!   options ─▶ ask (files, API server, leader, sinks) ─▶ judges ─▶ Check … ─▶ lines, JSON
//! ```
//!
//! `ask` finds out, each within a stated time; what it means and what to do about it is decided by pure functions.

mod ask;
mod check;
mod fleet;
mod judge;
pub mod rights;
mod sink;

use anyhow::anyhow;
use process::{Clock, Exit, tls};

pub use check::{Check, Outcome};

use crate::options::{Consultation, Form, Launch};

/// Looks at all of it and says what there is. An error says how many checks have failed.
pub async fn run(launch: Launch, consultation: Consultation) -> Result<(), Exit> {
    tls::use_ring();
    let checks = ask::everything(&launch, consultation.patience, &Clock::system()).await;
    println!(
        "{}",
        match consultation.form {
            Form::Text => check::text(&checks),
            Form::Json => check::json(&checks),
        }
    );
    match checks.iter().filter(|check| check.outcome == Outcome::Failed).count() {
        0 => Ok(()),
        failed => Err(anyhow!("{failed} of {} checks failed", checks.len()).into()),
    }
}
