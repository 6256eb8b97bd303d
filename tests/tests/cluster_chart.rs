//! The chart on a real cluster, by real helm, with the images as they are shipped: it installs with one line into a namespace
//! that enforces `restricted` Pod Security, tells a real failure, goes on when the leader's pod goes, takes a change over
//! without rolling a pod, says itself whether all of it works (`helm test`), and leaves nothing behind.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tocsin_tests::chart::{self, Helm};
use tocsin_tests::cluster::{Cluster, Options};
use tocsin_tests::images::Image;
use tocsin_tests::processes::Programs;
use tocsin_tests::receiver::{Received, Receiver};
use tokio::runtime::Runtime;

const LIMIT: Duration = Duration::from_mins(3);
const OWN: &str = "tocsin";
/// Where something breaks.
const NAMESPACE: &str = "shop";
const TOKEN: &str = "outside.secret";
const TEST: [&str; 5] = ["test", OWN, "--namespace", OWN, "--timeout=2m"];
/// What an entry of the matrix is restricted to.
const RESTRICTED_TO: [&str; 2] = ["production", "staging"];
/// Kinds of the Prometheus operator, which is not there.
const ABSENT: [&str; 3] = ["PodMonitor", "PrometheusRule", "ServiceMonitor"];

#[test]
fn one_line_installs_it_and_a_real_failure_is_told() -> Result<()> {
    let images = Image::shipped(&Programs::released()?)?;
    let mut cluster = Cluster::start(Options::default())?;
    cluster.start_services()?;
    cluster.enter_network()?;
    for image in &images {
        cluster.import_image(image)?;
    }
    let others = [NAMESPACE].into_iter().chain(RESTRICTED_TO).map(|namespace| (namespace, "privileged"));
    for (namespace, level) in [(OWN, "restricted")].into_iter().chain(others) {
        let labels = json!({"pod-security.kubernetes.io/enforce": level});
        let object =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}});
        cluster.create(&object)?;
    }
    every_matrix_entry_passes_a_strict_dry_run(&cluster)?;

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let outside = runtime.block_on(Receiver::start_at(Cluster::REACHED_BY_PODS))?;
    outside.require_token(TOKEN);
    let before = objects(&cluster)?;
    let played = play(&cluster, &runtime, &outside);
    if let Err(error) = played {
        return Err(error.context(state(&cluster)));
    }
    // Helm waits for what it has made itself: pods and the Lease go a moment after that.
    cluster.wait_for("nothing is left behind", LIMIT, |cluster| {
        let after = objects(cluster)?;
        ensure!(after == before, "left behind: {:#?}", after.difference(&before).collect::<Vec<_>>());
        Ok(Some(()))
    })?;
    drop(outside);
    cluster.stop()
}

fn play(cluster: &Cluster, runtime: &Runtime, outside: &Receiver) -> Result<()> {
    let ca = cluster.scratch_dir().join("ca.pem");
    std::fs::write(&ca, outside.ca_pem())?;
    let chart = chart::folder().display().to_string();
    let (url, ca) = (format!("ingest.url={}/v1/issues", outside.url()), format!("caBundle={}", ca.display()));
    let values = ["--set", "clusterName=real", "--set", &url, "--set", &format!("token={TOKEN}"), "--set-file", &ca];
    let quick = ["--set", "rules.CrashLoopBackOff.sustain=2s", "--set", "rules.CrashLoopBackOff.hold=5s"];
    let release = [OWN, &chart, "--namespace", OWN, "--wait", "--timeout=3m"];
    helm(cluster, &[&["install"], &release[..], &values, &quick].concat()).context("installing")?;

    ensure!(own_pods(cluster)?.len() == 3, "an agent and two aggregators: {:?}", own_pods(cluster)?);
    it_says_itself_whether_it_works(cluster, outside)?;
    cluster.apply(&crashing("first").to_string())?;
    until_told(runtime, outside, "first", "firing")?;

    let first = leader(cluster, |_| true)?;
    cluster.kubectl(&["delete", "pod", "-n", OWN, &first])?;
    leader(cluster, |pod| pod != first).context("another one leads")?;
    cluster.apply(&crashing("second").to_string())?;
    until_told(runtime, outside, "second", "firing").context("by another leader")?;
    let told = keys(outside, "first");
    ensure!(told.len() == 1, "the first issue has not changed, and was told once: {told:?}");

    cluster.kubectl(&["rollout", "status", "-n", OWN, &format!("deployment/{OWN}-aggregator"), "--timeout=60s"])?;
    let pods = own_pods(cluster)?;
    ensure!(pods.len() == 3, "an agent and two aggregators again: {pods:?}");

    // Such that the second one is none.
    let off = ["--set", "rules.CrashLoopBackOff.enabled=false", "--set", "sinks.log.type=stdout"];
    helm(cluster, &[&["upgrade"], &release[..], &values, &off].concat()).context("upgrading")?;
    until_told(runtime, outside, "first", "resolved").context("its kind is off")?;
    ensure!(own_pods(cluster)? == pods, "other pods than {pods:?}: {:?}", own_pods(cluster)?);

    helm(cluster, &["uninstall", OWN, "--namespace", OWN, "--wait"])?;
    Ok(())
}

/// Both helms: it passes, tells nobody anything and leaves nothing; it fails when the token is refused, and says so; and it passes
/// again.
fn it_says_itself_whether_it_works(cluster: &Cluster, outside: &Receiver) -> Result<()> {
    let (before, pods) = (outside.accepted().len(), own_pods(cluster)?);
    for with in Helm::BOTH {
        helm_of(with, cluster, &TEST).with_context(|| format!("{with:?} test\n{}", doctor(cluster)))?;
        ensure!(own_pods(cluster)? == pods, "{with:?} test leaves {:?} of {pods:?}", own_pods(cluster)?);
    }
    let records = |received: &[Received]| received.iter().flat_map(Received::records).count();
    ensure!(records(&outside.received()) == 0 && before == 0, "somebody was told: {:?}", outside.received());

    outside.require_token("another.secret");
    let failed = helm_of(Helm::Four, cluster, &TEST);
    ensure!(failed.is_err(), "helm test passes with a token that is refused");
    let said = doctor(cluster);
    let failures: Vec<_> = said.lines().filter(|line| line.starts_with("FAILED ")).collect();
    ensure!(matches!(failures[..], [one] if one.contains("sink ingest") && one.contains("401 Unauthorized")), "{said}");
    ensure!(
        said.contains("=> the receiver refuses the token in /etc/tocsin/tokens/ingest: write the right one"),
        "{said}"
    );
    ensure!(said.contains("ok       agents") && said.contains("1 of 1 are connected"), "{said}");
    outside.require_token(TOKEN);
    helm_of(Helm::Four, cluster, &TEST).with_context(|| format!("testing again\n{}", doctor(cluster)))?;
    ensure!(own_pods(cluster)? == pods, "left: {:?} of {pods:?}", own_pods(cluster)?);
    Ok(())
}

/// What the pod of `helm test` says, if it is there.
fn doctor(cluster: &Cluster) -> String {
    let said = cluster.kubectl(&["logs", "-n", OWN, &format!("{OWN}-doctor")]);
    said.unwrap_or_else(|error| format!("{error:#}"))
}

/// Each is what the real API server accepts, to the last field.
fn every_matrix_entry_passes_a_strict_dry_run(cluster: &Cluster) -> Result<()> {
    for entry in std::fs::read_dir(chart::folder().join("ci"))? {
        let values = entry?.path();
        let arguments = [OWN, &chart::folder().display().to_string(), "-n", OWN, "-f", &values.display().to_string()];
        let mut objects = Helm::Four.template(&arguments)?;
        objects.retain(|object| ABSENT.iter().all(|kind| object["kind"] != *kind));
        // A pod is let in only where its ServiceAccount is, which a dry run leaves nowhere.
        for pod in objects.iter_mut().filter(|object| object["kind"] == "Pod") {
            let template = json!({"metadata": {"labels": pod["metadata"]["labels"]}, "spec": pod["spec"]});
            let metadata = &pod["metadata"];
            *pod = json!({"apiVersion": "v1", "kind": "PodTemplate", "metadata": metadata, "template": template});
        }
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
        let file = cluster.scratch_dir().join("list.json");
        std::fs::write(&file, list.to_string())?;
        let dry = ["apply", "--dry-run=server", "--validate=strict", "--warnings-as-errors", "-f"];
        let applied = cluster.kubectl(&[&dry[..], &[&file.display().to_string()]].concat());
        applied.with_context(|| format!("dry run of {}", values.display()))?;
    }
    Ok(())
}

/// The pod that leads, once it is one that is meant.
fn leader(cluster: &Cluster, is_meant: impl Fn(&str) -> bool) -> Result<String> {
    cluster.watch(&["lease", "-n", OWN, &format!("{OWN}-leader")], LIMIT, |lease| {
        let (pod, _) = lease["spec"]["holderIdentity"].as_str()?.rsplit_once('_')?;
        is_meant(pod).then(|| pod.to_owned())
    })
}

/// Waits until an issue of that Deployment has been told so.
fn until_told(runtime: &Runtime, outside: &Receiver, name: &str, status: &str) -> Result<()> {
    let is_it = |record: &Value| record["owner"]["name"] == name && record["status"] == status;
    let heard = |received: &[Received]| {
        received.iter().filter(|request| request.accepted()).any(|request| request.records().iter().any(is_it))
    };
    runtime.block_on(outside.until(&format!("{name} {status}"), LIMIT, heard)).map(drop)
}

/// The keys of all that was told about that Deployment.
fn keys(outside: &Receiver, name: &str) -> BTreeSet<String> {
    let accepted = outside.accepted().into_iter();
    accepted.filter(|(_, record)| record["owner"]["name"] == name).map(|(key, _)| key).collect()
}

fn helm(cluster: &Cluster, arguments: &[&str]) -> Result<String> {
    helm_of(Helm::Four, cluster, arguments)
}

fn helm_of(helm: Helm, cluster: &Cluster, arguments: &[&str]) -> Result<String> {
    let mut command: Command = cluster.command_in(helm.program()?);
    command.args(arguments).env("KUBECONFIG", cluster.admin_kubeconfig()).env("HOME", cluster.scratch_dir());
    let output = command.stdin(Stdio::null()).output()?;
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "helm {arguments:?}: {said}");
    Ok(said)
}

/// Names and numbers of the pods that run.
fn own_pods(cluster: &Cluster) -> Result<BTreeSet<String>> {
    let pods = cluster.get(&["pods", "-n", OWN])?;
    let pods = pods["items"].as_array().context("a list of pods")?;
    Ok(pods.iter().map(|pod| pod["metadata"]["uid"].to_string()).collect())
}

/// Everything in the own namespace, and everything of ours beside it.
fn objects(cluster: &Cluster) -> Result<BTreeSet<String>> {
    let everywhere = ["clusterroles,clusterrolebindings,roles,rolebindings", "-A"];
    let own = ["all,configmaps,secrets,serviceaccounts,leases,poddisruptionbudgets", "-n", OWN];
    let mut names = BTreeSet::new();
    for kinds in [&everywhere[..], &own] {
        let list = cluster.kubectl(&[&["get", "-o", "name", "--ignore-not-found"], kinds].concat())?;
        names.extend(list.lines().map(str::to_owned));
    }
    Ok(names)
}

fn crashing(name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "app", "image": Cluster::BUSYBOX_IMAGE, "args": ["-c", "exit 3"]}]},
            },
        },
    })
}

/// What there is and what it said, for errors.
fn state(cluster: &Cluster) -> String {
    let said = |arguments: &[&str]| cluster.kubectl(arguments).unwrap_or_else(|error| format!("{error:#}"));
    let logs = |part: &str| {
        let selector = format!("--selector=app.kubernetes.io/component={part}");
        said(&["logs", "-n", OWN, &selector, "--prefix", "--tail=40"])
    };
    [
        said(&["get", "pods", "-A", "-o", "wide"]),
        said(&["get", "events", "-n", OWN]),
        logs("aggregator"),
        logs("node-agent"),
    ]
    .join("\n")
}
