//! Looks after the Secret and the ConfigMap, again and again.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use process::Clock;
use process::backoff::{Backoff, between};
use process::objects::{ConfigMap, Objects, Stored};
use process::readiness::Handle;
use process::tls::{ClientTls, ServerTls};
use rules::Time;
use rules::view::Meta;

use super::health::Health;
use super::judge::Judged;
use super::material::Material;
use super::plan::Plan;
use super::store::{Store, Trouble};
use super::{Origin, ends};

/// A certificate that is kept in a Secret.
pub(super) struct Kept {
    store: Store,
    origin: Origin,
    names: Vec<String>,
    clock: Clock,
    random: fastrand::Rng,
    backoff: Backoff,
    health: Arc<Health>,
    /// What was in the Secret when it was whole last: it goes back in when the Secret is wiped.
    held: Option<Material>,
    served: Option<Served>,
    trouble: Option<Trouble>,
}

/// What the TLS server shows.
struct Served {
    tls: Arc<ServerTls>,
    /// The CAs that it goes with.
    authorities: String,
    ends: Option<Time>,
}

/// Between two looks at the objects. With their time to answer, what was wiped is back within 30 seconds.
const LOOK: RangeInclusive<Duration> = Duration::from_secs(15)..=Duration::from_secs(24);
const BACKOFF_FIRST: Duration = Duration::from_millis(500);
/// How often one look begins anew because another replica was faster.
const ATTEMPTS: usize = 5;

impl Kept {
    /// A certificate for `names` in the Secret `secret`, whose CAs are published in `config_map`. `health` shows how it
    /// does.
    pub(super) fn new(
        objects: Objects,
        (secret, origin): (String, Origin),
        config_map: Option<String>,
        names: Vec<String>,
        clock: Clock,
        health: Arc<Health>,
    ) -> Self {
        Self {
            store: Store::new(objects, secret, config_map),
            origin,
            names,
            clock,
            random: fastrand::Rng::new(),
            backoff: Backoff::new(BACKOFF_FIRST, *LOOK.end()),
            health,
            held: None,
            served: None,
            trouble: None,
        }
    }

    /// A TLS server with the certificate, as soon as there is one; `waiting` says meanwhile why there is none.
    pub(super) async fn serve(&mut self, waiting: &Handle) -> Arc<ServerTls> {
        loop {
            self.look().await;
            if let Some(served) = &self.served {
                return Arc::clone(&served.tls);
            }
            if let Some(trouble) = &self.trouble {
                waiting.unready(trouble.to_string());
            }
            self.rest().await;
        }
    }

    /// Goes on looking after it. Never returns.
    pub(super) async fn keep_fresh(mut self) {
        loop {
            self.rest().await;
            self.look().await;
        }
    }

    async fn rest(&mut self) {
        let rest = match &self.trouble {
            Some(_) => self.backoff.next(&mut self.random),
            None => between(LOOK, &mut self.random),
        };
        self.clock.sleep(rest).await;
    }

    /// Brings the Secret, the ConfigMap and the TLS server into line, as far as that can be done now.
    async fn look(&mut self) {
        let mut outcome = self.attempt().await;
        for _ in 1..ATTEMPTS {
            if !outcome.as_ref().is_err_and(Trouble::is_conflict) {
                break;
            }
            tracing::debug!(target: "certificates", "another_replica_was_faster");
            outcome = self.attempt().await;
        }
        let Err(trouble) = outcome else {
            if self.trouble.take().is_some() {
                tracing::info!(target: "certificates", "certificate_is_well_again");
            }
            return self.backoff.reset();
        };
        self.health.failed(&trouble);
        if self.trouble.as_ref() != Some(&trouble) {
            if trouble.may_pass() {
                tracing::warn!(target: "certificates", reason = %trouble, "certificate_not_kept");
            } else {
                tracing::error!(target: "certificates", reason = %trouble, "certificate_not_kept");
            }
        }
        self.trouble = Some(trouble);
    }

    async fn attempt(&mut self) -> Result<(), Trouble> {
        let map = self.store.published().await;
        let secret = self.store.secret().await?;
        let found = Material::read(&secret.content.data);
        let (material, settled) = match self.origin {
            Origin::Made => self.settle(&secret.metadata, found).await,
            Origin::Given => (found, Ok(())),
        };
        let now = self.clock.now();
        let judged = Judged::of(&material, &self.names, now);
        // What could not be written is served all the same, as long as it is any good.
        if settled.as_ref().is_err_and(|trouble| trouble.is_conflict() || judged.serving.is_none()) {
            return settled;
        }
        if self.origin == Origin::Made && judged.is_whole() {
            self.held = Some(Material { renew: String::new(), ..material.clone() });
        }
        let published = match map {
            Ok(None) => Ok(()),
            Ok(Some(map)) => self.publish(&map, &material.authorities).await,
            Err(trouble) => Err(trouble),
        };
        self.health.saw(self.store.publishes().then_some(published.is_ok()), judged.first_ends());
        let heeded = match self.origin {
            Origin::Given if !material.renew.is_empty() => Err(self.store.only_read()),
            Origin::Given | Origin::Made => Ok(()),
        };
        let taken_over = self.take_over(material, &judged, published.is_ok(), now);
        settled.and(published).and(taken_over).and(heeded)
    }

    /// Sees to it that the Secret holds what it should, and returns what it holds.
    async fn settle(&mut self, read: &Meta, found: Material) -> (Material, Result<(), Trouble>) {
        let now = self.clock.now();
        let plan = Plan::of(&found, self.held.as_ref(), &self.names, now);
        let wanted = match plan.clone().carry_out(&found, &self.names, now) {
            Ok(Some(wanted)) => wanted,
            Ok(None) if found.renew.is_empty() => return (found, Ok(())),
            Ok(None) => {
                let trouble = self.store.unheeded(found.wanted());
                return (found, Err(trouble));
            }
            Err(error) => return (found, Err(error.into())),
        };
        match self.store.write(read, &wanted).await {
            Ok(()) => {
                self.health.wrote(&plan);
                plan.log();
                (wanted, Ok(()))
            }
            Err(trouble) => (found, Err(trouble)),
        }
    }

    async fn publish(&self, map: &Stored<ConfigMap>, authorities: &str) -> Result<(), Trouble> {
        // Agents could not read what cannot be read here.
        ClientTls::from_pem(authorities.as_bytes()).map_err(|error| self.store.unusable(&error))?;
        if self.store.publish(map, authorities).await? {
            tracing::info!(target: "certificates", "ca_bundle_published");
        }
        Ok(())
    }

    /// Serves what the Secret holds. What agents could not verify waits, for as long as what is served is still good.
    fn take_over(&mut self, material: Material, judged: &Judged, is_published: bool, now: Time) -> Result<(), Trouble> {
        let (certificate, key) = (material.certificate.as_bytes(), material.key.as_bytes());
        let tls = match &self.served {
            None => Arc::new(ServerTls::from_pem(certificate, key).map_err(|error| self.store.unusable(&error))?),
            Some(Served { tls, authorities, ends }) => {
                if !is_published && *authorities != material.authorities && ends.is_some_and(|ends| now < ends) {
                    return Ok(());
                }
                if !tls.replace(certificate, key).map_err(|error| self.store.unusable(&error))? {
                    return Ok(());
                }
                Arc::clone(tls)
            }
        };
        let ends = ends(&tls);
        tracing::info!(target: "certificates", ends = ends.map(tracing::field::display), "certificate_served");
        if judged.serving.as_ref().is_none_or(|serving| !serving.has_names) {
            let names = self.names.join(", ");
            tracing::warn!(target: "certificates", names, "agents_would_not_accept_the_certificate");
        }
        self.served = Some(Served { tls, authorities: material.authorities, ends });
        Ok(())
    }
}
