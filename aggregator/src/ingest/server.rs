//! The agents' port: HTTP/2 over TLS, and everything in it has a bound: connections, handshakes, headers, bodies, time,
//! and how much one node may ask for.
//!
//! A connection is a stranger's until a request in it shows a token or a session that is good. Until then it has little
//! time and one of a few places, apart from those of agents ([`places`]); its handshake waits while another's is computed,
//! and nothing is read or decoded for it beyond the name of a session. So strangers can keep further strangers out, an
//! agent among them that has just come, but take nothing from the agents that are there.

mod answer;
mod body;
mod connection;
mod counts;
mod node;
mod places;
mod rarely;
mod requests;

use std::sync::Arc;
use std::time::Duration;

use process::{Clock, Phases, Stage, Tasks, port};
use ring::rand::SystemRandom;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use self::body::Room;
pub use self::counts::Counts;
use self::node::Nodes;
use self::places::Places;
use self::rarely::Rarely;
use super::identity::Identity;
use crate::config::Config;
use crate::leader::Office;
use crate::settings::Settings;

/// The bounds of the port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections of agents at once; a further agent is told to wait.
    pub connections_max: usize,
    /// Connections of strangers at once; further ones are closed unheard.
    pub strangers_max: usize,
    /// The same, of one address. Where addresses are translated, many agents have one between them.
    pub strangers_of_address_max: usize,
    /// TLS handshakes that are computed at once: fewer than there are threads, so that agents are heard meanwhile. One that
    /// waits for its peer is none of them.
    pub handshakes_max: usize,
    /// From the connection to the end of the handshake.
    pub handshake_timeout: Duration,
    /// From the handshake to the first request that succeeds.
    pub stranger_timeout: Duration,
    /// Between two requests. An agent sends heartbeats, so one that is silent for longer is gone.
    pub idle_timeout: Duration,
    /// From a request's headers to the end of its body.
    pub body_timeout: Duration,
    /// Requests of one node, a minute on average and at once after a quiet minute. Every 64 KiB of a body count as one.
    pub requests_per_minute: u32,
}

/// The agents' port. Its address is bound by the caller.
pub struct Server(Arc<Shared>);

/// What connections share.
struct Shared {
    office: Office,
    clock: Clock,
    identity: Identity,
    config: watch::Receiver<Arc<Config>>,
    tasks: Tasks,
    phases: Phases,
    limits: Limits,
    tls: Arc<ServerConfig>,
    handshakes: Semaphore,
    places: Arc<Places>,
    room: Room,
    nodes: Nodes,
    random: SystemRandom,
    counts: Counts,
    full: Rarely,
    refused: Rarely,
    unavailable: Rarely,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 12_000,
            strangers_max: 4_000,
            strangers_of_address_max: 1_000,
            handshakes_max: 1,
            handshake_timeout: Duration::from_secs(10),
            stranger_timeout: Duration::from_secs(30),
            idle_timeout: Settings::HEARTBEAT_MAX * 2,
            body_timeout: Duration::from_secs(30),
            requests_per_minute: 3_000,
        }
    }
}

impl Server {
    /// A port that takes what agents say into the core, as far as `identity` and `config` let them in; or says where the
    /// leader is, to anybody. `tls` gives the key pair; whatever it offers, HTTP/2 alone is spoken.
    pub fn new(
        (office, clock): (Office, Clock),
        identity: Identity,
        config: watch::Receiver<Arc<Config>>,
        tls: &TlsAcceptor,
        limits: Limits,
        (tasks, phases): (Tasks, Phases),
    ) -> Self {
        let mut tls = ServerConfig::clone(tls.config());
        tls.alpn_protocols = vec![b"h2".to_vec()];
        Self(Arc::new(Shared {
            handshakes: Semaphore::new(limits.handshakes_max),
            places: Arc::new(Places::new(&limits)),
            room: Room::new(),
            nodes: Nodes::new(limits.requests_per_minute),
            random: SystemRandom::new(),
            counts: Counts::default(),
            full: Rarely::default(),
            refused: Rarely::default(),
            unavailable: Rarely::default(),
            tls: Arc::new(tls),
            office,
            clock,
            identity,
            config,
            tasks,
            phases,
            limits,
        }))
    }

    /// What the port counts, for `/metrics`.
    pub fn counts(&self) -> Counts {
        self.0.counts.clone()
    }

    /// Accepts connections until the process drains; each is a task of its own. To be spawned in [`Stage::Accept`].
    pub async fn run(self, listener: TcpListener) {
        loop {
            let (stream, peer) = tokio::select! {
                biased;
                () = self.0.phases.draining() => return,
                accepted = port::accept(&listener, &self.0.clock) => accepted,
            };
            let Some(place) = self.0.places.take(peer.ip()) else {
                self.0.turn_away(stream);
                continue;
            };
            let shared = Arc::clone(&self.0);
            self.0.tasks.spawn_short("ingest_connection", Stage::Accept, async move {
                shared.counts.connections.inc();
                connection::serve(&shared, stream, place).await;
                shared.counts.connections.dec();
            });
        }
    }
}

impl Shared {
    /// There is no place for another stranger.
    fn turn_away(&self, stream: TcpStream) {
        self.counts.dropped("full");
        drop(stream);
        if let Some(times) = self.full.tell(self.clock.mark()) {
            let Limits { strangers_max, strangers_of_address_max, .. } = self.limits;
            tracing::warn!(target: "ingest", times, strangers_max, strangers_of_address_max, "connections_turned_away");
        }
    }
}

#[cfg(test)]
mod tests;
