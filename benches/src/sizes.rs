//! What the aggregator takes, as it is shipped, by the number of its agents: memory (RSS) and processor time. First each agent
//! has its session and nothing to tell; then all of them report ten crash-looping pods at once, of a thousand Deployments, until
//! all is told; then the aggregator is killed and started anew, and all of them come back.
//!
//! Of memory the chart asks for at least the most that was held, and its limit is at least twice that. Of processor time it asks
//! for at least twice what a calm cluster takes, and for so much that all agents are back within ten seconds of a new start even
//! where there is no more than that to be had.
//!
//! The agents are sessions in this process, by the agent's own code: thousands of processes would need gigabytes.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use process::shutdown::Script;
use process::{Tasks, tls};
use rules::{Finding, Time};
use tocsin_node_agent::connection::{Connection, Event};
use tocsin_node_agent::report::{Next, Reporter};
use tocsin_tests::installation::Installation;
use tocsin_tests::processes::Programs;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use crate::asked::Asked;
use crate::codec::finding;
use crate::figures::Figures;
use crate::memory::answered;
use crate::processor::{Stretch, micros, time_of};

/// How many nodes the chart's values are for.
const SIZES: [(usize, &str); 3] = [(10, "values-small.yaml"), (500, "values.yaml"), (5_000, "values-large.yaml")];
const FINDINGS: usize = 10;
const WORKLOADS: usize = 1_000;
/// In which each agent sends a heartbeat, by the chart's defaults.
const CALM: Duration = Duration::from_secs(30);
/// How long a session lasts, by the chart's defaults.
const SESSION: Duration = Duration::from_hours(1);
/// For all agents to come back, after the aggregator has started anew.
const BACK: Duration = Duration::from_secs(10);
/// Far above what any step takes.
const LIMIT: Duration = Duration::from_mins(10);

/// What an agent has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Its session is open, and has heard all that there is.
    Connected,
    /// The fate of all of its findings is decided: those of whom outside is told are told.
    Settled,
}

/// What an aggregator took with so many agents.
#[derive(Clone, Copy, Debug)]
struct Took {
    /// Memory with a session of each and nothing to tell, in MiB.
    idle: f64,
    /// The most memory until all that they reported was told, in MiB.
    most: f64,
    /// Processor time until all had opened their first session.
    sessions: Duration,
    /// Processor time while nothing happened for [`CALM`], with one scrape.
    calm: Duration,
    /// The heartbeats that came meanwhile.
    heartbeats: u64,
    /// Processor time from the first finding until all were told.
    trouble: Duration,
    /// The records that told them.
    records: u64,
    /// Processor time of one that was started anew until all agents were back.
    back: Duration,
    /// How long that was by the clock on the wall.
    waited: Duration,
}

/// An aggregator of each size.
pub(crate) fn run(figures: &mut Figures) -> anyhow::Result<()> {
    tls::use_ring();
    let programs = Programs::released()?;
    for (nodes, values) in SIZES {
        let took = of(programs.clone(), nodes)?;
        judge(figures, took, nodes, Asked::of("aggregator", values)?);
    }
    Ok(())
}

fn judge(figures: &mut Figures, took: Took, nodes: usize, asked: Asked) {
    let Took { idle, most, sessions, calm, heartbeats, trouble, records, back, waited } = took;
    let findings = nodes * FINDINGS;
    Figures::plain(&format!("aggregator, RSS with {nodes} agents"), idle, "MiB");
    let what = format!("the most that it held until {findings} findings were told");
    figures.at_most(&what, most, "MiB", asked.memory.min(asked.memory_limit / 2.0));
    Figures::plain("its processor time for a session opened", micros(sessions) / nodes as f64, "µs");
    Figures::plain("for a heartbeat, with what it does without one", micros(calm) / heartbeats as f64, "µs");
    let a_second = calm.as_secs_f64() / CALM.as_secs_f64() + sessions.as_secs_f64() / SESSION.as_secs_f64();
    figures.at_most("of a second while nothing happens", a_second * 1e3, "ms", asked.cpu / 2.0);
    Figures::plain(&format!("for {findings} findings until all are told"), trouble.as_secs_f64() * 1e3, "ms");
    Figures::plain("for each of them", micros(trouble) / findings as f64, "µs");
    Figures::plain("records that told them", records as f64, "");
    let enough = asked.cpu * BACK.as_secs_f64();
    figures.at_most("until all agents are back after a new start", back.as_secs_f64() * 1e3, "ms", enough);
    Figures::plain("the same by the clock on the wall", waited.as_secs_f64(), "s");
}

/// What an aggregator takes with so many agents.
fn of(programs: Programs, nodes: usize) -> anyhow::Result<Took> {
    eprintln!("  {nodes} agents are started");
    let names: Vec<_> = (0..nodes).map(|number| format!("node-{number}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let mut installation = Installation::start_without_agents(programs, &names)?;
    let script = Script::new();
    let (tasks, _failures) = Tasks::new(script.phases());
    let (steps, mut heard) = mpsc::channel(nodes);
    let (in_trouble, _) = watch::channel(false);
    let id = installation.aggregator_id().context("there is no aggregator")?;
    let sessions = Stretch::begin(id)?;
    for (number, node) in names.iter().enumerate() {
        let agent = Agent {
            connection: installation.connection(node, &tasks)?,
            reporter: Reporter::new("bench", number as u64),
            findings: (number * FINDINGS..(number + 1) * FINDINGS).map(|number| trouble_of(node, number)).collect(),
            steps: steps.clone(),
            begun: Instant::now(),
        };
        installation.runtime().spawn(agent.run(in_trouble.subscribe()));
    }
    drop(steps);
    installation.block_on(all_come_to(Step::Connected, nodes, &mut heard))?;
    let (sessions, [idle, _]) = (sessions.end()?, resident(id)?);

    eprintln!("  nothing happens for {CALM:?}");
    let calm = Stretch::begin(id)?;
    let before = answered(&installation.metrics()?)?;
    installation.block_on(async { sleep(CALM).await });
    let (calm, heartbeats) = (calm.end()?, answered(&installation.metrics()?)? - before);

    let trouble = Stretch::begin(id)?;
    in_trouble.send_replace(true);
    installation.block_on(all_come_to(Step::Settled, nodes, &mut heard))?;
    let trouble = trouble.end()?;
    let metrics = installation.metrics()?;
    metrics.balance()?;
    let observed = metrics.sum("tocsin_findings_observed_total", &[])?;
    ensure!(observed == (nodes * FINDINGS) as u64, "{observed} findings of {nodes} nodes");
    let records = metrics.sum("tocsin_sink_records_total", &["\"delivered\""])?;
    let [_, most] = resident(id)?;

    eprintln!("  the aggregator is started anew");
    installation.kill_aggregator()?;
    let begun = Instant::now();
    installation.start_aggregator()?;
    installation.block_on(all_come_to(Step::Connected, nodes, &mut heard))?;
    let waited = begun.elapsed();
    let back = time_of(installation.aggregator_id().context("it was started")?)?;
    Ok(Took { idle, most, sessions, calm, heartbeats, trouble, records, back, waited })
}

/// A crash-looping pod of one of the workloads.
fn trouble_of(node: &str, number: usize) -> Finding {
    let mut finding = finding(node, number);
    finding.owner.name = format!("api-{}", number % WORKLOADS).into();
    finding
}

async fn all_come_to(step: Step, agents: usize, heard: &mut mpsc::Receiver<Step>) -> anyhow::Result<()> {
    let all = async {
        for number in 1..=agents {
            let next = heard.recv().await.context("all agents have ended")?;
            ensure!(next == step, "{next:?} instead of {step:?}");
            if number.is_multiple_of(agents / 10) {
                eprintln!("  {number} of {agents} agents: {step:?}");
            }
        }
        Ok(())
    };
    timeout(LIMIT, all).await.with_context(|| format!("not all agents have come to {step:?}"))?
}

/// What a process holds, and the most that it has held, in MiB (proc(5): VmRSS, VmHWM).
fn resident(id: u32) -> anyhow::Result<[f64; 2]> {
    let status = fs::read_to_string(format!("/proc/{id}/status"))?;
    let kib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).context("it has memory")?;
        Ok::<_, anyhow::Error>(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
    };
    Ok([kib("VmRSS:")?, kib("VmHWM:")?])
}

/// An agent without a node.
struct Agent {
    connection: Connection,
    reporter: Reporter,
    findings: Vec<Finding>,
    steps: mpsc::Sender<Step>,
    begun: Instant,
}

impl Agent {
    /// Opens its session, reports its findings when there is trouble, and keeps the session up; opens another when it ends.
    async fn run(mut self, mut trouble: watch::Receiver<bool>) -> anyhow::Result<()> {
        self.reporter.on_synced();
        let (mut connected, mut settled) = (false, false);
        loop {
            let wait = loop {
                match self.reporter.next(self.now()) {
                    Next::Hello(hello) => self.connection.hello(self.reporter.target(), &hello),
                    Next::Report(report) => {
                        self.connection.report(self.reporter.target(), self.reporter.version(), &report);
                    }
                    Next::WaitUntil(at) => break at.map_or(LIMIT, |at| at.since(self.now())),
                    Next::End(end) => bail!("an agent has ended: {end:?}"),
                }
            };
            connected &= self.reporter.is_together();
            if !connected && self.reporter.is_together() && self.reporter.is_quiet() {
                connected = true;
                self.steps.send(Step::Connected).await?;
            }
            if !settled && self.findings.is_empty() && self.reporter.counts().unsettled == 0 {
                settled = true;
                self.steps.send(Step::Settled).await?;
            }
            tokio::select! {
                event = self.connection.next() => self.on_event(event),
                () = sleep(wait) => {}
                changed = trouble.changed() => {
                    changed?;
                    let now = self.now();
                    for finding in std::mem::take(&mut self.findings) {
                        self.reporter.on_change(finding, now);
                    }
                }
            }
        }
    }

    fn on_event(&mut self, event: Event) {
        let now = self.now();
        match event {
            Event::Session(reply) => drop(self.reporter.on_session_reply(reply, now)),
            Event::Reply(reply) => drop(self.reporter.on_reply(reply, now)),
            Event::Failed(_) => self.reporter.on_failure(now),
            Event::Closed => self.reporter.on_disconnect(now),
        }
    }

    fn now(&self) -> Time {
        Time::default() + self.begun.elapsed()
    }
}
