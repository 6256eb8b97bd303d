//! One sink's outbox, in virtual time.

use rules::{Kind, Owner};

use super::*;

const START: Time = Time::from_millis(1_000_000_000);
const SECOND: Duration = Duration::from_secs(1);

/// An outbox and the clock that drives it.
struct Sink {
    outbox: Outbox,
    now: Time,
}

impl Sink {
    fn new(settings: SinkSettings) -> Self {
        Self { outbox: Outbox::new(settings, 1, START), now: START }
    }

    fn unlimited() -> Self {
        Self::new(SinkSettings { rate_per_minute: None, ..SinkSettings::default() })
    }

    fn say(&mut self, issue: &str, revision: u32, status: Status) -> Option<Fate> {
        self.say_as(issue, revision, status, Severity::Warning)
    }

    fn say_as(&mut self, issue: &str, revision: u32, status: Status, severity: Severity) -> Option<Fate> {
        self.outbox.enqueue(&key(issue), Intent { episode: Incarnation(1), revision, status, severity }, self.now)
    }

    /// What it sends now, as `issue.revision`; the bodies carry the time of their making.
    fn sends(&mut self) -> Vec<Record> {
        let now = self.now;
        let render = |issue: &Arc<IssueKey>, intent: &Intent| {
            Some((Arc::from(format!("{}.{}", issue.owner.name, intent.revision)), Arc::from(now.to_string())))
        };
        match self.outbox.next(now, render) {
            Next::Send(records) => records,
            Next::WaitUntil(_) | Next::Idle => Vec::new(),
        }
    }

    #[track_caller]
    fn check_sends(&mut self, expected: &[&str]) -> &mut Self {
        let sent = self.sends();
        assert_eq!(sent.iter().map(|record| &*record.key).collect::<Vec<_>>(), expected);
        self
    }

    fn answers(&mut self, outcome: Outcome) -> Vec<(String, u32, Fate)> {
        let fates = self.outbox.on_outcome(outcome, self.now);
        fates.into_iter().map(|(issue, told, fate)| (issue.owner.name.to_string(), told.revision, fate)).collect()
    }

    fn waits_until(&mut self) -> Option<Time> {
        match self.outbox.next(self.now, |_, _| None) {
            Next::WaitUntil(at) => Some(at),
            Next::Send(_) | Next::Idle => None,
        }
    }
}

fn key(issue: &str) -> Arc<IssueKey> {
    Arc::new(IssueKey {
        namespace: "shop".into(),
        owner: Owner { kind: "Deployment".into(), name: issue.into() },
        container: "app".into(),
        kind: Kind::named("CrashLoopBackOff").expect("a kind of the catalogue"),
    })
}

const FIRING: Status = Status::Firing;
const RESOLVED: Status = Status::Resolved;

#[test]
fn what_is_said_is_sent_once() {
    let mut sink = Sink::unlimited();
    sink.say("a", 1, FIRING);
    sink.check_sends(&["a.1"]);
    assert_eq!(sink.outbox.next(START, |_, _| None), Next::Idle, "one batch at a time");
    assert_eq!(sink.answers(Outcome::Delivered), [("a".to_owned(), 1, Fate::Delivered)]);
    sink.check_sends(&[]);
    assert!(sink.outbox.is_empty());
}

#[test]
fn opened_and_resolved_before_it_left_is_one_record() {
    let mut sink = Sink::unlimited();
    sink.say("a", 1, FIRING);
    sink.say("a", 2, RESOLVED);
    sink.check_sends(&["a.2"]);
    assert_eq!(sink.answers(Outcome::Delivered), [("a".to_owned(), 2, Fate::Delivered)]);
    assert!(sink.outbox.entries.is_empty(), "nothing is kept of what is over");
}

#[test]
fn what_may_have_been_received_is_sent_again_as_it_was() {
    let mut sink = Sink::unlimited();
    sink.say("a", 1, FIRING);
    let first = sink.sends();
    sink.answers(Outcome::Failed);
    sink.say("a", 2, RESOLVED);
    sink.now = START + BACKOFF_MAX;
    assert_eq!(sink.sends(), first, "the same key and the same body, though there is news");
    assert_eq!(sink.answers(Outcome::Delivered), [("a".to_owned(), 1, Fate::Delivered)]);
    sink.check_sends(&["a.2"]);
}

#[test]
fn an_end_that_was_taken_back_before_it_left_is_not_sent() {
    let mut sink = Sink::unlimited();
    sink.say("a", 1, FIRING);
    sink.check_sends(&["a.1"]).answers(Outcome::Delivered);
    sink.say("a", 2, RESOLVED);
    assert_eq!(sink.say("a", 3, FIRING), Some(Fate::Delivered), "the sink knows that already");
    sink.check_sends(&[]);
    assert!(sink.outbox.is_empty());
}

#[test]
fn an_end_that_was_taken_back_while_its_beginning_was_on_its_way_is_not_sent() {
    let mut sink = Sink::unlimited();
    sink.say("a", 1, FIRING);
    sink.check_sends(&["a.1"]);
    sink.say("a", 2, RESOLVED);
    sink.say("a", 3, FIRING);
    assert_eq!(sink.answers(Outcome::Delivered), [("a".to_owned(), 3, Fate::Delivered)]);
    sink.check_sends(&[]);
}

#[test]
fn critical_goes_first_and_then_what_waits_longest() {
    let mut sink = Sink::new(SinkSettings { batch_max: 2, rate_per_minute: None, ..SinkSettings::default() });
    sink.say("early", 1, FIRING);
    sink.now = START + SECOND;
    sink.say("late", 1, FIRING);
    sink.say_as("urgent", 1, FIRING, Severity::Critical);
    sink.check_sends(&["urgent.1", "early.1"]).answers(Outcome::Delivered);
    sink.check_sends(&["late.1"]);
}

#[test]
fn what_the_limit_holds_back_waits_and_coalesces() {
    let mut sink = Sink::new(SinkSettings { rate_per_minute: Some(2), ..SinkSettings::default() });
    for issue in ["a", "b", "c"] {
        sink.say(issue, 1, FIRING);
    }
    sink.check_sends(&["a.1", "b.1"]).answers(Outcome::Delivered);
    assert_eq!(sink.waits_until(), Some(START + 30 * SECOND));
    sink.say("c", 2, RESOLVED);
    sink.now = START + 30 * SECOND;
    sink.check_sends(&["c.2"]);
}

#[test]
fn a_retry_takes_nothing_from_the_limit() {
    let mut sink = Sink::new(SinkSettings { rate_per_minute: Some(1), ..SinkSettings::default() });
    sink.say("a", 1, FIRING);
    sink.check_sends(&["a.1"]).answers(Outcome::Throttled(Some(SECOND)));
    sink.now = START + SECOND;
    sink.check_sends(&["a.1"]);
}

#[test]
fn a_sink_that_asks_for_time_gets_it_up_to_a_bound() {
    let mut sink = Sink::unlimited();
    sink.say("a", 1, FIRING);
    sink.check_sends(&["a.1"]).answers(Outcome::Throttled(Some(7 * SECOND)));
    assert_eq!(sink.waits_until(), Some(START + 7 * SECOND));
    sink.now = START + 7 * SECOND;
    sink.check_sends(&["a.1"]).answers(Outcome::Throttled(Some(Duration::from_hours(1_000))));
    assert_eq!(sink.waits_until(), Some(sink.now + BACKOFF_MAX));
}

#[test]
fn pauses_grow_with_failures_and_have_a_bound() {
    let mut sink = Sink::unlimited();
    sink.say("a", 1, FIRING);
    let mut pauses = Vec::new();
    for _ in 0..40 {
        sink.check_sends(&["a.1"]).answers(Outcome::Failed);
        let until = sink.outbox.not_before;
        pauses.push(until.since(sink.now));
        sink.now = until;
    }
    assert!(pauses.iter().all(|pause| *pause <= BACKOFF_MAX));
    let (early, late): (Duration, Duration) = (pauses[..5].iter().sum(), pauses[35..].iter().sum());
    assert!(late > 4 * early, "{early:?} early, {late:?} late");
    assert_eq!(sink.outbox.health(), Health::Failing(40));
}

#[test]
fn a_failing_sink_is_tried_with_single_records() {
    let mut sink = Sink::unlimited();
    for issue in ["a", "b", "c"] {
        sink.say(issue, 1, FIRING);
    }
    sink.check_sends(&["a.1", "b.1", "c.1"]).answers(Outcome::Failed);
    sink.now = START + BACKOFF_MAX;
    sink.check_sends(&["a.1"]).answers(Outcome::Delivered);
    sink.check_sends(&["b.1", "c.1"]);
}

#[test]
fn a_refused_token_holds_everything_until_it_changes() {
    let mut sink = Sink::unlimited();
    sink.say("a", 1, FIRING);
    sink.check_sends(&["a.1"]);
    assert_eq!(sink.answers(Outcome::Unauthorized), []);
    assert_eq!(sink.outbox.health(), Health::Unauthorized);
    assert_eq!(sink.waits_until(), Some(START + UNAUTHORIZED_PROBE));
    sink.outbox.on_credentials_changed(START);
    sink.check_sends(&["a.1"]);
}

#[test]
fn a_sink_that_fails_is_tried_at_once_when_its_address_changes() {
    for outcome in [Outcome::Failed, Outcome::Throttled(Some(Duration::from_mins(5)))] {
        let mut sink = Sink::unlimited();
        sink.say("a", 1, FIRING);
        sink.check_sends(&["a.1"]);
        sink.answers(outcome);
        assert!(sink.waits_until() > Some(START));
        sink.outbox.on_credentials_changed(START);
        sink.check_sends(&["a.1"]);
    }
}

#[test]
fn one_record_that_is_refused_is_found_and_the_rest_goes_through() {
    let mut sink = Sink::unlimited();
    for number in 0..10 {
        sink.say(&format!("i{number}"), 1, FIRING);
    }
    let mut fates = Vec::new();
    for _ in 0..30 {
        let batch = sink.sends();
        let is_refused = batch.iter().any(|record| &*record.key == "i7.1");
        fates.extend(sink.answers(if is_refused { Outcome::Refused } else { Outcome::Delivered }));
    }
    fates.sort();
    let refused: Vec<_> = fates.iter().filter(|(.., fate)| *fate == Fate::Quarantined).collect();
    assert_eq!(refused, [&("i7".to_owned(), 1, Fate::Quarantined)]);
    assert_eq!(fates.len(), 10, "each has one fate: {fates:?}");
    assert!(sink.outbox.is_empty());
}

#[test]
fn the_end_of_what_was_refused_is_not_sent() {
    let mut sink = Sink::unlimited();
    sink.say("a", 1, FIRING);
    sink.check_sends(&["a.1"]);
    sink.say("a", 2, RESOLVED);
    assert_eq!(sink.answers(Outcome::Refused), [("a".to_owned(), 2, Fate::Quarantined)]);
    sink.check_sends(&[]);
}

#[test]
fn what_was_refused_is_not_sent_again_because_it_was_said_again_meanwhile_but_because_it_is_worse() {
    for (severity, fate, then) in [(Severity::Warning, 2, vec![]), (Severity::Critical, 1, vec!["a.2"])] {
        let mut sink = Sink::unlimited();
        sink.say("a", 1, FIRING);
        sink.check_sends(&["a.1"]);
        assert_eq!(sink.say_as("a", 2, FIRING, severity), None);
        assert_eq!(sink.answers(Outcome::Refused), [("a".to_owned(), fate, Fate::Quarantined)]);
        sink.check_sends(&then);
    }
}

#[test]
fn hours_of_outage_cost_memory_by_issue_and_not_by_message() {
    let mut sink = Sink::unlimited();
    for revision in 1..=10_000 {
        let status = if revision % 2 == 1 { FIRING } else { RESOLVED };
        sink.say("a", revision, status);
        sink.now = sink.now + SECOND;
    }
    assert_eq!(sink.outbox.entries.len(), 1);
    sink.check_sends(&["a.10000"]);
}

#[test]
fn other_settings_lose_nothing_that_waits() {
    let mut sink = Sink::new(SinkSettings { rate_per_minute: Some(1), ..SinkSettings::default() });
    sink.say("a", 1, FIRING);
    sink.say("b", 1, FIRING);
    sink.check_sends(&["a.1"]).answers(Outcome::Delivered);
    sink.check_sends(&[]);
    sink.outbox.configure(SinkSettings { rate_per_minute: None, ..SinkSettings::default() }, sink.now);
    sink.check_sends(&["b.1"]);
}

#[test]
fn a_sink_that_refuses_to_hear_of_an_end_hears_of_the_next_beginning() {
    let mut sink = Sink::unlimited();
    sink.say("a", 1, FIRING);
    sink.check_sends(&["a.1"]).answers(Outcome::Delivered);
    sink.say("a", 2, RESOLVED);
    sink.check_sends(&["a.2"]);
    assert_eq!(sink.answers(Outcome::Refused), [("a".to_owned(), 2, Fate::Quarantined)]);
    assert_eq!(sink.say("a", 3, FIRING), None);
    sink.check_sends(&["a.3"]);
}

#[test]
fn what_was_refused_is_not_sent_again_before_it_is_worse_and_is_forgotten_when_it_is_over() {
    let mut sink = Sink::unlimited();
    sink.say("a", 1, FIRING);
    sink.check_sends(&["a.1"]).answers(Outcome::Refused);
    assert_eq!(sink.say("a", 2, FIRING), Some(Fate::Quarantined));
    sink.say_as("a", 3, FIRING, Severity::Critical);
    assert_eq!(sink.say("a", 4, RESOLVED), Some(Fate::Quarantined), "nothing was heard of it");
    sink.check_sends(&[]);
    sink.outbox.on_over(&key("a"));
    assert!(sink.outbox.entries.is_empty(), "nothing is kept of what is over");
}

#[test]
fn who_took_the_beginning_and_refused_that_it_is_worse_hears_of_the_end() {
    let mut sink = Sink::unlimited();
    sink.say("a", 1, FIRING);
    sink.check_sends(&["a.1"]).answers(Outcome::Delivered);
    sink.say_as("a", 2, FIRING, Severity::Critical);
    sink.check_sends(&["a.2"]).answers(Outcome::Refused);
    assert_eq!(sink.say("a", 3, RESOLVED), None);
    sink.check_sends(&["a.3"]).answers(Outcome::Delivered);
    assert!(sink.outbox.entries.is_empty(), "nothing is kept of what is over");
}

#[test]
fn what_has_become_worse_is_said_again_and_what_has_become_better_is_not() {
    let mut sink = Sink::unlimited();
    sink.say_as("a", 1, FIRING, Severity::Warning);
    sink.check_sends(&["a.1"]).answers(Outcome::Delivered);
    sink.say_as("a", 2, FIRING, Severity::Critical);
    sink.check_sends(&["a.2"]).answers(Outcome::Delivered);
    assert_eq!(sink.say_as("a", 3, FIRING, Severity::Warning), Some(Fate::Delivered));
}

#[test]
fn another_episode_is_news_to_a_sink_that_knows_the_one_before() {
    let mut sink = Sink::unlimited();
    sink.say("a", 1, FIRING);
    sink.check_sends(&["a.1"]).answers(Outcome::Delivered);
    let next = Intent { episode: Incarnation(2), revision: 1, status: FIRING, severity: Severity::Warning };
    assert_eq!(sink.outbox.enqueue(&key("a"), next, sink.now), None);
}

#[test]
fn a_sink_that_asks_for_no_pause_is_left_alone_for_ours() {
    let pause_after = |asked| {
        let mut sink = Sink::unlimited();
        sink.say("a", 1, FIRING);
        sink.check_sends(&["a.1"]).answers(Outcome::Throttled(asked));
        sink.waits_until()
    };
    assert_eq!(pause_after(Some(Duration::ZERO)), pause_after(None), "the same seed, the same pause");
    assert!(pause_after(None).is_some_and(|until| until > START));
}

#[test]
fn a_clock_that_was_set_back_does_not_keep_a_sink_waiting() {
    let mut sink = Sink::unlimited();
    sink.now = START + 24 * Duration::from_hours(1);
    sink.say("a", 1, FIRING);
    sink.check_sends(&["a.1"]).answers(Outcome::Failed);
    sink.now = START;
    assert!(sink.waits_until().is_none_or(|until| until <= START + BACKOFF_MAX));
    sink.now = START + BACKOFF_MAX;
    sink.check_sends(&["a.1"]);
}
