//! Workloads and what happens to them, as sentences.

use serde_json::{Value, json};

use super::ApiServer;
use super::story::PodRef;
use super::template::PodTemplate;

/// A Deployment with its current ReplicaSet and pods.
#[derive(Clone, Debug)]
pub struct Deployment {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its current ReplicaSet's name.
    pub replica_set: String,
    /// Its pods, in the order of their creation.
    pub pods: Vec<PodRef>,
    revision: u64,
}

/// A rolling update under way: one pod is replaced at each step.
#[derive(Debug)]
pub struct Rollout<'a> {
    server: &'a ApiServer,
    deployment: &'a mut Deployment,
    template: PodTemplate,
    replica_set: Value,
    old: Vec<PodRef>,
}

impl ApiServer {
    /// A Deployment whose pods run and are ready, spread over the nodes.
    pub fn deploy(
        &self,
        namespace: &str,
        name: &str,
        replicas: usize,
        template: &PodTemplate,
        nodes: &[&str],
    ) -> Deployment {
        let owner = self.put(workload("Deployment", namespace, name, replicas, template));
        let replica_set = self.add_replica_set(&owner, replicas, template, 1);
        let mut deployment = Deployment {
            namespace: namespace.into(),
            name: name.into(),
            replica_set: replica_set["metadata"]["name"].as_str().unwrap_or_default().into(),
            pods: Vec::new(),
            revision: 1,
        };
        for number in 0..replicas {
            let node = nodes.get(number % nodes.len().max(1)).copied();
            let pod = self.add_pod_of(&replica_set, template, node);
            if node.is_some() {
                self.run(&pod);
            }
            deployment.pods.push(pod);
        }
        self.report(&deployment);
        deployment
    }

    /// Begins a rolling update to a new template.
    pub fn begin_rollout<'a>(&'a self, deployment: &'a mut Deployment, template: &PodTemplate) -> Rollout<'a> {
        deployment.revision += 1;
        let path = deployment.path();
        self.edit(&path, |object| {
            object["spec"]["template"] = template.json();
            object["metadata"]["generation"] = json!(object["metadata"]["generation"].as_u64().unwrap_or(1) + 1);
        });
        let owner = self.object(&path).unwrap_or_default();
        let replica_set = self.add_replica_set(&owner, deployment.pods.len(), template, deployment.revision);
        deployment.replica_set = replica_set["metadata"]["name"].as_str().unwrap_or_default().into();
        let old = std::mem::take(&mut deployment.pods);
        Rollout { server: self, deployment, template: template.clone(), replica_set, old }
    }

    /// A whole rolling update, healthy all the way, one pod after the other.
    pub fn rollout(&self, deployment: &mut Deployment, template: &PodTemplate) {
        let mut rollout = self.begin_rollout(deployment, template);
        while rollout.step() {}
    }

    /// The Deployment is deleted with all that it owns.
    pub fn delete_deployment(&self, deployment: &Deployment) {
        self.remove(&deployment.path());
        self.remove(&replica_set_path(&deployment.namespace, &deployment.replica_set));
        for pod in &deployment.pods {
            self.delete_pod(pod);
        }
    }

    /// A DaemonSet with one running pod on each node.
    pub fn add_daemon_set(&self, namespace: &str, name: &str, template: &PodTemplate, nodes: &[&str]) -> Vec<PodRef> {
        let mut object = workload("DaemonSet", namespace, name, nodes.len(), template);
        object["spec"].as_object_mut().map(|spec| spec.remove("replicas"));
        let count = nodes.len();
        object["status"] = json!({
            "currentNumberScheduled": count, "desiredNumberScheduled": count, "numberAvailable": count,
            "numberMisscheduled": 0, "numberReady": count, "observedGeneration": 1, "updatedNumberScheduled": count,
        });
        let owner = self.put(object);
        nodes
            .iter()
            .map(|node| {
                let pod = self.add_pod_of(&owner, template, Some(node));
                self.run(&pod);
                pod
            })
            .collect()
    }

    /// A StatefulSet or any other owner of pods (`apps/v1`), without pods.
    pub fn add_owner(&self, kind: &str, namespace: &str, name: &str, replicas: usize, template: &PodTemplate) -> Value {
        self.put(workload(kind, namespace, name, replicas, template))
    }

    /// A Job without pods, of a CronJob if one is given.
    pub fn add_job(&self, namespace: &str, name: &str, template: &PodTemplate, cron_job: Option<&Value>) -> Value {
        let mut job = json!({
            "apiVersion": "batch/v1", "kind": "Job",
            "metadata": {
                "generation": 1, "labels": {"batch.kubernetes.io/job-name": name}, "name": name, "namespace": namespace,
            },
            "spec": {
                "backoffLimit": 6, "completionMode": "NonIndexed", "completions": 1, "parallelism": 1,
                "podReplacementPolicy": "TerminatingOrFailed", "suspend": false, "template": template.json(),
            },
            "status": {"active": 1, "ready": 0, "terminating": 0, "uncountedTerminatedPods": {}},
        });
        if let Some(cron_job) = cron_job {
            job["metadata"]["ownerReferences"] = json!([reference(cron_job)]);
        }
        self.put(job)
    }

    fn add_replica_set(&self, owner: &Value, replicas: usize, template: &PodTemplate, revision: u64) -> Value {
        let hash = format!("{:08x}", fastrand::u32(..)).replace(['0', '1', '3', 'a', 'e'], "b");
        let text = |field: &str| owner["metadata"][field].as_str().unwrap_or_default().to_string();
        let (namespace, name) = (text("namespace"), text("name"));
        let mut object = workload("ReplicaSet", &namespace, &format!("{name}-{hash}"), replicas, template);
        object["metadata"]["annotations"] = json!({
            "deployment.kubernetes.io/desired-replicas": replicas.to_string(),
            "deployment.kubernetes.io/revision": revision.to_string(),
        });
        object["metadata"]["ownerReferences"] = json!([reference(owner)]);
        for labels in [&["metadata"][..], &["spec", "selector"], &["spec", "template", "metadata"]] {
            let parent = labels.iter().fold(&mut object, |value, part| &mut value[*part]);
            let field = if labels.last() == Some(&"selector") { "matchLabels" } else { "labels" };
            parent[field]["pod-template-hash"] = json!(hash);
        }
        self.put(object)
    }

    /// Brings a Deployment's status up to what its pods are.
    fn report(&self, deployment: &Deployment) {
        let ready =
            deployment.pods.iter().filter(|pod| self.object(&pod.path()).is_some_and(|pod| is_ready(&pod))).count();
        let replicas = deployment.pods.len();
        let status = json!({
            "availableReplicas": ready, "observedGeneration": deployment.revision, "readyReplicas": ready,
            "replicas": replicas, "terminatingReplicas": 0, "updatedReplicas": replicas,
            "unavailableReplicas": replicas - ready,
        });
        self.edit(&deployment.path(), |object| object["status"] = status);
        self.edit(&replica_set_path(&deployment.namespace, &deployment.replica_set), |object| {
            object["status"] = json!({
                "availableReplicas": ready, "fullyLabeledReplicas": replicas, "observedGeneration": 1,
                "readyReplicas": ready, "replicas": replicas,
            });
        });
    }
}

impl Deployment {
    /// Its path in the API.
    pub fn path(&self) -> String {
        format!("/apis/apps/v1/namespaces/{}/deployments/{}", self.namespace, self.name)
    }
}

impl Rollout<'_> {
    /// Replaces one pod: the new one starts, is unready for a moment, then ready; then the old one is deleted. False
    /// when there was none left.
    pub fn step(&mut self) -> bool {
        let Some(old) = (!self.old.is_empty()).then(|| self.old.remove(0)) else {
            return false;
        };
        let node = self.server.object(&old.path()).unwrap_or_default()["spec"]["nodeName"].as_str().map(str::to_string);
        let new = self.server.add_pod_of(&self.replica_set, &self.template, node.as_deref());
        self.server.accept(&new);
        self.server.not_ready_yet(&new);
        self.server.run(&new);
        self.server.delete_pod(&old);
        self.deployment.pods.push(new);
        self.server.report(self.deployment);
        true
    }
}

/// A workload of `apps/v1`.
fn workload(kind: &str, namespace: &str, name: &str, replicas: usize, template: &PodTemplate) -> Value {
    let template = template.json();
    let labels = &template["metadata"]["labels"];
    json!({
        "apiVersion": "apps/v1", "kind": kind,
        "metadata": {"generation": 1, "labels": labels, "name": name, "namespace": namespace},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template},
        "status": {"observedGeneration": 1, "replicas": replicas},
    })
}

fn reference(owner: &Value) -> Value {
    json!({
        "apiVersion": owner["apiVersion"], "blockOwnerDeletion": true, "controller": true, "kind": owner["kind"],
        "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"],
    })
}

fn replica_set_path(namespace: &str, name: &str) -> String {
    format!("/apis/apps/v1/namespaces/{namespace}/replicasets/{name}")
}

fn is_ready(pod: &Value) -> bool {
    let mut conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}
