//! What happens to nodes, as sentences.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::ApiServer;
use super::clock::{micros, seconds};
use super::kubelet::set_condition;
use super::object::Object;
use super::selector::Selector;
use super::target::{Query, Target};

impl ApiServer {
    /// A Ready node joins, with its Lease.
    pub fn add_node(&self, name: &str) {
        let now = self.story_now();
        self.put(node(name, now));
        self.renew_node_lease(name);
    }

    /// The node's kubelet renews its Lease.
    pub fn renew_node_lease(&self, name: &str) {
        self.put(json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": name, "namespace": "kube-node-lease"},
            "spec": {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": micros(self.story_node_now())},
        }));
    }

    /// The node stops answering: after its grace period the node controller makes it Unknown and its pods not Ready.
    pub fn node_dies(&self, name: &str) {
        let now = self.story_now();
        let taint = |effect: &str| json!({"effect": effect, "key": "node.kubernetes.io/unreachable", "timeAdded": seconds(now)});
        self.edit(&node_path(name), |node| {
            for condition in node["status"]["conditions"].as_array_mut().into_iter().flatten() {
                condition["status"] = json!("Unknown");
                condition["reason"] = json!("NodeStatusUnknown");
                condition["message"] = json!("Kubelet stopped posting node status.");
                condition["lastTransitionTime"] = json!(seconds(now));
            }
            node["spec"]["taints"] = json!([taint("NoSchedule"), taint("NoExecute")]);
        });
        self.judge_pods_of(name, "False");
        let about = json!({"apiVersion": "v1", "kind": "Node", "name": name, "uid": name});
        let message = format!("Node {name} status is now: NodeNotReady");
        self.event(&about, "Normal", "NodeNotReady", &message, &json!({"component": "node-controller"}));
    }

    /// The node answers again, and its pods are as Ready as their containers.
    pub fn node_recovers(&self, name: &str) {
        let now = self.story_now();
        self.edit(&node_path(name), |object| {
            let fresh = node(name, now);
            object["status"]["conditions"] = fresh["status"]["conditions"].clone();
            object["spec"].as_object_mut().map(|spec| spec.remove("taints"));
        });
        self.judge_pods_of(name, "True");
        self.renew_node_lease(name);
    }

    /// The node's kubelet says itself that it is not ready.
    pub fn node_not_ready(&self, name: &str, message: &str) {
        let now = self.story_node_now();
        self.edit(&node_path(name), |node| {
            for condition in node["status"]["conditions"].as_array_mut().into_iter().flatten() {
                if condition["type"] == "Ready" {
                    condition["status"] = json!("False");
                    condition["reason"] = json!("KubeletNotReady");
                    condition["message"] = json!(message);
                    condition["lastTransitionTime"] = json!(seconds(now));
                }
            }
        });
        self.judge_pods_of(name, "False");
    }

    /// Somebody cordons the node, or lifts it.
    pub fn cordon(&self, name: &str, cordoned: bool) {
        self.edit(&node_path(name), |node| {
            if cordoned {
                node["spec"]["unschedulable"] = json!(true);
            } else {
                node["spec"].as_object_mut().map(|spec| spec.remove("unschedulable"));
            }
        });
    }

    /// The node is removed, with its pods.
    pub fn remove_node(&self, name: &str) {
        self.remove(&node_path(name));
        self.remove(&format!("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{name}"));
        for path in self.pods_of(name) {
            self.remove(&path);
        }
    }

    /// The paths of a node's pods.
    fn pods_of(&self, node: &str) -> Vec<String> {
        let query = Query::parse(Some(&format!("fieldSelector=spec.nodeName={node}")));
        let selector = Selector::parse(&query, "pods").unwrap_or_default();
        let pods = Target { version: "v1".into(), plural: "pods".into(), ..Target::default() };
        let found = self.inner.lock().store.collection(&pods).select(None, &selector);
        let field = |pod: &Object, path| pod.selectable.field(path).to_string();
        let path = |pod: &Object| {
            format!("/api/v1/namespaces/{}/pods/{}", field(pod, "metadata.namespace"), field(pod, "metadata.name"))
        };
        found.iter().map(|pod| path(pod)).collect()
    }

    /// Sets Ready of a node's pods, as the node controller does: the condition alone, without a reason.
    fn judge_pods_of(&self, node: &str, ready: &str) {
        let now = self.story_now();
        for path in self.pods_of(node) {
            self.edit(&path, |pod| {
                let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
                let containers = conditions.iter().find(|condition| condition["type"] == "ContainersReady");
                if containers.is_some_and(|condition| condition["status"] == "True") {
                    set_condition(pod, "Ready", ready, None, now);
                }
            });
        }
    }
}

fn node_path(name: &str) -> String {
    format!("/api/v1/nodes/{name}")
}

/// A Ready node.
fn node(name: &str, now: Timestamp) -> Value {
    let at = seconds(now);
    let condition = |kind: &str, status: &str, reason: &str, message: &str| {
        json!({"lastHeartbeatTime": at, "lastTransitionTime": at, "message": message, "reason": reason, "status": status,
            "type": kind})
    };
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {
            "annotations": {
                "node.alpha.kubernetes.io/ttl": "0", "volumes.kubernetes.io/controller-managed-attach-detach": "true",
            },
            "creationTimestamp": at,
            "labels": {
                "beta.kubernetes.io/arch": "amd64", "beta.kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
                "kubernetes.io/hostname": name, "kubernetes.io/os": "linux",
            },
            "name": name,
        },
        "spec": {},
        "status": {
            "addresses": [{"address": "10.89.0.1", "type": "InternalIP"}, {"address": name, "type": "Hostname"}],
            "allocatable": {"cpu": "2", "ephemeral-storage": "267847642337", "memory": "24673856Ki", "pods": "110"},
            "capacity": {"cpu": "2", "ephemeral-storage": "264212084Ki", "memory": "24684096Ki", "pods": "110"},
            "conditions": [
                condition("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
                condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
                condition("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
                condition("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
            ],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
            "nodeInfo": {
                "architecture": "amd64", "bootID": super::uid(), "containerRuntimeVersion": "containerd://2.4.2",
                "kernelVersion": "6.18.44", "kubeProxyVersion": "", "kubeletVersion": "v1.36.3",
                "machineID": "3d1219c7c4c5404aaa1f6d2a48adfda4", "operatingSystem": "linux",
                "osImage": "Debian GNU/Linux 12 (bookworm)", "systemUUID": "3d1219c7c4c5404aaa1f6d2a48adfda4",
            },
        },
    })
}
