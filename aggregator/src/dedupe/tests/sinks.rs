//! Sinks that come and go while something is open.

use super::*;

impl Story {
    /// Goes by these sinks from now on.
    fn sinks(&mut self, sinks: &[(&str, SinkSettings)]) -> &mut Self {
        let sinks = sinks.iter().map(|(name, sink)| (Arc::from(*name), sink.clone())).collect();
        self.dedupe.configure(Arc::new(Settings { sinks, ..(*self.dedupe.settings).clone() }), self.now);
        self.told.clear();
        self.run()
    }

    /// The sink `picky` refuses what it was handed, and others take it.
    fn picky_refuses(&mut self) -> &mut Self {
        for (sink, key, intent) in std::mem::take(&mut self.waiting) {
            let fate = if &*sink == "picky" { Fate::Quarantined } else { Fate::Delivered };
            self.dedupe.on_fate(&sink, &key, &intent, fate, self.now);
        }
        self.run()
    }

    /// Which sinks have been handed what and have not answered.
    fn handed(&mut self) -> Vec<(Arc<str>, Status)> {
        self.waiting.iter().map(|(sink, _, intent)| (Arc::clone(sink), intent.status)).collect()
    }
}

fn any() -> SinkSettings {
    SinkSettings::default()
}

fn pager() -> SinkSettings {
    SinkSettings { min_severity: rules::Severity::Critical, ..SinkSettings::default() }
}

fn critical() -> Finding {
    Finding { severity: rules::Severity::Critical, ..pod("CrashLoopBackOff", "n1", "api-1") }
}

fn mild() -> Finding {
    Finding { severity: rules::Severity::Warning, ..critical() }
}

#[test]
fn a_sink_that_is_new_hears_of_what_is_open_and_that_it_is_over() {
    let mut story = Story::with_sinks(&[("first", any())]);
    story.see(mild());
    story.sink = None;
    story.sinks(&[("first", any()), ("second", any())]);
    assert!(story.handed().contains(&("second".into(), Status::Firing)), "{:?}", story.waiting);
    story.sink_answers(Fate::Delivered).sink = None;
    story.see(cleared(mild()));
    assert_eq!(story.handed(), [("first".into(), Status::Resolved), ("second".into(), Status::Resolved)]);
    story.sink_answers(Fate::Delivered).accounts(&[(TOLD, 1)]);
    assert_eq!(story.dedupe.issues().count(), 0);
}

#[test]
fn sinks_that_stay_as_they_were_hear_nothing_when_another_goes() {
    let mut story = Story::with_sinks(&[("first", any()), ("second", any())]);
    story.see(mild());
    story.sinks(&[("first", any())]).told(&[]);
    story.sinks(&[("first", SinkSettings { rate_per_minute: Some(7), ..any() })]).told(&[]);
}

#[test]
fn a_sink_that_is_not_for_issues_of_that_severity_hears_of_it_once_it_is() {
    let mut story = Story::with_sinks(&[("first", any()), ("pager", pager())]);
    story.see(mild()).told(&["api CrashLoopBackOff firing"]);
    story.sinks(&[("first", any()), ("new", pager()), ("pager", pager())]).told(&[]);
    story.sink = None;
    story.sinks(&[("first", any()), ("pager", any())]);
    assert!(story.handed().contains(&("pager".into(), Status::Firing)), "{:?}", story.waiting);
}

#[test]
fn a_sink_that_was_away_is_new_when_it_is_back() {
    let mut story = Story::with_sinks(&[("first", any()), ("second", any())]);
    story.see(mild());
    story.sinks(&[("first", any())]);
    story.sink = None;
    story.sinks(&[("first", any()), ("second", any())]);
    assert!(story.handed().contains(&("second".into(), Status::Firing)), "{:?}", story.waiting);
}

#[test]
fn what_no_sink_wanted_is_told_when_one_does_and_the_books_balance() {
    let mut story = Story::with_sinks(&[("pager", pager())]);
    story.see(mild()).told(&[]).accounts(&[(suppressed(decision::Suppression::Unrouted), 1)]);
    story.sinks(&[("pager", pager()), ("wary", pager())]).told(&[]);
    story.sinks(&[("all", any())]).told(&["api CrashLoopBackOff firing"]).accounts(&[(TOLD, 1)]);
    story.see(cleared(mild()));
    assert_eq!(story.dedupe.issues().count(), 0);
}

#[test]
fn what_is_over_or_on_its_way_to_be_is_not_told_to_a_sink_that_is_new() {
    let mut story = Story::with_sinks(&[("first", any())]);
    story.see(mild());
    story.sink = None;
    story.see(cleared(mild()));
    story.sinks(&[("first", any()), ("second", any())]);
    assert_eq!(story.handed(), [("first".into(), Status::Resolved)]);
    story.sink_answers(Fate::Delivered);
    assert_eq!(story.dedupe.issues().count(), 0);
}

#[test]
fn what_is_being_verified_is_told_to_nobody_before() {
    let mut story = Story::with_sinks(&[("first", any())]);
    story.verdict = None;
    story.see(mild());
    story.sinks(&[("first", any()), ("second", any())]).told(&[]);
    let check = story.checks.pop().expect("its pod is being read");
    story.dedupe.on_checked(&check, Checked::NoDoubt, story.now);
    story.run().told(&["api CrashLoopBackOff firing"; 2]);
}

#[test]
fn when_the_only_sink_goes_before_it_has_heard_the_one_that_comes_hears_of_it_instead() {
    let mut story = Story::with_sinks(&[("first", any())]);
    story.sink = None;
    story.see(mild());
    story.waiting.clear();
    story.sinks(&[]).accounts(&[(suppressed(decision::Suppression::Unrouted), 1)]);
    story.sinks(&[("second", any())]);
    assert_eq!(story.handed(), [("second".into(), Status::Firing)]);
    story.sink_answers(Fate::Delivered).accounts(&[(TOLD, 1)]);
}

#[test]
fn a_sink_that_is_no_longer_required_keeps_nothing_waiting() {
    let mut story = Story::with_sinks(&[("dead", any())]);
    story.sink = None;
    story.see(mild());
    story.sinks(&[("dead", SinkSettings { required: false, ..any() })]);
    story.accounts(&[(TOLD, 1)]);
}

#[test]
fn a_sink_that_is_no_longer_required_keeps_no_end_waiting() {
    let mut story = Story::with_sinks(&[("dead", any())]);
    story.see(mild());
    story.sink = None;
    story.see(cleared(mild()));
    story.sinks(&[("dead", SinkSettings { required: false, ..any() })]);
    let mut issues = story.dedupe.issues();
    let episode = issues.next().and_then(|issue| issue.episode.as_ref()).expect("it has yet to be told");
    assert_eq!(episode.phase, issue::Phase::Resolved);
}

#[test]
fn a_sink_that_is_made_stricter_before_it_heard_keeps_nothing_waiting() {
    let pager = SinkSettings { min_severity: rules::Severity::Critical, ..any() };
    let mut story = Story::with_sinks(&[("all", any()), ("dead", any())]);
    story.sink = None;
    story.see(mild());
    for (sink, key, intent) in std::mem::take(&mut story.waiting).into_iter().filter(|waiting| &*waiting.0 == "all") {
        story.dedupe.on_fate(&sink, &key, &intent, Fate::Delivered, story.now);
    }
    story.run();
    story.sinks(&[("all", any()), ("dead", pager)]);
    story.accounts(&[(TOLD, 1)]);
}

#[test]
fn cause_and_symptom_that_nobody_wanted_are_told_as_if_they_came_together() {
    let mut worst = std::collections::BTreeSet::new();
    for index in 0..40 {
        let mut story = Story::with_sinks(&[]);
        let name = format!("n{index}");
        story.see(node("NodeNotReady", &name));
        // There are no agents: the aggregator sees the pods itself.
        story.report(&"".into(), vec![pod("NotReady", &name, "api-1")]);
        story.sinks(&[("all", any())]);
        worst.insert(story.told.clone().into_iter().map(|t| t.replace(&name, "n")).collect::<Vec<_>>());
    }
    let mut story = Story::with_sinks(&[("all", any())]);
    story.see(node("NodeNotReady", "n"));
    story.report(&"".into(), vec![pod("NotReady", "n", "api-1")]);
    assert_eq!(worst.into_iter().collect::<Vec<_>>(), [story.told.clone()]);
}

#[test]
fn what_one_sink_refused_and_another_took_is_told() {
    let mut story = Story::with_sinks(&[("picky", any())]);
    story.sink = Some(Fate::Quarantined);
    story.see(mild());
    story.sink = None;
    story.sinks(&[("picky", any()), ("second", any())]);
    story.picky_refuses();
    story.accounts(&[(TOLD, 1)]);
}

#[test]
fn what_a_sink_refused_is_told_to_one_that_comes_or_changes_and_when_it_is_worse() {
    let mut story = Story::with_sinks(&[("picky", any()), ("pager", pager())]);
    story.sink = Some(Fate::Quarantined);
    story.see(mild());
    for (sinks, heard) in [
        ([("picky", any()), ("pager", pager()), ("second", any())], "second"),
        ([("picky", any()), ("pager", any()), ("second", any())], "pager"),
    ] {
        story.sink = None;
        story.sinks(&sinks);
        let handed = story.handed();
        assert!(handed.contains(&(heard.into(), Status::Firing)), "{handed:?}");
        story.picky_refuses().accounts(&[(TOLD, 1)]);
    }
    story.sink = None;
    story.see(critical());
    assert!(story.handed().contains(&("picky".into(), Status::Firing)), "{:?}", story.waiting);
    story.picky_refuses();
    story.sink = None;
    story.see(cleared(critical()));
    story.picky_refuses().accounts(&[(TOLD, 1)]);
    assert_eq!(story.dedupe.issues().count(), 0);
}

#[test]
fn a_cause_that_one_sink_refused_and_another_took_explains_its_symptoms() {
    let mut story = Story::with_sinks(&[("picky", any())]);
    story.sink = Some(Fate::Quarantined);
    story.see(node("NodeNotReady", "n1"));
    story.sink = None;
    story.sinks(&[("picky", any()), ("second", any())]);
    story.picky_refuses();
    story.told.clear();
    story.see(pod("NotReady", "n1", "api-1")).told(&[]);
}

#[test]
fn what_may_be_over_is_told_to_nobody_new_before_all_observers_have_reported() {
    let mut story = Story::with_sinks(&[("first", any())]);
    story.see(mild());
    story.dedupe.on_other_observers();
    story.see(cleared(mild()));
    story.sinks(&[("first", any()), ("second", any())]).told(&[]);
    story.see(again(mild(), 2, START + SECOND)).told(&[]);
    story.dedupe.on_resynced(story.now);
    story.run().told(&["api CrashLoopBackOff firing"; 2]);
}

#[test]
fn what_was_refused_before_all_observers_have_reported_is_told_to_a_sink_that_came_meanwhile() {
    let mut story = Story::with_sinks(&[("picky", any())]);
    story.sink = Some(Fate::Quarantined);
    story.see(mild());
    story.dedupe.on_other_observers();
    story.sink = None;
    story.sinks(&[("picky", any()), ("second", any())]).told(&[]);
    story.dedupe.on_resynced(story.now);
    story.run().sink_answers(Fate::Delivered).accounts(&[(TOLD, 1)]);
}

#[test]
fn a_sink_that_has_refused_and_was_away_is_asked_when_it_is_back() {
    let mut story = Story::with_sinks(&[("picky", any()), ("second", any())]);
    story.sink = None;
    story.see(mild());
    story.picky_refuses();
    story.sinks(&[("second", any())]);
    story.sinks(&[("picky", any()), ("second", any())]);
    assert!(story.handed().contains(&("picky".into(), Status::Firing)), "{:?}", story.waiting);
}

#[test]
fn a_sink_that_stays_keeps_waiting_what_it_must_hear() {
    let mut story = Story::with_sinks(&[("first", any())]);
    story.sink = None;
    story.see(mild());
    story.sinks(&[("first", SinkSettings { rate_per_minute: Some(7), ..any() })]);
    story.accounts(&[(Decision::Pending(Waiting::Queued), 1)]);
}

#[test]
fn an_end_that_nobody_is_left_to_hear_of_is_forgotten_also_when_the_next_beginning_is_on_its_way() {
    for (verdict, is_back, left) in [(Some(Checked::NoDoubt), false, 0), (None, true, 1)] {
        let optional = SinkSettings { required: false, ..any() };
        let mut story = Story::with_sinks(&[("first", any()), ("slow", optional)]);
        story.see(mild());
        story.sink = None;
        story.see(cleared(mild()));
        story.waiting.retain(|(sink, ..)| &**sink == "first");
        story.sink_answers(Fate::Delivered);
        story.verdict = verdict;
        if is_back {
            story.see(again(mild(), 2, START + SECOND));
        }
        let previous = |story: &Story| story.dedupe.issues().filter(|issue| issue.previous.is_some()).count();
        assert_eq!((story.dedupe.issues().count(), previous(&story)), (1, usize::from(is_back)));
        story.sinks(&[("first", any())]);
        assert_eq!((story.dedupe.issues().count(), previous(&story)), (left, 0));
    }
}
