//! Events, as the kubelet's recorder writes them: repeats are updates of one object.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use serde_json::{Value, json};

use super::ApiServer;
use super::clock::seconds;
use super::story::PodRef;

impl ApiServer {
    /// A Warning event about a pod, from its kubelet; the same again counts up.
    pub fn warn(&self, pod: &PodRef, reason: &str, message: &str) {
        let object = self.object(&pod.path()).unwrap_or_else(|| json!({"kind": "Pod", "apiVersion": "v1"}));
        let field = pod.container.as_ref().map(|name| format!("spec.containers{{{name}}}"));
        let mut about = json!({
            "apiVersion": "v1", "kind": "Pod", "name": pod.name, "namespace": pod.namespace,
            "uid": object["metadata"]["uid"], "resourceVersion": object["metadata"]["resourceVersion"],
        });
        if let Some(field) = field {
            about["fieldPath"] = json!(field);
        }
        let host = object["spec"]["nodeName"].as_str().unwrap_or_default().to_string();
        self.event(&about, "Warning", reason, message, &json!({"component": "kubelet", "host": host}));
    }

    /// An event of any type about any object (an `ObjectReference`); the same again counts up.
    pub fn event(&self, about: &Value, kind: &str, reason: &str, message: &str, source: &Value) {
        let now = seconds(self.story_now());
        let text = |field: &str| about[field].as_str().unwrap_or_default();
        // Cluster-wide objects have their events in the default namespace.
        let namespace = if text("namespace").is_empty() { "default" } else { text("namespace") };
        // Like the recorder's key, the name stands for object, reason and message.
        let mut hash = DefaultHasher::new();
        (about["uid"].as_str(), kind, reason, message).hash(&mut hash);
        let name = format!("{}.{:016x}", text("name"), hash.finish());
        let repeated = self.edit(&format!("/api/v1/namespaces/{namespace}/events/{name}"), |event| {
            event["count"] = json!(event["count"].as_u64().unwrap_or(1) + 1);
            event["lastTimestamp"] = json!(now);
        });
        if repeated {
            return;
        }
        self.put(json!({
            "apiVersion": "v1", "kind": "Event", "count": 1, "eventTime": null, "firstTimestamp": now,
            "involvedObject": about, "lastTimestamp": now, "message": message,
            "metadata": {"name": name, "namespace": namespace},
            "reason": reason, "reportingComponent": source["component"], "reportingInstance": source["host"],
            "source": source, "type": kind,
        }));
    }
}
