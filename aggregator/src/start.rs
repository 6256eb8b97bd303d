//! Everything is set up here, in the order in which it depends on each other: who we are, what every replica does, and,
//! once this one leads, the pipeline, those who feed it and those whom it feeds.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use kube::Client;
use process::{Clock, Liveness, Phases, Readiness, Stage, Tasks, port};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
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
use crate::leader::{Candidate, Election, Leadership, Office};
use crate::metrics::{Leading, Metrics, Standing};
use crate::observe::Observe;
use crate::pipeline::Pipeline;
use crate::ticker;
use crate::told_log::keeper::{Keeper, Written};
use crate::verify::Verify;

/// What the parts are made from.
pub(crate) struct Start {
    pub(crate) namespace: String,
    /// `None`: this process is alone, and leads.
    pub(crate) election: Option<Election>,
    /// What the objects are named after in which a successor finds what was told; `None`: it is remembered in memory.
    pub(crate) told_log: Option<String>,
    pub(crate) clock: Clock,
    pub(crate) client: Client,
    pub(crate) certificate: Certificate,
    pub(crate) tasks: Tasks,
    pub(crate) phases: Phases,
    pub(crate) readiness: Readiness,
    pub(crate) liveness: Liveness,
    pub(crate) metrics: Arc<Metrics>,
}

/// What leading is made from.
struct Lead {
    namespace: String,
    told_log: Option<String>,
    clock: Clock,
    client: Client,
    config: watch::Receiver<Arc<Config>>,
    leadership: Leadership,
    office: Office,
    tasks: Tasks,
    phases: Phases,
    readiness: Readiness,
    liveness: Liveness,
    metrics: Arc<Metrics>,
}

/// Held by whoever sends: when it is dropped, nothing is sent any more.
type Sending = oneshot::Sender<()>;

/// A loop that has not turned for so long stands still.
const STALLED: Duration = Duration::from_mins(2);

impl Start {
    /// Starts what every replica does, and the rest when this one leads. Returns when everything runs, or when the process
    /// ends before it leads.
    pub(crate) async fn all(self, reload: Reload, config: Config, agents: TcpListener, api: TcpListener) {
        let Self {
            namespace,
            election,
            told_log,
            clock,
            client,
            mut certificate,
            tasks,
            phases,
            readiness,
            liveness,
            metrics,
        } = self;
        let (waiting, for_certificate) = (readiness.handle("cluster"), readiness.handle("certificate"));
        let api_office = Arc::new(OnceLock::new());
        let pages = Api { office: Arc::clone(&api_office), readiness: readiness.clone() };
        tasks.spawn("api", Stage::Background, port::serve(api, "api_connection", tasks.clone(), clock.clone(), pages));
        let (publish, config) = watch::channel(Arc::new(config));
        let publish = Arc::new(publish);
        let applying = Arc::clone(&publish);
        let following = reload.follow(clock.clone(), move |config| apply(&applying, config));
        tasks.spawn("config", Stage::Background, following);
        let coverage = config.borrow().coverage.clone();
        let id = cluster_id::learn(&client, &coverage, &namespace, &clock, &waiting).await;
        publish.send_modify(|config| Arc::make_mut(config).settings.cluster.id.clone_from(&id));
        tracing::info!(
            target: "process", cluster = config.borrow().settings.cluster.name, cluster_id = id, "cluster_known"
        );
        say_where_issues_go(&config.borrow());
        let tls = certificate.serve(&for_certificate).await;
        drop(for_certificate);

        // A standby is ready as it is; one that is alone when it has begun to watch.
        let waiting = election.is_none().then_some(waiting);
        let (sending, sent) = oneshot::channel();
        let mut leadership = match election {
            None => Leadership::alone(clock.clone()),
            Some(election) => {
                let at = (client.clone(), &*namespace);
                let port = agents.local_addr().map_or(0, |address| address.port());
                let (candidate, leadership) =
                    Candidate::new(election, port, at, clock.clone(), readiness.handle("leader"));
                let candidate = candidate.run(nothing_is_sent(phases.clone(), sent), liveness.pulse("leader", STALLED));
                tasks.spawn("leader", Stage::Flush, candidate);
                leadership
            }
        };
        let office = Office::new(leadership.clone());
        let identity = Identity::new(client.clone(), clock.clone());
        let (acceptor, ours) = (tls.acceptor(), (tasks.clone(), phases.clone()));
        let whom = (office.clone(), clock.clone());
        let server = Server::new(whom, identity, config.clone(), &acceptor, Limits::default(), ours);
        metrics.stand(Standing { leadership: leadership.clone(), ingest: server.counts(), tls });

        // Nobody else sets it.
        let _ = api_office.set(office.clone());
        let certificate_clock = clock.clone();
        tasks.spawn("server_certificate", Stage::Background, async move {
            certificate.keep_fresh(&certificate_clock).await;
            Ok(())
        });
        tasks.spawn("ingest", Stage::Accept, async {
            server.run(agents).await;
            Ok(())
        });

        let draining = phases.clone();
        let lead = Lead {
            namespace,
            told_log,
            clock,
            client,
            config,
            leadership: leadership.clone(),
            office,
            tasks,
            phases,
            readiness,
            liveness,
            metrics,
        };
        tokio::select! {
            biased;
            () = draining.draining() => {}
            () = async {
                leadership.gained().await;
                lead.begin(sending).await;
            } => {}
        }
        drop(waiting);
    }
}

impl Lead {
    /// From here on this replica leads: it goes on with what was told, takes reports in, watches, and tells. Returns when
    /// all of it runs. Cancel-safe: it begins only when it knows what was told.
    async fn begin(self, sending: Sending) {
        let (pipeline, keeper, told) = self.pipeline().await;
        let Self { clock, client, config, leadership, office, tasks, phases, readiness, liveness, metrics, .. } = self;
        let core = Arc::new(Core::new(pipeline, clock));
        let observe = Observe::new(Arc::clone(&core), client.clone(), config.clone(), &readiness);
        let attempts = Attempts::default();
        metrics.lead(Leading {
            core: Arc::clone(&core),
            observed: observe.shown(),
            attempts: attempts.clone(),
            told: told.clone(),
        });

        let senders = sender::run(Arc::clone(&core), (leadership, told), config.clone(), phases, attempts);
        let (telling, told) = oneshot::channel::<()>();
        let keeping = keeper.map(|keeper| {
            keeper.run(Arc::clone(&core), async { drop(told.await) }, liveness.pulse("told_log", STALLED))
        });
        tasks.spawn("forward", Stage::Flush, async {
            let all_told = async {
                senders.await;
                drop(telling);
            };
            let all_kept = async {
                if let Some(keeping) = keeping {
                    keeping.await;
                }
            };
            tokio::join!(all_told, all_kept);
            drop::<Sending>(sending);
            Ok(())
        });
        let observing = observe.run(liveness.pulse("observe", STALLED));
        tasks.spawn("observe", Stage::Background, observing);
        tasks.spawn("verify", Stage::Background, Verify::new(Arc::clone(&core), client).run());
        let ticking = ticker::run(Arc::clone(&core), liveness.pulse("ticker", STALLED));
        tasks.spawn("ticker", Stage::Background, ticking);
        tasks.spawn("settings", Stage::Background, follow(Arc::clone(&core), config));
        office.take(core);
    }

    /// A pipeline that goes on where a predecessor stopped, and who keeps what it tells.
    async fn pipeline(&self) -> (Pipeline, Option<Keeper>, Written) {
        let settings = self.config.borrow().settings.clone();
        let cluster = settings.cluster.id.clone();
        let mut random = fastrand::Rng::new();
        let mut pipeline = Pipeline::new(settings, Epoch(random.u64(..)), random.u64(..), self.clock.now());
        let Some(name) = &self.told_log else {
            return (pipeline, None, Written::of_memory(self.clock.clone()));
        };
        let at = (self.client.clone(), &*self.namespace);
        let (mut keeper, told) = Keeper::new(at, name, self.leadership.clone(), self.clock.clone());
        let kept = keeper.read(&cluster, &self.readiness.handle("told_log")).await;
        pipeline.recall(kept, self.clock.now());
        (pipeline, Some(keeper), told)
    }
}

/// Returns when the process flushes, and whoever sends has ended, if anybody ever began.
async fn nothing_is_sent(phases: Phases, sent: oneshot::Receiver<()>) {
    phases.flushing().await;
    // Nothing ever comes: the other end is dropped.
    let _ = sent.await;
}

/// Another configuration comes into force.
fn apply(publish: &watch::Sender<Arc<Config>>, mut config: Config) {
    let before = Arc::clone(&publish.borrow());
    if (&config.agents.daemon_set, &config.agent_selector) != (&before.agents.daemon_set, &before.agent_selector) {
        tracing::warn!(
            target: "config", "agents.daemonSet and agents.podSelector come into force when the aggregator starts again"
        );
    }
    say_where_issues_go(&config);
    publish.send_modify(|before| {
        // It may have been learned since.
        config.settings.cluster.id.clone_from(&before.settings.cluster.id);
        *before = Arc::new(config);
    });
}

/// The pipeline goes by what is in force. Ends with whoever changes that.
async fn follow(core: Arc<Core>, mut config: watch::Receiver<Arc<Config>>) -> anyhow::Result<()> {
    while config.changed().await.is_ok() {
        let settings = config.borrow_and_update().settings.clone();
        core.with(|pipeline, now| pipeline.configure(settings, now));
    }
    Ok(())
}

fn say_where_issues_go(config: &Config) {
    if config.told_on_stdout_only {
        tracing::warn!(target: "config", "no sink is configured: issues are told on standard output only");
    }
}
