//! ImagePull: the image of a container cannot be had. The kubelet alternates between several words for it.

use std::time::Duration;

use crate::catalogue::{Nature, Row, Side};
use crate::finding::{Evidence, Severity};
use crate::gates::Gates;
use crate::verdict::{ContainerCase, Observation, Rule, Verdict, has_ended, last_end, some_text};

pub(crate) static ROW: Row = Row {
    name: "ImagePull",
    headline: "cannot pull its image",
    recovered: "pulls its image again",
    look: "kubectl -n {namespace} describe pod {pod}",
    nature: Nature::Level,
    side: Side::NodeAgent,
    severity: Severity::Critical,
    sustain: Duration::from_mins(1),
    hold: Duration::from_mins(5),
    thresholds: &[],
    explains: &["NotReady"],
    gates: Gates::ALSO_PLACEHOLDERS,
    rule: Rule::Container(image_pull),
};

const MAY_PASS: &[&str] =
    &["ErrImagePull", "ImagePullBackOff", "ImageInspectError", "RegistryUnavailable", "SignatureValidationFailed"];

/// Those that no waiting helps against.
const FINAL: &[&str] = &["InvalidImageName", "ErrImageNeverPull"];

/// What a container waits for that may or may not pull its image yet.
const UNDECIDED: &[&str] = &["", "ContainerCreating", "PodInitializing"];

fn image_pull(case: &ContainerCase<'_>) -> Verdict {
    if has_ended(case.pod) {
        return Verdict::well(last_end(case.pod, case.moment));
    }
    let state = &case.status.state;
    if let Some(running) = &state.running {
        return Verdict::well(running.started_at.map(|at| case.moment.kubelet(at)));
    }
    if state.terminated.is_some() {
        return Verdict::well(None);
    }
    let waiting = state.waiting.clone().unwrap_or_default();
    let reason = &*waiting.reason;
    let never = FINAL.contains(&reason);
    if UNDECIDED.contains(&reason) {
        return Verdict::unclear();
    }
    if !never && !MAY_PASS.contains(&reason) {
        // Whatever else it waits for comes after the image.
        return Verdict::well(None);
    }
    let incarnation = case.identity(&format!("{}/{}", case.status.restart_count, case.spec.image));
    Verdict::Holds(Observation {
        sustain: never.then_some(Duration::ZERO),
        evidence: Evidence { reason: some_text(reason), message: some_text(&waiting.message), ..case.evidence() },
        // The API says nowhere since when a container waits.
        ..Observation::new(case.moment.now, &[&incarnation])
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::Step::{Restart, Sees};
    use crate::testing::{Draft, check, pod, running, waiting};

    fn pulling(reason: &str) -> Draft {
        pod().app(waiting(reason), 0).unready(0).set("/status/phase", json!("Pending"))
    }

    #[test]
    fn image_pulls() {
        let check = |what, story: &[_], expected| check(what, "ImagePull", story, expected);

        check("must fail for a minute", &[(10, Sees(pulling("ErrImagePull")))], "10 pending, 70 active");
        check(
            "that succeed within it are not told",
            &[(10, Sees(pulling("ErrImagePull"))), (60, Sees(pod()))],
            "10 pending, 60 cleared",
        );
        check(
            "are one, whatever word the kubelet has for it",
            &[
                (10, Sees(pulling("ErrImagePull"))),
                (40, Sees(pulling("ImagePullBackOff"))),
                (80, Sees(pulling("ErrImagePull"))),
            ],
            "10 pending, 70 active",
        );
        for reason in ["ImageInspectError", "RegistryUnavailable", "SignatureValidationFailed"] {
            check(reason, &[(10, Sees(pulling(reason)))], "10 pending, 70 active");
        }
        for reason in ["InvalidImageName", "ErrImageNeverPull"] {
            check("that cannot succeed are told at once", &[(10, Sees(pulling(reason)))], "10 active");
        }
        check(
            "clear when the container has run for the hold",
            &[(10, Sees(pulling("InvalidImageName"))), (20, Sees(pod().app(running(20), 0).ready(20)))],
            "10 active, 320 cleared",
        );
        check(
            "are over when the container waits for something after it",
            &[(10, Sees(pulling("InvalidImageName"))), (20, Sees(pulling("CreateContainerConfigError")))],
            "10 active, 320 cleared",
        );
        check(
            "are neither there nor over while it is being created",
            &[
                (10, Sees(pulling("ErrImagePull"))),
                (20, Sees(pulling("ContainerCreating"))),
                (90, Sees(pulling("ErrImagePull"))),
            ],
            "10 pending, 90 active",
        );
        check(
            "survive a restart, its sustain too",
            &[
                (10, Sees(pulling("ErrImagePull"))),
                (40, Restart(vec![pulling("ImagePullBackOff")])),
                (90, Restart(vec![pulling("ErrImagePull")])),
            ],
            "10 pending, 70 active",
        );
        check(
            "matter even for a placeholder",
            &[(10, Sees(pulling("InvalidImageName").set("/spec/priority", json!(-1))))],
            "10 active",
        );
        check(
            "need no second look while nothing is wrong",
            &[(10, Sees(pulling("ContainerCreating"))), (20, Sees(pod()))],
            "",
        );
        check(
            "do not matter for a pod that is being deleted",
            &[(10, Sees(pulling("InvalidImageName").deleted(40, 30)))],
            "",
        );
        check(
            "last as long as the pod wants",
            &[(10, Sees(pulling("InvalidImageName").annotated("tocsin.dev/sustain", "10m")))],
            "10 pending, 610 active",
        );
    }
}
