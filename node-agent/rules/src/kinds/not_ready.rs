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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::Step::{Amnesia, Gone, Restart, Sees};
    use crate::testing::{Draft, check, last_told, pod, running, waiting};

    /// Never ready; started at 40, after a slow pull.
    fn starting() -> Draft {
        pod().app(running(40), 0).unready(0)
    }

    fn probed(kind: &str, threshold: u32) -> Draft {
        let probe = json!({"initialDelaySeconds": 5, "periodSeconds": 10, "failureThreshold": threshold});
        starting().set(&format!("/spec/containers/0/{kind}"), probe)
    }

    #[test]
    fn pods_that_are_not_ready() {
        let check = |what, story: &[_], expected| check(what, "NotReady", story, expected);

        check("though they were once, for a minute", &[(100, Sees(pod().unready(100)))], "100 pending, 160 active");
        check(
            "but soon again",
            &[(100, Sees(pod().unready(100))), (150, Sees(pod().ready(150)))],
            "100 pending, 150 cleared",
        );
        check("ever, for at least two minutes since they run", &[(41, Sees(starting()))], "41 pending, 160 active");
        check(
            "ever, for as long as the readiness probe takes",
            &[(41, Sees(probed("readinessProbe", 30)))],
            "41 pending, 345 active",
        );
        check(
            "ever, for as long as the startup probe takes",
            &[(41, Sees(probed("startupProbe", 60)))],
            "41 pending, 645 active",
        );
        check(
            "ever, for a quarter of an hour at most",
            &[(41, Sees(probed("startupProbe", 6000)))],
            "41 pending, 940 active",
        );
        check(
            "of which the startup probe has passed",
            &[(41, Sees(probed("startupProbe", 60).set("/status/containerStatuses/0/started", json!(true))))],
            "41 pending, 160 active",
        );
        check("count from the API's own time", &[(130, Sees(pod().unready(100)))], "130 pending, 160 active");
        check(
            "clear when ready for the hold",
            &[(100, Sees(pod().unready(100))), (200, Sees(pod().ready(200)))],
            "100 pending, 160 active, 500 cleared",
        );
        check(
            "again within the hold stay one finding",
            &[
                (100, Sees(pod().unready(100))),
                (200, Sees(pod().ready(200))),
                (400, Sees(pod().unready(400))),
                (500, Sees(pod().ready(500))),
            ],
            "100 pending, 160 active, 800 cleared",
        );
        check(
            "survive a restart, the sustain too",
            &[
                (100, Sees(pod().unready(100))),
                (120, Restart(vec![pod().unready(100)])),
                (200, Restart(vec![pod().unready(100)])),
                (300, Amnesia(vec![pod().unready(100)])),
            ],
            "100 pending, 160 active",
        );
        check(
            "survive a restart within their hold",
            &[(100, Sees(pod().unready(100))), (200, Sees(pod().ready(200))), (400, Restart(vec![pod().ready(200)]))],
            "100 pending, 160 active, 500 cleared",
        );
        check(
            "and are gone",
            &[(100, Sees(pod().unready(100))), (170, Gone(pod()))],
            "100 pending, 160 active, 470 cleared",
        );
        check(
            "and are gone before it counts",
            &[(100, Sees(pod().unready(100))), (120, Gone(pod()))],
            "100 pending, 120 cleared",
        );
        check(
            "again, the time between unseen, must last anew",
            &[(100, Sees(pod().unready(100))), (150, Sees(pod().unready(140)))],
            "100 pending, 150 pending, 200 active",
        );
    }

    #[test]
    fn what_need_not_be_ready() {
        let none = |what, pod| check(what, "NotReady", &[(100, Sees(pod))], "");

        none("a ready pod", pod());
        none("a pod of a Job", pod().unready(50).owned_by("batch/v1", "Job", "migrate"));
        none("a pod that ends", pod().unready(50).set("/spec/restartPolicy", json!("OnFailure")));
        none(
            "a pod that does not run yet",
            pod().app(waiting("ContainerCreating"), 0).unready(0).set("/status/phase", json!("Pending")),
        );
        none(
            "a pod behind a scheduling gate",
            pod()
                .unready(0)
                .condition_for("PodScheduled", "False", "SchedulingGated", 0)
                .set("/status/phase", json!("Pending")),
        );
        none("a pod that nobody knows of", pod().condition("Ready", "Unknown", 50));
        none("a pod that has succeeded", pod().unready(50).set("/status/phase", json!("Succeeded")));
        none("a pod that is being deleted", pod().unready(50).deleted(80, 30));
        none("a placeholder", pod().unready(50).set("/spec/priority", json!(-10)));
    }

    #[test]
    fn it_names_the_containers() {
        let told = last_told("NotReady", &[(100, Sees(pod().unready(100)))]);
        assert_eq!(told.evidence.names, ["app".into()]);
        assert_eq!(&*told.subject.container, "", "it is about the pod");
    }
}
