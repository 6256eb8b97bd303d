//! The aggregator: one place that hears every node-agent, and tells the outside world, once.
//!
//! ```text
//!   node-agents ──TLS──▶ ingest::server ─▶ ingest::sessions ─┐
//!                                                            ├▶ dedupe ─▶ limit ─▶ forward::outbox ─▶ forward::sender ─▶ sinks
//!   API server ──watch──▶ observe (rules::Engine) ───────────┘     ▲
//!        └────────get────▶ verify ─────────────────────────────────┘
//!
//!                         └──────────── pipeline: pure, behind core ────────────┘
//! ```
//!
//! Of several aggregators one leads ([`leader`]), and only there is all this: the others have its ports, and say who leads.
//!
//! Everything between a report and a notification is pure and lies in [`pipeline`]: values and `now` go in, values come
//! out. [`core`] shares it and rings when something has changed; the tasks around it move values between it and sockets.
//!
//! Invariants:
//! - Every finding is observed once and is in exactly one place: told, merged, suppressed, shed or pending, with a reason
//!   ([`dedupe::accounts`]). The books balance in every test and in every scrape ([`metrics`]).
//! - Unknown never resolves: what nobody can see freezes, and after a start nothing resolves before its node has
//!   reported.
//! - A notification has one key and one body for as long as it may have been received, and an issue is told to be over
//!   only where it was told to be there.
//! - Nothing is settled towards an agent before its fate is decided, so this process may end at any moment.
//! - All memory has a bound, by count and by length.

pub mod api;
mod cache;
pub mod certificates;
mod cluster_id;
pub mod config;
pub mod core;
pub mod dedupe;
pub mod doctor;
pub mod forward;
pub mod ingest;
pub mod leader;
pub mod limit;
pub mod metrics;
pub mod observe;
pub mod options;
pub mod pipeline;
pub mod settings;
pub mod sinks;
mod start;
mod ticker;
pub mod told_log;
pub mod verify;

use std::pin::pin;
use std::sync::Arc;

use anyhow::Context as _;
use process::options::{ProcessConfig, command_line};
use process::{Clock, Exit, Liveness, Readiness, Shown, Shutdown, Stage, kube_client, port, tls};

use crate::certificates::Certificate;
use crate::config::reload::Reload;
use crate::metrics::Metrics;
use crate::options::{CommandLine, Launch, Task};
use crate::start::Start;

/// This build, as audit logs see it.
const BUILD: &str = concat!("tocsin-aggregator/", env!("CARGO_PKG_VERSION"));
/// What names the files of a certificate.
const TLS_FILES: &str = "--tls-cert, --tls-key";
/// Threads that do the work: a fixed number, whatever the machine has. The pipeline is behind one lock, and what is left
/// is sockets.
const WORKERS: usize = 2;
/// Threads for what cannot be waited for: files, standard output, and the resolving of names, one for each sink and the API
/// server. They are made when they are needed; those that stand still leave enough to the others.
const BLOCKING_THREADS_MAX: usize = 32;

/// The whole process: reads its options, runs, and says how it ended.
pub fn main() -> Result<(), Exit> {
    let Some(options) = command_line::<CommandLine>()? else { return Ok(()) };
    let task = options.resolve().map_err(Exit::usage)?;
    if let Task::Run(launch) = &task {
        launch.process.begin_logs()?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .enable_all()
        .build()?;
    match task {
        Task::Run(launch) => runtime.block_on(run(launch)),
        Task::Doctor(launch, consultation) => runtime.block_on(doctor::run(launch, consultation)),
    }
}

/// Runs one aggregator until a signal has led it through its shutdown, or something failed.
pub async fn run(launch: Launch) -> Result<(), Exit> {
    let Launch {
        config,
        namespace,
        agents_listen,
        api_listen,
        certificate,
        election,
        told_log,
        process: ProcessConfig { access, metrics_listen, log_level: _, log_format: _, shutdown_deadline, check },
    } = launch;
    let (reload, config) = Reload::begin(&config, &namespace).await.map_err(Exit::Usage)?;
    tls::use_ring();
    let clock = Clock::system();
    if check {
        kube_client::check(&access, &clock, BUILD).await.map_err(Exit::usage)?;
        certificate.check_files().context(TLS_FILES).map_err(Exit::Usage)?;
        config.check_files().await.map_err(Exit::usage)?;
        println!("ok");
        return Ok(());
    }
    let client = kube_client::connect(&access, &clock, BUILD).await.map_err(Exit::usage)?;
    let health = Arc::default();
    let certificate = Certificate::from(certificate, &client, &namespace, &clock, Arc::clone(&health))
        .context(TLS_FILES)
        .map_err(Exit::Usage)?;
    let (readiness, liveness) = (Readiness::new(), Liveness::new(clock.clone()));
    let shutdown = Shutdown::on_signals(readiness.clone())?;
    let (metrics, registry) = Metrics::new(health, reload.health());
    let (agents, admin) = (port::bind(agents_listen).await?, port::bind(metrics_listen).await?);
    let api = port::bind(api_listen).await?;
    tracing::info!(
        target: "process", build = BUILD, agents = %agents.local_addr()?, admin = %admin.local_addr()?,
        api = %api.local_addr()?, "started"
    );
    let (tasks, phases) = (shutdown.tasks(), shutdown.phases());
    let shown = Shown { readiness: readiness.clone(), liveness: liveness.clone(), registry: Arc::new(registry) };
    let showing = port::serve(admin, "admin_connection", tasks.clone(), clock.clone(), shown);
    tasks.spawn("admin", Stage::Background, showing);
    let start = Start {
        namespace,
        election,
        told_log,
        clock,
        client,
        certificate,
        tasks,
        phases,
        readiness,
        liveness,
        metrics,
    };
    let mut ending = pin!(shutdown.run(shutdown_deadline));
    tokio::select! {
        ended = &mut ending => return Ok(ended?),
        () = start.all(reload, config, agents, api) => {}
    }
    Ok(ending.await?)
}
