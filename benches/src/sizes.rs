//! What the aggregator holds in memory (RSS), as it is shipped, by the number of its agents: each with its session and nothing
//! to tell, and when all of them report ten crash-looping pods at once, of a thousand Deployments, until all is told. The chart
//! asks for at least the latter, and its limit is at least twice that.
//!
//! The agents are sessions in this process, by the agent's own code: thousands of processes would need gigabytes.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use process::shutdown::Script;
use process::{Tasks, tls};
use rules::{Finding, Time};
use serde_json::Value;
use tocsin_node_agent::connection::{Connection, Event};
use tocsin_node_agent::report::{Next, Reporter};
use tocsin_tests::chart;
use tocsin_tests::installation::Installation;
use tocsin_tests::processes::Programs;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use crate::codec::finding;
use crate::figures::Figures;

/// How many nodes the chart's values are for.
const SIZES: [(usize, &str); 3] = [(10, "values-small.yaml"), (500, "values.yaml"), (5_000, "values-large.yaml")];
const FINDINGS: usize = 10;
const WORKLOADS: usize = 1_000;
/// Far above what any step takes.
const LIMIT: Duration = Duration::from_mins(10);

/// What an agent has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Its session is open.
    Connected,
    /// The fate of all of its findings is decided: those of whom outside is told are told.
    Settled,
}

/// An aggregator of each size.
pub(crate) fn run(figures: &mut Figures) -> anyhow::Result<()> {
    tls::use_ring();
    let programs = Programs::released()?;
    for (nodes, values) in SIZES {
        let [request, limit] = asked_for(values)?;
        let [idle, most] = of(programs.clone(), nodes)?;
        Figures::plain(&format!("aggregator, RSS with {nodes} agents"), idle, "MiB");
        let findings = nodes * FINDINGS;
        let what = format!("the most that it held until {findings} findings were told");
        figures.at_most(&what, most, "MiB", request.min(limit / 2.0));
    }
    Ok(())
}

/// What an aggregator holds, in MiB: with so many agents, and at most until all that they report is told.
fn of(programs: Programs, nodes: usize) -> anyhow::Result<[f64; 2]> {
    let names: Vec<_> = (0..nodes).map(|number| format!("node-{number}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let installation = Installation::start_without_agents(programs, &names)?;
    let script = Script::new();
    let (tasks, _failures) = Tasks::new(script.phases());
    let (steps, mut heard) = mpsc::channel(nodes);
    let (trouble, _) = watch::channel(false);
    for (number, node) in names.iter().enumerate() {
        let agent = Agent {
            connection: installation.connection(node, &tasks)?,
            reporter: Reporter::new("bench", number as u64),
            findings: (number * FINDINGS..(number + 1) * FINDINGS).map(|number| trouble_of(node, number)).collect(),
            steps: steps.clone(),
            begun: Instant::now(),
        };
        installation.runtime().spawn(agent.run(trouble.subscribe()));
    }
    drop(steps);
    installation.block_on(all_come_to(Step::Connected, nodes, &mut heard))?;
    let id = installation.aggregator_id().context("there is no aggregator")?;
    let [idle, _] = resident(id)?;
    trouble.send_replace(true);
    installation.block_on(all_come_to(Step::Settled, nodes, &mut heard))?;
    let metrics = installation.metrics()?;
    metrics.balance()?;
    let observed = metrics.sum("tocsin_findings_observed_total", &[])?;
    ensure!(observed == (nodes * FINDINGS) as u64, "{observed} findings of {nodes} nodes");
    let [_, most] = resident(id)?;
    Ok([idle, most])
}

/// The memory that values of the chart ask for, and their limit, in MiB.
fn asked_for(values: &str) -> anyhow::Result<[f64; 2]> {
    let text = fs::read_to_string(chart::folder().join(values))?;
    let values: Value = serde_saphyr::from_str(&text)?;
    let mib = |which: &str| {
        let memory = values["aggregator"]["resources"][which]["memory"].as_str().context("it says how much")?;
        let (number, factor) = match memory.strip_suffix("Gi") {
            Some(number) => (number, 1024.0),
            None => (memory.strip_suffix("Mi").context("memory in Mi or Gi")?, 1.0),
        };
        Ok::<_, anyhow::Error>(number.parse::<f64>()? * factor)
    };
    Ok([mib("requests")?, mib("limits")?])
}

/// A crash-looping pod of one of the workloads.
fn trouble_of(node: &str, number: usize) -> Finding {
    let mut finding = finding(node, number);
    finding.owner.name = format!("api-{}", number % WORKLOADS).into();
    finding
}

async fn all_come_to(step: Step, agents: usize, heard: &mut mpsc::Receiver<Step>) -> anyhow::Result<()> {
    let all = async {
        for _ in 0..agents {
            let next = heard.recv().await.context("all agents have ended")?;
            ensure!(next == step, "{next:?} instead of {step:?}");
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
    /// Opens its session, reports its findings when there is trouble, and keeps the session up.
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
