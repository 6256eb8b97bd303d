//! Sessions: what each agent has reported, in which order, and what it has still to be told about it.
//!
//! Pure: a report goes in, what is new in it and the reply come out.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rules::name::{is_label, is_object_name, is_word};
use rules::{Evidence, Finding, FindingId, Incarnation, Owner, Side, State, Subject, Time};
use wire::{
    Answer, Body, Configuration, Entry, Epoch, Hello, NeedFull, OpenSet, Opening, Reply, Report, SessionId,
    SessionReply, Settled, SettledBatch, Welcome, millis,
};

/// Every agent that has been heard in this epoch, by node.
#[derive(Debug)]
pub struct Sessions {
    epoch: Epoch,
    configuration: Configuration,
    heartbeat: Duration,
    session_lasts: Duration,
    nodes: HashMap<Arc<str>, Node>,
    by_id: HashMap<SessionId, Arc<str>>,
    retired: VecDeque<SessionId>,
    /// When somebody who stands in for its agent looked at a node last.
    looked: HashMap<Arc<str>, Time>,
}

/// What a report brought.
#[derive(Debug, Default)]
pub struct Taken {
    /// What is new, in order.
    pub new: Vec<Entry>,
    /// After a full report: what it names.
    pub full: Option<HashSet<FindingId>>,
}

/// When an agent was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// When it was heard last.
    pub at: Time,
    /// How often it has been told to be heard.
    pub interval: Duration,
}

/// One node's agent.
#[derive(Debug)]
struct Node {
    session: SessionId,
    opened: Time,
    /// The last report accepted; 0 before the first.
    accepted: u64,
    last_heard: Time,
    /// How often it was told to be heard, where that is not what others are told by now.
    interval: Option<Duration>,
    /// Up to then its agent has reported what it saw; `None` before the first report of everything.
    saw_until: Option<Time>,
    /// Whether a full report has been taken in during this session.
    synced: bool,
    need_full: Option<NeedFull>,
    known: HashMap<FindingId, Known>,
    open: OpenSet,
    /// To be told as settled, in the next batch: up to which revision. Only what is known.
    settled: HashMap<FindingId, u32>,
    /// Told as settled, and not acknowledged.
    batch: Option<SettledBatch>,
    batches: u64,
    shed: u64,
}

/// How an agent told a finding last, kept until both sides may forget it.
#[derive(Clone, Copy, Debug)]
struct Known {
    revision: u32,
    incarnation: Incarnation,
    state: State,
    settled: bool,
}

/// The most settled in one batch.
const BATCH_MAX: usize = 1_000;
/// Retired sessions that are remembered, so that their agents are told to end.
const RETIRED_MAX: usize = 10_000;
/// For an agent that is silent for so long nothing is kept waiting.
const GIVEN_UP_AFTER: Duration = Duration::from_hours(1);
/// The most findings in one agent's memory: twice what an honest agent keeps.
const FINDINGS_MAX: usize = 4_000;

impl Heard {
    /// So many heartbeats may be missed by an agent that counts as connected.
    pub const MISSED_MAX: u32 = 3;

    /// Whether it is no longer ago than [`Self::MISSED_MAX`] heartbeats.
    pub fn is_recent(self, now: Time) -> bool {
        now.since(self.at) <= self.interval * Self::MISSED_MAX
    }
}

impl Sessions {
    /// Nobody has been heard yet.
    pub fn new(epoch: Epoch, configuration: Configuration, heartbeat: Duration, session_lasts: Duration) -> Self {
        Self {
            epoch,
            configuration,
            heartbeat,
            session_lasts,
            nodes: HashMap::new(),
            by_id: HashMap::new(),
            retired: VecDeque::new(),
            looked: HashMap::new(),
        }
    }

    /// Other rules are in force: every agent learns it with its next answer, but for how often to be heard: that with
    /// its next session.
    pub fn configure(&mut self, configuration: Configuration, heartbeat: Duration, session_lasts: Duration) {
        if heartbeat != self.heartbeat {
            for node in self.nodes.values_mut() {
                node.interval.get_or_insert(self.heartbeat);
            }
        }
        self.configuration = configuration;
        self.heartbeat = heartbeat;
        self.session_lasts = session_lasts;
    }

    /// When the agent of `node` was last heard; `None` when it never was in this epoch.
    pub fn last_heard(&self, node: &str) -> Option<Time> {
        self.nodes.get(node).map(|node| node.last_heard)
    }

    /// Whether the agent of `node` was heard lately ([`Heard::is_recent`]).
    pub fn is_heard(&self, node: &str, now: Time) -> bool {
        let heard = |node: &Node| Heard { at: node.last_heard, interval: node.interval.unwrap_or(self.heartbeat) };
        self.nodes.get(node).is_some_and(|node| heard(node).is_recent(now))
    }

    /// Up to when the agent of `node` has reported what it saw. Who only says hello has seen nothing yet.
    pub fn saw_until(&self, node: &str) -> Option<Time> {
        self.nodes.get(node)?.saw_until
    }

    /// The node whose agent opened `session`; what it is answered with when it is not open.
    pub fn node_of(&self, session: SessionId) -> Result<&Arc<str>, Reply> {
        let closed = || if self.retired.contains(&session) { Reply::Retired } else { Reply::UnknownSession };
        self.by_id.get(&session).ok_or_else(closed)
    }

    /// Whether the agent of `node` has given a full report in this epoch.
    pub fn is_synced(&self, node: &str) -> bool {
        self.nodes.get(node).is_some_and(|node| node.synced)
    }

    /// Up to then every agent, or who stands in for it, has reported what it saw, but those that are silent for longer than
    /// [`GIVEN_UP_AFTER`]; `None` while an agent has yet to report.
    pub fn all_saw_until(&self, now: Time) -> Option<Time> {
        let is_awaited = |at: Time| now.since(at) <= GIVEN_UP_AFTER;
        let agents =
            self.nodes.iter().filter(|(name, node)| is_awaited(node.last_heard) && !self.looked.contains_key(*name));
        let looked = self.looked.values().filter(|at| is_awaited(**at)).map(|at| Some(*at));
        agents.map(|(_, node)| node.saw_until).chain(looked).try_fold(now, |all, until| Some(all.min(until?)))
    }

    /// The nodes whose agents have been heard, and when.
    pub fn heard(&self) -> impl Iterator<Item = (&Arc<str>, Heard)> {
        let heard = |node: &Node| Heard { at: node.last_heard, interval: node.interval.unwrap_or(self.heartbeat) };
        self.nodes.iter().map(move |(name, node)| (name, heard(node)))
    }

    /// Findings that agents had no room for, since they started.
    pub fn shed(&self) -> u64 {
        self.nodes.values().map(|node| node.shed).sum()
    }

    /// The agent of `node`, whose token says so, wants a session, to be named `session`. `open` are the node's open
    /// findings; those of kinds that the agent does not know are not given to it.
    pub fn on_hello<'a>(
        &mut self,
        node: &Arc<str>,
        hello: &Hello,
        session: SessionId,
        open: impl Iterator<Item = &'a Finding>,
        now: Time,
    ) -> SessionReply {
        let Some(&version) = hello.versions.iter().find(|version| wire::VERSIONS.contains(version)) else {
            return SessionReply::NoCommonVersion(wire::VERSIONS.to_vec());
        };
        let opening = Opening {
            configuration: self.configuration.clone(),
            open: open.filter(|finding| hello.kinds.iter().any(|kind| kind == finding.kind.name())).cloned().collect(),
            heartbeat_ms: millis(self.heartbeat),
            reconnect_window_ms: millis(self.reconnect_window()),
        };
        let opening = match wire::encode_in(version, &opening) {
            Ok(opening) => opening,
            Err(error) => return SessionReply::Refused(error.to_string()),
        };
        let entry = self.nodes.entry(Arc::clone(node)).or_insert_with(|| Node::new(session, now));
        if entry.session != session {
            self.by_id.remove(&entry.session);
            if self.retired.len() == RETIRED_MAX {
                self.retired.pop_front();
            }
            self.retired.push_back(entry.session);
            entry.renew(session, now);
        }
        self.by_id.insert(session, Arc::clone(node));
        self.looked.remove(node);
        SessionReply::Welcome(Welcome { version, session, epoch: self.epoch, opening })
    }

    /// A report has come. What is new in it is to be taken in before the reply is made with [`Self::reply`]; an early
    /// reply is one for a report that is not taken in.
    pub fn on_report(&mut self, report: Report, now: Time) -> Result<(Arc<str>, Taken), Reply> {
        let name = self.node_of(report.session).map(Arc::clone)?;
        let node = self.nodes.get_mut(&name).ok_or(Reply::UnknownSession)?;
        if now.since(node.opened) > self.session_lasts {
            self.by_id.remove(&report.session);
            return Err(Reply::UnknownSession);
        }
        if let Some(reason) = report.body.entries().iter().find_map(|entry| unbelievable(&entry.finding, &name)) {
            return Err(Reply::Malformed(reason));
        }
        // A full report takes the place of what is known, so it is the way back.
        let is_full = matches!(report.body, Body::Full(_));
        if report.body.entries().len() > FINDINGS_MAX || (!is_full && node.known.len() > FINDINGS_MAX) {
            return Err(Reply::Malformed(format!("more than {FINDINGS_MAX} findings: an agent keeps fewer")));
        }
        node.last_heard = now;
        node.acknowledge(report.settled_seen);
        if report.seq <= node.accepted {
            return Ok((name, Taken::default()));
        }
        let is_next = report.seq == node.accepted + 1;
        let taken = match report.body {
            Body::Delta(_) if !is_next => {
                node.need_full = Some(NeedFull::Gap);
                return Ok((name, Taken::default()));
            }
            Body::Delta(entries) => Taken { new: node.take_delta(entries), full: None },
            Body::Full(entries) => {
                let (new, named) = node.take_full(entries);
                Taken { new, full: Some(named) }
            }
        };
        node.accepted = report.seq;
        node.saw_until = if node.synced { Some(now) } else { node.saw_until };
        node.shed = report.shed;
        if node.synced && node.open != report.open {
            node.need_full.get_or_insert(NeedFull::Digest);
        }
        Ok((name, taken))
    }

    /// The reply to the report that was just taken in.
    pub fn reply(&mut self, node: &str, config_hash: u64) -> Reply {
        let configuration = (config_hash != self.configuration.hash).then(|| self.configuration.clone());
        let Some(node) = self.nodes.get_mut(node) else { return Reply::UnknownSession };
        Reply::Answer(Answer {
            accepted: node.accepted,
            settled: node.batch(),
            need_full: node.need_full,
            config_hash: self.configuration.hash,
            configuration,
            retry_after_ms: 0,
        })
    }

    /// The fate of a finding is decided.
    pub fn on_settled(&mut self, node: &str, settled: Settled) {
        let Some(node) = self.nodes.get_mut(node) else { return };
        // What the agent does not name any more it has forgotten.
        let Some(known) = node.known.get_mut(&settled.id) else { return };
        known.settled |= known.revision <= settled.revision;
        node.settle(settled);
    }

    /// A full report of `node` is needed.
    pub fn need_full(&mut self, node: &str, reason: NeedFull) {
        if let Some(node) = self.nodes.get_mut(node) {
            node.need_full.get_or_insert(reason);
        }
    }

    /// Somebody stands in for the agent of `node`: it has to say hello, and is given what was found in its place.
    pub fn suspend(&mut self, node: &str) {
        if let Some(node) = self.nodes.get(node) {
            self.by_id.remove(&node.session);
        }
    }

    /// Who stands in for the agent of `node` has told what there was at `at`.
    pub fn on_looked(&mut self, node: &Arc<str>, at: Time) {
        self.looked.insert(Arc::clone(node), at);
    }

    /// Nobody is stood in for any more.
    pub fn on_no_agents(&mut self) {
        self.looked.clear();
    }

    /// A node is no more.
    pub fn on_node_gone(&mut self, node: &str) {
        self.looked.remove(node);
        if let Some(node) = self.nodes.remove(node) {
            self.by_id.remove(&node.session);
        }
    }

    /// Over which time agents spread when all of them come back at once: a thousand a second.
    fn reconnect_window(&self) -> Duration {
        Duration::from_secs(2).max(Duration::from_millis(self.nodes.len() as u64))
    }
}

impl Node {
    fn new(session: SessionId, now: Time) -> Self {
        Self {
            session,
            opened: now,
            accepted: 0,
            last_heard: now,
            interval: None,
            saw_until: None,
            synced: false,
            need_full: None,
            known: HashMap::new(),
            open: OpenSet::default(),
            settled: HashMap::new(),
            batch: None,
            batches: 0,
            shed: 0,
        }
    }

    /// A new session begins: what is known stays known, and is compared with the first full report.
    fn renew(&mut self, session: SessionId, now: Time) {
        let known = std::mem::take(&mut self.known);
        let (shed, saw_until) = (self.shed, self.saw_until);
        *self = Self { saw_until, known, shed, ..Self::new(session, now) };
    }

    /// What changed: all of it is new, but for what is over and settled and said again.
    fn take_delta(&mut self, entries: Vec<Entry>) -> Vec<Entry> {
        entries.into_iter().filter(|entry| self.take(entry)).collect()
    }

    /// Everything that the agent has not forgotten; what is new in it, and what it names.
    fn take_full(&mut self, entries: Vec<Entry>) -> (Vec<Entry>, HashSet<FindingId>) {
        let named: HashSet<_> = entries.iter().map(|entry| entry.finding.id).collect();
        self.known.retain(|id, _| named.contains(id));
        self.settled.retain(|id, _| named.contains(id));
        self.open = OpenSet::default();
        for (id, known) in &self.known {
            if known.state != State::Cleared {
                self.open.add(*id, known.revision);
            }
        }
        self.synced = true;
        self.need_full = None;
        (self.take_delta(entries), named)
    }

    /// Notes how a finding stands now; whether that is news.
    fn take(&mut self, entry: &Entry) -> bool {
        let Entry { revision, finding } = entry;
        let now = Known { revision: *revision, incarnation: finding.incarnation, state: finding.state, settled: false };
        let before = self.known.insert(finding.id, now);
        if let Some(before) = before.filter(|before| before.state != State::Cleared) {
            self.open.remove(finding.id, before.revision);
        }
        if now.state != State::Cleared {
            self.open.add(finding.id, *revision);
        }
        let is_same =
            |before: &Known| before.settled && before.incarnation == now.incarnation && before.state == now.state;
        if before.as_ref().is_some_and(is_same) && now.state == State::Cleared {
            // Settled already, and the agent has not heard so: say it again.
            self.known.insert(finding.id, Known { settled: true, ..now });
            self.settle(Settled { id: finding.id, revision: *revision });
            return false;
        }
        true
    }

    fn settle(&mut self, settled: Settled) {
        let revision = self.settled.entry(settled.id).or_default();
        *revision = settled.revision.max(*revision);
    }

    /// The batch that is not acknowledged yet, or else the next one.
    fn batch(&mut self) -> Option<SettledBatch> {
        if self.batch.is_none() && !self.settled.is_empty() {
            self.batches += 1;
            let mut settled: Vec<_> =
                self.settled.iter().take(BATCH_MAX).map(|(&id, &revision)| Settled { id, revision }).collect();
            settled.sort_unstable_by_key(|settled| settled.id);
            for Settled { id, .. } in &settled {
                self.settled.remove(id);
            }
            self.batch = Some(SettledBatch { number: self.batches, settled });
        }
        self.batch.clone()
    }

    /// The agent has taken in the batches up to `number`: what is over and settled both sides forget.
    fn acknowledge(&mut self, number: u64) {
        let Some(batch) = self.batch.take_if(|batch| batch.number <= number) else { return };
        for settled in batch.settled {
            let is_done = self.known.get(&settled.id).is_some_and(|known| {
                known.settled && known.state == State::Cleared && known.revision <= settled.revision
            });
            if is_done {
                self.known.remove(&settled.id);
            }
        }
    }
}

/// Why a finding cannot be what it claims; `None` when it can.
fn unbelievable(finding: &Finding, node: &str) -> Option<String> {
    let Finding { id, kind, subject, owner, evidence, .. } = finding;
    let why = if kind.row().side != Side::NodeAgent {
        format!("is of kind {}, which no node-agent sees", kind.name())
    } else if &*subject.node != node {
        format!("is about another node than the reporter's, {node}")
    } else if !are_names(subject, owner) {
        "has a name that no object in Kubernetes can have".to_owned()
    } else if &*owner.kind == "Node" && &*owner.name != node {
        "is said to be another node's".to_owned()
    } else if !is_short(evidence) {
        format!("has a text of more than {} bytes", Evidence::TEXT_MAX)
    } else {
        return None;
    };
    Some(format!("finding {:x} {why}", id.0))
}

/// Whether these can be a pod and what it belongs to.
fn are_names(subject: &Subject, owner: &Owner) -> bool {
    let Subject { namespace, pod, uid, container, node: _ } = subject;
    let is_container = container.is_empty() || is_label(container);
    is_label(namespace)
        && is_object_name(pod)
        && is_container
        && [uid, &owner.kind, &owner.name].iter().all(|it| is_word(it))
}

/// Whether all texts are as short as an agent makes them.
fn is_short(evidence: &Evidence) -> bool {
    let Evidence { reason, message, image, memory_limit, names, restarts: _, exit_code: _, signal: _, occurrences: _ } =
        evidence;
    let texts = [reason, message, image, memory_limit].into_iter().flatten();
    texts.chain(names).all(|text| text.len() <= Evidence::TEXT_MAX)
}

#[cfg(test)]
mod tests;
