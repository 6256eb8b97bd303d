//! Pods that are read before their issues are told.

use process::Mark;
use rules::{FindingId, Kind, Owner, Time};
use serde_json::{Value, json};

use super::*;
use crate::dedupe::{IssueKey, MemberId};

const SINCE: Time = Time::from_millis(1_777_600_000_700);

fn check_of(pod: &str, uid: &str, node: &str) -> Check {
    let owner = Owner { kind: "Deployment".into(), name: "api".into() };
    let kind = Kind::named("CrashLoopBackOff").expect("it is in the catalogue");
    Check {
        issue: Arc::new(IssueKey { namespace: "shop".into(), owner, container: "app".into(), kind }),
        member: MemberId { observer: node.into(), finding: FindingId(1) },
        namespace: "shop".into(),
        pod: pod.into(),
        uid: uid.into(),
        node: node.into(),
        since: SINCE,
    }
}

#[track_caller]
fn check(uid: &str, found: Option<Value>, checked: Checked) {
    let found = found.map(|pod| serde_json::from_value(pod).expect("a pod"));
    assert_eq!(judge(&check_of("api-1", uid, "n1"), found.as_ref()), checked);
}

#[test]
fn a_pod_is_believed_when_uid_and_node_are_the_reporters() {
    let pod = |uid: &str, node: &str| {
        Some(json!({ "metadata": { "name": "api-1", "uid": uid }, "spec": { "nodeName": node } }))
    };
    check("u1", pod("u1", "n1"), Checked::NoDoubt);
    check("u1", pod("u2", "n1"), Checked::Mismatch);
    check("u1", pod("u1", "n2"), Checked::Mismatch);
    check("u1", pod("u1", ""), Checked::Mismatch);
}

#[test]
fn a_pod_that_is_gone_is_no_reason_for_doubt() {
    check("u1", None, Checked::NoDoubt);
}

#[test]
fn nor_is_its_successor_of_the_same_name_wherever_it_runs() {
    let made = |at: Time, node: &str| {
        let metadata = json!({ "name": "api-1", "uid": "u2", "creationTimestamp": at.to_string() });
        Some(json!({ "metadata": metadata, "spec": { "nodeName": node } }))
    };
    let (before, same_second) = (Time::from_millis(1_777_599_999_000), Time::from_millis(1_777_600_000_000));
    check("u1", made(SINCE + Duration::from_secs(9), "n2"), Checked::NoDoubt);
    check("u1", made(same_second, ""), Checked::NoDoubt);
    check("u1", made(before, "n1"), Checked::Mismatch);
    check("", made(SINCE + Duration::from_secs(9), "n1"), Checked::Mismatch);
}

#[test]
fn only_a_static_pod_may_come_without_a_uid() {
    let pod = |annotations: Value| {
        Some(json!({ "metadata": { "uid": "u1", "annotations": annotations }, "spec": { "nodeName": "n1" } }))
    };
    check("", pod(json!({ "kubernetes.io/config.mirror": "8b1" })), Checked::NoDoubt);
    check("", pod(json!({})), Checked::Mismatch);
}

#[test]
fn a_name_that_no_pod_can_have_is_not_even_looked_up() {
    for pod in ["../../secrets/token", "..", "a?watch=1", "A"] {
        assert_eq!(judge(&check_of(pod, "u1", "n1"), None), Checked::Mismatch, "{pod}");
    }
}

#[test]
fn a_pod_is_believed_for_a_while_and_only_as_it_was_described() {
    let mut believed = Cache::new(BELIEVED_FOR, BELIEVED_MAX);
    let at = |seconds| Mark::from_start(Duration::from_secs(seconds));
    let mut knows = |uid: &str, node: &str, seconds| {
        believed.insert(described(&check_of("api-1", "u1", "n1")), (), at(0));
        believed.get(&described(&check_of("api-1", uid, node)), at(seconds)).is_some()
    };
    assert!(knows("u1", "n1", 29));
    assert!(!knows("u1", "n1", 30));
    assert!(!knows("u1", "n2", 1));
    assert!(!knows("u2", "n1", 1));
}
