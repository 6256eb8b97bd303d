//! What kube-linter checks by default, by its names, of every object of every entry of the matrix. That program itself is
//! a Go module that the module proxy does not have.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::installation::{matrix, of_kinds, rendered, with_file};

/// In it the users say themselves how their pods are spread.
const USERS_OWN: &str = "pods-values.yaml";
/// Host paths that are nobody's business.
const SENSITIVE: [&str; 9] = ["/", "/boot", "/dev", "/etc", "/lib", "/proc", "/sys", "/usr", "docker.sock"];

/// What some check does not like, as "check: object".
type Findings = Vec<String>;

/// An object that makes pods, or is one.
struct Workload<'a> {
    object: &'a Value,
    metadata: &'a Value,
    spec: &'a Value,
}

impl Workload<'_> {
    fn containers(&self) -> impl Iterator<Item = &Value> {
        ["containers", "initContainers"].into_iter().flat_map(|kind| self.spec[kind].as_array().into_iter().flatten())
    }

    /// Of the container, or else of its pod.
    fn security<'b>(&'b self, container: &'b Value, field: &str) -> &'b Value {
        match &container["securityContext"][field] {
            Value::Null => &self.spec["securityContext"][field],
            value => value,
        }
    }
}

fn workloads(objects: &[Value]) -> Vec<Workload<'_>> {
    let makers = of_kinds(objects, &["DaemonSet", "Deployment"]).map(|object| (object, &object["spec"]["template"]));
    let pods = of_kinds(objects, &["Pod"]).map(|object| (object, object));
    let both = makers.chain(pods);
    both.map(|(object, pod)| Workload { object, metadata: &pod["metadata"], spec: &pod["spec"] }).collect()
}

/// Everything that is not as it should be.
fn lint(objects: &[Value]) -> Findings {
    let mut found = Vec::new();
    let workloads = workloads(objects);
    for workload in &workloads {
        let mut say = |check: &str, is_bad: bool| {
            if is_bad {
                found.push(format!("{check}: {} {}", workload.object["kind"], workload.object["metadata"]["name"]));
            }
        };
        of_pod(workload, objects, &mut say);
        for container in workload.containers() {
            of_container(workload, container, &mut say);
        }
    }
    for object in objects {
        let mut say = |check: &str, is_bad: bool| {
            if is_bad {
                found.push(format!("{check}: {} {}", object["kind"], object["metadata"]["name"]));
            }
        };
        say("no-extensions-v1beta", object["apiVersion"].as_str().is_none_or(|api| api.starts_with("extensions/")));
        match object["kind"].as_str() {
            Some("Service") => {
                let selected =
                    || workloads.iter().filter(|it| includes(&it.metadata["labels"], &object["spec"]["selector"]));
                say("dangling-service", selected().next().is_none());
                let has_port = |port: &Value| selected().all(|it| it.containers().any(|it| ports(it).contains(port)));
                let mut targets =
                    object["spec"]["ports"].as_array().into_iter().flatten().map(|port| &port["targetPort"]);
                say("invalid-target-ports", !targets.all(has_port));
            }
            Some("PodDisruptionBudget") => {
                let spec = &object["spec"];
                say("pdb-max-unavailable", spec["maxUnavailable"] == json!(0) || spec["maxUnavailable"] == "0%");
                say("pdb-min-available", spec.get("minAvailable").is_some());
                say("pdb-unhealthy-pod-eviction-policy", spec.get("unhealthyPodEvictionPolicy").is_none());
            }
            _ => {}
        }
    }
    found
}

fn of_pod(workload: &Workload<'_>, objects: &[Value], say: &mut impl FnMut(&str, bool)) {
    let Workload { object, metadata, spec } = workload;
    for (check, field) in [("host-ipc", "hostIPC"), ("host-network", "hostNetwork"), ("host-pid", "hostPID")] {
        say(check, spec[field] == true);
    }
    say("deprecated-service-account-field", spec.get("serviceAccount").is_some());
    let account = &spec["serviceAccountName"];
    let is_there =
        |account: &Value| of_kinds(objects, &["ServiceAccount"]).any(|it| it["metadata"]["name"] == *account);
    say("non-existent-service-account", !is_there(account));
    say("unsafe-sysctls", spec["securityContext"].get("sysctls").is_some());
    let selector = &object["spec"]["selector"]["matchLabels"];
    say("mismatching-selector", object["kind"] != "Pod" && !includes(&metadata["labels"], selector));
    let is_apart = spec["affinity"]["podAntiAffinity"].is_object();
    say("no-anti-affinity", object["spec"]["replicas"].as_u64().is_some_and(|replicas| replicas > 1) && !is_apart);
    say(
        "restart-policy",
        spec.get("restartPolicy").is_some_and(|policy| object["kind"] != "Pod" && policy != "Always"),
    );
    for volume in spec["volumes"].as_array().into_iter().flatten() {
        let path = volume["hostPath"]["path"].as_str().unwrap_or_default();
        say(
            "docker-sock, sensitive-host-mounts",
            SENSITIVE.iter().any(|it| path == *it || path.ends_with("docker.sock")),
        );
    }
}

fn of_container(workload: &Workload<'_>, container: &Value, say: &mut impl FnMut(&str, bool)) {
    let security = |field: &str| workload.security(container, field);
    let dropped = security("capabilities")["drop"].as_array().into_iter().flatten();
    say("drop-net-raw-capability", !dropped.into_iter().any(|it| it == "ALL" || it == "NET_RAW"));
    say("no-read-only-root-fs", security("readOnlyRootFilesystem") != true);
    say("privilege-escalation-container", security("allowPrivilegeEscalation") != false);
    say("privileged-container", security("privileged") == true);
    say("run-as-non-root", security("runAsNonRoot") != true || *security("runAsUser") == json!(0));
    let image = container["image"].as_str().unwrap_or_default();
    let tag = image.rsplit('/').next().and_then(|name| name.split_once([':', '@']));
    say("latest-tag", tag.is_none_or(|(_, tag)| tag == "latest" || tag.is_empty()));
    let resources = &container["resources"];
    say("unset-cpu-requirements", resources["requests"].get("cpu").is_none());
    let has_memory = |which: &str| resources[which].get("memory").is_some();
    say("unset-memory-requirements", !has_memory("requests") || !has_memory("limits"));
    let env: Vec<_> = container["env"].as_array().into_iter().flatten().collect();
    let names: BTreeSet<_> = env.iter().map(|variable| variable["name"].to_string()).collect();
    say("duplicate-env-var", names.len() != env.len());
    let is_secret = |it: &&Value| it["name"].to_string().to_lowercase().contains("secret") && it["value"].is_string();
    say("env-var-secret", env.iter().any(is_secret));
    say("ssh-port", ports(container).contains(&json!(22)));
    for (check, probe) in
        [("liveness-port", "livenessProbe"), ("readiness-port", "readinessProbe"), ("startup-port", "startupProbe")]
    {
        let port = container[probe]["httpGet"].get("port");
        say(check, port.is_some_and(|port| !ports(container).contains(port)));
    }
}

/// The names and numbers of a container's ports.
fn ports(container: &Value) -> Vec<Value> {
    let ports = container["ports"].as_array().into_iter().flatten();
    ports.flat_map(|port| [port["name"].clone(), port["containerPort"].clone()]).collect()
}

fn includes(labels: &Value, selector: &Value) -> bool {
    selector.as_object().is_some_and(|wanted| wanted.iter().all(|(name, value)| labels[name] == *value))
}

#[test]
fn nothing_is_found_in_any_installation() {
    for values in matrix() {
        let mut found = lint(&rendered(&with_file(&values)));
        if values.ends_with(USERS_OWN) {
            found.retain(|finding| !finding.starts_with("no-anti-affinity"));
        }
        assert_eq!(found, Findings::new(), "{}", values.display());
    }
}

/// Each check is there to find something.
#[test]
fn what_is_bad_is_found() {
    let pod = json!({
        "hostIPC": true, "hostNetwork": true, "hostPID": true, "serviceAccount": "old", "serviceAccountName": "absent",
        "securityContext": {"sysctls": []}, "restartPolicy": "Never",
        "volumes": [{"hostPath": {"path": "/var/run/docker.sock"}}, {"hostPath": {"path": "/etc"}}],
        "containers": [{
            "image": "tocsin:latest", "securityContext": {"privileged": true, "runAsUser": 0},
            "env": [{"name": "A_SECRET", "value": "x"}, {"name": "A_SECRET", "value": "y"}],
            "ports": [{"containerPort": 22}],
            "livenessProbe": {"httpGet": {"port": "a"}}, "readinessProbe": {"httpGet": {"port": "a"}},
            "startupProbe": {"httpGet": {"port": "a"}},
        }],
    });
    let workload = json!({
        "apiVersion": "extensions/v1beta1", "kind": "Deployment", "metadata": {"name": "bad"},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "other"}}, "template": {"metadata": {"labels": {"app": "bad"}}, "spec": pod}},
    });
    let service = |app: &str| {
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": app},
            "spec": {"selector": {"app": app}, "ports": [{"targetPort": "absent"}]},
        })
    };
    let budget = json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "bad"},
        "spec": {"maxUnavailable": 0, "minAvailable": 1},
    });
    let found = lint(&[workload, service("bad"), service("nobody"), budget]);
    let checks: BTreeSet<_> =
        found.iter().filter_map(|finding| finding.split_once(": ")).map(|(check, _)| check).collect();
    let all = [
        "dangling-service",
        "deprecated-service-account-field",
        "docker-sock, sensitive-host-mounts",
        "drop-net-raw-capability",
        "duplicate-env-var",
        "env-var-secret",
        "host-ipc",
        "host-network",
        "host-pid",
        "invalid-target-ports",
        "latest-tag",
        "liveness-port",
        "mismatching-selector",
        "no-anti-affinity",
        "no-extensions-v1beta",
        "no-read-only-root-fs",
        "non-existent-service-account",
        "pdb-max-unavailable",
        "pdb-min-available",
        "pdb-unhealthy-pod-eviction-policy",
        "privilege-escalation-container",
        "privileged-container",
        "readiness-port",
        "restart-policy",
        "run-as-non-root",
        "ssh-port",
        "startup-port",
        "unsafe-sysctls",
        "unset-cpu-requirements",
        "unset-memory-requirements",
    ];
    assert_eq!(checks, BTreeSet::from(all), "{found:#?}");
}
