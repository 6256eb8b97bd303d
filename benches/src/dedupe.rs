//! Ingest without sockets: reports decoded, taken in and answered, on one core.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use rules::{State, Time};
use tocsin_aggregator::pipeline::Pipeline;
use tocsin_aggregator::settings::{Settings, SinkSettings};
use wire::{Body, Epoch, Hello, OpenSet, Report, SessionId, VERSIONS};

use crate::codec::report;
use crate::figures::Figures;

const NODES: usize = 5_000;
const FINDINGS: usize = 10;
const ROUNDS: usize = 4;
const NOW: Time = Time::from_millis(1_777_593_600_000);

/// What one round gives, a second.
#[derive(Debug, Default)]
struct Rates {
    sessions: f64,
    new: f64,
    changed: f64,
    heartbeats: f64,
}

/// Five thousand agents connect, report ten findings each, and then send heartbeats and changes: the best of some rounds,
/// so that a noisy neighbour in one of them does not count.
pub(crate) fn run(figures: &mut Figures) -> anyhow::Result<()> {
    let mut best = Rates::default();
    for _ in 0..ROUNDS {
        let Rates { sessions, new, changed, heartbeats } = round()?;
        best = Rates {
            sessions: best.sessions.max(sessions),
            new: best.new.max(new),
            changed: best.changed.max(changed),
            heartbeats: best.heartbeats.max(heartbeats),
        };
    }
    Figures::plain("sessions opened a second", best.sessions, "/s");
    figures.at_least("new findings a second", best.new, "/s", 200_000.0);
    figures.at_least("changed findings a second", best.changed, "/s", 200_000.0);
    figures.at_least("heartbeats a second", best.heartbeats, "/s", 20_000.0);
    Ok(())
}

fn round() -> anyhow::Result<Rates> {
    let mut rates = Rates::default();
    let sinks = BTreeMap::from([(Arc::from("sink"), SinkSettings::default())]);
    let mut pipeline = Pipeline::new(Settings { sinks, ..Settings::default() }, Epoch(1), 1, NOW);
    let hello = Hello { versions: VERSIONS.to_vec(), build: "bench".to_owned(), kinds: Vec::new() };
    let nodes: Vec<Arc<str>> = (0..NODES).map(|number| format!("node-{number}").into()).collect();

    let started = Instant::now();
    for (number, node) in nodes.iter().enumerate() {
        black_box(pipeline.on_hello(node, &hello, session(number), NOW));
    }
    rates.sessions = NODES as f64 / started.elapsed().as_secs_f64();

    let full: Vec<_> = nodes
        .iter()
        .enumerate()
        .map(|(number, node)| wire::encode(&Report { session: session(number), ..report(node, 1, numbers(number)) }))
        .collect::<Result<_, _>>()?;
    let started = Instant::now();
    for bytes in &full {
        black_box(wire::encode(&pipeline.on_report(wire::decode(bytes)?, NOW))?);
    }
    rates.new = (full.len() * FINDINGS) as f64 / started.elapsed().as_secs_f64();

    // The same findings again, each changed: what a storm of updates is.
    let changed: Vec<_> = nodes
        .iter()
        .enumerate()
        .map(|(number, node)| {
            let mut report = Report { session: session(number), ..report(node, 2, numbers(number)) };
            if let Body::Full(entries) = &mut report.body {
                for entry in entries.iter_mut() {
                    entry.revision = 2;
                    entry.finding.evidence.restarts = Some(10);
                }
                report.open = entries.iter().collect::<OpenSet>();
            }
            report.body = Body::Delta(report.body.entries().to_vec());
            wire::encode(&report)
        })
        .collect::<Result<_, _>>()?;
    let started = Instant::now();
    for bytes in &changed {
        black_box(wire::encode(&pipeline.on_report(wire::decode(bytes)?, NOW))?);
    }
    rates.changed = (changed.len() * FINDINGS) as f64 / started.elapsed().as_secs_f64();

    let started = Instant::now();
    for (number, node) in nodes.iter().enumerate() {
        let open = open_set(&report(node, 1, numbers(number)), 2);
        let heartbeat = Report { seq: 3, open, body: Body::Delta(Vec::new()), ..report(node, 3, 0..0) };
        black_box(pipeline.on_report(Report { session: session(number), ..heartbeat }, NOW));
    }
    rates.heartbeats = NODES as f64 / started.elapsed().as_secs_f64();
    anyhow::ensure!(pipeline.dedupe().balances(), "the books do not balance");
    Ok(rates)
}

/// The pods of a node.
fn numbers(node: usize) -> Range<usize> {
    node * FINDINGS..(node + 1) * FINDINGS
}

fn session(number: usize) -> SessionId {
    SessionId(number as u128 + 1)
}

fn open_set(report: &Report, revision: u32) -> OpenSet {
    let mut open = OpenSet::default();
    for entry in report.body.entries().iter().filter(|entry| entry.finding.state != State::Cleared) {
        open.add(entry.finding.id, revision);
    }
    open
}
