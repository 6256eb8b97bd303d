//! Sinks: how a batch of records is said, and how what comes back is understood.

mod answer;
mod endpoint;
mod ingest;
mod stdout;
mod token;
mod webhook;

use http::StatusCode;
use rules::Time;

use crate::config::SinkTarget;
use crate::forward::outbox::{Outcome, Record};
use endpoint::Endpoint;
pub(crate) use endpoint::client;
pub use stdout::Stdout;

/// Somewhere that records go.
#[derive(Debug)]
pub enum Sink {
    /// The ingestion API: batches of records (`aggregator/openapi.yaml`).
    Ingest(Endpoint),
    /// One record a request.
    Webhook(Endpoint),
    /// One record a line on standard output.
    Stdout(Stdout),
}

/// How sending a batch went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// What it means for the outbox.
    pub outcome: Outcome,
    /// Why, and what to do about it, in one line; empty when it was delivered.
    pub why: String,
}

/// How a sink was found when it was tried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// The status that it answered; `None` when it did not.
    pub status: Option<StatusCode>,
    /// What a batch would have met.
    pub sent: Sent,
}

impl Sink {
    /// The sink at `target`. Nothing is opened or read before the first [`Sink::send`].
    pub fn new(target: &SinkTarget) -> Self {
        match target {
            SinkTarget::Ingest(target) => Self::Ingest(Endpoint::new(target.clone())),
            SinkTarget::Webhook(target) => Self::Webhook(Endpoint::new(target.clone())),
            SinkTarget::Stdout => Self::Stdout(Stdout::new(tokio::io::stdout())),
        }
    }

    /// Whether the files that it names can be read now, and hold what a request needs. Nobody is asked anything.
    pub async fn check_files(&self) -> Result<(), String> {
        match self {
            Self::Ingest(endpoint) | Self::Webhook(endpoint) => endpoint.check_files().await,
            Self::Stdout(_) => Ok(()),
        }
    }

    /// Sends `records`, at `now`. Where it goes wrong midway, some may have arrived: all of them are to be sent again.
    pub async fn send(&self, records: &[Record], now: Time) -> Sent {
        match self {
            Self::Ingest(endpoint) => ingest::send(endpoint, records, now).await,
            Self::Webhook(endpoint) => webhook::send(endpoint, records, now).await,
            Self::Stdout(stdout) => stdout.send(records).await,
        }
    }

    /// Asks without telling anybody anything, as well as that can be: `ingest` takes a batch of no records, and a webhook is
    /// asked for its HEAD. `None` where nobody is to be asked.
    pub async fn try_out(&self, now: Time) -> Option<Tried> {
        match self {
            Self::Ingest(endpoint) => Some(ingest::try_out(endpoint, now).await),
            Self::Webhook(endpoint) => Some(endpoint.head(now).await),
            Self::Stdout(_) => None,
        }
    }

    /// Whether the files of the token, of the address or of the proxy say something else than they did at the last [`Sink::send`].
    pub async fn has_new_credentials(&self) -> bool {
        match self {
            Self::Ingest(endpoint) | Self::Webhook(endpoint) => endpoint.has_new_credentials().await,
            Self::Stdout(_) => false,
        }
    }
}

impl Sent {
    /// The sink has it.
    pub const DELIVERED: Self = Self { outcome: Outcome::Delivered, why: String::new() };

    /// Perhaps the sink has it, perhaps not.
    pub(crate) fn failed(why: impl Into<String>) -> Self {
        Self { outcome: Outcome::Failed, why: why.into() }
    }
}

#[cfg(test)]
pub(crate) mod contract;
#[cfg(test)]
mod tests;
