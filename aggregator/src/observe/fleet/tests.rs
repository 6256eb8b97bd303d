//! Who should report, and who does.

use serde_json::{Value, json};

use super::*;

const NOW: Time = Time::from_millis(1_777_600_000_000);
const INTERVAL: Duration = Duration::from_secs(30);

fn minutes(minutes: u64) -> Duration {
    Duration::from_mins(minutes)
}

fn node(name: &str, ready: &str) -> Node {
    let node =
        json!({ "metadata": { "name": name }, "status": { "conditions": [{ "type": "Ready", "status": ready }] } });
    serde_json::from_value(node).expect("a node")
}

/// A pod of the DaemonSet on node `n1`, created that long ago, with `change` laid over it.
fn agent(uid: &str, ago: Duration, change: &Value) -> Pod {
    let mut pod = json!({
        "metadata": {
            "name": uid, "uid": uid, "creationTimestamp": (NOW - ago).to_string(),
            "ownerReferences": [{ "kind": "DaemonSet", "name": "agent", "controller": true }],
        },
        "spec": { "nodeName": "n1" },
        "status": { "phase": "Running" },
    });
    lay_over(&mut pod, change);
    serde_json::from_value(pod).expect("a pod")
}

fn lay_over(value: &mut Value, change: &Value) {
    match (value, change) {
        (Value::Object(fields), Value::Object(changes)) => {
            for (name, change) in changes {
                lay_over(fields.entry(name.clone()).or_insert(Value::Null), change);
            }
        }
        (value, change) => *value = change.clone(),
    }
}

fn running(started_ago: Duration) -> Value {
    container(&json!({ "state": { "running": { "startedAt": (NOW - started_ago).to_string() } } }))
}

fn container(status: &Value) -> Value {
    json!({ "status": { "containerStatuses": [status] } })
}

fn fleet(pods: &[Pod]) -> Fleet {
    let mut fleet = Fleet::new("agent".into());
    fleet.on_nodes(vec![node("n1", "True")], &[]);
    fleet.on_pods(pods, NOW);
    fleet
}

/// What is known about the agent of `n1`: wanted, being replaced, and how long ago it started.
#[track_caller]
fn check(pods: &[Pod], wanted: bool, replacing: bool, started_ago: Option<Duration>) {
    let fleet = fleet(pods);
    let sights = fleet.sights(&HashMap::new(), INTERVAL, NOW);
    let [sight] = sights.as_slice() else { panic!("one node, not {}", sights.len()) };
    assert_eq!((sight.wanted, sight.replacing), (wanted, replacing));
    assert_eq!(sight.started.map(|started| NOW.since(started)), started_ago);
}

#[test]
fn an_agent_is_wanted_where_the_daemon_set_has_a_pod() {
    check(&[], false, false, None);
    check(&[agent("a", minutes(60), &running(minutes(59)))], true, false, Some(minutes(59)));
    check(
        &[agent(
            "a",
            minutes(60),
            &json!({ "metadata": { "ownerReferences": [{ "kind": "DaemonSet", "name": "other", "controller": true }] } }),
        )],
        false,
        false,
        None,
    );
    check(
        &[agent(
            "a",
            minutes(60),
            &json!({ "metadata": { "ownerReferences": [{ "kind": "ReplicaSet", "name": "agent", "controller": true }] } }),
        )],
        false,
        false,
        None,
    );
    check(&[agent("a", minutes(60), &json!({ "status": { "phase": "Failed" } }))], false, false, None);
    check(&[agent("a", minutes(60), &json!({ "spec": { "nodeName": null } }))], false, false, None);
}

#[test]
fn an_agent_that_comes_or_goes_is_replaced_but_not_for_ever() {
    check(&[agent("a", minutes(1), &json!({}))], true, true, None);
    check(&[agent("a", minutes(11), &json!({}))], true, false, None);
    let leaving = |ago| {
        let mut pod = running(minutes(59));
        lay_over(&mut pod, &json!({ "metadata": { "deletionTimestamp": (NOW - ago).to_string() } }));
        agent("a", minutes(60), &pod)
    };
    check(&[leaving(minutes(1))], true, true, Some(minutes(59)));
    check(&[leaving(minutes(11))], true, false, Some(minutes(59)));
    check(&[leaving(minutes(1)), agent("b", minutes(1), &json!({}))], true, true, Some(minutes(59)));
}

#[test]
fn an_agent_that_crashes_again_and_again_started_once() {
    let crashing = container(&json!({ "restartCount": 7, "state": { "waiting": { "reason": "CrashLoopBackOff" } } }));
    check(&[agent("a", minutes(60), &crashing)], true, false, Some(minutes(60)));
    let mut fleet = fleet(&[agent("a", minutes(60), &running(minutes(59)))]);
    let mut again = running(minutes(1));
    again["status"]["containerStatuses"][0]["restartCount"] = json!(1);
    fleet.on_pod(&agent("a", minutes(60), &again), NOW);
    assert_eq!(fleet.sights(&HashMap::new(), INTERVAL, NOW)[0].started, Some(NOW - minutes(59)));
}

#[test]
fn a_wrong_clock_on_the_node_starts_nothing_before_it_was_there_or_in_the_future() {
    check(&[agent("a", minutes(60), &running(minutes(600)))], true, false, Some(minutes(60)));
    let ahead = container(&json!({ "state": { "running": { "startedAt": (NOW + minutes(600)).to_string() } } }));
    let mut fleet = fleet(&[agent("a", minutes(60), &ahead)]);
    fleet.on_pod(&agent("a", minutes(60), &ahead), NOW + minutes(5));
    assert_eq!(fleet.sights(&HashMap::new(), INTERVAL, NOW)[0].started, Some(NOW), "and it does not move");
}

#[test]
fn nodes_that_are_no_more_are_named_and_those_that_could_not_be_read_stay() {
    let mut fleet = fleet(&[]);
    fleet.on_node(node("n2", "True"));
    fleet.on_node(node("n3", "True"));
    assert_eq!(fleet.on_nodes(vec![node("n1", "True")], &["n3".into()]), [Arc::from("n2")]);
    assert_eq!(fleet.nodes().count(), 2);
    fleet.on_node_deleted("n3");
    assert_eq!(fleet.nodes().count(), 1);
}

#[test]
fn only_agents_on_nodes_that_are_well_are_waited_for() {
    let on = |node: &str| agent(node, minutes(60), &json!({ "spec": { "nodeName": node } }));
    let mut fleet = fleet(&[on("n1"), on("n2"), on("n3"), on("gone")]);
    fleet.on_node(node("n2", "Unknown"));
    let removed = json!({ "metadata": { "name": "n3" }, "spec": { "taints": [{ "key": "ToBeDeletedByClusterAutoscaler" }] },
        "status": { "conditions": [{ "type": "Ready", "status": "True" }] } });
    fleet.on_node(serde_json::from_value(removed).expect("a node"));
    assert_eq!(fleet.expected(), [Arc::from("n1")]);
}

#[test]
fn the_strength_counts_who_was_heard_within_three_heartbeats() {
    let on = |node: &str| agent(node, minutes(60), &json!({ "spec": { "nodeName": node } }));
    let fleet = fleet(&[on("n1"), on("n2"), on("n3")]);
    let ago = |intervals| Heard { at: NOW - INTERVAL * intervals, interval: INTERVAL };
    let heard = HashMap::from([("n1".into(), ago(3)), ("n2".into(), ago(4)), ("n4".into(), ago(0))]);
    assert_eq!(fleet.strength(&heard, NOW), Strength { expected: 3, connected: 1, silent: 2 });
}
