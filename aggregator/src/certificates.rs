//! The certificate that agents are shown, where it is kept in a Secret, and its CAs, where agents read them in a ConfigMap.
//!
//! ```text
//!   ConfigMap, Secret ──get──▶ plan ──▶ Secret ──patch──▶ ConfigMap ──patch──▶ TLS server
//! ```
//!
//! Both are read every 20 seconds or so: that takes no right beside `get` by name, and heals what was wiped within half a
//! minute. `plan` decides; `kept` moves values between it, the two objects and the TLS server. Invariants:
//! - Every write names the version that it was decided from. Who comes too late reads what the other has written.
//! - The ConfigMap is read before the Secret: so whoever has the newer Secret writes last, or the older is told that it is
//!   late.
//! - A CA is published before anything that it signed is served.
//! - A private key is in no log and in no Debug.

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use process::Clock;
use process::objects::Objects;
use process::readiness::Handle;
use process::tls::{self, ServerTls};
use rules::Time;

mod examine;
mod health;
mod issue;
mod judge;
mod kept;
mod material;
mod plan;
mod store;

pub use examine::{Examined, Published, Unread, examine};
pub use health::Health;

use crate::options::CertificateFrom;
use kept::Kept;

/// The certificate that agents are shown.
pub struct Certificate(Place);

/// Whose a Secret is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Ours: what is in it is made and renewed here.
    Made,
    /// Somebody else's, as cert-manager's: it is only read.
    Given,
}

/// Where it is.
enum Place {
    Files(Arc<ServerTls>),
    Secret(Box<Kept>),
}

/// For one call of the API.
const DEADLINE: Duration = Duration::from_secs(5);

impl CertificateFrom {
    /// Whether files that it names can be used now; a Secret is not looked at.
    pub fn check_files(&self) -> Result<(), tls::Error> {
        match self {
            Self::Files { certificate, key } => ServerTls::from_files(certificate.clone(), key.clone()).map(drop),
            Self::Secret { .. } => Ok(()),
        }
    }
}

impl Certificate {
    /// The one that the options name. `health` shows how one in a Secret does. The error says what is wrong with files.
    pub fn from(
        from: CertificateFrom,
        client: &Client,
        namespace: &str,
        clock: &Clock,
        health: Arc<Health>,
    ) -> Result<Self, tls::Error> {
        Ok(Self(match from {
            CertificateFrom::Files { certificate, key } => {
                Place::Files(Arc::new(ServerTls::from_files(certificate, key)?))
            }
            CertificateFrom::Secret { name, origin, config_map, dns_names } => {
                let objects = Objects::new(client.clone(), namespace, DEADLINE);
                let kept = Kept::new(objects, (name, origin), config_map, dns_names, clock.clone(), health);
                Place::Secret(Box::new(kept))
            }
        }))
    }

    /// A TLS server with it, as soon as there is one; `waiting` says meanwhile why there is none.
    pub async fn serve(&mut self, waiting: &Handle) -> Arc<ServerTls> {
        match &mut self.0 {
            Place::Files(tls) => Arc::clone(tls),
            Place::Secret(kept) => kept.serve(waiting).await,
        }
    }

    /// Gives that server what takes its place. Never returns.
    pub async fn keep_fresh(self, clock: &Clock) {
        match self.0 {
            Place::Files(tls) => tls.keep_fresh(clock).await,
            Place::Secret(kept) => kept.keep_fresh().await,
        }
    }
}

/// When the certificate ends that a server shows; `None` when that cannot be read in it.
pub fn ends(tls: &ServerTls) -> Option<Time> {
    judge::ends(&tls.certificate())
}
