//! Objects as a real cluster (v1.36) showed them, cut down to what matters here: what is found in each.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rules::{Config, Engine, Node, Observer, Pod, State, Time};

/// An hour after most of them were captured, and a minute for what the API gives no time of.
const LISTED: &str = "2026-11-21T09:00:00Z";
const LATER: &str = "2026-11-21T09:01:00Z";

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name).with_extension("json");
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn time(text: &str) -> Time {
    Time::parse(text).expect("a timestamp")
}

/// What is active: kind, owner, container.
fn active(engine: &mut Engine) -> String {
    engine.changes();
    engine.on_tick(time(LATER));
    let active = engine.findings().filter(|finding| finding.state == State::Active);
    let mut words: Vec<String> = active
        .map(|finding| format!("{} {} {}", finding.kind, finding.owner, finding.subject.container).trim().to_owned())
        .collect();
    words.sort();
    words.join(", ")
}

fn check_pod(observer: Observer, name: &str, expected: &str) {
    let pod: Pod = serde_json::from_str(&read(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut engine = Engine::new(observer, Arc::new(Config::default()));
    engine.on_relist(&[pod], time(LISTED));
    assert_eq!(active(&mut engine), expected, "{name}");
}

#[test]
fn a_node_agent_finds_what_is_wrong_with_its_pods() {
    let check = |name, expected| check_pod(Observer::NodeAgent { node: Arc::from("node-1") }, name, expected);

    check("crash-loop", "CrashLoopBackOff Pod/crash-loop main, NotReady Pod/crash-loop");
    check("crash-loop-runs", "");
    check("deployment-crash-loop", "CrashLoopBackOff Deployment/web main, NotReady Deployment/web");
    check("init-crash-loop", "CrashLoopBackOff Pod/init-crash-loop setup");
    check("sidecar-crash-loop", "CrashLoopBackOff Pod/sidecar-crash-loop side, NotReady Pod/sidecar-crash-loop");
    check("command-missing", "CrashLoopBackOff Pod/command-missing main, NotReady Pod/command-missing");
    check("exit-137", "CrashLoopBackOff Pod/exit-137 main, NotReady Pod/exit-137");
    check("image-error", "ImagePull Pod/image-absent main");
    check("image-back-off", "ImagePull Pod/image-absent main");
    check("oom-killed", "CrashLoopBackOff Pod/oom-killed main, NotReady Pod/oom-killed, OOMKilled Pod/oom-killed main");
    check(
        "oom-killed-loops",
        "CrashLoopBackOff Pod/oom-killed main, NotReady Pod/oom-killed, OOMKilled Pod/oom-killed main",
    );
    check("evicted", "Evicted Pod/evicted");
    check("failed", "PodFailed Pod");
    check("deadline-exceeded", "PodFailed Pod");
    check("not-ready", "NotReady Pod/not-ready");
    check("stuck-finalizer", "StuckTerminating Pod/stuck-finalizer");
    check("running-on-lost-node", "NotReady Pod/running");
}

#[test]
fn a_node_agent_finds_nothing_wrong_with_the_others() {
    let check = |name| check_pod(Observer::NodeAgent { node: Arc::from("node-1") }, name, "");

    for name in
        ["running", "succeeded", "evicted-exits-0", "cron-job-failed", "terminating-with-grace", "unschedulable"]
    {
        check(name);
    }
}

#[test]
fn a_pod_that_was_deleted_and_ended_badly_has_not_failed() {
    let pod: Pod = serde_json::from_str(&read("deleted")).expect("a pod");
    let mut engine = Engine::new(Observer::NodeAgent { node: Arc::from("node-1") }, Arc::new(Config::default()));
    engine.on_relist(&[pod], time("2026-11-21T08:03:58Z"));
    let pending: Vec<&str> = engine.findings().map(|finding| finding.kind.name()).collect();
    assert_eq!(pending, ["StuckTerminating"]);
}

#[test]
fn a_cron_jobs_pod_leads_to_its_cron_job() {
    let pod: Pod = serde_json::from_str(&read("cron-job-failed")).expect("a pod");
    assert_eq!(rules::top_owner(&pod).to_string(), "CronJob/nightly");
}

#[test]
fn the_aggregator_finds_pods_without_a_node() {
    check_pod(Observer::Aggregator, "unschedulable", "Unschedulable Pod/unschedulable");
    check_pod(Observer::Aggregator, "gated", "");
}

#[test]
fn the_aggregator_finds_nodes_that_do_not_answer() {
    let check = |name: &str, expected: &str| {
        let node: Node = serde_json::from_str(&read(name)).expect("a node");
        let mut engine = Engine::new(Observer::Aggregator, Arc::new(Config::default()));
        engine.on_node_relist(&[node], time(LISTED));
        assert_eq!(active(&mut engine), expected, "{name}");
    };
    check("node-down", "NodeNotReady Node/node-1");
    check("node-ready", "");
}
