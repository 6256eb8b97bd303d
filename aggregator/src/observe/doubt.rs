//! On doubt: an agent is silent and its node says that it is well. Whether the node is dead or only its agent is told by
//! the node's Lease, which its kubelet renews every ten seconds. It is read twice: what has changed in between was written
//! by somebody alive, whatever the clocks say. Pure.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rules::{Finding, FindingId, Incarnation, Kind, State};

/// Findings that wait for a node's Lease to be read, and what was found out before.
#[derive(Debug)]
pub struct Doubts {
    kind: Option<Kind>,
    waiting: HashMap<FindingId, Finding>,
    verdicts: HashMap<FindingId, (Incarnation, Verdict)>,
}

/// What a node's Lease says about its silent agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The kubelet renews its Lease: the node lives, its agent does not.
    AgentBroken,
    /// It does not: the node is dead or cut off.
    NodeDead,
    /// The Lease could not be read, or there is none.
    Unknown,
}

/// What there is to do with changes of findings.
#[derive(Debug, Default, PartialEq)]
pub struct Sorted {
    /// To be told as they are.
    pub tell: Vec<Finding>,
    /// Of these, the Lease of that node is to be read, and [`Doubts::on_verdict`] called.
    pub ask: Vec<(FindingId, Arc<str>)>,
}

/// Leases that are being read at once; when more agents than this fall silent together, it is not their nodes.
pub const WAITING_MAX: usize = 32;
/// Between the two looks at a Lease: half as long again as a kubelet takes from one renewal to the next (KEP-589).
pub const LOOK_AGAIN: Duration = Duration::from_secs(15);
/// What the doubt is about.
const KIND: &str = "AgentSilent";

impl Doubts {
    /// No doubt yet.
    pub fn new() -> Self {
        Self { kind: Kind::named(KIND), waiting: HashMap::new(), verdicts: HashMap::new() }
    }

    /// Holds those changes back that are to be told with a verdict.
    pub fn sort(&mut self, changes: Vec<Finding>) -> Sorted {
        let mut sorted = Sorted::default();
        for finding in changes {
            if Some(finding.kind) == self.kind {
                self.sort_one(finding, &mut sorted);
            } else {
                sorted.tell.push(finding);
            }
        }
        sorted
    }

    /// A Lease was read; the finding as it stands now, if it is still to be told.
    pub fn on_verdict(&mut self, id: FindingId, verdict: Verdict) -> Option<Finding> {
        let mut finding = self.waiting.remove(&id)?;
        self.verdicts.insert(id, (finding.incarnation, verdict));
        verdict.enter(&mut finding);
        Some(finding)
    }

    fn sort_one(&mut self, mut finding: Finding, sorted: &mut Sorted) {
        if finding.state != State::Active {
            self.waiting.remove(&finding.id);
            self.verdicts.remove(&finding.id);
            sorted.tell.push(finding);
            return;
        }
        if let Some(waiting) = self.waiting.get_mut(&finding.id) {
            *waiting = finding;
            return;
        }
        match self.verdicts.get(&finding.id) {
            Some((incarnation, verdict)) if *incarnation == finding.incarnation => {
                verdict.enter(&mut finding);
                sorted.tell.push(finding);
            }
            _ if self.waiting.len() >= WAITING_MAX => {
                self.verdicts.insert(finding.id, (finding.incarnation, Verdict::Unknown));
                sorted.tell.push(finding);
            }
            _ => {
                sorted.ask.push((finding.id, Arc::clone(&finding.subject.node)));
                self.waiting.insert(finding.id, finding);
            }
        }
    }
}

impl Default for Doubts {
    fn default() -> Self {
        Self::new()
    }
}

impl Verdict {
    /// Judges by the `metadata.resourceVersion` of both looks; `None` where there was no answer, or no Lease.
    pub fn of(first: Option<&str>, second: Option<&str>) -> Self {
        match (first, second) {
            (Some(first), Some(second)) if first == second => Self::NodeDead,
            (Some(_), Some(_)) => Self::AgentBroken,
            _ => Self::Unknown,
        }
    }

    /// Says it in the finding.
    fn enter(self, finding: &mut Finding) {
        let (reason, message) = match self {
            Self::AgentBroken => ("AgentBroken", "the node renews its Lease, so it lives and only its agent is silent"),
            Self::NodeDead => ("NodeDead", "the node does not renew its Lease either: it is dead or cut off"),
            Self::Unknown => return,
        };
        finding.evidence.reason = Some(Arc::from(reason));
        finding.evidence.message = Some(Arc::from(message));
    }
}

#[cfg(test)]
mod tests {
    use rules::{Evidence, Owner, Seen, Severity, Subject, Time};

    use super::*;

    fn silent(node: &str, state: State, incarnation: u64) -> Finding {
        let kind = Kind::named(KIND).expect("it is in the catalogue");
        let subject = Subject { node: Arc::from(node), ..Subject::default() };
        Finding {
            id: FindingId::of(kind, &subject),
            kind,
            subject,
            owner: Owner { kind: "DaemonSet".into(), name: "agent".into() },
            incarnation: Incarnation(incarnation),
            state,
            since: Time::from_millis(0),
            seen: Seen::Happening,
            severity: Severity::Warning,
            evidence: Evidence::default(),
        }
    }

    fn reason(finding: &Finding) -> Option<&str> {
        finding.evidence.reason.as_deref()
    }

    #[test]
    fn a_lease_that_moves_has_a_living_node() {
        assert_eq!(Verdict::of(Some("7"), Some("8")), Verdict::AgentBroken);
        assert_eq!(Verdict::of(Some("7"), Some("7")), Verdict::NodeDead);
        assert_eq!(Verdict::of(Some("7"), None), Verdict::Unknown);
        assert_eq!(Verdict::of(None, None), Verdict::Unknown);
    }

    #[test]
    fn a_silent_agent_is_told_with_the_verdict_and_asked_about_once() {
        let mut doubts = Doubts::new();
        let pending = silent("n1", State::Pending, 1);
        assert_eq!(doubts.sort(vec![pending.clone()]).tell, [pending], "others wait for their cause: at once");
        let active = silent("n1", State::Active, 1);
        let sorted = doubts.sort(vec![active.clone()]);
        assert_eq!(sorted, Sorted { tell: vec![], ask: vec![(active.id, "n1".into())] });
        assert_eq!(doubts.sort(vec![active.clone()]), Sorted::default(), "asked already");
        let told = doubts.on_verdict(active.id, Verdict::NodeDead).expect("it waits");
        assert_eq!(reason(&told), Some("NodeDead"));
        let again = doubts.sort(vec![active.clone()]);
        assert_eq!(again.tell.iter().map(reason).collect::<Vec<_>>(), [Some("NodeDead")]);
        assert_eq!(doubts.sort(vec![silent("n1", State::Active, 2)]).ask.len(), 1, "another silence is another doubt");
    }

    #[test]
    fn what_ends_meanwhile_is_told_at_once_and_the_verdict_comes_too_late() {
        let mut doubts = Doubts::new();
        let active = silent("n1", State::Active, 1);
        doubts.sort(vec![active.clone()]);
        let cleared = silent("n1", State::Cleared, 1);
        assert_eq!(doubts.sort(vec![cleared.clone()]).tell, [cleared]);
        assert_eq!(doubts.on_verdict(active.id, Verdict::AgentBroken), None);
    }

    #[test]
    fn when_too_many_fall_silent_at_once_the_rest_is_told_without_a_verdict() {
        let mut doubts = Doubts::new();
        let all: Vec<_> = (0..WAITING_MAX + 3).map(|n| silent(&format!("n{n}"), State::Active, 1)).collect();
        let sorted = doubts.sort(all.clone());
        assert_eq!((sorted.ask.len(), sorted.tell.len()), (WAITING_MAX, 3));
        for (id, _) in sorted.ask {
            doubts.on_verdict(id, Verdict::NodeDead).expect("it waits");
        }
        let again = doubts.sort(all);
        assert_eq!((again.ask, again.tell.iter().filter_map(reason).count()), (vec![], WAITING_MAX));
    }
}
