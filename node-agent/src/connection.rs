//! The way to the aggregator: HTTP/2 over TLS, one connection, one request at a time. It moves bytes; what they mean is
//! [`crate::report`]'s to decide.
//!
//! - Wherever it goes, the other end must prove to be the Service by its TLS name.
//! - Token and CAs are read anew when they are needed ([`Trust`]): both are replaced while the process runs.
//! - Every wait has an end, and a body has a size. Redirects are not followed: there is nothing but two paths.

use std::path::PathBuf;
use std::sync::Arc;

use futures::future::BoxFuture;
use process::Tasks;
use rustls::pki_types::ServerName;
use wire::{Hello, Reply, Report, SessionReply};

use crate::report::Target;

mod dial;
mod exchange;
mod failure;
#[cfg(test)]
mod tests;
mod trust;

pub(crate) use exchange::authorization;
pub use failure::Failure;
pub use trust::Trust;

use dial::Link;

/// Where the aggregator is and how to prove oneself to each other.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The Service's address, `host:port`.
    pub address: String,
    /// The name that every replica's certificate is for.
    pub name: ServerName<'static>,
    /// This process's token, read for each session.
    pub token_file: PathBuf,
}

/// The connection to the aggregator, made when it is needed.
pub struct Connection {
    dialer: Arc<Dialer>,
    link: Option<Link>,
    under_way: Option<BoxFuture<'static, Done>>,
}

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// A [`Hello`] was answered.
    Session(SessionReply),
    /// A [`Report`] was answered.
    Reply(Reply),
    /// What was under way failed.
    Failed(Failure),
    /// The connection is gone while nothing was under way.
    Closed,
}

/// What making a connection takes.
struct Dialer {
    settings: Settings,
    trust: Trust,
    tasks: Tasks,
}

/// The end of an exchange: what came of it, and the connection, if it can be used again.
struct Done {
    event: Event,
    link: Option<Link>,
}

impl Connection {
    /// A connection that is not there yet.
    pub fn new(settings: Settings, trust: Trust, tasks: Tasks) -> Self {
        Self { dialer: Arc::new(Dialer { settings, trust, tasks }), link: None, under_way: None }
    }

    /// Sends a [`Hello`], with the token. The answer is an event; what was under way before is given up.
    pub fn hello(&mut self, to: &Target, hello: &Hello) {
        self.exchange(wire::SESSION_PATH, true, wire::encode(hello), to, Event::Session);
    }

    /// Sends a [`Report`] in this version of the format. The answer is an event; what was under way before is given up.
    pub fn report(&mut self, to: &Target, version: u16, report: &Report) {
        self.exchange(wire::REPORT_PATH, false, wire::encode_in(version, report), to, Event::Reply);
    }

    /// The next event. Cancel-safe: what is under way stays so until the next call.
    pub async fn next(&mut self) -> Event {
        if let Some(under_way) = &mut self.under_way {
            let Done { event, link } = under_way.await;
            (self.under_way, self.link) = (None, link);
            return event;
        }
        match &mut self.link {
            Some(link) => link.closed().await,
            None => std::future::pending().await,
        }
        self.link = None;
        Event::Closed
    }
}
