//! NotReady: a pod runs but does not serve.
//!
//! A pod that was never ready is given as long as its own probes give it; one that was ready once is not.

use std::time::Duration;

use crate::catalogue::{Nature, Row, Side};
use crate::finding::{Evidence, Severity};
use crate::gates::Gates;
use crate::time::Time;
use crate::verdict::{Observation, PodCase, Rule, Verdict, last_end, some_text};
use crate::view::{Condition, ConditionStatus, ConditionType, Container, ContainerStatus, Phase, Probe, RestartPolicy};

pub(crate) static ROW: Row = Row {
    name: "NotReady",
    headline: "runs but is not ready",
    recovered: "is ready again",
    look: "kubectl -n {namespace} describe pod {pod}",
    nature: Nature::Level,
    side: Side::NodeAgent,
    severity: Severity::Warning,
    // The least that a pod's probes are given.
    sustain: Duration::from_mins(2),
    hold: Duration::from_mins(5),
    // The most that they are given, and what a pod is given that was ready once.
    thresholds: &[("startSecondsMax", 900.0), ("onceReadySeconds", 60.0)],
    explains: &[],
    gates: Gates::POD,
    rule: Rule::Pod(not_ready),
};

fn not_ready(case: &PodCase<'_>) -> Verdict {
    let PodCase { pod, moment, settings } = case;
    let of_job = pod.meta.controller().is_some_and(|owner| &*owner.kind == "Job");
    if of_job || pod.spec.restart_policy != RestartPolicy::Always {
        return Verdict::well(None);
    }
    let ready = match (pod.status.phase, pod.condition(ConditionType::Ready)) {
        (Phase::Failed | Phase::Succeeded, _) => return Verdict::well(last_end(pod, *moment)),
        (Phase::Running, Some(ready)) if ready.status == ConditionStatus::True => {
            return Verdict::well(ready.last_transition_time.map(|at| moment.kubelet(at)));
        }
        (Phase::Running, Some(ready)) if ready.status == ConditionStatus::False => ready,
        _ => return Verdict::unclear(),
    };

    let unready: Vec<_> = pod.containers().filter(|(spec, status)| !status.ready && serves(case, spec)).collect();
    let initialized = pod.condition(ConditionType::Initialized).and_then(|it| it.last_transition_time);
    let once_ready = initialized.is_some_and(|initialized| ready.last_transition_time > Some(initialized));
    let (since, sustain) = if once_ready {
        (ready.last_transition_time, settings.seconds("onceReadySeconds"))
    } else {
        let most = settings.seconds("startSecondsMax").max(settings.sustain);
        (first_start(ready, initialized, &unready), budget(&unready).clamp(settings.sustain, most))
    };
    let transition = ready.last_transition_time.map(Time::as_millis).unwrap_or_default();
    Verdict::Holds(Observation {
        sustain: Some(sustain),
        evidence: Evidence {
            reason: some_text(&ready.reason),
            message: some_text(&ready.message),
            names: unready.iter().take(Evidence::NAMES_MAX).map(|(spec, _)| Evidence::text(&spec.name)).collect(),
            ..Evidence::default()
        },
        ..Observation::new(
            since.map_or(moment.now, |at| moment.kubelet(at)),
            &[case.identity(), &transition.to_string()],
        )
    })
}

/// Whether a container's readiness counts for the pod's: main containers and native sidecars.
fn serves(case: &PodCase<'_>, spec: &Container) -> bool {
    spec.is_sidecar() || case.pod.spec.containers.iter().any(|main| std::ptr::eq(main, spec))
}

/// When the containers that are not ready got their first chance: slow pulls of images are no lack of readiness. Later
/// starts of a container are known, its first is not any more.
fn first_start(
    ready: &Condition,
    initialized: Option<Time>,
    unready: &[(&Container, &ContainerStatus)],
) -> Option<Time> {
    let first = unready.iter().filter(|(_, status)| status.restart_count == 0);
    let started = first.filter_map(|(_, status)| status.state.running.as_ref()?.started_at).max();
    ready.last_transition_time.max(initialized).max(started)
}

/// How long the slowest of the containers may take to become ready, by its probes.
fn budget(unready: &[(&Container, &ContainerStatus)]) -> Duration {
    let of = |probe: &Option<Probe>| probe.as_ref().map_or(Duration::ZERO, Probe::budget);
    let each = unready.iter().map(|(spec, status)| {
        let starting = if status.started { Duration::ZERO } else { of(&spec.startup_probe) };
        starting + of(&spec.readiness_probe)
    });
    each.max().unwrap_or_default()
}
