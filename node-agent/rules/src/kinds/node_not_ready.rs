//! NodeNotReady: a node's kubelet is not well, or has stopped answering.

use std::time::Duration;

use crate::catalogue::{Nature, Row, Side};
use crate::finding::{Evidence, Severity};
use crate::gates::Gates;
use crate::time::Time;
use crate::verdict::{NodeCase, Observation, Rule, Verdict, some_text};
use crate::view::{ConditionStatus, ConditionType};

pub(crate) static ROW: Row = Row {
    name: "NodeNotReady",
    headline: "stopped answering",
    recovered: "answers again",
    look: "kubectl describe node {node}",
    nature: Nature::Level,
    side: Side::Aggregator,
    severity: Severity::Critical,
    sustain: Duration::from_mins(2),
    hold: Duration::from_mins(5),
    // A cordoned node may be rebooting; a young one is starting; more changes than that are flapping.
    thresholds: &[("cordonedSeconds", 900.0), ("youngSeconds", 180.0), ("changes", 2.0)],
    explains: &["*"],
    gates: Gates::POD,
    rule: Rule::Node(node_not_ready),
};

fn node_not_ready(case: &NodeCase<'_>) -> Verdict {
    let NodeCase { node, history, moment, settings } = case;
    if node.being_removed() {
        return Verdict::well(None);
    }
    let Some(ready) = node.condition(ConditionType::Ready) else { return Verdict::unclear() };
    let changes = history.changes(moment.now);
    let changes_max = settings.threshold("changes");
    let flapping = changes as f64 > changes_max;
    let transition = ready.last_transition_time.map(|at| moment.api(at));
    if ready.status == ConditionStatus::True {
        // A flapping node is well only when it has stopped flapping, which may be in the time to come.
        let settled = flapping.then(|| history.fewer_than(changes_max as usize + 1)).flatten();
        return Verdict::well(transition.max(settled));
    }

    let since = transition.unwrap_or(moment.now);
    let grown_up = node.meta.creation_timestamp.map_or(since, |born| born + settings.seconds("youngSeconds"));
    let lasting = if node.spec.unschedulable {
        settings.seconds("cordonedSeconds").max(settings.sustain)
    } else if flapping {
        Duration::ZERO
    } else {
        settings.sustain
    };
    Verdict::Holds(Observation {
        // From False to Unknown is no new occurrence.
        unbroken: true,
        sustain: Some(lasting.max(grown_up.since(since))),
        evidence: Evidence {
            reason: if flapping { some_text("Flapping") } else { some_text(&ready.reason) },
            message: some_text(&ready.message),
            occurrences: flapping.then(|| u32::try_from(changes).unwrap_or(u32::MAX)),
            ..Evidence::default()
        },
        ..Observation::new(
            since,
            &[&node.meta.uid, &ready.last_transition_time.map(Time::as_millis).unwrap_or_default().to_string()],
        )
    })
}
