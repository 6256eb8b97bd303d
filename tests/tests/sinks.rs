//! Sinks that are taken out and put back, or refuse, and agents that are turned on: what comes of it, also under who leads next.

use std::time::Duration;

use tocsin_aggregator::forward::outbox::Outcome;
use tocsin_aggregator::settings::SinkSettings;
use tocsin_tests::apiserver::{Container, Deployment, PodTemplate};
use tocsin_tests::pair::{ASIDE, Pair, SINK, Told};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
const NODES: &[&str] = &["n1", "n2", "n3"];
const FIRING: &str = "CrashLoopBackOff api firing";

/// A Deployment of so many pods, and one sink.
fn with_deployment(replicas: usize) -> (Pair, Deployment) {
    let mut pair = Pair::with_told_log(NODES);
    take_out(&mut pair, ASIDE);
    let deployment = deploy(&mut pair, replicas);
    (pair, deployment)
}

fn deploy(pair: &mut Pair, replicas: usize) -> Deployment {
    let template = PodTemplate::new("api", Container::new("app", "registry.example/api:1.8.2"));
    let deployment = pair.world.deploy("payments", "api", replicas, &template, NODES);
    pair.pass(MINUTE);
    deployment
}

fn take_out(pair: &mut Pair, sink: &str) {
    pair.change_sinks(|sinks| sinks.retain(|name, _| **name != *sink));
}

fn put_in(pair: &mut Pair, sink: &str) {
    pair.change_sinks(|sinks| {
        sinks.insert(sink.into(), SinkSettings { rate_per_minute: None, ..SinkSettings::default() });
    });
}

fn take_over(pair: &mut Pair) {
    pair.kill_aggregator();
    pair.pass(20 * SECOND);
    pair.start_aggregator();
    pair.pass(HOUR);
}

#[test]
fn what_ended_while_nobody_listened_is_not_told_by_who_leads_next() {
    let (mut pair, deployment) = with_deployment(1);
    pair.change(|world| world.crash_loop(&deployment.pods[0], 4)).pass(5 * MINUTE);
    pair.assert_told(&[FIRING]);
    take_out(&mut pair, SINK);
    pair.change(|world| world.run(&deployment.pods[0])).pass(HOUR);
    pair.assert_nothing_is_left();
    put_in(&mut pair, SINK);
    pair.pass(DAY).assert_told(&[FIRING]);
    take_over(&mut pair);
    pair.assert_told(&[FIRING]);
}

#[test]
fn what_was_refused_and_ended_is_not_told_by_who_leads_next() {
    let (mut pair, deployment) = with_deployment(1);
    pair.outbound.answer = Some(Outcome::Refused);
    pair.change(|world| world.crash_loop(&deployment.pods[0], 4)).pass(5 * MINUTE);
    pair.change(|world| world.run(&deployment.pods[0])).pass(HOUR);
    pair.outbound.answer = Some(Outcome::Delivered);
    pair.assert_nothing_is_left();
    put_in(&mut pair, ASIDE);
    pair.pass(DAY);
    take_over(&mut pair);
    let aside: Vec<_> = pair.aside.taken.iter().map(Told::sentence).collect();
    assert!(aside.is_empty(), "it ended a day ago: {aside:?}");
}

#[test]
fn what_was_refused_and_ended_is_not_open_for_anybody_who_leads_after_that() {
    let (mut pair, deployment) = with_deployment(1);
    pair.outbound.answer = Some(Outcome::Refused);
    pair.change(|world| world.crash_loop(&deployment.pods[0], 4)).pass(5 * MINUTE);
    pair.change(|world| world.run(&deployment.pods[0])).pass(DAY);
    pair.assert_nothing_is_left();
    for _ in 0..3 {
        pair.kill_aggregator();
        pair.start_aggregator();
        assert_eq!(pair.pipeline().dedupe().issues().count(), 0, "it ended a day ago");
        pair.pass(DAY);
    }
}

/// What is said of three pods at once, and then of others as well or of the same again, is not the same.
#[test]
fn a_sink_that_is_back_with_who_leads_next_gets_no_other_body_under_an_old_key() {
    for keeps_another in [false, true] {
        let (mut pair, deployment) = with_deployment(3);
        if keeps_another {
            put_in(&mut pair, ASIDE);
        }
        // Nothing leaves for a moment, so that what leaves names all pods.
        pair.outbound.answer = Some(Outcome::Unauthorized);
        for pod in &deployment.pods {
            pair.change(|world| world.crash_loop(pod, 4));
        }
        pair.pass(5 * MINUTE);
        pair.outbound.answer = Some(Outcome::Delivered);
        pair.pass(5 * MINUTE).assert_told(&[FIRING]);
        take_out(&mut pair, SINK);
        pair.pass(5 * MINUTE);
        pair.kill_aggregator();
        put_in(&mut pair, SINK);
        pair.start_aggregator();
        pair.pass(5 * MINUTE);
        assert_eq!(pair.told(), [FIRING, FIRING], "it is a new sink");
        assert_eq!(pair.outbound.taken[1].body["pods"]["total"], 3, "all agents have reported before");
        pair.assert_one_body_a_key();
    }
}

#[test]
fn agents_that_are_turned_on_within_the_window_tell_nothing_twice() {
    for ill in ["never", "before", "between"] {
        for another_leads in [false, true] {
            for after in [10 * SECOND, 4 * MINUTE] {
                let told: Vec<_> = told_by_agents_turned_on(ill, another_leads, after);
                let expected =
                    [FIRING, "OOMKilled api firing", "OOMKilled api resolved", "CrashLoopBackOff api resolved"];
                assert_eq!(told, expected, "killed again {ill}, another leads: {another_leads}, after {after:?}");
            }
        }
    }
}

/// What is told of two pods, but for silent agents, when agents start so long `after` they were turned on.
fn told_by_agents_turned_on(ill: &str, another_leads: bool, after: Duration) -> Vec<String> {
    let mut pair = Pair::without_agents(NODES);
    let deployment = deploy(&mut pair, 2);
    let [one, two] = [&deployment.pods[0], &deployment.pods[1]];
    pair.change(|world| world.crash_loop(one, 4)).pass(5 * MINUTE);
    pair.change(|world| world.oom_kill(two)).pass(5 * MINUTE);
    pair.change(|world| world.run(two));
    if ill == "before" {
        pair.change(|world| world.not_ready(two)).pass(MINUTE);
    }
    pair.turn_agents_on();
    if another_leads {
        pair.pass(30 * SECOND);
        pair.kill_aggregator();
        pair.pass(30 * SECOND);
        pair.start_aggregator();
    }
    if ill == "between" {
        pair.change(|world| world.oom_kill(two));
    }
    pair.pass(after);
    for node in NODES {
        pair.start_agent(node);
    }
    pair.pass(HOUR);
    for pod in [one, two] {
        pair.change(|world| world.run(pod));
    }
    pair.pass(2 * HOUR);
    pair.assert_one_body_a_key();
    pair.assert_nothing_is_left();
    pair.told().into_iter().filter(|told| !told.contains("AgentSilent")).collect()
}
