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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::Step::{Node, NodeGone};
    use crate::testing::{Draft, check, last_told, node};

    fn down(at: i64) -> Draft {
        node().condition("Ready", "Unknown", at)
    }

    fn up(at: i64) -> Draft {
        node().condition("Ready", "True", at)
    }

    fn cordoned(node: Draft) -> Draft {
        node.set("/spec", json!({"unschedulable": true}))
    }

    #[test]
    fn nodes_that_are_not_ready() {
        let check = |what, story: &[_], expected| check(what, "NodeNotReady", story, expected);

        check("for two minutes", &[(10, Node(node())), (20, Node(down(20)))], "20 pending, 140 active");
        check("but soon again", &[(20, Node(down(20))), (100, Node(up(100)))], "20 pending, 100 cleared");
        check("until they are", &[(20, Node(down(20))), (200, Node(up(200)))], "20 pending, 140 active, 500 cleared");
        check(
            "first by their own word, then by nobody's",
            &[(20, Node(node().condition("Ready", "False", 20))), (60, Node(down(60)))],
            "20 pending, 140 active",
        );
        check("and cordoned may be rebooting", &[(20, Node(cordoned(down(20))))], "20 pending, 920 active");
        check(
            "and are removed",
            &[(20, Node(down(20))), (200, NodeGone(down(20)))],
            "20 pending, 140 active, 500 cleared",
        );
        check("and are removed soon", &[(20, Node(down(20))), (30, NodeGone(down(20)))], "20 pending, 30 cleared");
        for taint in [
            "ToBeDeletedByClusterAutoscaler",
            "karpenter.sh/disrupted",
            "aws-node-termination-handler/spot-itn",
            "cloud.google.com/impending-node-termination",
        ] {
            check("because they are being removed", &[(20, Node(down(20).tainted(taint)))], "");
        }
        check("because they are being deleted", &[(20, Node(down(20).deleted(20, 0)))], "");
        check(
            "though their taint says spot for life",
            &[(20, Node(down(20).tainted("kubernetes.azure.com/scalesetpriority")))],
            "20 pending, 140 active",
        );
        check(
            "but young",
            &[(20, Node(down(20).set("/metadata/creationTimestamp", json!(crate::testing::time(0)))))],
            "20 pending, 180 active",
        );
        check("for all one knows", &[(20, Node(node().set("/status", json!({}))))], "");
    }

    #[test]
    fn a_node_that_flaps_is_one_issue_that_says_so() {
        let story = [
            (0, Node(up(-3600))),
            (60, Node(down(60))),
            (120, Node(up(120))),
            (180, Node(down(180))),
            (240, Node(up(240))),
            (300, Node(down(300))),
            (360, Node(up(360))),
        ];
        // Six changes, the last at 360. Three of them are within 15 minutes until 1140 (the one at 240 leaves then);
        // from then on the hold runs.
        check("", "NodeNotReady", &story, "60 pending, 120 cleared, 180 active, 1440 cleared");
        let told = last_told("NodeNotReady", &story[..6]);
        assert_eq!(told.evidence.reason.as_deref(), Some("Flapping"));
        assert_eq!(told.evidence.occurrences, Some(5));
        assert_eq!(told.owner.to_string(), "Node/n1");
        assert_eq!(&*told.subject.namespace, "");
    }

    #[test]
    fn an_aggregator_that_starts_later_sees_the_same_occurrence_and_waits_no_longer() {
        let early = last_told("NodeNotReady", &[(20, Node(down(20)))]);
        let late = last_told("NodeNotReady", &[(300, Node(down(20)))]);
        assert_eq!((late.incarnation, late.since), (early.incarnation, early.since));
        check("at once", "NodeNotReady", &[(300, Node(down(20)))], "300 active");
        let another = last_told("NodeNotReady", &[(400, Node(down(390)))]);
        assert_ne!(another.incarnation, early.incarnation);
    }
}
