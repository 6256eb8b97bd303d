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
