//! Random histories of pods, seen by two engines in lockstep: one that watches all of it, and one that is restarted,
//! given what it had told, and made to list again, in between. Both must come to the same, and the one that was
//! interrupted must never clear what the other still holds.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use rules::{Config, Engine, Finding, FindingId, Incarnation, Nature, Observer, Pod, Seen, State, Time};
use serde_json::{Value, json};

/// Long enough for every hold and for every edge to be over.
const LONGEST: Duration = Duration::from_hours(3);
const PODS: usize = 3;

/// What a pod does.
#[derive(Clone, Copy, Debug)]
enum Act {
    Create,
    FailToPull,
    Run,
    BecomeReady,
    BecomeUnready,
    Crash { for_want_of_memory: bool },
    Fail,
    Delete { grace: i64 },
    Vanish,
}

/// What happens to the second engine.
#[derive(Clone, Copy, Debug)]
enum Interruption {
    None,
    Relist,
    /// The findings arrive before the first LIST or after it.
    Restart {
        list_first: bool,
    },
    /// It hears nothing of what happens until the next interruption, which is then a relist at least.
    Deafness,
}

#[derive(Clone, Debug)]
struct Event {
    after: i64,
    pod: usize,
    act: Act,
    interruption: Interruption,
}

/// A pod as the API server has it.
#[derive(Clone, Default)]
struct Model {
    index: usize,
    generation: u32,
    exists: bool,
    created: i64,
    state: Option<Value>,
    last: Option<Value>,
    restarts: u32,
    ready: (bool, i64),
    deletion: Option<(i64, i64)>,
    failed: bool,
}

/// An engine and whoever hears it.
struct Side {
    engine: Engine,
    /// What its aggregator believes to be open.
    known: BTreeMap<FindingId, Finding>,
    /// Edges that its aggregator has heard of; found again by an engine that has forgotten them, they are old news.
    edges: HashSet<(FindingId, Incarnation)>,
    old_news: HashSet<FindingId>,
}

/// The two engines.
struct Pair {
    whole: Side,
    interrupted: Side,
    deaf: bool,
    /// Whether it ever was: then the other has seen what it could not.
    was_deaf: bool,
}

fn time(seconds: i64) -> Time {
    Time::from_millis((1_777_600_000 + seconds) * 1000)
}

impl Model {
    fn act(&mut self, act: Act, now: i64) {
        if !self.exists {
            let (index, generation) = (self.index, self.generation + 1);
            *self = Self { index, generation, exists: true, created: now, ready: (false, now), ..Self::default() };
            return;
        }
        let alive = !self.failed;
        let running = alive && self.is("running");
        match act {
            Act::FailToPull if alive && !running => self.state = Some(waiting("ErrImagePull")),
            Act::Run if alive && !running => self.state = Some(json!({"running": {"startedAt": time(now)}})),
            Act::BecomeReady if running => self.turn(true, now),
            Act::BecomeUnready if running => self.turn(false, now),
            Act::Crash { for_want_of_memory } if running => {
                let reason = if for_want_of_memory { "OOMKilled" } else { "Error" };
                self.restarts += 1;
                self.last = Some(self.ended(reason, now));
                self.state = Some(waiting("CrashLoopBackOff"));
                self.turn(false, now);
            }
            Act::Fail if alive => {
                self.failed = true;
                self.state = Some(self.ended("Error", now));
                self.turn(false, now);
            }
            Act::Delete { grace } if self.deletion.is_none() => self.deletion = Some((now + grace, grace)),
            Act::Vanish => self.exists = false,
            _ => {}
        }
    }

    fn is(&self, state: &str) -> bool {
        self.state.as_ref().is_some_and(|value| value.get(state).is_some())
    }

    fn turn(&mut self, ready: bool, now: i64) {
        if self.ready.0 != ready {
            self.ready = (ready, now);
        }
    }

    fn ended(&self, reason: &str, now: i64) -> Value {
        let id = format!("containerd://{}-{}-{now}-{}", self.index, self.generation, self.restarts);
        json!({"terminated": {"exitCode": 137, "reason": reason, "finishedAt": time(now), "containerID": id}})
    }

    fn pod(&self) -> Pod {
        let status = if self.ready.0 { "True" } else { "False" };
        let condition =
            |kind: &str, status: &str, at: i64| json!({"type": kind, "status": status, "lastTransitionTime": time(at)});
        let phase = match self.failed {
            true => "Failed",
            false if self.is("running") || self.restarts > 0 => "Running",
            false => "Pending",
        };
        let pod = json!({
            "metadata": {
                "name": format!("pod-{}", self.index), "namespace": "shop",
                "uid": format!("uid-{}-{}", self.index, self.generation), "creationTimestamp": time(self.created),
                "deletionTimestamp": self.deletion.map(|(due, _)| time(due)),
                "deletionGracePeriodSeconds": self.deletion.map(|(_, grace)| grace),
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "controller": true}],
            },
            "spec": {"nodeName": "n1", "containers": [{"name": "app", "image": "db:1"}]},
            "status": {
                "phase": phase,
                "conditions": [
                    condition("Initialized", "True", self.created),
                    condition("Ready", status, self.ready.1),
                    condition("ContainersReady", status, self.ready.1),
                ],
                "containerStatuses": [{
                    "name": "app", "ready": self.ready.0, "restartCount": self.restarts,
                    "state": self.state.clone().unwrap_or_else(|| waiting("ContainerCreating")), "lastState": self.last,
                }],
            },
        });
        serde_json::from_str(&pod.to_string()).expect("a pod")
    }
}

fn waiting(reason: &str) -> Value {
    json!({"waiting": {"reason": reason}})
}

fn engine() -> Engine {
    Engine::new(Observer::NodeAgent { node: Arc::from("n1") }, Arc::new(Config::default()))
}

impl Side {
    fn new() -> Self {
        let mut engine = engine();
        engine.on_relist(&[], time(0));
        Self { engine, known: BTreeMap::new(), edges: HashSet::new(), old_news: HashSet::new() }
    }

    /// Tells what has changed; what was active and is cleared.
    fn drain(&mut self) -> Vec<Finding> {
        let mut cleared = Vec::new();
        for finding in self.engine.changes() {
            let edge = finding.kind.row().nature == Nature::Edge;
            let news = !edge || self.edges.insert((finding.id, finding.incarnation));
            let before = match finding.state {
                State::Cleared => self.known.remove(&finding.id),
                _ => self.known.insert(finding.id, finding.clone()),
            };
            if before.is_none() && !news && finding.seen == Seen::Found {
                self.old_news.insert(finding.id);
            } else if news {
                self.old_news.remove(&finding.id);
            }
            let was_active = before.is_some_and(|before| before.state == State::Active);
            if finding.state == State::Cleared && was_active && !self.old_news.contains(&finding.id) {
                cleared.push(finding);
            }
        }
        let told: BTreeSet<_> = self.known.values().map(|finding| (finding.id, finding.state)).collect();
        let open: BTreeSet<_> = self.engine.findings().map(|finding| (finding.id, finding.state)).collect();
        assert_eq!(told, open, "what was told and what a full report would say are the same");
        cleared
    }

    fn open(&self) -> BTreeSet<FindingId> {
        self.known.values().filter(|finding| finding.state == State::Active).map(|finding| finding.id).collect()
    }

    fn restart(&mut self, pods: &[Pod], list_first: bool, now: Time) {
        self.engine = engine();
        let known = self.known.values().cloned().collect();
        if list_first {
            self.engine.on_relist(pods, now);
            if self.engine.adopt(known, now) {
                self.engine.on_relist(pods, now);
            }
        } else {
            self.engine.adopt(known, now);
            self.engine.on_relist(pods, now);
        }
    }
}

impl Pair {
    /// Lets time pass, both stopping at the deadlines of either.
    fn pass_to(&mut self, until: Time) {
        loop {
            let heard = self.interrupted.engine.next_deadline().filter(|_| !self.deaf);
            let due = self.whole.engine.next_deadline().into_iter().chain(heard).min();
            let Some(due) = due.filter(|due| *due <= until) else { break };
            self.whole.engine.on_tick(due);
            if !self.deaf {
                self.interrupted.engine.on_tick(due);
            }
            self.compare();
        }
    }

    fn compare(&mut self) {
        self.whole.drain();
        let cleared = self.interrupted.drain();
        if !self.was_deaf {
            for finding in cleared {
                assert!(!self.whole.open().contains(&finding.id), "an extra clear: {finding:?}");
            }
        }
    }

    fn interrupt(&mut self, interruption: Interruption, pods: &[Pod], now: Time) {
        match interruption {
            Interruption::None => return,
            Interruption::Relist => self.interrupted.engine.on_relist(pods, now),
            Interruption::Restart { list_first } => self.interrupted.restart(pods, list_first, now),
            Interruption::Deafness => {
                (self.deaf, self.was_deaf) = (true, true);
                return;
            }
        }
        self.deaf = false;
        self.compare();
    }
}

fn acts() -> impl Strategy<Value = Act> {
    prop_oneof![
        2 => Just(Act::Create),
        2 => Just(Act::FailToPull),
        5 => Just(Act::Run),
        4 => Just(Act::BecomeReady),
        3 => Just(Act::BecomeUnready),
        4 => any::<bool>().prop_map(|for_want_of_memory| Act::Crash { for_want_of_memory }),
        1 => Just(Act::Fail),
        1 => prop_oneof![Just(0), Just(30), Just(900)].prop_map(|grace| Act::Delete { grace }),
        1 => Just(Act::Vanish),
    ]
}

fn interruptions() -> impl Strategy<Value = Interruption> {
    prop_oneof![
        4 => Just(Interruption::None),
        1 => Just(Interruption::Relist),
        2 => any::<bool>().prop_map(|list_first| Interruption::Restart { list_first }),
    ]
}

fn histories(interruptions: impl Strategy<Value = Interruption>) -> impl Strategy<Value = Vec<Event>> {
    let spans = prop_oneof![1..20_i64, 20..90_i64, 90..400_i64, 400..1200_i64];
    let event = (spans, 0..PODS, acts(), interruptions).prop_map(|(after, pod, act, interruption)| Event {
        after,
        pod,
        act,
        interruption,
    });
    prop::collection::vec(event, 1..60)
}

/// Plays a history; what both hold at its end, once the longest hold has passed.
fn play(history: &[Event]) -> Pair {
    let mut pair = Pair { whole: Side::new(), interrupted: Side::new(), deaf: false, was_deaf: false };
    let mut models: Vec<Model> = (0..PODS).map(|index| Model { index, ..Model::default() }).collect();
    let mut now = 0;
    for event in history {
        // The interruption lies between two events.
        now += event.after / 2;
        pair.pass_to(time(now));
        let pods: Vec<Pod> = models.iter().filter(|model| model.exists).map(Model::pod).collect();
        pair.interrupt(event.interruption, &pods, time(now));

        now += event.after - event.after / 2;
        pair.pass_to(time(now));
        let model = &mut models[event.pod];
        let before = model.clone();
        model.act(event.act, now);
        let hearing = [Some(&mut pair.whole), Some(&mut pair.interrupted).filter(|_| !pair.deaf)];
        for side in hearing.into_iter().flatten() {
            match (before.exists, model.exists) {
                (true, false) => side.engine.on_pod_deleted(&before.pod(), time(now)),
                _ => side.engine.on_pod(&model.pod(), time(now)),
            }
        }
        pair.compare();
    }
    let pods: Vec<Pod> = models.iter().filter(|model| model.exists).map(Model::pod).collect();
    pair.interrupt(Interruption::Relist, &pods, time(now));
    pair.pass_to(time(now) + LONGEST);
    pair
}

/// Lets every pod end in a state that says clearly how it is.
fn settle(mut history: Vec<Event>) -> Vec<Event> {
    for pod in 0..PODS {
        let crash = Act::Crash { for_want_of_memory: false };
        let acts = if history.len().is_multiple_of(2) { [Act::Run, Act::BecomeReady] } else { [Act::Run, crash] };
        history.extend(acts.map(|act| Event { after: 5, pod, act, interruption: Interruption::None }));
    }
    history
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn restarts_and_relists_change_nothing(history in histories(interruptions())) {
        let pair = play(&history);
        prop_assert_eq!(pair.whole.open(), pair.interrupted.open());
    }

    #[test]
    fn what_was_not_heard_for_a_while_makes_no_difference_in_the_end(
        history in histories(prop_oneof![interruptions(), interruptions(), Just(Interruption::Deafness)])
    ) {
        let pair = play(&settle(history));
        prop_assert_eq!(pair.whole.open(), pair.interrupted.open());
    }
}
