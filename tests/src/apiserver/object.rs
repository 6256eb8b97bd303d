//! One version of one object, and one change of it, each serialised at most once per form.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::selector::Selectable;

/// Namespace (empty for cluster-wide objects) and name.
pub(super) type Key = (String, String);

/// What the objects of one collection are called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) resource: String,
    pub(super) name: String,
    pub(super) api_version: String,
}

/// How a client wants its objects (its `Accept` header).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// All of it.
    Full,
    /// `application/json;drop=metadata.managedFields`.
    Lean,
    /// `as=PartialObjectMetadata`.
    Metadata,
}

/// One version of one object, kept as the bytes that are sent: a tenth of what a parsed value would take. Like an item of
/// a real list it has neither `kind` nor `apiVersion`.
#[derive(Debug)]
pub(super) struct Object {
    pub(super) kind: Arc<Kind>,
    pub(super) version: u64,
    /// What selectors see of it.
    pub(super) selectable: Selectable,
    full: Bytes,
    reduced: [OnceLock<Bytes>; 2],
}

/// One write: what was before, what is after, in the order of versions.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) version: u64,
    pub(super) key: Key,
    pub(super) old: Option<Arc<Object>>,
    pub(super) new: Option<Arc<Object>>,
    frames: [OnceLock<Bytes>; 9],
}

/// What a watcher is told of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Added,
    Modified,
    Deleted,
}

impl Kind {
    /// The table of kinds that tests use, else a guess from the plural.
    pub(super) fn of(resource: &str, api_version: &str) -> Self {
        let plural = resource.split('.').next().unwrap_or_default();
        let known = KINDS.iter().find(|kind| plural_of(kind) == plural);
        let name = known.map_or_else(|| guess(plural), ToString::to_string);
        Self { resource: resource.to_string(), name, api_version: api_version.to_string() }
    }

    /// What an object of this kind starts with in a form.
    fn header(&self, form: Form) -> (&str, &str) {
        match form {
            Form::Metadata => ("PartialObjectMetadata", "meta.k8s.io/v1"),
            Form::Full | Form::Lean => (&self.name, &self.api_version),
        }
    }

    /// What a list of this kind starts with in a form.
    pub(super) fn list_header(&self, form: Form) -> (String, &str) {
        let (kind, api_version) = self.header(form);
        (format!("{kind}List"), api_version)
    }
}

/// Kinds whose case, or number, cannot be guessed.
const KINDS: [&str; 21] = [
    "APIService",
    "ClusterRole",
    "ConfigMap",
    "ControllerRevision",
    "CronJob",
    "DaemonSet",
    "Endpoints",
    "HorizontalPodAutoscaler",
    "LimitRange",
    "NetworkPolicy",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "PodDisruptionBudget",
    "PodTemplate",
    "ReplicaSet",
    "ReplicationController",
    "ResourceQuota",
    "RoleBinding",
    "ServiceAccount",
    "StatefulSet",
    "StorageClass",
];

/// The plural by which a kind is addressed.
pub(super) fn plural_of(kind: &str) -> String {
    let kind = kind.to_lowercase();
    match kind.strip_suffix('y') {
        _ if kind == "endpoints" => kind,
        Some(stem) => format!("{stem}ies"),
        None if kind.ends_with('s') => format!("{kind}es"),
        None => format!("{kind}s"),
    }
}

fn guess(plural: &str) -> String {
    let singular = plural
        .strip_suffix("ies")
        .map(|stem| format!("{stem}y"))
        .or_else(|| plural.strip_suffix("sses").map(|stem| format!("{stem}ss")))
        .unwrap_or_else(|| plural.strip_suffix('s').unwrap_or(plural).to_string());
    let mut letters = singular.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

impl Object {
    pub(super) fn new(kind: Arc<Kind>, mut value: Value, version: u64) -> Self {
        if let Some(fields) = value.as_object_mut() {
            fields.remove("kind");
            fields.remove("apiVersion");
        }
        value["metadata"]["resourceVersion"] = json!(version.to_string());
        let selectable = Selectable::of(&value, &kind.resource);
        Self { kind, version, selectable, full: exact(&value), reduced: Default::default() }
    }

    /// The object as a value, without kind and version.
    pub(super) fn value(&self) -> Value {
        serde_json::from_slice(&self.full).expect("it was written from a value")
    }

    /// Whether it is the same as another version of it in all but the version.
    pub(super) fn is_same_as(&self, other: &Self) -> bool {
        let rest = |object: &Self| object.full.len() - object.version.to_string().len();
        rest(self) == rest(other) && Self::new(self.kind.clone(), self.value(), other.version).full == other.full
    }

    /// As an item of a list: without kind and version.
    pub(super) fn item(&self, form: Form) -> &Bytes {
        match form {
            Form::Full => &self.full,
            Form::Lean => self.reduced[0].get_or_init(|| {
                let mut lean = self.value();
                let managed = lean["metadata"].as_object_mut().and_then(|metadata| metadata.remove("managedFields"));
                managed.map_or_else(|| self.full.clone(), |_| exact(&lean))
            }),
            Form::Metadata => self.reduced[1].get_or_init(|| exact(&json!({"metadata": self.value()["metadata"]}))),
        }
    }

    /// The whole object, with its kind first, as a GET answers it.
    pub(super) fn write(&self, form: Form, out: &mut Vec<u8>) {
        let (kind, api_version) = self.kind.header(form);
        out.extend_from_slice(format!("{{\"kind\":\"{kind}\",\"apiVersion\":\"{api_version}\",").as_bytes());
        // An item always has metadata, so what follows its brace is never empty.
        out.extend_from_slice(&self.item(form)[1..]);
    }

    /// The whole object as a value, as scripts see it.
    pub(super) fn whole(&self) -> Value {
        let mut whole = Map::new();
        whole.insert("kind".into(), json!(self.kind.name));
        whole.insert("apiVersion".into(), json!(self.kind.api_version));
        if let Value::Object(fields) = self.value() {
            whole.extend(fields);
        }
        Value::Object(whole)
    }
}

impl Change {
    pub(super) fn new(version: u64, key: Key, old: Option<Arc<Object>>, new: Option<Arc<Object>>) -> Self {
        Self { version, key, old, new, frames: Default::default() }
    }

    /// What a watcher that selects some objects is told: an object that leaves the selection is deleted to it, one that
    /// enters is added (`convertToWatchEvent` of the apiserver's cacher).
    pub(super) fn seen_by(&self, selects: impl Fn(&Selectable) -> bool) -> Option<Event> {
        let before = self.old.as_ref().is_some_and(|object| selects(&object.selectable));
        let after = self.new.as_ref().is_some_and(|object| selects(&object.selectable));
        match (before, after) {
            (false, true) => Some(Event::Added),
            (true, true) => Some(Event::Modified),
            (true, false) => Some(Event::Deleted),
            (false, false) => None,
        }
    }

    /// The line to send, made once for all watchers. A deletion carries the previous object under this version.
    pub(super) fn frame(&self, event: Event, form: Form) -> Bytes {
        let make = || match (event, &self.old, &self.new) {
            (Event::Deleted, Some(old), _) => {
                frame("DELETED", &Object::new(old.kind.clone(), old.value(), self.version), form)
            }
            (Event::Modified, _, Some(new)) => frame("MODIFIED", new, form),
            (Event::Added, _, Some(new)) => frame("ADDED", new, form),
            _ => Bytes::new(),
        };
        self.frames[event as usize * 3 + form as usize].get_or_init(make).clone()
    }
}

/// A value's JSON, in no more memory than it needs: there may be very many.
fn exact(value: &Value) -> Bytes {
    Bytes::from(value.to_string().into_boxed_str().into_boxed_bytes())
}

/// An object's line in a watch.
pub(super) fn frame(event: &str, object: &Object, form: Form) -> Bytes {
    let mut line = Vec::with_capacity(object.item(form).len() + 96);
    line.extend_from_slice(format!("{{\"type\":\"{event}\",\"object\":").as_bytes());
    object.write(form, &mut line);
    line.extend_from_slice(b"}\n");
    line.into()
}

/// A bookmark's line. Like the real one it is an object of the kind, so a pod's has `containers: null`.
pub(super) fn bookmark(kind: &Kind, version: u64, form: Form, initial_events_end: bool) -> Bytes {
    let (name, api_version) = kind.header(form);
    let mut object =
        json!({"kind": name, "apiVersion": api_version, "metadata": {"resourceVersion": version.to_string()}});
    if initial_events_end {
        object["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
    }
    if name == "Pod" {
        object["spec"] = json!({"containers": null});
        object["status"] = json!({});
    }
    format!("{{\"type\":\"BOOKMARK\",\"object\":{object}}}\n").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plural_gives_its_kind() {
        for (plural, kind) in [
            ("pods", "Pod"),
            ("replicasets", "ReplicaSet"),
            ("configmaps", "ConfigMap"),
            ("leases", "Lease"),
            ("storageclasses", "StorageClass"),
            ("networkpolicies", "NetworkPolicy"),
            ("ingresses", "Ingress"),
            ("horizontalpodautoscalers", "HorizontalPodAutoscaler"),
            ("widgets", "Widget"),
        ] {
            assert_eq!(Kind::of(plural, "v1").name, kind);
        }
    }
}
