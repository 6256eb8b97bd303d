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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::Step::{Amnesia, Gone, Relist, Restart, Sees};
    use crate::testing::{Draft, check, last_told, pod};

    fn held(due: i64) -> Draft {
        pod().deleted(due, 30).set("/metadata/finalizers", json!(["example.com/held"]))
    }

    #[test]
    fn pods_that_do_not_go_away() {
        let check = |what, story: &[_], expected| check(what, "StuckTerminating", story, expected);

        check("five minutes after their grace", &[(10, Sees(held(40)))], "40 pending, 340 active");
        check("but do in time are no news at all", &[(10, Sees(held(40))), (39, Gone(held(40)))], "");
        check("but do soon", &[(10, Sees(held(40))), (60, Gone(held(40)))], "40 pending, 60 cleared");
        check("however long their grace", &[(10, Sees(held(3610)))], "3610 pending, 3910 active");
        check("and are called in sooner", &[(10, Sees(held(3610))), (20, Sees(held(20)))], "20 pending, 320 active");
        check("until they do", &[(10, Sees(held(40))), (400, Gone(held(40)))], "40 pending, 340 active, 700 cleared");
        check(
            "until a LIST shows them no more",
            &[(10, Sees(held(40))), (400, Relist(vec![]))],
            "40 pending, 340 active, 700 cleared",
        );
        check(
            "survive a restart, the sustain too",
            &[
                (10, Sees(held(40))),
                (20, Restart(vec![held(40)])),
                (100, Restart(vec![held(40)])),
                (400, Restart(vec![held(40)])),
                (500, Amnesia(vec![held(40)])),
            ],
            "40 pending, 340 active",
        );
        check("found late count from the deletion", &[(1000, Restart(vec![held(40)]))], "1000 active");
        check(
            "do not count when they have succeeded",
            &[(10, Sees(held(40).set("/status/phase", json!("Succeeded"))))],
            "",
        );
        check("do not count when they are placeholders", &[(10, Sees(held(40).set("/spec/priority", json!(-10))))], "");
    }

    #[test]
    fn it_names_the_finalizers() {
        assert_eq!(last_told("StuckTerminating", &[(10, Sees(held(40)))]).evidence.names, ["example.com/held".into()]);
    }
}
