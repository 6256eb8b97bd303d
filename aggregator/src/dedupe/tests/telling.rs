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
fn an_issue_that_the_sink_refuses_is_settled_and_its_end_is_not_sent() {
    let one = pod("CrashLoopBackOff", "n1", "api-1");
    let mut story = Story::begin();
    story.sink = Some(Fate::Quarantined);
    story.see(one.clone()).accounts(&[(suppressed(decision::Suppression::Quarantined), 1)]);
    story.see(cleared(one)).told(&["api CrashLoopBackOff firing"]);
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
