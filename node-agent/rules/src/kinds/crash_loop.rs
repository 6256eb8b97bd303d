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
