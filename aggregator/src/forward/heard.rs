//! What a sink has made of an issue, as far as it has answered: whether it need not hear something more. Pure.
//!
//! Who heard that it is there is to hear that it is over, whatever it refused since; who has only refused is told no end; and
//! nobody is asked again for what it has refused.

use serde::{Deserialize, Serialize};

use super::outbox::{Fate, Intent, Status};

/// What a sink has answered to what it was sent of an issue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// The last that it took, perhaps of an episode before.
    #[serde(default)]
    pub told: Option<Intent>,
    /// What it has refused since.
    #[serde(default, rename = "refusal", skip_serializing_if = "Option::is_none")]
    pub refused: Option<Intent>,
}

impl Heard {
    /// It has answered for `sent`.
    pub fn answer(&mut self, sent: Intent, fate: Fate) {
        *self = match (fate, sent.status) {
            (Fate::Delivered, _) => Self { told: Some(sent), refused: None },
            (Fate::Quarantined, Status::Firing) => Self { refused: Some(sent), ..*self },
            // It will not hear of the end, so for it there is none: the next beginning is news.
            (Fate::Quarantined, Status::Resolved) => Self { told: None, refused: Some(sent) },
        };
    }

    /// What became of `intent` already, if it need not hear of it: it knows as much, has refused as much, or that would be the
    /// end of what it has refused to hear of.
    pub fn fate_of(&self, intent: &Intent) -> Option<Fate> {
        let says_as_much = |known: Intent| known.says_as_much_as(intent);
        let is_moot_end = intent.status == Status::Resolved && !self.knows_of_it();
        if self.told.is_some_and(says_as_much) {
            Some(Fate::Delivered)
        } else {
            self.refused.filter(|&refused| is_moot_end || says_as_much(refused)).map(|_| Fate::Quarantined)
        }
    }

    /// Whether it has heard that it is there, and not that it is over.
    pub fn knows_of_it(&self) -> bool {
        self.told.is_some_and(|told| told.status == Status::Firing)
    }
}

#[cfg(test)]
mod tests {
    use rules::{Incarnation, Severity};

    use super::*;

    const WARNING: Intent =
        Intent { episode: Incarnation(1), revision: 1, status: Status::Firing, severity: Severity::Warning };
    const CRITICAL: Intent = Intent { revision: 2, severity: Severity::Critical, ..WARNING };
    const OVER: Intent = Intent { revision: 3, status: Status::Resolved, ..CRITICAL };
    const BACK: Intent = Intent { revision: 4, ..WARNING };
    const NEXT: Intent = Intent { episode: Incarnation(2), ..WARNING };
    const NEXT_OVER: Intent = Intent { status: Status::Resolved, ..NEXT };

    const TAKES: Fate = Fate::Delivered;
    const REFUSES: Fate = Fate::Quarantined;

    /// What it need not hear of `then`, after it has answered like that.
    #[track_caller]
    fn check(answers: &[(Intent, Fate)], then: Intent, expected: Option<Fate>) {
        let mut heard = Heard::default();
        for (intent, fate) in answers {
            heard.answer(*intent, *fate);
        }
        assert_eq!(heard.fate_of(&then), expected, "{answers:?}, then {then:?}");
    }

    #[test]
    fn who_heard_that_it_is_there_hears_the_end_whatever_it_refused_in_between() {
        check(&[(WARNING, TAKES)], OVER, None);
        check(&[(WARNING, TAKES), (CRITICAL, REFUSES)], OVER, None);
        check(&[(WARNING, REFUSES), (CRITICAL, TAKES)], OVER, None);
        check(&[(WARNING, TAKES), (NEXT, REFUSES)], NEXT_OVER, None);
    }

    #[test]
    fn who_has_only_refused_is_told_no_end() {
        check(&[(WARNING, REFUSES)], OVER, Some(REFUSES));
        check(&[(WARNING, REFUSES), (CRITICAL, REFUSES)], OVER, Some(REFUSES));
        check(&[(WARNING, REFUSES)], NEXT_OVER, Some(REFUSES));
        check(&[], OVER, None);
    }

    #[test]
    fn nobody_is_asked_again_for_the_same_but_for_what_is_worse_and_for_the_next_beginning() {
        check(&[(WARNING, REFUSES)], BACK, Some(REFUSES));
        check(&[(CRITICAL, REFUSES)], BACK, Some(REFUSES));
        check(&[(WARNING, REFUSES)], CRITICAL, None);
        check(&[(WARNING, REFUSES)], NEXT, None);
        check(&[(WARNING, TAKES), (CRITICAL, REFUSES)], BACK, Some(TAKES));
    }

    #[test]
    fn who_refuses_an_end_is_not_asked_for_it_again_and_hears_of_the_next_beginning() {
        let refused_the_end = [(WARNING, TAKES), (OVER, REFUSES)];
        check(&refused_the_end, OVER, Some(REFUSES));
        check(&refused_the_end, BACK, None);
        check(&[(WARNING, TAKES), (OVER, REFUSES), (BACK, TAKES)], OVER, None);
    }
}
