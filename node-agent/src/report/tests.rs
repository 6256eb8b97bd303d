//! The agent's end of the contract, rule by rule; [`model`] plays random histories against a tiny receiver.

use rules::{Evidence, FindingId, Incarnation, Owner, Seen, Severity, State, Subject};
use wire::{Answer, Entry, Opening, Reply, SessionReply, Settled, SettledBatch, Welcome};

use super::*;

mod findings;
mod model;
mod session;

const START: Time = Time::from_millis(1_000_000);

/// A finding named by a number, in its `incarnation`th occurrence.
fn finding(id: u64, state: State, incarnation: u64) -> Finding {
    Finding {
        id: FindingId(id),
        kind: Kind::named("CrashLoopBackOff").expect("it is in the catalogue"),
        subject: Subject { pod: format!("pod-{id}").into(), ..Subject::default() },
        owner: Owner::default(),
        incarnation: Incarnation(incarnation),
        state,
        since: START,
        seen: Seen::Happening,
        severity: Severity::Warning,
        evidence: Evidence::default(),
    }
}

fn pending(id: u64) -> Finding {
    finding(id, State::Pending, 1)
}

fn active(id: u64) -> Finding {
    finding(id, State::Active, 1)
}

fn cleared(id: u64) -> Finding {
    finding(id, State::Cleared, 1)
}

fn opening(open: Vec<Finding>) -> Opening {
    let configuration = Configuration::new(Arc::new(Config::default()));
    Opening { configuration, open, heartbeat_ms: 30_000, reconnect_window_ms: 2_000 }
}

fn welcome(epoch: u64, session: u128, opening: &Opening) -> SessionReply {
    SessionReply::Welcome(Welcome {
        version: wire::VERSION,
        session: SessionId(session),
        epoch: Epoch(epoch),
        opening: wire::encode(opening).expect("an opening can be written"),
    })
}

fn answer(accepted: u64) -> Answer {
    Answer { accepted, settled: None, need_full: None, config_hash: 0, configuration: None, retry_after_ms: 0 }
}

/// An agent in a test's hands, with its clock.
struct Agent {
    reporter: Reporter,
    now: Time,
}

impl Agent {
    /// An agent that has its first LIST and no session.
    fn new() -> Self {
        let mut reporter = Reporter::new("test", 7);
        reporter.on_synced();
        Self { reporter, now: START }
    }

    /// An agent in session 1 of epoch 1, with that told and accepted.
    fn told(findings: impl IntoIterator<Item = Finding>) -> Self {
        let mut agent = Self::new();
        agent.changes(findings);
        agent.greet();
        agent.welcome(1, 1, Vec::new());
        agent.report();
        agent.accept();
        agent
    }

    fn changes(&mut self, findings: impl IntoIterator<Item = Finding>) {
        for finding in findings {
            self.reporter.on_change(finding, self.now);
        }
    }

    fn next(&mut self) -> Next {
        self.reporter.next(self.now)
    }

    /// The agent says hello, now or after the wait that it asks for.
    fn greet(&mut self) -> Hello {
        match self.wait() {
            Next::Hello(hello) => hello,
            other => panic!("a hello was due, not {other:?}"),
        }
    }

    fn welcome(&mut self, epoch: u64, session: u128, open: Vec<Finding>) -> Vec<Effect> {
        self.reporter.on_session_reply(welcome(epoch, session, &opening(open)), self.now)
    }

    /// The report that is due, now or after the wait that the agent asks for.
    fn report(&mut self) -> Arc<Report> {
        match self.wait() {
            Next::Report(report) => report,
            other => panic!("a report was due, not {other:?}"),
        }
    }

    /// What is to be done next, and the time at which it is.
    fn wait(&mut self) -> Next {
        match self.next() {
            Next::WaitUntil(Some(at)) => {
                assert!(at > self.now, "the wait ends at {at}, before {}", self.now);
                self.now = at;
                self.next()
            }
            other => other,
        }
    }

    /// How long the agent waits.
    fn waits(&mut self) -> Duration {
        match self.next() {
            Next::WaitUntil(Some(at)) => at.since(self.now),
            other => panic!("a wait was due, not {other:?}"),
        }
    }

    fn reply(&mut self, reply: Reply) -> Vec<Effect> {
        self.reporter.on_reply(reply, self.now)
    }

    /// The number of the report in flight, if there is one.
    fn in_flight(&self) -> Option<u64> {
        match &self.reporter.phase {
            Phase::Together(session) => session.in_flight.as_ref().map(|flight| flight.report.seq),
            _ => None,
        }
    }

    /// The report in flight is accepted.
    fn accept(&mut self) {
        let seq = self.in_flight().expect("a report is in flight");
        assert_eq!(self.reply(Reply::Answer(answer(seq))), []);
    }

    /// The report in flight is accepted, and that settled, as batch `number`.
    fn settle(&mut self, number: u64, settled: Vec<Settled>) {
        let seq = self.in_flight().expect("a report is in flight");
        let batch = SettledBatch { number, settled };
        self.reply(Reply::Answer(Answer { settled: Some(batch), ..answer(seq) }));
    }

    /// Fails what is under way.
    fn fail(&mut self) {
        self.reporter.on_failure(self.now);
    }
}

/// A report's entries: number and state of each.
fn says(report: &Report) -> Vec<(u64, State)> {
    report.body.entries().iter().map(|entry| (entry.finding.id.0, entry.finding.state)).collect()
}

fn settled(report: &Report) -> Vec<Settled> {
    let settled = |entry: &Entry| Settled { id: entry.finding.id, revision: entry.revision };
    report.body.entries().iter().map(settled).collect()
}
