//! Shows that the test cluster is a real Kubernetes: each abnormal state that the scenarios need can be reached in
//! seconds, tokens name their node, and nothing is left on the machine afterwards, not even after a crash.
//!
//! With `TOCSIN_CAPTURE=FOLDER` the objects seen are written there as JSON, for fixtures.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tocsin_tests::cluster::{Cluster, Options, condition};

/// Far above what any state takes, also while other tests keep the machine busy.
const LIMIT: Duration = Duration::from_mins(1);
/// Set for the process that holds a cluster until it is killed.
const HOLD: &str = "TOCSIN_TEST_HOLD_CLUSTER";

#[test]
fn pods_and_nodes_fail_for_real_and_nothing_is_left() -> Result<()> {
    let mut cluster = Cluster::start(Options::default())?;
    let name = cluster.name().to_owned();
    for object in objects() {
        cluster.create(&object)?;
    }

    reaches(&cluster, "running", |pod| condition(pod, "Ready") == Some("True"))?;
    reaches(&cluster, "crash-loop", |pod| waiting(pod) == Some("CrashLoopBackOff"))?;
    reaches(&cluster, "image-absent", |pod| waiting(pod) == Some("ErrImagePull"))?;
    reaches(&cluster, "image-absent", |pod| waiting(pod) == Some("ImagePullBackOff"))?;
    reaches(&cluster, "oom-killed", |pod| {
        container(pod)["lastState"]["terminated"]["reason"] == "OOMKilled" && waiting(pod) == Some("CrashLoopBackOff")
    })?;
    reaches(&cluster, "unschedulable", |pod| {
        let conditions = pod["status"]["conditions"].as_array();
        conditions.is_some_and(|all| all.iter().any(|condition| condition["reason"] == "Unschedulable"))
    })?;
    let of_probe = ["events", "--field-selector", "involvedObject.name=not-ready,reason=Unhealthy"];
    cluster.watch(&of_probe, LIMIT, |_| Some(()))?;
    reaches(&cluster, "not-ready", |pod| {
        container(pod)["state"].get("running").is_some() && condition(pod, "Ready") == Some("False")
    })?;
    tokens_name_their_node(&cluster)?;
    host_processes_reach_it(&cluster)?;
    reaches(&cluster, "evicted", |pod| pod["status"]["reason"] == "Evicted" && pod["status"]["phase"] == "Failed")?;

    cluster.pause_kubelet()?;
    node_reaches(&cluster, "Unknown")?;
    cluster.resume_kubelet()?;
    node_reaches(&cluster, "True")?;
    cluster.restart_apiserver()?;
    node_reaches(&cluster, "True")?;

    cluster.stop()?;
    ensure!(traces(&name)?.is_empty(), "left behind: {:#?}", traces(&name)?);
    Ok(())
}

#[test]
fn a_crashed_run_is_taken_down_by_the_next() -> Result<()> {
    let mut crashing = Command::new(std::env::current_exe()?)
        .args(["--exact", "hold_a_cluster", "--nocapture"])
        .env(HOLD, "")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let output = BufReader::new(crashing.stdout.take().context("standard output is piped")?);
    let name = output.lines().map_while(Result::ok).find_map(|line| line.strip_prefix("holds ").map(str::to_owned));
    crashing.kill()?;
    crashing.wait()?;
    let name = name.context("the held cluster did not start")?;

    let half_made = format!("half-made-{}", std::process::id());
    fs::create_dir(run_folders().join(&half_made))?;
    ensure!(!traces(&name)?.is_empty(), "a cluster that was not stopped leaves traces, or this test sees none");
    Cluster::clean_leftovers()?;
    for name in [name, half_made] {
        ensure!(traces(&name)?.is_empty(), "left behind: {:#?}", traces(&name)?);
    }
    Ok(())
}

/// Not a test: the process that the one above kills.
#[test]
fn hold_a_cluster() -> Result<()> {
    if std::env::var_os(HOLD).is_none() {
        return Ok(());
    }
    let mut cluster = Cluster::start(Options::default())?;
    cluster.create(&pod("running", &json!({})))?;
    let log = cluster.logs_dir().join("kubelet.log");
    let start = || cluster.command_in("tail").arg("-f").arg(&log).stdout(Stdio::null()).spawn();
    let (of_the_test, _unknown) = (start()?, start()?);
    cluster.end_with("tail", of_the_test.id())?;
    reaches(&cluster, "running", |pod| container(pod)["state"].get("running").is_some())?;
    println!("\nholds {}", cluster.name());
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// A token is of use only if the API server says which node its holder runs on.
fn tokens_name_their_node(cluster: &Cluster) -> Result<()> {
    let audience = "tocsin-aggregator";
    let token = cluster.service_account_token("default", "default", Some(audience), Some("running"))?;
    let review = cluster.create(&json!({
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": { "token": token, "audiences": [audience] },
    }))?;
    capture("tokenreview", &review)?;
    let status = &review["status"];
    ensure!(status["authenticated"] == true && status["audiences"] == json!([audience]), "{review:#}");
    ensure!(status["user"]["username"] == "system:serviceaccount:default:default", "{review:#}");
    let extra = &status["user"]["extra"];
    ensure!(extra["authentication.kubernetes.io/node-name"] == json!([cluster.node_name()]), "{review:#}");
    ensure!(extra["authentication.kubernetes.io/pod-name"] == json!(["running"]), "{review:#}");
    Ok(())
}

/// Our binaries run outside of pods: in the cluster's network, with a ServiceAccount's token in a file.
fn host_processes_reach_it(cluster: &Cluster) -> Result<()> {
    let token_file = cluster.scratch_dir().join("token");
    fs::write(&token_file, cluster.service_account_token("default", "default", None, None)?)?;
    let kubeconfig = cluster.kubeconfig_with_token_file("agent", &token_file)?;
    let who = cluster.kubectl(&["auth", "whoami", &format!("--kubeconfig={}", kubeconfig.display())])?;
    ensure!(who.contains("system:serviceaccount:default:default"), "{who}");

    let address = cluster.api_url().replace("https://", "");
    std::thread::scope(|scope| {
        let inside = scope.spawn(|| {
            cluster.enter_network()?;
            TcpStream::connect(&address).context("connecting from inside")
        });
        inside.join().expect("it returns its errors").map(|_| ())
    })
}

fn reaches(cluster: &Cluster, name: &str, there: impl Fn(&Value) -> bool) -> Result<()> {
    let pod = cluster.watch(&["pod", name], LIMIT, |pod| there(pod).then(|| pod.clone()))?;
    capture(&format!("{name}-{}", waiting(&pod).unwrap_or("other")), &pod)
}

fn node_reaches(cluster: &Cluster, ready: &str) -> Result<()> {
    let there = |node: &Value| (condition(node, "Ready") == Some(ready)).then(|| node.clone());
    let node = cluster.watch(&["node", cluster.node_name()], LIMIT, there)?;
    capture(&format!("node-ready-{ready}"), &node)
}

fn container(pod: &Value) -> &Value {
    &pod["status"]["containerStatuses"][0]
}

fn waiting(pod: &Value) -> Option<&str> {
    container(pod)["state"]["waiting"]["reason"].as_str()
}

fn objects() -> Vec<Value> {
    let ready_if = |program: &str| json!({ "exec": { "command": [program] }, "periodSeconds": 1 });
    let full_disk = "dd if=/dev/zero of=/tmp/full bs=1M count=30; sleep 3600";
    vec![
        pod("running", &json!({ "readinessProbe": ready_if("true") })),
        pod(
            "evicted",
            &json!({ "args": ["-c", full_disk], "resources": { "limits": { "ephemeral-storage": "10Mi" } } }),
        ),
        pod("crash-loop", &json!({ "args": ["-c", "exit 3"] })),
        pod("image-absent", &json!({ "image": "localhost/absent:1" })),
        pod(
            "oom-killed",
            &json!({
                "args": ["-c", "exec tail /dev/zero"],
                "resources": { "limits": { "memory": "20Mi" } },
            }),
        ),
        pod("not-ready", &json!({ "readinessProbe": ready_if("false") })),
        pod("unschedulable", &json!({ "resources": { "requests": { "memory": "1000Gi" } } })),
    ]
}

/// A pod of one container that sleeps, with some of the container's fields replaced.
fn pod(name: &str, fields: &Value) -> Value {
    let mut container = json!({
        "name": "main",
        "image": Cluster::BUSYBOX_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "args": ["-c", "sleep 3600"],
    });
    for (field, value) in fields.as_object().into_iter().flatten() {
        container[field] = value.clone();
    }
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name },
        "spec": { "terminationGracePeriodSeconds": 1, "containers": [container] },
    })
}

fn capture(name: &str, object: &Value) -> Result<()> {
    let Some(folder) = std::env::var_os("TOCSIN_CAPTURE") else { return Ok(()) };
    let mut object = object.clone();
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
    fs::create_dir_all(&folder)?;
    fs::write(Path::new(&folder).join(format!("{name}.json")), format!("{object:#}\n")).context("writing a fixture")
}

/// Where clusters have their folders.
fn run_folders() -> PathBuf {
    std::env::temp_dir().join("tocsin-cluster")
}

/// Everything on this machine that still has the cluster's name in it.
fn traces(name: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let read = |file: &str| fs::read(entry.path().join(file)).unwrap_or_default();
        // A process that has ended, and only waits to be collected, has no command line any more.
        let command_line = String::from_utf8_lossy(&read("cmdline")).replace('\0', " ");
        let in_cgroup = String::from_utf8_lossy(&read("cgroup")).contains(name);
        if !command_line.is_empty() && (in_cgroup || command_line.contains(name)) {
            found.push(format!("{}: {command_line}", entry.path().display()));
        }
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    found.extend(mounts.lines().filter(|mount| mount.contains(name)).map(str::to_owned));
    let cgroups = fs::read_dir("/sys/fs/cgroup")?.flatten().map(|hierarchy| hierarchy.path());
    let named = cgroups.chain([run_folders(), "/run/netns".into()]).map(|folder| folder.join(name));
    found.extend(named.filter(|path| path.exists()).map(|path| path.display().to_string()));
    let links = fs::read_dir("/var/log/containers").into_iter().flatten().flatten().filter_map(|link| {
        let target = fs::read_link(link.path()).ok()?;
        target.to_string_lossy().contains(name).then(|| link.path().display().to_string())
    });
    found.extend(links);
    Ok(found)
}
