//! Whole stories in virtual time: agents, their reports, the aggregator's core and the outside, without sockets.

#[path = "scenarios/coverage.rs"]
mod coverage;

use std::time::Duration;

use rules::{Owner, Time};
use serde_json::json;
use tocsin_aggregator::dedupe::decision::{Decision, Suppression};
use tocsin_aggregator::forward::outbox::{Health, Outcome};
use tocsin_tests::apiserver::{Container, Deployment, PodRef, PodTemplate};
use tocsin_tests::pair::{Pair, SINK};
use tocsin_tests::record::Expected;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
/// An agent waits as long for more before it reports.
const GATHERS: Duration = Duration::from_millis(50);
const NODES: &[&str] = &["n1", "n2", "n3", "n4", "n5"];

const IMAGE: &str = "registry.example/api:1.8.2";

fn template() -> PodTemplate {
    PodTemplate::new("api", Container::new("app", IMAGE))
}

/// A cluster of five nodes with a healthy Deployment spread over them.
fn with_deployment(replicas: usize) -> (Pair, Deployment) {
    let mut pair = Pair::with_nodes(NODES);
    let deployment = pair.world.deploy("payments", "api", replicas, &template(), NODES);
    pair.pass(MINUTE);
    pair.assert_told(&[]);
    (pair, deployment)
}

/// What is told when something begins with these pods of the Deployment of [`with_deployment`], but for its own words.
fn begins(pods: &[PodRef], since: Time) -> Expected {
    let mut names: Vec<_> = pods.iter().map(|pod| pod.name.clone()).collect();
    names.sort();
    Expected {
        revision: 1,
        status: "firing",
        severity: "critical",
        cluster: ["prod-eu-1".to_owned(), "cluster-uid".to_owned()],
        namespace: "payments".to_owned(),
        owner: Owner { kind: "Deployment".into(), name: "api".into() },
        container: "app",
        nodes: NODES[..pods.len()].iter().map(ToString::to_string).collect(),
        pods: names,
        since: Some(since),
        ..Expected::default()
    }
}

/// The beginning of a crash loop.
fn loops(pods: &[PodRef], since: Time) -> Expected {
    let who = if pods.len() == 1 { "1 pod".to_owned() } else { format!("{} pods", pods.len()) };
    Expected {
        kind: "CrashLoopBackOff",
        title: "payments/Deployment api is crash-looping".to_owned(),
        text: format!("{who} since {{since}}. Container `app` exited 1, 3 restarts. Image {IMAGE}."),
        evidence: json!({
            "reason": "Error", "exitCode": 1, "restarts": 3, "image": IMAGE, "memoryLimit": "256Mi",
        }),
        look: format!("kubectl -n payments logs {} -c app --previous", pods[0].name),
        quiet: "annotate the pods of payments/Deployment api with tocsin.dev/ignore=CrashLoopBackOff".to_owned(),
        ..begins(pods, since)
    }
}

/// The end of a crash loop of several pods; whichever of them is shown.
fn loops_no_more(begun: &Expected, ended: Time) -> Expected {
    let who = begun.pods.len();
    Expected {
        revision: 2,
        status: "resolved",
        title: "payments/Deployment api runs again".to_owned(),
        text: format!(
            "{who} pods from {{since}}, for {{lasted}}. Container `app` exited 1{{restarts}}. Image {IMAGE}."
        ),
        evidence: json!({
            "reason": "Error", "exitCode": 1, "restarts": "*", "image": IMAGE, "memoryLimit": "256Mi",
        }),
        look: "kubectl -n payments logs api-* -c app --previous".to_owned(),
        ended: Some(ended),
        ..begun.clone()
    }
}

#[test]
fn a_crash_loop_is_told_once_and_resolved_once() {
    let (mut pair, deployment) = with_deployment(3);
    let begun = loops(&deployment.pods, pair.now());
    for pod in &deployment.pods {
        pair.change(|world| world.crash_loop(pod, 3));
    }
    pair.pass(20 * MINUTE).assert_told(&["CrashLoopBackOff api firing"]);
    let ended = loops_no_more(&begun, pair.now() + 10 * MINUTE + GATHERS);
    for pod in &deployment.pods {
        pair.change(|world| world.run(pod));
    }
    pair.pass(20 * MINUTE).assert_told(&["CrashLoopBackOff api firing", "CrashLoopBackOff api resolved"]);
    pair.assert_records(&[begun, ended]);
    pair.assert_keys_are_stable();
    pair.assert_nothing_is_left();
}

#[test]
fn a_pod_that_is_well_before_the_others_counts_in_the_end_and_once() {
    let (mut pair, deployment) = with_deployment(3);
    let (first, others) = deployment.pods.split_first().expect("there are three");
    let begun = loops(&deployment.pods, pair.now());
    for pod in &deployment.pods {
        pair.change(|world| world.crash_loop(pod, 3));
    }
    pair.change(|world| world.run(first)).pass(20 * MINUTE);
    pair.change(|world| world.crash_loop(first, 3)).pass(MINUTE);
    pair.change(|world| world.run(first)).pass(20 * MINUTE);
    let ended = loops_no_more(&begun, pair.now() + 10 * MINUTE + GATHERS);
    for pod in others {
        pair.change(|world| world.run(pod));
    }
    pair.pass(20 * MINUTE).assert_records(&[begun, ended]);
    pair.assert_nothing_is_left();
}

#[test]
fn an_agent_killed_while_a_crash_looping_container_happens_to_run_changes_nothing() {
    let (mut pair, deployment) = with_deployment(1);
    let pod = &deployment.pods[0];
    pair.change(|world| world.crash_loop(pod, 4)).pass(MINUTE);
    pair.assert_told(&["CrashLoopBackOff api firing"]);

    pair.change(|world| world.restart(pod));
    pair.kill_agent("n1");
    pair.pass(10 * SECOND);
    pair.start_agent("n1");
    pair.pass(5 * SECOND).change(|world| world.crash_loop(pod, 5)).pass(HOUR);
    pair.assert_told(&["CrashLoopBackOff api firing"]);
    pair.assert_keys_are_stable();
}

#[test]
fn agent_and_aggregator_both_killed_lose_nothing() {
    let (mut pair, deployment) = with_deployment(1);
    pair.outbound.answer = None;
    pair.change(|world| world.crash_loop(&deployment.pods[0], 4)).pass(MINUTE);
    pair.kill_agent("n1");
    pair.kill_aggregator();
    pair.pass(MINUTE);
    pair.outbound.answer = Some(Outcome::Delivered);
    pair.start_aggregator();
    pair.start_agent("n1");
    pair.pass(2 * MINUTE).assert_told(&["CrashLoopBackOff api firing"]);
}

#[test]
fn an_aggregator_killed_between_acceptance_and_delivery_loses_nothing() {
    let (mut pair, deployment) = with_deployment(1);
    let pod = &deployment.pods[0];
    let killed = Expected {
        kind: "OOMKilled",
        title: "payments/Deployment api was killed for want of memory".to_owned(),
        text: format!(
            "1 pod since {{since}}. Container `app` exited 137 (killed), memory limit 256Mi. Image {IMAGE}. OOMKilled"
        ),
        evidence: json!({
            "reason": "OOMKilled", "exitCode": 137, "restarts": 0, "image": IMAGE, "memoryLimit": "256Mi",
        }),
        look: format!("kubectl -n payments describe pod {}", pod.name),
        quiet: "annotate the pods of payments/Deployment api with tocsin.dev/ignore=OOMKilled".to_owned(),
        ..begins(&deployment.pods, pair.now())
    };
    pair.outbound.answer = None;
    pair.change(|world| world.oom_kill(pod)).pass(10 * SECOND);
    assert_eq!(pair.pipeline().dedupe().accounts().observed(), 1, "it was accepted");
    pair.assert_told(&[]);

    pair.kill_aggregator();
    pair.outbound.answer = Some(Outcome::Delivered);
    pair.start_aggregator();
    pair.pass(2 * MINUTE).assert_told(&["OOMKilled api firing"]);
    pair.assert_records(&[killed]);
    let keys: Vec<_> = pair.outbound.sent.iter().map(|told| &told.key).collect();
    assert!(keys.iter().all(|key| *key == keys[0]), "the same key before and after: {keys:?}");
}

#[test]
fn a_receiver_that_is_down_for_six_hours_hears_the_present_and_not_the_past() {
    let mut pair = Pair::with_nodes(NODES);
    let one = pair.world.deploy("payments", "api", 1, &template(), NODES);
    let two = pair.world.deploy("payments", "web", 1, &template(), NODES);
    pair.pass(MINUTE);
    pair.outbound.answer = Some(Outcome::Failed);
    for round in 0..12 {
        pair.change(|world| world.crash_loop(&one.pods[0], 3 + round)).pass(10 * MINUTE);
        pair.change(|world| world.run(&one.pods[0])).pass(20 * MINUTE);
    }
    pair.change(|world| world.image_pull_fails(&two.pods[0])).pass(10 * MINUTE);
    pair.assert_told(&[]);
    let attempts = pair.outbound.sent.len();
    assert!(attempts < 200, "{attempts} attempts in six hours");

    pair.outbound.answer = Some(Outcome::Delivered);
    pair.pass(10 * MINUTE);
    assert_eq!(pair.told().iter().filter(|told| told.ends_with("web firing")).count(), 1);
    let about_api = pair.told().iter().filter(|told| told.contains(" api ")).count();
    assert!((1..=2).contains(&about_api), "what opened and resolved meanwhile is told once: {:?}", pair.told());
    assert_eq!(pair.told().iter().rfind(|told| told.contains(" api ")), Some(&"CrashLoopBackOff api resolved".into()));
    pair.assert_keys_are_stable();
}

#[test]
fn a_token_that_is_revoked_and_replaced_loses_nothing_and_asks_slowly_in_between() {
    let (mut pair, deployment) = with_deployment(1);
    pair.outbound.answer = Some(Outcome::Unauthorized);
    pair.change(|world| world.crash_loop(&deployment.pods[0], 4)).pass(HOUR);
    pair.assert_told(&[]);
    let outbox = pair.pipeline().outboxes().get(SINK).expect("it is configured");
    assert_eq!(outbox.health(), Health::Unauthorized);
    assert!((50..=70).contains(&pair.outbound.sent.len()), "about once a minute: {}", pair.outbound.sent.len());

    pair.outbound.answer = Some(Outcome::Delivered);
    pair.replace_token();
    pair.pass(SECOND).assert_told(&["CrashLoopBackOff api firing"]);
}

#[test]
fn of_two_agents_of_a_node_the_elder_ends() {
    let (mut pair, deployment) = with_deployment(1);
    pair.change(|world| world.crash_loop(&deployment.pods[0], 4)).pass(10 * MINUTE);
    pair.start_agent("n1");
    assert_eq!(pair.count_agents("n1"), 2);
    pair.pass(MINUTE);
    assert_eq!(pair.count_agents("n1"), 1);
    pair.pass(HOUR).assert_told(&["CrashLoopBackOff api firing"]);
    pair.change(|world| world.run(&deployment.pods[0])).pass(HOUR);
    pair.assert_told(&["CrashLoopBackOff api firing", "CrashLoopBackOff api resolved"]);
    pair.assert_nothing_is_left();
}

#[test]
fn a_healthy_rollout_of_a_hundred_pods_is_not_told() {
    let (mut pair, mut deployment) = with_deployment(100);
    let newer = PodTemplate::new("api", Container::new("app", "registry.example/api:1.8.3"));
    let world = pair.world.handle();
    let mut rollout = world.begin_rollout(&mut deployment, &newer);
    while rollout.step() {
        pair.pass(10 * SECOND);
    }
    pair.pass(HOUR).assert_told(&[]);
}

#[test]
fn a_node_that_dies_with_a_hundred_pods_is_one_message() {
    let mut pair = Pair::with_nodes(NODES);
    for app in 0..10 {
        pair.world.deploy("payments", &format!("app-{app}"), 10, &template(), &["n1"]);
    }
    pair.pass(MINUTE);
    // The node is cut off: its agent goes on seeing pods that are not ready, and cannot say so.
    pair.connect_agent("n1", false);
    pair.change(|world| world.node_dies("n1")).pass(10 * MINUTE);
    pair.assert_told(&["NodeNotReady n1 firing"]);

    pair.connect_agent("n1", true);
    pair.change(|world| world.node_recovers("n1")).pass(HOUR);
    pair.assert_told(&["NodeNotReady n1 firing", "NodeNotReady n1 resolved"]);
    pair.assert_nothing_is_left();
}

#[test]
fn a_node_that_dies_while_its_agent_still_reports_is_one_message() {
    let mut pair = Pair::with_nodes(NODES);
    let deployment = pair.world.deploy("payments", "api", 100, &template(), &["n1"]);
    pair.pass(MINUTE);
    let mut swallowed: Vec<_> = deployment.pods.iter().map(|pod| pod.name.clone()).collect();
    swallowed.sort();
    let died = Expected {
        kind: "NodeNotReady",
        namespace: String::new(),
        owner: Owner { kind: "Node".into(), name: "n1".into() },
        container: "",
        pods: Vec::new(),
        swallowed,
        title: "Node n1 stopped answering".to_owned(),
        text:
            "Since {since}. NodeStatusUnknown: Kubelet stopped posting node status. It explains what 100 pods suffer; \
               they get no messages of their own."
                .to_owned(),
        evidence: json!({"reason": "NodeStatusUnknown", "message": "Kubelet stopped posting node status."}),
        look: "kubectl describe node n1".to_owned(),
        quiet: "set rules.NodeNotReady.enabled=false".to_owned(),
        ..begins(&deployment.pods[..1], pair.now())
    };
    pair.change(|world| world.node_dies("n1")).pass(10 * MINUTE);
    pair.assert_told(&["NodeNotReady n1 firing"]);
    let recovered = Expected {
        revision: 2,
        status: "resolved",
        swallowed: Vec::new(),
        title: "Node n1 answers again".to_owned(),
        text: "From {since}, for {lasted}. It was: NodeStatusUnknown: Kubelet stopped posting node status.".to_owned(),
        ended: Some(pair.now() + 5 * MINUTE),
        ..died.clone()
    };
    pair.change(|world| world.node_recovers("n1")).pass(HOUR);
    pair.assert_told(&["NodeNotReady n1 firing", "NodeNotReady n1 resolved"]);
    pair.assert_records(&[died, recovered]);
}

#[test]
fn an_oom_kill_three_weeks_old_is_not_told_at_the_first_install() {
    let mut pair = Pair::before_installation(NODES);
    pair.world.backdate(3 * 7 * 24 * HOUR);
    let deployment = pair.world.deploy("payments", "api", 1, &template(), NODES);
    pair.world.oom_kill(&deployment.pods[0]);
    pair.world.run(&deployment.pods[0]);
    pair.world.backdate(Duration::ZERO);
    pair.start_aggregator();
    for node in NODES {
        pair.start_agent(node);
    }
    pair.pass(2 * HOUR).assert_told(&[]);
    let accounts = pair.pipeline().dedupe().accounts();
    assert_eq!(accounts.at(Decision::Suppressed(Suppression::Old)), 1, "{accounts:?}");
}

#[test]
fn an_agent_that_falls_silent_is_told_and_its_findings_freeze() {
    let (mut pair, deployment) = with_deployment(1);
    let begun = loops(&deployment.pods, pair.now());
    pair.change(|world| world.crash_loop(&deployment.pods[0], 3)).pass(MINUTE);
    let silent = Expected {
        kind: "AgentSilent",
        severity: "warning",
        namespace: String::new(),
        owner: Owner { kind: "DaemonSet".into(), name: "tocsin-node-agent".into() },
        container: "",
        pods: Vec::new(),
        // Heartbeats have jitter.
        since: None,
        title: "DaemonSet tocsin-node-agent is not heard".to_owned(),
        text: "Since {since}. NoHeartbeat".to_owned(),
        evidence: json!({"reason": "NoHeartbeat"}),
        look: "kubectl get pods -A -o wide --field-selector spec.nodeName=n1".to_owned(),
        quiet: "set rules.AgentSilent.enabled=false".to_owned(),
        ..begins(&deployment.pods, pair.now())
    };
    pair.kill_agent("n1");
    pair.pass(HOUR);
    pair.assert_told(&["CrashLoopBackOff api firing", "AgentSilent tocsin-node-agent firing"]);
    let heard = Expected {
        revision: 2,
        status: "resolved",
        title: "DaemonSet tocsin-node-agent is heard again".to_owned(),
        text: "From {since}, for {lasted}. It was: NoHeartbeat".to_owned(),
        ..silent.clone()
    };
    pair.start_agent("n1");
    // The crash loop goes on, untold again.
    pair.pass(HOUR).assert_records(&[begun, silent, heard]);
}

#[test]
fn changed_rules_reach_the_agents_without_a_restart() {
    let (mut pair, deployment) = with_deployment(1);
    pair.change(|world| world.crash_loop(&deployment.pods[0], 4)).pass(MINUTE);
    pair.change_rules(|rules| {
        rules.kinds.get_mut("CrashLoopBackOff").expect("a kind").enabled = false;
    });
    pair.pass(2 * MINUTE);
    pair.assert_told(&["CrashLoopBackOff api firing", "CrashLoopBackOff api resolved"]);
}

#[test]
fn a_rolling_restart_of_the_agents_tells_nothing_of_what_the_rules_leave_out() {
    let (mut pair, deployment) = with_deployment(2);
    let dev = pair.world.deploy("dev", "toy", 2, &template(), NODES);
    pair.change_rules(|rules| {
        rules.kinds.get_mut("CrashLoopBackOff").expect("a kind").enabled = false;
        rules.kinds.get_mut("ImagePull").expect("a kind").sustain = 2 * HOUR;
        rules.scope.exclude = vec!["dev".to_owned()];
    });
    pair.pass(2 * MINUTE);
    pair.change(|world| {
        world.crash_loop(&deployment.pods[0], 4);
        world.image_pull_fails(&deployment.pods[1]);
        world.not_ready(&dev.pods[0]);
        world.image_pull_fails(&dev.pods[1]);
    });
    pair.pass(HOUR);
    for node in NODES {
        pair.kill_agent(node);
        pair.pass(2 * SECOND);
        pair.start_agent(node);
        pair.pass(MINUTE);
    }
    pair.pass(20 * MINUTE).assert_told(&[]);
    pair.pass(HOUR).assert_told(&["ImagePull api firing"]);
}

#[test]
fn what_happens_before_the_first_session_of_an_agent_is_told_after_it() {
    let (mut pair, deployment) = with_deployment(2);
    pair.kill_aggregator();
    pair.kill_agent("n1");
    pair.kill_agent("n2");
    pair.pass(MINUTE);
    pair.start_agent("n1");
    pair.start_agent("n2");
    pair.pass(10 * MINUTE);
    pair.change(|world| world.oom_kill(&deployment.pods[0]));
    pair.pass(MINUTE).change(|world| world.evict(&deployment.pods[1]));
    pair.pass(MINUTE).change(|world| world.delete_pod(&deployment.pods[1]));
    pair.pass(50 * MINUTE);
    pair.start_aggregator();
    pair.pass(3 * MINUTE);
    let mut told = pair.told();
    told.sort();
    assert_eq!(told, ["Evicted n2 firing", "Evicted n2 resolved", "OOMKilled api firing"]);
}

#[test]
fn what_is_told_again_under_the_same_incarnation_has_a_key_of_its_own() {
    let (mut pair, deployment) = with_deployment(1);
    pair.change(|world| world.crash_loop(&deployment.pods[0], 4)).pass(MINUTE);
    for enabled in [false, true] {
        pair.change_rules(|rules| rules.kinds.get_mut("CrashLoopBackOff").expect("a kind").enabled = enabled);
        pair.pass(2 * MINUTE);
    }
    pair.assert_told(&["CrashLoopBackOff api firing", "CrashLoopBackOff api resolved", "CrashLoopBackOff api firing"]);
    pair.assert_keys_are_stable();
}
