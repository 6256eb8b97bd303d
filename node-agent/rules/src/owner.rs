//! The top owner of a pod: what issues are grouped under, as far as the pod itself tells it.

use std::sync::Arc;
use std::time::Duration;

use crate::finding::Owner;
use crate::name::word;
use crate::time::Time;
use crate::view::{OwnerReference, Pod};

/// Kinds whose every object is one run of something: a new one each time. Their pods are grouped by kind and namespace.
const ONE_OFF: &[&str] = &[
    "CustomRun",
    "EphemeralRunner",
    "MPIJob",
    "PipelineRun",
    "PyTorchJob",
    "RayJob",
    "SparkApplication",
    "TFJob",
    "TaskRun",
    "Workflow",
];

/// How far the minute in a Job's name may lie from the creation of its pod for the Job to be a CronJob's: a Job may
/// wait and retry for long, and clocks differ a little.
const CRON_BEFORE: Duration = Duration::from_hours(60 * 24);
const CRON_AFTER: Duration = Duration::from_hours(24);

/// The top owner of `pod`.
///
/// - ReplicaSet → Deployment, when the ReplicaSet's name ends with the pod's `pod-template-hash` (Argo's Rollout by its
///   own hash label).
/// - Job → CronJob: a pod names only its Job, but a CronJob calls its Jobs `<cronjob>-<minutes since 1970>`; the
///   minute must lie near the pod's creation.
/// - One-off owners (Workflow, TaskRun …) by kind alone: the name is empty.
/// - A static pod by its own name. Its owner is its Node; no other pod's is, whatever it says.
/// - Without a controller: `generateName` (without the dash at its end), else the pod's name.
pub fn top_owner(pod: &Pod) -> Owner {
    let Owner { kind, name } = match pod.meta.controller() {
        Some(controller) if &*controller.kind != "Node" && !pod.is_static() => of_controller(pod, controller),
        Some(_) | None => bare(pod),
    };
    // Whoever makes a pod writes what he likes into its owner references.
    Owner { kind: word(kind), name: word(name) }
}

fn of_controller(pod: &Pod, controller: &OwnerReference) -> Owner {
    let labels = &pod.meta.labels;
    match &*controller.kind {
        "ReplicaSet" => stripped(controller, labels.pod_template_hash.as_deref(), "Deployment")
            .or_else(|| stripped(controller, labels.rollouts_pod_template_hash.as_deref(), "Rollout"))
            .unwrap_or_else(|| plain(controller)),
        "Job" => cron_job(&controller.name, pod.meta.creation_timestamp).unwrap_or_else(|| plain(controller)),
        kind if ONE_OFF.contains(&kind) => Owner { kind: controller.kind.clone(), name: Arc::default() },
        _ => plain(controller),
    }
}

fn plain(controller: &OwnerReference) -> Owner {
    Owner { kind: controller.kind.clone(), name: controller.name.clone() }
}

fn bare(pod: &Pod) -> Owner {
    let prefix = pod.meta.generate_name.trim_end_matches('-');
    let name = if prefix.is_empty() { pod.meta.name.clone() } else { Arc::from(prefix) };
    Owner { kind: Arc::from("Pod"), name }
}

/// The owner that called `controller` by its own name, a dash and `hash`.
fn stripped(controller: &OwnerReference, hash: Option<&str>, kind: &str) -> Option<Owner> {
    let name = controller.name.strip_suffix(hash?)?.strip_suffix('-')?;
    Some(Owner { kind: Arc::from(kind), name: Arc::from(name) })
}

fn cron_job(job: &str, created: Option<Time>) -> Option<Owner> {
    let (name, minutes) = job.rsplit_once('-')?;
    if name.is_empty() || minutes.len() != 8 || !minutes.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let scheduled = Time::from_millis(minutes.parse::<i64>().ok()? * 60_000);
    let near = created.is_none_or(|created| scheduled <= created + CRON_AFTER && created <= scheduled + CRON_BEFORE);
    near.then(|| Owner { kind: Arc::from("CronJob"), name: Arc::from(name) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::NAME_MAX;

    fn check(metadata: &str, owner: &str) {
        let pod: Pod = serde_json::from_str(&format!(r#"{{"metadata": {metadata}}}"#)).expect("a pod");
        assert_eq!(top_owner(&pod).to_string(), owner, "{metadata}");
    }

    #[test]
    fn an_owner_that_no_object_can_be_is_named_all_the_same() {
        let pod: Pod = serde_json::from_value(serde_json::json!({"metadata": {
            "name": "x-1",
            "ownerReferences": [{"controller": true, "kind": "Evil\nKind", "name": format!("a b{}", "é".repeat(1_000))}],
        }}))
        .expect("a pod");
        let Owner { kind, name } = top_owner(&pod);
        assert_eq!((&*kind, &name[..4], name.len()), ("Evil_Kind", "a_b_", NAME_MAX));
    }

    #[test]
    fn nobody_but_a_static_pod_is_a_nodes() {
        let owned = |annotations: &str| {
            format!(
                r#"{{"name": "x-n1", "annotations": {{{annotations}}},
                    "ownerReferences": [{{"kind": "Node", "name": "n1", "controller": true}}]}}"#
            )
        };
        check(&owned(r#""kubernetes.io/config.mirror": "8b1""#), "Pod/x-n1");
        check(&owned(""), "Pod/x-n1");
    }

    #[test]
    fn a_replica_set_leads_to_its_deployment_by_the_hash() {
        let owned = |name: &str, label: &str| {
            format!(
                r#"{{"name": "p", "labels": {{"{label}": "5d8f"}},
                    "ownerReferences": [{{"kind": "ReplicaSet", "name": "{name}", "controller": true}}]}}"#
            )
        };
        check(&owned("api-v2-5d8f", "pod-template-hash"), "Deployment/api-v2");
        check(&owned("api-5d8f", "rollouts-pod-template-hash"), "Rollout/api");
        check(&owned("made-by-hand", "pod-template-hash"), "ReplicaSet/made-by-hand");
        check(&owned("api-5d8f", "app"), "ReplicaSet/api-5d8f");
    }

    #[test]
    fn a_job_leads_to_its_cron_job_by_the_minute_in_its_name() {
        let owned = |job: &str| {
            format!(
                r#"{{"name": "p", "creationTimestamp": "2026-05-01T02:14:05Z",
                    "ownerReferences": [{{"kind": "Job", "name": "{job}", "controller": true}}]}}"#
            )
        };
        // 2026-05-01T02:14:00Z is minute 29626694.
        check(&owned("report-29626694"), "CronJob/report");
        check(&owned("report-29560000"), "CronJob/report");
        check(&owned("report-20260501"), "Job/report-20260501");
        check(&owned("migrate-v2"), "Job/migrate-v2");
        check(&owned("-29626694"), "Job/-29626694");
    }

    #[test]
    fn other_controllers_are_owners_themselves() {
        let owned = |kind: &str, controller: bool| {
            format!(
                r#"{{"name": "p-0", "ownerReferences": [{{"kind": "{kind}", "name": "db", "controller": {controller}}}]}}"#
            )
        };
        check(&owned("StatefulSet", true), "StatefulSet/db");
        check(&owned("Workflow", true), "Workflow");
        check(&owned("ConfigMap", false), "Pod/p-0");
    }

    #[test]
    fn pods_without_a_controller_go_by_what_they_were_called_after() {
        check(r#"{"name": "run-x7k", "generateName": "run-"}"#, "Pod/run");
        check(r#"{"name": "debug"}"#, "Pod/debug");
        check(
            r#"{"name": "etcd-n1", "annotations": {"kubernetes.io/config.mirror": "8b1"},
                "ownerReferences": [{"kind": "Node", "name": "n1", "controller": true}]}"#,
            "Pod/etcd-n1",
        );
    }
}
