//! What the aggregator's answers change.

use core::net::SocketAddr;
use std::sync::Arc;

use rules::Time;
use wire::{Answer, Body, Configuration, Opening, Reply, SessionReply, Welcome};

use super::{Effect, End, Notice, Phase, Reporter, Session, Target, knows};

/// How many times in a row the agent goes where it is sent before it waits.
const HOPS_MAX: u32 = 3;

/// The longest text of a peer that is kept, in bytes.
const PEER_TEXT_MAX: usize = 256;

impl Reporter {
    /// What [`Next::Hello`](super::Next::Hello) was answered with.
    pub fn on_session_reply(&mut self, reply: SessionReply, now: Time) -> Vec<Effect> {
        if !matches!(self.phase, Phase::Greeting) {
            return Vec::new();
        }
        match reply {
            SessionReply::Welcome(welcome) => self.on_welcome(&welcome, now),
            SessionReply::NotLeader(address) => {
                self.phase = Phase::Apart(self.go_to(&address, now));
                self.trouble(Notice::NotLeader(capped(address)))
            }
            SessionReply::Busy(millis) => {
                self.phase = Phase::Apart(self.pace.after_request(millis, now));
                self.trouble(Notice::Busy)
            }
            SessionReply::NoCommonVersion(theirs) => self.refused(Notice::NoCommonVersion(theirs), now),
            SessionReply::Refused(reason) => self.refused(Notice::Refused(capped(reason)), now),
        }
    }

    /// What [`Next::Report`](super::Next::Report) was answered with.
    pub fn on_reply(&mut self, reply: Reply, now: Time) -> Vec<Effect> {
        let Phase::Together(session) = &mut self.phase else { return Vec::new() };
        let Some(flight) = session.in_flight.as_mut().filter(|flight| flight.sending) else { return Vec::new() };
        flight.sending = false;
        match reply {
            Reply::Answer(answer) => self.on_answer(answer, now),
            Reply::Busy(millis) => {
                session.not_before = self.pace.after_request(millis, now);
                self.trouble(Notice::Busy)
            }
            Reply::NotLeader(address) => {
                let at = self.go_to(&address, now);
                self.retry_at(at);
                self.trouble(Notice::NotLeader(capped(address)))
            }
            Reply::Malformed(reason) => {
                session.in_flight = None;
                session.need_full = true;
                session.not_before = self.pace.after_complaint(now);
                self.trouble(Notice::Malformed(capped(reason)))
            }
            Reply::UnknownSession => {
                // At once, unless sessions are lost as soon as they are opened.
                let useless = session.next_seq == 1;
                self.phase = Phase::Apart(if useless { self.pace.after_complaint(now) } else { now });
                vec![Effect::Notice(Notice::UnknownSession)]
            }
            Reply::Retired => {
                self.phase = Phase::Ended(End::Retired);
                Vec::new()
            }
        }
    }

    /// What [`Next::Hello`](super::Next::Hello) or [`Next::Report`](super::Next::Report) asked for could not be done, or was not answered.
    pub fn on_failure(&mut self, now: Time) {
        self.target = Target::Service;
        let at = self.pace.after_failure(now);
        match &mut self.phase {
            Phase::Greeting => self.phase = Phase::Apart(at),
            Phase::Together(_) => self.retry_at(at),
            Phase::Apart(_) | Phase::Ended(_) => {}
        }
    }

    /// The connection is gone while nothing was under way: perhaps the aggregator is, too, and began anew. One heartbeat
    /// finds out, jittered as any reconnect.
    pub fn on_disconnect(&mut self, now: Time) {
        self.target = Target::Service;
        if let Phase::Together(session) = &mut self.phase {
            let at = self.pace.after_failure(now);
            session.not_before = session.not_before.max(at);
            session.heartbeat_at = session.heartbeat_at.min(at);
        }
    }

    fn on_welcome(&mut self, welcome: &Welcome, now: Time) -> Vec<Effect> {
        if !wire::VERSIONS.contains(&welcome.version) {
            return self.refused(Notice::NoCommonVersion(vec![welcome.version]), now);
        }
        let opening: Opening = match wire::decode(&welcome.opening) {
            Ok(opening) => opening,
            Err(error) => return self.refused(Notice::Unreadable(error.to_string()), now),
        };
        let Opening { configuration, open, heartbeat_ms, reconnect_window_ms } = opening;
        self.pace.adjust(heartbeat_ms, reconnect_window_ms);
        self.phase = Phase::Together(Session {
            id: welcome.session,
            version: welcome.version,
            next_seq: 1,
            settled_seen: 0,
            need_full: true,
            heartbeat_at: self.pace.heartbeat(now),
            not_before: now,
            in_flight: None,
        });
        self.trouble = None;
        let mut effects = vec![Effect::Notice(Notice::Opened(welcome.epoch))];
        effects.extend(self.configure(configuration));
        effects.push(Effect::Adopt(self.findings.on_session(open)));
        effects
    }

    fn on_answer(&mut self, answer: Answer, now: Time) -> Vec<Effect> {
        let Answer { accepted, settled, need_full, config_hash: _, configuration, retry_after_ms } = answer;
        let Phase::Together(session) = &mut self.phase else { return Vec::new() };
        let Some(flight) = session.in_flight.take() else { return Vec::new() };
        session.next_seq = accepted.saturating_add(1);
        let was_full = matches!(flight.report.body, Body::Full(_));
        let is_accepted = accepted >= flight.report.seq;
        let news = is_accepted && self.findings.on_accepted(flight.report.body.entries());
        session.need_full |= need_full.is_some() || !is_accepted;
        if let Some(batch) = settled.filter(|batch| batch.number > session.settled_seen) {
            session.settled_seen = batch.number;
            self.findings.on_settled(&batch.settled);
        }
        session.not_before = if session.need_full && was_full {
            // A full report did not help: the next one is not sent in the same breath.
            self.pace.after_complaint(now)
        } else {
            self.pace.reset();
            now
        };
        if retry_after_ms > 0 {
            session.not_before = session.not_before.max(self.pace.after_request(retry_after_ms, now));
        }
        self.hops = 0;
        self.trouble = None;
        if news {
            self.flush_by(now);
        }
        let mut effects: Vec<Effect> = need_full.map(|why| Effect::Notice(Notice::NeedFull(why))).into_iter().collect();
        effects.extend(configuration.and_then(|configuration| self.configure(configuration)));
        effects
    }

    /// Takes over a configuration; `None` when it is the one in force.
    fn configure(&mut self, configuration: Configuration) -> Option<Effect> {
        if self.configuration.as_ref().is_some_and(|known| known.hash == configuration.hash) {
            return None;
        }
        let config = Arc::clone(&configuration.config);
        self.configuration = Some(configuration);
        self.findings.retain(|finding| knows(&config, finding));
        Some(Effect::Configure(config))
    }

    /// Goes where the leader is said to be, or asks the Service again later; gives the time to do so.
    fn go_to(&mut self, address: &str, now: Time) -> Time {
        self.hops += 1;
        match leader_at(address).filter(|_| self.hops <= HOPS_MAX) {
            Some(leader) => {
                self.target = Target::Leader(leader);
                now
            }
            None => {
                self.hops = 0;
                self.target = Target::Service;
                self.pace.after_failure(now)
            }
        }
    }

    /// The report in flight is sent again then.
    fn retry_at(&mut self, at: Time) {
        if let Phase::Together(session) = &mut self.phase {
            session.not_before = at;
            if let Some(flight) = &mut session.in_flight {
                flight.sending = false;
            }
        }
    }

    fn refused(&mut self, notice: Notice, now: Time) -> Vec<Effect> {
        self.target = Target::Service;
        self.phase = Phase::Apart(self.pace.after_refusal(now));
        self.trouble(notice)
    }

    /// Tells of a trouble, unless it is the one told last.
    fn trouble(&mut self, notice: Notice) -> Vec<Effect> {
        if self.trouble.as_ref() == Some(&notice) {
            return Vec::new();
        }
        self.trouble = Some(notice.clone());
        vec![Effect::Notice(notice)]
    }
}

/// The address of one process, if it is one.
fn leader_at(address: &str) -> Option<SocketAddr> {
    let address: SocketAddr = address.parse().ok()?;
    let is_one = !address.ip().is_unspecified() && !address.ip().is_multicast() && address.port() > 0;
    is_one.then_some(address)
}

/// A peer's text, at a length that can be kept.
fn capped(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(PEER_TEXT_MAX));
    text
}
