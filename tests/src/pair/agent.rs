//! One node's agent in virtual time: the engine and the reporter, and what its shell would do between them.

use std::sync::Arc;

use rules::{Config, Engine, Observer, Time};
use tocsin_aggregator::pipeline::Pipeline;
use tocsin_node_agent::report::{Effect, Next, Reporter};
use wire::SessionId;

use super::world::{Change, World};

/// One life of a node's agent.
pub struct Agent {
    node: Arc<str>,
    /// Its detection.
    pub engine: Engine,
    /// Its end of the report contract.
    pub reporter: Reporter,
    /// Whether it can reach the aggregator.
    pub connected: bool,
    wakes: Option<Time>,
    ended: bool,
}

impl Agent {
    /// An agent that has seen nothing yet.
    pub fn new(node: &str, seed: u64) -> Self {
        let node: Arc<str> = Arc::from(node);
        let engine = Engine::new(Observer::NodeAgent { node: Arc::clone(&node) }, Arc::new(Config::default()));
        let reporter = Reporter::new("test", seed);
        Self { node, engine, reporter, connected: true, wakes: None, ended: false }
    }

    /// A complete LIST of its node's pods.
    pub fn list(&mut self, world: &World, now: Time) {
        self.engine.on_relist(&world.pods_on(&self.node), now);
        self.reporter.on_synced();
    }

    /// One event of its watch.
    pub(super) fn watch(&mut self, change: &Change, now: Time) {
        match change {
            Change::Pod(pod) if pod.spec.node_name == self.node => self.engine.on_pod(pod, now),
            Change::PodGone(pod) if pod.spec.node_name == self.node => self.engine.on_pod_deleted(pod, now),
            Change::Pod(_) | Change::PodGone(_) | Change::Node(_) | Change::NodeGone(_) => {}
        }
    }

    /// Whether a newer session has taken its place.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// When it has something to do.
    pub(super) fn next_deadline(&self) -> Option<Time> {
        [self.wakes, self.engine.next_deadline()].into_iter().flatten().min()
    }

    /// Does all that there is to do at `now`; whether that was anything.
    pub(super) fn run(
        &mut self,
        pipeline: Option<&mut Pipeline>,
        session: SessionId,
        world: &World,
        now: Time,
    ) -> bool {
        self.engine.on_tick(now);
        for finding in self.engine.changes() {
            self.reporter.on_change(finding, now);
        }
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
                    if self.engine.configure(config, now) {
                        self.list(world, now);
                    }
                }
                Effect::Adopt(open) => {
                    if self.engine.adopt(open, now) {
                        self.list(world, now);
                    }
                }
                Effect::Notice(_) => {}
            }
        }
        true
    }
}
