//! The workloads: how they fail, and what they look like when they do no more.

use serde_json::{Value, json};
use tocsin_tests::cluster::Cluster;

/// Where they run.
pub(crate) const NAMESPACE: &str = "shop";

/// A Deployment whose pods run a script; `fields` replace some of the container's.
pub(crate) fn deployment(name: &str, replicas: u32, script: &str, fields: Option<&Value>) -> Value {
    let mut container = json!({
        "name": "app",
        "image": Cluster::BUSYBOX_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "args": ["-c", script],
    });
    for (field, value) in fields.and_then(Value::as_object).into_iter().flatten() {
        container[field] = value.clone();
    }
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": name, "namespace": NAMESPACE },
        "spec": {
            "replicas": replicas,
            "selector": { "matchLabels": { "app": name } },
            "template": {
                "metadata": { "labels": { "app": name } },
                "spec": {
                    "terminationGracePeriodSeconds": 1,
                    "containers": [container],
                },
            },
        },
    })
}

/// Ready as long as a command of the container succeeds.
pub(crate) fn ready_if(command: &str) -> Value {
    json!({ "readinessProbe": { "exec": { "command": ["sh", "-c", command] }, "periodSeconds": 1 } })
}

/// Each fails in its own way.
pub(crate) fn failing() -> Vec<Value> {
    // Again and again, so that it loops as well: that is no message of its own.
    let hungry = json!({ "resources": { "limits": { "memory": "20Mi" } } });
    // Only a pod that is asked to: the one that replaces it does not.
    let littering =
        "until test -e /tmp/litter; do sleep 1; done; dd if=/dev/zero of=/tmp/full bs=1M count=30; sleep 36000";
    vec![
        deployment("crashing", 1, "exit 3", None),
        deployment("imageless", 1, "sleep 36000", Some(&json!({ "image": "localhost/absent:1" }))),
        deployment("hungry", 1, "exec tail /dev/zero", Some(&hungry)),
        deployment("unready", 1, "sleep 36000", Some(&ready_if("test -e /tmp/ready"))),
        deployment("huge", 1, "sleep 36000", Some(&json!({ "resources": { "requests": { "memory": "1000Gi" } } }))),
        deployment(
            "littering",
            1,
            littering,
            Some(&json!({ "resources": { "limits": { "ephemeral-storage": "10Mi" } } })),
        ),
    ]
}

/// Those that a new version mends.
pub(crate) fn mended() -> Vec<Value> {
    ["crashing", "imageless", "hungry", "huge", "littering"].map(|name| deployment(name, 1, "sleep 36000", None)).into()
}
