//! Pods that are read before their issues are told.

use rules::{FindingId, Kind, Owner};
use serde_json::{Value, json};

use super::*;
use crate::dedupe::{IssueKey, MemberId};

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
    let mut believed = Believed::default();
    let at = |seconds| Mark::from_start(Duration::from_secs(seconds));
    believed.insert(described(&check_of("api-1", "u1", "n1")), at(0));
    assert!(believed.knows(&described(&check_of("api-1", "u1", "n1")), at(29)));
    assert!(!believed.knows(&described(&check_of("api-1", "u1", "n1")), at(30)));
    assert!(!believed.knows(&described(&check_of("api-1", "u1", "n2")), at(1)));
    assert!(!believed.knows(&described(&check_of("api-1", "u2", "n1")), at(1)));
}

#[test]
fn what_is_believed_is_bounded() {
    let mut believed = Believed::default();
    for n in 0..BELIEVED_MAX + 10 {
        believed.insert(described(&check_of(&format!("p{n}"), "u", "n")), Mark::default());
    }
    assert_eq!((believed.until.len(), believed.order.len()), (BELIEVED_MAX, BELIEVED_MAX));
}
