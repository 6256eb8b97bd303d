//! What an agent and its session say to each other, in virtual time.

use rules::{Config, Evidence, Kind, Owner, Seen, Subject};

use super::*;

const START: Time = Time::from_millis(1_000_000_000);
const NODE: &str = "n1";

/// An agent's side of a session, as simple as it can be.
struct Agent {
    sessions: Sessions,
    session: SessionId,
    seq: u64,
    settled_seen: u64,
    open: OpenSet,
    now: Time,
}

impl Agent {
    fn meets() -> Self {
        let configuration = Configuration::new(Arc::new(Config::default()));
        let sessions = Sessions::new(Epoch(1), configuration, Duration::from_secs(30), Duration::from_hours(1));
        let mut agent =
            Self { sessions, session: SessionId(0), seq: 0, settled_seen: 0, open: OpenSet::default(), now: START };
        agent.says_hello(1, &[]);
        agent
    }

    fn says_hello(&mut self, session: u128, open: &[Finding]) -> SessionReply {
        self.session = SessionId(session);
        self.seq = 0;
        self.settled_seen = 0;
        self.sessions.on_hello(&Arc::from(NODE), &hello(), self.session, open.iter(), self.now)
    }

    /// The next report; what was new in it.
    fn reports(&mut self, body: Body) -> Result<Taken, Reply> {
        self.seq += 1;
        self.sends(self.seq, body)
    }

    fn sends(&mut self, seq: u64, body: Body) -> Result<Taken, Reply> {
        if let Body::Full(entries) = &body {
            self.open = entries.iter().collect();
        }
        let report = Report {
            session: self.session,
            seq,
            body,
            open: self.open,
            settled_seen: self.settled_seen,
            config_hash: 0,
            shed: 0,
        };
        self.sessions.on_report(report, self.now).map(|(_, taken)| taken)
    }

    fn answer(&mut self) -> Answer {
        match self.sessions.reply(NODE, 0) {
            Reply::Answer(answer) => answer,
            other => panic!("an answer, not {other:?}"),
        }
    }

    #[track_caller]
    fn check_new(&mut self, body: Body, expected: &[u64]) {
        let taken = self.reports(body).expect("the report is accepted");
        assert_eq!(taken.new.iter().map(|entry| entry.finding.id.0).collect::<Vec<_>>(), expected);
    }
}

fn hello() -> Hello {
    Hello { versions: wire::VERSIONS.to_vec(), build: "test".to_owned(), kinds: vec!["CrashLoopBackOff".to_owned()] }
}

fn entry(id: u64, revision: u32, state: State) -> Entry {
    let subject = Subject { namespace: "shop".into(), pod: "api-1".into(), node: NODE.into(), ..Subject::default() };
    let finding = Finding {
        id: FindingId(id),
        kind: Kind::named("CrashLoopBackOff").expect("a kind of the catalogue"),
        subject,
        owner: Owner { kind: "Deployment".into(), name: "api".into() },
        incarnation: Incarnation(1),
        state,
        since: START,
        seen: Seen::Happening,
        severity: rules::Severity::Critical,
        evidence: Evidence::default(),
    };
    Entry { revision, finding }
}

fn active(id: u64, revision: u32) -> Entry {
    entry(id, revision, State::Active)
}

fn settled(id: u64, revision: u32) -> Settled {
    Settled { id: FindingId(id), revision }
}

#[test]
fn reports_in_order_bring_what_is_new() {
    let mut agent = Agent::meets();
    agent.check_new(Body::Full(vec![active(1, 1), active(2, 1)]), &[1, 2]);
    agent.open.add(FindingId(3), 1);
    agent.check_new(Body::Delta(vec![active(3, 1)]), &[3]);
    assert_eq!(agent.answer().accepted, 2);
    assert_eq!(agent.answer().need_full, None);
}

#[test]
fn a_report_that_comes_twice_changes_nothing() {
    let mut agent = Agent::meets();
    agent.check_new(Body::Full(vec![active(1, 1)]), &[1]);
    let taken = agent.sends(1, Body::Full(vec![active(1, 1)])).expect("acknowledged");
    assert!(taken.new.is_empty() && taken.full.is_none());
    assert_eq!(agent.answer().accepted, 1);
}

#[test]
fn a_missing_number_asks_for_everything() {
    let mut agent = Agent::meets();
    agent.check_new(Body::Full(vec![]), &[]);
    let taken = agent.sends(3, Body::Delta(vec![active(1, 1)])).expect("acknowledged");
    assert!(taken.new.is_empty());
    assert_eq!((agent.answer().accepted, agent.answer().need_full), (1, Some(NeedFull::Gap)));
    agent.sends(4, Body::Full(vec![active(1, 1)])).expect("accepted whatever its number");
    assert_eq!((agent.answer().accepted, agent.answer().need_full), (4, None));
}

#[test]
fn a_heartbeat_before_the_first_full_report_asks_for_nothing() {
    let mut agent = Agent::meets();
    agent.open.add(FindingId(9), 1);
    agent.check_new(Body::Delta(vec![]), &[]);
    assert_eq!(agent.answer().need_full, None);
    assert!(!agent.sessions.is_synced(NODE));
}

#[test]
fn open_sets_that_differ_ask_for_everything() {
    let mut agent = Agent::meets();
    agent.check_new(Body::Full(vec![active(1, 1)]), &[1]);
    agent.open.add(FindingId(2), 1);
    agent.check_new(Body::Delta(vec![]), &[]);
    assert_eq!(agent.answer().need_full, Some(NeedFull::Digest));
}

#[test]
fn the_open_set_follows_revisions_and_ends() {
    let mut agent = Agent::meets();
    agent.check_new(Body::Full(vec![active(1, 1), active(2, 1)]), &[1, 2]);
    agent.open = [active(1, 2)].iter().collect();
    agent.check_new(Body::Delta(vec![active(1, 2), entry(2, 2, State::Cleared)]), &[1, 2]);
    assert_eq!(agent.answer().need_full, None);
}

#[test]
fn what_a_full_report_names_is_said() {
    let mut agent = Agent::meets();
    agent.check_new(Body::Full(vec![active(1, 1), active(2, 1), entry(3, 1, State::Cleared)]), &[1, 2, 3]);
    agent.seq += 1;
    let taken = agent.sends(agent.seq, Body::Full(vec![active(2, 1)])).expect("accepted");
    assert_eq!(taken.full, Some([FindingId(2)].into()));
}

#[test]
fn a_settled_batch_is_repeated_until_its_number_is_named() {
    let mut agent = Agent::meets();
    agent.check_new(Body::Full(vec![active(1, 1)]), &[1]);
    agent.sessions.on_settled(NODE, settled(1, 1));
    let first = agent.answer().settled.expect("a batch");
    assert_eq!((first.number, &first.settled[..]), (1, &[settled(1, 1)][..]));
    agent.sessions.on_settled(NODE, settled(1, 2));
    assert_eq!(agent.answer().settled, Some(first), "not acknowledged: the same again");
    agent.settled_seen = 1;
    agent.check_new(Body::Delta(vec![]), &[]);
    assert_eq!(agent.answer().settled.map(|batch| batch.number), Some(2));
}

#[test]
fn what_is_over_and_settled_is_forgotten_once_the_agent_knows() {
    let mut agent = Agent::meets();
    agent.check_new(Body::Full(vec![entry(1, 1, State::Cleared)]), &[1]);
    agent.sessions.on_settled(NODE, settled(1, 1));
    agent.answer();
    assert_eq!(agent.sessions.nodes[NODE].known.len(), 1);
    agent.settled_seen = 1;
    agent.check_new(Body::Delta(vec![]), &[]);
    assert_eq!(agent.sessions.nodes[NODE].known.len(), 0);
}

#[test]
fn what_was_settled_unheard_before_a_new_session_is_settled_again_and_not_taken_in_twice() {
    let mut agent = Agent::meets();
    agent.check_new(Body::Full(vec![entry(1, 1, State::Cleared)]), &[1]);
    agent.sessions.on_settled(NODE, settled(1, 1));
    agent.says_hello(2, &[]);
    agent.check_new(Body::Full(vec![entry(1, 1, State::Cleared)]), &[]);
    assert_eq!(agent.answer().settled.map(|batch| batch.settled), Some(vec![settled(1, 1)]));
}

#[test]
fn a_newer_session_retires_the_older() {
    let mut agent = Agent::meets();
    let older = agent.session;
    agent.says_hello(2, &[]);
    agent.session = older;
    assert_eq!(agent.reports(Body::Delta(vec![])).err(), Some(Reply::Retired));
    agent.session = SessionId(99);
    assert_eq!(agent.reports(Body::Delta(vec![])).err(), Some(Reply::UnknownSession));
}

#[test]
fn a_session_ends_when_its_token_must_be_shown_again() {
    let mut agent = Agent::meets();
    agent.now = START + Duration::from_hours(1) + Duration::from_secs(1);
    assert_eq!(agent.reports(Body::Delta(vec![])).err(), Some(Reply::UnknownSession));
}

#[test]
fn an_agent_without_a_common_version_learns_ours() {
    let mut agent = Agent::meets();
    let hello = Hello { versions: vec![999], ..hello() };
    let reply = agent.sessions.on_hello(&Arc::from(NODE), &hello, SessionId(5), [].into_iter(), START);
    assert_eq!(reply, SessionReply::NoCommonVersion(wire::VERSIONS.to_vec()));
}

#[test]
fn an_agent_is_given_the_open_findings_of_kinds_that_it_knows() {
    let mut agent = Agent::meets();
    let known = active(1, 1).finding;
    let unknown = Finding { kind: Kind::named("OOMKilled").expect("a kind"), ..active(2, 1).finding };
    let SessionReply::Welcome(welcome) = agent.says_hello(2, &[known.clone(), unknown]) else {
        panic!("it is let in");
    };
    let opening: Opening = wire::decode(&welcome.opening).expect("in the version agreed on");
    assert_eq!(opening.open, [known]);
}

#[test]
fn a_report_about_another_node_is_refused_whole() {
    let mut agent = Agent::meets();
    let mut elsewhere = active(2, 1);
    elsewhere.finding.subject.node = "n2".into();
    assert!(matches!(agent.reports(Body::Full(vec![active(1, 1), elsewhere])), Err(Reply::Malformed(_))));
}

/// A report whose one finding is changed like that is refused with these words.
#[track_caller]
fn check_refused(words: &str, change: impl FnOnce(&mut Finding)) {
    let mut agent = Agent::meets();
    let mut odd = active(2, 1);
    change(&mut odd.finding);
    let Err(Reply::Malformed(why)) = agent.reports(Body::Full(vec![active(1, 1), odd])) else {
        panic!("it is refused: {words}");
    };
    assert!(why.contains(words), "{why}");
}

#[test]
fn a_name_that_no_object_can_have_is_refused() {
    for name in ["a b", "a\nb", "é", "x;curl|sh", "$(id)", &"x".repeat(300)] {
        let fields: [fn(&mut Finding) -> &mut Arc<str>; 6] = [
            |it| &mut it.subject.namespace,
            |it| &mut it.subject.pod,
            |it| &mut it.subject.uid,
            |it| &mut it.subject.container,
            |it| &mut it.owner.kind,
            |it| &mut it.owner.name,
        ];
        for field in fields {
            check_refused("a name", |finding| *field(finding) = name.into());
        }
    }
    check_refused("a name", |finding| finding.subject.pod = Arc::default());
    check_refused("a name", |finding| finding.subject.namespace = Arc::default());
}

#[test]
fn what_only_the_aggregator_sees_and_what_is_another_nodes_is_refused() {
    for kind in ["NodeNotReady", "AgentSilent", "Unschedulable"] {
        check_refused(kind, |finding| finding.kind = Kind::named(kind).expect("a kind of the catalogue"));
    }
    check_refused("another node's", |it| it.owner = Owner { kind: "Node".into(), name: "n2".into() });
    let mut agent = Agent::meets();
    let mut own = active(1, 1);
    own.finding.owner = Owner { kind: "Node".into(), name: NODE.into() };
    agent.check_new(Body::Full(vec![own]), &[1]);
}

#[test]
fn a_text_that_is_longer_than_an_agent_makes_it_is_refused() {
    let long: Arc<str> = "x".repeat(Evidence::TEXT_MAX + 1).into();
    check_refused("1024 bytes", |finding| finding.evidence.reason = Some(Arc::clone(&long)));
    check_refused("1024 bytes", |finding| finding.evidence.message = Some(Arc::clone(&long)));
    check_refused("1024 bytes", |finding| finding.evidence.image = Some(Arc::clone(&long)));
    check_refused("1024 bytes", |finding| finding.evidence.memory_limit = Some(Arc::clone(&long)));
    check_refused("1024 bytes", |finding| finding.evidence.names = vec![Arc::clone(&long)]);
}

#[test]
fn an_agent_that_says_too_much_is_refused() {
    let mut agent = Agent::meets();
    let entries = (0..=FINDINGS_MAX as u64).map(|id| active(id, 1)).collect();
    assert!(matches!(agent.reports(Body::Full(entries)), Err(Reply::Malformed(_))));
}

#[test]
fn an_agent_that_said_too_much_finds_its_way_back_with_a_full_report() {
    let mut agent = Agent::meets();
    let many = |from: u64| (from..from + 3_000).map(|id| active(id, 1)).collect::<Vec<_>>();
    agent.reports(Body::Full(many(0))).expect("it fits");
    agent.reports(Body::Delta(many(3_000))).expect("it is not known yet that this is too much");
    assert!(matches!(agent.reports(Body::Delta(vec![])), Err(Reply::Malformed(_))));
    agent.says_hello(2, &[]);
    agent.reports(Body::Full(many(0))).expect("it is what there is");
    agent.reports(Body::Delta(vec![])).expect("and no more");
}

#[test]
fn what_an_agent_never_acknowledges_takes_no_more_room() {
    let mut agent = Agent::meets();
    for round in 0..5 {
        let entries = (0..3_000).map(|id| entry(round * 3_000 + id, 1, State::Cleared)).collect();
        agent.reports(Body::Full(entries)).expect("it is taken in");
        for id in 0..3_000 {
            agent.sessions.on_settled(NODE, settled(round * 3_000 + id, 1));
            agent.sessions.on_settled(NODE, settled(round * 3_000 + id, 1));
        }
        agent.answer();
    }
    let kept = |agent: &Agent| agent.sessions.nodes[NODE].settled.len();
    assert_eq!(kept(&agent), 3_000, "of the last report alone");
    agent.sessions.on_settled(NODE, settled(1, 1));
    assert_eq!(kept(&agent), 3_000, "that one is forgotten");
}

#[test]
fn how_often_to_be_heard_counts_from_the_next_session_on() {
    let mut agent = Agent::meets();
    let interval = |agent: &Agent| agent.sessions.heard().next().map(|(_, heard)| heard.interval.as_secs());
    let configuration = Configuration::new(Arc::new(Config::default()));
    for seconds in [10, 5] {
        agent.sessions.configure(configuration.clone(), Duration::from_secs(seconds), Duration::from_hours(1));
        assert_eq!(interval(&agent), Some(30), "it has not been told");
    }
    agent.says_hello(2, &[]);
    assert_eq!(interval(&agent), Some(5));
}

#[test]
fn other_rules_are_given_with_the_next_answer() {
    let mut agent = Agent::meets();
    agent.check_new(Body::Full(vec![]), &[]);
    let hash = agent.answer().config_hash;
    assert_eq!(agent.answer().configuration.map(|configuration| configuration.hash), Some(hash));
    let Reply::Answer(answer) = agent.sessions.reply(NODE, hash) else { panic!("an answer") };
    assert_eq!(answer.configuration, None, "the agent has it");
}

#[test]
fn an_agent_that_has_only_said_hello_has_seen_nothing() {
    let mut agent = Agent::meets();
    assert_eq!(agent.sessions.saw_until(NODE), None);
    agent.reports(Body::Delta(Vec::new())).expect("a heartbeat is accepted");
    assert_eq!(agent.sessions.saw_until(NODE), None, "a heartbeat before the first report of everything");
    agent.reports(Body::Full(Vec::new())).expect("the report is accepted");
    assert_eq!(agent.sessions.saw_until(NODE), Some(START));

    agent.now = START + Duration::from_mins(10);
    agent.says_hello(2, &[]);
    agent.now = START + Duration::from_mins(20);
    agent.says_hello(3, &[]);
    assert_eq!(agent.sessions.saw_until(NODE), Some(START), "what happened since was seen by nobody");
    assert_eq!(agent.sessions.last_heard(NODE), Some(agent.now));
}

#[test]
fn what_all_agents_have_seen_ends_where_the_slowest_of_them_stands() {
    let mut agent = Agent::meets();
    let minutes = |count| START + Duration::from_mins(count);
    assert_eq!(agent.sessions.all_saw_until(minutes(1)), None, "it has yet to report everything");
    assert_eq!(agent.sessions.all_saw_until(minutes(61)), Some(minutes(61)), "it has been silent for too long");
    agent.now = minutes(2);
    agent.reports(Body::Full(Vec::new())).expect("the report is accepted");
    assert_eq!(agent.sessions.all_saw_until(minutes(10)), Some(minutes(2)));
    agent.now = minutes(20);
    agent.sessions.on_hello(&Arc::from("n2"), &hello(), SessionId(2), [].iter(), agent.now);
    assert_eq!(agent.sessions.all_saw_until(minutes(20)), None);
    agent.sessions.on_node_gone(&Arc::from("n2"));
    assert_eq!(agent.sessions.all_saw_until(minutes(20)), Some(minutes(2)));
    assert_eq!(agent.sessions.all_saw_until(minutes(63)), Some(minutes(63)));
}
