//! Several electors over one Lease in virtual time: requests are slow and get lost on either way, processes are paused and
//! killed, clocks go wrong and are set, and the Lease is deleted.

use proptest::prelude::*;

use super::*;

/// An API server that has one Lease, and those who want it.
struct World {
    now: Duration,
    lease: Option<Record>,
    version: u64,
    /// It answers everything with this.
    failure: Option<Failure>,
    /// For a request and its answer together.
    latency_max: Duration,
    replicas: Vec<Replica>,
    messages: Vec<Message>,
    rng: fastrand::Rng,
    lives: u32,
    is_deleted: bool,
}

/// A replica: one process after the other.
struct Replica {
    identity: Arc<str>,
    elector: Elector,
    /// When its monotonic clock began.
    began: Duration,
    /// How fast that goes, in percent.
    pace: u32,
    /// How wrong its wall clock is, in seconds.
    wall_offset: i64,
    is_dead: bool,
    is_paused: bool,
    loses: Option<Lost>,
    /// The request under way.
    asked: Option<Asked>,
}

struct Asked {
    number: u64,
    is_read: bool,
    until: Mark,
}

/// Which of a replica's messages do not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lost {
    Requests,
    Answers,
}

struct Message {
    from: Arc<str>,
    number: u64,
    at: Duration,
    says: Says,
}

enum Says {
    Read,
    Write { version: Option<String>, record: Record },
    Answer(Result<Option<Record>, Failure>),
}

/// Something that happens to replica `.0`, or to the server.
#[derive(Clone, Debug)]
enum Happens {
    Killed(usize),
    Started(usize),
    Paused(usize, bool),
    Loses(usize, Option<Lost>),
    Resigns(usize),
    WallClockIsSet(usize, i64),
    PaceIs(usize, u32),
    LeaseIsDeleted,
    LeaseIsTouched,
    ServerSays(Option<Failure>),
    LatencyIs(u64),
    Nothing,
}

const TICK: Duration = Duration::from_millis(20);
const REPLICAS: usize = 3;

impl World {
    /// Replicas that all start now.
    fn with(replicas: usize, latency_max: Duration, seed: u64) -> Self {
        let mut world = Self {
            now: Duration::from_hours(1),
            lease: None,
            version: 0,
            failure: None,
            latency_max,
            replicas: Vec::new(),
            messages: Vec::new(),
            rng: fastrand::Rng::with_seed(seed),
            lives: 0,
            is_deleted: false,
        };
        for _ in 0..replicas {
            let replica = world.life();
            world.replicas.push(replica);
        }
        world
    }

    /// A process that starts now.
    fn life(&mut self) -> Replica {
        self.lives += 1;
        let identity: Arc<str> = format!("life-{}", self.lives).into();
        Replica {
            elector: Elector::new(Arc::clone(&identity)),
            identity,
            began: self.now,
            pace: 100,
            wall_offset: 0,
            is_dead: false,
            is_paused: false,
            loses: None,
            asked: None,
        }
    }

    /// Whoever may send now: never two.
    fn sender(&self) -> Option<usize> {
        let may_send = |replica: &&(usize, &Replica)| replica.1.elector.role().may_send(replica.1.mark(self.now));
        let replicas: Vec<_> = self.replicas.iter().enumerate().filter(|(_, replica)| !replica.is_dead).collect();
        let senders: Vec<_> = replicas.iter().filter(may_send).map(|(at, replica)| (*at, &replica.identity)).collect();
        assert!(senders.len() <= 1, "at {:?} these may send: {senders:?}", self.now);
        senders.first().map(|(at, _)| *at)
    }

    fn pass(&mut self, span: Duration) {
        self.until(span, |_| false);
    }

    /// Lets time pass until `holds`, at most `span`; gives how long that took.
    fn until(&mut self, span: Duration, holds: impl Fn(&Self) -> bool) -> Option<Duration> {
        let begun = self.now;
        while self.now < begun + span {
            if holds(self) {
                return Some(self.now.saturating_sub(begun));
            }
            self.now += TICK;
            self.serve();
            for at in 0..self.replicas.len() {
                self.turn(at);
            }
            self.sender();
        }
        None
    }

    /// The server takes in what has arrived.
    fn serve(&mut self) {
        let (arrived, rest) = std::mem::take(&mut self.messages)
            .into_iter()
            .partition(|message| message.at <= self.now && !matches!(message.says, Says::Answer(_)));
        self.messages = rest;
        for Message { from, number, says, .. } in arrived {
            let answer = match (self.failure.clone(), says) {
                (Some(failure), _) => Err(failure),
                (None, Says::Write { version, record }) => self.write(version, record).map(Some),
                (None, _) => Ok(self.lease.clone()),
            };
            let loses = self.replicas.iter().find(|replica| replica.identity == from).and_then(|replica| replica.loses);
            if loses != Some(Lost::Answers) {
                let at = self.now + self.delay();
                self.messages.push(Message { from, number, at, says: Says::Answer(answer) });
            }
        }
    }

    fn write(&mut self, version: Option<String>, record: Record) -> Result<Record, Failure> {
        match (&self.lease, version) {
            (Some(_), None) => return Err(Failure::Conflict),
            (None, Some(_)) => return Err(Failure::NotFound),
            (Some(lease), Some(version)) if lease.version != version => return Err(Failure::Conflict),
            _ => {}
        }
        // A write that changes nothing is none.
        let is_same = self
            .lease
            .as_ref()
            .is_some_and(|lease| Record { version: lease.version.clone(), ..record.clone() } == *lease);
        self.version += u64::from(!is_same);
        let record = Record { version: self.version.to_string(), ..record };
        self.lease = Some(record.clone());
        Ok(record)
    }

    /// What a replica's process does at this moment.
    fn turn(&mut self, at: usize) {
        let (now, replica) = (self.now, &mut self.replicas[at]);
        if replica.is_dead || replica.is_paused {
            return;
        }
        let mark = replica.mark(now);
        if let Some(asked) = &replica.asked {
            let is_answer = |message: &Message| {
                message.from == replica.identity
                    && message.number == asked.number
                    && message.at <= now
                    && matches!(message.says, Says::Answer(_))
            };
            let answer = match self.messages.iter().position(is_answer) {
                Some(found) => match self.messages.swap_remove(found).says {
                    Says::Answer(answer) => answer,
                    Says::Read | Says::Write { .. } => unreachable!("it is an answer"),
                },
                None if mark >= asked.until => Err(Failure::Unreachable("late".into())),
                None => return,
            };
            match asked.is_read {
                true => replica.elector.on_read(answer, mark),
                false => replica.elector.on_written(answer.map(|record| record.expect("it was written")), mark),
            }
            replica.asked = None;
        }
        let says = match replica.elector.next(mark) {
            Action::Wait(until) => return assert!(until > mark, "it waits for what is past"),
            Action::Stop => {
                self.replicas[at] = self.life();
                return;
            }
            Action::Read => Says::Read,
            Action::Write(claim) => replica.says(claim, now),
        };
        let number = self.rng.u64(..);
        let is_read = matches!(says, Says::Read);
        replica.asked = Some(Asked { number, is_read, until: mark + REQUEST });
        if replica.loses != Some(Lost::Requests) {
            let from = Arc::clone(&replica.identity);
            let at = now + self.delay();
            self.messages.push(Message { from, number, at, says });
        }
    }

    /// For one way.
    fn delay(&mut self) -> Duration {
        // Without the ticks that sending, serving and taking in round it up to.
        let max = (self.latency_max / 2).saturating_sub(TICK).as_millis() as u64;
        Duration::from_millis(self.rng.u64(..=max))
    }

    fn happens(&mut self, what: &Happens) {
        match *what {
            Happens::Killed(at) => self.replicas[at].is_dead = true,
            Happens::Started(at) if self.replicas[at].is_dead => self.replicas[at] = self.life(),
            Happens::Started(_) | Happens::Nothing => {}
            Happens::Paused(at, is_paused) => self.replicas[at].is_paused = is_paused,
            Happens::Loses(at, loses) => self.replicas[at].loses = loses,
            // A process that waits for an answer hears of its end after that.
            Happens::Resigns(at) => {
                let mark = self.replicas[at].mark(self.now);
                if self.replicas[at].asked.is_none() && !self.replicas[at].is_paused {
                    self.replicas[at].elector.resign(mark);
                }
            }
            Happens::WallClockIsSet(at, seconds) => self.replicas[at].wall_offset += seconds,
            Happens::PaceIs(at, pace) => self.replicas[at].goes_at(pace, self.now),
            // Once: two who delete it between any two reads can make any two lead.
            Happens::LeaseIsDeleted if !self.is_deleted => {
                self.is_deleted = true;
                self.lease = None;
            }
            Happens::LeaseIsDeleted => {}
            Happens::LeaseIsTouched => {
                self.version += 1;
                if let Some(lease) = &mut self.lease {
                    lease.version = self.version.to_string();
                }
            }
            Happens::ServerSays(ref failure) => self.failure = failure.clone(),
            Happens::LatencyIs(millis) => self.latency_max = Duration::from_millis(millis),
        }
    }

    fn heal(&mut self) {
        (self.failure, self.latency_max) = (None, SECOND);
        for at in 0..self.replicas.len() {
            self.replicas[at].is_paused = false;
            self.replicas[at].loses = None;
            self.happens(&Happens::Started(at));
        }
    }
}

impl Replica {
    fn mark(&self, now: Duration) -> Mark {
        Mark::from_start(now.saturating_sub(self.began) * self.pace / 100)
    }

    /// Its monotonic clock goes faster or slower from now on.
    fn goes_at(&mut self, pace: u32, now: Duration) {
        let mark = self.mark(now).since_start();
        self.pace = pace;
        self.began = now.saturating_sub(mark * 100 / pace);
    }

    /// The write as the process sends it: it says the time of its own wall clock.
    fn says(&self, claim: Claim, now: Duration) -> Says {
        let Claim { why, version, transitions, number } = claim;
        let is_held = why != Why::Resigning;
        let holder = if is_held { Arc::clone(&self.identity) } else { "".into() };
        let wall = now.as_millis() as i64 + self.wall_offset * 1_000;
        let renewed = format!("{wall} {:03}", number % 1_000);
        Says::Write { version, record: Record { holder, transitions, renewed, ..Record::default() } }
    }
}

fn happening() -> impl Strategy<Value = Happens> {
    let who = 0..REPLICAS;
    let day = 24 * 3_600;
    prop_oneof![
        2 => who.clone().prop_map(Happens::Killed),
        3 => who.clone().prop_map(Happens::Started),
        4 => (who.clone(), any::<bool>()).prop_map(|(at, is_paused)| Happens::Paused(at, is_paused)),
        4 => (who.clone(), prop_oneof![Just(None), Just(Some(Lost::Requests)), Just(Some(Lost::Answers))])
            .prop_map(|(at, lost)| Happens::Loses(at, lost)),
        1 => who.clone().prop_map(Happens::Resigns),
        2 => (who.clone(), prop_oneof![Just(day), Just(-day), Just(-3)]).prop_map(|(at, by)| Happens::WallClockIsSet(at, by)),
        1 => (who, 90_u32..=110).prop_map(|(at, pace)| Happens::PaceIs(at, pace)),
        1 => Just(Happens::LeaseIsDeleted),
        1 => Just(Happens::LeaseIsTouched),
        2 => prop_oneof![Just(None), Just(Some(forbidden())), Just(Some(unreachable()))].prop_map(Happens::ServerSays),
        2 => (0..12_000_u64).prop_map(Happens::LatencyIs),
        2 => Just(Happens::Nothing),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(150) })]

    #[test]
    fn whatever_happens_never_two_may_send_and_in_the_end_one_does(
        story in prop::collection::vec((happening(), 0..30_000_u64), 0..25),
        seed in any::<u64>(),
    ) {
        let mut world = World::with(REPLICAS, SECOND, seed);
        world.pass(25 * SECOND);
        for (what, millis) in &story {
            world.happens(what);
            world.pass(Duration::from_millis(*millis));
        }
        world.heal();
        prop_assert!(world.until(40 * SECOND, |world| world.sender().is_some()).is_some(), "nobody leads");
    }

    #[test]
    fn a_leader_that_dies_is_followed_within_twenty_seconds(
        (others, latency, seed) in (1..REPLICAS, 0..=1_500_u64, any::<u64>()),
        lived in 0..20_000_u64,
    ) {
        let mut world = World::with(1 + others, Duration::from_millis(latency), seed);
        world.pass(30 * SECOND + Duration::from_millis(lived));
        let leader = world.sender().expect("there is a leader");
        world.happens(&Happens::Killed(leader));
        let took = world.until(20 * SECOND, |world| world.sender().is_some());
        prop_assert!(took.is_some(), "nobody leads after 20 s");
    }

    #[test]
    fn a_leader_that_resigns_is_followed_after_the_next_look(
        (latency, seed) in (0..=1_500_u64, any::<u64>()),
        lived in 0..20_000_u64,
    ) {
        let latency = Duration::from_millis(latency);
        let mut world = World::with(2, latency, seed);
        world.pass(30 * SECOND + Duration::from_millis(lived));
        let leader = world.sender().expect("there is a leader");
        world.until(5 * SECOND, |world| world.replicas[leader].asked.is_none());
        world.happens(&Happens::Resigns(leader));
        let freed = world.until(5 * SECOND, |world| world.lease.as_ref().is_some_and(|lease| lease.holder.is_empty()));
        prop_assert!(freed.is_some_and(|took| took <= latency + 2 * TICK), "{freed:?}");
        let most = POLL_EVERY.max(latency) + 2 * latency + 5 * TICK;
        let took = world.until(most, |world| world.sender().is_some());
        prop_assert!(took.is_some(), "nobody leads after {most:?}");
    }
}

#[test]
fn clocks_that_are_set_by_a_day_change_nothing() {
    for seconds in [24 * 3_600, -24 * 3_600] {
        let mut world = World::with(2, SECOND, 7);
        world.pass(30 * SECOND);
        let leader = world.sender().expect("there is a leader");
        for at in [leader, 1 - leader] {
            world.happens(&Happens::WallClockIsSet(at, seconds));
            for _ in 0..100 {
                world.pass(SECOND);
                assert_eq!(world.sender(), Some(leader));
            }
        }
    }
}

#[test]
fn a_leader_whose_wall_clock_stands_still_keeps_its_lease() {
    let mut world = World::with(2, Duration::ZERO, 7);
    world.pass(30 * SECOND);
    let leader = world.sender().expect("there is a leader");
    for _ in 0..20 {
        world.happens(&Happens::WallClockIsSet(leader, -3));
        world.pass(3 * SECOND);
        assert_eq!(world.sender(), Some(leader));
    }
}
