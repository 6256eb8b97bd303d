//! One node's agent in virtual time: the engine and the reporter, and what its shell would do between them.

use std::sync::Arc;

use process::watch::Event;
use rules::{Config, Engine, Observer, Pod, Time};
use tocsin_aggregator::pipeline::Pipeline;
use tocsin_node_agent::observe::{Sight, Then, Waiting};
use tocsin_node_agent::report::{Effect, Next, Reporter};
use wire::SessionId;

use super::world::{Change, World};

/// One life of a node's agent.
pub struct Agent {
    node: Arc<str>,
    waiting: Waiting,
    sight: Sight,
    /// Its detection.
    pub engine: Engine,
    /// Its end of the report contract.
    pub reporter: Reporter,
    /// Whether it can reach the aggregator.
    pub(super) connected: bool,
    wakes: Option<Time>,
    ended: bool,
}

impl Agent {
    /// An agent that has seen nothing yet.
    pub fn new(node: &str, seed: u64) -> Self {
        let node: Arc<str> = Arc::from(node);
        let engine = Engine::new(Observer::NodeAgent { node: Arc::clone(&node) }, Arc::new(Config::default()));
        let reporter = Reporter::new("test", seed);
        let (waiting, sight) = (Waiting::default(), Sight::default());
        Self { node, waiting, sight, engine, reporter, connected: true, wakes: None, ended: false }
    }

    /// A complete LIST of its node's pods, and a watch from there on.
    pub fn list(&mut self, world: &World, now: Time) {
        for event in [self.listed(world), Event::Live] {
            if let Some(event) = self.waiting.pass(event, now) {
                self.show(event, world, now);
            }
        }
    }

    /// One event of its watch.
    pub(super) fn watch(&mut self, change: &Change, world: &World, now: Time) {
        let event = match change {
            Change::Pod(pod) if pod.spec.node_name == self.node => Event::Applied((**pod).clone()),
            Change::PodGone(pod) if pod.spec.node_name == self.node => Event::Deleted((**pod).clone()),
            Change::Pod(_) | Change::PodGone(_) | Change::Node(_) | Change::NodeGone(_) => return,
        };
        if let Some(event) = self.waiting.pass(event, now) {
            self.show(event, world, now);
        }
    }

    fn listed(&self, world: &World) -> Event<Pod> {
        Event::Listed { objects: world.pods_on(&self.node), skipped: Vec::new(), first: false, restored: false }
    }

    fn show(&mut self, event: Event<Pod>, world: &World, now: Time) {
        match self.sight.observe(event, &mut self.engine, now) {
            Then::Nothing => {}
            Then::Synced => {
                self.pass_on_changes(now);
                self.reporter.on_synced();
            }
            Then::ListAgain => self.show(self.listed(world), world, now),
        }
    }

    fn pass_on_changes(&mut self, now: Time) {
        for finding in self.engine.changes() {
            self.reporter.on_change(finding, now);
        }
    }

    /// Whether a newer session has taken its place.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// When it has something to do.
    pub(super) fn next_deadline(&self) -> Option<Time> {
        [self.wakes, self.sight.next_deadline(&self.engine)].into_iter().flatten().min()
    }

    /// Does all that there is to do at `now`; whether that was anything.
    pub(super) fn run(
        &mut self,
        pipeline: Option<&mut Pipeline>,
        session: SessionId,
        world: &World,
        now: Time,
    ) -> bool {
        if self.sight.next_deadline(&self.engine).is_some_and(|at| at <= now) {
            self.engine.on_tick(now);
        }
        self.pass_on_changes(now);
        let effects = match self.reporter.next(now) {
            Next::WaitUntil(at) => {
                self.wakes = at;
                return false;
            }
            Next::End(_) => {
                self.ended = true;
                return false;
            }
            Next::Hello(hello) => match pipeline.filter(|_| self.connected) {
                Some(pipeline) => {
                    let reply = pipeline.on_hello(&self.node, &hello, session, now);
                    self.reporter.on_session_reply(reply, now)
                }
                None => {
                    self.reporter.on_failure(now);
                    Vec::new()
                }
            },
            Next::Report(report) => match pipeline.filter(|_| self.connected) {
                Some(pipeline) => {
                    let reply = pipeline.on_report((*report).clone(), now);
                    self.reporter.on_reply(reply, now)
                }
                None => {
                    self.reporter.on_failure(now);
                    Vec::new()
                }
            },
        };
        for effect in effects {
            match effect {
                Effect::Configure(config) => {
                    if self.engine.configure(config) {
                        self.list(world, now);
                    }
                }
                Effect::Adopt(open) => {
                    if self.engine.adopt(open, now) {
                        self.list(world, now);
                    }
                    for (at, event) in self.waiting.on_rules() {
                        self.show(event, world, at);
                        self.pass_on_changes(now);
                    }
                }
                Effect::Notice(_) => {}
            }
        }
        true
    }
}
