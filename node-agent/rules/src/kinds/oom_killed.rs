//! OOMKilled: the kernel ended a container because it wanted more memory than it may have.
//!
//! `lastState` goes on saying so for as long as the pod lives, so an occurrence is told by its container id. An exit
//! code of 137 alone says only that something killed it.

use std::time::Duration;

use crate::catalogue::{Nature, Row, Side};
use crate::finding::{Evidence, Severity};
use crate::gates::Gates;
use crate::verdict::{ContainerCase, Observation, Rule, Verdict, some_text};

pub(crate) static ROW: Row = Row {
    name: "OOMKilled",
    headline: "was killed for want of memory",
    recovered: "has enough memory again",
    look: "kubectl -n {namespace} describe pod {pod}",
    nature: Nature::Edge,
    side: Side::NodeAgent,
    severity: Severity::Critical,
    sustain: Duration::ZERO,
    hold: Duration::from_mins(5),
    thresholds: &[],
    explains: &["CrashLoopBackOff", "NotReady"],
    gates: Gates::CRASH,
    rule: Rule::Container(oom_killed),
};

fn oom_killed(case: &ContainerCase<'_>) -> Verdict {
    if case.is_sidecar_after_the_end() {
        return Verdict::unclear();
    }
    let status = case.status;
    // An ended container was started as often as its status says, the one before it once less.
    let now = status.state.terminated.as_ref().map(|ended| (ended, status.restart_count));
    let before = status.last_state.terminated.as_ref().map(|ended| (ended, status.restart_count.saturating_sub(1)));
    let newest = now.into_iter().chain(before).find(|(ended, _)| &*ended.reason == "OOMKilled");
    let Some((ended, start)) = newest else { return Verdict::Not(case.health()) };

    let since = ended.finished_at.map_or(case.moment.now, |at| case.moment.kubelet(at));
    let incarnation = match &*ended.container_id {
        "" => case.identity(&start.to_string()),
        id => id.to_owned(),
    };
    let occurrence = Observation {
        evidence: Evidence {
            reason: some_text(&ended.reason),
            message: some_text(&ended.message),
            exit_code: Some(ended.exit_code),
            ..case.evidence()
        },
        ..Observation::new(since, &[&incarnation])
    };
    Verdict::Happened(occurrence, case.health())
}
