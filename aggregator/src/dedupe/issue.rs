//! Issues: findings of one kind under one top owner, from open to resolved.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use rules::{Finding, FindingId, Incarnation, Kind, Nature, Owner, Severity, State, Subject, Time};
use serde::{Deserialize, Serialize};

use super::decision::{Decision, Suppression, Waiting};

/// What findings are grouped by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct IssueKey {
    /// Namespace; empty for what is about nodes.
    pub namespace: Arc<str>,
    /// Top owner.
    pub owner: Owner,
    /// Container; empty when it is about whole pods or nodes.
    pub container: Arc<str>,
    /// Kind.
    pub kind: Kind,
}

/// Who sees a finding: a node's agent, by the node's name, or the aggregator itself, by the empty name.
pub type Observer = Arc<str>;

/// Names a finding among all observers'.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId {
    /// Who sees it.
    pub observer: Observer,
    /// Its name there.
    pub finding: FindingId,
}

/// One issue. What is large in it is boxed: most of a table's places are empty at times.
#[derive(Debug)]
pub struct Issue {
    /// What its findings have in common.
    pub key: Arc<IssueKey>,
    /// Its findings, while they are pending, active, or still to be accounted for.
    pub members: HashMap<MemberId, Box<Member>>,
    /// Its life from open to resolved; `None` while nothing is told of it.
    pub episode: Option<Box<Episode>>,
    /// The one before, while the next one is being verified and a sink has yet to hear of its end.
    pub previous: Option<Box<Episode>>,
    /// The last decision about one of its findings.
    pub last_decision: Option<(Decision, Time)>,
}

/// One finding of an issue.
#[derive(Debug)]
pub struct Member {
    /// As its observer last told it.
    pub finding: Finding,
    /// The observer's revision of it.
    pub revision: u32,
    /// What became of it; `None` for one that is only pending: it is not counted as observed.
    pub decision: Option<Decision>,
    /// It has ended.
    pub over: bool,
    /// Held after its cause has ended.
    pub held: Option<HeldAfterCause>,
    /// Nobody can see it any more since then, and it is over when its hold has passed.
    pub unseen_since: Option<Time>,
    /// It was told by a predecessor, and its observer has not named it to this process yet: it is not in the books.
    pub recalled: bool,
}

/// A cause has ended. What it explained is judged by what is there now, not by what was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldAfterCause {
    /// When the cause ended: a full report newer than this must name the finding again.
    pub ended: Time,
    /// Whether such a report has come.
    pub confirmed: bool,
    /// And it must have lasted until then.
    pub until: Time,
}

/// A finding, and who saw it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Example {
    /// Who saw it.
    pub observer: Observer,
    /// As it was told.
    pub finding: Finding,
}

/// An issue's life from open to resolved.
#[derive(Debug)]
pub struct Episode {
    /// The finding that opened it.
    pub opener: MemberId,
    /// Its incarnation then: it names the episode.
    pub incarnation: Incarnation,
    /// Where it stands.
    pub phase: Phase,
    /// The sinks that have yet to hear of [`Self::revision`], and whether they must.
    pub awaiting: BTreeMap<Arc<str>, bool>,
    /// The sinks that it was given to.
    pub sinks: BTreeSet<Arc<str>>,
    /// The sinks that have refused what they were sent of it last.
    pub refused_by: BTreeSet<Arc<str>>,
    /// The last revision given out.
    pub revision: u32,
    /// When it began.
    pub since: Time,
    /// When it ended.
    pub ended: Option<Time>,
    /// How bad it is.
    pub severity: Severity,
    /// Who was part of it and is well again, while others go on.
    pub gone: Gone,
    /// The finding that was spoken of last: what is said when none is left.
    pub example: Example,
}

/// Subjects that were part of an episode and no longer are.
#[derive(Debug, Default)]
pub struct Gone {
    /// The first of them, as many as are remembered.
    pub subjects: HashSet<Subject>,
    /// How often one was added after that.
    pub more: usize,
}

/// The most episodes of an issue whose numbers are remembered.
pub const EPISODES_MAX: usize = 8;
/// The most subjects of an episode that are remembered after their findings have ended.
const GONE_MAX: usize = 100;

/// Where an episode stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Its opener's pod is being read from the API.
    Verifying,
    /// On its way to the sinks.
    Telling,
    /// Every sink that must have it has it.
    Told,
    /// It is over, and that is on its way to the sinks.
    Resolving,
    /// Every sink that must know so knows; kept until the others know too.
    Resolved,
}

impl IssueKey {
    /// The key of the issue that `finding` belongs to. What is grouped under a node is of no one namespace.
    pub fn of(finding: &Finding) -> Self {
        let of_node = &*finding.owner.kind == "Node";
        Self {
            namespace: if of_node { Arc::default() } else { Arc::clone(&finding.subject.namespace) },
            owner: finding.owner.clone(),
            container: Arc::clone(&finding.subject.container),
            kind: finding.kind,
        }
    }
}

impl Issue {
    /// An issue without findings.
    pub fn new(key: Arc<IssueKey>) -> Self {
        Self { key, members: HashMap::new(), episode: None, previous: None, last_decision: None }
    }

    /// Whether it is there, as far as it can explain others: active and not written off, or at least pending.
    pub fn stands(&self) -> Option<State> {
        let mut stands = None;
        for member in self.members.values().filter(|member| !member.over) {
            match member.decision {
                None => stands = Some(State::Pending),
                Some(Decision::Suppressed(_) | Decision::Shed) => {}
                Some(_) => return Some(State::Active),
            }
        }
        stands
    }

    /// Whether it was said that it is there, or is going to be, and not that it is over.
    pub fn is_told(&self) -> bool {
        let phase = self.episode.as_ref().map(|episode| episode.phase);
        matches!(phase, Some(Phase::Telling | Phase::Told))
    }

    /// The episode of that name, if it is still to be spoken of.
    pub fn episode_of(&self, incarnation: Incarnation) -> Option<&Episode> {
        let known = self.episode.iter().chain(&self.previous).map(Box::as_ref);
        known.into_iter().find(|episode| episode.incarnation == incarnation)
    }

    /// How bad the worst of what is there is.
    pub fn severity(&self) -> Option<Severity> {
        let there = self.members.values().filter(|member| !member.over && member.decision.is_some());
        there.map(|member| member.finding.severity).max()
    }

    /// Whether it is worse than was told.
    pub fn is_worse(&self) -> bool {
        self.severity() > self.episode.as_ref().map(|episode| episode.severity)
    }

    /// Whether every finding that was observed has ended.
    pub fn is_over(&self) -> bool {
        self.members.values().all(|member| member.over || member.decision.is_none())
    }

    /// The finding whose facts are shown: the one that opened the episode, or else the newest that is there. `None` when
    /// none is left.
    pub fn example(&self) -> Option<Example> {
        let observed = || self.members.iter().filter(|(_, member)| member.decision.is_some());
        let opener = self.episode.as_ref().and_then(|episode| self.members.get_key_value(&episode.opener));
        let opener = opener.filter(|(_, member)| !member.over && member.decision.is_some());
        let newest = || observed().max_by_key(|(_, member)| (!member.over, member.finding.since));
        let (id, member) = opener.or_else(newest)?;
        Some(Example { observer: Arc::clone(&id.observer), finding: member.finding.clone() })
    }

    /// When the newest of its edges happened.
    pub fn newest_edge(&self) -> Option<Time> {
        let is_edge = self.key.kind.row().nature == Nature::Edge;
        is_edge.then(|| self.members.values().map(|member| member.finding.since).max()).flatten()
    }
}

impl Member {
    /// Whether its fate is still open.
    pub fn is_undecided(&self) -> bool {
        matches!(self.decision, Some(Decision::Pending(_)))
    }

    /// Whether it waits in an outbox.
    pub fn is_queued(&self) -> bool {
        self.decision == Some(Decision::Pending(Waiting::Queued))
    }
}

impl Gone {
    /// `subject` is part of it no more.
    pub fn add(&mut self, subject: Subject) {
        if self.subjects.len() < GONE_MAX {
            self.subjects.insert(subject);
        } else if !self.subjects.contains(&subject) {
            self.more = self.more.saturating_add(1);
        }
    }
}

impl Episode {
    /// Whether a sink that must hear of it has not yet.
    pub fn is_unsettled(&self) -> bool {
        self.awaiting.values().any(|&required| required)
    }

    /// What delivery means for the findings that waited for it.
    pub fn decision_for(&self, id: &MemberId, member: &Member) -> Decision {
        if self.sinks.is_empty() {
            Decision::Suppressed(Suppression::Unrouted)
        } else if self.sinks.is_subset(&self.refused_by) {
            Decision::Suppressed(Suppression::Quarantined)
        } else if *id == self.opener && member.finding.incarnation == self.incarnation {
            Decision::Told
        } else {
            Decision::Merged
        }
    }
}
