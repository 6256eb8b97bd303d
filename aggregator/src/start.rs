//! Everything is set up here, in the order in which it depends on each other: who we are, the pipeline, then those who
//! feed it and those whom it feeds.

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use process::{Clock, Liveness, Phases, Readiness, Stage, Tasks};
use tokio::net::TcpListener;
use tokio::sync::watch;
use wire::Epoch;

use crate::api::Api;
use crate::certificates::Certificate;
use crate::cluster_id;
use crate::config::Config;
use crate::config::reload::Reload;
use crate::core::Core;
use crate::forward::sender::{self, Attempts};
use crate::ingest::identity::Identity;
use crate::ingest::server::{Limits, Server};
use crate::metrics::{Metrics, Sources};
use crate::observe::Observe;
use crate::pipeline::Pipeline;
use crate::ticker;
use crate::verify::Verify;

/// What the parts are made from.
pub(crate) struct Start {
    pub(crate) namespace: String,
    pub(crate) clock: Clock,
    pub(crate) client: Client,
    pub(crate) certificate: Certificate,
    pub(crate) tasks: Tasks,
    pub(crate) phases: Phases,
    pub(crate) readiness: Readiness,
    pub(crate) liveness: Liveness,
    pub(crate) metrics: Arc<Metrics>,
}

/// A loop that has not turned for so long stands still.
const STALLED: Duration = Duration::from_mins(2);

impl Start {
    /// Starts all of it. Returns when everything runs, which takes an API server that answers.
    pub(crate) async fn all(self, reload: Reload, mut config: Config, agents: TcpListener, api: Api) {
        let Self { namespace, clock, client, mut certificate, tasks, phases, readiness, liveness, metrics } = self;
        let (waiting, for_certificate) = (readiness.handle("cluster"), readiness.handle("certificate"));
        let id = cluster_id::learn(&client, &namespace, &clock, &waiting).await;
        config.settings.cluster.id.clone_from(&id);
        tracing::info!(target: "process", cluster = config.settings.cluster.name, cluster_id = id, "cluster_known");
        say_where_issues_go(&config);
        let tls = certificate.serve(&for_certificate).await;
        drop(for_certificate);

        let mut random = fastrand::Rng::new();
        let pipeline = Pipeline::new(config.settings.clone(), Epoch(random.u64(..)), random.u64(..), clock.now());
        let core = Arc::new(Core::new(pipeline, clock.clone()));
        let (publish, config) = watch::channel(Arc::new(config));
        let observe = Observe::new(Arc::clone(&core), client.clone(), config.clone(), &readiness);
        let identity = Identity::new(client.clone(), clock.clone());
        let limits = Limits::default();
        let (acceptor, ours) = (tls.acceptor(), (tasks.clone(), phases.clone()));
        let server = Server::new(Arc::clone(&core), identity, config.clone(), &acceptor, limits, ours);
        let attempts = Attempts::default();
        metrics.show(Sources {
            core: Arc::clone(&core),
            config: reload.health(),
            watches: observe.healths(),
            seen: observe.seen(),
            attempts: attempts.clone(),
            ingest: server.counts(),
            tls,
        });

        let senders = sender::run(Arc::clone(&core), config, phases, attempts);
        tasks.spawn("forward", Stage::Flush, async {
            senders.await;
            Ok(())
        });
        let observing = observe.run(liveness.pulse("observe", STALLED));
        tasks.spawn("observe", Stage::Background, observing);
        tasks.spawn("verify", Stage::Background, Verify::new(Arc::clone(&core), client).run());
        let ticking = ticker::run(Arc::clone(&core), liveness.pulse("ticker", STALLED));
        tasks.spawn("ticker", Stage::Background, ticking);
        tasks.spawn("api", Stage::Background, api.serve(tasks.clone(), Arc::clone(&core)));
        let following = reload.follow(clock.clone(), move |config| apply(&core, &publish, config));
        tasks.spawn("config", Stage::Background, following);
        tasks.spawn("server_certificate", Stage::Background, async move {
            certificate.keep_fresh(&clock).await;
            Ok(())
        });
        tasks.spawn("ingest", Stage::Accept, async {
            server.run(agents).await;
            Ok(())
        });
        drop(waiting);
    }
}

/// Another configuration comes into force, in all places at once.
fn apply(core: &Core, publish: &watch::Sender<Arc<Config>>, mut config: Config) {
    let before = Arc::clone(&publish.borrow());
    config.settings.cluster.id.clone_from(&before.settings.cluster.id);
    if (&config.agents.daemon_set, &config.agent_selector) != (&before.agents.daemon_set, &before.agent_selector) {
        tracing::warn!(
            target: "config", "agents.daemonSet and agents.podSelector come into force when the aggregator starts again"
        );
    }
    say_where_issues_go(&config);
    core.with(|pipeline, now| pipeline.configure(config.settings.clone(), now));
    publish.send_replace(Arc::new(config));
}

fn say_where_issues_go(config: &Config) {
    if config.told_on_stdout_only {
        tracing::warn!(target: "config", "no sink is configured: issues are told on standard output only");
    }
}
