//! What happens to pods, as sentences: each verb writes what the kubelet, the scheduler or a controller would write.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::ApiServer;
use super::clock::seconds;
use super::kubelet::{self, Ended};
use super::template::{self, Naming, PodTemplate};
use super::tokens::Identity;

/// A pod, or one of its containers, by name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PodRef {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The container that verbs are about; the first main one if none is named.
    pub container: Option<String>,
}

impl PodRef {
    /// A pod by name.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into(), container: None }
    }

    /// One container of it, or an init container.
    #[must_use]
    pub fn container(&self, name: &str) -> Self {
        Self { container: Some(name.into()), ..self.clone() }
    }

    /// Its path in the API.
    pub fn path(&self) -> String {
        format!("/api/v1/namespaces/{}/pods/{}", self.namespace, self.name)
    }
}

/// Pods come.
impl ApiServer {
    /// What stories write from now on happened that long ago; zero ends it.
    pub fn backdate(&self, ago: Duration) {
        *self.inner.backdated.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = ago;
    }

    /// A pod without an owner is created, and scheduled if there is a node.
    pub fn add_pod(&self, namespace: &str, name: &str, template: &PodTemplate, node: Option<&str>) -> PodRef {
        let naming =
            Naming { namespace: namespace.into(), name: name.into(), generate_name: None, owner: None, labels: vec![] };
        self.create_pod(&naming, template, node)
    }

    /// A pod of an owner (a ReplicaSet, StatefulSet, DaemonSet, Job or anything else) is created, and scheduled if there
    /// is a node. StatefulSets number their pods by what exists.
    pub fn add_pod_of(&self, owner: &Value, template: &PodTemplate, node: Option<&str>) -> PodRef {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
        let (kind, owner_name) = (text(&owner["kind"]), text(&owner["metadata"]["name"]));
        let namespace = text(&owner["metadata"]["namespace"]);
        let mut labels = Vec::new();
        for label in ["pod-template-hash", "controller-revision-hash", "batch.kubernetes.io/job-name"] {
            let value = text(&owner["metadata"]["labels"][label]);
            if !value.is_empty() {
                labels.push((label, value));
            }
        }
        let (name, generate_name) = if kind == "StatefulSet" {
            let mut number = 0;
            while self.object(&PodRef::new(&namespace, &format!("{owner_name}-{number}")).path()).is_some() {
                number += 1;
            }
            (format!("{owner_name}-{number}"), None)
        } else {
            // Of five thousand names with random ends two are the same as often as not.
            let mut name = format!("{owner_name}-{}", super::suffix());
            while self.object(&PodRef::new(&namespace, &name).path()).is_some() {
                name = format!("{owner_name}-{}", super::suffix());
            }
            (name, Some(format!("{owner_name}-")))
        };
        let owner = json!({
            "apiVersion": owner["apiVersion"], "blockOwnerDeletion": true, "controller": true, "kind": kind,
            "name": owner_name, "uid": owner["metadata"]["uid"],
        });
        let naming = Naming { namespace, name, generate_name, owner: Some(owner), labels };
        self.create_pod(&naming, template, node)
    }

    fn create_pod(&self, naming: &Naming, template: &PodTemplate, node: Option<&str>) -> PodRef {
        self.put(template::pod(naming, template, self.story_now()));
        let pod = PodRef::new(&naming.namespace, &naming.name);
        if let Some(node) = node {
            self.schedule(&pod, node);
        }
        pod
    }

    /// The scheduler binds the pod to a node.
    pub fn schedule(&self, pod: &PodRef, node: &str) {
        let now = self.story_now();
        self.edit_pod(pod, |pod| {
            pod["spec"]["nodeName"] = json!(node);
            kubelet::set_condition(pod, "PodScheduled", "True", None, now);
        });
    }

    /// The scheduler finds no node for the pod.
    pub fn unschedulable(&self, pod: &PodRef) {
        let now = self.story_now();
        let message = "0/3 nodes are available: 3 Insufficient memory. no new claims to deallocate, preemption: 0/3 nodes \
                       are available: 3 Preemption is not helpful for scheduling.";
        self.edit_pod(pod, |pod| {
            kubelet::set_condition(pod, "PodScheduled", "False", Some(("Unschedulable", message)), now);
        });
        self.warn(pod, "FailedScheduling", message);
    }

    /// The kubelet accepts the pod: its containers are being created.
    pub fn accept(&self, pod: &PodRef) {
        let now = self.story_node_now();
        self.edit_pod(pod, |pod| kubelet::accept(pod, now));
    }
}

/// Pods run and fail.
impl ApiServer {
    /// All containers run and are ready; what crashed before was restarted.
    pub fn run(&self, pod: &PodRef) {
        self.each_container(pod, true);
    }

    /// All containers run; the container meant is not ready.
    pub fn not_ready(&self, pod: &PodRef) {
        self.each_container(pod, false);
        self.warn(pod, "Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 503");
    }

    /// All containers run; the container meant has not passed its first probe yet.
    pub fn not_ready_yet(&self, pod: &PodRef) {
        self.each_container(pod, false);
    }

    /// The container's process has ended with this code and was not started again yet.
    pub fn crash(&self, pod: &PodRef, exit_code: i32) {
        let reason = if exit_code == 0 { "Completed" } else { "Error" };
        self.ends(pod, exit_code, reason);
    }

    /// The container was killed by the kernel for its memory limit.
    pub fn oom_kill(&self, pod: &PodRef) {
        self.ends(pod, 137, "OOMKilled");
    }

    /// The container, after it ended, happens to run again: restarted, not ready yet.
    pub fn restart(&self, pod: &PodRef) {
        self.with_container(pod, |container, _, now| {
            if container["state"].get("waiting").is_some() {
                container["restartCount"] = json!(container["restartCount"].as_u64().unwrap_or(0) + 1);
            }
            kubelet::run(container, false, now);
        });
    }

    /// The container crashes again and again: it waits before its next start, after so many restarts.
    pub fn crash_loop(&self, pod: &PodRef, restarts: u64) {
        self.with_container(pod, |container, pod, at| {
            kubelet::back_off(container, restarts, pod, Ended { exit_code: 1, reason: "Error", at });
        });
        self.warn(pod, "BackOff", &format!("Back-off restarting failed container in pod {}", self.long_name(pod)));
    }

    /// The container's image cannot be pulled.
    pub fn image_pull_fails(&self, pod: &PodRef) {
        let message = self.pull_error(pod);
        self.waits(pod, "ErrImagePull", Some(&message));
        self.warn(pod, "Failed", &format!("Failed to pull image: {message}"));
    }

    /// The kubelet waits before it tries to pull the container's image again.
    pub fn image_pull_backs_off(&self, pod: &PodRef) {
        let message = format!("Back-off pulling image: ErrImagePull: {}", self.pull_error(pod));
        self.waits(pod, "ImagePullBackOff", Some(&message));
    }

    /// The container waits for any other reason, such as `CreateContainerConfigError`.
    pub fn waits(&self, pod: &PodRef, reason: &str, message: Option<&str>) {
        self.with_container(pod, |container, _, _| kubelet::wait(container, reason, message));
    }

    /// The kubelet evicts the pod to reclaim a resource of the node.
    pub fn evict(&self, pod: &PodRef) {
        let message = "The node was low on resource: memory. Threshold quantity: 100Mi, available: 76Mi. ";
        self.crash(pod, 137);
        let now = self.story_node_now();
        self.edit_pod(pod, |pod| {
            kubelet::finish(pod, "Failed", Some(("Evicted", message)), now);
            kubelet::set_condition(pod, "DisruptionTarget", "True", Some(("TerminationByKubelet", message)), now);
        });
        self.warn(pod, "Evicted", message);
    }

    /// The pod ends for good with this code: Succeeded or Failed.
    pub fn finish(&self, pod: &PodRef, exit_code: i32) {
        self.crash(pod, exit_code);
        let now = self.story_node_now();
        let phase = if exit_code == 0 { "Succeeded" } else { "Failed" };
        self.edit_pod(pod, |pod| kubelet::finish(pod, phase, None, now));
    }
}

/// Pods go.
impl ApiServer {
    /// Somebody deletes the pod: it has its grace period to end.
    pub fn terminate(&self, pod: &PodRef) {
        let now = self.story_now();
        self.edit_pod(pod, |pod| {
            let grace_s = pod["spec"]["terminationGracePeriodSeconds"].as_i64().unwrap_or(30);
            let ends = now.checked_add(jiff::SignedDuration::from_secs(grace_s)).unwrap_or(now);
            pod["metadata"]["deletionTimestamp"] = json!(seconds(ends));
            pod["metadata"]["deletionGracePeriodSeconds"] = json!(grace_s);
            pod["metadata"]["generation"] = json!(pod["metadata"]["generation"].as_u64().unwrap_or(1) + 1);
        });
    }

    /// The pod is deleted, ends, and is gone.
    pub fn delete_pod(&self, pod: &PodRef) {
        self.terminate(pod);
        self.crash(pod, 143);
        self.remove(&pod.path());
    }
}

/// What the verbs are made of.
impl ApiServer {
    /// A token for a ServiceAccount bound to a pod, as the kubelet projects it into the pod.
    pub fn issue_pod_token(&self, pod: &PodRef, service_account: &str, audience: &str) -> String {
        let object = self.object(&pod.path()).unwrap_or_default();
        let uid = object["metadata"]["uid"].as_str().unwrap_or_default();
        let identity = Identity::service_account(&pod.namespace, service_account).for_audience(audience);
        let identity = identity.bound_to_pod(&pod.name, uid);
        let node = object["spec"]["nodeName"].as_str().unwrap_or_default();
        self.issue_token(if self.inner.options.names_nodes { identity.on_node(node) } else { identity })
    }

    /// The time of what the API server and controllers write.
    pub(super) fn story_now(&self) -> Timestamp {
        self.ago(self.now())
    }

    /// The time of what kubelets write: the nodes' clocks are this machine's.
    pub(super) fn story_node_now(&self) -> Timestamp {
        self.ago(self.inner.clock.of_nodes())
    }

    fn ago(&self, now: Timestamp) -> Timestamp {
        let ago = *self.inner.backdated.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        now.checked_sub(ago).unwrap_or(now)
    }

    /// Changes a pod by hand, for what no verb says.
    ///
    /// # Panics
    /// If there is no such pod: the story is wrong.
    pub fn edit_pod(&self, pod: &PodRef, change: impl FnOnce(&mut Value)) {
        assert!(self.edit(&pod.path(), change), "there is no pod {}", pod.path());
    }

    fn with_container(&self, pod: &PodRef, change: impl FnOnce(&mut Value, &str, Timestamp)) {
        let now = self.story_node_now();
        let long_name = self.long_name(pod);
        self.edit_pod(pod, |object| {
            if object["status"]["containerStatuses"].is_null() {
                kubelet::accept(object, now);
            }
            let container = kubelet::container(object, pod.container.as_deref())
                .unwrap_or_else(|| panic!("there is no container {:?} in {}", pod.container, pod.path()));
            change(container, &long_name, now);
            kubelet::judge_readiness(object, now);
        });
    }

    /// All containers run; the one that the reference means is ready or not.
    fn each_container(&self, pod: &PodRef, ready: bool) {
        let now = self.story_node_now();
        self.edit_pod(pod, |object| {
            if object["status"]["containerStatuses"].is_null() {
                kubelet::accept(object, now);
            }
            let meant = pod.container.clone();
            let init = object["spec"]["initContainers"].as_array().cloned().unwrap_or_default();
            for container in kubelet::items_mut(&mut object["status"], "initContainerStatuses") {
                let sidecar =
                    init.iter().any(|spec| spec["name"] == container["name"] && spec["restartPolicy"] == "Always");
                kubelet::run(container, true, now);
                if !sidecar {
                    kubelet::end(container, Ended { exit_code: 0, reason: "Completed", at: now });
                    container["ready"] = json!(true);
                }
            }
            for (at, container) in kubelet::items_mut(&mut object["status"], "containerStatuses").enumerate() {
                let is_meant = meant.as_ref().map_or(at == 0, |name| container["name"] == *name);
                if container["state"]["waiting"]["reason"] == "CrashLoopBackOff" {
                    container["restartCount"] = json!(container["restartCount"].as_u64().unwrap_or(0) + 1);
                }
                kubelet::run(container, ready || !is_meant, now);
            }
            kubelet::judge_readiness(object, now);
        });
    }

    fn ends(&self, pod: &PodRef, exit_code: i32, reason: &'static str) {
        self.with_container(pod, |container, _, at| kubelet::end(container, Ended { exit_code, reason, at }));
    }

    /// `NAME_NAMESPACE(UID)`, as the kubelet names pods.
    fn long_name(&self, pod: &PodRef) -> String {
        let uid =
            self.object(&pod.path()).map(|object| object["metadata"]["uid"].as_str().unwrap_or_default().to_string());
        format!("{}_{}({})", pod.name, pod.namespace, uid.unwrap_or_default())
    }

    fn pull_error(&self, pod: &PodRef) -> String {
        let object = self.object(&pod.path()).unwrap_or_default();
        let containers = object["spec"]["containers"].as_array().cloned().unwrap_or_default();
        let meant = containers.iter().find(|spec| pod.container.as_ref().is_none_or(|name| spec["name"] == *name));
        let image = meant.and_then(|spec| spec["image"].as_str()).unwrap_or_default();
        format!("failed to pull and unpack image {image:?}: failed to resolve image: {image}: not found")
    }
}
