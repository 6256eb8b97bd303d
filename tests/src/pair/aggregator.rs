//! One life of the aggregator in virtual time: the pipeline, its own detection, and what its shell would do between them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use process::watch::{Failure, Listing};
use rules::{AgentSight, Engine, Observer, Pod, Realm, Time};
use tocsin_aggregator::forward::outbox::Next;
use tocsin_aggregator::observe::fleet::Fleet;
use tocsin_aggregator::observe::stand_in::{Look, StandIns};
use tocsin_aggregator::pipeline::Pipeline;
use tocsin_aggregator::settings::Settings;
use wire::Epoch;

use super::world::{Change, World};
use super::{Cabinet, Looks, Outbound, START};

/// What an aggregator watches beside what it always does.
#[derive(Clone, Copy, Default)]
pub(super) struct Watch {
    /// There are no agents, and it watches all pods.
    pub(super) is_alone: bool,
    /// It stands in for agents that are not heard.
    pub(super) stands_in: bool,
}

/// Who is silent is looked at so often, as by its process.
const SWEEP_EVERY: Duration = Duration::from_secs(30);

/// One life of the aggregator: the pipeline and its own detection.
pub struct Aggregator {
    /// The stages.
    pub pipeline: Pipeline,
    is_alone: bool,
    engine: Engine,
    /// Who looks at nodes whose agent is not heard; `None` where nobody does.
    stand_ins: Option<StandIns>,
    /// What was listed for it, and when that arrives.
    under_way: Vec<(Time, Look, Result<Listing<Pod>, Failure>)>,
    /// When it looks again at who is silent.
    sweeps: Time,
    senders: BTreeMap<Arc<str>, Time>,
    in_flight: BTreeSet<Arc<str>>,
}

impl Aggregator {
    /// One that knows nothing but what the cabinet has, and has listed what it watches.
    pub(super) fn start(
        settings: &Settings,
        watch: Watch,
        cabinet: Option<&Cabinet>,
        world: &World,
        life: u64,
        now: Time,
    ) -> Self {
        let is_alone = watch.is_alone;
        let observer = if is_alone { Observer::Alone } else { Observer::Aggregator };
        let mut engine = Engine::new(observer, Arc::clone(&settings.rules));
        let mut pipeline = Pipeline::new(settings.clone(), Epoch(life), life, now);
        if let Some(cabinet) = cabinet {
            pipeline.recall(cabinet.read(&settings.cluster.id), now);
            engine.adopt(pipeline.dedupe().own_findings(), now);
            let adopted = engine.findings().map(|finding| finding.id).collect();
            pipeline.on_own_adopted(&adopted, now);
        }
        let nodes: Vec<_> = world.nodes().map(|node| (**node).clone()).collect();
        engine.on_node_relist(&nodes, now);
        // What a predecessor told of agents may be of a node that went before we looked.
        let agents = engine.findings().filter(|finding| Realm::of(finding.kind) == Realm::Agents);
        let left: Vec<_> = agents.map(|finding| Arc::clone(&finding.subject.node)).collect();
        for node in left.into_iter().filter(|name| nodes.iter().all(|node| node.meta.name != *name)) {
            engine.on_agent_gone(&node, now);
        }
        let pods = if is_alone { world.all_pods() } else { world.unscheduled_pods() };
        engine.on_relist(&pods, now);
        pipeline.on_own_findings(engine.changes(), now);
        match is_alone {
            true => pipeline.on_no_agents(now),
            false => pipeline.on_nodes_known(&nodes.into_iter().map(|node| node.meta.name).collect(), now),
        }
        let stand_ins = watch.stands_in.then(|| StandIns::new(Arc::clone(&settings.rules), life));
        let (senders, in_flight) = (BTreeMap::new(), BTreeSet::new());
        Self { pipeline, is_alone, engine, stand_ins, under_way: Vec::new(), sweeps: now, senders, in_flight }
    }

    /// Goes by other settings from now on.
    pub(super) fn configure(&mut self, settings: Settings, now: Time) {
        self.engine.configure(Arc::clone(&settings.rules));
        let numbers = |pipeline: &Pipeline| -> BTreeMap<Arc<str>, u64> {
            pipeline.outboxes().iter().map(|(name, outbox)| (Arc::clone(name), outbox.number())).collect()
        };
        let before = numbers(&self.pipeline);
        self.pipeline.configure(settings, now);
        let after = numbers(&self.pipeline);
        // What was under way to a sink that is gone, nobody answers for.
        self.in_flight.retain(|sink| before.get(sink) == after.get(sink));
    }

    /// As `Observe::configure` does.
    pub(super) fn turn_agents_on(&mut self, settings: &Settings, world: &World, now: Time) {
        self.is_alone = false;
        self.pipeline.on_other_observers(now);
        self.engine = Engine::new(Observer::Aggregator, Arc::clone(&settings.rules));
        self.engine.adopt(self.pipeline.dedupe().own_findings(), now);
        let adopted = self.engine.findings().map(|finding| finding.id).collect();
        self.pipeline.on_own_adopted(&adopted, now);
        let nodes: Vec<_> = world.nodes().map(|node| (**node).clone()).collect();
        self.engine.on_node_relist(&nodes, now);
        self.engine.on_relist(&world.unscheduled_pods(), now);
        self.pipeline.on_own_findings(self.engine.changes(), now);
        self.pipeline.on_nodes_known(&nodes.into_iter().map(|node| node.meta.name).collect(), now);
    }

    /// When it has something to do.
    pub(super) fn deadlines(&self) -> impl Iterator<Item = Time> {
        let looks = self.stand_ins.as_ref().and_then(StandIns::next_deadline);
        let own = [self.pipeline.next_deadline(), self.engine.next_deadline(), looks];
        let arrivals = self.under_way.iter().map(|(at, ..)| *at);
        self.senders.values().copied().chain(arrivals).chain(own.into_iter().flatten())
    }

    pub(super) fn watch(&mut self, change: &Change, now: Time) {
        match change {
            Change::Node(node) => self.engine.on_node(node, now),
            Change::NodeGone(node) => {
                self.engine.on_node_deleted(node, now);
                self.engine.on_agent_gone(&node.meta.name, now);
                self.pipeline.on_node_gone(&node.meta.name, now);
                if let Some(stand_ins) = &mut self.stand_ins {
                    stand_ins.on_node_gone(&node.meta.name);
                }
            }
            Change::Pod(pod) if self.is_alone || pod.spec.node_name.is_empty() => self.engine.on_pod(pod, now),
            // The watch is for pods without a node: one that got its node leaves it, as if it were deleted.
            Change::Pod(pod) | Change::PodGone(pod) => self.engine.on_pod_deleted(pod, now),
        }
    }

    /// Looks at the agents, and reports what its own rules find.
    pub(super) fn detect(&mut self, world: &World, looks: Looks, now: Time) -> bool {
        for node in world.nodes().filter(|_| !self.is_alone) {
            let sight = AgentSight {
                node,
                daemon_set: Arc::from("tocsin-node-agent"),
                wanted: true,
                replacing: false,
                started: Some(START),
                last_heartbeat: self.pipeline.sessions().last_heard(&node.meta.name),
                interval: self.pipeline.settings().heartbeat,
            };
            self.engine.on_agent(&sight, now);
        }
        self.engine.on_tick(now);
        let changes = self.engine.changes();
        let busy = !changes.is_empty() | self.stand_in(world, looks, now);
        self.pipeline.on_own_findings(changes, now);
        let expected = world.nodes().filter(|_| !self.is_alone).map(|node| &*node.meta.name);
        self.pipeline.on_expected(expected, now);
        self.pipeline.on_tick(now);
        busy
    }

    /// Looks at the pods of nodes whose agent is not heard; whether it did.
    fn stand_in(&mut self, world: &World, how: Looks, now: Time) -> bool {
        let Self { pipeline, stand_ins: Some(stand_ins), .. } = self else { return false };
        if now >= self.sweeps {
            self.sweeps = now + SWEEP_EVERY;
            let mut fleet = Fleet::new(Arc::from("tocsin-node-agent"));
            fleet.on_nodes(world.nodes().map(|node| (**node).clone()).collect(), &[]);
            let heard = pipeline.sessions().heard().map(|(node, heard)| (Arc::clone(node), heard)).collect();
            stand_ins.want(&fleet.without_agent(&heard, now), pipeline.settings().heartbeat, now);
        }
        for look in stand_ins.looks(now) {
            let objects = world.pods_on(&look.node);
            let listing = Listing { objects, skipped: Vec::new(), version: "1".to_owned() };
            self.under_way.push(match how {
                Looks::AtOnce => (now, look, Ok(listing)),
                Looks::Late(span) => (now + span, look, Ok(listing)),
                Looks::Fail => (now, look, Err(Failure::Behind)),
            });
        }
        let arrived: Vec<_> = self.under_way.extract_if(.., |(at, ..)| *at <= now).collect();
        let is_busy = !arrived.is_empty();
        for (_, look, listing) in arrived {
            stand_ins.on_looked(&look, listing, pipeline, now);
        }
        is_busy
    }

    /// Lets a sender do what it is to do now.
    pub(super) fn send(
        &mut self,
        sink: &Arc<str>,
        outbound: &mut Outbound,
        cabinet: &mut Option<Cabinet>,
        now: Time,
    ) -> bool {
        let mut busy = false;
        if let Some(outcome) = outbound.answer.filter(|_| self.in_flight.contains(sink)) {
            self.in_flight.remove(sink);
            self.pipeline.on_outcome(sink, outcome, now);
            busy = true;
        }
        self.senders.remove(sink);
        match self.pipeline.next(sink, now) {
            Next::Idle => {}
            Next::WaitUntil(at) => {
                self.senders.insert(Arc::clone(sink), at);
            }
            Next::Send(records) => {
                busy = true;
                self.in_flight.insert(Arc::clone(sink));
                if cabinet.as_mut().is_none_or(|cabinet| cabinet.on_leaving(&mut self.pipeline)) {
                    outbound.receive(&records, now);
                }
            }
        }
        busy
    }
}
