//! PodFailed: a pod has failed, or one of its containers has and will not be started again.
//!
//! Failed pods lie around for weeks: each fails once.

use std::sync::Arc;
use std::time::Duration;

use crate::catalogue::{Nature, Row, Side};
use crate::finding::{Evidence, Owner, Severity};
use crate::gates::Gates;
use crate::owner::top_owner;
use crate::verdict::{
    Health, Observation, PodCase, Rule, Verdict, container_evidence, is_sidecar_after_the_end, last_end, some_text,
};
use crate::view::{Container, ContainerStatus, Phase, Pod, TerminatedState};

pub(crate) static ROW: Row = Row {
    name: "PodFailed",
    headline: "has failed",
    recovered: "has failed no more",
    look: "kubectl -n {namespace} describe pod {pod}",
    nature: Nature::Edge,
    side: Side::NodeAgent,
    severity: Severity::Warning,
    sustain: Duration::ZERO,
    hold: Duration::from_mins(5),
    thresholds: &[],
    explains: &[],
    gates: Gates::CRASH,
    rule: Rule::Pod(pod_failed),
};

/// Reasons of failure that are kinds of their own: evicted, or never admitted by the kubelet.
const OTHERS: &[&str] = &[
    "Evicted",
    "NodeAffinity",
    "NodeShutdown",
    "OutOfcpu",
    "OutOfmemory",
    "OutOfpods",
    "Terminated",
    "UnexpectedAdmissionError",
];

fn pod_failed(case: &PodCase<'_>) -> Verdict {
    let PodCase { pod, moment, .. } = case;
    let of_job = pod.meta.controller().is_some_and(|owner| &*owner.kind == "Job");
    let first = first_failure(pod);
    let failed = pod.status.phase == Phase::Failed || first.is_some();
    if !failed || of_job || OTHERS.contains(&&*pod.status.reason) {
        return Verdict::well(None);
    }

    let ended = first.and_then(|(_, _, ended)| ended.finished_at).map(|at| moment.kubelet(at));
    let started = || pod.status.start_time.map(|at| moment.kubelet(at)).or(pod.meta.creation_timestamp);
    let since = ended.or_else(|| last_end(pod, *moment)).or_else(started).unwrap_or(moment.now);
    // A static pod may fail more than once under its name.
    let container = first.filter(|_| pod.is_static()).map(|(_, _, ended)| &*ended.container_id);
    let occurrence = Observation {
        severity: (!of_workload(pod)).then_some(Severity::Info),
        owner: (!of_workload(pod)).then(|| by_kind(pod)),
        evidence: evidence(pod, first),
        ..Observation::new(since, &["failed", case.identity(), container.unwrap_or_default()])
    };
    // A failed pod never gets well; it is gone one day.
    Verdict::Happened(occurrence, Health::Unclear)
}

/// The container that ended first of those that ended with an error for good.
fn first_failure(pod: &Pod) -> Option<(&Container, &ContainerStatus, &TerminatedState)> {
    let failures = pod.containers().filter_map(|(spec, status)| {
        let ended = status.state.terminated.as_ref().filter(|ended| ended.exit_code != 0)?;
        let stays = !spec.restarts(ended.exit_code, pod.spec.restart_policy) && !is_sidecar_after_the_end(pod, spec);
        stays.then_some((spec, status, ended))
    });
    failures.min_by_key(|(_, _, ended)| ended.finished_at)
}

/// Whether its controller is a workload of Kubernetes itself; others (CI, operators) let pods fail in normal life.
fn of_workload(pod: &Pod) -> bool {
    pod.meta.controller().is_some_and(|owner| matches!(owner.group(), "apps" | "batch"))
}

/// The owner by kind alone; pods without a controller by what they were called after.
fn by_kind(pod: &Pod) -> Owner {
    let top = top_owner(pod);
    let named = pod.is_static() || (pod.meta.controller().is_none() && !pod.meta.generate_name.is_empty());
    if named { top } else { Owner { kind: top.kind, name: Arc::default() } }
}

fn evidence(pod: &Pod, first: Option<(&Container, &ContainerStatus, &TerminatedState)>) -> Evidence {
    let of_container = first.map(|(spec, status, _)| container_evidence(spec, status)).unwrap_or_default();
    let ended = first.map(|(_, _, ended)| ended);
    let names = first.iter().map(|(spec, _, _)| Evidence::text(&spec.name)).collect();
    Evidence {
        reason: some_text(&pod.status.reason).or_else(|| some_text(&ended?.reason)),
        message: some_text(&pod.status.message).or_else(|| some_text(&ended?.message)),
        names,
        ..of_container
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::Severity;
    use crate::testing::Step::{Amnesia, Gone, Relist, Restart, Sees};
    use crate::testing::{Draft, check, ended, last_told, pod, running};

    fn failed(at: i64) -> Draft {
        once().app(ended(7, "Error", at), 0).unready(at).set("/status/phase", json!("Failed"))
    }

    /// A pod that is not started again.
    fn once() -> Draft {
        pod().set("/spec/restartPolicy", json!("Never"))
    }

    #[test]
    fn pods_that_fail() {
        let check = |what, story: &[_], expected| check(what, "PodFailed", story, expected);

        check("are told at once, and are over an hour later", &[(10, Sees(failed(9)))], "10 active, 3609 cleared");
        check(
            "by one container that is not started again",
            &[(10, Sees(once().app(ended(7, "Error", 9), 0)))],
            "10 active, 3609 cleared",
        );
        check(
            "by one container and then wholly fail once",
            &[(10, Sees(once().app(ended(7, "Error", 9), 0))), (20, Sees(failed(9)))],
            "10 active, 3609 cleared",
        );
        check(
            "past their deadline",
            &[(
                10,
                Sees(
                    pod()
                        .set("/status/reason", json!("DeadlineExceeded"))
                        .set("/status/phase", json!("Failed"))
                        .app(ended(137, "Error", 8), 0),
                ),
            )],
            "10 active, 3608 cleared",
        );
        check(
            "and lie around are not told again",
            &[(10, Sees(failed(9))), (90_000, Sees(failed(9))), (180_000, Relist(vec![failed(9)]))],
            "10 active, 3609 cleared",
        );
        check("and are gone", &[(10, Sees(failed(9))), (20, Gone(failed(9)))], "10 active, 320 cleared");
        check(
            "survive a restart",
            &[(10, Sees(failed(9))), (20, Restart(vec![failed(9)])), (30, Amnesia(vec![failed(9)]))],
            "10 active, 3609 cleared",
        );
        check(
            "though a rule would start them again for another exit code",
            &[(
                10,
                Sees(once().app(ended(7, "Error", 9), 0).set(
                    "/spec/containers/0/restartPolicyRules",
                    json!([{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]),
                )),
            )],
            "10 active, 3609 cleared",
        );
    }

    #[test]
    fn what_has_not_failed() {
        let none = |what, pod| check(what, "PodFailed", &[(10, Sees(pod))], "");

        none("a container that is started again", pod().app(ended(7, "Error", 9), 0));
        none("a container that ended well", once().app(ended(0, "Completed", 9), 0));
        none(
            "a container that a rule starts again",
            once().app(ended(42, "Error", 9), 0).set(
                "/spec/containers/0/restartPolicyRules",
                json!([{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]),
            ),
        );
        none(
            "a sidecar after its main containers have ended",
            once()
                .with_sidecar("mesh")
                .container("initContainerStatuses", "mesh", ended(143, "Error", 9), 0)
                .app(ended(0, "Completed", 5), 0),
        );
        none(
            "a pod that ends by a signal while it is being deleted",
            failed(9).app(ended(143, "Error", 9), 0).deleted(40, 30),
        );
        none("a pod that is being disrupted", failed(9).condition("DisruptionTarget", "True", 9));
        none("a pod of a Job", failed(9).owned_by("batch/v1", "Job", "migrate"));
        none("a placeholder", failed(9).set("/spec/priority", json!(-10)));
        for reason in super::OTHERS {
            none(reason, failed(9).set("/status/reason", json!(reason)));
        }
        none("a running pod", once().app(running(5), 0));
    }

    #[test]
    fn pods_of_workloads_count_more_than_others() {
        let told = |pod: Draft| last_told("PodFailed", &[(10, Sees(pod))]);
        let of = |told: crate::Finding| (told.owner.to_string(), told.severity);
        assert_eq!(of(told(failed(9))), ("Deployment/api".into(), Severity::Warning));
        assert_eq!(
            of(told(failed(9).owned_by("tekton.dev/v1", "TaskRun", "build-1"))),
            ("TaskRun".into(), Severity::Info)
        );
        assert_eq!(
            of(told(failed(9).owned_by("example.com/v1", "Runner", "run-1"))),
            ("Runner".into(), Severity::Info)
        );
        assert_eq!(of(told(failed(9).owned_by("", "", ""))), ("Pod/api-5d8f".into(), Severity::Info));
        let evidence = told(failed(9)).evidence;
        assert_eq!((evidence.exit_code, evidence.names), (Some(7), vec!["app".into()]));
    }
}
