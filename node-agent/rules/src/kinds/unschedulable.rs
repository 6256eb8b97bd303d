//! Unschedulable: no node takes a pod.
//!
//! An autoscaler may be at work on it: who sees its events lets the finding wait (`Engine::extend_sustain`). A pod that
//! gets its node leaves the selection that is watched, which looks like a deletion.

use std::time::Duration;

use crate::catalogue::{Nature, Row, Side};
use crate::finding::{Evidence, Severity};
use crate::gates::Gates;
use crate::time::Time;
use crate::verdict::{Observation, PodCase, Rule, Verdict, some_text};
use crate::view::{ConditionStatus, ConditionType};

pub(crate) static ROW: Row = Row {
    name: "Unschedulable",
    headline: "finds no node to run on",
    recovered: "has a node again",
    look: "kubectl -n {namespace} describe pod {pod}",
    nature: Nature::Level,
    side: Side::Aggregator,
    severity: Severity::Warning,
    sustain: Duration::from_mins(5),
    hold: Duration::from_mins(5),
    // How long somebody may keep a pod back on purpose.
    thresholds: &[("gatedSeconds", 3600.0)],
    explains: &["NotReady"],
    gates: Gates::POD,
    rule: Rule::Pod(unschedulable),
};

fn unschedulable(case: &PodCase<'_>) -> Verdict {
    let Some(scheduled) = case.pod.condition(ConditionType::PodScheduled) else { return Verdict::unclear() };
    let at = scheduled.last_transition_time;
    if scheduled.status == ConditionStatus::True {
        return Verdict::well(at.map(|at| case.moment.api(at)));
    }
    let gated = match &*scheduled.reason {
        "Unschedulable" => false,
        "SchedulingGated" => true,
        _ => return Verdict::unclear(),
    };
    let transition = at.map(Time::as_millis).unwrap_or_default().to_string();
    Verdict::Holds(Observation {
        sustain: gated.then(|| case.settings.seconds("gatedSeconds")),
        severity: gated.then_some(Severity::Info),
        evidence: Evidence {
            reason: some_text(&scheduled.reason),
            message: some_text(&scheduled.message),
            ..Evidence::default()
        },
        // With the reason: when the gates open, the transition time stays that of their closing.
        ..Observation::new(
            at.map_or(case.moment.now, |at| case.moment.api(at)),
            &[case.identity(), &transition, &scheduled.reason],
        )
    })
}
