//! The report's codec, beside JSON in the same run.

use std::hint::black_box;
use std::ops::Range;

use rules::{Evidence, Finding, FindingId, Incarnation, Kind, Owner, Seen, State, Subject, Time};
use wire::{Body, Entry, OpenSet, Report, SessionId};

use crate::figures::{Figures, per_second};

/// Findings in one report: what a node with trouble has.
const FINDINGS: usize = 20;
/// Each has some of the pods.
const OWNERS: usize = 10_000;

/// Encodes and decodes a report, and compares with JSON.
pub(crate) fn run(figures: &mut Figures) -> anyhow::Result<()> {
    let report = report("node-1", 1, 0..FINDINGS);
    let bytes = wire::encode(&report)?;
    let json = serde_json::to_vec(&report)?;
    let encode = per_second(|| drop(black_box(wire::encode(black_box(&report)))));
    let decode = per_second(|| drop(black_box(wire::decode::<Report>(black_box(&bytes)))));
    let json_decode = per_second(|| drop(black_box(serde_json::from_slice::<Report>(black_box(&json)))));
    Figures::plain("a report of 20 findings: bytes", bytes.len() as f64, "B");
    figures.at_most("bytes, of those of JSON", bytes.len() as f64 / json.len() as f64, "", 0.6);
    Figures::plain("findings encoded a second", encode * FINDINGS as f64, "/s");
    figures.at_least("findings decoded a second", decode * FINDINGS as f64, "/s", 200_000.0);
    figures.at_least("decoding, times as fast as JSON", decode / json_decode, "", 1.0);
    Ok(())
}

/// A full report of a node with the crash-looping pods of these numbers.
pub(crate) fn report(node: &str, seq: u64, numbers: Range<usize>) -> Report {
    let entries: Vec<_> = numbers.map(|number| Entry { revision: 1, finding: finding(node, number) }).collect();
    let open: OpenSet = entries.iter().collect();
    Report { session: SessionId(1), seq, body: Body::Full(entries), open, settled_seen: 0, config_hash: 0, shed: 0 }
}

/// A crash-looping container of the pod of that number.
pub(crate) fn finding(node: &str, number: usize) -> Finding {
    let kind = Kind::named("CrashLoopBackOff").expect("a kind of the catalogue");
    let subject = Subject {
        namespace: format!("team-{}", number % 50).into(),
        pod: format!("api-{}-7d9c5b8f6d-x{number:04}", number % OWNERS).into(),
        uid: format!("8a5b1f{number:04}-6f0e-4c67-9d57-4a2f1c0b9e11").into(),
        container: "app".into(),
        node: node.into(),
    };
    Finding {
        id: FindingId::of(kind, &subject),
        kind,
        owner: Owner { kind: "Deployment".into(), name: format!("api-{}", number % OWNERS).into() },
        subject,
        incarnation: Incarnation(number as u64),
        state: State::Active,
        since: Time::from_millis(1_777_593_600_000),
        seen: Seen::Happening,
        severity: kind.row().severity,
        evidence: Evidence {
            reason: Some("Error".into()),
            message: Some("panicked at src/main.rs:42: cannot connect to the database".into()),
            image: Some("registry.example/payments/api:1.8.2".into()),
            restarts: Some(9),
            exit_code: Some(1),
            ..Evidence::default()
        },
    }
}
