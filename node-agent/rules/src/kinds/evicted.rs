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
