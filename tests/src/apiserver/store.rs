//! The store: every collection of objects with its recent history, under one version that only grows.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use serde_json::Value;

use super::object::{Change, Key, Kind, Object};
use super::selector::{Bucket, Selector};
use super::target::Target;
use super::watchers::Watchers;

/// All collections, by resource (`pods`, `deployments.apps`).
pub(super) struct Store {
    version: u64,
    first_version: u64,
    history_max: usize,
    collections: BTreeMap<String, Collection>,
}

/// The objects of one resource, its history and its watchers.
pub(super) struct Collection {
    pub(super) resource: String,
    pub(super) kind: Arc<Kind>,
    objects: BTreeMap<Key, Arc<Object>>,
    by_node: HashMap<String, BTreeSet<Key>>,
    history: VecDeque<Arc<Change>>,
    /// The newest version that is no longer in the history: a watch from here on is possible.
    pub(super) floor: u64,
    pub(super) watchers: Watchers,
}

/// A version that is compacted away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Compacted;

impl Store {
    pub(super) fn new(first_version: u64, history_max: usize) -> Self {
        Self { version: first_version, first_version, history_max, collections: BTreeMap::new() }
    }

    /// The version of the last write.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn collections(&self) -> impl Iterator<Item = &Collection> {
        self.collections.values()
    }

    pub(super) fn collections_mut(&mut self) -> impl Iterator<Item = &mut Collection> {
        self.collections.values_mut()
    }

    pub(super) fn get(&self, resource: &str, key: &Key) -> Option<&Arc<Object>> {
        self.collections.get(resource)?.objects.get(key)
    }

    /// The collection of a target; made when it is first named.
    pub(super) fn collection(&mut self, target: &Target) -> &mut Collection {
        let floor = self.first_version;
        self.collections.entry(target.resource()).or_insert_with(|| Collection {
            resource: target.resource(),
            kind: Arc::new(Kind::of(&target.resource(), &target.api_version())),
            objects: BTreeMap::new(),
            by_node: HashMap::new(),
            history: VecDeque::new(),
            floor,
            watchers: Watchers::default(),
        })
    }

    /// Writes (`Some`) or removes (`None`) an object under the next version and tells the watchers. A write that changes
    /// nothing makes no version, as in Kubernetes.
    pub(super) fn commit(&mut self, target: &Target, key: Key, value: Option<Value>) -> Option<Arc<Object>> {
        let (version, history_max) = (self.version + 1, self.history_max);
        let collection = self.collection(target);
        let old = collection.objects.get(&key).cloned();
        let new = value.map(|value| Arc::new(Object::new(collection.kind.clone(), value, version)));
        match (&old, &new) {
            (None, None) => return None,
            (Some(old), Some(new)) if old.is_same_as(new) => return Some(old.clone()),
            _ => {}
        }
        let result = new.clone().or_else(|| old.clone());
        collection.apply(&key, old.as_ref(), new.as_ref());
        let change = Arc::new(Change::new(version, key, old, new));
        collection.watchers.tell(&change, &collection.resource);
        collection.history.push_back(change);
        while collection.history.len() > history_max {
            collection.forget_oldest();
        }
        self.version = version;
        result
    }

    /// Forgets the history up to a version: reads and watches from before it are answered 410.
    pub(super) fn compact(&mut self, version: u64) {
        for collection in self.collections.values_mut() {
            while collection.history.front().is_some_and(|change| change.version <= version) {
                collection.forget_oldest();
            }
            collection.floor = collection.floor.max(version);
        }
        self.first_version = self.first_version.max(version);
    }

    /// Goes back to a version, as a restore of etcd from a backup does.
    pub(super) fn rewind(&mut self, version: u64) -> Result<(), Compacted> {
        if version > self.version || self.collections.values().any(|collection| collection.floor > version) {
            return Err(Compacted);
        }
        for collection in self.collections.values_mut() {
            while collection.history.back().is_some_and(|change| change.version > version) {
                if let Some(change) = collection.history.pop_back() {
                    collection.apply(&change.key, change.new.as_ref(), change.old.as_ref());
                }
            }
        }
        self.version = version;
        Ok(())
    }
}

impl Collection {
    /// Replaces one object by another in the map and the index.
    fn apply(&mut self, key: &Key, old: Option<&Arc<Object>>, new: Option<&Arc<Object>>) {
        if self.resource == "pods" {
            if let Some(keys) = old.and_then(|object| self.by_node.get_mut(node(object))) {
                keys.remove(key);
            }
            if let Some(object) = new {
                self.by_node.entry(node(object).to_string()).or_default().insert(key.clone());
            }
        }
        match new {
            Some(object) => self.objects.insert(key.clone(), object.clone()),
            None => self.objects.remove(key),
        };
    }

    fn forget_oldest(&mut self) {
        if let Some(change) = self.history.pop_front() {
            self.floor = self.floor.max(change.version);
        }
    }

    /// The selected objects as they are now, by namespace and name.
    pub(super) fn select(&self, namespace: Option<&str>, selector: &Selector) -> Vec<Arc<Object>> {
        let selected = |key: &Key, object: &Object| {
            namespace.is_none_or(|namespace| key.0 == namespace) && selector.matches(&object.selectable)
        };
        match selector.bucket(&self.resource) {
            Bucket::Node(node) => {
                let keys = self.by_node.get(&node).into_iter().flatten();
                let found = keys.filter_map(|key| self.objects.get_key_value(key));
                found.filter(|(key, object)| selected(key, object)).map(|(_, object)| object.clone()).collect()
            }
            Bucket::Name(_) | Bucket::All => {
                let found = self.objects.iter().filter(|(key, object)| selected(key, object));
                found.map(|(_, object)| object.clone()).collect()
            }
        }
    }

    /// The selected objects as they were at a version.
    pub(super) fn select_at(
        &self,
        version: u64,
        namespace: Option<&str>,
        selector: &Selector,
    ) -> Result<Vec<Arc<Object>>, Compacted> {
        if version < self.floor {
            return Err(Compacted);
        }
        let later = self.history.iter().rev().take_while(|change| change.version > version);
        let mut objects = self.objects.clone();
        for change in later {
            match &change.old {
                Some(object) => objects.insert(change.key.clone(), object.clone()),
                None => objects.remove(&change.key),
            };
        }
        let selected = objects.into_iter().filter(|(key, object)| {
            namespace.is_none_or(|namespace| key.0 == namespace) && selector.matches(&object.selectable)
        });
        Ok(selected.map(|(_, object)| object).collect())
    }

    /// The changes after a version, oldest first.
    pub(super) fn since(&self, version: u64) -> Result<impl Iterator<Item = &Arc<Change>>, Compacted> {
        if version < self.floor {
            return Err(Compacted);
        }
        let from = self.history.partition_point(|change| change.version <= version);
        Ok(self.history.range(from..))
    }
}

/// The node that a pod is bound to; empty for none.
pub(super) fn node(pod: &Object) -> &str {
    pod.selectable.field("spec.nodeName")
}
