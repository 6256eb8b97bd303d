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
