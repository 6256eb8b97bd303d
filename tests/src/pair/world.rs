//! The cluster as its API server has it: the simulated one, without sockets, with a clock that the story moves.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;

use rules::Time;
use rules::view::{Node, Object, Pod};
use serde_json::Value;

use crate::apiserver::{ApiServer, Options};

/// The cluster. It is an [`ApiServer`], with all of its verbs.
pub struct World {
    server: Arc<ApiServer>,
    /// The version of the cluster that was shown last.
    shown: u64,
    /// What was shown of each object last, by uid.
    pods: HashMap<Arc<str>, Arc<Pod>>,
    nodes: HashMap<Arc<str>, Arc<Node>>,
}

/// What watches show.
#[derive(Clone, Debug)]
pub(super) enum Change {
    /// A pod is there or has changed.
    Pod(Arc<Pod>),
    /// A pod is gone; how it was last.
    PodGone(Arc<Pod>),
    /// A node is there or has changed.
    Node(Arc<Node>),
    /// A node is gone; how it was last.
    NodeGone(Arc<Node>),
}

impl World {
    /// An empty cluster, at that time.
    pub fn new(now: Time) -> Self {
        let server = ApiServer::without_sockets(Options::default()).expect("without sockets only its CA is made");
        let world = Self { server: Arc::new(server), shown: 0, pods: HashMap::new(), nodes: HashMap::new() };
        world.set_now(now);
        world
    }

    /// Another handle of the same cluster, for verbs that go on while time passes.
    pub fn handle(&self) -> Arc<ApiServer> {
        Arc::clone(&self.server)
    }

    /// Moves the clock.
    pub fn set_now(&self, now: Time) {
        let at = jiff::Timestamp::from_millisecond(now.as_millis()).expect("stories play in this century");
        self.server.set_now(at);
    }

    /// Every node that has been shown.
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.nodes.values()
    }

    /// The pods of a node that have been shown.
    pub fn pods_on(&self, node: &str) -> Vec<Pod> {
        self.pods(|pod| &*pod.spec.node_name == node)
    }

    /// Every pod that has been shown.
    pub fn all_pods(&self) -> Vec<Pod> {
        self.pods(|_| true)
    }

    /// The pods that no node has taken.
    pub fn unscheduled_pods(&self) -> Vec<Pod> {
        self.pods_on("")
    }

    /// One pod.
    pub fn pod(&self, namespace: &str, name: &str) -> Option<Pod> {
        self.pods(|pod| &*pod.meta.namespace == namespace && &*pod.meta.name == name).pop()
    }

    /// What has changed since the last call, for all who watch: what is gone first.
    pub(super) fn take_changes(&mut self) -> Vec<Change> {
        let version = self.server.version();
        if std::mem::replace(&mut self.shown, version) == version {
            return Vec::new();
        }
        let pods = self.server.objects(Pod::COLLECTION);
        let nodes = self.server.objects(Node::COLLECTION);
        let mut changes = Vec::new();
        changes.extend(gone(&mut self.pods, &pods).into_iter().map(Change::PodGone));
        changes.extend(gone(&mut self.nodes, &nodes).into_iter().map(Change::NodeGone));
        changes.extend(new(&mut self.nodes, &nodes).into_iter().map(Change::Node));
        changes.extend(new(&mut self.pods, &pods).into_iter().map(Change::Pod));
        changes
    }

    fn pods(&self, is_meant: impl Fn(&Pod) -> bool) -> Vec<Pod> {
        self.pods.values().filter(|pod| is_meant(pod)).map(|pod| (**pod).clone()).collect()
    }
}

impl Deref for World {
    type Target = ApiServer;

    fn deref(&self) -> &ApiServer {
        &self.server
    }
}

fn view<V: Object>(object: Value) -> V {
    serde_json::from_value(object).expect("the simulated server's objects have the API's form")
}

fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object["metadata"][field].as_str().unwrap_or_default()
}

fn gone<V: Object>(known: &mut HashMap<Arc<str>, Arc<V>>, there: &[Value]) -> Vec<Arc<V>> {
    let is_there = |uid: &str| there.iter().any(|object| text(object, "uid") == uid);
    known.extract_if(|uid, _| !is_there(uid)).map(|(_, object)| object).collect()
}

fn new<V: Object>(known: &mut HashMap<Arc<str>, Arc<V>>, there: &[Value]) -> Vec<Arc<V>> {
    let mut new = Vec::new();
    for object in there {
        let (uid, version) = (text(object, "uid"), text(object, "resourceVersion"));
        if known.get(uid).is_some_and(|known| known.meta().resource_version == version) {
            continue;
        }
        let object: Arc<V> = Arc::new(view(object.clone()));
        known.insert(Arc::clone(&object.meta().uid), Arc::clone(&object));
        new.push(object);
    }
    new
}
