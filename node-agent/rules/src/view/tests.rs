//! Views of JSON as the API sends it, and as it might.

use super::*;
use crate::time::Time;

#[test]
fn null_means_the_same_as_nothing() {
    let pod: Pod = serde_json::from_str(
        r#"{"metadata": {"name": null, "labels": null, "ownerReferences": null, "creationTimestamp": null},
            "spec": {"containers": null, "nodeName": null, "restartPolicy": null},
            "status": {"phase": null, "conditions": null, "containerStatuses": [{"name": "app", "state": null}]}}"#,
    )
    .expect("a pod");
    assert_eq!(pod.meta, Meta::default());
    assert_eq!(pod.spec, PodSpec::default());
    assert_eq!(pod.status.phase, Phase::Unknown);
    assert_eq!(pod.status.container_statuses[0].state, ContainerState::default());
    assert_eq!(serde_json::from_str::<Pod>(r#"{"metadata": null, "status": null}"#).expect("a pod"), Pod::default());
}

#[test]
fn words_that_no_rule_knows_are_other() {
    let pod: Pod = serde_json::from_str(
        r#"{"spec": {"restartPolicy": "Sometimes"},
            "status": {"phase": "Sleeping", "conditions": [{"type": "Happy", "status": "Maybe"}]}}"#,
    )
    .expect("a pod");
    assert_eq!(pod.status.phase, Phase::Unknown);
    assert_eq!(pod.spec.restart_policy, RestartPolicy::Always);
    assert_eq!(pod.status.conditions, [Condition::default()]);
}

#[test]
fn only_labels_and_annotations_that_rules_read_are_kept() {
    let meta: Meta = serde_json::from_str(
        r#"{"labels": {"app": "api", "pod-template-hash": "5d8f"},
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", "tocsin.dev/ignore": "all"}}"#,
    )
    .expect("metadata");
    assert_eq!(meta.labels.pod_template_hash.as_deref(), Some("5d8f"));
    assert_eq!(meta.annotations.ignore.as_deref(), Some("all"));
    assert_eq!(meta.annotations.config_mirror, None);
}

#[test]
fn a_timestamp_that_cannot_be_read_is_none() {
    let meta: Meta = serde_json::from_str(
        r#"{"creationTimestamp": "2026-05-01T02:14:05Z", "deletionTimestamp": "soon", "deletionGracePeriodSeconds": 30}"#,
    )
    .expect("metadata");
    assert_eq!(meta.creation_timestamp, Time::parse("2026-05-01T02:14:05Z"));
    assert_eq!(meta.deletion_timestamp, None);
}

#[test]
fn a_container_is_started_again_as_its_rules_then_its_policy_then_its_pods_policy_say() {
    let restarts =
        |json: &str, code, pod| serde_json::from_str::<Container>(json).expect("a container").restarts(code, pod);
    assert!(restarts("{}", 1, RestartPolicy::OnFailure));
    assert!(!restarts("{}", 0, RestartPolicy::OnFailure));
    assert!(!restarts("{}", 1, RestartPolicy::Never));
    assert!(restarts(r#"{"restartPolicy": "Always"}"#, 1, RestartPolicy::Never));
    let ruled = r#"{"restartPolicy": "Never",
        "restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]}"#;
    assert!(restarts(ruled, 42, RestartPolicy::Always));
    assert!(!restarts(ruled, 1, RestartPolicy::Always));
}
