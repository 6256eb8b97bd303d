//! Going on where a predecessor stopped: what it told is known again, and is compared with what the observers say.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rules::{Finding, FindingId, State, Time};
use wire::Entry as Reported;

use super::decision::Decision;
use super::issue::{Episode, Example, Gone, Issue, Member, MemberId, Phase};
use super::{Dedupe, IssueKey, place};
use crate::forward::outbox::{Intent, Status};
use crate::told_log::Entry;

impl Dedupe {
    /// Nothing was unsettled at `low_water`, so found edges up to then are old.
    pub fn recall_low_water(&mut self, low_water: Time) {
        self.low_water = low_water;
    }

    /// An issue was told. Returns what its sinks have yet to hear.
    pub fn recall(&mut self, entry: &Entry) -> Option<(Arc<IssueKey>, BTreeSet<Arc<str>>, Intent)> {
        let (key, intent) = (Arc::new(entry.issue.clone()), entry.intent);
        let ended = entry.ended.unwrap_or(entry.since);
        // The numbers and the newest edge count whatever happens to this episode.
        for numbers in entry.earlier.iter().copied().chain([(intent.episode, intent.revision)]) {
            self.past.remember(&key, numbers, entry.newest_edge, ended);
        }
        let awaiting = self.yet_to_hear(entry);
        if intent.status == Status::Resolved && awaiting.is_empty() {
            return None;
        }
        let example = entry.example.clone()?;
        let finding = example.finding.clone();
        let id = MemberId { observer: Arc::clone(&example.observer), finding: finding.id };
        let is_unsettled = awaiting.values().any(|&required| required);
        let episode = Episode {
            opener: id.clone(),
            incarnation: intent.episode,
            phase: match (intent.status, is_unsettled) {
                (Status::Firing, true) => Phase::Telling,
                (Status::Firing, false) => Phase::Told,
                (Status::Resolved, true) => Phase::Resolving,
                (Status::Resolved, false) => Phase::Resolved,
            },
            sinks: entry.sinks.keys().chain(awaiting.keys()).cloned().collect(),
            refused_by: entry.refusing().cloned().collect(),
            revision: intent.revision,
            since: entry.since,
            ended: entry.ended,
            severity: intent.severity,
            gone: Gone { more: entry.gone, ..Gone::default() },
            example,
            awaiting,
        };
        let sinks = episode.awaiting.keys().cloned().collect();
        let member = Member {
            revision: 0,
            decision: Some(Decision::Told),
            over: intent.status == Status::Resolved,
            held: None,
            unseen_since: None,
            recalled: true,
            finding,
        };
        if !member.finding.subject.node.is_empty() {
            self.by_node.entry(Arc::clone(&member.finding.subject.node)).or_default().insert(id.clone());
        }
        let mut issue = Issue::new(Arc::clone(&key));
        issue.members.insert(id.clone(), Box::new(member));
        issue.episode = Some(Box::new(episode));
        self.members.insert(id, Arc::clone(&key));
        self.places.entry(place(&key)).or_default().insert(Arc::clone(&key));
        self.issues.insert(Arc::clone(&key), issue);
        Some((key, sinks, intent))
    }

    /// A finding was accepted and not settled, and its agent is gone: it has its say, and then its hold.
    pub fn recall_orphan(&mut self, orphan: Example, now: Time) {
        let Example { observer, finding } = orphan;
        let id = finding.id;
        self.on_findings(&observer, vec![Reported { revision: 0, finding }], now);
        self.on_unseen(MemberId { observer, finding: id }, now);
    }

    /// These nodes are there; what was told about any other is over when its hold has passed.
    pub fn on_nodes_known(&mut self, nodes: &BTreeSet<Arc<str>>, now: Time) {
        let recalled = self.members.keys().filter(|id| self.is_recalled(id));
        let gone: BTreeSet<_> = recalled
            .map(|id| &id.observer)
            .filter(|node| !node.is_empty() && !nodes.contains(*node))
            .cloned()
            .collect();
        for node in gone {
            self.on_node_gone(&node, now);
        }
    }

    /// All whose findings there are, but the aggregator itself.
    pub fn observers(&self) -> BTreeSet<Arc<str>> {
        self.members.keys().map(|id| &id.observer).filter(|observer| !observer.is_empty()).cloned().collect()
    }

    /// The aggregator's own findings that are open, those that a predecessor told among them: for its rules to go on with.
    pub fn own_findings(&self) -> Vec<Finding> {
        let own = self.members.keys().filter(|id| id.observer.is_empty()).filter_map(|id| self.member(id));
        let open = own.filter(|member| !member.over && member.unseen_since.is_none());
        open.map(|member| member.finding.clone()).collect()
    }

    /// The aggregator's own rules went on with the findings that `adopted` names, and will say when they are over.
    pub fn on_own_adopted(&mut self, adopted: &BTreeSet<FindingId>, now: Time) {
        let own = self.members.keys().filter(|id| id.observer.is_empty());
        let lost: Vec<_> = own.filter(|id| !adopted.contains(&id.finding)).cloned().collect();
        for id in lost {
            self.on_unseen(id, now);
        }
    }

    /// Findings that are not settled and that nobody will report again.
    pub fn orphans(&self, max: usize) -> Vec<Example> {
        let members = self.issues.values().flat_map(|issue| &issue.members).map(|(id, member)| (id, member.as_ref()));
        let orphans = members.filter(|(_, member)| member.is_undecided() && member.unseen_since.is_some());
        let example = |(id, member): (&MemberId, &Member)| Example {
            observer: Arc::clone(&id.observer),
            finding: Finding { state: State::Active, ..member.finding.clone() },
        };
        let mut orphans: Vec<_> = orphans.map(example).collect();
        orphans
            .sort_unstable_by(|one, other| (&one.observer, one.finding.id).cmp(&(&other.observer, other.finding.id)));
        orphans.truncate(max);
        orphans
    }

    /// Whether a predecessor told it, and its observer has not named it since.
    pub(super) fn is_recalled(&self, id: &MemberId) -> bool {
        self.member(id).is_some_and(|member| member.recalled)
    }

    /// The sinks that were given it and have yet to hear the last that was said of it, and whether they must. One that was
    /// never given it is new, and hears of it under a key of its own.
    fn yet_to_hear(&self, entry: &Entry) -> BTreeMap<Arc<str>, bool> {
        let given =
            entry.sinks.iter().filter_map(|(name, standing)| Some((name, standing, self.settings.sinks.get(name)?)));
        let awaiting = given.filter(|(_, it, _)| it.sent.is_some() || it.heard.fate_of(&entry.intent).is_none());
        awaiting.map(|(name, _, sink)| (Arc::clone(name), sink.required)).collect()
    }
}
