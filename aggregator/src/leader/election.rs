//! Who leads: one Lease, and what each replica does about it. Pure.
//!
//! ```text
//!               free, or the same for a whole lease           resign
//!   StandingBy ─────────────────────────────────▶ Leading ────────────▶ Resigning ─▶ Ended
//!       ▲                                          │  │ ▲
//!       └─ read every POLL_EVERY                   │  └─┘ renewed every RENEW_EVERY
//!                                                  └─ another has it ─▶ Ended
//! ```
//!
//! Time is monotonic and this process's own. What a Lease says about time is for people: it has expired when it was not
//! seen to change for [`LEASE`], counted from the end of the read that showed it first. A holder counts from the moment at
//! which its last renewal left, and sends for [`SEND_FOR`], which is less. So nobody else has the Lease while it may send,
//! however long requests take, processes are paused, or clocks are set; their pace may even be wrong by a tenth.
//!
//! A holder that ends without resigning is followed within 20 s, if each request takes at most 1.5 s: until its last
//! renewal is seen max([`POLL_EVERY`], 1.5 s) + 1.5 s, then [`LEASE`], and 1.5 s for the claim.

use std::sync::Arc;
use std::time::Duration;

use process::Mark;
use process::objects::Failure;

/// A Lease that was not seen to change for so long has expired.
pub const LEASE: Duration = Duration::from_secs(15);
/// Between two renewals, from request to request.
pub const RENEW_EVERY: Duration = Duration::from_secs(3);
/// Between two looks of a standby, from request to request.
pub const POLL_EVERY: Duration = Duration::from_secs(2);
/// How long a leader sends after its last renewal left; what it has begun by then has the rest of the lease to arrive.
pub const SEND_FOR: Duration = Duration::from_secs(10);
/// The longest that a request may take.
pub const REQUEST: Duration = Duration::from_secs(3);
/// Between two requests of a leader, when the first came to nothing.
pub const RETRY: Duration = Duration::from_secs(1);
/// How long resigning may take; after that the Lease expires by itself.
pub const RESIGN_FOR: Duration = Duration::from_secs(5);

/// One replica's part in the election. One request is under way at a time: [`Elector::next`] asks for it, and
/// [`Elector::on_read`] or [`Elector::on_written`] says how it went, before it is asked again.
#[derive(Debug)]
pub struct Elector {
    identity: Arc<str>,
    state: State,
    lease: Known,
    /// How often the Lease has changed hands, as far as is known.
    transitions: u32,
    /// Writes asked for so far.
    writes: u64,
    /// When the last request left.
    sent: Mark,
    not_before: Mark,
}

/// The Lease as it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// `metadata.resourceVersion`, which a write names.
    pub version: String,
    /// `spec.holderIdentity`; empty when nobody has it.
    pub holder: Arc<str>,
    /// Where its holder hears agents (`IP:port`); empty when that is not known.
    pub address: Arc<str>,
    /// `spec.leaseTransitions`.
    pub transitions: u32,
    /// `spec.renewTime` to the letter. It is compared, never read.
    pub renewed: String,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Read the Lease, within [`REQUEST`].
    Read,
    /// Write it so, within [`REQUEST`].
    Write(Claim),
    /// Nothing before that moment.
    Wait(Mark),
    /// Nothing ever again.
    Stop,
}

/// A write of the Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// What for.
    pub why: Why,
    /// The version that it replaces; `None` creates the Lease.
    pub version: Option<String>,
    /// `spec.leaseTransitions` from now on.
    pub transitions: u32,
    /// Counts this elector's writes: no two in a row may look the same, or the second would be none.
    pub number: u64,
}

/// Why the Lease is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// There was none for a whole lease: none ever, or it was deleted.
    Absent,
    /// Its holder resigned.
    Resigned,
    /// Its holder has not renewed it.
    Expired,
    /// It is ours already, by a write that was not answered.
    Ours,
    /// To go on leading.
    Renewal,
    /// To let another lead.
    Resigning,
}

/// What this replica is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Another leads, or nobody.
    StandingBy {
        /// Who leads, by its identity; empty when nobody is known to.
        leader: Arc<str>,
        /// Where it hears agents; empty when that is not known.
        address: Arc<str>,
    },
    /// This one leads.
    Leading {
        /// It must not send from that moment on, unless it has renewed by then.
        send_until: Mark,
    },
    /// It has led, and does so no more.
    Ended(End),
}

/// How leading ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// By itself, at the end of the process.
    Resigned,
    /// Somebody else has the Lease, by its identity; empty when it was taken from us and given to nobody.
    Lost(Arc<str>),
}

#[derive(Debug)]
enum State {
    StandingBy {
        /// `None` before the first read.
        seen: Option<Seen>,
    },
    Leading {
        /// When the last renewal left that was confirmed.
        renewed: Mark,
    },
    Resigning {
        until: Mark,
    },
    Ended(End),
}

/// What a standby has seen.
#[derive(Debug)]
struct Seen {
    /// `None`: there is no Lease. Its version is taken out.
    record: Option<Record>,
    /// Since when, at the latest, it is like that.
    since: Mark,
}

/// What a write would have to replace.
#[derive(Debug)]
enum Known {
    /// That has to be read first.
    Doubtful,
    /// Nothing.
    Absent,
    /// This version.
    At(String),
}

impl Elector {
    /// A standby that has seen nothing yet. `identity` is this life of this process, and no other's.
    pub fn new(identity: Arc<str>) -> Self {
        Self {
            identity,
            state: State::StandingBy { seen: None },
            lease: Known::Doubtful,
            transitions: 0,
            writes: 0,
            sent: Mark::default(),
            not_before: Mark::default(),
        }
    }

    /// What this replica is.
    pub fn role(&self) -> Role {
        match &self.state {
            State::StandingBy { seen } => {
                let record = seen.as_ref().and_then(|seen| seen.record.clone()).unwrap_or_default();
                Role::StandingBy { leader: record.holder, address: record.address }
            }
            State::Leading { renewed } => Role::Leading { send_until: *renewed + SEND_FOR },
            State::Resigning { .. } => Role::Ended(End::Resigned),
            State::Ended(end) => Role::Ended(end.clone()),
        }
    }

    /// How often the Lease has changed hands, as far as is known.
    pub const fn transitions(&self) -> u32 {
        self.transitions
    }

    /// What to do now. Asked again when that is done, and at the moment that it last named.
    pub fn next(&mut self, now: Mark) -> Action {
        match &self.state {
            State::Ended(_) => Action::Stop,
            State::Resigning { until } if now >= *until => self.end(End::Resigned),
            State::Resigning { until } if now < self.not_before => Action::Wait(self.not_before.min(*until)),
            _ if now < self.not_before => Action::Wait(self.not_before),
            _ if matches!(self.lease, Known::Doubtful) => self.read(now),
            State::StandingBy { seen: Some(seen) } => match seen.free(&self.identity) {
                (why, at) if now >= at => self.claim(why, now),
                // A read that is under way when the Lease expires would only delay the claim.
                (_, at) if now + REQUEST >= at => Action::Wait(at),
                _ => self.read(now),
            },
            State::StandingBy { seen: None } => self.read(now),
            // By then another may have had it, before it was deleted.
            State::Leading { renewed } if matches!(self.lease, Known::Absent) && now >= *renewed + SEND_FOR => {
                self.end(End::Lost("".into()))
            }
            State::Leading { .. } => self.claim(Why::Renewal, now),
            State::Resigning { .. } if matches!(self.lease, Known::Absent) => self.end(End::Resigned),
            State::Resigning { .. } => self.claim(Why::Resigning, now),
        }
    }

    /// How reading went; `None`: there is no Lease.
    pub fn on_read(&mut self, read: Result<Option<Record>, Failure>, now: Mark) {
        let Ok(mut record) = read else { return self.pause() };
        self.lease = record.as_mut().map_or(Known::Absent, |record| Known::At(std::mem::take(&mut record.version)));
        self.transitions = record.as_ref().map_or(self.transitions, |record| record.transitions);
        match (&mut self.state, record) {
            (State::StandingBy { seen }, record) => {
                let since = seen.as_ref().filter(|seen| seen.record == record).map_or(now, |seen| seen.since);
                let (_, free_at) = seen.insert(Seen { record, since }).free(&self.identity);
                self.not_before = free_at.min(self.sent + POLL_EVERY);
            }
            // Also when nobody has it: somebody may have had it, and told what we know nothing of.
            (State::Leading { .. }, Some(record)) if record.holder != self.identity => {
                self.state = State::Ended(End::Lost(record.holder));
            }
            (State::Resigning { .. }, Some(record)) if record.holder != self.identity => {
                self.state = State::Ended(End::Resigned);
            }
            (State::Leading { .. } | State::Resigning { .. }, _) => self.not_before = now,
            (State::Ended(_), _) => {}
        }
    }

    /// How writing went, with the Lease as it is now.
    pub fn on_written(&mut self, written: Result<Record, Failure>, now: Mark) {
        match (&self.state, written) {
            (State::StandingBy { .. } | State::Leading { .. }, Ok(record)) => {
                self.lease = Known::At(record.version);
                self.transitions = record.transitions;
                self.state = State::Leading { renewed: self.sent };
                self.not_before = self.sent + RENEW_EVERY;
            }
            (State::Resigning { .. }, Ok(_)) => self.state = State::Ended(End::Resigned),
            (State::Leading { .. }, Err(Failure::NotFound)) => {
                self.lease = Known::Absent;
                self.not_before = now;
            }
            (State::Ended(_), _) => {}
            (_, Err(failure)) => {
                // After any other failure the same write says best whether it took place: then it is a conflict.
                if matches!(failure, Failure::Conflict | Failure::NotFound) {
                    self.lease = Known::Doubtful;
                }
                self.pause();
            }
        }
    }

    /// The process ends, and sends nothing more: whoever stands by may lead at once.
    pub fn resign(&mut self, now: Mark) {
        match self.state {
            State::StandingBy { .. } => self.state = State::Ended(End::Resigned),
            State::Leading { .. } => {
                self.state = State::Resigning { until: now + RESIGN_FOR };
                self.not_before = now;
            }
            State::Resigning { .. } | State::Ended(_) => {}
        }
    }

    fn read(&mut self, now: Mark) -> Action {
        self.sent = now;
        Action::Read
    }

    fn claim(&mut self, why: Why, now: Mark) -> Action {
        let version = match &self.lease {
            Known::At(version) => Some(version.clone()),
            Known::Absent | Known::Doubtful => None,
        };
        self.sent = now;
        self.writes += 1;
        let changes_hands = matches!(why, Why::Resigned | Why::Expired);
        let transitions = self.transitions.saturating_add(changes_hands.into());
        Action::Write(Claim { why, version, transitions, number: self.writes })
    }

    fn end(&mut self, end: End) -> Action {
        self.state = State::Ended(end);
        Action::Stop
    }

    /// The last request came to nothing.
    fn pause(&mut self) {
        let pause = if matches!(self.state, State::StandingBy { .. }) { POLL_EVERY } else { RETRY };
        self.not_before = self.sent + pause;
    }
}

impl Why {
    /// Its one spelling.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Resigned => "resigned",
            Self::Expired => "expired",
            Self::Ours => "ours",
            Self::Renewal => "renewal",
            Self::Resigning => "resigning",
        }
    }
}

impl Role {
    /// Whether a batch may be sent now. To be asked right before each.
    pub fn may_send(&self, now: Mark) -> bool {
        matches!(self, Self::Leading { send_until } if now < *send_until)
    }

    /// When the lease has run out: then what was sent is no longer waited for.
    pub fn lapses_at(&self) -> Mark {
        match self {
            Self::Leading { send_until } => *send_until + LEASE.saturating_sub(SEND_FOR),
            Self::StandingBy { .. } | Self::Ended(_) => Mark::default(),
        }
    }
}

impl Seen {
    /// From when on the Lease may be claimed, and why, if it stays as it is.
    fn free(&self, identity: &str) -> (Why, Mark) {
        match &self.record {
            None => (Why::Absent, self.since + LEASE),
            Some(record) if record.holder.is_empty() => (Why::Resigned, self.since),
            Some(record) if *record.holder == *identity => (Why::Ours, self.since),
            Some(_) => (Why::Expired, self.since + LEASE),
        }
    }
}

#[cfg(test)]
mod tests;
