//! Which sinks an issue is for, and what a change of them does to what is open: a sink that is new hears of it, as it would
//! from the next leader; one that is gone is forgotten, so it is new when it is back.

use std::sync::Arc;

use rules::{Severity, Time};

use super::Dedupe;
use super::decision::{Decision, Suppression, Waiting};
use super::issue::{Episode, IssueKey, MemberId};

impl Dedupe {
    /// Whether any sink wants issues of this severity.
    pub(super) fn is_routed(&self, severity: Severity) -> bool {
        self.settings.sinks.values().any(|sink| severity >= sink.min_severity)
    }

    /// The sinks are others than before.
    pub(super) fn reroute(&mut self, key: &Arc<IssueKey>, now: Time) {
        let Some(issue) = self.issues.get_mut(key) else { return };
        let sinks = &self.settings.sinks;
        for episode in issue.episode.iter_mut().chain(&mut issue.previous) {
            episode.awaiting.retain(|sink, _| sinks.contains_key(sink));
            episode.sinks.retain(|sink| sinks.contains_key(sink));
            episode.refused_by.retain(|sink| sinks.contains_key(sink));
        }
        issue.previous.take_if(|previous| previous.awaiting.is_empty());
        let has_newcomer = |episode: &Episode| {
            let mut wanted = sinks.iter().filter(|(_, sink)| episode.severity >= sink.min_severity);
            wanted.any(|(name, _)| !episode.sinks.contains(name))
        };
        if issue.is_told() && issue.episode.as_ref().is_some_and(has_newcomer) {
            self.tell(key, now);
        }
        for id in self.unrouted(key) {
            self.take_back_unrouted(&id);
            self.decide(&id, now);
        }
        self.proceed(key, now);
    }

    /// What is there, and was written off because no sink wanted it.
    fn unrouted(&self, key: &IssueKey) -> Vec<MemberId> {
        let members = self.issues.get(key).into_iter().flat_map(|issue| &issue.members);
        let unrouted = members.filter(|(_, member)| !member.over && member.decision == Some(UNROUTED));
        unrouted.map(|(id, _)| id.clone()).collect()
    }

    fn take_back_unrouted(&mut self, id: &MemberId) {
        let held = Decision::Pending(Waiting::Held);
        let Some(member) = self.member_mut(id) else { return };
        member.decision = Some(held);
        self.accounts.take_back(UNROUTED, held);
    }
}

const UNROUTED: Decision = Decision::Suppressed(Suppression::Unrouted);
