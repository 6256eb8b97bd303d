//! Unschedulable: no node takes a pod.
//!
//! A pod that gets its node leaves the selection that is watched, which looks like a deletion.

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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::Severity;
    use crate::testing::Step::{Amnesia, Gone, Restart, Sees};
    use crate::testing::{Draft, check, last_told, pod};

    fn unscheduled(reason: &str) -> Draft {
        pod().set("/spec/nodeName", json!("")).set("/status", json!({"phase": "Pending"})).condition_for(
            "PodScheduled",
            "False",
            reason,
            5,
        )
    }

    fn homeless() -> Draft {
        unscheduled("Unschedulable")
    }

    #[test]
    fn pods_without_a_node() {
        let check = |what, story: &[_], expected| check(what, "Unschedulable", story, expected);

        check("for five minutes", &[(10, Sees(homeless()))], "10 pending, 305 active");
        check("but soon with one", &[(10, Sees(homeless())), (200, Gone(homeless()))], "10 pending, 200 cleared");
        check(
            "until they have one",
            &[(10, Sees(homeless())), (400, Gone(homeless()))],
            "10 pending, 305 active, 700 cleared",
        );
        check(
            "survive a restart, the sustain too",
            &[
                (10, Sees(homeless())),
                (100, Restart(vec![homeless()])),
                (400, Restart(vec![homeless()])),
                (500, Amnesia(vec![homeless()])),
            ],
            "10 pending, 305 active",
        );
        check(
            "behind a gate count after an hour",
            &[(10, Sees(unscheduled("SchedulingGated")))],
            "10 pending, 3605 active",
        );
        check(
            "once the gate opens have to last anew",
            &[(10, Sees(unscheduled("SchedulingGated"))), (1000, Sees(homeless()))],
            "10 pending, 1000 pending, 1300 active",
        );
        check(
            "once the gate opens late have to last anew, too",
            &[(10, Sees(unscheduled("SchedulingGated"))), (4000, Sees(homeless()))],
            "10 pending, 3605 active, 4000 pending, 4300 active",
        );
        check("that the scheduler has not looked at", &[(10, Sees(unscheduled("SchedulerError")))], "");
        check("that are placeholders", &[(10, Sees(homeless().set("/spec/priority", json!(-10))))], "");
        check("that are being deleted", &[(10, Sees(homeless().deleted(40, 30)))], "");
    }

    #[test]
    fn a_pod_behind_a_gate_is_worth_knowing_only() {
        let told = |pod| last_told("Unschedulable", &[(10, Sees(pod))]);
        assert_eq!(told(unscheduled("SchedulingGated")).severity, Severity::Info);
        assert_eq!(told(homeless()).severity, Severity::Warning);
        assert_eq!(told(homeless()).owner.to_string(), "Deployment/api");
    }
}
