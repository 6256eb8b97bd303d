//! The decision about one finding, as a value: nothing happens here.

use rules::{Nature, Seen, State, Time};

use super::decision::{Decision, Suppression, Waiting};
use super::issue::{Issue, Member, Phase};

/// All that a decision depends on.
pub(super) struct Situation<'a> {
    pub(super) issue: &'a Issue,
    pub(super) member: &'a Member,
    /// How the most certain of its possible causes stands.
    pub(super) cause: Option<State>,
    /// Found edges up to then are old.
    pub(super) old_until: Time,
    /// When the issue was over last, and that was told.
    pub(super) over_until: Option<Time>,
    /// Whether any sink wants issues of its severity.
    pub(super) is_routed: bool,
    pub(super) now: Time,
}

/// What becomes of a finding whose fate is open.
pub(super) fn judge(situation: &Situation<'_>) -> Decision {
    let Situation { issue, member, cause, old_until, over_until, is_routed, now } = situation;
    let finding = &member.finding;
    let is_found_edge = finding.seen == Seen::Found && finding.kind.row().nature == Nature::Edge;
    if is_found_edge && finding.since <= *old_until {
        return Decision::Suppressed(Suppression::Old);
    }
    let phase = issue.episode.as_ref().map(|episode| episode.phase);
    if phase == Some(Phase::Told) {
        return Decision::Merged;
    }
    // It began and ended before the end of the issue was told: that end was its end, too.
    if phase.is_none() && member.over && over_until.is_some_and(|until| finding.since <= until) {
        return Decision::Merged;
    }
    match cause {
        Some(State::Active) if member.over => return Decision::Suppressed(Suppression::Inhibited),
        Some(State::Active) => return Decision::Pending(Waiting::Inhibited),
        Some(_) if member.over => return Decision::Suppressed(Suppression::ClearedUntold),
        Some(_) => return Decision::Pending(Waiting::Held),
        None => {}
    }
    if let Some(held) = member.held
        && (!held.confirmed || *now < held.until)
    {
        return match member.over {
            true => Decision::Suppressed(Suppression::Inhibited),
            false => Decision::Pending(Waiting::Held),
        };
    }
    if !is_routed {
        return Decision::Suppressed(Suppression::Unrouted);
    }
    match phase {
        Some(Phase::Telling) => Decision::Pending(Waiting::Queued),
        Some(Phase::Resolving) if member.over => Decision::Pending(Waiting::Queued),
        Some(_) | None => Decision::Pending(Waiting::Verifying),
    }
}
