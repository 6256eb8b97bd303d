//! Any message, for property tests.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use rules::{
    Config, Evidence, Finding, FindingId, Incarnation, Kind, KindConfig, Owner, Scope, Seen, Severity, State, Subject,
    SystemNamespaces, Time,
};
use wire::{
    Answer, Body, Configuration, Entry, Epoch, Hello, NeedFull, OpenSet, Opening, Reply, Report, SessionId,
    SessionReply, Settled, SettledBatch, Welcome,
};

use super::Any;

pub(crate) fn any_message() -> impl Strategy<Value = Any> {
    prop_oneof![
        hello().prop_map(Any::Hello),
        session_reply().prop_map(Any::SessionReply),
        opening().prop_map(Any::Opening),
        report().prop_map(Any::Report),
        reply().prop_map(Any::Reply),
    ]
}

fn hello() -> impl Strategy<Value = Hello> {
    (vec(any::<u16>(), 0..4), ".*", vec(".*", 0..4)).prop_map(|(versions, build, kinds)| Hello {
        versions,
        build,
        kinds,
    })
}

fn session_reply() -> impl Strategy<Value = SessionReply> {
    let welcome = (any::<u16>(), any::<u128>(), any::<u64>(), vec(any::<u8>(), 0..50));
    prop_oneof![
        welcome.prop_map(|(version, session, epoch, opening)| SessionReply::Welcome(Welcome {
            version,
            session: SessionId(session),
            epoch: Epoch(epoch),
            opening,
        })),
        vec(any::<u16>(), 0..4).prop_map(SessionReply::NoCommonVersion),
        ".*".prop_map(SessionReply::NotLeader),
        ".*".prop_map(SessionReply::Refused),
        any::<u32>().prop_map(SessionReply::Busy),
    ]
}

fn opening() -> impl Strategy<Value = Opening> {
    (configuration(), vec(finding(), 0..4), any::<u32>(), any::<u32>()).prop_map(
        |(configuration, open, heartbeat_ms, reconnect_window_ms)| Opening {
            configuration,
            open,
            heartbeat_ms,
            reconnect_window_ms,
        },
    )
}

fn report() -> impl Strategy<Value = Report> {
    let entry = (any::<u32>(), finding()).prop_map(|(revision, finding)| Entry { revision, finding });
    let entries = vec(entry, 0..5);
    let body = (any::<bool>(), entries)
        .prop_map(|(full, entries)| if full { Body::Full(entries) } else { Body::Delta(entries) });
    let numbers = (any::<u128>(), any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>());
    (body, numbers, any::<u32>(), any::<u64>()).prop_map(
        |(body, (session, seq, settled_seen, config_hash, shed), count, digest)| Report {
            session: SessionId(session),
            seq,
            body,
            open: OpenSet { count, digest },
            settled_seen,
            config_hash,
            shed,
        },
    )
}

fn reply() -> impl Strategy<Value = Reply> {
    prop_oneof![
        3 => answer().prop_map(Reply::Answer),
        1 => Just(Reply::UnknownSession),
        1 => Just(Reply::Retired),
        1 => ".*".prop_map(Reply::NotLeader),
        1 => ".*".prop_map(Reply::Malformed),
        1 => any::<u32>().prop_map(Reply::Busy),
    ]
}

fn answer() -> impl Strategy<Value = Answer> {
    let settled = (any::<u64>(), any::<u32>()).prop_map(|(id, revision)| Settled { id: FindingId(id), revision });
    let batch = (any::<u64>(), vec(settled, 0..5)).prop_map(|(number, settled)| SettledBatch { number, settled });
    let need_full = prop::sample::select(vec![NeedFull::Gap, NeedFull::Digest, NeedFull::CauseEnded]);
    let numbers = (any::<u64>(), any::<u64>(), any::<u32>());
    (numbers, option::of(batch), option::of(need_full), option::of(configuration())).prop_map(
        |((accepted, config_hash, retry_after_ms), settled, need_full, configuration)| Answer {
            accepted,
            settled,
            need_full,
            config_hash,
            configuration,
            retry_after_ms,
        },
    )
}

fn configuration() -> impl Strategy<Value = Configuration> {
    let thresholds = btree_map(".{0,8}", -1e9..1e9, 0..3);
    let numbers = (any::<bool>(), 0..1_000_000_u64, 0..1_000_000_u64);
    let kind =
        (numbers, severity(), thresholds).prop_map(|((enabled, sustain, hold), severity, thresholds)| KindConfig {
            enabled,
            sustain: Duration::from_millis(sustain),
            hold: Duration::from_millis(hold),
            severity,
            thresholds,
        });
    let system = vec![SystemNamespaces::Critical, SystemNamespaces::Off, SystemNamespaces::All];
    let scope = (vec(".{0,8}", 0..3), vec(".{0,8}", 0..3), prop::sample::select(system))
        .prop_map(|(watch, exclude, system)| Scope { watch, exclude, system });
    (scope, btree_map(".{0,12}", kind, 0..3)).prop_map(|(scope, kinds): (Scope, BTreeMap<String, KindConfig>)| {
        Configuration::new(Arc::new(Config { scope, kinds }))
    })
}

fn finding() -> impl Strategy<Value = Finding> {
    let kind = prop::sample::select(Kind::all().collect::<Vec<_>>());
    let state = prop::sample::select(vec![State::Pending, State::Active, State::Cleared]);
    let seen = prop::sample::select(vec![Seen::Happening, Seen::Found]);
    let names = (text(), text(), text(), text(), text(), text(), text());
    let numbers = (any::<u64>(), any::<u64>(), any::<i64>());
    (kind, names, numbers, state, seen, severity(), evidence()).prop_map(
        |(kind, (namespace, pod, uid, container, node, owner_kind, name), numbers, state, seen, severity, evidence)| {
            let (id, incarnation, since) = numbers;
            Finding {
                id: FindingId(id),
                kind,
                subject: Subject { namespace, pod, uid, container, node },
                owner: Owner { kind: owner_kind, name },
                incarnation: Incarnation(incarnation),
                state,
                since: Time::from_millis(since),
                seen,
                severity,
                evidence,
            }
        },
    )
}

fn evidence() -> impl Strategy<Value = Evidence> {
    let texts = (option::of(text()), option::of(text()), option::of(text()), option::of(text()));
    let numbers = (any::<Option<u32>>(), any::<Option<i32>>(), any::<Option<i32>>(), any::<Option<u32>>());
    (texts, numbers, vec(text(), 0..=Evidence::NAMES_MAX)).prop_map(
        |((reason, message, image, memory_limit), (restarts, exit_code, signal, occurrences), names)| Evidence {
            reason,
            message,
            image,
            restarts,
            exit_code,
            signal,
            memory_limit,
            names,
            occurrences,
        },
    )
}

fn severity() -> impl Strategy<Value = Severity> {
    prop::sample::select(vec![Severity::Info, Severity::Warning, Severity::Critical])
}

fn text() -> impl Strategy<Value = Arc<str>> {
    ".{0,16}".prop_map(Arc::from)
}
