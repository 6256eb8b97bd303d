//! What is remembered of a subject: little, and of a healthy one nothing.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::catalogue::{Kind, Row};
use crate::finding::{Finding, FindingId, Incarnation, Subject};
use crate::time::Time;
use crate::verdict::Rule;
use crate::view::{ConditionStatus, ConditionType, Meta, Node};

/// Names a subject as a whole (a pod, a node, a node's agent): a hash.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Anchor(u64);

/// Where a subject comes from: the list that it can go missing from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Realm {
    /// [`Engine::on_pod`](super::Engine::on_pod) and its like.
    Pods,
    /// [`Engine::on_node`](super::Engine::on_node) and its like.
    Nodes,
    /// [`Engine::on_agent`](super::Engine::on_agent) and its like.
    Agents,
}

/// What is remembered of a subject.
pub(super) struct Memory {
    pub(super) realm: Realm,
    /// The pod's names, or the node's, shared by all its findings.
    pub(super) subject: Subject,
    /// Its findings.
    pub(super) open: Vec<FindingId>,
    /// Its newest edges: they stay in its status and must not be told again.
    pub(super) spent: Vec<Spent>,
    /// Of which kinds its containers are neither ill nor well.
    pub(super) unclear: Vec<(Kind, Arc<str>)>,
    /// Since when it is gone.
    pub(super) gone: Option<Time>,
}

/// The newest edge of a kind on a container.
pub(super) struct Spent {
    kind: Kind,
    container: Arc<str>,
    incarnation: Incarnation,
    /// When it happened lately, oldest first; at most [`Spent::RECENT_MAX`].
    recent: VecDeque<Time>,
}

/// How a node's readiness changed lately.
#[derive(Default)]
pub(crate) struct NodeHistory {
    last: Option<(bool, Option<Time>)>,
    changes: VecDeque<Time>,
}

impl Anchor {
    pub(super) fn of_pod(pod: &Meta) -> Self {
        let uid = if pod.is_static() { "" } else { &*pod.uid };
        Self::hash(Realm::Pods, &[&pod.namespace, &pod.name, uid])
    }

    pub(super) fn of(realm: Realm, node: &str) -> Self {
        Self::hash(realm, &[node])
    }

    pub(super) fn of_subject(realm: Realm, subject: &Subject) -> Self {
        match realm {
            Realm::Pods => Self::hash(realm, &[&subject.namespace, &subject.pod, &subject.uid]),
            Realm::Nodes | Realm::Agents => Self::of(realm, &subject.node),
        }
    }

    fn hash(realm: Realm, names: &[&str]) -> Self {
        let realm = match realm {
            Realm::Pods => "pod",
            Realm::Nodes => "node",
            Realm::Agents => "agent",
        };
        let facts: Vec<&str> = std::iter::once(realm).chain(names.iter().copied()).collect();
        Self(Incarnation::of(&facts).0)
    }
}

impl Realm {
    /// Where the subjects of `kind` come from.
    pub fn of(kind: Kind) -> Self {
        match kind.row().rule {
            Rule::Container(_) | Rule::Pod(_) => Self::Pods,
            Rule::Node(_) => Self::Nodes,
            Rule::Agent(_) => Self::Agents,
        }
    }
}

impl Memory {
    pub(super) fn new(realm: Realm, subject: &Subject) -> Self {
        let subject = Subject { container: Arc::default(), ..subject.clone() };
        Self { realm, subject, open: Vec::new(), spent: Vec::new(), unclear: Vec::new(), gone: None }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty() && self.spent.is_empty() && self.unclear.is_empty()
    }

    /// Remembers an occurrence of an edge. `None` when it was known already, else how many there were within
    /// [`Row::EDGE_LASTS`] up to this one.
    pub(super) fn spend(
        &mut self,
        kind: Kind,
        container: &Arc<str>,
        incarnation: Incarnation,
        at: Time,
    ) -> Option<u32> {
        let known = self.spent.iter().position(|spent| spent.kind == kind && spent.container == *container);
        let spent = match known {
            Some(index) if self.spent[index].incarnation == incarnation => return None,
            Some(index) => &mut self.spent[index],
            None => {
                self.spent.push_mut(Spent { kind, container: container.clone(), incarnation, recent: VecDeque::new() })
            }
        };
        spent.incarnation = incarnation;
        spent.recent.retain(|&before| at.since(before) < Row::EDGE_LASTS);
        if spent.recent.len() == Spent::RECENT_MAX {
            spent.recent.pop_front();
        }
        spent.recent.push_back(at);
        u32::try_from(spent.recent.len()).ok()
    }

    /// Remembers the edge of a finding that others made, and how often it had happened.
    pub(super) fn spend_found(&mut self, finding: &Finding) {
        let Finding { kind, incarnation, since, .. } = *finding;
        if self.spend(kind, &finding.subject.container, incarnation, since).is_some()
            && let Some(spent) = self.spent.iter_mut().find(|spent| spent.incarnation == incarnation)
        {
            let times = finding.evidence.occurrences.unwrap_or(1).max(1) as usize;
            spent.recent.resize(times.min(Spent::RECENT_MAX), since);
        }
    }

    pub(super) fn is_unclear(&self, finding: &Finding) -> bool {
        self.unclear.iter().any(|(kind, container)| *kind == finding.kind && *container == finding.subject.container)
    }

    pub(super) fn note_unclear(&mut self, kind: Kind, container: &Arc<str>, unclear: bool) {
        let known = self.unclear.iter().position(|(other, of)| *other == kind && of == container);
        match (known, unclear) {
            (None, true) => self.unclear.push((kind, container.clone())),
            (Some(index), false) => drop(self.unclear.swap_remove(index)),
            _ => {}
        }
    }
}

impl Spent {
    const RECENT_MAX: usize = 16;
}

impl NodeHistory {
    /// How long a change counts.
    pub(crate) const WINDOW: Duration = Duration::from_mins(15);
    const CHANGES_MAX: usize = 16;

    /// Notes how a node is now.
    pub(super) fn note(&mut self, node: &Node, now: Time) {
        let Some(ready) = node.condition(ConditionType::Ready) else { return };
        let is = (ready.status == ConditionStatus::True, ready.last_transition_time);
        let changes = match self.last {
            Some(was) if was.0 != is.0 => 1,
            // Ready then and now, but not in between.
            Some(was) if is.0 && was.1 != is.1 => 2,
            _ => 0,
        };
        self.last = Some(is);
        for _ in 0..changes {
            self.changes.push_back(is.1.unwrap_or(now).min(now));
        }
        while self.changes.len() > Self::CHANGES_MAX {
            self.changes.pop_front();
        }
        while self.changes.pop_front_if(|at| now.since(*at) >= Self::WINDOW).is_some() {}
    }

    /// How often it changed within [`Self::WINDOW`].
    pub(crate) fn changes(&self, now: Time) -> usize {
        self.changes.iter().filter(|&&at| now.since(at) < Self::WINDOW).count()
    }

    /// When, without a further change, fewer than that many changes will lie within [`Self::WINDOW`].
    pub(crate) fn fewer_than(&self, changes: usize) -> Option<Time> {
        let nth_newest = self.changes.len().checked_sub(changes)?;
        self.changes.get(nth_newest).map(|&at| at + Self::WINDOW)
    }
}
