//! Which sinks an issue is for, and what a change of them does to what is open: a sink that is new hears of it, as it would
//! from the next leader; one that is gone is forgotten, so it is new when it is back.

use std::sync::Arc;

use rules::{Severity, Time};

use super::decision::{Decision, Suppression, Waiting};
use super::issue::{Issue, IssueKey};
use super::{Dedupe, Effect};

impl Dedupe {
    /// Whether any sink wants issues of this severity.
    pub(super) fn is_routed(&self, severity: Severity) -> bool {
        self.settings.sinks.values().any(|sink| severity >= sink.min_severity)
    }

    /// Whether a sink that wants an issue, which is told and not over, was never given it. It is not given what may be over, or
    /// be about more than is known: not before all observers have reported.
    pub(super) fn has_newcomer(&self, issue: &Issue) -> bool {
        let Some(episode) = issue.episode.as_ref().filter(|_| !self.resyncing) else { return false };
        let mut wanted = self.settings.sinks.iter().filter(|(_, sink)| episode.severity >= sink.min_severity);
        wanted.any(|(name, _)| !episode.sinks.contains(name))
    }

    /// A sink is new: all that want the issue hear of it, who knows as much already not again, and what others have refused is
    /// theirs to take.
    pub(super) fn tell_newcomers(&mut self, key: &Arc<IssueKey>, now: Time) {
        self.tell(key, now);
        self.judge_again(key, Suppression::Quarantined);
        self.decide_held(key, now);
    }

    /// The sinks are others than before: what they had yet to hear, and what was written off for want of one. To be called for
    /// every issue before any is judged, as one may explain another.
    pub(super) fn reroute(&mut self, key: &Arc<IssueKey>) {
        let Some(issue) = self.issues.get_mut(key) else { return };
        let sinks = &self.settings.sinks;
        for episode in issue.episode.iter_mut().chain(&mut issue.previous) {
            episode.awaiting.retain(|name, required| {
                let sink = sinks.get(name);
                *required = sink.is_some_and(|sink| sink.required && episode.severity >= sink.min_severity);
                sink.is_some()
            });
            episode.sinks.retain(|sink| sinks.contains_key(sink));
            episode.refused_by.retain(|sink| sinks.contains_key(sink));
        }
        self.drop_previous(key);
        self.judge_again(key, Suppression::Unrouted);
    }

    /// The episode before is done when every sink knows that it is over.
    pub(super) fn drop_previous(&mut self, key: &Arc<IssueKey>) {
        let Some(issue) = self.issues.get_mut(key) else { return };
        if let Some(done) = issue.previous.take_if(|previous| previous.awaiting.is_empty()) {
            self.effects.push(Effect::Over(Arc::clone(key), done.incarnation, done.revision, done.ended));
        }
    }

    /// What is there, and was written off for that reason, is held until it is judged again.
    fn judge_again(&mut self, key: &IssueKey, reason: Suppression) {
        let (written_off, held) = (Decision::Suppressed(reason), Decision::Pending(Waiting::Held));
        let members = self.issues.get_mut(key).into_iter().flat_map(|issue| issue.members.values_mut());
        for member in members.filter(|member| !member.over && member.decision == Some(written_off)) {
            member.decision = Some(held);
            self.accounts.take_back(written_off, held);
        }
    }
}
