//! CrashLoopBackOff: a container ends again and again and the kubelet waits before it starts it once more.
//!
//! It oscillates: waiting, running for a moment, ended, waiting. While it runs without being ready nothing is known;
//! only a container that ran and was ready for the whole hold loops no more.

use std::time::Duration;

use crate::catalogue::{Nature, Row, Side};
use crate::finding::{Evidence, Severity};
use crate::gates::Gates;
use crate::verdict::{ContainerCase, Observation, Rule, Verdict, has_ended, last_end, some_text};

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

fn crash_loop(case: &ContainerCase<'_>) -> Verdict {
    if has_ended(case.pod) {
        return Verdict::well(last_end(case.pod, case.moment));
    }
    if case.is_sidecar_after_the_end() {
        return Verdict::unclear();
    }
    if case.waiting("CrashLoopBackOff").is_none() {
        return Verdict::Not(case.health());
    }
    let ended = case.status.last_state.terminated.clone().unwrap_or_default();
    let since = ended.finished_at.map_or(case.moment.now, |at| case.moment.kubelet(at));
    let often = f64::from(case.status.restart_count) >= case.settings.threshold("restarts");
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::Severity;
    use crate::testing::Step::{Amnesia, Gone, Restart, Sees};
    use crate::testing::{Draft, check, ended, last_told, pod, running, waiting};

    fn looping(restarts: u32, ended_at: i64) -> Draft {
        pod().app(waiting("CrashLoopBackOff"), restarts).last(ended(1, "Error", ended_at)).unready(ended_at)
    }

    fn starting(restarts: u32, at: i64) -> Draft {
        pod().app(running(at), restarts).last(ended(1, "Error", at - 1)).unready(at - 1)
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
