//! Pods as they are written by people and completed by the server: templates, and the full-size JSON that v1.36 makes
//! of them.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::clock::seconds;
use super::kubelet::items_mut;

/// A pod's template, as a workload carries it.
#[derive(Clone, Debug)]
pub struct PodTemplate {
    /// The pod's labels.
    pub labels: Vec<(String, String)>,
    /// The pod's annotations.
    pub annotations: Vec<(String, String)>,
    /// The main containers.
    pub containers: Vec<Container>,
    /// Init containers, among them native sidecars.
    pub init_containers: Vec<Container>,
    /// `Always`, `OnFailure`, `Never`.
    pub restart_policy: &'static str,
    /// `spec.terminationGracePeriodSeconds`.
    pub grace_s: u64,
    /// `spec.priority`.
    pub priority: i64,
    /// The finalizers that hold a deleted pod.
    pub finalizers: Vec<String>,
    /// Whether the pods carry `metadata.managedFields`, as all real ones do.
    pub managed_fields: bool,
}

/// A container of a template.
#[derive(Clone, Debug)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// Its image.
    pub image: String,
    /// `resources.limits.memory`.
    pub memory_limit: Option<String>,
    /// Whether it has a readiness probe.
    pub readiness_probe: bool,
    /// As an init container: whether it is a native sidecar (`restartPolicy: Always`).
    pub sidecar: bool,
}

impl Container {
    /// A container with a memory limit and a readiness probe.
    pub fn new(name: &str, image: &str) -> Self {
        let memory_limit = Some("256Mi".to_string());
        Self { name: name.into(), image: image.into(), memory_limit, readiness_probe: true, sidecar: false }
    }

    /// The same as a native sidecar, for [`PodTemplate::init_containers`].
    #[must_use]
    pub fn as_sidecar(mut self) -> Self {
        self.sidecar = true;
        self
    }

    fn json(&self) -> Value {
        let mut container = json!({
            "env": [
                {"name": "LOG_LEVEL", "value": "info"},
                {"name": "HTTP_PORT", "value": "8080"},
                {"name": "POD_NAME", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}},
                {"name": "DATABASE_URL", "valueFrom": {"secretKeyRef": {"key": "url", "name": "database"}}},
            ],
            "image": self.image,
            "imagePullPolicy": "IfNotPresent",
            "name": self.name,
            "ports": [{"containerPort": 8080, "name": "http", "protocol": "TCP"}],
            "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
            "securityContext": {
                "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": true,
                "runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"},
            },
            "terminationMessagePath": "/dev/termination-log",
            "terminationMessagePolicy": "File",
            "volumeMounts": [
                {"mountPath": "/etc/app", "name": "config", "readOnly": true},
                {"mountPath": "/tmp", "name": "scratch"},
            ],
        });
        if let Some(limit) = &self.memory_limit {
            container["resources"]["limits"] = json!({"memory": limit});
        }
        let probe = |path: &str, failures: u64| {
            json!({
                "failureThreshold": failures, "httpGet": {"path": path, "port": "http", "scheme": "HTTP"},
                "periodSeconds": 10, "successThreshold": 1, "timeoutSeconds": 1,
            })
        };
        container["livenessProbe"] = probe("/livez", 3);
        if self.readiness_probe {
            container["readinessProbe"] = probe("/readyz", 3);
        }
        if self.sidecar {
            container["restartPolicy"] = json!("Always");
        }
        container
    }
}

impl PodTemplate {
    /// A template with one container and the label `app`.
    pub fn new(app: &str, container: Container) -> Self {
        Self {
            labels: vec![("app".to_string(), app.to_string())],
            annotations: Vec::new(),
            containers: vec![container],
            init_containers: Vec::new(),
            restart_policy: "Always",
            grace_s: 30,
            priority: 0,
            finalizers: Vec::new(),
            managed_fields: true,
        }
    }

    /// With one more container.
    #[must_use]
    pub fn and(mut self, container: Container) -> Self {
        self.containers.push(container);
        self
    }

    /// With an annotation.
    #[must_use]
    pub fn annotated(mut self, name: &str, value: &str) -> Self {
        self.annotations.push((name.to_string(), value.to_string()));
        self
    }

    /// `spec.template` of a workload.
    pub fn json(&self) -> Value {
        let map = |pairs: &[(String, String)]| -> Map<String, Value> {
            pairs.iter().map(|(name, value)| (name.clone(), json!(value))).collect()
        };
        let containers = |containers: &[Container]| containers.iter().map(Container::json).collect::<Vec<_>>();
        let mut template = json!({
            "metadata": {"labels": map(&self.labels)},
            "spec": {
                "containers": containers(&self.containers),
                "dnsPolicy": "ClusterFirst",
                "restartPolicy": self.restart_policy,
                "schedulerName": "default-scheduler",
                "securityContext": {},
                "terminationGracePeriodSeconds": self.grace_s,
                "volumes": [
                    {"configMap": {"defaultMode": 420, "name": "app-config"}, "name": "config"},
                    {"emptyDir": {"sizeLimit": "64Mi"}, "name": "scratch"},
                ],
            },
        });
        if !self.annotations.is_empty() {
            template["metadata"]["annotations"] = map(&self.annotations).into();
        }
        if !self.init_containers.is_empty() {
            template["spec"]["initContainers"] = containers(&self.init_containers).into();
        }
        template
    }
}

/// Who owns a pod, and what the pod is called.
pub(super) struct Naming {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) generate_name: Option<String>,
    pub(super) owner: Option<Value>,
    pub(super) labels: Vec<(&'static str, String)>,
}

/// A pod as the server stores it when it is created: defaulted, admitted, not scheduled.
pub(super) fn pod(naming: &Naming, template: &PodTemplate, now: Timestamp) -> Value {
    let mut pod = template.json();
    let metadata = &mut pod["metadata"];
    metadata["name"] = json!(naming.name);
    metadata["namespace"] = json!(naming.namespace);
    metadata["uid"] = json!(super::uid());
    metadata["generation"] = json!(1);
    metadata["creationTimestamp"] = json!(seconds(now));
    if let Some(prefix) = &naming.generate_name {
        metadata["generateName"] = json!(prefix);
    }
    if let Some(owner) = &naming.owner {
        metadata["ownerReferences"] = json!([owner]);
    }
    if !template.finalizers.is_empty() {
        metadata["finalizers"] = json!(template.finalizers);
    }
    for (name, value) in &naming.labels {
        metadata["labels"][*name] = json!(value);
    }
    admit(&mut pod["spec"], template.priority);
    pod["kind"] = json!("Pod");
    pod["apiVersion"] = json!("v1");
    pod["status"] = json!({"phase": "Pending", "qosClass": "Burstable"});
    if template.managed_fields {
        pod["metadata"]["managedFields"] = managed_fields(&pod, now);
    }
    pod
}

/// What defaulting and the ServiceAccount, priority and toleration admission plugins add.
fn admit(spec: &mut Value, priority: i64) {
    let volume = format!("kube-api-access-{}", super::suffix());
    let toleration =
        |key: &str| json!({"effect": "NoExecute", "key": key, "operator": "Exists", "tolerationSeconds": 300});
    spec["enableServiceLinks"] = json!(true);
    spec["preemptionPolicy"] = json!("PreemptLowerPriority");
    spec["priority"] = json!(priority);
    spec["serviceAccount"] = json!("default");
    spec["serviceAccountName"] = json!("default");
    spec["tolerations"] =
        json!([toleration("node.kubernetes.io/not-ready"), toleration("node.kubernetes.io/unreachable")]);
    let projected = json!({
        "name": volume,
        "projected": {"defaultMode": 420, "sources": [
            {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
            {"configMap": {"items": [{"key": "ca.crt", "path": "ca.crt"}], "name": "kube-root-ca.crt"}},
            {"downwardAPI": {"items": [
                {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}, "path": "namespace"},
            ]}},
        ]},
    });
    if let Some(volumes) = spec["volumes"].as_array_mut() {
        volumes.push(projected);
    }
    let mount = json!({"mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "name": volume, "readOnly": true});
    for containers in ["containers", "initContainers"] {
        for container in items_mut(spec, containers) {
            if let Some(mounts) = container["volumeMounts"].as_array_mut() {
                mounts.push(mount.clone());
            }
        }
    }
}

/// `metadata.managedFields` as server-side tracking makes them: one entry of who created the pod, one of its kubelet.
fn managed_fields(pod: &Value, now: Timestamp) -> Value {
    let at = seconds(now);
    let created = json!({
        "f:metadata": owned(&json!({"labels": pod["metadata"]["labels"], "ownerReferences": []})),
        "f:spec": owned(&pod["spec"]),
    });
    let condition = json!({".": {}, "f:lastProbeTime": {}, "f:lastTransitionTime": {}, "f:observedGeneration": {},
        "f:status": {}, "f:type": {}});
    let conditions: Map<String, Value> = ["ContainersReady", "Initialized", "PodReadyToStartContainers", "Ready"]
        .iter()
        .map(|kind| (format!("k:{{\"type\":\"{kind}\"}}"), condition.clone()))
        .collect();
    let status = json!({"f:status": {
        "f:conditions": conditions, "f:containerStatuses": {}, "f:hostIP": {}, "f:hostIPs": {},
        "f:observedGeneration": {}, "f:phase": {}, "f:podIP": {},
        "f:podIPs": {".": {}, "k:{\"ip\":\"10.244.0.7\"}": {".": {}, "f:ip": {}}}, "f:startTime": {},
    }});
    json!([
        {"apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": created, "manager": "kube-controller-manager",
            "operation": "Update", "time": at},
        {"apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": status, "manager": "kubelet",
            "operation": "Update", "subresource": "status", "time": at},
    ])
}

/// The `fieldsV1` of a value: its structure without its values.
fn owned(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| (format!("f:{name}"), owned(value))).collect::<Map<_, _>>().into()
        }
        Value::Array(items) if items.iter().all(|item| item.get("name").is_some()) => {
            let key = |item: &Value| format!("k:{{\"name\":{}}}", item["name"]);
            let mut fields: Map<_, _> = items.iter().map(|item| (key(item), owned(item))).collect();
            fields.insert(".".into(), json!({}));
            fields.into()
        }
        _ => json!({}),
    }
}
