//! Leadership: of several aggregators one leads, and the others stand by. They watch nothing and tell nothing, and send
//! agents to the leader.
//!
//! ```text
//!   Lease ◀──get, create, patch──▶ Candidate ⇄ election        Leadership ──▶ senders: may I send?
//!                                      └───────── Role ───────────▲  └──────▶ ports: who leads, and where?
//! ```
//!
//! [`election`] decides, [`Candidate`] moves values between it and the Lease, and [`Leadership`] is what all others ask.

mod candidate;
pub mod election;
pub(crate) mod lease;
mod office;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use process::objects::Failure;
use process::{Clock, Mark};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::watch;

pub use self::candidate::Candidate;
use self::election::Role;
pub use self::office::{Elsewhere, Office};

/// What it takes to stand for election.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Election {
    /// The pod that this process is.
    pub pod: String,
    /// Its address, where agents reach it.
    pub ip: IpAddr,
    /// The name of the Lease, in the namespace of this installation.
    pub lease: String,
    /// The Deployment with which the Lease goes.
    pub deployment: String,
}

/// Whether this replica leads; clones say the same.
#[derive(Clone, Debug)]
pub struct Leadership {
    role: watch::Receiver<Role>,
    clock: Clock,
    counts: Option<Counts>,
}

/// What is counted of the Lease; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Writes that made or kept this replica the leader.
    pub renewals: Counter,
    /// Requests that came to nothing.
    pub failures: Family<FailureLabels, Counter>,
    /// How often the Lease has changed hands.
    pub transitions: Gauge,
}

/// What failures are counted by.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct FailureLabels {
    /// One of [`Failure::LABELS`].
    reason: &'static str,
}

impl Election {
    /// Where agents reach this process, which hears them on `port`.
    pub const fn address(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.ip, port)
    }
}

impl Leadership {
    /// That of a process that is alone: it leads, always.
    pub fn alone(clock: Clock) -> Self {
        let role = Role::Leading { send_until: Mark::from_start(Duration::MAX) };
        Self { role: watch::channel(role).1, clock, counts: None }
    }

    /// One that changes as a test wants it.
    #[cfg(test)]
    pub(crate) fn scripted(role: Role, clock: Clock) -> (watch::Sender<Role>, Self) {
        let (script, role) = watch::channel(role);
        (script, Self { role, clock, counts: None })
    }

    /// Whether a batch may be sent now. To be asked right before each.
    pub fn may_send(&self) -> bool {
        self.role.borrow().may_send(self.clock.mark())
    }

    /// What this replica is.
    pub fn role(&self) -> Role {
        self.role.borrow().clone()
    }

    /// What is counted of the Lease; `None` where there is none.
    pub const fn counts(&self) -> Option<&Counts> {
        self.counts.as_ref()
    }

    /// Returns when the role has changed, or what may be sent, since this returned last; never, once nobody is left to
    /// change it. Cancel-safe.
    pub async fn changed(&mut self) {
        if self.role.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Returns when the lease has run out: what is being sent is given up. Cancel-safe.
    pub async fn lapsed(&mut self) {
        loop {
            let at = self.role.borrow_and_update().lapses_at();
            let clock = self.clock.clone();
            tokio::select! {
                // First, so that one that was paused hears of that before it goes on.
                biased;
                () = clock.wait_until(at) => return,
                () = self.changed() => {}
            }
        }
    }

    /// Returns when this replica leads. Cancel-safe.
    pub async fn gained(&mut self) {
        if self.role.wait_for(|role| matches!(role, Role::Leading { .. })).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Counts {
    /// Every reason is there from the start, so that the first failure is seen as an increase.
    fn new() -> Self {
        let counts = Self::default();
        for reason in Failure::LABELS {
            drop(counts.failures.get_or_create(&FailureLabels { reason }));
        }
        counts
    }

    fn failed(&self, failure: &Failure) {
        self.failures.get_or_create(&FailureLabels { reason: failure.label() }).inc();
    }
}

#[cfg(test)]
mod tests;
