//! Our programs themselves, given what the chart renders for them: arguments, environment, and mounted files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use k8s_openapi::ByteString;
use serde_json::Value;
use tempfile::TempDir;
use tocsin_tests::chart;
use tocsin_tests::processes::Programs;

use crate::installation::{matrix, object, of_kinds, rendered, with, with_file};

/// Nobody is asked for `--check`.
const KUBECONFIG: &str = "{apiVersion: v1, kind: Config, current-context: c, clusters: [{name: c, cluster: {server: \
                          'https://127.0.0.1:1'}}], contexts: [{name: c, context: {cluster: c, user: u}}], users: [{name: \
                          u, user: {}}]}";

#[test]
fn the_aggregator_accepts_what_every_matrix_entry_renders() {
    for values in matrix() {
        checked("Deployment", "-aggregator", &with_file(&values))
            .unwrap_or_else(|said| panic!("{}: {said}", values.display()));
    }
}

#[test]
fn the_agent_accepts_what_every_matrix_entry_with_agents_renders() {
    for values in matrix() {
        if of_kinds(&rendered(&with_file(&values)), &["DaemonSet"]).next().is_none() {
            continue;
        }
        checked("DaemonSet", "-node-agent", &with_file(&values))
            .unwrap_or_else(|said| panic!("{}: {said}", values.display()));
    }
}

#[test]
fn the_presets_are_accepted() {
    for preset in ["values-small.yaml", "values-large.yaml"] {
        let preset = chart::folder().join(preset).display().to_string();
        let arguments = [with(&[]), vec!["--values".to_owned(), preset]].concat();
        checked("Deployment", "-aggregator", &arguments).expect("it is accepted");
    }
}

#[test]
fn what_the_program_refuses_would_show_here() {
    let said = checked("Deployment", "-aggregator", &with(&["aggregator.extraArgs={--no-such-option}"]));
    assert!(said.expect_err("there is no such option").contains("--no-such-option"));
}

#[test]
fn arguments_that_the_chart_has_itself_can_be_given_again() {
    for (kind, name, values) in [("Deployment", "-aggregator", "aggregator"), ("DaemonSet", "-node-agent", "nodeAgent")]
    {
        let args = |arguments: &[String]| {
            let pod = object(&rendered(arguments), kind, name)["spec"]["template"]["spec"].clone();
            pod["containers"][0]["args"].as_array().expect("it has arguments").clone()
        };
        let own: Vec<_> = args(&with(&[])).iter().map(|own| own.as_str().expect("a text").to_owned()).collect();
        let again = with(&[&format!("{values}.extraArgs={{{}}}", own.join(","))]);
        assert_eq!(args(&again).len(), 2 * own.len());
        checked(kind, name, &again).expect("it is accepted");
        let other = checked(kind, name, &with(&[&format!("{values}.extraArgs={{--log-level=loud}}")]));
        assert!(other.expect_err("the last one counts").contains("--log-level: unknown log level \"loud\""));
    }
}

/// Runs the program of a workload's pod with `--check`, its mounts in a folder of this machine. The error is what it says.
pub(crate) fn checked(kind: &str, name: &str, arguments: &[String]) -> Result<(), String> {
    let Output { status, stdout, stderr } = run(kind, name, arguments);
    if status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned()) }
}

/// What the program says that a pod runs once, with all that is rendered for it.
pub(crate) fn said_of(kind: &str, name: &str, arguments: &[String]) -> String {
    let Output { stdout, stderr, .. } = run(kind, name, arguments);
    String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned()
}

/// What runs as long as it is wanted is only checked.
fn run(kind: &str, name: &str, arguments: &[String]) -> Output {
    let programs = Programs::built().expect("they can be built");
    let objects = rendered(arguments);
    let spec = &object(&objects, kind, name)["spec"];
    let (pod, task) = if kind == "Pod" { (spec, None) } else { (&spec["template"]["spec"], Some("--check")) };
    let container = &pod["containers"][0];
    let machine = TempDir::new().expect("a folder can be made");
    let list = |list: &Value| list.as_array().cloned().unwrap_or_default();
    for mount in list(&container["volumeMounts"]) {
        let volumes = list(&pod["volumes"]);
        let volume = volumes.iter().find(|volume| volume["name"] == mount["name"]).expect("a mount has its volume");
        let at = inside(machine.path(), mount["mountPath"].as_str().expect("a path"));
        fs::create_dir_all(&at).expect("a folder can be made");
        for (file, content) in files(volume, &objects) {
            // Paths of the pod are paths below the folder, in the configuration, too.
            let content = content.replace("/etc/tocsin", &inside(machine.path(), "/etc/tocsin").display().to_string());
            fs::write(at.join(file), content).expect("it can be written");
        }
    }
    let kubeconfig = machine.path().join("kubeconfig");
    fs::write(&kubeconfig, KUBECONFIG).expect("it can be written");
    let program = if kind == "DaemonSet" { programs.node_agent } else { programs.aggregator };
    let mut command = Command::new(program);
    command.env_clear().env("TOCSIN_KUBECONFIG", kubeconfig).args(task);
    for argument in list(&container["args"]) {
        let argument = argument.as_str().expect("a text").to_owned();
        let (option, value) = argument.split_once('=').unwrap_or((&argument, ""));
        let value =
            if value.starts_with('/') { inside(machine.path(), value).display().to_string() } else { value.to_owned() };
        command.arg(if value.is_empty() { option.to_owned() } else { format!("{option}={value}") });
    }
    for variable in list(&container["env"]) {
        let value = match variable["valueFrom"]["fieldRef"]["fieldPath"].as_str() {
            Some("metadata.namespace") => "tocsin",
            Some("spec.nodeName") => "node-1",
            Some("metadata.name") => "tocsin-aggregator-7d9f-x",
            Some("status.podIP") => "fd00::7",
            _ => variable["value"].as_str().expect("a value"),
        };
        command.env(variable["name"].as_str().expect("a name"), value);
    }
    command.output().expect("it starts")
}

/// What a kubelet would put into a volume.
fn files(volume: &Value, objects: &[Value]) -> Vec<(String, String)> {
    let named = |kind: &str, name: &Value| {
        objects.iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == *name)
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    if let Some(config_map) = volume.get("configMap") {
        let data = &named("ConfigMap", &config_map["name"]).expect("the chart has it")["data"];
        return data.as_object().into_iter().flatten().map(|(key, value)| (key.clone(), text(value))).collect();
    }
    if let Some(secret) = volume.get("secret") {
        let Some(rendered) = named("Secret", &secret["secretName"]) else {
            // One of the user's own: it has the keys that are asked for, unless the pod starts without it.
            if secret["optional"] == true {
                return Vec::new();
            }
            if volume["name"] == "proxy" {
                return vec![("https".to_owned(), "http://me:hunter2@proxy.example:3128".to_owned())];
            }
            let items = secret["items"].as_array().into_iter().flatten();
            let said =
                |path: &str| if path == "url" { "https://hooks.example.com/outside.secret" } else { "outside.secret" };
            return items.map(|item| text(&item["path"])).map(|path| (path.clone(), said(&path).to_owned())).collect();
        };
        let decoded = |value: &Value| {
            let ByteString(bytes) = serde_json::from_value(value.clone()).expect("base64");
            String::from_utf8(bytes).expect("text")
        };
        let data = rendered["data"].as_object().into_iter().flatten();
        return data.map(|(key, value)| (key.clone(), decoded(value))).collect();
    }
    let sources = volume["projected"]["sources"].as_array().into_iter().flatten();
    sources.map(|source| (text(&source["serviceAccountToken"]["path"]), "a.token".to_owned())).collect()
}

/// A path of the pod on this machine.
fn inside(machine: &Path, path: &str) -> PathBuf {
    machine.join(path.trim_start_matches('/'))
}
