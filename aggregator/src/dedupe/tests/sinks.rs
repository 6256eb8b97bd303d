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
