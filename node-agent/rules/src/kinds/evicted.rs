//! Evicted: the kubelet ended a pod, because its node ran out of something or because the pod used more than it may.
//!
//! What the node lacks is grouped under the node; what the pod took too much of, under the pod's owner.

use std::sync::Arc;
use std::time::Duration;

use crate::catalogue::{Nature, Row, Side};
use crate::finding::{Evidence, Owner, Severity};
use crate::gates::Gates;
use crate::verdict::{Health, Observation, PodCase, Rule, Verdict, last_end, some_text};
use crate::view::ConditionType;

pub(crate) static ROW: Row = Row {
    name: "Evicted",
    headline: "was evicted",
    recovered: "is evicted no more",
    look: "kubectl -n {namespace} describe pod {pod}",
    nature: Nature::Edge,
    side: Side::NodeAgent,
    severity: Severity::Warning,
    sustain: Duration::ZERO,
    hold: Duration::from_mins(5),
    thresholds: &[],
    explains: &[],
    gates: Gates::POD,
    rule: Rule::Pod(evicted),
};

/// How the kubelet's message begins when the node is short of something; the resource's name follows.
const NODE_IS_LOW: &str = "The node was low on resource: ";

/// What the kubelet's messages about a pod's own excess speak of, and the resource that it is.
const OWN_EXCESS: &[(&str, &str)] = &[
    ("ephemeral local storage usage exceeds", "ephemeral-storage"),
    ("exceeded its local ephemeral storage limit", "ephemeral-storage"),
    ("Usage of EmptyDir volume", "ephemeral-storage"),
];

fn evicted(case: &PodCase<'_>) -> Verdict {
    let PodCase { pod, moment, .. } = case;
    if &*pod.status.reason != "Evicted" {
        return Verdict::well(None);
    }
    let message = &*pod.status.message;
    let lacking = message.strip_prefix(NODE_IS_LOW).map(|rest| rest.split(['.', ' ', ',']).next().unwrap_or_default());
    let excess = OWN_EXCESS.iter().find(|(words, _)| message.contains(words)).map(|&(_, resource)| resource);
    let disrupted = pod.holds(ConditionType::DisruptionTarget).and_then(|it| it.last_transition_time);
    let since = disrupted.or(pod.status.start_time).map(|at| moment.kubelet(at));
    let occurrence = Observation {
        owner: excess.is_none().then(|| Owner { kind: Arc::from("Node"), name: pod.spec.node_name.clone() }),
        evidence: Evidence {
            reason: some_text("Evicted"),
            message: some_text(message),
            names: lacking.or(excess).and_then(some_text).into_iter().collect(),
            ..Evidence::default()
        },
        ..Observation::new(last_end(pod, *moment).or(since).unwrap_or(moment.now), &["evicted", case.identity()])
    };
    // An evicted pod never gets well; it is gone one day.
    Verdict::Happened(occurrence, Health::Unclear)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::Step::{Amnesia, Gone, Restart, Sees};
    use crate::testing::{Draft, check, ended, last_told, pod};

    const LOW: &str = "The node was low on resource: memory. Threshold quantity: 100Mi, available: 57Mi. ";

    fn evicted(message: &str) -> Draft {
        pod()
            .app(ended(137, "Error", 9), 0)
            .unready(9)
            .condition("DisruptionTarget", "True", 9)
            .set("/status/phase", json!("Failed"))
            .set("/status/reason", json!("Evicted"))
            .set("/status/message", json!(message))
    }

    #[test]
    fn evictions() {
        let check = |what, story: &[_], expected| check(what, "Evicted", story, expected);

        check("are told at once, and are over an hour later", &[(10, Sees(evicted(LOW)))], "10 active, 3609 cleared");
        check(
            "lie around and are told once",
            &[(10, Sees(evicted(LOW))), (90_000, Sees(evicted(LOW)))],
            "10 active, 3609 cleared",
        );
        check(
            "are over when the pod is gone for the hold",
            &[(10, Sees(evicted(LOW))), (60, Gone(evicted(LOW)))],
            "10 active, 360 cleared",
        );
        check(
            "survive a restart",
            &[(10, Sees(evicted(LOW))), (20, Restart(vec![evicted(LOW)])), (30, Amnesia(vec![evicted(LOW)]))],
            "10 active, 3609 cleared",
        );
        check("are no failures", &[(10, Sees(evicted(LOW).set("/status/reason", json!("DeadlineExceeded"))))], "");
        check("do not count in a pod that is being deleted", &[(10, Sees(evicted(LOW).deleted(40, 30)))], "");
        check("do not count for a placeholder", &[(10, Sees(evicted(LOW).set("/spec/priority", json!(-10))))], "");
    }

    #[test]
    fn what_the_node_lacks_is_the_nodes_and_what_the_pod_took_its_owners() {
        let told = |message| {
            let told = last_told("Evicted", &[(10, Sees(evicted(message)))]);
            (told.owner.to_string(), told.evidence.names.join(","))
        };
        assert_eq!(told(LOW), ("Node/n1".into(), "memory".into()));
        assert_eq!(told("The node was low on resource: [DiskPressure]. "), ("Node/n1".into(), "[DiskPressure]".into()));
        assert_eq!(told("something else"), ("Node/n1".into(), String::new()));
        let own = ("Deployment/api".to_owned(), "ephemeral-storage".to_owned());
        assert_eq!(told("Pod ephemeral local storage usage exceeds the total limit of containers 10Mi. "), own);
        assert_eq!(told("Container app exceeded its local ephemeral storage limit \"10Mi\". "), own);
        assert_eq!(told("Usage of EmptyDir volume \"tmp\" exceeds the limit \"10Mi\". "), own);
    }
}
