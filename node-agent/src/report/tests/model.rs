//! Random histories against a receiver of thirty lines: changes, lost requests, lost answers, restarts of either end.
//! Whatever happens, the receiver ends up with the engine's open set, has heard of everything that was active, and what
//! is not settled is forgotten by nobody.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const IDS: u64 = 5;

/// What happens next.
#[derive(Clone, Debug)]
enum Action {
    /// A finding takes its next step, the `usize`th of those that it can.
    Change(u64, usize),
    Advance(u64),
    Network(Fate),
    /// The aggregator begins a new life.
    NewEpoch,
    /// The aggregator forgets the session and nothing else.
    Expire,
    /// The fate of everything accepted is decided.
    Settle,
    /// The aggregator asks for everything.
    AskFull,
    /// The agent's process is replaced; its engine sees the same pods.
    NewAgent,
}

/// What becomes of the request under way.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Answered,
    RequestLost,
    AnswerLost,
    Busy,
    NotLeader,
}

/// The agent's engine: what is open. A finding that was cleared is not in it.
type Engine = BTreeMap<u64, Finding>;

#[derive(Default)]
struct Receiver {
    epoch: u64,
    session: u128,
    has_session: bool,
    synced: bool,
    accepted: Option<Arc<Report>>,
    known: BTreeMap<FindingId, Entry>,
    /// Accepted, and their fate not decided.
    undecided: Vec<Entry>,
    need_full: Option<NeedFull>,
    batch: Option<SettledBatch>,
    batches: u64,
}

struct World {
    agent: Agent,
    engine: Engine,
    /// What the engine says before the first session of its agent comes after it.
    waiting: Option<Vec<Finding>>,
    incarnations: BTreeMap<u64, u64>,
    under_way: Option<Next>,
    receiver: Receiver,
    /// Incarnations that were active while this agent watched.
    was_active: BTreeSet<(u64, u64)>,
    /// Incarnations that the aggregator, in any life, has heard to be or to have been active.
    told: BTreeSet<(u64, u64)>,
    /// Finally settled, in any life of the aggregator.
    settled: BTreeSet<(u64, u64)>,
}

impl Receiver {
    fn open(&self) -> OpenSet {
        self.known.values().collect()
    }

    fn hello(&mut self) -> SessionReply {
        self.session += 1;
        (self.has_session, self.synced, self.accepted, self.batch, self.batches) = (true, false, None, None, 0);
        self.need_full = None;
        let open = self.known.values().map(|entry| entry.finding.clone()).filter(OpenSet::counts).collect();
        welcome(self.epoch, self.session, &opening(open))
    }

    fn report(&mut self, report: &Arc<Report>) -> (Reply, Vec<Entry>) {
        if !self.has_session || report.session != SessionId(self.session) {
            return (Reply::UnknownSession, Vec::new());
        }
        let accepted = self.accepted.as_ref().map_or(0, |report| report.seq);
        let mut news = Vec::new();
        if report.seq == accepted {
            assert_eq!(Some(report), self.accepted.as_ref(), "the same number says the same");
        } else {
            assert_eq!(report.seq, accepted + 1, "no gaps");
            self.batch.take_if(|batch| batch.number <= report.settled_seen);
            news = report.body.entries().to_vec();
            if let Body::Full(_) = report.body {
                let forgotten = |entry: &&Entry| {
                    OpenSet::counts(&entry.finding) && !news.iter().any(|new| new.finding.id == entry.finding.id)
                };
                assert_eq!(self.known.values().find(forgotten), None, "an open finding was forgotten");
                (self.synced, self.need_full) = (true, None);
            }
            self.accepted = Some(Arc::clone(report));
        }
        (Reply::Answer(Answer { settled: self.batch.clone(), need_full: self.need_full, ..answer(report.seq) }), news)
    }

    fn take(&mut self, entry: Entry) {
        self.undecided.push(entry.clone());
        self.known.insert(entry.finding.id, entry);
    }

    fn settle(&mut self) -> Vec<Entry> {
        if self.batch.is_some() || self.undecided.is_empty() {
            return Vec::new();
        }
        self.batches += 1;
        let decided = std::mem::take(&mut self.undecided);
        let settled = decided.iter().map(|entry| Settled { id: entry.finding.id, revision: entry.revision }).collect();
        self.batch = Some(SettledBatch { number: self.batches, settled });
        self.known.retain(|_, entry| OpenSet::counts(&entry.finding));
        decided
    }
}

impl World {
    fn new() -> Self {
        Self {
            agent: Agent::new(),
            engine: Engine::new(),
            waiting: Some(Vec::new()),
            incarnations: BTreeMap::new(),
            under_way: None,
            receiver: Receiver { epoch: 1, ..Receiver::default() },
            was_active: BTreeSet::new(),
            told: BTreeSet::new(),
            settled: BTreeSet::new(),
        }
    }

    fn play(&mut self, action: &Action) {
        match *action {
            Action::Change(id, step) => self.change(id, step),
            Action::Advance(millis) => self.agent.now = self.agent.now + Duration::from_millis(millis),
            Action::Network(fate) => self.network(fate),
            Action::NewEpoch => {
                let (epoch, session) = (self.receiver.epoch + 1, self.receiver.session);
                self.receiver = Receiver { epoch, session, ..Receiver::default() };
            }
            Action::Expire => self.receiver.has_session = false,
            Action::Settle => {
                let settled = self.receiver.settle().into_iter();
                self.settled.extend(settled.map(|entry| (entry.finding.id.0, entry.finding.incarnation.0)));
            }
            Action::AskFull => self.receiver.need_full = Some(NeedFull::CauseEnded),
            Action::NewAgent => self.new_agent(),
        }
        self.ask();
    }

    fn change(&mut self, id: u64, step: usize) {
        let incarnation = self.incarnations.entry(id).or_insert(0);
        let steps: &[State] = match self.engine.get(&id).map(|finding| finding.state) {
            None => &[State::Pending, State::Active],
            Some(State::Pending) => &[State::Active, State::Cleared],
            Some(_) => &[State::Cleared, State::Active],
        };
        let state = steps[step % steps.len()];
        if !self.engine.contains_key(&id) || self.engine[&id].state == State::Active && state == State::Active {
            *incarnation += 1;
        }
        let finding = finding(id, state, *incarnation);
        if state == State::Active {
            self.was_active.insert((id, *incarnation));
        }
        if state == State::Cleared {
            self.engine.remove(&id)
        } else {
            self.engine.insert(id, finding.clone())
        };
        match &mut self.waiting {
            Some(waiting) => waiting.push(finding),
            None => self.agent.changes([finding]),
        }
    }

    fn new_agent(&mut self) {
        self.agent = Agent { now: self.agent.now, ..Agent::new() };
        self.under_way = None;
        self.waiting = Some(self.engine.values().cloned().collect());
        // What the old process had not told of the past, nobody knows any more.
        let open =
            |(id, incarnation): &(u64, u64)| self.engine.get(id).is_some_and(|f| f.incarnation.0 == *incarnation);
        self.was_active.retain(open);
    }

    fn ask(&mut self) {
        if self.under_way.is_none() {
            match self.agent.next() {
                Next::WaitUntil(_) => {}
                next @ (Next::Hello(_) | Next::Report(_)) => self.under_way = Some(next),
                Next::End(end) => panic!("{end:?}"),
            }
        }
    }

    fn network(&mut self, fate: Fate) {
        let Some(next) = self.under_way.take() else { return };
        match (fate, next) {
            (Fate::RequestLost, _) => self.agent.fail(),
            (_, Next::Hello(_)) => {
                let reply = match fate {
                    Fate::Busy => SessionReply::Busy(100),
                    Fate::NotLeader => SessionReply::NotLeader("10.0.0.7:8443".into()),
                    _ => self.receiver.hello(),
                };
                if let Fate::AnswerLost = fate {
                    return self.agent.fail();
                }
                for effect in self.agent.reporter.on_session_reply(reply, self.agent.now) {
                    if let Effect::Adopt(open) = effect {
                        self.adopt(open);
                    }
                }
            }
            (Fate::Busy, _) => drop(self.agent.reply(Reply::Busy(100))),
            (Fate::NotLeader, _) => drop(self.agent.reply(Reply::NotLeader("10.0.0.7:8443".into()))),
            (Fate::Answered | Fate::AnswerLost, Next::Report(report)) => {
                let (reply, news) = self.receiver.report(&report);
                for entry in news {
                    self.hear(&entry);
                    self.receiver.take(entry);
                }
                if matches!(reply, Reply::Answer(_)) && self.receiver.synced {
                    assert_eq!(self.receiver.open(), report.open, "the digests agree after {report:?}");
                }
                if let Fate::AnswerLost = fate { self.agent.fail() } else { drop(self.agent.reply(reply)) }
            }
            (_, other) => panic!("{other:?} is not under way"),
        }
    }

    /// What the engine cannot see it clears, after its hold.
    fn adopt(&mut self, open: Vec<Finding>) {
        let waiting = self.waiting.take();
        for adopted in &open {
            let is_seen = self.engine.contains_key(&adopted.id.0);
            assert!(!is_seen || waiting.is_some(), "this process knows better");
        }
        let mut seen: BTreeSet<FindingId> = self.engine.values().map(|finding| finding.id).collect();
        seen.extend(waiting.iter().flatten().map(|finding| finding.id));
        self.agent.changes(waiting.into_iter().flatten());
        let unseen = open.into_iter().filter(|adopted| !seen.contains(&adopted.id));
        self.agent.changes(unseen.map(|adopted| Finding { state: State::Cleared, ..adopted }));
    }

    fn hear(&mut self, entry: &Entry) {
        let key = (entry.finding.id.0, entry.finding.incarnation.0);
        let before = self.receiver.known.get(&entry.finding.id).map(|entry| &entry.finding);
        let is_same = before.is_some_and(|before| before.incarnation == entry.finding.incarnation);
        match (entry.finding.state, before.map(|before| before.state)) {
            (State::Cleared, Some(State::Pending)) if is_same => {
                assert!(!self.was_active.contains(&key), "{key:?} was active, and is told as having come to nothing");
            }
            (State::Active | State::Cleared, _) => {
                self.told.insert(key);
            }
            (State::Pending, _) => {}
        }
    }

    /// From now on all goes well.
    fn heal(&mut self) {
        for _ in 0..200 {
            self.ask();
            if self.under_way.is_some() {
                self.network(Fate::Answered);
            } else {
                self.play(&Action::Settle);
                if let Next::WaitUntil(Some(at)) = self.agent.next() {
                    self.agent.now = at.max(self.agent.now);
                }
            }
        }
    }

    fn check(&self) {
        let told: BTreeMap<_, _> =
            self.receiver.known.values().map(|entry| (entry.finding.id.0, entry.finding.clone())).collect();
        assert_eq!(told, self.engine, "the aggregator's open set is the engine's");
        let reporter = &self.agent.reporter;
        assert!(reporter.is_quiet());
        assert_eq!(reporter.counts().cleared, 0, "what is over and settled is forgotten");
        // Of each finding its last incarnation that was active: older ones it has replaced.
        let last: BTreeMap<u64, u64> = self.was_active.iter().copied().collect();
        for (id, incarnation) in last {
            let key = (id, incarnation);
            // Behind a pending one it waits for what comes of that.
            if self.engine.get(&id).is_none_or(|finding| finding.state != State::Pending) {
                assert!(self.told.contains(&key), "{key:?} was active and nobody heard of it");
                assert!(self.settled.contains(&key), "{key:?} was forgotten unsettled");
            }
        }
    }
}

fn action() -> impl Strategy<Value = Action> {
    let fate = prop_oneof![
        6 => Just(Fate::Answered),
        2 => Just(Fate::RequestLost),
        2 => Just(Fate::AnswerLost),
        1 => Just(Fate::Busy),
        1 => Just(Fate::NotLeader),
    ];
    prop_oneof![
        8 => (0..IDS, any::<usize>()).prop_map(|(id, step)| Action::Change(id, step)),
        4 => (1..3_000_u64).prop_map(Action::Advance),
        8 => fate.prop_map(Action::Network),
        1 => Just(Action::NewEpoch),
        1 => Just(Action::Expire),
        2 => Just(Action::Settle),
        1 => Just(Action::AskFull),
        1 => Just(Action::NewAgent),
    ]
}

proptest! {
    #[test]
    fn in_the_end_both_agree_and_nothing_was_lost(actions in prop::collection::vec(action(), 1..80)) {
        let mut world = World::new();
        for action in &actions {
            world.play(action);
        }
        world.heal();
        world.check();
    }
}
