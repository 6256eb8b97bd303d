//! The CAs that the aggregator's certificate may be from: in a file, or in the ConfigMap that the aggregator publishes them
//! in. Both change while the process runs.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use process::backoff::Backoff;
use process::objects::{self, ConfigMap, Objects};
use process::tls::ClientTls;
use process::{Clock, Mark};
use rustls::CertificateError::{NotValidForName, NotValidForNameContext};

use super::Failure;

/// The CAs that the aggregator's certificate may be from.
pub struct Trust(Source);

enum Source {
    /// Read anew for each connection.
    File(Arc<ClientTls>),
    /// Read at first, and again when an aggregator does not pass by it.
    Published(Box<Published>),
}

struct Published {
    objects: Objects,
    config_map: String,
    clock: Clock,
    known: Mutex<Known>,
}

/// What was read, and when it may be read again.
struct Known {
    tls: Option<Arc<ClientTls>>,
    rereads: Rereads,
}

/// How often the ConfigMap is read again. Whoever stands in the aggregator's place does not pass either, so there is a limit;
/// it is the longer, the more often reading changed nothing.
struct Rereads {
    backoff: Backoff,
    random: Rng,
    not_before: Mark,
}

/// The key in the ConfigMap.
const KEY: &str = "ca.crt";
const REREAD_FIRST: Duration = Duration::from_secs(10);
const REREAD_MAX: Duration = Duration::from_mins(5);

impl Trust {
    /// In the file that `tls` was made from.
    pub fn in_file(tls: ClientTls) -> Self {
        Self(Source::File(Arc::new(tls)))
    }

    /// In a ConfigMap.
    pub fn in_config_map(objects: Objects, config_map: String, clock: Clock, random: Rng) -> Self {
        let backoff = Backoff::new(REREAD_FIRST, REREAD_MAX);
        let rereads = Rereads { backoff, random, not_before: Mark::default() };
        let known = Mutex::new(Known { tls: None, rereads });
        Self(Source::Published(Box::new(Published { objects, config_map, clock, known })))
    }

    /// What a new connection is verified by.
    pub(super) async fn for_connection(&self) -> Result<Arc<ClientTls>, Failure> {
        match &self.0 {
            Source::File(tls) => {
                if let Err(error) = tls.reload() {
                    tracing::warn!(target: "report", %error, "ca_bundle_not_reloaded");
                }
                Ok(Arc::clone(tls))
            }
            Source::Published(published) => {
                let known = published.known().tls.clone();
                match known {
                    Some(tls) => Ok(tls),
                    None => published.read_first().await,
                }
            }
        }
    }

    /// Whether there are other CAs by now, after the aggregator's certificate did not pass: then it is worth another try.
    pub(super) async fn has_changed(&self, failure: &Failure) -> bool {
        match (&self.0, failure) {
            (Source::Published(published), Failure::Tls { error, .. }) if is_of_other_ca(error) => {
                published.read_again().await
            }
            _ => false,
        }
    }
}

impl Published {
    async fn read_first(&self) -> Result<Arc<ClientTls>, Failure> {
        let tls =
            ClientTls::from_pem(self.read().await?.as_bytes()).map_err(|error| self.failure(error.to_string()))?;
        let tls = Arc::new(tls);
        tracing::info!(target: "report", config_map = self.config_map, "ca_bundle_read");
        self.known().tls = Some(Arc::clone(&tls));
        Ok(tls)
    }

    async fn read_again(&self) -> bool {
        let Some(tls) = self.known().may_read_again(self.clock.mark()) else { return false };
        let replaced = match self.read().await {
            Ok(bundle) => tls.replace(bundle.as_bytes()).map_err(|error| self.failure(error.to_string())),
            Err(failure) => Err(failure),
        };
        match replaced {
            Ok(true) => {
                tracing::info!(target: "report", config_map = self.config_map, "ca_bundle_changed");
                self.known().rereads.backoff.reset();
                true
            }
            Ok(false) => false,
            Err(failure) => {
                tracing::warn!(target: "report", reason = %failure, "ca_bundle_not_read_again");
                false
            }
        }
    }

    async fn read(&self) -> Result<String, Failure> {
        let read = self.objects.get::<ConfigMap>(&self.config_map).await;
        let mut map = read.map_err(|failure| self.failure(explained(&failure)))?;
        let bundle = map.content.data.remove(KEY);
        bundle.ok_or_else(|| self.failure(format!("it holds no {KEY} yet, which the aggregator writes")))
    }

    fn failure(&self, problem: String) -> Failure {
        Failure::Trust { config_map: self.config_map.clone(), problem }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // It is valid after every statement.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// What is to be read again, if it is time to.
    fn may_read_again(&mut self, now: Mark) -> Option<Arc<ClientTls>> {
        self.tls.clone().filter(|_| self.rereads.may_begin(now))
    }
}

impl Rereads {
    /// Whether one may begin; if so, the next has to wait.
    fn may_begin(&mut self, now: Mark) -> bool {
        let may = now >= self.not_before;
        if may {
            self.not_before = now + self.backoff.next(&mut self.random);
        }
        may
    }
}

/// Whether a handshake failed because of whose certificate it was, and not because of the name in it.
fn is_of_other_ca(error: &io::Error) -> bool {
    let error = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    match error {
        Some(rustls::Error::InvalidCertificate(problem)) => {
            !matches!(problem, NotValidForName | NotValidForNameContext { .. })
        }
        _ => false,
    }
}

fn explained(failure: &objects::Failure) -> String {
    let advice = match failure {
        objects::Failure::NotFound => ": is the aggregator in this namespace?",
        objects::Failure::Forbidden(_) => ": the agent's Role needs get on it by name",
        _ => "",
    };
    format!("{failure}{advice}")
}
