//! Meeting, numbering, waiting.

use rules::KindConfig;

use super::*;

#[test]
fn the_first_words_are_a_hello_with_the_versions_and_kinds_spoken() {
    let mut agent = Agent::new();
    let hello = agent.greet();
    assert_eq!(hello.versions, wire::VERSIONS);
    assert!(hello.kinds.iter().any(|kind| kind == "CrashLoopBackOff"), "{:?}", hello.kinds);
    assert_eq!(agent.next(), Next::WaitUntil(None), "one at a time");
}

#[test]
fn a_session_brings_the_rules_and_then_the_open_findings_and_asks_for_everything() {
    let mut agent = Agent::new();
    agent.changes([active(1)]);
    agent.greet();
    let effects = agent.welcome(1, 1, vec![active(2)]);
    let config = Arc::new(Config::default());
    let expected =
        [Effect::Notice(Notice::Opened(Epoch(1))), Effect::Configure(config), Effect::Adopt(vec![active(2)])];
    assert_eq!(effects, expected);
    let report = agent.report();
    assert!(matches!(report.body, Body::Full(_)));
    assert_eq!((report.session, report.seq), (SessionId(1), 1));
    assert_eq!(says(&report), [(1, State::Active), (2, State::Active)]);
    assert_eq!(report.open, report.body.entries().iter().collect());
}

#[test]
fn one_report_is_in_flight_and_what_happens_meanwhile_goes_with_the_next() {
    let mut agent = Agent::told([]);
    agent.changes([active(1)]);
    let first = agent.report();
    agent.changes([active(2)]);
    agent.now = agent.now + COALESCE * 2;
    assert_eq!(agent.next(), Next::WaitUntil(None));
    agent.accept();
    let second = agent.report();
    assert_eq!((first.seq, says(&first)), (2, vec![(1, State::Active)]));
    assert_eq!((second.seq, says(&second)), (3, vec![(2, State::Active)]));
    assert_eq!(second.open.count, 2);
}

#[test]
fn changes_wait_for_each_other_but_not_longer_than_the_first_of_them_may() {
    let mut agent = Agent::told([]);
    agent.changes([active(1)]);
    assert_eq!(agent.waits(), COALESCE);
    agent.now = agent.now + COALESCE / 2;
    agent.changes([active(2)]);
    assert_eq!(agent.waits(), COALESCE / 2);
    assert_eq!(says(&agent.report()), [(1, State::Active), (2, State::Active)]);
}

#[test]
fn a_heartbeat_that_falls_due_while_a_change_waits_takes_it_along() {
    let mut agent = Agent::told([]);
    let heartbeat = agent.waits();
    agent.now = agent.now + heartbeat - COALESCE / 2;
    agent.changes([active(1)]);
    assert_eq!(agent.waits(), COALESCE / 2);
    let report = agent.report();
    assert_eq!(says(&report), [(1, State::Active)], "what it counts as open it must say");
    assert_eq!(report.open.count, 1);
}

#[test]
fn no_full_report_before_the_first_list_but_heartbeats() {
    let mut agent = Agent { reporter: Reporter::new("test", 7), now: START };
    agent.greet();
    agent.welcome(1, 1, vec![active(1)]);
    agent.changes([active(2)]);
    let heartbeat = agent.report();
    assert_eq!(heartbeat.body, Body::Delta(Vec::new()));
    agent.reply(Reply::Answer(Answer { need_full: Some(NeedFull::Gap), ..answer(1) }));
    assert_eq!(agent.report().body, Body::Delta(Vec::new()));
    agent.accept();
    agent.reporter.on_synced();
    assert_eq!(says(&agent.report()), [(1, State::Active), (2, State::Active)]);
}

#[test]
fn heartbeats_come_within_their_interval_and_not_in_step() {
    let mut agent = Agent::told([active(1)]);
    let mut waits = Vec::new();
    for _ in 0..50 {
        waits.push(agent.waits());
        let heartbeat = agent.report();
        assert_eq!((heartbeat.body.entries(), heartbeat.open.count), (&[][..], 1));
        agent.accept();
    }
    let interval = Duration::from_secs(30);
    assert!(waits.iter().all(|wait| (interval * 3 / 4..=interval).contains(wait)), "{waits:?}");
    waits.dedup();
    assert!(waits.len() > 40, "{waits:?}");
}

#[test]
fn what_is_not_answered_is_sent_again_with_the_same_number_and_content() {
    let mut agent = Agent::told([]);
    agent.changes([active(1)]);
    let first = agent.report();
    agent.changes([cleared(1), active(2)]);
    agent.fail();
    assert!(agent.waits() <= Duration::from_secs(2));
    let again = agent.report();
    assert!(Arc::ptr_eq(&first, &again));
    agent.accept();
    assert_eq!(says(&agent.report()), [(1, State::Cleared), (2, State::Active)]);
}

#[test]
fn need_full_is_answered_with_a_full_report_and_a_gap_with_the_number_that_follows() {
    for (reason, accepted, seq) in [(NeedFull::Digest, 2, 3), (NeedFull::CauseEnded, 2, 3), (NeedFull::Gap, 1, 2)] {
        let mut agent = Agent::told([active(1)]);
        agent.changes([active(2)]);
        assert_eq!(agent.report().seq, 2);
        let effects = agent.reply(Reply::Answer(Answer { need_full: Some(reason), ..answer(accepted) }));
        assert_eq!(effects, [Effect::Notice(Notice::NeedFull(reason))]);
        let full = agent.report();
        assert!(matches!(full.body, Body::Full(_)), "{reason:?}");
        assert_eq!((full.seq, says(&full)), (seq, vec![(1, State::Active), (2, State::Active)]));
    }
}

#[test]
fn a_report_that_was_answered_and_not_accepted_becomes_a_full_one() {
    let mut agent = Agent::told([active(1)]);
    agent.changes([active(2)]);
    agent.report();
    agent.reply(Reply::Answer(answer(1)));
    let full = agent.report();
    assert_eq!((full.seq, says(&full)), (2, vec![(1, State::Active), (2, State::Active)]));
}

#[test]
fn an_aggregator_that_is_never_content_gets_full_reports_ever_more_slowly() {
    let mut agent = Agent::told([active(1)]);
    agent.changes([active(2)]);
    let start = agent.now;
    for _ in 0..20 {
        let seq = agent.report().seq;
        agent.reply(Reply::Answer(Answer { need_full: Some(NeedFull::Digest), ..answer(seq) }));
    }
    assert!(agent.now.since(start) > Duration::from_mins(2), "20 reports in {:?}", agent.now.since(start));
}

#[test]
fn an_unknown_session_leads_to_a_new_one_at_once_and_to_everything() {
    let mut agent = Agent::told([active(1)]);
    agent.changes([active(2)]);
    agent.report();
    assert_eq!(agent.reply(Reply::UnknownSession), [Effect::Notice(Notice::UnknownSession)]);
    assert!(matches!(agent.next(), Next::Hello(_)));
    agent.welcome(2, 9, Vec::new());
    let full = agent.report();
    assert_eq!((full.session, full.seq, full.settled_seen), (SessionId(9), 1, 0));
    assert_eq!(says(&full), [(1, State::Active), (2, State::Active)]);
}

#[test]
fn sessions_that_are_lost_as_soon_as_opened_are_not_opened_in_a_circle() {
    let mut agent = Agent::told([]);
    let start = agent.now;
    agent.report();
    for session in 2..30 {
        agent.reply(Reply::UnknownSession);
        agent.greet();
        agent.welcome(1, session, Vec::new());
        agent.report();
    }
    assert!(agent.now.since(start) > Duration::from_mins(2), "{:?}", agent.now.since(start));
}

#[test]
fn a_retired_agent_is_done() {
    let mut agent = Agent::told([active(1)]);
    agent.report();
    agent.reply(Reply::Retired);
    assert_eq!(agent.next(), Next::End(End::Retired));
    agent.changes([active(2)]);
    assert_eq!(agent.next(), Next::End(End::Retired));
}

fn leader() -> Target {
    Target::Leader("10.0.0.7:8443".parse().expect("an address"))
}

#[test]
fn it_goes_to_the_leader_named_and_back_to_the_service_when_that_fails() {
    let mut agent = Agent::new();
    agent.greet();
    let effects = agent.reporter.on_session_reply(SessionReply::NotLeader("10.0.0.7:8443".into()), agent.now);
    assert_eq!(effects, [Effect::Notice(Notice::NotLeader("10.0.0.7:8443".into()))]);
    assert!(matches!(agent.next(), Next::Hello(_)), "at once");
    assert_eq!(*agent.reporter.target(), leader());
    agent.fail();
    assert_eq!(*agent.reporter.target(), Target::Service);
}

#[test]
fn a_report_follows_the_leader_within_its_session() {
    let mut agent = Agent::told([]);
    agent.changes([active(1)]);
    let first = agent.report();
    agent.reply(Reply::NotLeader("10.0.0.7:8443".into()));
    assert_eq!(agent.next(), Next::Report(first), "at once");
    assert_eq!(*agent.reporter.target(), leader());
}

#[test]
fn standbys_that_point_at_each_other_or_at_nobody_are_asked_slowly() {
    let long = "1".repeat(300);
    for address in [
        "10.0.0.7:8443",
        "",
        &long,
        "10.0.0.7",
        "10.0.0.7:0",
        "0.0.0.0:8443",
        "[::]:8443",
        "224.0.0.1:8443",
        "leader.example:8443",
        "10.0.0.7:8443\n",
    ] {
        let mut agent = Agent::new();
        let mut told = Vec::new();
        for _ in 0..40 {
            agent.greet();
            told.extend(agent.reporter.on_session_reply(SessionReply::NotLeader(address.into()), agent.now));
            let goes_there = *agent.reporter.target() != Target::Service;
            assert!(!goes_there || address == "10.0.0.7:8443", "there is nobody at {address:?}");
        }
        assert!(agent.now.since(START) > Duration::from_mins(1), "{:?}", agent.now.since(START));
        assert_eq!(told.len(), 1, "said once");
    }
}

#[test]
fn a_refusal_is_retried_slowly_and_told_when_its_reason_changes() {
    let refused = |reason: &str| SessionReply::Refused(reason.into());
    let mut agent = Agent::new();
    let (mut told, mut waits) = (Vec::new(), Vec::new());
    let replies = [refused("token"), refused("token"), refused("audience"), SessionReply::NoCommonVersion(vec![7])];
    for reply in replies.into_iter().chain((0..30).map(|_| SessionReply::NoCommonVersion(vec![7]))) {
        agent.greet();
        told.extend(agent.reporter.on_session_reply(reply, agent.now));
        waits.push(agent.waits());
    }
    let expected =
        [Notice::Refused("token".into()), Notice::Refused("audience".into()), Notice::NoCommonVersion(vec![7])];
    assert_eq!(told, expected.map(Effect::Notice));
    let mean = waits.iter().sum::<Duration>() / 34;
    assert!(waits.iter().all(|wait| *wait <= WAIT_MAX));
    assert!((20..40).contains(&mean.as_secs()), "{mean:?}");
}

#[test]
fn an_answer_in_a_version_that_was_not_offered_or_that_cannot_be_read_opens_nothing() {
    let mut agent = Agent::new();
    let good = Welcome {
        version: wire::VERSION,
        session: SessionId(1),
        epoch: Epoch(1),
        opening: wire::encode(&opening(Vec::new())).expect("an opening can be written"),
    };
    let other = Welcome { version: 99, ..good.clone() };
    let cut = Welcome { opening: good.opening[..30].to_vec(), ..good };
    agent.greet();
    let effects = agent.reporter.on_session_reply(SessionReply::Welcome(other), agent.now);
    assert_eq!(effects, [Effect::Notice(Notice::NoCommonVersion(vec![99]))]);
    agent.greet();
    let effects = agent.reporter.on_session_reply(SessionReply::Welcome(cut), agent.now);
    assert!(matches!(&effects[..], [Effect::Notice(Notice::Unreadable(_))]), "{effects:?}");
    assert!(!agent.reporter.is_together());
}

#[test]
fn busy_means_the_same_again_not_sooner_than_asked_and_not_later_than_the_cap() {
    for (asked_ms, at_least, at_most) in [(5_000, 5_000, 6_250), (3_600_000, 60_000, 75_000)] {
        let mut agent = Agent::told([]);
        agent.changes([active(1)]);
        let first = agent.report();
        assert_eq!(agent.reply(Reply::Busy(asked_ms)), [Effect::Notice(Notice::Busy)]);
        let waits = agent.waits().as_millis();
        assert!((at_least..=at_most).contains(&waits), "{waits} ms");
        assert!(Arc::ptr_eq(&first, &agent.report()));

        let mut agent = Agent::new();
        agent.greet();
        agent.reporter.on_session_reply(SessionReply::Busy(asked_ms), agent.now);
        let waits = agent.waits().as_millis();
        assert!((at_least..=at_most).contains(&waits), "{waits} ms");
    }
}

#[test]
fn a_wish_for_a_pause_in_an_answer_is_kept() {
    let mut agent = Agent::told([]);
    agent.report();
    agent.changes([active(1)]);
    agent.reply(Reply::Answer(Answer { retry_after_ms: 8_000, ..answer(2) }));
    assert!(agent.waits() >= Duration::from_secs(8));
    assert_eq!(says(&agent.report()), [(1, State::Active)]);
}

#[test]
fn a_report_that_is_not_understood_becomes_a_full_one_under_the_same_number() {
    let mut agent = Agent::told([active(1)]);
    agent.changes([active(2)]);
    let first = agent.report();
    assert_eq!(agent.reply(Reply::Malformed("odd".into())), [Effect::Notice(Notice::Malformed("odd".into()))]);
    let full = agent.report();
    assert_eq!((full.seq, says(&full)), (first.seq, vec![(1, State::Active), (2, State::Active)]));
    assert_eq!(agent.reply(Reply::Malformed("odd".into())), [], "said once");
}

#[test]
fn failures_spread_over_the_window_that_the_aggregator_set_and_then_up_to_four() {
    let mut agent = Agent::new();
    agent.greet();
    let opening = Opening { reconnect_window_ms: 8_000, ..opening(Vec::new()) };
    agent.reporter.on_session_reply(welcome(1, 1, &opening), agent.now);
    agent.report();
    let ceilings = [8, 16, 32, 32, 32, 32, 32, 32].map(Duration::from_secs);
    let waits: Vec<_> = ceilings
        .iter()
        .map(|ceiling| {
            agent.fail();
            let waits = agent.waits();
            assert!(waits <= *ceiling, "{waits:?} of {ceiling:?}");
            agent.report();
            waits
        })
        .collect();
    assert!(waits.iter().max() > Some(&Duration::from_secs(16)), "{waits:?}");
    for _ in 0..10 {
        agent.accept();
        agent.report();
        agent.fail();
        assert!(agent.waits() <= ceilings[0], "a success starts anew");
        agent.report();
    }
}

#[test]
fn a_lost_connection_is_looked_into_within_the_reconnect_window() {
    let mut agent = Agent::told([active(1)]);
    agent.reporter.on_disconnect(agent.now);
    assert!(agent.waits() <= Duration::from_secs(2));
    assert_eq!(agent.report().body, Body::Delta(Vec::new()));
}

#[test]
fn a_new_configuration_is_taken_over_once_and_named_in_the_next_report() {
    let mut agent = Agent::told([]);
    let mut config = Config::default();
    config.scope.exclude.push("sandbox-*".into());
    let config = Arc::new(config);
    let configuration = Configuration::new(Arc::clone(&config));
    let hash = configuration.hash;
    assert_ne!(agent.report().config_hash, hash);
    let with = |seq| Reply::Answer(Answer { configuration: Some(configuration.clone()), ..answer(seq) });
    assert_eq!(agent.reply(with(2)), [Effect::Configure(config)]);
    assert_eq!(agent.report().config_hash, hash);
    assert_eq!(agent.reply(with(3)), []);
}

#[test]
fn a_kind_that_the_aggregator_does_not_know_is_not_reported_to_it() {
    let mut agent = Agent::new();
    agent.changes([active(1), active(2)]);
    agent.greet();
    let mut older = Config::default();
    older.kinds.retain(|name, _: &mut KindConfig| name != "CrashLoopBackOff");
    let opening = Opening { configuration: Configuration::new(Arc::new(older)), ..opening(Vec::new()) };
    agent.reporter.on_session_reply(welcome(1, 1, &opening), agent.now);
    agent.changes([cleared(1), active(3)]);
    assert_eq!(says(&agent.report()), []);
    assert_eq!(agent.reporter.open(), OpenSet::default());
}

#[test]
fn answers_to_nothing_are_ignored() {
    let mut agent = Agent::new();
    assert_eq!(agent.reply(Reply::Retired), []);
    assert_eq!(agent.welcome(1, 1, Vec::new()), []);
    assert!(!agent.reporter.is_together());

    let mut agent = Agent::told([active(1)]);
    assert_eq!(agent.reply(Reply::Answer(answer(99))), []);
    assert_eq!(agent.report().seq, 2);
}

#[test]
fn at_the_end_what_is_new_goes_out_without_waiting_and_quiet_is_when_it_is_accepted() {
    let mut agent = Agent::told([active(1)]);
    assert!(agent.reporter.is_quiet());
    agent.changes([active(2)]);
    assert!(!agent.reporter.is_quiet());
    agent.reporter.flush(agent.now);
    assert!(matches!(agent.next(), Next::Report(_)));
    assert!(!agent.reporter.is_quiet());
    agent.accept();
    assert!(agent.reporter.is_quiet());
}

#[test]
fn at_the_end_no_wait_is_waited_out_but_the_next_one_is() {
    let mut agent = Agent::told([active(1)]);
    agent.changes([active(2)]);
    agent.report();
    agent.reply(Reply::Busy(60_000));
    agent.reporter.flush(agent.now);
    assert!(matches!(agent.next(), Next::Report(_)), "the aggregator may have time by now");
    agent.reply(Reply::Busy(60_000));
    assert!(agent.waits() >= Duration::from_mins(1));

    let mut agent = Agent::told([active(1)]);
    agent.changes([active(2)]);
    agent.report();
    agent.reply(Reply::UnknownSession);
    agent.greet();
    agent.fail();
    agent.reporter.flush(agent.now);
    assert!(matches!(agent.next(), Next::Hello(_)), "there may be an aggregator by now");
}

#[test]
fn whoever_is_busy_for_no_time_is_not_asked_again_at_once() {
    let mut agent = Agent::told([active(1)]);
    agent.changes([active(2)]);
    agent.report();
    agent.reply(Reply::Busy(0));
    assert!(agent.waits() >= Duration::from_secs(1));

    let mut agent = Agent::new();
    agent.greet();
    agent.reporter.on_session_reply(SessionReply::Busy(0), agent.now);
    assert!(agent.waits() >= Duration::from_secs(1));
}
