//! What is told of a finding, what is kept, and what is forgotten.

use super::*;

/// A full report after everything that is unsettled was said: what the agent has not forgotten.
fn kept(agent: &mut Agent) -> Vec<(u64, State)> {
    let seq = match agent.in_flight() {
        Some(seq) => seq,
        None => agent.report().seq,
    };
    agent.reply(Reply::Answer(Answer { need_full: Some(NeedFull::Digest), ..answer(seq) }));
    says(&agent.report())
}

#[test]
fn a_finding_is_forgotten_when_it_is_cleared_and_that_is_settled() {
    let mut agent = Agent::told([active(1)]);
    agent.changes([cleared(1)]);
    let report = agent.report();
    agent.settle(1, settled(&report));
    assert_eq!(kept(&mut agent), []);
}

#[test]
fn a_cleared_finding_is_kept_while_only_an_older_state_of_it_is_settled() {
    let mut agent = Agent::new();
    agent.changes([active(1)]);
    agent.greet();
    agent.welcome(1, 1, Vec::new());
    let first = agent.report();
    agent.accept();
    agent.changes([cleared(1)]);
    agent.report();
    agent.settle(1, settled(&first));
    assert_eq!(kept(&mut agent), [(1, State::Cleared)]);
}

#[test]
fn an_open_finding_stays_when_it_is_settled() {
    let mut agent = Agent::told([]);
    agent.changes([active(1)]);
    let report = agent.report();
    agent.settle(1, settled(&report));
    assert_eq!(kept(&mut agent), [(1, State::Active)]);
    assert_eq!(agent.reporter.counts().unsettled, 0);
}

#[test]
fn a_batch_is_taken_in_once_and_named_from_then_on() {
    let mut agent = Agent::told([]);
    agent.changes([active(1)]);
    let first = agent.report();
    agent.settle(1, settled(&first));
    agent.changes([cleared(1)]);
    let second = agent.report();
    assert_eq!(second.settled_seen, 1);
    // The batch comes again, now with what it never contained: it is the first one that counts.
    agent.settle(1, settled(&second));
    assert_eq!(kept(&mut agent), [(1, State::Cleared)]);
}

#[test]
fn what_was_never_sent_is_nobodys_to_settle() {
    let mut agent = Agent::told([active(1)]);
    let heartbeat = agent.report();
    agent.changes([cleared(1)]);
    let batch = SettledBatch { number: 1, settled: vec![Settled { id: FindingId(1), revision: u32::MAX }] };
    agent.reply(Reply::Answer(Answer { settled: Some(batch), ..answer(heartbeat.seq) }));
    assert_eq!(says(&agent.report()), [(1, State::Cleared)]);
}

#[test]
fn a_pending_finding_that_nobody_heard_of_passes_in_silence() {
    let mut agent = Agent::told([]);
    agent.changes([pending(1), cleared(1)]);
    assert_eq!(agent.report().body, Body::Delta(Vec::new()), "a heartbeat");
    assert_eq!(agent.reporter.counts(), Counts::default());
}

#[test]
fn an_active_finding_that_came_and_went_is_told_all_the_same() {
    let mut agent = Agent::told([]);
    agent.changes([pending(1), active(1), cleared(1)]);
    let report = agent.report();
    assert_eq!(says(&report), [(1, State::Cleared)]);
    assert_eq!(report.open, OpenSet::default());
}

#[test]
fn a_clear_waits_until_it_is_known_that_the_finding_was_active() {
    let mut agent = Agent::told([pending(1)]);
    agent.changes([active(1), cleared(1)]);
    assert_eq!(says(&agent.report()), [(1, State::Active)]);
    agent.accept();
    assert_eq!(says(&agent.report()), [(1, State::Cleared)]);
}

#[test]
fn a_clear_waits_until_it_is_known_whether_a_pending_finding_was_heard_of() {
    let mut agent = Agent::told([]);
    agent.changes([pending(1)]);
    agent.report();
    agent.changes([cleared(1)]);
    agent.fail();
    assert_eq!(says(&agent.report()), [(1, State::Pending)]);
    agent.accept();
    assert_eq!(says(&agent.report()), [(1, State::Cleared)]);
}

#[test]
fn a_clear_that_waits_is_dropped_when_the_finding_is_back() {
    let mut agent = Agent::told([pending(1)]);
    agent.changes([active(1), cleared(1), active(1)]);
    agent.report();
    agent.accept();
    assert_eq!(kept(&mut agent), [(1, State::Active)]);
}

#[test]
fn a_new_epoch_is_told_what_came_and_went_and_not_what_came_to_nothing() {
    let mut agent = Agent::told([pending(1), active(2), pending(3)]);
    agent.report();
    agent.changes([cleared(1), cleared(2), active(3), cleared(3)]);
    agent.reply(Reply::UnknownSession);
    agent.greet();
    agent.welcome(2, 2, Vec::new());
    assert_eq!(says(&agent.report()), [(2, State::Cleared), (3, State::Cleared)]);
}

#[test]
fn a_second_occurrence_that_came_and_went_is_told_too() {
    let mut agent = Agent::told([active(1)]);
    agent.changes([finding(1, State::Active, 2), finding(1, State::Cleared, 2)]);
    assert_eq!(says(&agent.report()), [(1, State::Active)]);
    agent.accept();
    assert_eq!(says(&agent.report()), [(1, State::Cleared)]);
}

#[test]
fn a_second_occurrence_is_told_although_the_first_is_on_its_way() {
    let mut agent = Agent::told([]);
    agent.changes([active(1)]);
    agent.report();
    agent.changes([finding(1, State::Active, 2), finding(1, State::Cleared, 2)]);
    agent.accept();
    assert_eq!(says(&agent.report()), [(1, State::Active)]);
}

#[test]
fn a_clear_that_is_not_settled_outlives_a_pending_incarnation_that_came_to_nothing() {
    let clear = |report: &Report| report.body.entries()[0].finding.clone();
    // The clear was never sent, or sent and not settled; the pending incarnation was never heard of, or was.
    for (is_sent, is_heard) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut agent = Agent::told([active(1)]);
        agent.changes([cleared(1)]);
        if is_sent {
            agent.report();
            agent.accept();
        }
        agent.changes([finding(1, State::Pending, 2)]);
        if is_heard {
            assert_eq!(says(&agent.report()), [(1, State::Pending)]);
            agent.accept();
        }
        agent.changes([finding(1, State::Cleared, 2)]);
        let report = agent.report();
        assert_eq!(clear(&report), cleared(1), "sent: {is_sent}, heard of: {is_heard}");
        agent.settle(1, settled(&report));
        assert_eq!(kept(&mut agent), []);
    }
}

#[test]
fn what_was_active_and_is_not_settled_is_told_to_a_new_epoch_even_if_it_was_pending_again_since() {
    let mut agent = Agent::told([active(1)]);
    agent.changes([cleared(1)]);
    agent.report();
    agent.accept();
    agent.report();
    agent.reply(Reply::UnknownSession);
    agent.greet();
    agent.welcome(2, 2, Vec::new());
    agent.changes([finding(1, State::Pending, 2), finding(1, State::Cleared, 2)]);
    assert_eq!(says(&agent.report()), [(1, State::Cleared)]);
}

#[test]
fn what_is_settled_is_remembered_in_a_new_epoch_and_what_is_accepted_is_not() {
    let mut agent = Agent::told([]);
    agent.changes([active(1)]);
    let report = agent.report();
    agent.settle(1, settled(&report));
    agent.report();
    agent.reply(Reply::UnknownSession);
    agent.greet();
    agent.welcome(2, 2, Vec::new());
    assert_eq!(agent.reporter.counts(), Counts { active: 1, unsent: 1, ..Counts::default() });
    assert_eq!(says(&agent.report()), [(1, State::Active)]);
}

#[test]
fn the_same_twice_is_no_news() {
    let mut agent = Agent::told([active(1)]);
    agent.changes([active(1)]);
    assert_eq!(agent.report().body, Body::Delta(Vec::new()));
}

#[test]
fn no_revision_comes_twice_even_when_the_finding_was_forgotten_in_between() {
    let mut agent = Agent::told([]);
    let mut revisions = Vec::new();
    for number in 1..=3 {
        agent.changes([active(1)]);
        revisions.extend(agent.report().body.entries().iter().map(|entry| entry.revision));
        agent.accept();
        agent.changes([cleared(1)]);
        let report = agent.report();
        revisions.extend(report.body.entries().iter().map(|entry| entry.revision));
        agent.settle(number, settled(&report));
    }
    let mut unique = revisions.clone();
    unique.dedup();
    assert_eq!((unique.len(), revisions.is_sorted()), (6, true), "{revisions:?}");
}

#[test]
fn adopted_findings_are_told_as_ones_own_and_not_given_where_this_process_knows_better() {
    let mut agent = Agent::new();
    agent.changes([pending(1)]);
    agent.greet();
    let effects = agent.welcome(1, 1, vec![active(1), active(2), cleared(3)]);
    assert_eq!(effects.last(), Some(&Effect::Adopt(vec![active(2)])));
    agent.changes([cleared(2)]);
    assert_eq!(says(&agent.report()), [(1, State::Pending), (2, State::Cleared)]);
}

#[test]
fn less_urgent_findings_run_out_of_room_first_and_each_is_counted_once() {
    let mut agent = Agent::told([]);
    let critical = |id| Finding { severity: Severity::Critical, ..active(id) };
    let info = |id| Finding { severity: Severity::Info, ..active(id) };
    agent.changes((0..1_000).map(pending));
    agent.changes([pending(10_000), pending(10_000), active(10_000)]);
    assert_eq!((agent.reporter.open().count, agent.reporter.shed()), (1_001, 1));
    agent.changes((2_000..3_000).map(info));
    assert_eq!((agent.reporter.open().count, agent.reporter.shed()), (1_400, 602));
    agent.changes((4_000..5_000).map(active));
    assert_eq!((agent.reporter.open().count, agent.reporter.shed()), (1_800, 1_202));
    agent.changes((6_000..7_000).map(critical));
    assert_eq!((agent.reporter.open().count, agent.reporter.shed()), (2_000, 2_002));
    assert_eq!(agent.report().shed, 2_002);
    assert!(!agent.reporter.has_room_again());
}

#[test]
fn once_there_is_room_again_it_says_so_once() {
    let mut agent = Agent::told([]);
    agent.changes((0..1_001).map(pending));
    assert!(!agent.reporter.has_room_again());
    agent.changes([cleared(0)]);
    assert!(agent.reporter.has_room_again());
    assert!(!agent.reporter.has_room_again());
    agent.changes([pending(1_000)]);
    assert_eq!((agent.reporter.open().count, agent.reporter.shed()), (1_000, 1));
    agent.changes([cleared(1_000), pending(1_001), pending(1_000)]);
    assert_eq!((agent.reporter.open().count, agent.reporter.shed()), (1_000, 2), "it found room in between");
}

#[test]
fn the_largest_full_report_still_fits_into_a_message() {
    let text = |length| Some(Arc::from("x".repeat(length)));
    let name: Arc<str> = "x".repeat(253).into();
    let mut agent = Agent::new();
    for id in 0..2_000 {
        let mut finding = Finding { severity: Severity::Critical, ..active(id) };
        finding.subject = Subject {
            namespace: Arc::clone(&name),
            pod: Arc::clone(&name),
            uid: Arc::clone(&name),
            container: Arc::clone(&name),
            node: Arc::clone(&name),
        };
        finding.owner = Owner { kind: Arc::clone(&name), name: Arc::clone(&name) };
        finding.evidence.reason = text(Evidence::TEXT_MAX);
        finding.evidence.message = text(Evidence::TEXT_MAX);
        finding.evidence.image = text(Evidence::TEXT_MAX);
        finding.evidence.names = vec![Arc::clone(&name); Evidence::NAMES_MAX];
        agent.changes([finding]);
    }
    agent.greet();
    agent.welcome(1, 1, Vec::new());
    let report = agent.report();
    assert_eq!(report.body.entries().len(), ROOM);
    let bytes = wire::encode(&*report).expect("it fits");
    assert!(bytes.len() < wire::codec::LIMIT * 9 / 10, "{} bytes", bytes.len());
    assert_eq!(wire::decode::<Report>(&bytes).as_ref(), Ok(&*report));
    assert!(report.body.entries()[0].finding.evidence.message.is_some());
    assert!(report.body.entries()[1_999].finding.evidence.message.is_none());
}
