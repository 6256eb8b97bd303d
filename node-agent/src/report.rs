//! What the aggregator is told, and when: the agent's end of the report contract. Pure.
//!
//! ```text
//!            ┌────────────── UnknownSession ─────────────┐
//!            ▼                                           │
//!  Apart ─ Hello ─▶ Greeting ─ Welcome ─▶ Together ─ Report ─▶ Answer
//!    ▲                  │                    │ one in flight; sent again, the same, until it is answered
//!    └──── failure ─────┘                    └─ Retired ─▶ Ended
//! ```
//!
//! The shell asks [`Reporter::next`] what to do, does it, and says how it went. Invariants:
//! - A report keeps its number and its content until it is answered; numbers accepted have no gaps.
//! - Nothing is forgotten unless it is cleared and that is settled, or nobody but this process has ever heard of it.
//! - No full report, and nothing but heartbeats, before the first complete LIST.

// Addresses alone: there is no socket in `core`.
use core::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rules::{Config, Finding, Kind, Time};
use wire::{Body, Configuration, Epoch, Hello, NeedFull, OpenSet, Report, SessionId};

mod answers;
mod findings;
mod pace;
#[cfg(test)]
mod tests;

use findings::{Change, Findings};
use pace::Pace;

pub use findings::{Counts, ROOM};
pub use pace::WAIT_MAX;

/// How long a change waits for others to go with it.
pub const COALESCE: Duration = Duration::from_millis(50);

/// The agent's end of the report contract.
///
/// `now` is any clock that does not go back, the same in every call; the shell's is monotonic.
#[derive(Debug)]
pub struct Reporter {
    build: String,
    findings: Findings,
    phase: Phase,
    target: Target,
    hops: u32,
    pace: Pace,
    configuration: Option<Configuration>,
    /// The first complete LIST is there.
    synced: bool,
    /// Findings that the engine had no room for.
    engine_shed: u64,
    /// When what is new goes out at the latest.
    flush_at: Option<Time>,
    /// The trouble last told, until it is over.
    trouble: Option<Notice>,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// Open a session at [`Reporter::target`], and say how it went ([`Reporter::on_session_reply`] or
    /// [`Reporter::on_failure`]).
    Hello(Hello),
    /// Send this to [`Reporter::target`], and say how it went ([`Reporter::on_reply`] or [`Reporter::on_failure`]).
    Report(Arc<Report>),
    /// Nothing before that time, or before something happens.
    WaitUntil(Option<Time>),
    /// Nothing ever again: the process ends.
    End(End),
}

/// Why there is nothing more to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// A newer session of the same node has taken the place of this one.
    Retired,
}

/// Where to go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Target {
    /// The aggregator's Service.
    #[default]
    Service,
    /// The leader, at an address that another replica named.
    Leader(SocketAddr),
}

/// What an answer means for the others in this process, in the order in which to do it.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Go by these rules.
    Configure(Arc<Config>),
    /// Go on with these findings, which the aggregator holds open. Given once a session, empty too.
    Adopt(Vec<Finding>),
    /// Tell people.
    Notice(Notice),
}

/// What people should know. Text in here comes from the peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A session is open.
    Opened(Epoch),
    /// The session is unknown there: it began anew, or has forgotten it.
    UnknownSession,
    /// The leader is elsewhere (empty: nobody knows where).
    NotLeader(String),
    /// Not let in, and why.
    Refused(String),
    /// No version of the format in common; these are the aggregator's.
    NoCommonVersion(Vec<u16>),
    /// It has too much to do.
    Busy,
    /// A report was not understood, and why.
    Malformed(String),
    /// It wants to be told everything again, and why.
    NeedFull(NeedFull),
    /// What it said to begin with cannot be read, and why.
    Unreadable(String),
}

#[derive(Debug)]
enum Phase {
    /// No session; the next attempt is at that time.
    Apart(Time),
    /// The Hello is out.
    Greeting,
    /// In a session.
    Together(Session),
    /// For good.
    Ended(End),
}

/// A session that is open.
#[derive(Debug)]
struct Session {
    id: SessionId,
    /// Of the format, as the aggregator chose.
    version: u16,
    next_seq: u64,
    settled_seen: u64,
    need_full: bool,
    heartbeat_at: Time,
    /// Nothing is sent before.
    not_before: Time,
    in_flight: Option<Flight>,
}

/// The report that is not answered yet.
#[derive(Debug)]
struct Flight {
    report: Arc<Report>,
    /// It is under way; else it waits to be sent again.
    sending: bool,
}

impl Reporter {
    /// A reporter that knows nothing yet. `build` names this build to people; `seed` is for the jitter.
    pub fn new(build: &str, seed: u64) -> Self {
        Self {
            build: build.to_owned(),
            findings: Findings::default(),
            phase: Phase::Apart(Time::default()),
            target: Target::Service,
            hops: 0,
            pace: Pace::new(seed),
            configuration: None,
            synced: false,
            engine_shed: 0,
            flush_at: None,
            trouble: None,
        }
    }

    /// Takes in what the engine says has become of a finding: not before the first session has brought the rules and what
    /// to go on with. The same twice is no news. Says whether its state is another than before.
    pub fn on_change(&mut self, finding: Finding, now: Time) -> bool {
        if self.configuration.as_ref().is_some_and(|known| !knows(&known.config, &finding)) {
            return false;
        }
        let (id, before) = (finding.id, self.findings.state(finding.id));
        if self.findings.change(finding) == Change::News {
            self.flush_by(now + COALESCE);
        }
        before != self.findings.state(id)
    }

    /// The first LIST is complete: from now on what is there can be told whole.
    pub fn on_synced(&mut self) {
        self.synced = true;
    }

    /// How many findings did not even fit into the engine since the start.
    pub const fn on_engine_shed(&mut self, total: u64) {
        self.engine_shed = total;
    }

    /// What is new goes out now, without waiting for more, and what waits to be tried again is tried now: the process
    /// is about to end.
    pub fn flush(&mut self, now: Time) {
        self.flush_by(now);
        match &mut self.phase {
            Phase::Apart(at) => *at = now,
            Phase::Together(session) => session.not_before = now,
            Phase::Greeting | Phase::Ended(_) => {}
        }
    }

    /// What to do now. Asked again after everything that happened, and at the time that it last named.
    pub fn next(&mut self, now: Time) -> Next {
        match &mut self.phase {
            Phase::Ended(end) => Next::End(*end),
            Phase::Greeting => Next::WaitUntil(None),
            Phase::Apart(at) if *at > now => Next::WaitUntil(Some(*at)),
            Phase::Apart(_) => {
                self.phase = Phase::Greeting;
                let kinds = Kind::all().map(|kind| kind.name().to_owned()).collect();
                Next::Hello(Hello { versions: wire::VERSIONS.to_vec(), build: self.build.clone(), kinds })
            }
            Phase::Together(session) => {
                if session.in_flight.as_ref().is_some_and(|flight| flight.sending) {
                    return Next::WaitUntil(None);
                }
                if session.not_before > now {
                    return Next::WaitUntil(Some(session.not_before));
                }
                if let Some(flight) = &mut session.in_flight {
                    flight.sending = true;
                    return Next::Report(Arc::clone(&flight.report));
                }
                self.next_report(now)
            }
        }
    }

    /// Where to send what is to be sent.
    pub const fn target(&self) -> &Target {
        &self.target
    }

    /// The version of the format that the session is in.
    pub const fn version(&self) -> u16 {
        match &self.phase {
            Phase::Together(session) => session.version,
            Phase::Apart(_) | Phase::Greeting | Phase::Ended(_) => wire::VERSION,
        }
    }

    /// Whether everything that there is to tell has been told and accepted.
    pub fn is_quiet(&self) -> bool {
        match &self.phase {
            Phase::Ended(_) => true,
            // Before the first LIST there is nothing that could be told.
            Phase::Together(_) | Phase::Apart(_) | Phase::Greeting => !self.synced || self.findings.is_told(),
        }
    }

    /// Whether a session is open.
    pub const fn is_together(&self) -> bool {
        matches!(self.phase, Phase::Together(_))
    }

    /// How many findings there are.
    pub fn counts(&self) -> Counts {
        self.findings.counts()
    }

    /// The open set.
    pub const fn open(&self) -> OpenSet {
        self.findings.open()
    }

    /// Findings for which there was no room, here or in the engine, since the start.
    pub const fn shed(&self) -> u64 {
        self.findings.shed() + self.engine_shed
    }

    /// True, once, when findings were shed and there is room again: the engine's open findings should then go through
    /// [`Reporter::on_change`] once more.
    pub fn has_room_again(&mut self) -> bool {
        self.findings.has_room_again()
    }

    /// The next report of the session, if it is time for one.
    fn next_report(&mut self, now: Time) -> Next {
        let Phase::Together(session) = &mut self.phase else { return Next::WaitUntil(None) };
        self.flush_at.take_if(|_| !self.findings.is_unsent());
        let has_news = self.flush_at.is_some_and(|at| at <= now);
        let body = match (session.need_full, self.synced) {
            (true, true) => Body::Full(self.findings.full()),
            // A heartbeat takes along what still waits for company: its open set counts that already.
            (false, _) if has_news || session.heartbeat_at <= now => Body::Delta(self.findings.delta()),
            (true, false) if session.heartbeat_at <= now => Body::Delta(Vec::new()),
            (true, false) => return Next::WaitUntil(Some(session.heartbeat_at)),
            (false, _) => {
                let flush_at = self.flush_at.unwrap_or(session.heartbeat_at);
                return Next::WaitUntil(Some(flush_at.min(session.heartbeat_at)));
            }
        };
        session.heartbeat_at = self.pace.heartbeat(now);
        session.need_full &= !matches!(body, Body::Full(_));
        if !session.need_full {
            self.flush_at = None;
        }
        let report = Arc::new(Report {
            session: session.id,
            seq: session.next_seq,
            body,
            open: self.findings.open(),
            settled_seen: session.settled_seen,
            config_hash: self.configuration.as_ref().map_or(0, |configuration| configuration.hash),
            shed: self.findings.shed() + self.engine_shed,
        });
        session.in_flight = Some(Flight { report: Arc::clone(&report), sending: true });
        Next::Report(report)
    }

    fn flush_by(&mut self, at: Time) {
        self.flush_at = Some(self.flush_at.map_or(at, |earlier| earlier.min(at)));
    }
}

/// Whether an aggregator that goes by `config` knows the finding's kind.
fn knows(config: &Config, finding: &Finding) -> bool {
    config.kinds.contains_key(finding.kind.name())
}
