//! The stories write what a real cluster writes.

use std::time::Duration;

use serde_json::{Value, json};
use tocsin_tests::apiserver::{ApiServer, Container, PodRef, PodTemplate};

use crate::client::{server, template};

fn pod(server: &ApiServer, pod: &PodRef) -> Value {
    server.object(&pod.path()).expect("the pod")
}

#[track_caller]
fn condition(object: &Value, kind: &str) -> Value {
    let conditions = object["status"]["conditions"].as_array().expect("conditions");
    conditions
        .iter()
        .find(|condition| condition["type"] == kind)
        .cloned()
        .unwrap_or_else(|| panic!("no {kind}: {object}"))
}

async fn running() -> (ApiServer, PodRef) {
    let server = server().await;
    server.add_node("n1");
    let pod = server.add_pod("shop", "api-0", &template(), Some("n1"));
    server.run(&pod);
    (server, pod)
}

#[tokio::test]
async fn a_pod_of_two_containers_is_as_large_as_real_ones() {
    let server = server().await;
    let template = PodTemplate::new("api", Container::new("app", "api:1")).and(Container::new("proxy", "proxy:1"));
    let pod_ref = server.add_pod("shop", "api-0", &template, Some("n1"));
    server.run(&pod_ref);
    let size = pod(&server, &pod_ref).to_string().len();
    assert!((8_000..11_000).contains(&size), "{size} bytes");
}

#[tokio::test]
async fn a_healthy_pod_is_ready_and_running() {
    let (server, pod_ref) = running().await;
    let pod = pod(&server, &pod_ref);
    assert_eq!(pod["status"]["phase"], "Running");
    assert_eq!(condition(&pod, "Ready")["status"], "True");
    assert!(pod["status"]["containerStatuses"][0]["state"]["running"]["startedAt"].is_string());
    assert!(pod["status"].get("initContainerStatuses").is_none() && pod["spec"].get("initContainers").is_none());
}

#[tokio::test]
async fn a_crash_loop_goes_round() {
    let (server, pod_ref) = running().await;
    let status = |server: &ApiServer| pod(server, &pod_ref)["status"]["containerStatuses"][0].clone();
    server.crash(&pod_ref, 1);
    let ended = status(&server);
    assert_eq!((&ended["state"]["terminated"]["exitCode"], &ended["restartCount"]), (&json!(1), &json!(0)));
    server.restart(&pod_ref);
    let again = status(&server);
    assert_eq!((&again["lastState"]["terminated"]["exitCode"], &again["restartCount"]), (&json!(1), &json!(1)));
    assert!(again["state"]["running"].is_object());
    server.crash_loop(&pod_ref, 4);
    let waiting = status(&server);
    assert_eq!(
        (&waiting["state"]["waiting"]["reason"], &waiting["restartCount"]),
        (&json!("CrashLoopBackOff"), &json!(4))
    );
    assert_eq!(condition(&pod(&server, &pod_ref), "Ready")["reason"], "ContainersNotReady");
    server.run(&pod_ref);
    let healed = status(&server);
    assert_eq!((&healed["ready"], &healed["restartCount"]), (&json!(true), &json!(5)));
}

#[tokio::test]
async fn an_oom_kill_is_known_by_its_reason_and_stays_in_last_state() {
    let (server, pod_ref) = running().await;
    server.oom_kill(&pod_ref);
    server.run(&pod_ref);
    let last = pod(&server, &pod_ref)["status"]["containerStatuses"][0]["lastState"]["terminated"].clone();
    assert_eq!((&last["reason"], &last["exitCode"]), (&json!("OOMKilled"), &json!(137)));
}

#[tokio::test]
async fn what_is_backdated_happened_then() {
    let server = server().await;
    let three_weeks = Duration::from_hours(21 * 24);
    server.backdate(three_weeks);
    let pod_ref = server.add_pod("shop", "old-0", &template(), Some("n1"));
    server.run(&pod_ref);
    server.oom_kill(&pod_ref);
    server.backdate(Duration::ZERO);
    server.run(&pod_ref);
    let object = pod(&server, &pod_ref);
    let age = |value: &Value| {
        let at: jiff::Timestamp = value.as_str().expect("text").parse().expect("a time");
        jiff::Timestamp::now().duration_since(at).as_hours()
    };
    let status = &object["status"]["containerStatuses"][0];
    assert_eq!(age(&object["metadata"]["creationTimestamp"]), 21 * 24);
    assert_eq!(age(&status["lastState"]["terminated"]["finishedAt"]), 21 * 24);
    assert_eq!(age(&status["state"]["running"]["startedAt"]), 0);
}

#[tokio::test]
async fn each_failure_looks_as_the_kubelet_writes_it() {
    type Verb = fn(&ApiServer, &PodRef);
    for (verb, path, expected) in [
        (
            (|server, pod| server.image_pull_fails(pod)) as Verb,
            "/status/containerStatuses/0/state/waiting/reason",
            "ErrImagePull",
        ),
        (
            |server, pod| server.image_pull_backs_off(pod),
            "/status/containerStatuses/0/state/waiting/reason",
            "ImagePullBackOff",
        ),
        (
            |server, pod| server.waits(pod, "CreateContainerConfigError", Some("secret \"x\" not found")),
            "/status/containerStatuses/0/state/waiting/reason",
            "CreateContainerConfigError",
        ),
        (|server, pod| server.evict(pod), "/status/reason", "Evicted"),
        (|server, pod| server.finish(pod, 1), "/status/phase", "Failed"),
        (|server, pod| server.finish(pod, 0), "/status/phase", "Succeeded"),
        (|server, pod| server.accept(pod), "/status/containerStatuses/0/state/waiting/reason", "ContainerCreating"),
    ] {
        let server = server().await;
        let pod_ref = server.add_pod("shop", "api-0", &template(), Some("n1"));
        verb(&server, &pod_ref);
        let found = pod(&server, &pod_ref);
        assert_eq!(found.pointer(path).and_then(Value::as_str), Some(expected), "{found}");
    }
}

#[tokio::test]
async fn an_unschedulable_pod_says_so() {
    let server = server().await;
    let pod_ref = server.add_pod("shop", "api-0", &template(), None);
    server.unschedulable(&pod_ref);
    let scheduled = condition(&pod(&server, &pod_ref), "PodScheduled");
    assert_eq!((&scheduled["status"], &scheduled["reason"]), (&json!("False"), &json!("Unschedulable")));
}

#[tokio::test]
async fn a_condition_keeps_its_time_while_its_status_stays() {
    let server = server().await;
    server.backdate(Duration::from_hours(1));
    let pod_ref = server.add_pod("shop", "api-0", &template(), Some("n1"));
    server.not_ready(&pod_ref);
    let then = condition(&pod(&server, &pod_ref), "Ready")["lastTransitionTime"].clone();
    server.backdate(Duration::ZERO);
    server.not_ready(&pod_ref);
    assert_eq!(condition(&pod(&server, &pod_ref), "Ready")["lastTransitionTime"], then);
    server.run(&pod_ref);
    assert_ne!(condition(&pod(&server, &pod_ref), "Ready")["lastTransitionTime"], then);
}

#[tokio::test]
async fn sidecars_run_on_and_init_containers_complete() {
    let server = server().await;
    let mut template = template();
    template.init_containers = vec![Container::new("setup", "setup:1"), Container::new("mesh", "mesh:1").as_sidecar()];
    let pod_ref = server.add_pod("shop", "api-0", &template, Some("n1"));
    server.accept(&pod_ref);
    assert_eq!(condition(&pod(&server, &pod_ref), "Initialized")["reason"], "ContainersNotInitialized");
    server.run(&pod_ref);
    let status = pod(&server, &pod_ref)["status"].clone();
    assert_eq!(status["initContainerStatuses"][0]["state"]["terminated"]["reason"], "Completed");
    assert!(status["initContainerStatuses"][1]["state"]["running"].is_object());
    server.crash_loop(&pod_ref.container("mesh"), 3);
    let status = pod(&server, &pod_ref)["status"].clone();
    assert_eq!(status["initContainerStatuses"][1]["restartCount"], 3);
    assert_eq!(status["containerStatuses"][0]["restartCount"], 0);
}

#[tokio::test]
async fn a_dead_node_is_unknown_and_its_pods_are_not_ready_until_it_recovers() {
    let (server, pod_ref) = running().await;
    let other = server.add_pod("shop", "elsewhere", &template(), Some("n2"));
    server.run(&other);
    server.node_dies("n1");
    let node = server.object("/api/v1/nodes/n1").expect("the node");
    assert_eq!(condition(&node, "Ready")["status"], "Unknown");
    assert_eq!(node["spec"]["taints"][0]["key"], "node.kubernetes.io/unreachable");
    assert_eq!(condition(&pod(&server, &pod_ref), "Ready")["status"], "False");
    assert_eq!(condition(&pod(&server, &pod_ref), "ContainersReady")["status"], "True");
    assert_eq!(condition(&pod(&server, &other), "Ready")["status"], "True");
    server.node_recovers("n1");
    assert_eq!(condition(&pod(&server, &pod_ref), "Ready")["status"], "True");
    server.remove_node("n1");
    assert!(server.object(&pod_ref.path()).is_none() && server.object(&other.path()).is_some());
}

#[tokio::test]
async fn repeated_warnings_are_one_event_that_counts_up() {
    let (server, pod_ref) = running().await;
    for _ in 0..3 {
        server.warn(&pod_ref, "Unhealthy", "probe failed");
    }
    server.warn(&pod_ref, "Unhealthy", "another probe failed");
    let events = server.objects("/api/v1/namespaces/shop/events");
    let mut counts: Vec<_> = events.iter().filter_map(|event| event["count"].as_u64()).collect();
    counts.sort_unstable();
    assert_eq!(counts, [1, 3]);
    assert_eq!(events[0]["involvedObject"]["uid"], pod(&server, &pod_ref)["metadata"]["uid"]);
}

#[tokio::test]
async fn a_rollout_replaces_every_pod_under_the_same_deployment() {
    let server = server().await;
    let mut deployment = server.deploy("shop", "api", 4, &template(), &["n1", "n2"]);
    let (before, old_set) = (deployment.pods.clone(), deployment.replica_set.clone());
    server.rollout(&mut deployment, &PodTemplate::new("api", Container::new("app", "api:2")));
    assert_eq!(deployment.pods.len(), 4);
    assert_ne!(deployment.replica_set, old_set);
    for old in &before {
        assert!(server.object(&old.path()).is_none());
    }
    for pod_ref in &deployment.pods {
        let pod = pod(&server, pod_ref);
        let owner = &pod["metadata"]["ownerReferences"][0];
        assert_eq!(
            (&owner["kind"], owner["name"].as_str()),
            (&json!("ReplicaSet"), Some(deployment.replica_set.as_str()))
        );
        let hash = pod["metadata"]["labels"]["pod-template-hash"].as_str().expect("a hash");
        assert_eq!(deployment.replica_set, format!("api-{hash}"));
        assert_eq!(pod["spec"]["containers"][0]["image"], "api:2");
    }
    let object = server.object(&deployment.path()).expect("the deployment");
    assert_eq!(object["status"]["availableReplicas"], 4);
}

#[tokio::test]
async fn owners_name_their_pods_as_their_controllers_do() {
    let server = server().await;
    let database = server.add_owner("StatefulSet", "shop", "db", 2, &template());
    let first = server.add_pod_of(&database, &template(), Some("n1"));
    let second = server.add_pod_of(&database, &template(), Some("n1"));
    assert_eq!((first.name.as_str(), second.name.as_str()), ("db-0", "db-1"));
    let agents = server.add_daemon_set("tocsin", "agent", &template(), &["n1", "n2"]);
    assert_eq!(pod(&server, &agents[1])["spec"]["nodeName"], "n2");
    let job = server.add_job("shop", "nightly-1", &template(), None);
    let pod_of_job = server.add_pod_of(&job, &template(), Some("n1"));
    assert_eq!(pod(&server, &pod_of_job)["metadata"]["labels"]["batch.kubernetes.io/job-name"], "nightly-1");
}
