//! The program as its caller sees it: exit codes, and what it says.

use std::process::{Command, Output};

use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;

/// Runs the program with nothing in its environment.
fn agent(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tocsin-node-agent")).args(args).env_clear().output().expect("it starts")
}

#[track_caller]
fn ends(args: &[&str], code: i32, says: &str) {
    let Output { status, stdout, stderr } = agent(args);
    let said = [stdout, stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert_eq!(status.code(), Some(code), "{said}");
    assert!(said.contains(says), "{said}");
}

/// A CA bundle and a kubeconfig that nothing is wrong with.
fn files() -> (TempDir, String, String) {
    let folder = TempDir::new().expect("a folder can be made");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (ca, kubeconfig) = (path("ca.crt"), path("kubeconfig"));
    let key = KeyPair::generate().expect("a key can be made");
    let certificate = CertificateParams::default().self_signed(&key).expect("it signs itself");
    std::fs::write(&ca, certificate.pem()).expect("it can be written");
    let cluster = "{name: c, cluster: {server: 'https://127.0.0.1:1'}}";
    let context = "{name: c, context: {cluster: c, user: u}}";
    let text = format!(
        "{{apiVersion: v1, kind: Config, current-context: c, clusters: [{cluster}], contexts: [{context}], users: [{{name: u, user: {{}}}}]}}"
    );
    std::fs::write(&kubeconfig, text).expect("it can be written");
    (folder, format!("--ca-file={ca}"), format!("--kubeconfig={kubeconfig}"))
}

const NODE: &str = "--node-name=node-1";
const AGGREGATOR: &str = "--aggregator=tocsin.svc:8443";

#[test]
fn wrong_usage_exits_64_and_names_the_option() {
    let (_folder, ca, kubeconfig) = files();
    ends(&[], 64, "--node-name");
    ends(&["--no-such-option"], 64, "unexpected argument '--no-such-option'");
    ends(&[NODE, "--aggregator=tocsin", &ca, &kubeconfig], 64, "--aggregator: \"tocsin\" is not of the form host:port");
    ends(
        &[NODE, AGGREGATOR, "--ca-file=/nowhere/ca.crt", &kubeconfig],
        64,
        "--ca-file: /nowhere/ca.crt: cannot be read",
    );
    ends(&[NODE, AGGREGATOR, &ca], 64, "not inside of a cluster");
    ends(&[NODE, AGGREGATOR, &ca, "--kubeconfig=/nowhere/config"], 64, "cannot read kubeconfig /nowhere/config");
}

#[test]
fn check_says_that_it_would_run_and_ends() {
    let (folder, ca, kubeconfig) = files();
    let token = folder.path().join("token");
    let option = format!("--token-file={}", token.display());
    ends(&[NODE, AGGREGATOR, &ca, &kubeconfig, &option, "--check"], 64, "--token-file ");
    for (wrong, why) in [
        (&b" "[..], "it is empty"),
        (b"\xff", "it is not UTF-8 text"),
        (b"a\nb", "it holds characters that no token has"),
    ] {
        std::fs::write(&token, wrong).expect("it can be written");
        ends(&[NODE, AGGREGATOR, &ca, &kubeconfig, &option, "--check"], 64, why);
    }
    std::fs::write(&token, "t").expect("it can be written");
    ends(&[NODE, AGGREGATOR, &ca, &kubeconfig, &option, "--check"], 0, "ok");
    ends(&[NODE, AGGREGATOR, &ca, &option, "--check"], 0, "ok");
    ends(
        &[NODE, AGGREGATOR, "--ca-file=/nowhere/ca.crt", &option, "--check"],
        64,
        "--ca-file: /nowhere/ca.crt: cannot be read",
    );
}

#[test]
fn help_and_version_are_no_errors() {
    ends(&["--help"], 0, "Watches one node of a Kubernetes cluster");
    ends(&["--version"], 0, env!("CARGO_PKG_VERSION"));
}

#[test]
fn a_port_that_is_taken_exits_1() {
    let (_folder, ca, kubeconfig) = files();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let listen = format!("--metrics-listen={}", taken.local_addr().expect("it is bound"));
    ends(&[NODE, AGGREGATOR, &ca, &kubeconfig, &listen], 1, "cannot listen on 127.0.0.1:");
}
