//! StuckTerminating: a pod that was deleted is still there long after its grace has passed.

use std::time::Duration;

use crate::catalogue::{Nature, Row, Side};
use crate::finding::{Evidence, Severity};
use crate::gates::Gates;
use crate::verdict::{Observation, PodCase, Rule, Verdict};

pub(crate) static ROW: Row = Row {
    name: "StuckTerminating",
    headline: "does not go away",
    recovered: "is gone",
    look: "kubectl -n {namespace} get pod {pod} -o yaml",
    nature: Nature::Level,
    side: Side::NodeAgent,
    severity: Severity::Warning,
    // Counted from the deletion timestamp, which has the grace in it.
    sustain: Duration::from_mins(5),
    hold: Duration::from_mins(5),
    thresholds: &[],
    explains: &[],
    gates: Gates::DELETION,
    rule: Rule::Pod(stuck_terminating),
};

fn stuck_terminating(case: &PodCase<'_>) -> Verdict {
    let meta = &case.pod.meta;
    let Some(due) = meta.deletion_timestamp else { return Verdict::well(None) };
    Verdict::Holds(Observation {
        evidence: Evidence {
            names: meta.finalizers.iter().take(Evidence::NAMES_MAX).map(|name| Evidence::text(name)).collect(),
            ..Evidence::default()
        },
        // In the time to come while the grace lasts.
        ..Observation::new(due, &["deletion", &meta.uid])
    })
}
