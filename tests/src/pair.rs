//! Agents and the aggregator's core in one struct, without sockets and in virtual time: hours pass in milliseconds.
//!
//! ```text
//! World (pods, nodes) ─▶ Engine ─▶ Reporter ─▶ Pipeline ─▶ Told
//!                        one agent a node       ▲  outboxes answered by Outbound
//!                        the aggregator's own ──┘
//! ```
//!
//! [`Pair::settle`] runs everything to quiescence at the present moment, [`Pair::pass`] lets time pass from deadline to
//! deadline. After every step the accounting identity is checked.

mod agent;
mod aggregator;
mod cabinet;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rules::{Config, Time};
use serde_json::Value;
use tocsin_aggregator::dedupe::{Check, Checked};
use tocsin_aggregator::forward::outbox::{Outcome, Record};
use tocsin_aggregator::pipeline::Pipeline;
use tocsin_aggregator::settings::{Cluster, Settings, SinkSettings};
use wire::SessionId;

pub use self::agent::Agent;
pub use self::aggregator::Aggregator;
pub use self::cabinet::{Cabinet, Stop};
pub use self::world::World;
use crate::record::{Expected, follow_each_other, sentence_of};

/// When every story begins: 2026-05-01T00:00:00Z.
pub const START: Time = Time::from_millis(1_777_593_600_000);

/// The whole system in virtual time.
pub struct Pair {
    /// The cluster as its API server has it.
    pub world: World,
    /// One agent a node, while it lives.
    pub agents: BTreeMap<Arc<str>, Agent>,
    /// Those in whose place another has started, while they live.
    elders: Vec<(Arc<str>, Agent)>,
    /// The aggregator, while it lives.
    pub aggregator: Option<Aggregator>,
    /// The outside, as the aggregator's one required sink sees it.
    pub outbound: Outbound,
    /// The outside, as a sink sees it that is not required; only a few records a minute are for it.
    pub aside: Outbound,
    /// The objects that the told-log is kept in; `None` where an aggregator has its memory only.
    pub cabinet: Option<Cabinet>,
    /// How it goes when who stands in for an agent lists the pods of its node.
    pub looks: Looks,
    /// Whether pods are read late.
    pub reads_late: bool,
    /// The pods that have yet to be read.
    unread: Vec<Check>,
    settings: Settings,
    watch: aggregator::Watch,
    now: Time,
    lives: u64,
}

/// How a LIST of a node's pods goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Looks {
    /// It is there at once.
    #[default]
    AtOnce,
    /// What was there then arrives after that time.
    Late(Duration),
    /// It fails.
    Fail,
}

/// What stands outside: how it answers, and what it was told.
#[derive(Debug)]
pub struct Outbound {
    /// How it answers; `None`: not at all, for now.
    pub answer: Option<Outcome>,
    /// Every record that it was sent, in order, whatever it answered.
    pub sent: Vec<Told>,
    /// The records that it took.
    pub taken: Vec<Told>,
}

/// One notification as it arrived.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// When.
    pub at: Time,
    /// Its idempotency key.
    pub key: String,
    /// The record.
    pub body: Value,
}

/// The required sink of every story.
pub const SINK: &str = "outside";
/// The one that is not.
pub const ASIDE: &str = "aside";

impl Pair {
    /// A cluster with these nodes, each with a ready agent, everything in session and nothing wrong.
    pub fn with_nodes(nodes: &[&str]) -> Self {
        let mut pair = Self::before_installation(nodes);
        pair.install(nodes);
        pair
    }

    /// The same, where what is told is kept for a successor.
    pub fn with_told_log(nodes: &[&str]) -> Self {
        let mut pair = Self::before_installation(nodes);
        pair.cabinet = Some(Cabinet::default());
        pair.install(nodes);
        pair
    }

    /// The same cluster without agents: the aggregator watches all pods. What is told is kept for a successor.
    pub fn without_agents(nodes: &[&str]) -> Self {
        let mut pair = Self::before_installation(nodes);
        pair.cabinet = Some(Cabinet::default());
        pair.watch.is_alone = true;
        pair.install(&[]);
        pair
    }

    /// As [`Self::with_told_log`], where the aggregator stands in for agents that are not heard.
    pub fn with_stand_ins(nodes: &[&str]) -> Self {
        let mut pair = Self::before_installation(nodes);
        pair.cabinet = Some(Cabinet::default());
        pair.watch.stands_in = true;
        pair.install(nodes);
        pair
    }

    /// Agents are turned off while no aggregator lives: the next one watches all pods.
    pub fn turn_agents_off(&mut self) {
        assert!(self.aggregator.is_none(), "a living aggregator is not told of it");
        self.watch.is_alone = true;
        self.agents.clear();
    }

    /// Agents are turned on while the aggregator lives; none of them has started yet.
    pub fn turn_agents_on(&mut self) {
        self.watch.is_alone = false;
        let now = self.now;
        if let Some(aggregator) = &mut self.aggregator {
            aggregator.turn_agents_on(&self.settings, &self.world, now);
        }
        self.settle();
    }

    /// The same cluster before anything of ours runs in it.
    pub fn before_installation(nodes: &[&str]) -> Self {
        let sink = SinkSettings { rate_per_minute: None, ..SinkSettings::default() };
        let aside = SinkSettings { rate_per_minute: Some(3), required: false, ..SinkSettings::default() };
        let settings = Settings {
            cluster: Cluster { name: "prod-eu-1".to_owned(), id: "cluster-uid".to_owned(), ..Cluster::default() },
            sinks: BTreeMap::from([(Arc::from(SINK), sink), (Arc::from(ASIDE), aside)]),
            ..Settings::default()
        };
        let world = World::new(START);
        for node in nodes {
            world.add_node(node);
        }
        Self {
            world,
            agents: BTreeMap::new(),
            elders: Vec::new(),
            aggregator: None,
            outbound: Outbound::default(),
            aside: Outbound::default(),
            cabinet: None,
            looks: Looks::AtOnce,
            reads_late: false,
            unread: Vec::new(),
            settings,
            watch: aggregator::Watch::default(),
            now: START,
            lives: 0,
        }
    }

    /// The present moment.
    pub fn now(&self) -> Time {
        self.now
    }

    fn install(&mut self, nodes: &[&str]) {
        self.start_aggregator();
        for node in nodes {
            self.start_agent(node);
        }
        self.settle();
        self.pass(Duration::from_mins(1));
    }

    /// Starts an aggregator that knows nothing but what the cabinet has.
    pub fn start_aggregator(&mut self) {
        self.lives += 1;
        self.show_changes();
        let (settings, cabinet) = (&self.settings, self.cabinet.as_ref());
        self.aggregator = Some(Aggregator::start(settings, self.watch, cabinet, &self.world, self.lives, self.now));
    }

    /// Kills the aggregator: its memory is gone.
    pub fn kill_aggregator(&mut self) {
        self.unread.clear();
        self.aggregator = None;
    }

    /// Starts the agent of a node; it lists its pods at once. One that is there already lives on until it is told to end.
    pub fn start_agent(&mut self, node: &str) {
        self.lives += 1;
        self.show_changes();
        let mut agent = Agent::new(node, self.lives);
        agent.list(&self.world, self.now);
        let node: Arc<str> = Arc::from(node);
        let elder = self.agents.insert(Arc::clone(&node), agent);
        self.elders.extend(elder.map(|elder| (node, elder)));
    }

    /// Kills all agents of a node: their memory is gone.
    pub fn kill_agent(&mut self, node: &str) {
        self.agents.remove(node);
        self.elders.retain(|(of, _)| **of != *node);
    }

    /// Lets the agents of a node reach the aggregator, or not.
    pub fn connect_agent(&mut self, node: &str, connected: bool) {
        for agent in self.agents_of(node) {
            agent.connected = connected;
        }
    }

    /// How many agents a node has.
    pub fn count_agents(&mut self, node: &str) -> usize {
        self.agents_of(node).count()
    }

    /// Changes the cluster, and lets everybody see it.
    pub fn change(&mut self, change: impl FnOnce(&mut World)) -> &mut Self {
        change(&mut self.world);
        self.settle();
        self
    }

    /// Lets `span` pass, from deadline to deadline.
    pub fn pass(&mut self, span: Duration) -> &mut Self {
        let end = self.now + span;
        loop {
            self.settle();
            let next = self.next_deadline().map_or(end, |next| next.max(self.now + Duration::from_millis(1)));
            if next >= end {
                self.now = end;
                self.settle();
                return self;
            }
            self.now = next;
        }
    }

    /// Runs everything to quiescence at the present moment.
    pub fn settle(&mut self) {
        self.world.set_now(self.now);
        loop {
            let mut busy = self.show_changes();
            busy |= self.run_agents();
            busy |= self.run_aggregator();
            if !busy {
                break;
            }
        }
        if let Some(aggregator) = &self.aggregator {
            let dedupe = aggregator.pipeline.dedupe();
            assert!(dedupe.balances(), "the books do not balance: {:?}", dedupe.accounts());
        }
    }

    /// What the outside took, as "Kind owner status".
    pub fn told(&self) -> Vec<String> {
        self.outbound.taken.iter().map(Told::sentence).collect()
    }

    /// Asserts what the outside took, and that it makes sense as a story.
    #[track_caller]
    pub fn assert_told(&self, expected: &[&str]) {
        assert_eq!(self.told(), expected);
        let records = self.outbound.taken.iter().map(|told| (told.at, &told.body));
        assert_eq!(follow_each_other(records, Duration::ZERO), Ok(()));
    }

    /// Asserts what the outside took, to the letter.
    #[track_caller]
    pub fn assert_records(&self, expected: &[Expected]) {
        let taken = &self.outbound.taken;
        assert_eq!(
            taken.iter().map(|told| sentence_of(&told.body)).collect::<Vec<_>>(),
            expected.iter().map(Expected::sentence).collect::<Vec<_>>()
        );
        for (told, expected) in taken.iter().zip(expected) {
            let differences = expected.differences(&told.body);
            assert!(differences.is_empty(), "{} is told otherwise:\n{}", expected.sentence(), differences.join("\n"));
        }
    }

    /// Asserts that no two different records came under one key, and none twice that was taken before.
    #[track_caller]
    pub fn assert_keys_are_stable(&self) {
        self.assert_one_body_a_key();
        let keys: BTreeSet<_> = self.outbound.taken.iter().map(|told| &told.key).collect();
        assert_eq!(keys.len(), self.outbound.taken.len(), "a record was sent again after it was taken");
    }

    /// Asserts that no two different records came under one key.
    #[track_caller]
    pub fn assert_one_body_a_key(&self) {
        for outbound in [&self.outbound, &self.aside] {
            let mut bodies: BTreeMap<&str, &Value> = BTreeMap::new();
            for told in &outbound.sent {
                let body = bodies.entry(&told.key).or_insert(&told.body);
                assert_eq!(*body, &told.body, "two bodies under the key {}", told.key);
            }
        }
    }

    /// Asserts that everything is settled and forgotten: in the aggregator, and in every agent.
    #[track_caller]
    pub fn assert_nothing_is_left(&self) {
        assert_eq!(self.pipeline().dedupe().issues().count(), 0, "issues are left");
        assert_eq!(self.pipeline().dedupe().accounts().pending(), 0, "findings are undecided");
        for (node, agent) in &self.agents {
            let counts = agent.reporter.counts();
            assert_eq!(counts.active + counts.pending + counts.cleared, 0, "{node} keeps findings: {counts:?}");
        }
    }

    /// Somebody puts another token where the sink's token is read from.
    pub fn replace_token(&mut self) {
        let now = self.now;
        if let Some(aggregator) = &mut self.aggregator {
            aggregator.pipeline.on_credentials_changed(SINK, now);
        }
    }

    /// Somebody changes the rules in the aggregator's configuration.
    pub fn change_rules(&mut self, change: impl FnOnce(&mut Config)) {
        let mut rules = (*self.settings.rules).clone();
        change(&mut rules);
        self.settings.rules = Arc::new(rules);
        self.reload();
    }

    /// Somebody changes the sinks in the aggregator's configuration.
    pub fn change_sinks(&mut self, change: impl FnOnce(&mut BTreeMap<Arc<str>, SinkSettings>)) {
        change(&mut self.settings.sinks);
        self.reload();
    }

    /// Which sinks there are.
    pub fn sinks(&self) -> &BTreeMap<Arc<str>, SinkSettings> {
        &self.settings.sinks
    }

    fn reload(&mut self) {
        let (settings, now) = (self.settings.clone(), self.now);
        if let Some(aggregator) = &mut self.aggregator {
            aggregator.configure(settings, now);
        }
    }

    /// The pipeline of the living aggregator.
    pub fn pipeline(&self) -> &Pipeline {
        &self.aggregator.as_ref().expect("the aggregator lives in this part of the story").pipeline
    }

    fn agents_of(&mut self, node: &str) -> impl Iterator<Item = &mut Agent> {
        let elders = self.elders.iter_mut().filter(move |(of, _)| **of == *node).map(|(_, elder)| elder);
        elders.chain(self.agents.get_mut(node))
    }

    fn next_deadline(&self) -> Option<Time> {
        let elders = self.elders.iter().map(|(_, elder)| elder);
        let agents = self.agents.values().chain(elders).filter_map(Agent::next_deadline);
        let aggregator = self.aggregator.iter().flat_map(Aggregator::deadlines);
        // The aggregator looks at its agents' heartbeats every few seconds, as its process does.
        let fleet = self.aggregator.is_some().then(|| self.now + Duration::from_secs(5));
        agents.chain(aggregator).chain(fleet).min()
    }

    /// Shows what has changed in the cluster to those who watch it.
    fn show_changes(&mut self) -> bool {
        let changes = self.world.take_changes();
        let busy = !changes.is_empty();
        for change in changes {
            for agent in self.agents.values_mut().chain(self.elders.iter_mut().map(|(_, elder)| elder)) {
                agent.watch(&change, &self.world, self.now);
            }
            if let Some(aggregator) = &mut self.aggregator {
                aggregator.watch(&change, self.now);
            }
        }
        busy
    }

    fn run_agents(&mut self) -> bool {
        let mut busy = false;
        let elders = self.elders.iter_mut().map(|(_, elder)| elder);
        for agent in elders.chain(self.agents.values_mut()) {
            let pipeline = self.aggregator.as_mut().map(|aggregator| &mut aggregator.pipeline);
            self.lives += 1;
            busy |= agent.run(pipeline, SessionId(u128::from(self.lives)), &self.world, self.now);
        }
        self.elders.retain(|(_, elder)| !elder.has_ended());
        self.agents.retain(|_, agent| !agent.has_ended());
        // It is the younger that has ended, when the elder had to say hello again.
        while let Some(at) = self.elders.iter().rposition(|(node, _)| !self.agents.contains_key(node)) {
            let (node, elder) = self.elders.remove(at);
            self.agents.insert(node, elder);
        }
        busy
    }

    fn run_aggregator(&mut self) -> bool {
        let Some(aggregator) = &mut self.aggregator else { return false };
        let mut busy = aggregator.detect(&self.world, self.looks, self.now);
        self.unread.extend(aggregator.pipeline.take_checks());
        let read = if self.reads_late { Vec::new() } else { std::mem::take(&mut self.unread) };
        for check in read {
            let pod = self.world.pod(&check.namespace, &check.pod);
            let is_other = pod.is_some_and(|pod| {
                pod.spec.node_name != check.node || (!check.uid.is_empty() && pod.meta.uid != check.uid)
            });
            let checked = if is_other { Checked::Mismatch } else { Checked::NoDoubt };
            aggregator.pipeline.on_checked(&check, checked, self.now);
            busy = true;
        }
        aggregator.pipeline.take_changes();
        for (sink, outbound) in [(SINK, &mut self.outbound), (ASIDE, &mut self.aside)] {
            busy |= aggregator.send(&Arc::from(sink), outbound, &mut self.cabinet, self.now);
        }
        if let Some(cabinet) = &mut self.cabinet {
            cabinet.keep(&mut aggregator.pipeline, self.now);
            if cabinet.has_stopped() {
                self.kill_aggregator();
            }
        }
        busy
    }
}

impl Default for Outbound {
    fn default() -> Self {
        Self { answer: Some(Outcome::Delivered), sent: Vec::new(), taken: Vec::new() }
    }
}

impl Outbound {
    fn receive(&mut self, records: &[Record], now: Time) {
        let told = records.iter().map(|record| Told {
            at: now,
            key: record.key.to_string(),
            body: serde_json::from_str(&record.body).expect("a record is JSON"),
        });
        let told: Vec<_> = told.collect();
        if self.answer == Some(Outcome::Delivered) {
            self.taken.extend(told.clone());
        }
        self.sent.extend(told);
    }
}

impl Told {
    /// "Kind owner status".
    pub fn sentence(&self) -> String {
        let text = |pointer: &str| self.body.pointer(pointer).and_then(Value::as_str).unwrap_or("?");
        format!("{} {} {}", text("/kind"), text("/owner/name"), text("/status"))
    }
}
