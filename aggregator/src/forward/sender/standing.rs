//! What people are told of how a sink is doing: when it stops working, when the reason changes, when it works again.
//! Never of single records. Pure.

use std::time::Duration;

use rules::Time;

use crate::forward::outbox::Outcome;
use crate::sinks::Sent;

/// How a sink is doing, as last told.
#[derive(Debug, Default)]
pub(super) struct Standing {
    trouble: Option<Trouble>,
    refused: Refused,
}

/// Something that people should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// It does not take what it is sent, or no longer for the same reason.
    Failing { outcome: &'static str, why: String },
    /// It takes what it is sent again.
    Recovered { attempts: u64, lasted: Duration },
    /// It will never take some records: their issues are not told there.
    Refuses { records: u64, why: String },
}

/// It does not take what it is sent.
#[derive(Debug)]
struct Trouble {
    outcome: &'static str,
    since: Time,
    attempts: u64,
}

/// Records that it will never take.
#[derive(Debug, Default)]
struct Refused {
    /// Not told yet.
    records: u64,
    told_at: Option<Time>,
}

/// Between two lines about refused records.
const REFUSED_EVERY: Duration = Duration::from_mins(1);

impl Standing {
    /// Sending `records` records went like that at `now`.
    pub(super) fn on_sent(&mut self, sent: &Sent, records: usize, now: Time) -> Option<Notice> {
        match sent.outcome {
            Outcome::Delivered => self.recover(now),
            // Only a record that is refused alone is given up.
            Outcome::Refused if records > 1 => None,
            Outcome::Refused => self.refuse(&sent.why, now).or_else(|| self.recover(now)),
            outcome => self.fail(label(outcome), &sent.why, now),
        }
    }

    fn recover(&mut self, now: Time) -> Option<Notice> {
        let Trouble { since, attempts, .. } = self.trouble.take()?;
        Some(Notice::Recovered { attempts, lasted: now.since(since) })
    }

    fn refuse(&mut self, why: &str, now: Time) -> Option<Notice> {
        self.refused.records += 1;
        if self.refused.told_at.is_some_and(|told_at| now.since(told_at) < REFUSED_EVERY) {
            return None;
        }
        self.refused.told_at = Some(now);
        Some(Notice::Refuses { records: std::mem::take(&mut self.refused.records), why: why.to_owned() })
    }

    fn fail(&mut self, outcome: &'static str, why: &str, now: Time) -> Option<Notice> {
        let trouble = self.trouble.get_or_insert(Trouble { outcome: "", since: now, attempts: 0 });
        trouble.attempts += 1;
        if trouble.outcome == outcome {
            return None;
        }
        trouble.outcome = outcome;
        Some(Notice::Failing { outcome, why: why.to_owned() })
    }
}

impl Notice {
    /// Logs it as of `sink`.
    pub(super) fn log(&self, sink: &str) {
        match self {
            Self::Failing { outcome, why } => {
                tracing::warn!(target: "forward", sink, outcome, why, "sink_failing");
            }
            Self::Recovered { attempts, lasted } => {
                tracing::info!(target: "forward", sink, attempts, lasted_s = lasted.as_secs(), "sink_recovered");
            }
            Self::Refuses { records, why } => {
                tracing::error!(target: "forward", sink, records, why, "records_refused");
            }
        }
    }
}

/// Every [`label`], for metrics that begin at zero.
pub(super) const LABELS: [&str; 5] = ["delivered", "unauthorized", "throttled", "refused", "failed"];

/// The one spelling of an outcome, in metrics and logs.
pub(super) const fn label(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Delivered => "delivered",
        Outcome::Unauthorized => "unauthorized",
        Outcome::Throttled(_) => "throttled",
        Outcome::Refused => "refused",
        Outcome::Failed => "failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Time = Time::from_millis(1_000_000);

    fn sent(outcome: Outcome) -> Sent {
        Sent { outcome, why: label(outcome).to_owned() }
    }

    fn after(seconds: u64) -> Time {
        START + Duration::from_secs(seconds)
    }

    fn failing(outcome: &'static str) -> Notice {
        Notice::Failing { outcome, why: outcome.to_owned() }
    }

    #[test]
    fn hours_of_failures_are_one_line_and_so_is_their_end() {
        let mut standing = Standing::default();
        assert_eq!(standing.on_sent(&sent(Outcome::Delivered), 1, START), None);
        assert_eq!(standing.on_sent(&sent(Outcome::Failed), 100, START), Some(failing("failed")));
        for seconds in 1..10_000 {
            assert_eq!(standing.on_sent(&sent(Outcome::Failed), 1, after(seconds)), None);
        }
        let recovered = Notice::Recovered { attempts: 10_000, lasted: Duration::from_secs(10_000) };
        assert_eq!(standing.on_sent(&sent(Outcome::Delivered), 1, after(10_000)), Some(recovered));
        assert_eq!(standing.on_sent(&sent(Outcome::Delivered), 1, after(10_001)), None);
    }

    #[test]
    fn another_reason_is_told() {
        let mut standing = Standing::default();
        assert_eq!(standing.on_sent(&sent(Outcome::Failed), 1, START), Some(failing("failed")));
        assert_eq!(standing.on_sent(&sent(Outcome::Unauthorized), 1, START), Some(failing("unauthorized")));
        assert_eq!(standing.on_sent(&sent(Outcome::Throttled(None)), 1, START), Some(failing("throttled")));
        let longer = Outcome::Throttled(Some(Duration::from_secs(9)));
        assert_eq!(standing.on_sent(&sent(longer), 1, START), None, "how long it wants is no other reason");
    }

    #[test]
    fn the_search_for_a_culprit_is_not_told_and_culprits_once_a_minute() {
        let mut standing = Standing::default();
        let refuses = |records| Some(Notice::Refuses { records, why: "refused".to_owned() });
        assert_eq!(standing.on_sent(&sent(Outcome::Refused), 100, START), None);
        assert_eq!(standing.on_sent(&sent(Outcome::Delivered), 50, START), None);
        assert_eq!(standing.on_sent(&sent(Outcome::Refused), 1, START), refuses(1));
        assert_eq!(standing.on_sent(&sent(Outcome::Refused), 1, after(59)), None);
        assert_eq!(standing.on_sent(&sent(Outcome::Refused), 1, after(60)), refuses(2));
    }

    #[test]
    fn a_sink_that_refuses_a_record_works_again() {
        let mut standing = Standing::default();
        assert!(standing.on_sent(&sent(Outcome::Refused), 1, START).is_some());
        assert!(standing.on_sent(&sent(Outcome::Failed), 1, START).is_some());
        let recovered = Notice::Recovered { attempts: 1, lasted: Duration::from_secs(5) };
        assert_eq!(standing.on_sent(&sent(Outcome::Refused), 1, after(5)), Some(recovered));
    }
}
