//! Bytes as version 1 has always written them. They must decode for as long as the version is spoken, and as long as it
//! is the one written, encoding gives the same bytes.
//!
//! A golden file is never changed, only added: a new one is written by the test when `WRITE_GOLDEN` is set.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rules::{
    Config, Evidence, Finding, FindingId, Incarnation, Kind, KindConfig, Owner, Scope, Seen, Severity, State, Subject,
    SystemNamespaces, Time,
};
use wire::{
    Answer, Body, Configuration, Entry, Epoch, Hello, NeedFull, OpenSet, Opening, Reply, Report, SessionId,
    SessionReply, Settled, SettledBatch, Welcome,
};

use super::Any;

#[test]
fn every_golden_file_decodes_to_its_message_and_encodes_to_its_bytes() {
    for (name, message) in messages() {
        let path = folder().join(format!("{name}.bin"));
        if std::env::var_os("WRITE_GOLDEN").is_some() && !path.exists() {
            fs::write(&path, message.encode()).expect("the folder can be written");
        }
        let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(message.message_type().decode(&bytes).as_ref(), Ok(&message), "{name}");
        assert_eq!(message.encode(), bytes, "{name}");
    }
}

#[test]
fn every_golden_file_has_its_message() {
    let names: BTreeSet<String> = messages().into_iter().map(|(name, _)| format!("{name}.bin")).collect();
    let files = fs::read_dir(folder()).expect("the folder is there");
    let files = files.map(|file| file.expect("it can be read").file_name().to_string_lossy().into_owned());
    assert_eq!(files.collect::<BTreeSet<_>>(), names);
}

fn folder() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "golden", "v1"].iter().collect()
}

/// Every message, and of each every variant.
fn messages() -> Vec<(&'static str, Any)> {
    let session_reply = Any::SessionReply;
    let reply = Any::Reply;
    vec![
        (
            "hello",
            Any::Hello(Hello {
                versions: vec![1, 0],
                build: "0.1.0".into(),
                kinds: vec!["CrashLoopBackOff".into(), "OOMKilled".into()],
            }),
        ),
        (
            "session_reply_welcome",
            session_reply(SessionReply::Welcome(Welcome {
                version: 1,
                session: SessionId(0x0123_4567_89ab_cdef_0011_2233_4455_6677),
                epoch: Epoch(1_000_000_007),
                opening: vec![0, 1, 250, 251, 255],
            })),
        ),
        ("session_reply_no_common_version", session_reply(SessionReply::NoCommonVersion(vec![2, 300]))),
        ("session_reply_not_leader", session_reply(SessionReply::NotLeader("10.0.0.7:8443".into()))),
        ("session_reply_refused", session_reply(SessionReply::Refused("not the agent's ServiceAccount".into()))),
        ("session_reply_busy", session_reply(SessionReply::Busy(70_000))),
        (
            "opening",
            Any::Opening(Opening {
                configuration: configuration(),
                open: vec![crash_loop(), out_of_memory()],
                heartbeat_ms: 30_000,
                reconnect_window_ms: 5_000,
            }),
        ),
        ("report_full", Any::Report(report(1, Body::Full(vec![entry(1, crash_loop()), entry(2, out_of_memory())])))),
        ("report_delta", Any::Report(report(2, Body::Delta(vec![entry(300, cleared())])))),
        ("report_heartbeat", Any::Report(report(3, Body::Delta(Vec::new())))),
        ("reply_answer_short", reply(Reply::Answer(answer(None)))),
        ("reply_answer_gap", reply(Reply::Answer(answer(Some(NeedFull::Gap))))),
        ("reply_answer_digest", reply(Reply::Answer(answer(Some(NeedFull::Digest))))),
        ("reply_answer_cause_ended", reply(Reply::Answer(answer(Some(NeedFull::CauseEnded))))),
        (
            "reply_answer_long",
            reply(Reply::Answer(Answer {
                settled: Some(SettledBatch {
                    number: 4,
                    settled: vec![
                        Settled { id: crash_loop().id, revision: 1 },
                        Settled { id: cleared().id, revision: 300 },
                    ],
                }),
                configuration: Some(configuration()),
                retry_after_ms: 1_500,
                ..answer(None)
            })),
        ),
        ("reply_unknown_session", reply(Reply::UnknownSession)),
        ("reply_retired", reply(Reply::Retired)),
        ("reply_not_leader", reply(Reply::NotLeader(String::new()))),
        ("reply_malformed", reply(Reply::Malformed("a finding about another node".into()))),
        ("reply_busy", reply(Reply::Busy(250))),
    ]
}

fn report(seq: u64, body: Body) -> Report {
    Report {
        session: SessionId(0x0123_4567_89ab_cdef_0011_2233_4455_6677),
        seq,
        body,
        open: OpenSet { count: 2, digest: 0xfedc_ba98_7654_3210 },
        settled_seen: 3,
        config_hash: 77_777_777_777,
        shed: 5,
    }
}

fn answer(need_full: Option<NeedFull>) -> Answer {
    Answer { accepted: 9, settled: None, need_full, config_hash: 42, configuration: None, retry_after_ms: 0 }
}

fn entry(revision: u32, finding: Finding) -> Entry {
    Entry { revision, finding }
}

fn kind(name: &str) -> Kind {
    Kind::named(name).expect("a kind once named stays in the catalogue")
}

/// All that a finding can say.
fn crash_loop() -> Finding {
    Finding {
        id: FindingId(0x1111_2222_3333_4444),
        kind: kind("CrashLoopBackOff"),
        subject: Subject {
            namespace: "payments".into(),
            pod: "api-6d4b75cb6d-hx7nq".into(),
            uid: "0c5e2f5e-6f0c-4a4b-9d0a-1d3f3a0e7c11".into(),
            container: "app".into(),
            node: "ip-10-2-3-4".into(),
        },
        owner: Owner { kind: "Deployment".into(), name: "api".into() },
        incarnation: Incarnation(u64::MAX),
        state: State::Active,
        since: Time::from_millis(1_778_000_000_123),
        seen: Seen::Found,
        severity: Severity::Critical,
        evidence: Evidence {
            reason: Some("CrashLoopBackOff".into()),
            message: Some("back-off 5m0s restarting failed container – \u{202e}hostile\0".into()),
            image: Some("registry.example/api:1.8.2".into()),
            restarts: Some(9),
            exit_code: Some(-1),
            signal: Some(9),
            memory_limit: Some("256Mi".into()),
            names: vec!["a".into(), "b".into()],
            occurrences: Some(4),
        },
    }
}

/// As little as a finding can say.
fn out_of_memory() -> Finding {
    Finding {
        id: FindingId(7),
        kind: kind("OOMKilled"),
        subject: Subject::default(),
        owner: Owner::default(),
        incarnation: Incarnation(0),
        state: State::Pending,
        since: Time::from_millis(-1),
        seen: Seen::Happening,
        severity: Severity::Info,
        evidence: Evidence::default(),
    }
}

fn cleared() -> Finding {
    Finding { id: FindingId(300), state: State::Cleared, severity: Severity::Warning, ..out_of_memory() }
}

fn configuration() -> Configuration {
    let crash_loop = KindConfig {
        enabled: true,
        sustain: Duration::from_mins(1),
        hold: Duration::from_millis(600_500),
        severity: Severity::Critical,
        thresholds: BTreeMap::from([("restarts".into(), 3.0), ("share".into(), -0.25)]),
    };
    let unknown = KindConfig {
        enabled: false,
        sustain: Duration::ZERO,
        hold: Duration::ZERO,
        severity: Severity::Warning,
        thresholds: BTreeMap::new(),
    };
    let scope = Scope {
        watch: vec!["team-*".into()],
        exclude: vec!["sandbox".into(), "?".into()],
        system: SystemNamespaces::All,
    };
    let kinds = BTreeMap::from([("CrashLoopBackOff".into(), crash_loop), ("NotYetInvented".into(), unknown)]);
    Configuration { hash: 42, config: Arc::new(Config { scope, kinds }) }
}
