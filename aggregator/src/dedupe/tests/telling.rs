//! Verified, told, settled: how issues leave.

use super::*;

#[test]
fn nothing_is_settled_before_the_sink_has_it() {
    let one = pod("CrashLoopBackOff", "n1", "api-1");
    let mut story = Story::begin();
    story.sink = None;
    story.see(one.clone());
    assert_eq!(story.settled, []);
    story.accounts(&[(Decision::Pending(decision::Waiting::Queued), 1)]);
    story.sink_answers(Fate::Delivered);
    assert_eq!(story.settled, [(one.id, 1)]);

    story.sink = None;
    story.settled.clear();
    story.see(cleared(one.clone()));
    assert_eq!(story.settled, [], "that it is over is settled when the sink knows");
    story.sink_answers(Fate::Delivered);
    assert_eq!(story.settled, [(one.id, 1)]);
}

#[test]
fn an_issue_that_is_back_before_anybody_heard_of_its_end_is_the_same() {
    let one = pod("CrashLoopBackOff", "n1", "api-1");
    let mut story = Story::begin();
    story.see(one.clone());
    story.sink = None;
    story.see(cleared(one.clone())).see(again(one, 2, START + SECOND));
    story.told(&["api CrashLoopBackOff firing", "api CrashLoopBackOff resolved", "api CrashLoopBackOff firing"]);
    story.sink_answers(Fate::Delivered).accounts(&[(TOLD, 1), (MERGED, 1)]);
    let issue = story.dedupe.issues().next().expect("it is open");
    assert_eq!(issue.episode.as_ref().map(|episode| episode.incarnation), Some(Incarnation(1)));
}

#[test]
fn an_issue_that_the_sink_refuses_is_settled() {
    let one = pod("CrashLoopBackOff", "n1", "api-1");
    let mut story = Story::begin();
    story.sink = Some(Fate::Quarantined);
    story.see(one.clone()).accounts(&[(suppressed(decision::Suppression::Quarantined), 1)]);
    story.see(cleared(one)).accounts(&[(suppressed(decision::Suppression::Quarantined), 1)]);
    assert_eq!(story.dedupe.issues().count(), 0);
}

#[test]
fn an_issue_below_every_sinks_severity_is_unrouted() {
    let info = Finding { severity: rules::Severity::Info, ..pod("CrashLoopBackOff", "n1", "api-1") };
    let mut story = Story::begin();
    story.see(info.clone()).told(&[]).accounts(&[(suppressed(decision::Suppression::Unrouted), 1)]);
    story.see(cleared(info));
    assert_eq!(story.dedupe.issues().count(), 0);
}

#[test]
fn a_sink_that_is_not_required_keeps_nothing_unsettled() {
    let optional = SinkSettings { required: false, ..SinkSettings::default() };
    let one = pod("CrashLoopBackOff", "n1", "api-1");
    let mut story = Story::with_sinks(&[("chat", optional)]);
    story.sink = None;
    story.see(one.clone()).accounts(&[(TOLD, 1)]);
    assert_eq!(story.settled, [(one.id, 1)]);
    story.see(cleared(one.clone()));
    assert_eq!(story.settled, [(one.id, 1), (one.id, 1)]);
    assert_eq!(story.dedupe.issues().count(), 1, "kept until the sink has heard of it");
    story.sink_answers(Fate::Delivered);
    assert_eq!(story.dedupe.issues().count(), 0);
}

#[test]
fn an_issue_that_is_back_before_a_sink_that_is_not_required_heard_of_its_end_is_a_new_one() {
    let optional = SinkSettings { required: false, ..SinkSettings::default() };
    let one = pod("CrashLoopBackOff", "n1", "api-1");
    let mut story = Story::with_sinks(&[("chat", optional)]);
    story.sink = None;
    story.see(one.clone()).see(cleared(one.clone())).see(again(one.clone(), 2, START + SECOND));
    story.accounts(&[(TOLD, 2)]).see(cleared(again(one, 2, START + SECOND)));
    story.sink_answers(Fate::Delivered);
    assert_eq!(story.dedupe.issues().count(), 0);
}

#[test]
fn a_report_about_a_pod_that_is_another_one_is_not_believed() {
    let (forged, real) = (pod("CrashLoopBackOff", "n1", "api-1"), pod("CrashLoopBackOff", "n2", "api-2"));
    let mut story = Story::begin();
    story.verdict = None;
    story.see(forged.clone()).told(&[]);
    let check = story.checks.pop().expect("its pod is to be read");
    assert_eq!((&*check.pod, &*check.uid, &*check.node), ("api-1", "uid-api-1", "n1"));
    story.dedupe.on_checked(&check, Checked::Mismatch, story.now);
    story.run().told(&[]).accounts(&[(suppressed(decision::Suppression::Unverified), 1)]);
    assert_eq!(story.settled, [(forged.id, 1)]);

    story.verdict = Some(Checked::NoDoubt);
    story.see(real).told(&["api CrashLoopBackOff firing"]);
}

#[test]
fn the_next_one_speaks_when_the_first_is_not_believed() {
    let (forged, real) = (pod("CrashLoopBackOff", "n1", "api-1"), pod("CrashLoopBackOff", "n2", "api-2"));
    let mut story = Story::begin();
    story.verdict = None;
    story.see(forged).see(Finding { since: START + SECOND, ..real });
    let check = story.checks.pop().expect("the oldest is read first");
    assert_eq!(&*check.pod, "api-1");
    story.verdict = Some(Checked::NoDoubt);
    story.dedupe.on_checked(&check, Checked::Mismatch, story.now);
    story.run().told(&["api CrashLoopBackOff firing"]);
}

#[test]
fn what_there_is_no_room_for_is_shed_and_settled() {
    let mut story = Story::begin();
    story.dedupe.settings = Arc::new(Settings { findings_max: 1, ..(*story.dedupe.settings).clone() });
    let (first, second) = (pod("CrashLoopBackOff", "n1", "api-1"), pod("OOMKilled", "n1", "api-2"));
    story.see(first).see(second.clone());
    story.told(&["api CrashLoopBackOff firing"]).accounts(&[(TOLD, 1), (Decision::Shed, 1)]);
    assert!(story.settled.contains(&(second.id, 1)));
}

#[test]
fn what_there_is_no_room_for_counts_once_however_often_it_is_reported() {
    let mut story = Story::begin();
    story.dedupe.settings = Arc::new(Settings { findings_max: 1, ..(*story.dedupe.settings).clone() });
    let (first, second) = (pod("CrashLoopBackOff", "n1", "api-1"), pod("OOMKilled", "n1", "api-2"));
    story.see(first.clone()).see(second.clone()).see(second.clone()).full_report("n1", &[]).see(second.clone());
    story.accounts(&[(TOLD, 1), (Decision::Shed, 1)]);
    let next = again(second.clone(), 2, START + SECOND);
    story.see(next.clone()).see(cleared(next.clone())).accounts(&[(TOLD, 1), (Decision::Shed, 2)]);
    // Its observer has forgotten it, and sees the same again.
    story.see(second.clone()).full_report("n1", &[&second]).see(second.clone());
    story.accounts(&[(TOLD, 1), (Decision::Shed, 4)]);
    // There is room: what was shed is told after all.
    story.see(cleared(first)).see(second).accounts(&[(TOLD, 2), (Decision::Shed, 3)]);
}

#[test]
fn of_what_there_is_no_room_for_no_more_is_remembered_than_there_is_room_and_nothing_of_a_node_that_is_gone() {
    let mut story = Story::begin();
    story.dedupe.settings = Arc::new(Settings { findings_max: 2, ..(*story.dedupe.settings).clone() });
    let on = |node: &str, number: u32| pod("OOMKilled", node, &format!("api-{number}"));
    story.see(on("n1", 0)).see(on("n1", 1)).see(on("n2", 2)).see(on("n3", 3)).see(on("n2", 2)).see(on("n3", 3));
    story.accounts(&[(TOLD, 1), (MERGED, 1), (Decision::Shed, 2)]);
    story.dedupe.on_node_gone(&"n2".into(), story.now);
    story.see(on("n3", 3)).see(on("n2", 2)).accounts(&[(TOLD, 1), (MERGED, 1), (Decision::Shed, 3)]);
    // The third takes the place of all: they may count again.
    story.see(on("n3", 4)).see(on("n3", 3)).accounts(&[(TOLD, 1), (MERGED, 1), (Decision::Shed, 5)]);
}

#[test]
fn a_sink_that_is_taken_away_keeps_nothing_waiting() {
    let one = pod("CrashLoopBackOff", "n1", "api-1");
    let mut story = Story::with_sinks(&[("gone", SinkSettings::default()), ("stays", SinkSettings::default())]);
    story.sink = None;
    story.see(one.clone());
    let mut settings = (*story.dedupe.settings).clone();
    settings.sinks.remove("gone");
    story.waiting.retain(|(sink, ..)| &**sink == "stays");
    story.dedupe.configure(Arc::new(settings), story.now);
    story.run();
    assert_eq!(story.settled, []);
    story.sink_answers(Fate::Delivered);
    assert_eq!(story.settled, [(one.id, 1)]);
}

/// What the outbox would send for `intent` now.
fn rendered(story: &Story, issue: &IssueKey, intent: &Intent) -> Option<(Arc<str>, Arc<str>)> {
    crate::forward::notification::record(&story.dedupe.settings, story.dedupe.issue(issue)?, std::iter::empty(), intent)
}

#[test]
fn an_issue_whose_last_finding_is_gone_still_has_something_to_say_of_its_end() {
    let one = pod("CrashLoopBackOff", "n1", "api-1");
    let mut story = Story::begin();
    story.see(one.clone());
    story.sink = None;
    story.see(cleared(one.clone()));
    let flap = Finding { state: State::Pending, ..again(one, 2, START + SECOND) };
    story.see(flap.clone()).see(cleared(flap));
    let (_, issue, end) = story.waiting.last().cloned().expect("its end waits for the sink");
    let members = &story.dedupe.issue(&issue).expect("its end is still to be told").members;
    assert!(members.is_empty(), "{members:?}");
    let (_, body) = rendered(&story, &issue, &end).expect("there is something to say");
    assert!(body.contains("api-1"), "{body}");
    story.sink_answers(Fate::Delivered);
    assert_eq!(story.dedupe.issues().count(), 0);
}

#[test]
fn the_end_that_a_slow_sink_has_yet_to_hear_keeps_its_name_when_the_next_episode_begins() {
    let optional = SinkSettings { required: false, ..SinkSettings::default() };
    let one = pod("CrashLoopBackOff", "n1", "api-1");
    let mut story = Story::with_sinks(&[("chat", optional)]);
    story.see(one.clone());
    (story.sink, story.verdict) = (None, None);
    story.see(cleared(one.clone()));
    let (sink, issue, end) = story.waiting.pop().expect("the end of the first waits for the sink");
    let before = rendered(&story, &issue, &end);
    story.see(again(one, 2, START + SECOND));
    let check = story.checks.pop().expect("the second's pod is to be read");
    assert_eq!(rendered(&story, &issue, &end), before, "the same key, the same body");
    assert!(before.is_some());

    story.dedupe.on_fate(&sink, &issue, &end, Fate::Delivered, story.now);
    story.verdict = Some(Checked::NoDoubt);
    story.dedupe.on_checked(&check, Checked::NoDoubt, story.now);
    story.run();
    assert_eq!(story.waiting.last().map(|(_, _, intent)| intent.episode), Some(Incarnation(2)));
    assert_eq!(rendered(&story, &issue, &end), None, "nobody has to hear of the first any more");
}

#[test]
fn an_issue_that_has_become_worse_is_told_again_and_reaches_who_was_spared_before() {
    let strict = SinkSettings { min_severity: rules::Severity::Critical, ..SinkSettings::default() };
    let mild = Finding { severity: rules::Severity::Warning, ..pod("CrashLoopBackOff", "n1", "api-1") };
    let bad = Finding { severity: rules::Severity::Critical, ..pod("CrashLoopBackOff", "n1", "api-2") };
    let mut story = Story::with_sinks(&[("all", SinkSettings::default()), ("pager", strict)]);
    story.see(mild).told(&["api CrashLoopBackOff firing"]);
    story.see(bad).told(&["api CrashLoopBackOff firing"; 3]).accounts(&[(TOLD, 1), (MERGED, 1)]);
}

#[test]
fn who_missed_the_end_of_an_issue_hears_that_it_is_back_however_mild_and_in_the_end_that_it_is_over() {
    let pager = SinkSettings { min_severity: rules::Severity::Critical, required: false, ..SinkSettings::default() };
    let bad = Finding { severity: rules::Severity::Critical, ..pod("CrashLoopBackOff", "n1", "api-1") };
    let mild = Finding { severity: rules::Severity::Warning, ..again(bad.clone(), 2, START + SECOND) };
    let mut story = Story::with_sinks(&[("all", SinkSettings::default()), ("pager", pager)]);
    story.see(bad.clone());
    story.sink = None;
    story.see(cleared(bad));
    let (all, issue, end) = story.waiting.remove(0);
    assert_eq!(&*all, "all");
    story.dedupe.on_fate(&all, &issue, &end, Fate::Delivered, story.now);
    story.waiting.clear();
    let heard = |story: &mut Story| -> Vec<_> {
        std::mem::take(&mut story.waiting).into_iter().map(|(sink, _, intent)| (sink, intent.status)).collect()
    };
    story.sink_answers(Fate::Delivered).sink = None;
    story.see(mild.clone());
    assert_eq!(heard(&mut story), [("all".into(), Status::Firing), ("pager".into(), Status::Firing)]);
    story.see(cleared(mild));
    assert_eq!(heard(&mut story), [("all".into(), Status::Resolved), ("pager".into(), Status::Resolved)]);
}

/// Through the pipeline and its outboxes: what `v` means outside.
#[test]
fn who_heard_late_that_it_began_hears_that_it_is_over() {
    use crate::forward::outbox::{Next, Outcome};
    use crate::pipeline::Pipeline;

    let one = pod("CrashLoopBackOff", "n1", "api-1");
    let sinks = BTreeMap::from([
        (Arc::from("first"), SinkSettings::default()),
        (Arc::from("slow"), SinkSettings { required: false, ..SinkSettings::default() }),
    ]);
    let settings = Settings { sinks, ..Settings::default() };
    let mut pipeline = Pipeline::new(settings, wire::Epoch(1), 1, START);
    pipeline.on_expected(std::iter::empty(), START);
    let (first, slow): (Arc<str>, Arc<str>) = ("first".into(), "slow".into());
    let now = START;
    let mut said: Vec<String> = Vec::new();
    let see = |pipeline: &mut Pipeline, finding: Finding| {
        pipeline.dedupe_mut().on_findings(&"n1".into(), vec![Entry { revision: 1, finding }], now);
        pipeline.on_tick(now);
    };
    see(&mut pipeline, one.clone());
    for check in pipeline.take_checks() {
        pipeline.on_checked(&check, Checked::NoDoubt, now);
    }
    // It is with both; the slow one does not answer yet.
    let Next::Send(_) = pipeline.next(&first, now) else { panic!() };
    let Next::Send(records) = pipeline.next(&slow, now) else { panic!() };
    said.extend(records.iter().map(|record| format!("{:?}", record.intent.status)));
    pipeline.on_outcome(&first, Outcome::Delivered, now);
    see(&mut pipeline, cleared(one.clone()));
    let Next::Send(_) = pipeline.next(&first, now) else { panic!() };
    pipeline.on_outcome(&first, Outcome::Delivered, now);
    // The same again; its pod is being read when the slow sink answers, and turns out to be another's.
    see(&mut pipeline, again(one.clone(), 2, now + SECOND));
    pipeline.on_outcome(&slow, Outcome::Delivered, now);
    if let Next::Send(records) = pipeline.next(&slow, now) {
        said.extend(records.iter().map(|record| format!("{:?}", record.intent.status)));
        pipeline.on_outcome(&slow, Outcome::Delivered, now);
    }
    for check in pipeline.take_checks() {
        pipeline.on_checked(&check, Checked::Mismatch, now);
    }
    see(&mut pipeline, cleared(again(one.clone(), 2, now + SECOND)));
    while let Next::Send(records) = pipeline.next(&slow, now) {
        said.extend(records.iter().map(|record| format!("{:?}", record.intent.status)));
        pipeline.on_outcome(&slow, Outcome::Delivered, now);
    }
    assert_eq!(said, ["Firing", "Resolved"], "it believes for ever that it is there");
}
