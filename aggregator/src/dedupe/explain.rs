//! What explains what: a cause's findings stand for those of its symptoms.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use rules::{Kind, State, Time};

use super::decision::{Decision, Waiting};
use super::issue::{HeldAfterCause, IssueKey, Member, MemberId};
use super::{Dedupe, Effect, place};

/// In a row of the catalogue: explains every kind about a pod on the same node.
const EVERY_POD_KIND: &str = "*";

/// The catalogue's explanations, by symptom.
#[derive(Debug)]
pub(super) struct Explanations {
    /// Kinds that explain a kind of the same owner.
    of_owner: HashMap<Kind, Vec<Kind>>,
    /// Kinds that explain everything about the pods of a node.
    of_node: HashSet<Kind>,
}

impl Explanations {
    /// As the rows say it.
    pub(super) fn of_catalogue() -> Self {
        let mut explanations = Self { of_owner: HashMap::new(), of_node: HashSet::new() };
        for cause in Kind::all() {
            for &symptom in cause.row().explains {
                match Kind::named(symptom) {
                    Some(symptom) => explanations.of_owner.entry(symptom).or_default().push(cause),
                    None if symptom == EVERY_POD_KIND => {
                        explanations.of_node.insert(cause);
                    }
                    None => {}
                }
            }
        }
        explanations
    }

    /// Whether a kind, about a node, explains everything about the node's pods.
    pub(super) fn is_of_node(&self, kind: Kind) -> bool {
        self.of_node.contains(&kind)
    }
}

impl Dedupe {
    /// How the most certain of what may explain this finding stands; `None` when nothing does.
    pub(super) fn cause_of(&self, key: &IssueKey, member: &Member) -> Option<State> {
        self.owner_cause(key).max(self.node_cause(member))
    }

    /// How an issue stands as a cause. While observers have not reported yet, what was told is there for all that is known.
    pub(super) fn stands(&self, key: &IssueKey) -> Option<State> {
        let issue = self.issues.get(key)?;
        if self.resyncing && issue.is_told() { Some(State::Active) } else { issue.stands() }
    }

    /// What an issue can explain has changed from `stood` to `stands`: its symptoms are judged anew.
    pub(super) fn on_cause_changed(
        &mut self,
        key: &Arc<IssueKey>,
        stood: Option<State>,
        stands: Option<State>,
        now: Time,
    ) {
        let has_ended = stood == Some(State::Active) && stands.is_none();
        for id in self.symptoms_of(key) {
            let Some(member) = self.member_mut(&id) else { continue };
            if stands.is_some() && member.decision == Some(Decision::Pending(Waiting::Verifying)) {
                self.take_back(&id, now);
            } else if has_ended && member.decision == Some(Decision::Pending(Waiting::Inhibited)) {
                self.hold_after_cause(&id, now);
            }
            self.judge_anew(&id, now);
        }
    }

    /// The cause has ended: the finding must be seen again after that, and last.
    fn hold_after_cause(&mut self, id: &MemberId, now: Time) {
        let Some(key) = self.members.get(id).map(Arc::clone) else { return };
        let until = now + self.sustain_of(&key);
        // The aggregator's own view is current at any time; an agent says so with a full report.
        let confirmed = id.observer.is_empty();
        let Some(member) = self.member_mut(id) else { return };
        member.held = Some(HeldAfterCause { ended: now, confirmed, until });
        self.deadlines.insert((until, id.clone()));
        if !confirmed {
            self.effects.push(Effect::NeedFull(Arc::clone(&id.observer)));
        }
    }

    /// Undecided findings that the issue of `key` may explain.
    fn symptoms_of(&self, key: &Arc<IssueKey>) -> Vec<MemberId> {
        let row = key.kind.row();
        let mut symptoms = Vec::new();
        if self.explanations.is_of_node(key.kind) {
            symptoms.extend(self.by_node.get(&key.owner.name).into_iter().flatten().cloned());
        }
        let beside = self.places.get(&place(key)).into_iter().flatten();
        for other in beside.filter(|other| row.explains.contains(&other.kind.name())) {
            symptoms.extend(self.issues.get(other).into_iter().flat_map(|issue| issue.members.keys()).cloned());
        }
        symptoms.retain(|id| self.member(id).is_some_and(Member::is_undecided));
        symptoms
    }

    /// Issues of the same owner; those about another container explain nothing.
    fn owner_cause(&self, key: &IssueKey) -> Option<State> {
        let causes = self.explanations.of_owner.get(&key.kind)?;
        self.places
            .get(&place(key))?
            .iter()
            .filter(|other| causes.contains(&other.kind))
            .filter(|other| other.container.is_empty() || key.container.is_empty() || other.container == key.container)
            .filter_map(|other| self.stands(other))
            .max()
    }

    /// Issues of the node that the pod runs on.
    fn node_cause(&self, member: &Member) -> Option<State> {
        let subject = &member.finding.subject;
        if subject.pod.is_empty() || subject.node.is_empty() {
            return None;
        }
        let owner = rules::Owner { kind: Arc::from("Node"), name: Arc::clone(&subject.node) };
        self.places
            .get(&(Arc::from(""), owner))?
            .iter()
            .filter(|issue| self.explanations.is_of_node(issue.kind))
            .filter_map(|issue| self.stands(issue))
            .max()
    }
}
