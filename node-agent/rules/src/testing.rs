//! What the rules' tables are written with: objects as the API shows them, and stories that happen to them.
//!
//! Times are seconds since [`START`], and may be before it.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::{AgentSight, Engine, Finding, FindingId, Incarnation, Kind, Node, Observer, Pod, Side, State, Time};

/// When every story starts.
const START: Time = Time::from_millis(1_777_600_000_000);

/// An object under construction.
#[derive(Clone)]
pub(crate) struct Draft(Value);

/// What happens in a story.
pub(crate) enum Step {
    /// A pod is there or has changed.
    Sees(Draft),
    /// A pod is gone.
    Gone(Draft),
    /// A complete LIST in the middle.
    Relist(Vec<Draft>),
    /// The process starts anew, is given what it had told, and lists.
    Restart(Vec<Draft>),
    /// The process and whoever remembered its findings start anew.
    Amnesia(Vec<Draft>),
    /// A node is there or has changed.
    Node(Draft),
    /// A node is gone.
    NodeGone(Draft),
    /// What is known of an agent: its node, when it was last heard, and what is odd about it.
    Agent(Draft, Option<i64>, fn(&mut AgentSight<'_>)),
}

/// The time at `seconds`.
pub(crate) fn time(seconds: i64) -> Time {
    START.shifted(seconds * 1000)
}

fn stamp(seconds: i64) -> Value {
    json!(time(seconds))
}

/// A pod of Deployment `api` in namespace `shop` on node `n1`, started at 0; its container `app` is ready since 0.
pub(crate) fn pod() -> Draft {
    let draft = Draft(json!({
        "metadata": {
            "name": "api-5d8f-x7k", "generateName": "api-5d8f-", "namespace": "shop", "uid": "11111111-aaaa",
            "creationTimestamp": stamp(0), "labels": {"app": "api", "pod-template-hash": "5d8f"},
            "ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "api-5d8f", "uid": "2", "controller": true}
            ],
        },
        "spec": {
            "nodeName": "n1", "restartPolicy": "Always", "priority": 0,
            "containers": [{"name": "app", "image": "api:1.8.2", "resources": {"limits": {"memory": "64Mi"}}}],
        },
        "status": {"phase": "Running", "startTime": stamp(0)},
    }));
    draft.condition("PodScheduled", "True", 0).condition("Initialized", "True", 0).app(running(0), 0).ready(0)
}

/// A node that was made at -3600 and is ready since.
pub(crate) fn node() -> Draft {
    Draft(json!({"metadata": {"name": "n1", "uid": "node-1", "creationTimestamp": stamp(-3600)}}))
        .condition("Ready", "True", -3600)
}

/// `state` of a container that waits.
pub(crate) fn waiting(reason: &str) -> Value {
    json!({"waiting": {"reason": reason, "message": format!("waits: {reason}")}})
}

/// `state` of a container that runs.
pub(crate) fn running(since: i64) -> Value {
    json!({"running": {"startedAt": stamp(since)}})
}

/// `state` or `lastState` of a container that ended; its id is made of the time.
pub(crate) fn ended(exit_code: i32, reason: &str, at: i64) -> Value {
    json!({"terminated": {
        "exitCode": exit_code, "reason": reason, "finishedAt": stamp(at), "containerID": format!("containerd://{at}"),
    }})
}

impl Draft {
    /// Sets the value at a JSON pointer, whose last part may be new.
    pub(crate) fn set(mut self, pointer: &str, value: Value) -> Self {
        let (parent, key) = pointer.rsplit_once('/').expect("a pointer has a slash");
        let parent = self.0.pointer_mut(parent).expect("all but the last part is there");
        parent[key] = value;
        self
    }

    /// Sets a condition.
    pub(crate) fn condition(self, kind: &str, status: &str, at: i64) -> Self {
        self.condition_for(kind, status, "", at)
    }

    /// Sets a condition that has a reason.
    pub(crate) fn condition_for(mut self, kind: &str, status: &str, reason: &str, at: i64) -> Self {
        let entry = json!({"type": kind, "status": status, "reason": reason, "lastTransitionTime": stamp(at)});
        put(&mut self.0["status"]["conditions"], "type", kind, entry);
        self
    }

    /// Sets how container `app` is: unready unless it runs and nothing else is said.
    pub(crate) fn app(self, state: Value, restarts: u32) -> Self {
        self.container("containerStatuses", "app", state, restarts)
    }

    /// Sets how a container is.
    pub(crate) fn container(mut self, list: &str, name: &str, state: Value, restarts: u32) -> Self {
        let mut entry = json!({"name": name, "ready": false, "restartCount": restarts, "lastState": {}});
        entry["state"] = state;
        put(&mut self.0["status"][list], "name", name, entry);
        self
    }

    /// Adds a native sidecar to the spec.
    pub(crate) fn with_sidecar(self, name: &str) -> Self {
        self.set("/spec/initContainers", json!([{"name": name, "image": "side:1", "restartPolicy": "Always"}]))
    }

    /// Sets how container `app` ended the time before.
    pub(crate) fn last(self, state: Value) -> Self {
        self.set("/status/containerStatuses/0/lastState", state)
    }

    /// All is ready since then.
    pub(crate) fn ready(self, at: i64) -> Self {
        let all = self.condition("Ready", "True", at).condition("ContainersReady", "True", at);
        all.set("/status/containerStatuses/0/ready", json!(true))
    }

    /// Nothing is ready since then.
    pub(crate) fn unready(self, at: i64) -> Self {
        let none = self.condition("Ready", "False", at).condition("ContainersReady", "False", at);
        none.set("/status/containerStatuses/0/ready", json!(false))
    }

    /// Marks it as being deleted; it should be gone at `due`.
    pub(crate) fn deleted(self, due: i64, grace: u32) -> Self {
        let due = self.set("/metadata/deletionTimestamp", stamp(due));
        due.set("/metadata/deletionGracePeriodSeconds", json!(grace))
    }

    /// Annotates it.
    pub(crate) fn annotated(self, key: &str, value: &str) -> Self {
        self.set("/metadata/annotations", json!({key: value}))
    }

    /// Gives it another controller; an empty kind: none.
    pub(crate) fn owned_by(self, api_version: &str, kind: &str, name: &str) -> Self {
        let owner = json!([{"apiVersion": api_version, "kind": kind, "name": name, "controller": true}]);
        self.set("/metadata/ownerReferences", if kind.is_empty() { json!([]) } else { owner })
    }

    /// Taints it.
    pub(crate) fn tainted(self, key: &str) -> Self {
        self.set("/spec", json!({"taints": [{"key": key, "effect": "NoSchedule"}]}))
    }

    /// The pod as it is decoded.
    pub(crate) fn pod(&self) -> Pod {
        serde_json::from_str(&self.0.to_string()).expect("a pod")
    }

    /// The node as it is decoded.
    pub(crate) fn node(&self) -> Node {
        serde_json::from_str(&self.0.to_string()).expect("a node")
    }
}

/// Replaces the entry of `list` whose `key` is `name`, or adds it.
fn put(list: &mut Value, key: &str, name: &str, entry: Value) {
    if list.is_null() {
        *list = json!([]);
    }
    let entries = list.as_array_mut().expect("a list");
    match entries.iter_mut().find(|other| other[key] == name) {
        Some(other) => *other = entry,
        None => entries.push(entry),
    }
}

/// Lets a story happen and compares what is told of `kind` with `expected`: words like `60 active`, with commas between.
/// Time goes on for six hours after the last step.
///
/// A state is told once, unless the incarnation changes: so a restart that changes nothing tells nothing.
pub(crate) fn check(what: &str, kind: &str, story: &[(i64, Step)], expected: &str) {
    let told = tell(Kind::named(kind).expect("a kind"), story);
    assert_eq!(told.words, expected, "{kind} {what}");
}

/// The last finding of a kind that a story tells.
pub(crate) fn last_told(kind: &str, story: &[(i64, Step)]) -> Finding {
    tell(Kind::named(kind).expect("a kind"), story).last.expect("something is told")
}

struct Told {
    words: String,
    last: Option<Finding>,
}

fn tell(kind: Kind, story: &[(i64, Step)]) -> Told {
    let observer = match kind.row().side {
        Side::NodeAgent => Observer::NodeAgent { node: Arc::from("n1") },
        Side::Aggregator => Observer::Aggregator,
    };
    let mut play = Play::new(kind, observer);
    for (at, step) in story {
        play.pass_to(time(*at));
        play.step(step, time(*at));
    }
    play.pass_to(play.now + Duration::from_hours(6));
    Told { words: play.words, last: play.last }
}

struct Play {
    kind: Kind,
    observer: Observer,
    engine: Engine,
    now: Time,
    known: HashMap<FindingId, Finding>,
    told: HashMap<FindingId, (State, Incarnation)>,
    words: String,
    last: Option<Finding>,
}

impl Play {
    fn new(kind: Kind, observer: Observer) -> Self {
        let mut engine = Engine::new(observer.clone(), Arc::default());
        engine.on_relist(&[], time(-1));
        engine.on_node_relist(&[], time(-1));
        let (known, told) = (HashMap::new(), HashMap::new());
        Self { kind, observer, engine, now: time(-1), known, told, words: String::new(), last: None }
    }

    /// Lets time pass, stopping at each deadline.
    fn pass_to(&mut self, until: Time) {
        while let Some(due) = self.engine.next_deadline().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.engine.on_tick(self.now);
            self.drain();
        }
        self.now = until;
    }

    fn step(&mut self, step: &Step, now: Time) {
        match step {
            Step::Sees(pod) => self.engine.on_pod(&pod.pod(), now),
            Step::Gone(pod) => self.engine.on_pod_deleted(&pod.pod(), now),
            Step::Relist(pods) => self.engine.on_relist(&decoded(pods), now),
            Step::Restart(pods) => self.restart(pods, now),
            Step::Amnesia(pods) => {
                self.known.clear();
                self.restart(pods, now);
            }
            Step::Node(node) => self.engine.on_node(&node.node(), now),
            Step::NodeGone(node) => self.engine.on_node_deleted(&node.node(), now),
            Step::Agent(node, heard, oddity) => {
                let mut agent = AgentSight {
                    node: &node.node(),
                    daemon_set: Arc::from("tocsin-node-agent"),
                    wanted: true,
                    replacing: false,
                    started: None,
                    last_heartbeat: heard.map(time),
                    interval: Duration::from_secs(30),
                };
                oddity(&mut agent);
                self.engine.on_agent(&agent, now);
            }
        }
        self.drain();
    }

    fn restart(&mut self, pods: &[Draft], now: Time) {
        self.engine = Engine::new(self.observer.clone(), Arc::default());
        self.engine.adopt(self.known.values().cloned().collect(), now);
        self.engine.on_relist(&decoded(pods), now);
    }

    fn drain(&mut self) {
        let mut changes = self.engine.changes();
        changes.retain(|finding| finding.kind == self.kind);
        for finding in changes {
            let told = (finding.state, finding.incarnation);
            if self.told.insert(finding.id, told) != Some(told) {
                let comma = if self.words.is_empty() { "" } else { ", " };
                let seconds = (self.now.as_millis() - START.as_millis()) / 1000;
                let state = format!("{:?}", finding.state).to_lowercase();
                write!(self.words, "{comma}{seconds} {state}").expect("writing to memory");
            }
            match finding.state {
                State::Cleared => self.known.remove(&finding.id),
                _ => self.known.insert(finding.id, finding.clone()),
            };
            self.last = Some(finding);
        }
    }
}

fn decoded(pods: &[Draft]) -> Vec<Pod> {
    pods.iter().map(Draft::pod).collect()
}
