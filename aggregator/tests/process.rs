//! The program as its caller sees it: exit codes, and what it says.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;

#[track_caller]
fn ends(args: &[&str], code: i32, says: &str) {
    let program = env!("CARGO_BIN_EXE_tocsin-aggregator");
    let Output { status, stdout, stderr } = Command::new(program).args(args).env_clear().output().expect("it starts");
    let said = [stdout, stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert_eq!(status.code(), Some(code), "{said}");
    assert!(said.contains(says), "{said}");
}

/// A folder with all that the program needs, and the options that name it.
fn good() -> (TempDir, [String; 4]) {
    let folder = TempDir::new().expect("a folder can be made");
    let key = KeyPair::generate().expect("a key can be made");
    let certificate = CertificateParams::default().self_signed(&key).expect("it signs itself");
    let cluster = "{name: c, cluster: {server: 'https://127.0.0.1:1'}}";
    let context = "{name: c, context: {cluster: c, user: u}}";
    let kubeconfig = format!(
        "{{apiVersion: v1, kind: Config, current-context: c, clusters: [{cluster}], contexts: [{context}], users: [{{name: u, user: {{}}}}]}}"
    );
    let files = [
        ("config", "clusterName: here\n".to_owned()),
        ("tls-cert", certificate.pem()),
        ("tls-key", key.serialize_pem()),
        ("kubeconfig", kubeconfig),
    ];
    let options = files.map(|(option, text)| {
        let path = folder.path().join(option);
        std::fs::write(&path, text).expect("it can be written");
        format!("--{option}={}", path.display())
    });
    (folder, options)
}

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).expect("it can be written");
}

#[test]
fn check_says_that_it_would_run_and_ends() {
    let (_folder, [config, cert, key, kubeconfig]) = good();
    ends(&[&config, &cert, &key, &kubeconfig, "--check"], 0, "ok");
}

#[test]
fn check_needs_no_cluster_and_the_program_does() {
    let (_folder, [config, cert, key, _]) = good();
    ends(&[&config, &cert, &key, "--check"], 0, "ok");
    ends(&[&config, &cert, &key, "--context=x", "--check"], 64, "without a kubeconfig");
    ends(&[&config, &cert, &key], 64, "pass --kubeconfig FILE");
}

#[test]
fn check_names_what_cannot_be_used() {
    let (folder, [config, cert, key, kubeconfig]) = good();
    ends(
        &[&config, "--tls-cert=/nowhere", &key, &kubeconfig, "--check"],
        64,
        "--tls-cert, --tls-key: /nowhere: cannot be read",
    );
    ends(&[&config, &cert, &key, "--kubeconfig=/nowhere", "--check"], 64, "cannot read kubeconfig /nowhere");
    let sink = "clusterName: here\nsinks: {x: {type: ingest, url: 'https://example.com', tokenFile: /nowhere/token}}\n";
    write(folder.path(), "config", sink);
    ends(
        &[&config, &cert, &key, &kubeconfig, "--check"],
        64,
        "sinks.x: tokenFile /nowhere/token cannot be read: No such file",
    );
    write(folder.path(), "config", "clusterNam: here\n");
    ends(&[&config, &cert, &key, &kubeconfig, "--check"], 64, "clusterName");
}

/// A running program: killed when it is dropped.
struct Running {
    child: Child,
    log: BufReader<ChildStderr>,
}

impl Running {
    fn start(options: &[&str]) -> Self {
        let mut program = Command::new(env!("CARGO_BIN_EXE_tocsin-aggregator"));
        let mut child = program.args(options).env_clear().stderr(Stdio::piped()).spawn().expect("it starts");
        let log = child.stderr.take().expect("it is a pipe");
        Self { child, log: BufReader::new(log) }
    }

    /// The next line of the log that says `message`.
    fn says(&mut self, message: &str) -> serde_json::Value {
        loop {
            let mut line = String::new();
            assert_ne!(self.log.read_line(&mut line).expect("it is text"), 0, "it ends without {message}");
            let line: serde_json::Value = serde_json::from_str(&line).expect("it is JSON");
            if line["message"] == message {
                return line;
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What is answered at `path` of the port at `address`.
fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("somebody listens");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("it is no zero");
    write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered in time");
    answer
}

#[test]
fn while_the_api_server_is_away_the_ports_answer_and_the_configuration_is_followed() {
    let (folder, [config, cert, key, kubeconfig]) = good();
    let ports = ["--agents-listen=127.0.0.1:0", "--metrics-listen=127.0.0.1:0", "--api-listen=127.0.0.1:0"];
    let mut running = Running::start(&[&[&*config, &cert, &key, &kubeconfig], &ports[..]].concat());
    let started = running.says("started");
    let port = |name: &str| started[name].as_str().expect("its address is said").to_owned();
    running.says("cluster_unknown");
    let answer = get(&port("api"), "/api/v1/issues");
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("cluster: cannot read namespace kube-system"), "{answer}");
    write(folder.path(), "config", "clusterNam: here\n");
    running.says("config_rejected");
    let metrics = get(&port("admin"), "/metrics");
    assert!(metrics.contains("\ntocsin_config_reload_failures_total 1\n"), "{metrics}");
}

#[test]
fn wrong_usage_exits_64_and_is_said_once() {
    ends(&["--no-such-option"], 64, "error: unexpected argument '--no-such-option'");
    ends(&["--help"], 0, "--config");
    ends(&["--version"], 0, env!("CARGO_PKG_VERSION"));
}

#[test]
fn the_doctor_says_what_it_could_not_ask_and_exits_1() {
    let (_folder, [config, cert, key, kubeconfig]) = good();
    let args = ["doctor", &config, &cert, &key, &kubeconfig, "--patience=0s"];
    ends(&args, 1, "FAILED   API server");
    ends(&args, 1, "\nok       sink stdout");
    ends(&args, 1, "error: 1 of ");
    ends(&["doctor", "--config=/nowhere", "--context=x"], 1, "=> correct it");
    ends(&["doctor", "--patience=long"], 64, "--patience: \"long\" is no duration");
    ends(&["doctor", "--help"], 0, "--patience");
}

#[test]
fn a_port_that_is_taken_exits_1() {
    let (_folder, [config, cert, key, kubeconfig]) = good();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let listen = format!("--metrics-listen={}", taken.local_addr().expect("it is bound"));
    ends(&[&config, &cert, &key, &kubeconfig, &listen], 1, "cannot listen on 127.0.0.1:");
}
