//! The candidate: carries out what the election decides, and tells everybody what comes of it.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use anyhow::bail;
use kube::Client;
use process::objects::{Deployment, Failure, Lease, Objects, Owner};
use process::readiness::Handle;
use process::{Clock, Pulse};
use rules::view::Meta;
use tokio::sync::watch;

use super::election::{Action, Claim, Elector, End, REQUEST, Record, Role, Why};
use super::{Counts, Election, Leadership, lease};

/// Stands for election, renews what it has won, and gives it up at the end.
pub struct Candidate {
    identity: Arc<str>,
    lease: String,
    deployment: String,
    address: SocketAddr,
    objects: Objects,
    clock: Clock,
    elector: Elector,
    /// With whom the Lease goes, as far as is known.
    owner: Option<Owner>,
    /// Nobody can be found whom it could go with.
    is_ownerless: bool,
    /// When it was won, as the Lease says it.
    acquired: Option<String>,
    role: watch::Sender<Role>,
    counts: Counts,
    /// Until it is known who leads.
    waiting: Option<Handle>,
    /// What was said last of a request that came to nothing, until one comes to something.
    trouble: Option<String>,
    /// It leads, and has not renewed for so long that nothing is sent.
    is_suspended: bool,
}

impl Candidate {
    /// One that stands for `election` in `namespace`, and hears agents on `port`. `waiting` is ready when it is known who
    /// leads.
    pub fn new(
        election: Election,
        port: u16,
        (client, namespace): (Client, &str),
        clock: Clock,
        waiting: Handle,
    ) -> (Self, Leadership) {
        let address = election.address(port);
        let Election { pod, ip: _, lease, deployment } = election;
        let identity: Arc<str> = format!("{pod}_{:016x}", fastrand::u64(..)).into();
        let elector = Elector::new(Arc::clone(&identity));
        let (role, receiver) = watch::channel(elector.role());
        let counts = Counts::new();
        let leadership = Leadership { role: receiver, clock: clock.clone(), counts: Some(counts.clone()) };
        let candidate = Self {
            identity,
            lease,
            deployment,
            address,
            objects: Objects::new(client, namespace, REQUEST),
            clock,
            elector,
            owner: None,
            is_ownerless: false,
            acquired: None,
            role,
            counts,
            waiting: Some(waiting),
            trouble: None,
            is_suspended: false,
        };
        (candidate, leadership)
    }

    /// Runs until `sent`, when nothing is sent any more and the Lease is given up; or until another has it, which is an
    /// error, as this process knows nothing of what that one has told since. `pulse` beats on every turn.
    pub async fn run(mut self, sent: impl Future<Output = ()>, pulse: Pulse) -> anyhow::Result<()> {
        tracing::info!(target: "leader", lease = self.lease, identity = &*self.identity, "standing_by");
        let mut sent = pin!(sent);
        let mut is_over = false;
        loop {
            pulse.beat();
            match self.elector.next(self.clock.mark()) {
                Action::Read => {
                    let read = self.read().await;
                    self.elector.on_read(read, self.clock.mark());
                }
                Action::Write(claim) => {
                    let written = self.write(&claim).await;
                    self.elector.on_written(written, self.clock.mark());
                }
                Action::Wait(until) => tokio::select! {
                    () = self.clock.wait_until(until) => {}
                    () = &mut sent, if !is_over => {
                        is_over = true;
                        self.elector.resign(self.clock.mark());
                    }
                },
                Action::Stop => return self.ended(),
            }
            self.show();
        }
    }

    async fn read(&mut self) -> Result<Option<Record>, Failure> {
        match self.objects.get::<Lease>(&self.lease).await {
            Ok(lease) => {
                self.is_understood();
                Ok(Some(lease::record(lease)))
            }
            Err(Failure::NotFound) => {
                self.is_understood();
                Ok(None)
            }
            Err(failure) => Err(self.failed("get", failure)),
        }
    }

    async fn write(&mut self, claim: &Claim) -> Result<Record, Failure> {
        let now = self.clock.now();
        if !matches!(claim.why, Why::Renewal | Why::Resigning) {
            self.acquired = lease::stamp(now, claim.number);
        }
        let content = lease::content(claim, &self.identity, self.address, self.acquired.as_deref(), now);
        let (verb, written) = match &claim.version {
            None => {
                let owner = self.owner().await;
                ("create", self.objects.create(&self.lease, owner, &content).await)
            }
            Some(version) => {
                let read =
                    Meta { name: self.lease.as_str().into(), resource_version: version.clone(), ..Meta::default() };
                ("patch", self.objects.patch::<Lease>(&read, &content).await)
            }
        };
        let lease = written.map_err(|failure| self.failed(verb, failure))?;
        self.is_understood();
        let Claim { why, transitions, .. } = *claim;
        match why {
            Why::Renewal => {}
            Why::Resigning => tracing::info!(target: "leader", lease = self.lease, "lease_given_up"),
            Why::Absent | Why::Resigned | Why::Expired | Why::Ours => {
                tracing::info!(target: "leader", lease = self.lease, why = why.name(), transitions, "leading");
            }
        }
        if why != Why::Resigning {
            self.counts.renewals.inc();
        }
        Ok(lease::record(lease))
    }

    /// Our Deployment, so that the Lease is gone when that is. Nothing depends on it but tidiness.
    async fn owner(&mut self) -> Option<Owner> {
        if self.owner.is_none() && !self.is_ownerless {
            match self.objects.get::<Deployment>(&self.deployment).await {
                Ok(deployment) => self.owner = Some(Owner::of(&deployment)),
                Err(Failure::Unreachable(_)) => {}
                Err(failure) => {
                    let reason = failure.to_string();
                    tracing::info!(target: "leader", deployment = self.deployment, reason, "lease_without_owner");
                    self.is_ownerless = true;
                }
            }
        }
        self.owner.clone()
    }

    /// Tells everybody what this replica is.
    fn show(&mut self) {
        let (before, role) = (self.role.borrow().clone(), self.elector.role());
        self.counts.transitions.set(self.elector.transitions().into());
        if before != role
            && let Role::StandingBy { leader, address } = &role
        {
            tracing::info!(target: "leader", leader = &**leader, address = &**address, "standing_by");
        }
        let is_suspended = matches!(role, Role::Leading { .. }) && !role.may_send(self.clock.mark());
        match (self.is_suspended, is_suspended) {
            (false, true) => tracing::warn!(target: "leader", reason = self.trouble, "sending_suspended"),
            (true, false) => tracing::info!(target: "leader", "sending_resumed"),
            (true, true) | (false, false) => {}
        }
        self.is_suspended = is_suspended;
        if !matches!(&role, Role::StandingBy { leader, .. } if leader.is_empty()) {
            self.waiting = None;
        }
        self.role.send_if_modified(|shown| {
            let is_new = *shown != role;
            *shown = role;
            is_new
        });
    }

    fn ended(&mut self) -> anyhow::Result<()> {
        self.show();
        let Role::Ended(End::Lost(holder)) = self.elector.role() else { return Ok(()) };
        tracing::error!(target: "leader", lease = self.lease, holder = &*holder, "leadership_lost");
        bail!("the Lease {} is {}'s now", self.lease, if holder.is_empty() { "nobody" } else { &holder })
    }

    /// A request was answered.
    fn is_understood(&mut self) {
        if let Some(trouble) = self.trouble.take() {
            tracing::info!(target: "leader", lease = self.lease, trouble, "lease_reached");
        }
    }

    /// A request came to nothing, which is told once.
    fn failed(&mut self, verb: &'static str, failure: Failure) -> Failure {
        self.counts.failed(&failure);
        // Somebody else was there first: that is how elections go.
        if matches!(failure, Failure::Conflict | Failure::NotFound) {
            return failure;
        }
        let reason = format!("cannot {verb} the Lease {}: {failure}", self.lease);
        if let Some(waiting) = &self.waiting {
            waiting.unready(&*reason);
        }
        if self.trouble.as_ref() != Some(&reason) {
            match failure {
                Failure::Forbidden(_) | Failure::Invalid(_) => {
                    let advice = "a Role must grant create on leases, and get and patch on this one";
                    tracing::error!(target: "leader", reason, advice, "lease_refused");
                }
                _ => tracing::warn!(target: "leader", reason, "lease_not_reached"),
            }
            self.trouble = Some(reason);
        }
        failure
    }
}
