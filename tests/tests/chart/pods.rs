//! The pods: what Pod Security asks for, what people can say of them, and where the images come from.

use serde_json::{Value, json};
use tocsin_tests::chart;

use crate::installation::{matrix, object, of_kinds, rendered, with, with_file};

/// The one entry of the matrix in which the user sets what Pod Security looks at.
const USERS_OWN: &str = "pods-values.yaml";
/// What `restricted` allows of volumes.
const VOLUMES: [&str; 6] = ["configMap", "downwardAPI", "emptyDir", "persistentVolumeClaim", "projected", "secret"];

fn pods(objects: &[Value]) -> Vec<&Value> {
    of_kinds(objects, &["DaemonSet", "Deployment"]).map(|workload| &workload["spec"]["template"]["spec"]).collect()
}

#[test]
fn every_pod_is_restricted_and_leaves_its_user_to_the_image() {
    for values in matrix().into_iter().filter(|values| !values.ends_with(USERS_OWN)) {
        let objects = rendered(&with_file(&values));
        assert!(!pods(&objects).is_empty(), "{}", values.display());
        for pod in pods(&objects) {
            let security = json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}});
            assert_eq!(pod["securityContext"], security);
            let security = json!({
                "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
            });
            let container = &pod["containers"][0];
            assert_eq!(container["securityContext"], security);
            for host in ["hostNetwork", "hostPID", "hostIPC"] {
                assert_eq!(pod.get(host), None);
            }
            for volume in pod["volumes"].as_array().expect("volumes") {
                let kinds = volume.as_object().expect("a volume").keys().filter(|key| *key != "name");
                assert!(kinds.clone().all(|kind| VOLUMES.contains(&kind.as_str())), "{volume}");
            }
        }
    }
}

#[test]
fn every_pod_has_requests_a_memory_limit_and_probes() {
    for values in matrix() {
        let objects = rendered(&with_file(&values));
        for pod in pods(&objects) {
            let container = &pod["containers"][0];
            assert!(container["resources"]["requests"]["memory"].is_string(), "{}", values.display());
            assert!(container["resources"]["requests"]["cpu"].is_string(), "{}", values.display());
            assert!(container["resources"]["limits"]["memory"].is_string(), "{}", values.display());
            assert_eq!(container["livenessProbe"]["httpGet"]["path"], "/livez");
            assert_eq!(container["readinessProbe"]["httpGet"]["path"], "/readyz");
        }
    }
    let objects = rendered(&with(&[]));
    for pod in pods(&objects) {
        assert_eq!(pod["containers"][0]["resources"]["limits"].get("cpu"), None, "a limit of CPU only makes it late");
    }
}

#[test]
fn agents_run_on_every_linux_node_with_a_kubelet_and_are_replaced_a_few_at_a_time() {
    let objects = rendered(&with(&[]));
    let agents = &object(&objects, "DaemonSet", "-node-agent")["spec"];
    assert_eq!(agents["updateStrategy"], json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "10%"}}));
    let pod = &agents["template"]["spec"];
    assert_eq!(pod["tolerations"], json!([{"operator": "Exists"}]));
    assert_eq!(pod["nodeSelector"], json!({"kubernetes.io/os": "linux"}));
    let affinity = pod["affinity"].to_string();
    assert!(affinity.contains("virtual-kubelet") && affinity.contains("fargate"), "{affinity}");
    let sources = &pod["volumes"][0]["projected"]["sources"];
    assert_eq!(sources[0]["serviceAccountToken"]["audience"], "tocsin-aggregator");
}

#[test]
fn one_of_two_aggregators_is_always_there() {
    let objects = rendered(&with(&[]));
    let aggregators = &object(&objects, "Deployment", "-aggregator")["spec"];
    assert_eq!(aggregators["replicas"], 2);
    let rolling = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}});
    assert_eq!(aggregators["strategy"], rolling);
    let apart = &aggregators["template"]["spec"]["affinity"]["podAntiAffinity"];
    let term = &apart["preferredDuringSchedulingIgnoredDuringExecution"][0]["podAffinityTerm"];
    assert_eq!(term["topologyKey"], "kubernetes.io/hostname");
    assert_eq!(term["labelSelector"], aggregators["selector"]);
    let budget = &object(&objects, "PodDisruptionBudget", "-aggregator")["spec"];
    assert_eq!((&budget["maxUnavailable"], &budget["selector"]), (&json!(1), &aggregators["selector"]));
}

#[test]
fn no_budget_stands_in_the_way_of_a_drain_where_there_is_one_aggregator() {
    for set in ["aggregator.replicas=1", "aggregator.podDisruptionBudget.enabled=false"] {
        let objects = rendered(&with(&[set, "aggregator.podDisruptionBudget.maxUnavailable=0"]));
        assert_eq!(of_kinds(&objects, &["PodDisruptionBudget"]).count(), 0, "{set}");
    }
}

/// One pod of an earlier rollout and one of a later run at once, with one replica, too.
#[test]
fn aggregators_choose_a_leader_however_many_there_are() {
    for set in ["aggregator.replicas=1", "aggregator.replicas=9"] {
        let objects = rendered(&with(&[set]));
        let container = &object(&objects, "Deployment", "-aggregator")["spec"]["template"]["spec"]["containers"][0];
        for argument in ["--lease=tocsin-leader", "--deployment=tocsin-aggregator"] {
            assert!(container["args"].as_array().is_some_and(|args| args.contains(&json!(argument))), "{container}");
        }
        for (variable, field) in [("TOCSIN_POD_NAME", "metadata.name"), ("TOCSIN_POD_IP", "status.podIP")] {
            let given = json!({"name": variable, "valueFrom": {"fieldRef": {"fieldPath": field}}});
            assert!(container["env"].as_array().is_some_and(|env| env.contains(&given)), "{container}");
        }
    }
}

#[test]
fn what_is_said_of_the_pods_is_in_both() {
    let objects = rendered(&with_file(&chart::folder().join("ci").join(USERS_OWN)));
    for workload in of_kinds(&objects, &["DaemonSet", "Deployment"]) {
        let template = &workload["spec"]["template"];
        let (metadata, pod) = (&template["metadata"], &template["spec"]);
        let container = &pod["containers"][0];
        assert_eq!(metadata["annotations"], json!({"example.com/note": "true", "example.com/owner": "platform"}));
        assert_eq!(
            (&metadata["labels"]["example.com/label"], &metadata["labels"]["team"]),
            (&json!("true"), &json!("platform"))
        );
        assert_eq!(pod["nodeSelector"], json!({"kubernetes.io/os": "linux", "pool": "general"}));
        assert_eq!(pod["tolerations"], json!([{"key": "dedicated", "operator": "Exists"}]));
        assert_eq!(pod["priorityClassName"], "system-node-critical");
        let spread = &pod["topologySpreadConstraints"][0];
        assert_eq!((&spread["maxSkew"], &spread["labelSelector"]), (&json!(1), &workload["spec"]["selector"]));
        assert!(!pod["affinity"].to_string().contains("fargate") && pod["affinity"].to_string().contains("pool"));
        assert_eq!(pod["securityContext"]["fsGroup"], 1000);
        assert_eq!(
            (&container["securityContext"]["runAsUser"], &container["securityContext"]["readOnlyRootFilesystem"]),
            (&json!(1000), &json!(true))
        );
        assert_eq!(container["resources"]["limits"], json!({"cpu": "100m", "memory": "128Mi"}));
        assert_eq!(container["livenessProbe"]["periodSeconds"], 60);
        let last = |list: &Value| list.as_array().and_then(|list| list.last()).cloned().unwrap_or_default();
        assert_eq!(last(&container["args"]), "--metrics-listen=0.0.0.0:8080");
        assert_eq!(last(&container["env"]), json!({"name": "TOCSIN_LOG_FORMAT", "value": "text"}));
        assert_eq!(last(&container["volumeMounts"]), json!({"name": "more", "mountPath": "/more"}));
        assert_eq!(last(&pod["volumes"]), json!({"name": "more", "emptyDir": {}}));
        assert_eq!(pod["terminationGracePeriodSeconds"], 60);
        assert!(container["args"].to_string().contains("--shutdown-deadline=55s"));
    }
    let strategy = &object(&objects, "Deployment", "-aggregator")["spec"]["strategy"];
    assert_eq!(strategy, &json!({"type": "Recreate"}), "what is said of rolling means nothing to it");
    assert_eq!(object(&objects, "PodDisruptionBudget", "-aggregator")["spec"]["maxUnavailable"], "50%");
    object(&objects, "ConfigMap", "tocsin-and-more");
}

#[test]
fn a_selector_of_ones_own_is_left_as_it_is() {
    let sets = ["aggregator.topologySpreadConstraints[0].labelSelector.matchLabels.app=mine"];
    let objects = rendered(&with(&sets));
    let pod = &object(&objects, "Deployment", "-aggregator")["spec"]["template"]["spec"];
    let selector = &pod["topologySpreadConstraints"][0]["labelSelector"];
    assert_eq!(selector, &json!({"matchLabels": {"app": "mine"}}));
}

#[test]
fn a_process_is_told_to_end_before_its_pod_is_killed() {
    for (grace, deadline) in [("30", "25s"), ("6", "1s"), ("600", "300s")] {
        let objects = rendered(&with(&[&format!("aggregator.terminationGracePeriodSeconds={grace}")]));
        let args =
            object(&objects, "Deployment", "-aggregator")["spec"]["template"]["spec"]["containers"][0]["args"].clone();
        assert!(args.to_string().contains(&format!("--shutdown-deadline={deadline}")), "{args}");
    }
}

#[test]
fn images_come_from_where_the_values_say() {
    let image = |objects: &[Value], kind: &str, name: &str| {
        object(objects, kind, name)["spec"]["template"]["spec"]["containers"][0]["image"]
            .as_str()
            .expect("an image")
            .to_owned()
    };
    let images = |arguments: &[String]| {
        let objects = rendered(arguments);
        (image(&objects, "DaemonSet", "-node-agent"), image(&objects, "Deployment", "-aggregator"))
    };
    let own = |tag: &str| (format!("tocsin/node-agent:{tag}"), format!("tocsin/aggregator:{tag}"));
    assert_eq!(images(&with(&[])), own(env!("CARGO_PKG_VERSION")), "as `make images` names them");
    assert_eq!(images(&with(&["image.tag=1.2.3"])), own("1.2.3"));
    let mirror = with_file(&chart::folder().join("ci/mirror-values.yaml"));
    let digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    let from_mirror = (
        format!("registry.internal:5000/tocsin/node-agent@{digest}"),
        "registry.internal:5000/mirrored/tocsin/aggregator:0.1.0-internal".to_owned(),
    );
    assert_eq!(images(&mirror), from_mirror);
    for pod in pods(&rendered(&mirror)) {
        assert_eq!(pod["imagePullSecrets"], json!([{"name": "by-name"}, {"name": "by-map"}]));
    }
}
