//! The node-agent: watches the pods of its own node and reports what is wrong with them.
//!
//! ```text
//!   API server ──▶ watch ──▶ observe ──▶ detect ──▶ report ──▶ connection ──▶ aggregator
//!               process::  crate::    rules::     crate::   crate::
//!               watch      observe    Engine      report    connection
//!                             ▲          ▲           │
//!                             └──────────┴── rules, open findings
//! ```
//!
//! Detect and report are pure: `now` and events go in, values come out. `agent` moves these values between them
//! and the sockets, in one loop on one thread. Invariants:
//! - Everything is in memory and bounded; nothing is written on the node.
//! - Nothing is judged before the first session has brought the rules ([`observe`]).
//! - What cannot be seen neither fires nor resolves: while the watch is quiet the engine stands still.
//! - Nothing is forgotten that the aggregator has not settled ([`report`]).

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use process::kube_client::Access;
use process::objects::Objects;
use process::options::{ProcessConfig, command_line};
use process::tls::{self, ClientTls};
use process::watch::{self, Watch};
use process::{Clock, Exit, Liveness, Readiness, Shown, Shutdown, Stage, kube_client, port};
use prometheus_client::registry::Registry;
use rules::{Engine, Observer};

mod agent;
pub mod connection;
pub mod metrics;
pub mod observe;
pub mod options;
pub mod report;

use agent::{Agent, Waits};
use connection::{Connection, Trust};
use metrics::Metrics;
use observe::{Sight, Waiting};
use options::{AuthoritiesFrom, Config, Options};
use report::Reporter;

/// This build, as audit logs and the aggregator see it.
const BUILD: &str = concat!("tocsin-node-agent/", env!("CARGO_PKG_VERSION"));
/// What names the file of CAs.
const CA_FILE: &str = "--ca-file";
/// For reading the aggregator's CA.
const CA_DEADLINE: Duration = Duration::from_secs(10);
/// A loop that has not turned for so long stands still.
const STALLED: Duration = Duration::from_mins(2);
/// The pods of one node: some hundreds of at most 1.5 MiB, a few KiB as a rule.
const LIST_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The whole process: reads its options, runs, and says how it ended.
pub fn main() -> Result<(), Exit> {
    let Some(options) = command_line::<Options>()? else { return Ok(()) };
    let config = options.resolve().map_err(Exit::usage)?;
    config.process.begin_logs()?;
    // One thread: there is little to do, and a second one would cost more memory than all findings.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(config))
}

/// Runs one agent until a signal has led it through its shutdown, or something failed.
pub async fn run(config: Config) -> Result<(), Exit> {
    let Config { node, aggregator, authorities, process } = config;
    let ProcessConfig { access, metrics_listen, log_level: _, log_format: _, shutdown_deadline, check } = process;
    tls::use_ring();
    let clock = Clock::system();
    let mut rng = fastrand::Rng::new();
    if check {
        return checked(&access, &clock, &aggregator.token_file, &authorities).await.map_err(Exit::Usage);
    }
    let client = kube_client::connect(&access, &clock, BUILD).await.map_err(Exit::usage)?;
    let trust = match authorities {
        AuthoritiesFrom::File(path) => {
            Trust::in_file(ClientTls::from_file(path).context(CA_FILE).map_err(Exit::Usage)?)
        }
        AuthoritiesFrom::ConfigMap { namespace, name } => {
            let objects = Objects::new(client.clone(), &namespace, CA_DEADLINE);
            Trust::in_config_map(objects, name, clock.clone(), rng.fork())
        }
    };
    let (readiness, liveness) = (Readiness::new(), Liveness::new(clock.clone()));
    let readiness_waits = Waits { listed: readiness.handle("first list"), session: readiness.handle("session") };
    let shutdown = Shutdown::on_signals(readiness.clone())?;
    let tasks = shutdown.tasks();
    let options = watch::Options {
        field_selector: Some(format!("spec.nodeName={node}")),
        list_bytes_max: LIST_BYTES_MAX,
        ..watch::Options::default()
    };
    let watch = Watch::new(client, clock.clone(), options, rng.fork());
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry, watch.health(), clock.clone());
    let admin = port::bind(metrics_listen).await?;
    tracing::info!(
        target: "process", build = BUILD, node = &*node, aggregator = aggregator.address, admin = %admin.local_addr()?,
        "started"
    );
    let agent = Agent {
        watch,
        waiting: Waiting::default(),
        sight: Sight::default(),
        // The first session brings the rules; nothing is judged before.
        engine: Engine::new(Observer::NodeAgent { node }, Arc::new(rules::Config::default())),
        reporter: Reporter::new(BUILD, rng.u64(..)),
        connection: Connection::new(aggregator, trust, tasks.clone()),
        metrics,
        pulse: liveness.pulse("agent", STALLED),
        readiness: readiness_waits,
        trouble: None,
        // The rest of the time is for what comes after.
        flush_deadline: shutdown_deadline * 3 / 4,
        clock: clock.clone(),
    };
    let shown = Shown { readiness, liveness, registry: Arc::new(registry) };
    let showing = port::serve(admin, "admin_connection", tasks.clone(), clock, shown);
    tasks.spawn("admin", Stage::Background, showing);
    tasks.spawn("agent", Stage::Flush, agent.run(shutdown.phases()));
    Ok(shutdown.run(shutdown_deadline).await?)
}

/// Says `ok` if what the options name can be used, as far as files say.
async fn checked(access: &Access, clock: &Clock, token: &Path, authorities: &AuthoritiesFrom) -> anyhow::Result<()> {
    kube_client::check(access, clock, BUILD).await?;
    if let AuthoritiesFrom::File(path) = authorities {
        ClientTls::from_file(path.clone()).context(CA_FILE)?;
    }
    connection::authorization(token)?;
    println!("ok");
    Ok(())
}
