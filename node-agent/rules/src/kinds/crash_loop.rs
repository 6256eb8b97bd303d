//! CrashLoopBackOff: a container ends again and again and the kubelet waits before it starts it once more.
//!
//! It oscillates: running for a moment, ended, waiting. Since 1.33 the kubelet writes the waiting reason only when the
//! wait is nearly over, so an end that is going to be followed by yet another start counts as well. While the container
//! runs without being ready nothing is known; only one that ran and was ready for the whole hold loops no more.

use std::time::Duration;

use crate::catalogue::{Nature, Row, Side};
use crate::finding::{Evidence, Severity};
use crate::gates::Gates;
use crate::verdict::{ContainerCase, Observation, Rule, Verdict, has_ended, last_end, some_text};
use crate::view::TerminatedState;

pub(crate) static ROW: Row = Row {
    name: "CrashLoopBackOff",
    headline: "is crash-looping",
    recovered: "runs again",
    look: "kubectl -n {namespace} logs {pod} -c {container} --previous",
    nature: Nature::Level,
    side: Side::NodeAgent,
    severity: Severity::Critical,
    sustain: Duration::from_mins(1),
    hold: Duration::from_mins(10),
    // As many restarts need no sustain.
    thresholds: &[("restarts", 3.0)],
    explains: &["NotReady"],
    gates: Gates::CRASH,
    rule: Rule::Container(crash_loop),
};

/// After a run of twice the longest back-off the kubelet begins anew with the shortest
/// (`pkg/kubelet/kuberuntime`, `MaxContainerBackOff`).
const BACK_OFF_FORGOTTEN: Duration = Duration::from_mins(10);

fn crash_loop(case: &ContainerCase<'_>) -> Verdict {
    if has_ended(case.pod) {
        return Verdict::well(last_end(case.pod, case.moment));
    }
    if case.is_sidecar_after_the_end() {
        return Verdict::unclear();
    }
    let Some(ended) = back_off(case) else { return Verdict::Not(case.health()) };
    let since = ended.finished_at.map_or(case.moment.now, |at| case.moment.kubelet(at));
    let often = f64::from(case.status.restart_count) >= case.settings.threshold("restarts") && was_short(&ended);
    let incarnation = match &*ended.container_id {
        "" => case.identity(&case.status.restart_count.to_string()),
        id => id.to_owned(),
    };
    Verdict::Holds(Observation {
        unbroken: true,
        sustain: often.then_some(Duration::ZERO),
        // The waiting state's own message says only how long it waits, another time in each round.
        evidence: Evidence {
            reason: some_text(&ended.reason).or_else(|| some_text("CrashLoopBackOff")),
            message: some_text(&ended.message),
            ..case.evidence()
        },
        ..Observation::new(since, &[&incarnation])
    })
}

/// How the container ended that the kubelet waits to start again; `None` when it does not wait.
fn back_off(case: &ContainerCase<'_>) -> Option<TerminatedState> {
    let ContainerCase { status, spec, pod, .. } = case;
    if case.waiting("CrashLoopBackOff").is_some() {
        return Some(status.last_state.terminated.clone().unwrap_or_default());
    }
    let ended = status.state.terminated.as_ref().filter(|_| status.restart_count > 0)?;
    let is_init = pod.spec.init_containers.iter().any(|init| std::ptr::eq(init, *spec)) && !spec.is_sidecar();
    let is_started_again =
        spec.restarts(ended.exit_code, pod.spec.restart_policy) && !(is_init && ended.exit_code == 0);
    (is_started_again && was_short(ended)).then(|| ended.clone())
}

/// Whether a container ran for less time than after which the kubelet forgets its back-off. Ends without times (and those
/// of containers that never started, whose start is in 1970) count as short.
fn was_short(ended: &TerminatedState) -> bool {
    let run = ended.started_at.filter(|at| at.as_millis() > 0).zip(ended.finished_at);
    run.is_none_or(|(started, finished)| finished.since(started) < BACK_OFF_FORGOTTEN)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::Severity;
    use crate::testing::Step::{Amnesia, Gone, Restart, Sees};
    use crate::testing::{Draft, check, ended, last_told, pod, running, waiting};

    fn looping(restarts: u32, ended_at: i64) -> Draft {
        pod().app(waiting("CrashLoopBackOff"), restarts).last(ended(1, "Error", ended_at)).unready(ended_at)
    }

    fn starting(restarts: u32, at: i64) -> Draft {
        pod().app(running(at), restarts).last(ended(1, "Error", at - 1)).unready(at - 1)
    }

    /// Ended, waiting for its next start without saying so.
    fn crashed(restarts: u32, started: i64, finished: i64) -> Draft {
        pod().app(ran(started, finished), restarts).last(ended(1, "Error", started - 1)).unready(finished)
    }

    /// `state` or `lastState` of a container that ran from one time to another.
    fn ran(started: i64, finished: i64) -> Value {
        let mut state = ended(1, "Error", finished);
        state["terminated"]["startedAt"] = running(started)["running"]["startedAt"].clone();
        state
    }

    fn well(at: i64) -> Draft {
        starting(3, at).ready(at)
    }

    #[test]
    fn crash_loops() {
        let check = |what, story: &[_], expected| check(what, "CrashLoopBackOff", story, expected);

        check("with three restarts is told at once", &[(10, Sees(looping(3, 9)))], "10 active");
        check("with fewer must last a minute", &[(10, Sees(looping(2, 9)))], "10 pending, 69 active");
        check(
            "not that long is not told",
            &[(10, Sees(looping(1, 9))), (30, Sees(well(29)))],
            "10 pending, 30 cleared",
        );
        check(
            "lasts on while the container runs unready",
            &[(10, Sees(looping(1, 9))), (20, Sees(starting(2, 20))), (90, Sees(looping(2, 89)))],
            "10 pending, 90 active",
        );
        check(
            "clears when running and ready for ten minutes",
            &[(10, Sees(looping(3, 9))), (30, Sees(well(30)))],
            "10 active, 630 cleared",
        );
        check(
            "goes on with its hold while other containers come and go",
            &[
                (10, Sees(looping(3, 9))),
                (30, Sees(well(30))),
                (90, Sees(well(30).condition("ContainersReady", "False", 90))),
                (100, Sees(well(30).condition("ContainersReady", "True", 100))),
            ],
            "10 active, 630 cleared",
        );
        check(
            "ends with the container and the hold",
            &[(10, Sees(looping(3, 9))), (50, Sees(looping(3, 9).set("/status/containerStatuses", json!([]))))],
            "10 active, 650 cleared",
        );
        check(
            "ends when its pod's deletion is asked for, and the hold has passed",
            &[(10, Sees(looping(3, 9))), (100, Sees(looping(3, 9).deleted(1040, 1000)))],
            "10 active, 640 cleared",
        );
        check(
            "does not clear while running unready",
            &[(10, Sees(looping(3, 9))), (30, Sees(starting(3, 30)))],
            "10 active",
        );
        check(
            "again within the hold is the same finding",
            &[(10, Sees(looping(3, 9))), (30, Sees(well(30))), (600, Sees(looping(4, 599))), (700, Sees(well(700)))],
            "10 active, 1300 cleared",
        );
        check(
            "in an init container",
            &[(
                5,
                Sees(pod().set("/spec/initContainers", json!([{"name": "setup"}])).container(
                    "initContainerStatuses",
                    "setup",
                    waiting("CrashLoopBackOff"),
                    5,
                )),
            )],
            "5 active",
        );
        check(
            "ends with the pod and the hold",
            &[(10, Sees(looping(3, 9))), (50, Gone(looping(3, 9)))],
            "10 active, 650 cleared",
        );
        check(
            "ends when the pod has failed for good",
            &[
                (10, Sees(looping(3, 9))),
                (50, Sees(starting(3, 20).app(ended(1, "Error", 40), 3).set("/status/phase", json!("Failed")))),
            ],
            "10 active, 640 cleared",
        );
        check(
            "survives a restart, even while the container happens to run",
            &[
                (10, Sees(looping(3, 9))),
                (20, Restart(vec![looping(3, 9)])),
                (30, Restart(vec![starting(3, 30)])),
                (60, Sees(looping(4, 59))),
            ],
            "10 active",
        );
        check(
            "is the same to one who remembers nothing",
            &[(10, Sees(looping(3, 9))), (20, Amnesia(vec![looping(3, 9)]))],
            "10 active",
        );
        check(
            "goes on counting its hold after a restart",
            &[(10, Sees(looping(3, 9))), (30, Sees(well(30))), (600, Restart(vec![well(30)]))],
            "10 active, 630 cleared",
        );
        check(
            "whose pod is gone after a restart",
            &[(10, Sees(looping(3, 9))), (30, Restart(vec![]))],
            "10 active, 630 cleared",
        );
    }

    #[test]
    fn ends_before_yet_another_start() {
        let check = |what, story: &[_], expected| check(what, "CrashLoopBackOff", story, expected);

        check(
            "shows its end for nearly all of its back-off",
            &[(10, Sees(crashed(1, 5, 10))), (20, Sees(starting(2, 20))), (25, Sees(crashed(3, 20, 25)))],
            "10 pending, 25 active",
        );
        check("is not the first crash", &[(10, Sees(crashed(0, 5, 10)))], "");
        check("is not one crash after a long run", &[(5000, Sees(crashed(12, 10, 5000)))], "");
        check(
            "after a long run must last a minute, however often it had crashed before",
            &[(5001, Sees(looping(12, 5000).last(ran(10, 5000))))],
            "5001 pending, 5060 active",
        );
        check(
            "is no init container that has done its work",
            &[(
                5,
                Sees(pod().set("/spec/initContainers", json!([{"name": "setup"}])).container(
                    "initContainerStatuses",
                    "setup",
                    ended(0, "Completed", 4),
                    5,
                )),
            )],
            "",
        );
    }

    #[test]
    fn what_is_no_crash_loop() {
        let none = |what, pod| check(what, "CrashLoopBackOff", &[(10, Sees(pod))], "");

        none("a pod that has succeeded", looping(3, 9).set("/status/phase", json!("Succeeded")));
        none("a pod that is being deleted", looping(3, 9).deleted(40, 30));
        none("a pod that is being disrupted", looping(3, 9).condition("DisruptionTarget", "True", 5));
        none("a placeholder", looping(3, 9).set("/spec/priority", json!(-10)));
        none(
            "a sidecar after its main containers have ended",
            pod()
                .with_sidecar("mesh")
                .container("initContainerStatuses", "mesh", waiting("CrashLoopBackOff"), 5)
                .app(ended(0, "Completed", 5), 0),
        );
        none(
            "a debug container",
            pod().set(
                "/status/ephemeralContainerStatuses",
                json!([
            {"name": "debug", "restartCount": 4, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]),
            ),
        );
        none(
            "one that the pod wants ignored",
            looping(3, 9).annotated("tocsin.dev/ignore", "OOMKilled,CrashLoopBackOff"),
        );
    }

    #[test]
    fn it_says_how_the_container_ended() {
        let told = last_told("CrashLoopBackOff", &[(10, Sees(looping(3, 9).annotated("tocsin.dev/severity", "info")))]);
        assert_eq!(told.owner.to_string(), "Deployment/api");
        assert_eq!(&*told.subject.container, "app");
        assert_eq!(told.severity, Severity::Info);
        assert_eq!((told.evidence.exit_code, told.evidence.restarts), (Some(1), Some(3)));
        assert_eq!(told.evidence.reason.as_deref(), Some("Error"));
        assert_eq!(told.evidence.image.as_deref(), Some("api:1.8.2"));
    }
}
