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
const NOW: Time = Time::from_millis(1_777_593_600_000);

/// Five thousand agents connect, report ten findings each, and then send heartbeats and changes.
pub(crate) fn run(figures: &mut Figures) -> anyhow::Result<()> {
    let sinks = BTreeMap::from([(Arc::from("sink"), SinkSettings::default())]);
    let mut pipeline = Pipeline::new(Settings { sinks, ..Settings::default() }, Epoch(1), 1, NOW);
    let hello = Hello { versions: VERSIONS.to_vec(), build: "bench".to_owned(), kinds: Vec::new() };
    let nodes: Vec<Arc<str>> = (0..NODES).map(|number| format!("node-{number}").into()).collect();

    let started = Instant::now();
    for (number, node) in nodes.iter().enumerate() {
        black_box(pipeline.on_hello(node, &hello, session(number), NOW));
    }
    Figures::plain("sessions opened a second", NODES as f64 / started.elapsed().as_secs_f64(), "/s");

    let full: Vec<_> = nodes
        .iter()
        .enumerate()
        .map(|(number, node)| wire::encode(&Report { session: session(number), ..report(node, 1, numbers(number)) }))
        .collect::<Result<_, _>>()?;
    let started = Instant::now();
    for bytes in &full {
        black_box(wire::encode(&pipeline.on_report(wire::decode(bytes)?, NOW))?);
    }
    let rate = full.len() as f64 / started.elapsed().as_secs_f64();
    Figures::plain("first full reports of 10 findings a second", rate, "/s");
    figures.at_least("new findings a second", rate * FINDINGS as f64, "/s", 200_000.0);

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
    let rate = changed.len() as f64 / started.elapsed().as_secs_f64();
    figures.at_least("changed findings a second", rate * FINDINGS as f64, "/s", 200_000.0);

    let started = Instant::now();
    for (number, node) in nodes.iter().enumerate() {
        let open = open_set(&report(node, 1, numbers(number)), 2);
        let heartbeat = Report { seq: 3, open, body: Body::Delta(Vec::new()), ..report(node, 3, 0..0) };
        black_box(pipeline.on_report(Report { session: session(number), ..heartbeat }, NOW));
    }
    figures.at_least("heartbeats a second", NODES as f64 / started.elapsed().as_secs_f64(), "/s", 20_000.0);
    anyhow::ensure!(pipeline.dedupe().balances(), "the books do not balance");
    Ok(())
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
