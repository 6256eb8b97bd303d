//! What an aggregator that dies has told, its successor goes on with: stories in virtual time, with the objects of the
//! told-log between two lives.

use std::time::Duration;

use tocsin_aggregator::forward::outbox::Outcome;
use tocsin_tests::apiserver::{Container, Deployment, PodTemplate};
use tocsin_tests::pair::{Pair, SINK, Stop, Told};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const NODES: &[&str] = &["n1", "n2", "n3"];

fn with_deployment(replicas: usize) -> (Pair, Deployment) {
    let mut pair = Pair::with_told_log(NODES);
    let template = PodTemplate::new("api", Container::new("app", "registry.example/api:1.8.2"));
    let deployment = pair.world.deploy("payments", "api", replicas, &template, NODES);
    pair.pass(MINUTE);
    (pair, deployment)
}

/// The aggregator dies, and another takes over.
fn takeover(pair: &mut Pair) {
    pair.kill_aggregator();
    pair.pass(20 * SECOND);
    pair.start_aggregator();
    pair.pass(MINUTE);
}

/// The aggregator dies at that moment; whatever it said before, each record is taken once.
#[track_caller]
fn dies(stop: Stop) {
    let (mut pair, deployment) = with_deployment(1);
    let pod = &deployment.pods[0];
    pair.cabinet.as_mut().expect("there is one").stop = Some(stop);
    if stop == Stop::BeforeConfirmation {
        pair.outbound.answer = None;
    }
    pair.change(|world| world.crash_loop(pod, 4)).pass(2 * MINUTE);
    assert!(pair.aggregator.is_none(), "it has died");
    pair.outbound.answer = Some(Outcome::Delivered);
    pair.start_aggregator();
    pair.pass(2 * MINUTE).assert_told(&["CrashLoopBackOff api firing"]);
    pair.change(|world| world.run(pod)).pass(20 * MINUTE);
    pair.assert_told(&["CrashLoopBackOff api firing", "CrashLoopBackOff api resolved"]);
    pair.assert_one_body_a_key();
    pair.assert_nothing_is_left();
    let episodes: Vec<_> = pair.outbound.sent.iter().map(|told| &told.body["episode"]).collect();
    assert!(episodes.iter().all(|episode| *episode == episodes[0]), "one name for what was told: {episodes:?}");
}

#[test]
fn a_leader_that_dies_before_the_journal_has_it_has_said_nothing() {
    dies(Stop::BeforeJournal);
}

#[test]
fn a_leader_that_dies_before_the_first_byte_leaves_the_body_to_its_successor() {
    dies(Stop::BeforeFirstByte);
}

#[test]
fn a_leader_that_dies_before_it_is_confirmed_is_repeated_byte_for_byte() {
    dies(Stop::BeforeConfirmation);
}

#[test]
fn a_leader_that_dies_while_folding_loses_nothing() {
    dies(Stop::WhileFolding);
}

#[test]
fn what_was_told_is_not_told_again_and_its_end_is_told_under_its_name() {
    let (mut pair, deployment) = with_deployment(3);
    for pod in &deployment.pods {
        pair.change(|world| world.crash_loop(pod, 4));
    }
    pair.pass(10 * MINUTE);
    takeover(&mut pair);
    pair.pass(HOUR).assert_told(&["CrashLoopBackOff api firing"]);
    for pod in &deployment.pods {
        pair.change(|world| world.run(pod));
    }
    takeover(&mut pair);
    pair.pass(20 * MINUTE).assert_told(&["CrashLoopBackOff api firing", "CrashLoopBackOff api resolved"]);
    pair.assert_keys_are_stable();
    pair.assert_nothing_is_left();
}

#[test]
fn a_symptom_that_was_told_before_its_cause_is_resolved_after_a_takeover() {
    let (mut pair, deployment) = with_deployment(1);
    let pod = &deployment.pods[0];
    pair.change(|world| world.not_ready(pod)).pass(20 * MINUTE);
    pair.change(|world| world.crash_loop(pod, 4)).pass(10 * MINUTE);
    pair.assert_told(&["NotReady api firing", "CrashLoopBackOff api firing"]);
    takeover(&mut pair);
    pair.change(|world| world.run(pod)).pass(HOUR);
    let mut told = pair.told().split_off(2);
    told.sort_unstable();
    assert_eq!(told, ["CrashLoopBackOff api resolved", "NotReady api resolved"]);
}

#[test]
fn what_the_aggregator_alone_sees_and_ended_while_nobody_led_is_resolved() {
    let mut pair = Pair::with_told_log(NODES);
    let template = PodTemplate::new("web", Container::new("app", "registry.example/web:1"));
    let pod = pair.world.add_pod("payments", "web-0", &template, None);
    pair.change(|world| world.unschedulable(&pod)).pass(20 * MINUTE);
    assert_eq!(pair.told().len(), 1, "{:?}", pair.told());
    pair.kill_aggregator();
    pair.change(|world| {
        world.schedule(&pod, "n1");
        world.run(&pod);
    });
    pair.start_aggregator();
    pair.pass(HOUR);
    assert_eq!(pair.told().len(), 2, "{:?}", pair.told());
    assert!(pair.told()[1].ends_with(" resolved"), "{:?}", pair.told());
    pair.assert_nothing_is_left();
}

#[test]
fn an_issue_of_a_node_that_vanished_while_nobody_led_is_over_after_its_hold() {
    let (mut pair, deployment) = with_deployment(1);
    pair.change(|world| world.crash_loop(&deployment.pods[0], 4)).pass(10 * MINUTE);
    pair.assert_told(&["CrashLoopBackOff api firing"]);
    pair.kill_aggregator();
    pair.kill_agent("n1");
    pair.change(|world| world.remove_node("n1"));
    pair.start_aggregator();
    pair.pass(MINUTE).assert_told(&["CrashLoopBackOff api firing"]);
    pair.pass(HOUR).assert_told(&["CrashLoopBackOff api firing", "CrashLoopBackOff api resolved"]);
    pair.assert_nothing_is_left();
}

#[test]
fn an_agent_that_starts_anew_with_the_leader_goes_on_with_what_was_told() {
    let (mut pair, deployment) = with_deployment(1);
    pair.change(|world| world.crash_loop(&deployment.pods[0], 4)).pass(10 * MINUTE);
    pair.kill_agent("n1");
    pair.kill_aggregator();
    pair.change(|world| world.restart(&deployment.pods[0]));
    pair.start_aggregator();
    pair.start_agent("n1");
    pair.pass(30 * SECOND).assert_told(&["CrashLoopBackOff api firing"]);
    pair.change(|world| world.crash_loop(&deployment.pods[0], 6)).pass(HOUR);
    pair.assert_told(&["CrashLoopBackOff api firing"]);
}

#[test]
fn an_edge_that_was_told_is_old_for_a_successor_and_one_that_nobody_saw_is_not() {
    let (mut pair, deployment) = with_deployment(2);
    pair.change(|world| world.oom_kill(&deployment.pods[0])).pass(MINUTE);
    pair.change(|world| world.run(&deployment.pods[0])).pass(2 * HOUR);
    pair.assert_told(&["OOMKilled api firing", "OOMKilled api resolved"]);
    for node in NODES {
        pair.kill_agent(node);
    }
    pair.kill_aggregator();
    pair.pass(MINUTE).change(|world| world.oom_kill(&deployment.pods[1])).pass(MINUTE);
    pair.start_aggregator();
    for node in NODES {
        pair.start_agent(node);
    }
    pair.pass(MINUTE).change(|world| world.run(&deployment.pods[1])).pass(2 * HOUR);
    let expected = ["OOMKilled api firing", "OOMKilled api resolved", "OOMKilled api firing", "OOMKilled api resolved"];
    pair.assert_told(&expected);
    pair.assert_keys_are_stable();
}

#[test]
fn writes_that_are_refused_keep_nothing_from_being_told() {
    let (mut pair, deployment) = with_deployment(1);
    pair.cabinet.as_mut().expect("there is one").refuses = true;
    pair.change(|world| world.crash_loop(&deployment.pods[0], 4)).pass(MINUTE);
    pair.assert_told(&["CrashLoopBackOff api firing"]);
    takeover(&mut pair);
    let keys: Vec<_> = pair.outbound.taken.iter().map(|told| &told.key).collect();
    assert!(keys.iter().all(|key| *key == keys[0]), "at worst the same key again: {keys:?}");
}

#[test]
fn objects_that_were_emptied_heal_from_memory() {
    let (mut pair, deployment) = with_deployment(1);
    pair.change(|world| world.crash_loop(&deployment.pods[0], 4)).pass(10 * MINUTE);
    pair.cabinet.as_mut().expect("there is one").wipe();
    pair.aggregator.as_mut().expect("it lives").pipeline.told_log().on_lost();
    pair.pass(2 * MINUTE);
    takeover(&mut pair);
    pair.pass(HOUR).assert_told(&["CrashLoopBackOff api firing"]);
}

#[test]
fn a_sink_that_missed_an_episode_hears_that_it_is_over_all_the_same() {
    let (mut pair, api) = with_deployment(1);
    let template = PodTemplate::new("web", Container::new("app", "registry.example/web:1"));
    let web = pair.world.deploy("payments", "web", 1, &template, NODES);
    pair.pass(MINUTE).change(|world| world.crash_loop(&api.pods[0], 4)).pass(10 * MINUTE);
    // What is on its way is about another: of this issue nothing leaves for that sink.
    pair.aside.answer = Some(Outcome::Failed);
    pair.change(|world| world.crash_loop(&web.pods[0], 4)).pass(10 * MINUTE);
    pair.change(|world| world.run(&api.pods[0])).pass(20 * MINUTE);
    pair.change(|world| world.crash_loop(&api.pods[0], 6)).pass(10 * MINUTE);
    pair.change(|world| world.run(&api.pods[0])).pass(20 * MINUTE);
    takeover(&mut pair);
    pair.aside.answer = Some(Outcome::Delivered);
    pair.pass(HOUR);
    let aside: Vec<_> = pair.aside.taken.iter().map(Told::sentence).collect();
    assert_eq!(aside, ["CrashLoopBackOff api firing", "CrashLoopBackOff web firing", "CrashLoopBackOff api resolved"]);
}

#[test]
fn a_sink_that_was_taken_out_between_two_lives_keeps_nothing_in_the_log() {
    let (mut pair, deployment) = with_deployment(1);
    pair.aside.answer = None;
    pair.change(|world| world.crash_loop(&deployment.pods[0], 4)).pass(10 * MINUTE);
    pair.kill_aggregator();
    pair.change_sinks(|sinks| sinks.retain(|name, _| **name == *SINK));
    pair.start_aggregator();
    pair.pass(10 * MINUTE).change(|world| world.run(&deployment.pods[0])).pass(HOUR);
    pair.assert_told(&["CrashLoopBackOff api firing", "CrashLoopBackOff api resolved"]);
    let kept = pair.cabinet.as_ref().expect("there is one").read("cluster-uid");
    assert_eq!((kept.journal.len(), kept.folded.len()), (0, 1), "{kept:?}");
    assert!(kept.folded[0].is_closed(), "{kept:?}");
}

#[test]
fn a_sink_that_is_new_hears_the_same_from_who_leads_and_from_who_leads_next() {
    for another_leads in [false, true] {
        let (mut pair, deployment) = with_deployment(1);
        let mut both = std::collections::BTreeMap::new();
        pair.change_sinks(|sinks| {
            both.clone_from(sinks);
            sinks.retain(|name, _| **name == *SINK);
        });
        pair.change(|world| world.crash_loop(&deployment.pods[0], 4)).pass(10 * MINUTE);
        if another_leads {
            pair.kill_aggregator();
        }
        pair.change_sinks(|sinks| *sinks = both);
        if another_leads {
            pair.start_aggregator();
        }
        pair.pass(10 * MINUTE).change(|world| world.run(&deployment.pods[0])).pass(HOUR);
        let expected = ["CrashLoopBackOff api firing", "CrashLoopBackOff api resolved"];
        pair.assert_told(&expected);
        let aside: Vec<_> = pair.aside.taken.iter().map(Told::sentence).collect();
        assert_eq!(aside, expected, "another leads: {another_leads}");
    }
}

#[test]
fn a_name_that_was_told_in_an_episode_before_the_last_is_not_given_again() {
    let (mut pair, deployment) = with_deployment(2);
    let (first, second) = (&deployment.pods[0], &deployment.pods[1]);
    let ignored = |pair: &mut Pair, is_ignored: bool| {
        pair.change(|world| {
            world.edit(&first.path(), |pod| {
                pod["metadata"]["annotations"]["tocsin.dev/ignore"] = is_ignored.to_string().into();
            });
        })
        .pass(20 * MINUTE);
    };
    pair.change(|world| world.crash_loop(first, 4)).pass(10 * MINUTE);
    ignored(&mut pair, true);
    pair.change(|world| world.crash_loop(second, 4)).pass(10 * MINUTE);
    pair.change(|world| world.run(second)).pass(20 * MINUTE);
    pair.assert_told(&[
        "CrashLoopBackOff api firing",
        "CrashLoopBackOff api resolved",
        "CrashLoopBackOff api firing",
        "CrashLoopBackOff api resolved",
    ]);
    takeover(&mut pair);
    ignored(&mut pair, false);
    assert_eq!(pair.told().len(), 5, "{:?}", pair.told());
    pair.assert_keys_are_stable();
}

#[test]
fn a_symptom_that_ended_with_its_cause_while_nobody_led_is_not_told_after_all() {
    let (mut pair, deployment) = with_deployment(1);
    pair.change(|world| world.crash_loop(&deployment.pods[0], 4)).pass(10 * MINUTE);
    pair.kill_aggregator();
    pair.change(|world| world.run(&deployment.pods[0])).pass(20 * MINUTE);
    pair.start_aggregator();
    pair.pass(HOUR).assert_told(&["CrashLoopBackOff api firing", "CrashLoopBackOff api resolved"]);
    pair.assert_nothing_is_left();
}

#[test]
fn a_symptom_whose_cause_ended_while_nobody_led_must_last_from_then_on_to_be_told() {
    let (mut pair, deployment) = with_deployment(1);
    let pod = &deployment.pods[0];
    pair.change(|world| world.crash_loop(pod, 4)).pass(10 * MINUTE);
    pair.kill_aggregator();
    pair.change_rules(|rules| rules.kinds.get_mut("CrashLoopBackOff").expect("a kind").enabled = false);
    pair.start_aggregator();
    pair.pass(MINUTE).assert_told(&["CrashLoopBackOff api firing", "CrashLoopBackOff api resolved"]);
    pair.pass(HOUR).assert_told(&[
        "CrashLoopBackOff api firing",
        "CrashLoopBackOff api resolved",
        "NotReady api firing",
    ]);
}

#[test]
fn symptoms_on_other_nodes_that_ended_with_their_cause_while_nobody_led_are_not_told_after_all() {
    let (mut pair, deployment) = with_deployment(3);
    for pod in &deployment.pods {
        pair.change(|world| world.crash_loop(pod, 4));
    }
    pair.pass(10 * MINUTE);
    pair.kill_aggregator();
    for pod in &deployment.pods {
        pair.change(|world| world.run(pod));
    }
    pair.pass(20 * MINUTE);
    pair.start_aggregator();
    pair.pass(HOUR).assert_told(&["CrashLoopBackOff api firing", "CrashLoopBackOff api resolved"]);
    pair.assert_nothing_is_left();
}

#[test]
fn a_symptom_that_an_agent_names_late_is_explained_by_the_cause_that_ended_with_it() {
    let (mut pair, deployment) = with_deployment(1);
    pair.change(|world| world.crash_loop(&deployment.pods[0], 4)).pass(10 * MINUTE);
    pair.kill_aggregator();
    pair.change(|world| world.run(&deployment.pods[0])).pass(20 * MINUTE);
    pair.connect_agent("n1", false);
    pair.start_aggregator();
    pair.pass(30 * MINUTE);
    assert!(!pair.pipeline().dedupe().is_resyncing(), "it was waited for long enough");
    pair.connect_agent("n1", true);
    pair.pass(HOUR);
    let told: Vec<_> = pair.told().into_iter().filter(|told| !told.starts_with("AgentSilent")).collect();
    assert_eq!(told, ["CrashLoopBackOff api firing", "CrashLoopBackOff api resolved"]);
}
