//! Kubeconfigs that are right and wrong, and real sockets.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket};

use super::*;
use crate::shutdown::Script;
use crate::tasks::{Stage, Tasks};

const KUBECONFIG: &str = "
apiVersion: v1
kind: Config
current-context: plain
contexts:
- {name: plain, context: {cluster: plain, user: nobody}}
- {name: proxied, context: {cluster: proxied, user: nobody}}
clusters:
- {name: plain, cluster: {server: 'http://127.0.0.1:1'}}
- {name: proxied, cluster: {server: 'http://127.0.0.1:1', proxy-url: 'http://me:hunter2@proxy:3128'}}
users:
- {name: nobody, user: {}}
";

async fn connected(text: &str, context: Option<&str>) -> Result<String, String> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("config");
    std::fs::write(&path, text).expect("written");
    let access = Access { kubeconfig: Some(path), context: context.map(Into::into), ..Access::default() };
    let client = connect(&access, &Clock::by_hand(Time::from_millis(0)), "tocsin-test/0").await;
    client.map(|client| client.default_namespace().into()).map_err(|error| format!("{error:#}"))
}

#[tokio::test]
async fn a_kubeconfig_is_used_with_its_current_or_another_context() {
    assert_eq!(connected(KUBECONFIG, None).await, Ok("default".into()));
    let error = connected(KUBECONFIG, Some("absent")).await.expect_err("no such context");
    assert!(error.contains("cannot use kubeconfig") && error.contains("absent"), "{error}");
}

#[tokio::test]
async fn what_cannot_work_is_said_before_it_is_tried() {
    let error = connected(KUBECONFIG, Some("proxied")).await.expect_err("no proxies");
    assert!(error.contains("remove proxy-url") && !error.contains("hunter2"), "{error}");
    let error = connected("{", None).await.expect_err("no YAML");
    assert!(error.contains("cannot read kubeconfig"), "{error}");
    let access = Access { context: Some("x".into()), ..Access::default() };
    let error = connect(&access, &Clock::by_hand(Time::from_millis(0)), "t").await.err().expect("no file");
    assert!(error.to_string().contains("without a kubeconfig"), "{error}");
    let access = Access { kubeconfig: Some("/nowhere".into()), ..Access::default() };
    let error = connect(&access, &Clock::by_hand(Time::from_millis(0)), "t").await.err().expect("no file");
    let said = "cannot read kubeconfig /nowhere: No such file or directory (os error 2): check --kubeconfig";
    assert_eq!(format!("{error:#}"), said);
}

#[test]
fn the_date_of_an_answer_is_read() {
    let dated = |text| date_of(&HeaderMap::from_iter([(header::DATE, HeaderValue::from_static(text))]));
    assert_eq!(dated("Sun, 06 Nov 1994 08:49:37 GMT"), Time::parse("1994-11-06T08:49:37Z"));
    assert_eq!(dated("yesterday"), None);
}

#[tokio::test]
async fn an_answers_date_sets_the_clock_and_the_question_says_who_asks() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let addr = listener.local_addr().expect("bound");
    let script = Script::new();
    let (tasks, _failures) = Tasks::new(script.phases());
    tasks.spawn_short("server", Stage::Background, async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut question = vec![0; 4096];
        let length = stream.read(&mut question).await.expect("a question");
        let question = String::from_utf8_lossy(&question[..length]).to_lowercase();
        let status = if question.contains("\r\nuser-agent: tocsin-test/0\r\n") { "503 Unavailable" } else { "200 OK" };
        let date = "date: Thu, 01 Jan 2026 00:00:00 GMT";
        let answer = format!("HTTP/1.1 {status}\r\n{date}\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.expect("sent");
        // Repeated, the question would wait here for ever.
        std::future::pending::<()>().await;
    });
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("config");
    std::fs::write(&path, KUBECONFIG.replace("127.0.0.1:1", &addr.to_string())).expect("written");
    let clock = Clock::system();
    let access = Access { kubeconfig: Some(path), ..Access::default() };
    let client = connect(&access, &clock, "tocsin-test/0").await.expect("a client");
    let request = Request::get("/api/v1/pods").body(kube::client::Body::empty()).expect("a request");
    let status = client.send(request).await.expect("answered").status();
    assert_eq!(status, 503, "its own name is sent, and kube does not ask again by itself");
    let api = Time::parse("2026-01-01T00:00:00Z").expect("a time");
    assert!(clock.now().since(api) < Duration::from_mins(1), "it is {}", clock.now());
    assert!(clock.node_offset_millis() > 0, "this machine's clock is later");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_an_error_at_once() {
    // Kept, so that the port is nobody else's; it does not listen.
    let closed = TcpSocket::new_v4().expect("a socket");
    closed.bind(([127, 0, 0, 1], 0).into()).expect("a port");
    let config = Config::new(format!("http://{}", closed.local_addr().expect("bound")).parse().expect("a URI"));
    let client = build(config, SILENCE, &Clock::system()).expect("a client");
    let request = Request::get("/api").body(kube::client::Body::empty()).expect("a request");
    client.send(request).await.expect_err("nobody listens");
}

#[tokio::test]
async fn what_is_wrong_with_a_kubeconfig_is_said_without_what_is_secret_in_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("kubeconfig");
    for text in [
        "users:\n- name: u\n  user: {token: hunter2, bad\ncontexts: []\n",
        "users:\n- name: u\n  user:\n    token: hunter2\n    password: [x]\n",
        "users:\n- name: u\n  user:\n    token: 'hunter2\ncontexts: []\n",
    ] {
        std::fs::write(&path, text).expect("written");
        let error = format!("{:#}", from_kubeconfig(&path, None).await.expect_err("it is none"));
        let says = format!("cannot read kubeconfig {}: it is no kubeconfig from line ", path.display());
        assert!(error.starts_with(&says) && !error.contains("hunter2"), "{error}");
    }
}

#[tokio::test]
async fn a_kubeconfig_that_has_no_end_or_that_nobody_writes_is_not_waited_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let pipe = folder.path().join("kubeconfig");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("it runs").success());
    for path in [pipe, PathBuf::from("/dev/zero")] {
        let error = format!("{:#}", from_kubeconfig(&path, None).await.expect_err("it is none"));
        let says = format!("cannot read kubeconfig {}: it is no regular file: check --kubeconfig", path.display());
        assert_eq!(error, says);
    }
}
