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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::AgentSight;
    use crate::testing::Step::{Agent, Node};
    use crate::testing::{Draft, check, last_told, node, time};

    fn as_it_is(_: &mut AgentSight<'_>) {}

    fn down(at: i64) -> Draft {
        node().condition("Ready", "Unknown", at)
    }

    #[test]
    fn agents_that_are_silent() {
        let check = |what, story: &[_], expected| check(what, "AgentSilent", story, expected);

        check(
            "for three intervals and three minutes",
            &[
                (0, Agent(node(), Some(0), as_it_is)),
                (60, Agent(node(), Some(0), as_it_is)),
                (95, Agent(node(), Some(0), as_it_is)),
            ],
            "95 pending, 270 active",
        );
        check(
            "but soon heard again",
            &[(95, Agent(node(), Some(0), as_it_is)), (120, Agent(node(), Some(119), as_it_is))],
            "95 pending, 120 cleared",
        );
        check(
            "until they are heard",
            &[(95, Agent(node(), Some(0), as_it_is)), (300, Agent(node(), Some(300), as_it_is))],
            "95 pending, 270 active, 600 cleared",
        );
        check(
            "ever count from the first look",
            &[(50, Agent(node(), None, as_it_is)), (80, Agent(node(), None, as_it_is))],
            "50 pending, 230 active",
        );
        check("while their node is down are no news", &[(300, Agent(down(200), Some(0), as_it_is))], "");
        check(
            "after their node was down have time to come back",
            &[(300, Agent(node().condition("Ready", "True", 290), Some(0), as_it_is))],
            "300 pending, 470 active",
        );
        check(
            "on a cordoned node",
            &[(300, Agent(node().set("/spec", json!({"unschedulable": true})), Some(0), as_it_is))],
            "",
        );
        check(
            "on a node that is being removed",
            &[(300, Agent(node().tainted("karpenter.sh/disrupted"), Some(0), as_it_is))],
            "",
        );
        check(
            "on a young node",
            &[(100, Agent(young(), None, as_it_is)), (200, Agent(young(), None, as_it_is))],
            "200 pending, 380 active",
        );
        check("because they are being replaced", &[(300, Agent(node(), Some(0), |agent| agent.replacing = true))], "");
        check(
            "after they were replaced have time to come up",
            &[(300, Agent(node(), Some(0), |agent| agent.started = Some(time(290))))],
            "300 pending, 470 active",
        );
        check("and not wanted", &[(300, Agent(node(), Some(0), |agent| agent.wanted = false))], "");
        check(
            "whose node turns out to be down",
            &[
                (95, Agent(node(), Some(0), as_it_is)),
                (300, Node(down(299))),
                (301, Agent(down(299), Some(0), as_it_is)),
            ],
            "95 pending, 270 active, 601 cleared",
        );
    }

    fn young() -> Draft {
        node().set("/metadata/creationTimestamp", json!(time(10)))
    }

    #[test]
    fn it_is_grouped_under_the_agents_own_workload() {
        let told = last_told("AgentSilent", &[(95, Agent(node(), Some(0), as_it_is))]);
        assert_eq!(told.owner.to_string(), "DaemonSet/tocsin-node-agent");
        assert_eq!(&*told.subject.node, "n1");
    }

    #[test]
    fn whoever_looks_later_sees_the_same_silence_and_waits_no_longer() {
        let early = last_told("AgentSilent", &[(95, Agent(node(), Some(0), as_it_is))]);
        let late = last_told("AgentSilent", &[(300, Agent(node(), Some(0), as_it_is))]);
        assert_eq!((late.incarnation, late.since), (early.incarnation, early.since));
        check("at once", "AgentSilent", &[(300, Agent(node(), Some(0), as_it_is))], "300 active");
        let another = last_told("AgentSilent", &[(800, Agent(node(), Some(500), as_it_is))]);
        assert_ne!(another.incarnation, early.incarnation);
    }
}
