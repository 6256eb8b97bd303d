//! A sink that has refused something: who heard that it is there hears that it is over, who heard nothing hears of no end, and
//! nobody is asked again for what it has refused, also under who leads next.

use std::time::Duration;

use rules::Severity;
use tocsin_aggregator::forward::outbox::{Outbox, Outcome};
use tocsin_aggregator::settings::SinkSettings;
use tocsin_tests::apiserver::{Container, Deployment, PodRef, PodTemplate};
use tocsin_tests::pair::{Outbound, Pair, Told};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const NODES: &[&str] = &["n1"];
const WARNING: &str = "CrashLoopBackOff api firing warning";
const CRITICAL: &str = "CrashLoopBackOff api firing critical";
const OVER: &str = "CrashLoopBackOff api resolved critical";

/// One pod, whose crashes are a warning at first.
fn begin() -> (Pair, PodRef) {
    let mut pair = Pair::with_told_log(NODES);
    becomes(&mut pair, Severity::Warning);
    let deployment = deploy(&mut pair, "api");
    pair.pass(5 * MINUTE);
    (pair, deployment.pods[0].clone())
}

/// The sink that is not required has refused that the pod crashes.
fn begin_refused() -> (Pair, PodRef) {
    let (mut pair, pod) = begin();
    pair.aside.answer = Some(Outcome::Refused);
    crash(&mut pair, &pod);
    assert_eq!(heard(&pair.aside.sent), [WARNING]);
    (pair, pod)
}

fn deploy(pair: &mut Pair, name: &str) -> Deployment {
    let template = PodTemplate::new(name, Container::new("app", "registry.example/api:1.8.2"));
    pair.world.deploy("payments", name, 1, &template, NODES)
}

fn becomes(pair: &mut Pair, severity: Severity) {
    pair.change_rules(|rules| rules.kinds.get_mut("CrashLoopBackOff").expect("a kind").severity = severity);
    pair.pass(5 * MINUTE);
}

fn crash(pair: &mut Pair, pod: &PodRef) {
    pair.change(|world| world.crash_loop(pod, 4)).pass(5 * MINUTE);
}

fn heal(pair: &mut Pair, pod: &PodRef) {
    pair.change(|world| world.run(pod)).pass(HOUR);
}

fn take_over(pair: &mut Pair) {
    pair.kill_aggregator();
    pair.pass(20 * SECOND);
    pair.start_aggregator();
    pair.pass(MINUTE);
}

/// It takes what is on its way to it, and whatever comes after that.
fn takes_what_is_on_its_way(outbound: &mut Outbound) {
    outbound.taken.extend(outbound.sent.last().cloned());
    outbound.answer = Some(Outcome::Delivered);
}

/// As "Kind owner status severity".
fn heard(told: &[Told]) -> Vec<String> {
    told.iter().map(|told| format!("{} {}", told.sentence(), told.body["severity"].as_str().unwrap_or("?"))).collect()
}

/// Asserts what the sink that is not required has taken, and that nothing is kept of what is over.
#[track_caller]
fn aside_took(pair: &Pair, expected: &[&str]) {
    assert_eq!(heard(&pair.aside.taken), expected);
    pair.assert_nothing_is_left();
    let kept: Vec<_> = pair.pipeline().outboxes().values().map(Outbox::kept).collect();
    assert_eq!(kept, [0, 0], "of so many issues the outboxes keep something");
}

#[test]
fn who_refused_and_takes_what_is_worse_while_it_ends_hears_of_the_end() {
    let (mut pair, pod) = begin_refused();
    pair.aside.answer = None;
    becomes(&mut pair, Severity::Critical);
    heal(&mut pair, &pod);
    takes_what_is_on_its_way(&mut pair.aside);
    pair.pass(HOUR);
    aside_took(&pair, &[CRITICAL, OVER]);
}

#[test]
fn who_refused_and_could_not_be_reached_until_it_was_over_hears_of_the_end() {
    let (mut pair, pod) = begin_refused();
    pair.aside.answer = Some(Outcome::Failed);
    becomes(&mut pair, Severity::Critical);
    heal(&mut pair, &pod);
    pair.aside.answer = Some(Outcome::Delivered);
    pair.pass(HOUR);
    aside_took(&pair, &[CRITICAL, OVER]);
}

#[test]
fn who_must_hear_and_refused_and_could_not_be_reached_hears_of_the_end() {
    let (mut pair, pod) = begin();
    pair.outbound.answer = Some(Outcome::Refused);
    crash(&mut pair, &pod);
    pair.outbound.answer = Some(Outcome::Failed);
    becomes(&mut pair, Severity::Critical);
    heal(&mut pair, &pod);
    pair.outbound.answer = Some(Outcome::Delivered);
    pair.pass(HOUR);
    assert_eq!(heard(&pair.outbound.taken), [CRITICAL, OVER]);
    pair.assert_nothing_is_left();
}

#[test]
fn who_took_the_beginning_and_refused_that_it_is_worse_hears_of_the_end() {
    for another_leads in [false, true] {
        let (mut pair, pod) = begin();
        crash(&mut pair, &pod);
        pair.aside.answer = Some(Outcome::Refused);
        becomes(&mut pair, Severity::Critical);
        pair.aside.answer = Some(Outcome::Delivered);
        if another_leads {
            take_over(&mut pair);
        }
        heal(&mut pair, &pod);
        aside_took(&pair, &[WARNING, OVER]);
        assert_eq!(heard(&pair.aside.sent), [WARNING, CRITICAL, OVER], "each once");
    }
}

#[test]
fn who_refused_the_beginning_and_took_that_it_is_worse_hears_of_the_end() {
    for another_leads in [false, true] {
        let (mut pair, pod) = begin_refused();
        pair.aside.answer = Some(Outcome::Delivered);
        becomes(&mut pair, Severity::Critical);
        if another_leads {
            take_over(&mut pair);
        }
        heal(&mut pair, &pod);
        aside_took(&pair, &[CRITICAL, OVER]);
    }
}

#[test]
fn who_has_only_refused_hears_of_no_end() {
    for another_leads in [false, true] {
        let (mut pair, pod) = begin_refused();
        if another_leads {
            take_over(&mut pair);
        }
        pair.aside.answer = Some(Outcome::Delivered);
        heal(&mut pair, &pod);
        aside_took(&pair, &[]);
        assert_eq!(heard(&pair.aside.sent), [WARNING], "it is not asked again either");
    }
}

#[test]
fn who_refused_is_asked_for_what_is_worse_also_where_that_had_not_left_when_another_took_over() {
    for another_leads in [false, true] {
        let (mut pair, _) = begin_refused();
        // It fails with another issue, so this one waits.
        pair.aside.answer = Some(Outcome::Failed);
        let other = deploy(&mut pair, "other");
        crash(&mut pair, &other.pods[0]);
        becomes(&mut pair, Severity::Critical);
        assert!(!heard(&pair.aside.sent).iter().any(|told| told == CRITICAL), "it has not left");
        if another_leads {
            take_over(&mut pair);
        }
        pair.aside.answer = Some(Outcome::Delivered);
        pair.pass(30 * MINUTE);
        assert!(heard(&pair.aside.taken).iter().any(|told| told == CRITICAL), "{:?}", heard(&pair.aside.taken));
    }
}

/// The other sink has not heard of the end when it is back, so it is the same episode.
#[test]
fn who_refused_while_the_end_was_due_is_not_asked_again_when_it_is_back() {
    let (mut pair, pod) = begin();
    pair.aside.answer = None;
    crash(&mut pair, &pod);
    pair.outbound.answer = None;
    heal(&mut pair, &pod);
    pair.aside.answer = Some(Outcome::Refused);
    pair.pass(MINUTE);
    assert_eq!(heard(&pair.aside.sent), [WARNING]);
    pair.change(|world| world.crash_loop(&pod, 8)).pass(10 * MINUTE);
    assert_eq!(heard(&pair.aside.sent), [WARNING]);
}

/// Another sink comes while it is less bad, so that it is told anew.
#[test]
fn what_was_refused_is_not_asked_again_after_it_was_less_bad_meanwhile() {
    let (mut pair, pod) = begin();
    becomes(&mut pair, Severity::Critical);
    pair.aside.answer = None;
    crash(&mut pair, &pod);
    becomes(&mut pair, Severity::Warning);
    let third = SinkSettings { required: false, ..SinkSettings::default() };
    pair.change_sinks(|sinks| {
        sinks.insert("third".into(), third);
    });
    pair.pass(MINUTE);
    pair.aside.answer = Some(Outcome::Refused);
    pair.pass(MINUTE);
    becomes(&mut pair, Severity::Critical);
    assert_eq!(heard(&pair.aside.sent), [CRITICAL]);
}

#[test]
fn who_refused_an_end_and_takes_the_next_beginning_hears_of_the_next_end() {
    let (mut pair, pod) = begin();
    crash(&mut pair, &pod);
    pair.outbound.answer = None;
    pair.aside.answer = Some(Outcome::Refused);
    heal(&mut pair, &pod);
    pair.aside.answer = None;
    pair.change(|world| world.crash_loop(&pod, 8)).pass(10 * MINUTE);
    let on_its_way: Vec<_> = pair.aside.sent.last().cloned().into_iter().collect();
    heal(&mut pair, &pod);
    pair.aside.taken.extend(on_its_way);
    pair.aside.answer = Some(Outcome::Delivered);
    pair.pass(MINUTE);
    pair.outbound.answer = Some(Outcome::Delivered);
    pair.pass(HOUR);
    let over = OVER.replace("critical", "warning");
    aside_took(&pair, &[WARNING, WARNING, &over]);
}
