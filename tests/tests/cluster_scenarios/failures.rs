//! What is wrong, and all that must be told of it.

use rules::Owner;
use serde_json::{Value, json};
use tocsin_tests::cluster::Cluster;
use tocsin_tests::record::Expected;

use crate::workloads::NAMESPACE;

/// What is wrong with a Deployment's pods.
pub(crate) struct Failure {
    kind: &'static str,
    /// The Deployment.
    pub(crate) owner: &'static str,
    severity: &'static str,
    /// `app` when it is about one container.
    container: &'static str,
    /// What its title says while it is there, and when it is over.
    headlines: [&'static str; 2],
    /// The text's sentences about a container, and the one about the cause.
    text: [&'static str; 2],
    evidence: Value,
    /// What is done with a pod to look closer.
    look: &'static str,
    /// The aggregator sees it, as no node has the pod.
    without_node: bool,
}

/// What all records of a cluster have in common.
pub(crate) struct Scene {
    /// Its name and id.
    pub(crate) cluster: [String; 2],
    /// Its only node.
    pub(crate) node: String,
}

/// What each of [`crate::workloads::failing`] suffers from.
pub(crate) fn failures() -> [Failure; 6] {
    [
        Failure {
            kind: "CrashLoopBackOff",
            owner: "crashing",
            severity: "critical",
            container: "app",
            headlines: ["is crash-looping", "runs again"],
            // It ended: what else there is to say of its cause, nobody knows.
            text: ["Container `app` exited 3{restarts}. Image localhost/busybox:1.", ""],
            evidence: json!({
                "reason": "Error", "exitCode": 3, "restarts": "*", "image": Cluster::BUSYBOX_IMAGE,
            }),
            look: "logs {pod} -c app --previous",
            without_node: false,
        },
        Failure {
            kind: "ImagePull",
            owner: "imageless",
            severity: "critical",
            container: "app",
            headlines: ["cannot pull its image", "pulls its image again"],
            text: ["Container `app`. Image localhost/absent:1.", "{reason}: {message}"],
            evidence: json!({
                "reason": "*ImagePull*",
                "message": "*failed to pull and unpack image \"localhost/absent:1\"*",
                "restarts": 0,
                "image": "localhost/absent:1",
            }),
            look: "describe pod {pod}",
            without_node: false,
        },
        Failure {
            kind: "OOMKilled",
            owner: "hungry",
            severity: "critical",
            container: "app",
            headlines: ["was killed for want of memory", "has enough memory again"],
            text: [
                "Container `app` exited 137 (killed), memory limit 20Mi{restarts}. Image localhost/busybox:1.",
                "OOMKilled",
            ],
            evidence: json!({
                "reason": "OOMKilled", "exitCode": 137, "memoryLimit": "20Mi", "restarts": "*",
                "image": Cluster::BUSYBOX_IMAGE,
            }),
            look: "describe pod {pod}",
            without_node: false,
        },
        Failure {
            kind: "NotReady",
            owner: "unready",
            severity: "warning",
            container: "",
            headlines: ["runs but is not ready", "is ready again"],
            text: ["", "ContainersNotReady: containers with unready status: [app]: app"],
            evidence: json!({
                "reason": "ContainersNotReady", "message": "containers with unready status: [app]", "names": ["app"],
            }),
            look: "describe pod {pod}",
            without_node: false,
        },
        Failure {
            kind: "Unschedulable",
            owner: "huge",
            severity: "warning",
            container: "",
            headlines: ["finds no node to run on", "has a node again"],
            text: ["", "Unschedulable: {message}"],
            evidence: json!({
                "reason": "Unschedulable", "message": "0/1 nodes are available: 1 Insufficient memory. *",
            }),
            look: "describe pod {pod}",
            without_node: true,
        },
        Failure {
            kind: "Evicted",
            owner: "littering",
            severity: "warning",
            container: "",
            headlines: ["was evicted", "is evicted no more"],
            text: ["", "Evicted: {message}: ephemeral-storage"],
            evidence: json!({
                "reason": "Evicted",
                "message": "Pod ephemeral local storage usage exceeds the total limit of containers 10Mi.",
                "names": ["ephemeral-storage"],
            }),
            look: "describe pod {pod}",
            without_node: false,
        },
    ]
}

impl Failure {
    /// It is told of this pod, while no other suffers from it.
    pub(crate) fn firing(&self, scene: &Scene, pod: &str) -> Expected {
        let ([headline, _], [container, cause]) = (self.headlines, self.text);
        Expected {
            revision: 1,
            status: "firing",
            text: sentences(&["1 pod since {since}.", container, cause]),
            ..self.told(scene, headline, &[pod.to_owned()])
        }
    }

    /// It is over for all pods that it was about.
    pub(crate) fn resolved(&self, scene: &Scene, pods: &[String]) -> Expected {
        let ([_, headline], [container, cause]) = (self.headlines, self.text);
        let who = match pods.len() {
            1 => "1 pod".to_owned(),
            many => format!("{many} pods"),
        };
        let cause = if cause.is_empty() { String::new() } else { format!("It was: {cause}") };
        Expected {
            revision: 2,
            status: "resolved",
            text: sentences(&[&format!("{who} from {{since}}, for {{lasted}}."), container, &cause]),
            ..self.told(scene, headline, pods)
        }
    }

    fn told(&self, scene: &Scene, headline: &str, pods: &[String]) -> Expected {
        let Self { kind, owner, look, .. } = self;
        let place = format!("{NAMESPACE}/Deployment {owner}");
        // Which of several pods is shown is of no matter.
        let shown = if let [pod] = pods { pod.clone() } else { format!("{owner}-*") };
        let mut pods = pods.to_owned();
        pods.sort();
        Expected {
            kind,
            severity: self.severity,
            cluster: scene.cluster.clone(),
            namespace: NAMESPACE.to_owned(),
            owner: Owner { kind: "Deployment".into(), name: (*owner).into() },
            container: self.container,
            nodes: if self.without_node { Vec::new() } else { vec![scene.node.clone()] },
            pods,
            title: format!("{place} {headline}"),
            evidence: self.evidence.clone(),
            look: format!("kubectl -n {NAMESPACE} {}", look.replace("{pod}", &shown)),
            quiet: format!("annotate the pods of {place} with tocsin.dev/ignore={kind}"),
            ..Expected::default()
        }
    }
}

/// The node does not answer, and these pods on it suffer for that.
pub(crate) fn node_is_silent(scene: &Scene, swallowed: &[String]) -> Expected {
    let explains = format!("It explains what {} pods suffer; they get no messages of their own.", swallowed.len());
    Expected {
        revision: 1,
        status: "firing",
        swallowed: swallowed.to_owned(),
        title: format!("Node {} stopped answering", scene.node),
        text: sentences(&["Since {since}. NodeStatusUnknown: Kubelet stopped posting node status.", &explains]),
        evidence: json!({"reason": "NodeStatusUnknown", "message": "Kubelet stopped posting node status."}),
        ..about_node(scene)
    }
}

/// It answers again: it explains nothing any more. What it suffered from last is for the kubelet to say: for a moment
/// after its pause it misses its container runtime.
pub(crate) fn node_answers(scene: &Scene) -> Expected {
    Expected {
        revision: 2,
        status: "resolved",
        title: format!("Node {} answers again", scene.node),
        text: "From {since}, for {lasted}. It was: {reason}: {message}".to_owned(),
        evidence: json!({"reason": "*", "message": "*"}),
        ..about_node(scene)
    }
}

fn about_node(scene: &Scene) -> Expected {
    let node = &scene.node;
    Expected {
        kind: "NodeNotReady",
        severity: "critical",
        cluster: scene.cluster.clone(),
        owner: Owner { kind: "Node".into(), name: node.as_str().into() },
        nodes: vec![node.clone()],
        look: format!("kubectl describe node {node}"),
        quiet: "set rules.NodeNotReady.enabled=false".to_owned(),
        ..Expected::default()
    }
}

fn sentences(sentences: &[&str]) -> String {
    sentences.iter().filter(|sentence| !sentence.is_empty()).copied().collect::<Vec<_>>().join(" ")
}
