//! The life of an issue from open to resolved: verified, told, over, resolved.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rules::Time;

use super::decision::{Decision, Suppression, Waiting};
use super::issue::{Episode, Example, Gone, Issue, IssueKey, Member, MemberId, Phase};
use super::judge::{Situation, judge};
use super::{Change, Check, Checked, Dedupe, Effect};
use crate::forward::outbox::{Fate, Intent, Status};

impl Dedupe {
    /// Judges a finding whose fate is open.
    pub(super) fn decide(&mut self, id: &MemberId, now: Time) {
        let Some(key) = self.members.get(id) else { return };
        let Some(issue) = self.issues.get(key) else { return };
        let Some(member) = issue.members.get(id) else { return };
        // Once it is on its way, it is told whatever comes.
        if !matches!(member.decision, Some(Decision::Pending(Waiting::Held | Waiting::Inhibited))) {
            return;
        }
        let severity = member.finding.severity;
        let saw_until = self.saw_until.get(&id.observer).copied().unwrap_or(self.low_water);
        let newest_edge = self.past.newest_edge(key).max(told_edge(issue));
        let decision = judge(&Situation {
            issue,
            member,
            cause: self.cause_of(key, member),
            old_until: saw_until.max(newest_edge.unwrap_or(saw_until)),
            over_until: self.past.ended(key),
            is_routed: self.is_routed(severity),
            now,
        });
        self.decided(id, decision, now);
    }

    /// Moves an issue on as far as it goes by itself.
    pub(super) fn proceed(&mut self, key: &Arc<IssueKey>, now: Time) {
        let Some(issue) = self.issues.get(key) else { return };
        match issue.episode.as_ref().map(|episode| episode.phase) {
            None => self.open(key, now),
            Some(Phase::Verifying) => {}
            Some(Phase::Telling) if issue.is_over() && !self.resyncing => self.resolve(key, now),
            Some(Phase::Told) if issue.is_over() && !self.resyncing => self.resolve(key, now),
            // It has become worse: those who know hear of it, and those whom it was not bad enough for.
            Some(Phase::Told) if issue.is_worse() => {
                self.tell(key, now);
                self.finish_telling(key, now);
            }
            Some(Phase::Telling | Phase::Told) if self.has_newcomer(issue) => {
                self.tell_newcomers(key, now);
                self.finish_telling(key, now);
            }
            Some(Phase::Telling) => self.finish_telling(key, now),
            Some(Phase::Told) => {}
            Some(Phase::Resolving) if !issue.is_over() => {
                self.tell(key, now);
                self.finish_telling(key, now);
            }
            Some(Phase::Resolving) => self.finish_resolving(key, now),
            Some(Phase::Resolved) => {
                self.close(key);
                self.open(key, now);
            }
        }
        self.drop_what_is_done(key);
    }

    /// The pod of an issue's opener was read.
    pub(super) fn take_in_check(&mut self, check: &Check, checked: Checked, now: Time) {
        let Some(issue) = self.issues.get_mut(&check.issue) else { return };
        let is_awaited = issue
            .episode
            .as_ref()
            .is_some_and(|episode| episode.phase == Phase::Verifying && episode.opener == check.member);
        if !is_awaited {
            return;
        }
        match checked {
            Checked::NoDoubt => self.tell(&check.issue, now),
            Checked::Mismatch => {
                issue.episode = None;
                self.effects.push(Effect::Changed(Arc::clone(&check.issue), Change::Unverified));
                self.decided(&check.member, Decision::Suppressed(Suppression::Unverified), now);
            }
        }
        self.proceed(&check.issue, now);
    }

    /// A sink has heard of an issue, or refuses to.
    pub(super) fn take_in_fate(
        &mut self,
        sink: &Arc<str>,
        key: &Arc<IssueKey>,
        (told, fate): (&Intent, Fate),
        now: Time,
    ) {
        let Some(issue) = self.issues.get_mut(key) else { return };
        if let Some(previous) = issue.previous.as_mut().filter(|previous| previous.incarnation == told.episode) {
            if told.revision >= previous.revision {
                previous.awaiting.remove(sink);
                self.drop_previous(key);
            }
            return;
        }
        let Some(episode) = issue.episode.as_mut().filter(|episode| episode.incarnation == told.episode) else {
            return;
        };
        match fate {
            Fate::Delivered => episode.refused_by.remove(sink),
            Fate::Quarantined => episode.refused_by.insert(Arc::clone(sink)),
        };
        if told.revision >= episode.revision {
            episode.awaiting.remove(sink);
            self.proceed(key, now);
        }
    }

    /// A finding that must be told is there: the issue opens with the oldest of them.
    fn open(&mut self, key: &Arc<IssueKey>, now: Time) {
        let Some(issue) = self.issues.get_mut(key).filter(|issue| issue.episode.is_none()) else { return };
        let about_to_open = |member: &Member| member.decision == Some(Decision::Pending(Waiting::Verifying));
        let Some((id, member)) = issue
            .members
            .iter()
            .filter(|(_, member)| about_to_open(member))
            .min_by_key(|(id, member)| (member.finding.since, *id))
        else {
            return;
        };
        let finding = &member.finding;
        let check = Check {
            issue: Arc::clone(key),
            member: id.clone(),
            namespace: Arc::clone(&finding.subject.namespace),
            pod: Arc::clone(&finding.subject.pod),
            uid: Arc::clone(&finding.subject.uid),
            node: Arc::clone(&finding.subject.node),
            since: finding.since,
        };
        issue.episode = Some(Box::new(Episode {
            opener: id.clone(),
            incarnation: finding.incarnation,
            phase: Phase::Verifying,
            awaiting: BTreeMap::new(),
            sinks: BTreeSet::new(),
            refused_by: BTreeSet::new(),
            // The same finding again, as after its kind was disabled for a while: a key says one thing only.
            revision: self.past.revision(key, finding.incarnation),
            since: finding.since,
            ended: None,
            severity: finding.severity,
            gone: Gone::default(),
            example: Example { observer: Arc::clone(&id.observer), finding: finding.clone() },
        }));
        // What the aggregator sees itself it has read from the API already.
        if check.pod.is_empty() || check.member.observer.is_empty() {
            self.tell(key, now);
            self.proceed(key, now);
        } else {
            self.effects.push(Effect::Verify(check));
        }
    }

    /// A cause has come before anything was said of its symptom: nothing is, for now.
    pub(super) fn take_back(&mut self, id: &MemberId, now: Time) {
        let Some(issue) = self.members.get(id).and_then(|key| self.issues.get_mut(key)) else { return };
        issue.episode.take_if(|episode| episode.phase == Phase::Verifying);
        self.decided(id, Decision::Pending(Waiting::Held), now);
    }

    /// Hands an issue to its sinks, or hands it to them again when it is back before they heard that it was over, is worse, or is
    /// for others as well: who knows as much already, or has refused as much, its outbox knows.
    pub(super) fn tell(&mut self, key: &Arc<IssueKey>, now: Time) {
        let Some(issue) = self.issues.get_mut(key) else { return };
        let (severity, was_told) = (issue.severity(), issue.is_told());
        let Some(episode) = issue.episode.as_mut() else { return };
        let was = was_told.then_some(episode.severity);
        episode.severity = severity.unwrap_or(episode.severity);
        episode.phase = Phase::Telling;
        episode.ended = None;
        // Whoever has not heard of the end before hears that it is there, however bad, which says as much.
        let previous = issue.previous.take();
        let uninformed = previous.into_iter().flat_map(|previous| previous.awaiting);
        let routed = self.settings.sinks.iter().filter(|(_, sink)| episode.severity >= sink.min_severity);
        let routed = routed.map(|(name, sink)| (Arc::clone(name), sink.required));
        episode.awaiting = routed.chain(uninformed).collect();
        episode.sinks.extend(episode.awaiting.keys().cloned());
        let opened = episode.severity;
        self.hand_out(key, Status::Firing);
        if was != Some(opened) {
            self.effects.push(Effect::Changed(Arc::clone(key), Change::Opened(opened)));
        }
        self.queue_members(key, now);
    }

    /// Every sink that must have it has it: those who waited for that are decided.
    fn finish_telling(&mut self, key: &Arc<IssueKey>, now: Time) {
        self.queue_members(key, now);
        let Some(episode) = self.episode_mut(key) else { return };
        if episode.is_unsettled() {
            return;
        }
        episode.phase = Phase::Told;
        self.decide_queued(key, now);
    }

    /// The issue is over; sinks that have not heard of it yet hear of both at once, unless they have refused to.
    fn resolve(&mut self, key: &Arc<IssueKey>, now: Time) {
        self.queue_members(key, now);
        let settings = Arc::clone(&self.settings);
        let Some(episode) = self.episode_mut(key) else { return };
        episode.phase = Phase::Resolving;
        episode.ended = Some(now);
        episode.awaiting = episode
            .sinks
            .iter()
            .filter_map(|name| settings.sinks.get(name).map(|sink| (Arc::clone(name), sink.required)))
            .collect();
        self.hand_out(key, Status::Resolved);
        self.effects.push(Effect::Changed(Arc::clone(key), Change::Resolved));
        self.finish_resolving(key, now);
    }

    /// Every sink that must know that it is over knows: its findings are settled.
    fn finish_resolving(&mut self, key: &Arc<IssueKey>, now: Time) {
        let Some(episode) = self.episode_mut(key) else { return };
        if episode.is_unsettled() {
            return;
        }
        episode.phase = Phase::Resolved;
        self.decide_queued(key, now);
        self.remember(key);
        if self.episode_mut(key).is_some_and(|episode| episode.awaiting.is_empty()) {
            self.close(key);
        } else {
            // The others are told with its findings, so those stay; whoever saw them may forget them already.
            let over: Vec<_> =
                self.issues.get(key).into_iter().flat_map(|issue| issue.members.keys()).cloned().collect();
            for id in over {
                self.settle(&id);
            }
        }
    }

    /// The episode ends when every sink knows that it is over, or at the latest when the next one begins.
    fn close(&mut self, key: &Arc<IssueKey>) {
        let Some(issue) = self.issues.get_mut(key) else { return };
        let goes_on = issue.members.values().any(|member| member.is_undecided());
        let ended = issue.episode.take_if(|episode| goes_on || episode.awaiting.is_empty());
        issue.previous = ended;
        self.drop_previous(key);
    }

    /// What is told of an episode that is over stays known.
    fn remember(&mut self, key: &Arc<IssueKey>) {
        let Some(issue) = self.issues.get(key) else { return };
        let Some(Episode { incarnation, revision, since, ended, .. }) = issue.episode.as_deref() else { return };
        self.past.remember(key, (*incarnation, *revision), issue.newest_edge(), ended.unwrap_or(*since));
    }

    /// Findings that are over and decided go, but for those that the end of their issue is told with.
    fn drop_what_is_done(&mut self, key: &Arc<IssueKey>) {
        let Some(issue) = self.issues.get_mut(key) else { return };
        let is_done = |member: &Member| member.over && member.decision.is_some_and(Decision::is_final);
        let ends_with_it = issue.episode.is_some() && issue.is_over();
        let done: Vec<_> = match ends_with_it {
            true => Vec::new(),
            false => issue.members.extract_if(|_, member| is_done(member)).collect(),
        };
        for (id, member) in done {
            if let Some(episode) = self.episode_mut(key) {
                episode.gone.add(member.finding.subject.clone());
            }
            self.effects.push(Effect::Settle(id.clone(), member.revision));
            self.drop_member(&id, &member.finding);
        }
    }

    /// Numbers what is to be told now and hands it to the sinks that wait for it.
    fn hand_out(&mut self, key: &Arc<IssueKey>, status: Status) {
        let example = self.issues.get(key).and_then(Issue::example);
        let Some(episode) = self.episode_mut(key) else { return };
        if let Some(example) = example {
            episode.example = example;
        }
        episode.revision += 1;
        let severity = episode.severity;
        let sinks: Vec<_> = episode.awaiting.keys().cloned().collect();
        let (episode, revision) = (episode.incarnation, episode.revision);
        let intent = Intent { episode, revision, status, severity };
        for sink in sinks {
            self.effects.push(Effect::Tell(sink, Arc::clone(key), intent));
        }
    }

    fn queue_members(&mut self, key: &Arc<IssueKey>, now: Time) {
        self.decide_all(key, Waiting::Verifying, |_, _, _| Decision::Pending(Waiting::Queued), now);
    }

    fn decide_queued(&mut self, key: &Arc<IssueKey>, now: Time) {
        self.decide_all(key, Waiting::Queued, Episode::decision_for, now);
    }

    /// Judges every finding of an issue that is held.
    pub(super) fn decide_held(&mut self, key: &Arc<IssueKey>, now: Time) {
        let held = Some(Decision::Pending(Waiting::Held));
        let members = self.issues.get(key).into_iter().flat_map(|issue| &issue.members);
        let held: Vec<_> = members.filter(|(_, member)| member.decision == held).map(|(id, _)| id.clone()).collect();
        for id in held {
            self.decide(&id, now);
        }
    }

    /// Decides every finding of an issue that waits for `waiting`.
    fn decide_all(
        &mut self,
        key: &Arc<IssueKey>,
        waiting: Waiting,
        decision: impl Fn(&Episode, &MemberId, &Member) -> Decision,
        now: Time,
    ) {
        let Some(issue) = self.issues.get(key) else { return };
        let Some(episode) = &issue.episode else { return };
        let decisions: Vec<_> = issue
            .members
            .iter()
            .filter(|(_, member)| member.decision == Some(Decision::Pending(waiting)))
            .map(|(id, member)| (id.clone(), decision(episode, id, member)))
            .collect();
        for (id, decision) in decisions {
            self.decided(&id, decision, now);
        }
    }

    /// Writes a decision down, and settles what it is the last word on.
    fn decided(&mut self, id: &MemberId, to: Decision, now: Time) {
        let Some(key) = self.members.get(id) else { return };
        let Some(issue) = self.issues.get_mut(key) else { return };
        let Some(member) = issue.members.get_mut(id) else { return };
        let Some(from @ Decision::Pending(_)) = member.decision else { return };
        if from == to {
            return;
        }
        member.decision = Some(to);
        issue.last_decision = Some((to, now));
        self.accounts.change(from, to);
        // The end of an issue is settled when it has been told, not when its beginning was.
        if to.is_final() && !member.over {
            self.settle(id);
        }
    }

    fn episode_mut(&mut self, key: &Arc<IssueKey>) -> Option<&mut Episode> {
        self.issues.get_mut(key)?.episode.as_deref_mut()
    }
}

/// The newest edge that is told of an open issue.
fn told_edge(issue: &Issue) -> Option<Time> {
    let told =
        issue.members.values().filter(|member| matches!(member.decision, Some(Decision::Told | Decision::Merged)));
    (issue.key.kind.row().nature == rules::Nature::Edge)
        .then(|| told.map(|member| member.finding.since).max())
        .flatten()
}
