//! Random stories in virtual time: whatever happens, in the end the books are closed and the outside knows the present.

#[path = "chaos/refusals.rs"]
mod refusals;
#[path = "chaos/sinks.rs"]
mod sinks;
#[path = "chaos/stories.rs"]
mod stories;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fastrand::Rng;
use rules::Severity;
use tocsin_aggregator::forward::outbox::Outcome;
use tocsin_tests::apiserver::{Container, PodRef, PodTemplate};
use tocsin_tests::pair::{Looks, Pair, Stop};

use self::stories::tell;

const NODES: &[&str] = &["n1", "n2", "n3"];
const APPS: &[&str] = &["a", "b", "c"];
/// Stories a test.
const SECONDS: &[u64] = &[1, 5, 40, 90, 200, 400, 900, 2000, 4000];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Ill {
    CrashLoop,
    Restart,
    Oom,
    NotReady,
    ImagePull,
    Well,
    Evicted,
    Deleted,
    Terminating,
    Finished,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Action {
    Pod(usize, Ill),
    NodeDies(usize),
    NodeRecovers(usize),
    NodeGone(usize),
    KillAgent(usize),
    StartAgent(usize),
    Disconnect(usize),
    Connect(usize),
    KillAggregator,
    StartAggregator,
    Stop(Stop),
    Outside(Option<Outcome>),
    Aside(Option<Outcome>),
    Rule(usize, bool),
    NodeBack(usize),
    Stranger(usize),
    Newcomer(usize),
    Looks(Looks),
    Sinks(u8),
    ReadsLate(bool),
    Moment(u64),
    Pass(u64),
    Severity(usize, Severity),
}

/// What may happen in a story beside what always may.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a thing that may happen or not, on its own")]
struct Mode {
    aggregator_dies: bool,
    /// What it told is kept for the next one.
    told_log: bool,
    /// It stands in for agents that are silent. (Then what is told is kept, too.)
    stands_in: bool,
    agents_die: bool,
    nodes_die: bool,
    refuses: bool,
    rules_change: bool,
    sinks_change: bool,
    reads_late: bool,
    severities: bool,
    /// How many pods are ill in the end.
    ill: usize,
}

const LOOKS: &[Looks] = &[Looks::AtOnce, Looks::Late(Duration::from_secs(55)), Looks::Fail];
const SEVERITIES: &[Severity] = &[Severity::Info, Severity::Warning, Severity::Critical];
const KINDS: &[&str] = &["CrashLoopBackOff", "OOMKilled", "NotReady", "ImagePull", "NodeNotReady", "AgentSilent"];

fn draw(rng: &mut Rng, mode: Mode, pods: usize) -> Action {
    loop {
        let node = rng.usize(..NODES.len());
        if mode.sinks_change && rng.u8(..6) == 0 {
            return Action::Sinks(rng.u8(..sinks::CHANGES));
        }
        if mode.severities && rng.u8(..6) == 0 {
            return Action::Severity(rng.usize(..KINDS.len()), *rng.choice(SEVERITIES).expect("there are some"));
        }
        if mode.reads_late && rng.u8(..6) == 0 {
            return Action::ReadsLate(rng.bool());
        }
        return match rng.u8(..if mode.stands_in { 26 } else { 24 }) {
            0..7 => {
                let ill = [
                    Ill::CrashLoop,
                    Ill::CrashLoop,
                    Ill::Restart,
                    Ill::Oom,
                    Ill::NotReady,
                    Ill::ImagePull,
                    Ill::Well,
                    Ill::Well,
                    Ill::Well,
                    Ill::Evicted,
                    Ill::Deleted,
                    Ill::Terminating,
                    Ill::Finished,
                ];
                Action::Pod(rng.usize(..pods), ill[rng.usize(..ill.len())])
            }
            7 if mode.nodes_die => Action::NodeDies(node),
            8 if mode.nodes_die => Action::NodeRecovers(node),
            9 if mode.nodes_die && rng.u8(..4) == 0 => Action::NodeGone(node),
            9 if mode.nodes_die && rng.bool() => Action::NodeBack(node),
            9 if mode.agents_die && rng.bool() => Action::Stranger(node),
            9 => Action::Newcomer(rng.usize(..3)),
            10 if mode.agents_die => Action::KillAgent(node),
            11 if mode.agents_die => Action::StartAgent(node),
            12 => Action::Disconnect(node),
            13 => Action::Connect(node),
            14 if mode.aggregator_dies => Action::KillAggregator,
            15 if mode.aggregator_dies => Action::StartAggregator,
            16 if mode.told_log && rng.bool() => {
                let stops = [Stop::BeforeJournal, Stop::BeforeFirstByte, Stop::BeforeConfirmation, Stop::WhileFolding];
                Action::Stop(stops[rng.usize(..stops.len())])
            }
            16..19 => Action::Outside(match rng.u8(..8) {
                0 => None,
                1 => Some(Outcome::Failed),
                2 => Some(Outcome::Unauthorized),
                3 => Some(Outcome::Throttled(Some(Duration::from_secs(20)))),
                4 if mode.refuses => Some(Outcome::Refused),
                _ => Some(Outcome::Delivered),
            }),
            19 if mode.rules_change => Action::Rule(rng.usize(..KINDS.len()), rng.bool()),
            20 if rng.bool() => Action::Aside(match rng.u8(..4) {
                0 => None,
                1 => Some(Outcome::Failed),
                2 if mode.refuses => Some(Outcome::Refused),
                _ => Some(Outcome::Delivered),
            }),
            20 => Action::Moment(rng.u64(1..400)),
            21..24 => Action::Pass(SECONDS[rng.usize(..SECONDS.len())]),
            24 => Action::Looks(LOOKS[rng.usize(..LOOKS.len())]),
            // Long enough for somebody to stand in.
            25 => Action::Pass(rng.u64(150..400)),
            _ => continue,
        };
    }
}

struct Story {
    pair: Pair,
    pods: Vec<(PodRef, bool)>,
    nodes: BTreeSet<usize>,
    lives: Vec<usize>,
}

impl Story {
    fn begin(mode: Mode) -> Self {
        let mut pair = match mode {
            Mode { stands_in: true, .. } => Pair::with_stand_ins(NODES),
            Mode { told_log: true, .. } => Pair::with_told_log(NODES),
            _ => Pair::with_nodes(NODES),
        };
        pair.world.set_graceful_deletion(true);
        let mut pods = Vec::new();
        for app in APPS {
            let template = PodTemplate::new(app, Container::new("app", "registry.example/api:1.8.2"));
            pods.extend(
                pair.world.deploy("payments", app, 3, &template, NODES).pods.into_iter().map(|pod| (pod, true)),
            );
        }
        pair.pass(Duration::from_mins(2));
        Self { pair, pods, nodes: (0..NODES.len()).collect(), lives: Vec::new() }
    }

    fn outside(&mut self, answer: Option<Outcome>) {
        // What waits for an answer was perhaps received, whatever comes after.
        if self.pair.outbound.answer.is_none() {
            self.pair.outbound.answer = Some(Outcome::Failed);
            self.pair.settle();
        }
        self.pair.outbound.answer = answer;
    }

    fn aside(&mut self, answer: Option<Outcome>) {
        if self.pair.aside.answer.is_none() {
            self.pair.aside.answer = Some(Outcome::Failed);
            self.pair.settle();
        }
        self.pair.aside.answer = answer;
    }

    fn newcomer(&mut self, index: usize) {
        let pair = &mut self.pair;
        let template = PodTemplate::new("d", Container::new("app", "registry.example/api:1.8.2"));
        let name = format!("d-{}", self.pods.len());
        let pod = pair.world.add_pod("payments", &name, &template, None);
        if index == 0 {
            pair.world.unschedulable(&pod);
            pair.pass(Duration::from_secs(700));
        }
        match self.nodes.iter().nth(index) {
            Some(&node) => {
                pair.world.schedule(&pod, NODES[node]);
                pair.world.run(&pod);
                self.pods.push((pod, true));
            }
            None => pair.world.delete_pod(&pod),
        }
    }

    fn act(&mut self, action: Action) {
        let pair = &mut self.pair;
        match action {
            Action::Pod(index, ill) => {
                let (pod, there) = &mut self.pods[index];
                *there = *there && pair.world.pod(&pod.namespace, &pod.name).is_some();
                if !*there {
                    return;
                }
                match ill {
                    Ill::CrashLoop => pair.world.crash_loop(pod, 4),
                    Ill::Restart => pair.world.restart(pod),
                    Ill::Oom => pair.world.oom_kill(pod),
                    Ill::NotReady => pair.world.not_ready(pod),
                    Ill::ImagePull => pair.world.image_pull_fails(pod),
                    Ill::Well => pair.world.run(pod),
                    Ill::Evicted => {
                        pair.world.evict(pod);
                        pair.pass(Duration::from_secs(30));
                        pair.world.delete_pod(pod);
                        *there = false;
                    }
                    Ill::Terminating => pair.world.terminate(pod),
                    Ill::Finished => {
                        pair.world.finish(pod, 1);
                        pair.pass(Duration::from_secs(100));
                        pair.world.delete_pod(pod);
                        *there = false;
                    }
                    Ill::Deleted => {
                        pair.world.delete_pod(pod);
                        *there = false;
                    }
                }
            }
            Action::NodeDies(node) if self.nodes.contains(&node) => pair.world.node_dies(NODES[node]),
            Action::NodeRecovers(node) if self.nodes.contains(&node) => pair.world.node_recovers(NODES[node]),
            Action::NodeGone(node) if self.nodes.contains(&node) => {
                pair.world.remove_node(NODES[node]);
                pair.kill_agent(NODES[node]);
                self.nodes.remove(&node);
            }
            Action::NodeDies(_) | Action::NodeRecovers(_) | Action::NodeGone(_) => {}
            Action::KillAgent(node) => pair.kill_agent(NODES[node]),
            Action::StartAgent(node) if self.nodes.contains(&node) && !pair.agents.contains_key(NODES[node]) => {
                pair.start_agent(NODES[node]);
            }
            Action::StartAgent(_) => {}
            Action::Disconnect(node) => pair.connect_agent(NODES[node], false),
            Action::Connect(node) => pair.connect_agent(NODES[node], true),
            Action::KillAggregator => {
                pair.kill_aggregator();
                self.lives.push(pair.outbound.sent.len());
            }
            Action::StartAggregator if pair.aggregator.is_none() => pair.start_aggregator(),
            Action::StartAggregator => {}
            Action::Stop(stop) => {
                if let Some(cabinet) = &mut pair.cabinet {
                    cabinet.stop = Some(stop);
                }
            }
            Action::Outside(answer) => self.outside(answer),
            Action::Aside(answer) => self.aside(answer),
            Action::Rule(kind, enabled) => pair.change_rules(|rules| {
                rules.kinds.get_mut(KINDS[kind]).expect("a kind").enabled = enabled;
            }),
            Action::Severity(kind, severity) => self.severity(kind, severity),
            Action::NodeBack(node) => {
                if self.nodes.insert(node) {
                    pair.world.add_node(NODES[node]);
                    pair.start_agent(NODES[node]);
                }
            }
            // A second agent of the node, while the first is there: one of the two has to end.
            Action::Stranger(node) if self.nodes.contains(&node) => pair.start_agent(NODES[node]),
            Action::Stranger(_) => {}
            Action::Newcomer(index) => self.newcomer(index),
            Action::Looks(looks) => pair.looks = looks,
            Action::Sinks(how) => self.sinks(how),
            Action::ReadsLate(late) => pair.reads_late = late,
            Action::Moment(millis) => {
                pair.pass(Duration::from_millis(millis));
            }
            Action::Pass(seconds) => {
                pair.pass(Duration::from_secs(seconds));
            }
        }
        self.pair.settle();
    }

    fn heal(&mut self, mode: Mode) -> Vec<PodRef> {
        self.outside(Some(Outcome::Delivered));
        self.aside(Some(Outcome::Delivered));
        if let Some(cabinet) = &mut self.pair.cabinet {
            cabinet.stop = None;
        }
        self.act(Action::StartAggregator);
        self.pair.looks = Looks::AtOnce;
        self.pair.reads_late = false;
        if mode.sinks_change {
            self.sinks(sinks::AS_AT_FIRST);
        }
        self.pair.change_rules(|rules| {
            for kind in KINDS {
                rules.kinds.get_mut(*kind).expect("a kind").enabled = true;
            }
        });
        for node in 0..NODES.len() {
            self.act(Action::NodeRecovers(node));
            self.act(Action::StartAgent(node));
            self.act(Action::Connect(node));
        }
        let mut ill = Vec::new();
        for index in 0..self.pods.len() {
            let pod = self.pair.world.pod(&self.pods[index].0.namespace, &self.pods[index].0.name);
            let is_going = pod.is_some_and(|pod| pod.meta.deletion_timestamp.is_some());
            self.act(Action::Pod(index, if is_going { Ill::Deleted } else { Ill::Well }));
            if self.pods[index].1 && ill.len() < mode.ill {
                self.act(Action::Pod(index, Ill::CrashLoop));
                ill.push(self.pods[index].0.clone());
            }
        }
        ill
    }

    fn end(&mut self, mode: Mode, story: &[Action]) {
        let ill = self.heal(mode);
        self.pair.pass(Duration::from_mins(135));
        let refuses = story.contains(&Action::Outside(Some(Outcome::Refused)));
        let forgets = story.contains(&Action::KillAggregator) && !mode.told_log;
        for &node in &self.nodes {
            assert_eq!(self.pair.count_agents(NODES[node]), 1, "agents of {}", NODES[node]);
        }
        if ill.is_empty() {
            if mode.sinks_change {
                self.nothing_is_kept_as_open();
            }
            self.pair.assert_nothing_is_left();
        }
        for outbox in self.pair.pipeline().outboxes().values() {
            assert!(outbox.is_empty(), "the outbox keeps {} issues", outbox.len());
            assert!(!ill.is_empty() || forgets || outbox.kept() == 0, "of {} issues something is kept", outbox.kept());
        }
        match mode.told_log {
            // What may have been received goes again, as it was.
            true => self.pair.assert_one_body_a_key(),
            false if !forgets => self.pair.assert_keys_are_stable(),
            false => {}
        }
        let sent = &self.pair.outbound.sent;
        let mut from = 0;
        for until in self.lives.iter().copied().chain([sent.len()]) {
            let mut bodies = BTreeMap::new();
            for told in &sent[from..until] {
                let body = bodies.entry(&told.key).or_insert(&told.body);
                assert_eq!(*body, &told.body, "two bodies under one key in one life");
            }
            from = until;
        }
        let mut last: BTreeMap<String, (String, String)> = BTreeMap::new();
        let mut keys = BTreeSet::new();
        for told in &self.pair.outbound.taken {
            // A receiver that honours the key takes the same one in once.
            if !keys.insert(&told.key) {
                continue;
            }
            let text = |field: &str| told.body[field].as_str().expect("a text").to_owned();
            let (issue, status) = (text("issue"), text("status"));
            let before = last.insert(issue, (status.clone(), told.sentence()));
            if !forgets {
                let is_again = before.is_some_and(|(before, _)| before == "firing" && status == "firing");
                assert!(!is_again || mode.severities || refuses, "told twice: {}", told.sentence());
            }
        }
        if !forgets {
            self.who_heard_of_it_was_sent_the_end(&ill);
            self.aside_knows_the_present(mode, story, &ill);
        }
        // What a sink refused it has not heard; what an aggregator told that died, the next one does not know of.
        if !refuses && !forgets {
            for (status, sentence) in last.values() {
                let is_ill = ill.iter().any(|pod| sentence.contains(&format!(" {} ", app_of(pod))));
                assert!(status == "resolved" || is_ill, "never resolved: {sentence}");
            }
            for pod in &ill {
                let told = |(status, sentence): &(String, String)| {
                    status == "firing" && sentence.contains(&format!(" {} ", app_of(pod)))
                };
                assert!(last.values().any(told), "nobody is told of {}", pod.name);
            }
        }
    }
}

fn app_of(pod: &PodRef) -> &str {
    if pod.name.starts_with("d-") { &pod.name } else { pod.name.split('-').next().unwrap_or_default() }
}

const CALM: Mode = Mode {
    aggregator_dies: false,
    told_log: false,
    stands_in: false,
    agents_die: false,
    nodes_die: false,
    refuses: false,
    rules_change: false,
    sinks_change: false,
    reads_late: false,
    severities: false,
    ill: 0,
};

#[test]
fn whatever_agents_and_nodes_do_the_outside_ends_with_the_present() {
    tell(Mode { agents_die: true, nodes_die: true, ..CALM }, 0);
}

#[test]
fn whatever_an_aggregator_that_dies_forgets_its_agents_tell_again() {
    tell(Mode { aggregator_dies: true, ..CALM }, 1000);
}

#[test]
fn whatever_an_aggregator_that_dies_has_told_its_successor_goes_on_with() {
    let mode = Mode { aggregator_dies: true, told_log: true, rules_change: true, ..CALM };
    tell(mode, 4000);
    tell(Mode { agents_die: true, nodes_die: true, ..mode }, 5000);
    tell(Mode { agents_die: true, nodes_die: true, ill: 3, ..mode }, 6000);
}

#[test]
fn whoever_stands_in_for_silent_agents_tells_one_story_with_them() {
    let mode = Mode { told_log: true, stands_in: true, agents_die: true, nodes_die: true, ..CALM };
    tell(mode, 7000);
    tell(Mode { aggregator_dies: true, ..mode }, 8000);
    tell(Mode { aggregator_dies: true, rules_change: true, ill: 3, ..mode }, 9000);
}

#[test]
fn what_is_ill_in_the_end_is_told() {
    tell(Mode { agents_die: true, nodes_die: true, rules_change: true, ill: 3, ..CALM }, 3000);
}
