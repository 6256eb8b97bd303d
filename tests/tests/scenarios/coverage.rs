//! Pods that no agent watches: where there are none, and where one is not heard.

use super::*;

#[test]
fn without_agents_a_crash_loop_is_told_once_and_resolved_once() {
    let mut pair = Pair::without_agents(NODES);
    let deployment = pair.world.deploy("payments", "api", 3, &template(), NODES);
    for pod in &deployment.pods {
        pair.change(|world| world.crash_loop(pod, 3));
    }
    pair.pass(20 * MINUTE).assert_told(&["CrashLoopBackOff api firing"]);
    pair.kill_aggregator();
    pair.start_aggregator();
    pair.pass(20 * MINUTE).assert_told(&["CrashLoopBackOff api firing"]);
    for pod in &deployment.pods {
        pair.change(|world| world.run(pod));
    }
    pair.pass(20 * MINUTE).assert_told(&["CrashLoopBackOff api firing", "CrashLoopBackOff api resolved"]);
    pair.assert_keys_are_stable();
    pair.assert_nothing_is_left();
}

#[test]
fn without_agents_a_dead_node_is_one_message_and_its_pods_are_told_when_it_is_back_and_they_are_still_ill() {
    let mut pair = Pair::without_agents(NODES);
    let deployment = pair.world.deploy("payments", "api", 5, &template(), NODES);
    pair.pass(MINUTE);
    pair.change(|world| world.node_dies("n1")).pass(20 * MINUTE).assert_told(&["NodeNotReady n1 firing"]);
    pair.change(|world| world.node_recovers("n1"));
    pair.change(|world| world.crash_loop(&deployment.pods[0], 3));
    pair.pass(40 * MINUTE).assert_told(&[
        "NodeNotReady n1 firing",
        "NodeNotReady n1 resolved",
        "CrashLoopBackOff api firing",
    ]);
}

#[test]
fn what_agents_told_goes_on_as_one_message_when_they_are_turned_off() {
    let mut pair = Pair::with_told_log(NODES);
    let deployment = pair.world.deploy("payments", "api", 2, &template(), NODES);
    for pod in &deployment.pods {
        pair.change(|world| world.crash_loop(pod, 3));
    }
    pair.pass(10 * MINUTE).assert_told(&["CrashLoopBackOff api firing"]);
    pair.kill_aggregator();
    pair.turn_agents_off();
    pair.pass(MINUTE);
    pair.start_aggregator();
    pair.pass(2 * HOUR).assert_told(&["CrashLoopBackOff api firing"]);
    for pod in &deployment.pods {
        pair.change(|world| world.run(pod));
    }
    pair.pass(20 * MINUTE).assert_told(&["CrashLoopBackOff api firing", "CrashLoopBackOff api resolved"]);
    pair.assert_keys_are_stable();
    pair.assert_nothing_is_left();
}

const SILENT: &str = "AgentSilent tocsin-node-agent firing";
const HEARD: &str = "AgentSilent tocsin-node-agent resolved";
const LOOPS: &str = "CrashLoopBackOff api firing";
const RUNS: &str = "CrashLoopBackOff api resolved";

#[test]
fn a_pod_that_fails_while_its_agent_is_silent_is_one_message_whoever_looks_at_it() {
    let mut pair = Pair::with_stand_ins(NODES);
    let deployment = pair.world.deploy("payments", "api", 1, &template(), NODES);
    pair.kill_agent("n1");
    pair.pass(10 * MINUTE).assert_told(&[SILENT]);
    pair.change(|world| world.crash_loop(&deployment.pods[0], 3)).pass(5 * MINUTE).assert_told(&[SILENT, LOOPS]);
    pair.start_agent("n1");
    pair.pass(HOUR).assert_told(&[SILENT, LOOPS, HEARD]);
    pair.kill_agent("n1");
    pair.pass(HOUR).assert_told(&[SILENT, LOOPS, HEARD, SILENT]);
    pair.kill_aggregator();
    pair.start_aggregator();
    pair.pass(HOUR).assert_told(&[SILENT, LOOPS, HEARD, SILENT]);
    pair.change(|world| world.run(&deployment.pods[0]));
    pair.pass(20 * MINUTE).assert_told(&[SILENT, LOOPS, HEARD, SILENT, RUNS]);
    pair.start_agent("n1");
    pair.pass(HOUR).assert_told(&[SILENT, LOOPS, HEARD, SILENT, RUNS, HEARD]);
    pair.assert_keys_are_stable();
    pair.assert_nothing_is_left();
}

#[test]
fn an_agent_that_was_cut_off_and_whoever_stood_in_for_it_tell_one_story() {
    let mut pair = Pair::with_stand_ins(NODES);
    let deployment = pair.world.deploy("payments", "api", 2, &template(), &["n1"]);
    pair.change(|world| world.crash_loop(&deployment.pods[0], 3)).pass(10 * MINUTE).assert_told(&[LOOPS]);
    pair.connect_agent("n1", false);
    pair.pass(10 * MINUTE).assert_told(&[LOOPS, SILENT]);
    // What it told is over meanwhile, and begins again with another pod; the kernel kills a third thing.
    pair.change(|world| world.run(&deployment.pods[0])).pass(20 * MINUTE).assert_told(&[LOOPS, SILENT, RUNS]);
    pair.change(|world| world.crash_loop(&deployment.pods[1], 3));
    pair.pass(5 * MINUTE).assert_told(&[LOOPS, SILENT, RUNS, LOOPS]);
    pair.change(|world| world.oom_kill(&deployment.pods[0]));
    let killed = "OOMKilled api firing";
    pair.pass(2 * MINUTE).assert_told(&[LOOPS, SILENT, RUNS, LOOPS, killed]);
    pair.connect_agent("n1", true);
    pair.pass(3 * MINUTE).assert_told(&[LOOPS, SILENT, RUNS, LOOPS, killed]);
    pair.change(|world| world.run(&deployment.pods[0])).change(|world| world.run(&deployment.pods[1]));
    pair.pass(2 * HOUR);
    let told = pair.told();
    for (words, times) in [(LOOPS, 2), (RUNS, 2), (SILENT, 1), (HEARD, 1), (killed, 1), ("OOMKilled api resolved", 1)] {
        assert_eq!(told.iter().filter(|told| *told == words).count(), times, "{words}: {told:#?}");
    }
    assert_eq!(told.len(), 8, "{told:#?}");
    pair.assert_keys_are_stable();
    pair.assert_nothing_is_left();
}

#[test]
fn who_stands_in_goes_on_with_what_the_agent_told_while_a_pod_is_neither_ill_nor_well() {
    let mut pair = Pair::with_stand_ins(NODES);
    let deployment = pair.world.deploy("payments", "api", 1, &template(), NODES);
    let pod = &deployment.pods[0];
    pair.change(|world| world.image_pull_backs_off(pod)).pass(5 * MINUTE);
    pair.assert_told(&["ImagePull api firing"]);
    pair.kill_agent("n1");
    pair.change(|world| world.waits(pod, "ContainerCreating", None));
    pair.pass(HOUR).assert_told(&["ImagePull api firing", SILENT]);
    pair.change(|world| world.run(pod));
    pair.pass(20 * MINUTE).assert_told(&["ImagePull api firing", SILENT, "ImagePull api resolved"]);
}
