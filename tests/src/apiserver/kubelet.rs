//! What a kubelet writes into a pod's status, in the shapes seen from v1.36.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::clock::seconds;

/// What became of a container's main process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended {
    pub(super) exit_code: i32,
    pub(super) reason: &'static str,
    pub(super) at: Timestamp,
}

/// Which containers a status lists, and under which field.
const LISTS: [(&str, &str); 2] = [("initContainers", "initContainerStatuses"), ("containers", "containerStatuses")];

/// The kubelet has seen the pod: addresses, start time, and a waiting status for every container.
pub(super) fn accept(pod: &mut Value, at: Timestamp) {
    let observed = pod["metadata"]["generation"].clone();
    let reason = if pod["spec"]["initContainers"].is_array() { "PodInitializing" } else { "ContainerCreating" };
    for (specs, statuses) in LISTS {
        let specs = pod["spec"][specs].as_array().into_iter().flatten();
        let waiting: Vec<Value> = specs.map(|spec| waiting_status(spec, reason)).collect();
        if !waiting.is_empty() {
            pod["status"][statuses] = waiting.into();
        }
    }
    let status = &mut pod["status"];
    status["phase"] = json!("Pending");
    status["hostIP"] = json!("10.89.0.1");
    status["hostIPs"] = json!([{"ip": "10.89.0.1"}]);
    status["startTime"] = json!(seconds(at));
    status["observedGeneration"] = observed;
    set_condition(pod, "PodReadyToStartContainers", "False", None, at);
    for kind in ["Initialized", "PodScheduled"] {
        set_condition(pod, kind, "True", None, at);
    }
    judge_readiness(pod, at);
}

/// A container waits, for a reason of the kubelet's.
pub(super) fn wait(container: &mut Value, reason: &str, message: Option<&str>) {
    let mut waiting = json!({"reason": reason});
    if let Some(message) = message {
        waiting["message"] = json!(message);
    }
    container["state"] = json!({"waiting": waiting});
    container["ready"] = json!(false);
    container["started"] = json!(false);
}

/// A container runs, ready or not, after what it was before.
pub(super) fn run(container: &mut Value, ready: bool, at: Timestamp) {
    if let Some(ended) = container["state"].get("terminated").cloned() {
        container["lastState"] = json!({"terminated": ended});
        container["restartCount"] = json!(container["restartCount"].as_u64().unwrap_or(0) + 1);
    }
    if container["state"].get("running").is_none() {
        container["state"] = json!({"running": {"startedAt": seconds(at)}});
        container["containerID"] = json!(container_id());
        container["imageID"] = json!("sha256:58a05d3e7de770db219e15bfa17427fbab3251ead312aebb0a906335e47f2bd4");
    }
    container["user"] = json!({"linux": {"gid": 0, "supplementalGroups": [0], "uid": 0}});
    container["ready"] = json!(ready);
    container["started"] = json!(true);
}

/// A container's process has ended and was not started again yet.
pub(super) fn end(container: &mut Value, ended: Ended) {
    let started = container["state"]["running"]["startedAt"].as_str().map_or_else(|| seconds(ended.at), str::to_string);
    if container["containerID"].is_null() {
        container["containerID"] = json!(container_id());
    }
    if let Some(before) = container["state"].get("terminated").cloned() {
        container["lastState"] = json!({"terminated": before});
    }
    container["state"] = json!({"terminated": {
        "containerID": container["containerID"], "exitCode": ended.exit_code, "finishedAt": seconds(ended.at),
        "reason": ended.reason, "startedAt": started,
    }});
    container["ready"] = json!(false);
    container["started"] = json!(false);
}

/// A container waits to be started again after it ended.
pub(super) fn back_off(container: &mut Value, restarts: u64, pod: &str, ended: Ended) {
    container["containerID"] = json!(container_id());
    let terminated = json!({
        "containerID": container["containerID"], "exitCode": ended.exit_code, "finishedAt": seconds(ended.at),
        "reason": ended.reason, "startedAt": seconds(ended.at),
    });
    container["lastState"] = json!({"terminated": terminated});
    container["restartCount"] = json!(restarts);
    let delay_s = (10 << restarts.saturating_sub(1).min(5)).min(300);
    let delay = if delay_s == 300 { "5m0s".to_string() } else { format!("{delay_s}s") };
    let name = container["name"].as_str().unwrap_or_default();
    let message = format!("back-off {delay} restarting failed container={name} pod={pod}");
    wait(container, "CrashLoopBackOff", Some(&message));
}

/// The pod's sandbox is up, with an address, once a container got past its creation.
fn sandbox(pod: &mut Value, at: Timestamp) {
    let creating = |reason: &Value| reason == "ContainerCreating" || reason == "PodInitializing";
    let created = |container: &Value| !creating(&container["state"]["waiting"]["reason"]);
    let mut containers = LISTS.iter().filter_map(|(_, field)| pod["status"][*field].as_array()).flatten();
    if pod["status"]["podIP"].is_string() || !containers.any(created) {
        return;
    }
    let uid = pod["metadata"]["uid"].as_str().unwrap_or_default();
    let number = uid.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()).unwrap_or(7);
    pod["status"]["podIP"] = json!(format!("10.244.0.{number}"));
    pod["status"]["podIPs"] = json!([{"ip": format!("10.244.0.{number}")}]);
    set_condition(pod, "PodReadyToStartContainers", "True", None, at);
}

/// Sets phase, Initialized, Ready and ContainersReady by what the containers do.
pub(super) fn judge_readiness(pod: &mut Value, at: Timestamp) {
    sandbox(pod, at);
    let sidecars: Vec<&str> = pod["spec"]["initContainers"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|container| container["restartPolicy"] == "Always")
        .filter_map(|container| container["name"].as_str())
        .collect();
    let initial = pod["status"]["initContainerStatuses"].as_array().into_iter().flatten();
    let uninitialized: Vec<&str> = initial
        .filter(|container| container["state"]["terminated"]["exitCode"] != 0)
        .filter_map(|container| {
            container["name"].as_str().filter(|name| container["started"] != true || !sidecars.contains(name))
        })
        .collect();
    let incomplete = format!("containers with incomplete status: [{}]", uninitialized.join(" "));
    let initialized = uninitialized.is_empty();
    let main = || pod["status"]["containerStatuses"].as_array().into_iter().flatten();
    let unready: Vec<&str> = main()
        .filter(|container| container["ready"] != true)
        .filter_map(|container| container["name"].as_str())
        .collect();
    let has_run = main().any(|container| container["containerID"].is_string());
    let message = format!("containers with unready status: [{}]", unready.join(" "));
    let ready = unready.is_empty();
    if !matches!(pod["status"]["phase"].as_str(), Some("Failed" | "Succeeded")) {
        pod["status"]["phase"] = json!(if has_run { "Running" } else { "Pending" });
    }
    let why = (!initialized).then_some(("ContainersNotInitialized", incomplete.as_str()));
    set_condition(pod, "Initialized", if initialized { "True" } else { "False" }, why, at);
    for kind in ["Ready", "ContainersReady"] {
        let why = (!ready).then_some(("ContainersNotReady", message.as_str()));
        set_condition(pod, kind, if ready { "True" } else { "False" }, why, at);
    }
}

/// The pod has ended, and why if the kubelet ended it.
pub(super) fn finish(pod: &mut Value, phase: &str, why: Option<(&str, &str)>, at: Timestamp) {
    pod["status"]["phase"] = json!(phase);
    if let Some((reason, message)) = why {
        pod["status"]["reason"] = json!(reason);
        pod["status"]["message"] = json!(message);
    }
    let reason = if phase == "Succeeded" { "PodCompleted" } else { "PodFailed" };
    set_condition(pod, "PodReadyToStartContainers", "False", None, at);
    for kind in ["Ready", "ContainersReady"] {
        set_condition(pod, kind, "False", Some((reason, "")), at);
    }
    if phase == "Succeeded" {
        set_condition(pod, "Initialized", "True", Some((reason, "")), at);
    }
}

/// Sets a condition; its transition time moves only with its status, as the kubelet keeps it.
pub(super) fn set_condition(pod: &mut Value, kind: &str, status: &str, why: Option<(&str, &str)>, at: Timestamp) {
    let observed = pod["metadata"]["generation"].clone();
    let mut condition = json!({
        "lastProbeTime": null, "lastTransitionTime": seconds(at), "observedGeneration": observed, "status": status,
        "type": kind,
    });
    if let Some((reason, message)) = why {
        condition["reason"] = json!(reason);
        if !message.is_empty() {
            condition["message"] = json!(message);
        }
    }
    if !pod["status"]["conditions"].is_array() {
        pod["status"]["conditions"] = json!([]);
    }
    let conditions = pod["status"]["conditions"].as_array_mut().expect("it was just made one");
    match conditions.iter_mut().find(|old| old["type"] == kind) {
        Some(old) => {
            if old["status"] == status {
                condition["lastTransitionTime"] = old["lastTransitionTime"].clone();
            }
            *old = condition;
        }
        None => conditions.push(condition),
    }
}

/// The items of a list that may not be there; naming it does not make it.
pub(super) fn items_mut<'a>(object: &'a mut Value, list: &str) -> impl Iterator<Item = &'a mut Value> {
    object.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten()
}

/// The status of a pod's container by name, or of its first main container.
pub(super) fn container<'a>(pod: &'a mut Value, name: Option<&str>) -> Option<&'a mut Value> {
    let status = pod["status"].as_object_mut()?;
    let mut lists: Vec<&mut Value> = Vec::new();
    for (field, value) in status.iter_mut() {
        match (field.as_str(), name) {
            ("containerStatuses", _) | ("initContainerStatuses", Some(_)) => lists.push(value),
            _ => {}
        }
    }
    let mut containers = lists.into_iter().filter_map(Value::as_array_mut).flatten();
    containers.find(|container| name.is_none_or(|name| container["name"] == name))
}

fn waiting_status(spec: &Value, reason: &str) -> Value {
    let mounts: Vec<Value> = spec["volumeMounts"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|mount| {
            let mut mount = mount.clone();
            mount["recursiveReadOnly"] = json!("Disabled");
            mount
        })
        .collect();
    json!({
        "image": spec["image"], "imageID": "", "lastState": {}, "name": spec["name"], "ready": false,
        "resources": spec["resources"], "restartCount": 0, "started": false,
        "state": {"waiting": {"reason": reason}}, "volumeMounts": mounts,
    })
}

fn container_id() -> String {
    let words: [u64; 4] = std::array::from_fn(|_| fastrand::u64(..));
    words.iter().fold("containerd://".to_string(), |id, word| format!("{id}{word:016x}"))
}
