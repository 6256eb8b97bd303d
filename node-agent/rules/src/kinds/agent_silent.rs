//! AgentSilent: a node's agent should be there and is not heard, though its node seems well.
//!
//! A node that is not ready, cordoned, young or being removed explains the silence by itself.

use std::time::Duration;

use crate::catalogue::{Nature, Row, Side};
use crate::finding::{Evidence, Severity};
use crate::gates::Gates;
use crate::time::Time;
use crate::verdict::{AgentCase, Observation, Rule, Verdict, some_text};
use crate::view::{ConditionStatus, ConditionType};

pub(crate) static ROW: Row = Row {
    name: "AgentSilent",
    headline: "is not heard",
    recovered: "is heard again",
    look: "kubectl get pods -A -o wide --field-selector spec.nodeName={node}",
    nature: Nature::Level,
    side: Side::Aggregator,
    severity: Severity::Warning,
    sustain: Duration::from_mins(3),
    hold: Duration::from_mins(5),
    // Heartbeats that may be missing; how long a node and its agent may take to start.
    thresholds: &[("intervals", 3.0), ("youngSeconds", 180.0)],
    explains: &[],
    gates: Gates::POD,
    rule: Rule::Agent(agent_silent),
};

fn agent_silent(case: &AgentCase<'_>) -> Verdict {
    let AgentCase { agent, moment, settings } = case;
    let node = agent.node;
    let ready = node.condition(ConditionType::Ready).filter(|ready| ready.status == ConditionStatus::True);
    let Some(ready) = ready else { return Verdict::well(None) };
    if !agent.wanted || agent.replacing || node.spec.unschedulable || node.being_removed() {
        return Verdict::well(None);
    }

    let patience = agent.interval.mul_f64(settings.threshold("intervals").clamp(0.0, 1000.0));
    // Never heard, by this aggregator: since it first looked.
    let silent = agent.last_heartbeat.map_or(moment.now, |heard| heard + patience);
    let grown_up = node.meta.creation_timestamp.map(|born| born + settings.seconds("youngSeconds"));
    let since = Some(silent).max(grown_up).max(agent.started).max(ready.last_transition_time);
    let since = since.unwrap_or(silent);
    if since > moment.now {
        return Verdict::well(None);
    }
    let facts = agent.last_heartbeat.or(ready.last_transition_time).map(Time::as_millis).unwrap_or_default();
    Verdict::Holds(Observation {
        evidence: Evidence {
            reason: some_text(if agent.last_heartbeat.is_some() { "NoHeartbeat" } else { "NeverHeard" }),
            ..Evidence::default()
        },
        ..Observation::new(since, &[&node.meta.uid, &facts.to_string()])
    })
}
