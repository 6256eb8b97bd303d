//! Sinks against a small receiver on loopback.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use process::tls::ServerTls;
use rcgen::{CertificateParams, KeyPair};
use rules::{Kind, Owner, Severity};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufWriter};
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::config::{Address, HttpTarget, Proxy};
use crate::dedupe::IssueKey;
use crate::forward::outbox::{Intent, Next, Outbox, Status};
use crate::settings::SinkSettings;

mod address;

const NOW: Time = Time::from_millis(1_000_000_000);

/// Records what it hears, and answers as it is told to.
struct Receiver {
    addr: SocketAddr,
    heard: Arc<Mutex<Vec<Heard>>>,
    _connections: JoinSet<()>,
}

struct Heard {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: String,
}

type Script = Arc<dyn Fn(&Heard) -> Response<Full<Bytes>> + Send + Sync>;

impl Receiver {
    async fn start(tls: Option<TlsAcceptor>, script: Script) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let addr = listener.local_addr().expect("it is bound");
        let heard = Arc::<Mutex<Vec<Heard>>>::default();
        let mut connections = JoinSet::new();
        connections.spawn(accept(listener, tls, script, Arc::clone(&heard)));
        Self { addr, heard, _connections: connections }
    }

    /// One that answers everything with `status` and a body of so many bytes.
    async fn answering(status: u16, bytes: usize) -> Self {
        Self::start(None, Arc::new(move |_| response(status, bytes))).await
    }

    fn target(&self) -> HttpTarget {
        HttpTarget {
            address: at(&format!("http://{}/in?key=hunter2", self.addr)),
            token_file: None,
            ca_file: None,
            proxy: Proxy::default(),
            timeout: Duration::from_secs(5),
        }
    }

    fn header(&self, name: &str) -> Vec<String> {
        let heard = self.heard.lock().expect("unpoisoned");
        let value =
            |heard: &Heard| heard.headers.get(name).map_or("-", |value| value.to_str().expect("text")).to_owned();
        heard.iter().map(value).collect()
    }

    fn bodies(&self) -> Vec<String> {
        self.heard.lock().expect("unpoisoned").iter().map(|heard| heard.body.clone()).collect()
    }
}

/// A sink that waits for an hour for who answers there.
fn unhurried(listener: &TcpListener) -> Sink {
    ingest(HttpTarget {
        address: at(&format!("http://{}", listener.local_addr().expect("it is bound"))),
        token_file: None,
        ca_file: None,
        proxy: Proxy::default(),
        timeout: Duration::from_hours(1),
    })
}

/// A URL as it is written in the configuration.
fn at(url: &str) -> Address {
    Address::Written(url.parse().expect("a URL"))
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, script: Script, heard: Arc<Mutex<Vec<Heard>>>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, script, heard) = (tls.clone(), Arc::clone(&script), Arc::clone(&heard));
        connections.spawn(async move {
            match tls {
                None => serve(stream, script, heard).await,
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        serve(stream, script, heard).await;
                    }
                }
            }
        });
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, script: Script, heard: Arc<Mutex<Vec<Heard>>>) {
    let service = service_fn(|request: Request<Incoming>| {
        let (script, heard) = (Arc::clone(&script), Arc::clone(&heard));
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
            let body = String::from_utf8(body.to_vec()).expect("JSON");
            let request = Heard { method: parts.method, uri: parts.uri, headers: parts.headers, body };
            let response = script(&request);
            heard.lock().expect("unpoisoned").push(request);
            Ok::<_, Infallible>(response)
        }
    });
    // An error is a client that left.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

fn response(status: u16, bytes: usize) -> Response<Full<Bytes>> {
    let body = Full::new(Bytes::from("x".repeat(bytes)));
    Response::builder().status(status).body(body).expect("a response")
}

/// Records with these keys and bodies, in the order of their keys or, for `reversed`, against it.
fn records(keys: &[&str], reversed: bool) -> Vec<Record> {
    let settings = SinkSettings { batch_max: 100, ..SinkSettings::default() };
    let mut outbox = Outbox::new(settings, 7, NOW);
    for key in keys {
        let owner = Owner { kind: "Deployment".into(), name: Arc::from(*key) };
        let kind = Kind::named("CrashLoopBackOff").expect("a kind of the catalogue");
        let issue = IssueKey { namespace: "shop".into(), owner, container: "".into(), kind };
        let intent = Intent {
            episode: rules::Incarnation(1),
            revision: 1,
            status: Status::Firing,
            severity: Severity::Critical,
        };
        outbox.enqueue(&Arc::new(issue), intent, NOW);
    }
    let body = |key: &str| Arc::from(format!(r#"{{"key":"{key}"}}"#));
    let next = outbox.next(NOW, |issue, _| Some((Arc::clone(&issue.owner.name), body(&issue.owner.name))));
    let Next::Send(mut records) = next else { panic!("there is something to send: {next:?}") };
    records.sort_by(|one, other| one.key.cmp(&other.key));
    if reversed {
        records.reverse();
    }
    records
}

fn ingest(target: HttpTarget) -> Sink {
    Sink::new(&SinkTarget::Ingest(target))
}

#[tokio::test]
async fn a_batch_is_one_request_with_each_body_to_the_letter() {
    let receiver = Receiver::answering(202, 0).await;
    let sent = ingest(receiver.target()).send(&records(&["a", "b"], false), NOW).await;
    assert_eq!(sent, Sent::DELIVERED);
    assert_eq!(receiver.bodies(), [r#"{"records":[{"key":"a"},{"key":"b"}]}"#]);
    assert_eq!(receiver.header("content-type"), ["application/json"]);
    assert_eq!(receiver.header("authorization"), ["-"]);
    assert_eq!(receiver.header("user-agent"), [concat!("tocsin-aggregator/", env!("CARGO_PKG_VERSION"))]);
    let heard = receiver.heard.lock().expect("unpoisoned");
    assert_eq!((&heard[0].method, heard[0].uri.to_string()), (&Method::POST, "/in?key=hunter2".to_owned()));
}

#[tokio::test]
async fn the_same_batch_is_the_same_key_and_the_same_bytes_in_whatever_order_it_comes() {
    let receiver = Receiver::answering(200, 0).await;
    let sink = ingest(receiver.target());
    for reversed in [false, true] {
        sink.send(&records(&["a", "b", "c"], reversed), NOW).await;
    }
    sink.send(&records(&["a", "b"], false), NOW).await;
    sink.send(&records(&["ab"], false), NOW).await;
    let keys = receiver.header("idempotency-key");
    assert_eq!(keys[0], keys[1]);
    assert_eq!(receiver.bodies()[0], receiver.bodies()[1]);
    assert_ne!(keys[0], keys[2], "another batch has another key");
    assert_ne!(keys[2], keys[3], "keys do not run into each other");
}

#[tokio::test]
async fn a_webhook_gets_each_record_with_its_own_key_up_to_the_first_failure() {
    let script = |heard: &Heard| response(if heard.body.contains(r#""b""#) { 500 } else { 200 }, 0);
    let receiver = Receiver::start(None, Arc::new(script)).await;
    let sink = Sink::new(&SinkTarget::Webhook(receiver.target()));
    let sent = sink.send(&records(&["a", "b", "c"], false), NOW).await;
    assert_eq!(sent.outcome, Outcome::Failed);
    assert_eq!(receiver.header("idempotency-key"), ["a", "b"]);
    assert_eq!(receiver.bodies(), [r#"{"key":"a"}"#, r#"{"key":"b"}"#]);
}

#[tokio::test]
async fn what_the_receiver_answers_is_what_the_outbox_hears() {
    for (status, outcome) in [
        (200, Outcome::Delivered),
        (401, Outcome::Unauthorized),
        (422, Outcome::Refused),
        (429, Outcome::Throttled(None)),
        (500, Outcome::Failed),
    ] {
        let receiver = Receiver::answering(status, 10).await;
        let sent = ingest(receiver.target()).send(&records(&["a"], false), NOW).await;
        assert_eq!(sent.outcome, outcome, "{status}");
        assert_eq!(sent.why.is_empty(), status == 200, "{}", sent.why);
        assert!(!sent.why.contains("hunter2"));
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let other = Receiver::answering(200, 0).await;
    let location = format!("http://{}/stolen", other.addr);
    let script = move |_: &Heard| {
        let mut response = response(307, 0);
        response.headers_mut().insert("location", location.parse().expect("a header value"));
        response
    };
    let receiver = Receiver::start(None, Arc::new(script)).await;
    let sent = ingest(receiver.target()).send(&records(&["a"], false), NOW).await;
    assert_eq!(sent.outcome, Outcome::Failed);
    assert!(sent.why.contains("redirects are not followed"), "{}", sent.why);
    assert!(other.bodies().is_empty());
}

#[tokio::test]
async fn an_endless_answer_is_not_read_to_its_end() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let sink = unhurried(&listener);
    let mut receiver = JoinSet::<()>::new();
    receiver.spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        // A client takes no answer before it has asked.
        stream.read_exact(&mut [0]).await.expect("a request");
        let head = "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 1000000000\r\n\r\n";
        stream.write_all(head.as_bytes()).await.expect("it listens");
        stream.write_all(&b"x".repeat(100_000)).await.expect("it listens");
        std::future::pending::<()>().await;
    });
    let batch = records(&["a"], false);
    let sent =
        tokio::time::timeout(Duration::from_secs(20), sink.send(&batch, NOW)).await.expect("long before its end");
    assert!(sent.why.starts_with("it answered 500") && sent.why.len() < 300, "{}", sent.why);
}

#[tokio::test]
async fn a_receiver_that_is_not_there_fails_without_showing_the_url() {
    // Kept, so that the port is nobody else's; it does not listen.
    let closed = TcpSocket::new_v4().expect("a socket");
    closed.bind(([127, 0, 0, 1], 0).into()).expect("a free port");
    let url = format!("http://{}/?key=hunter2", closed.local_addr().expect("it is bound"));
    let receiver = Receiver::answering(200, 0).await;
    let target = HttpTarget { address: at(&url), ..receiver.target() };
    let sent = ingest(target).send(&records(&["a"], false), NOW).await;
    assert_eq!(sent.outcome, Outcome::Failed);
    assert!(sent.why.starts_with("it cannot be reached: ") && !sent.why.contains("hunter2"), "{}", sent.why);
}

#[tokio::test]
async fn a_receiver_that_does_not_answer_fails_in_time() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let (sink, batch) = (unhurried(&listener), records(&["a"], false));
    let (sent, _stream) = futures::join!(sink.send(&batch, NOW), async {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        stream.read_exact(&mut [0]).await.expect("a request");
        // From here on only time can pass.
        tokio::time::pause();
        stream
    });
    assert_eq!(sent.outcome, Outcome::Failed);
    assert!(sent.why.starts_with("it did not answer in time: "), "{}", sent.why);
}

#[tokio::test]
async fn the_token_is_read_anew_for_every_request() {
    let receiver = Receiver::answering(200, 0).await;
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("token");
    let sink = ingest(HttpTarget { token_file: Some(path.clone()), ..receiver.target() });
    let batch = records(&["a"], false);

    let sent = sink.send(&batch, NOW).await;
    assert_eq!(sent.outcome, Outcome::Unauthorized, "without a token nobody is asked");
    assert!(sent.why.contains("cannot be read") && sent.why.contains("token"), "{}", sent.why);
    assert!(!sink.has_new_credentials().await);

    write(&path, "  first\n");
    assert!(sink.has_new_credentials().await);
    assert_eq!(sink.send(&batch, NOW).await, Sent::DELIVERED);
    assert!(!sink.has_new_credentials().await);

    write(&path, "second");
    assert!(sink.has_new_credentials().await);
    sink.send(&batch, NOW).await;
    assert_eq!(receiver.header("authorization"), ["Bearer first", "Bearer second"]);

    for (text, fault) in
        [("", "is empty"), (" \n", "is empty"), ("two\nlines", "holds characters"), ("é\u{7f}", "holds")]
    {
        write(&path, text);
        let sent = sink.send(&batch, NOW).await;
        assert_eq!(sent.outcome, Outcome::Unauthorized);
        assert!(sent.why.contains(fault) && !sent.why.contains("lines"), "{}", sent.why);
    }
    write(&path, &"x".repeat(100_000));
    assert!(sink.send(&batch, NOW).await.why.contains("longer than"));
    assert_eq!(receiver.bodies().len(), 2);
}

#[tokio::test]
async fn what_is_behind_a_proxy_is_asked_for_there_with_the_credentials_of_the_moment() {
    let script = |heard: &Heard| match heard.headers.get("proxy-authorization") {
        Some(known) if known == "Basic bWU6aHVudGVyMg==" => response(200, 0),
        _ => response(407, 0),
    };
    let proxy = Receiver::start(None, Arc::new(script)).await;
    let dir = tempfile::tempdir().expect("a folder");
    let folder = Proxy { folder: Some(dir.path().to_owned()), ..Proxy::default() };
    let target = HttpTarget { address: at("http://collector.invalid/in"), proxy: folder, ..proxy.target() };
    let (sink, batch) = (ingest(target), records(&["a"], false));
    let sent = sink.send(&batch, NOW).await;
    assert_eq!(sent.outcome, Outcome::Failed, "nothing goes past it");
    assert!(sent.why.contains("none of http, https and noProxy"), "{}", sent.why);
    for (credentials, why) in
        [("", "wants a name and a password: write"), ("me:hunter3@", "refuses the name and password")]
    {
        write(&dir.path().join("http"), &format!("http://{credentials}{}", proxy.addr));
        let sent = sink.send(&batch, NOW).await;
        assert_eq!(sent.outcome, Outcome::Unauthorized);
        let said = format!("the proxy http://{} answered 407 Proxy Authentication Required: it {why}", proxy.addr);
        assert!(sent.why.starts_with(&said) && !sent.why.contains("hunter"), "{}", sent.why);
        assert!(!sink.has_new_credentials().await);
    }
    write(&dir.path().join("http"), &format!("http://me:hunter2@{}", proxy.addr));
    assert!(sink.has_new_credentials().await);
    assert_eq!(sink.send(&batch, NOW).await, Sent::DELIVERED);
    assert!(!sink.has_new_credentials().await);
    let heard = proxy.heard.lock().expect("unpoisoned");
    assert!(heard.iter().all(|heard| heard.uri == "http://collector.invalid/in"), "the proxy finds it");
    assert_eq!(heard.len(), 3);
}

#[tokio::test]
async fn a_proxy_that_is_not_there_is_named_without_its_credentials() {
    let closed = TcpSocket::new_v4().expect("a socket");
    closed.bind(([127, 0, 0, 1], 0).into()).expect("a free port");
    let address = closed.local_addr().expect("it is bound");
    let dir = tempfile::tempdir().expect("a folder");
    write(&dir.path().join("https"), &format!("http://me:hunter2@{address}"));
    let proxy = Proxy { folder: Some(dir.path().to_owned()), ..Proxy::default() };
    let target = HttpTarget {
        address: at("https://collector.invalid/in"),
        token_file: None,
        ca_file: None,
        proxy,
        timeout: Duration::from_secs(5),
    };
    let sent = ingest(target).send(&records(&["a"], false), NOW).await;
    assert_eq!(sent.outcome, Outcome::Failed);
    let said = format!("it cannot be reached through the proxy http://{address}: ");
    assert!(sent.why.starts_with(&said) && !sent.why.contains("hunter2"), "{}", sent.why);
}

#[tokio::test]
async fn a_private_authority_is_trusted_from_its_file_and_followed_when_it_changes() {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("a name");
    let pem = params.self_signed(&key).expect("a certificate").pem();
    let other = params.self_signed(&KeyPair::generate().expect("a key")).expect("a certificate").pem();
    let tls = ServerTls::from_pem(pem.as_bytes(), key.serialize_pem().as_bytes()).expect("a server");
    let receiver = Receiver::start(Some(tls_1(&tls)), Arc::new(|_| response(200, 0))).await;
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("ca.crt");
    let address = at(&format!("https://{}", receiver.addr));
    let target = HttpTarget { address, ..receiver.target() };
    let batch = records(&["a"], false);

    let sent = ingest(target.clone()).send(&batch, NOW).await;
    assert!(sent.why.contains("invalid peer certificate"), "{}", sent.why);

    let sink = ingest(HttpTarget { ca_file: Some(path.clone()), ..target });
    for (text, why) in [("", "holds no certificate"), ("nonsense", "holds no certificate"), (&other, "invalid peer")] {
        write(&path, text);
        let sent = sink.send(&batch, NOW).await;
        assert_eq!(sent.outcome, Outcome::Failed);
        assert!(sent.why.contains(why), "{}", sent.why);
    }
    write(&path, &pem);
    assert_eq!(sink.send(&batch, NOW).await, Sent::DELIVERED);
}

#[tokio::test]
async fn standard_output_has_one_record_a_line_and_keeps_none_back() {
    let (ours, mut theirs) = tokio::io::duplex(1024);
    let sink = Sink::Stdout(Stdout::new(BufWriter::new(ours)));
    assert_eq!(sink.send(&records(&["a", "b"], false), NOW).await, Sent::DELIVERED);
    assert_eq!(sink.send(&records(&["c"], false), NOW).await, Sent::DELIVERED);
    let mut lines = [0; 100];
    let length = theirs.read(&mut lines).await.expect("all of them are there");
    let expected = "{\"key\":\"a\"}\n{\"key\":\"b\"}\n{\"key\":\"c\"}\n";
    assert_eq!(String::from_utf8_lossy(&lines[..length]), expected);
}

#[tokio::test]
async fn standard_output_that_nobody_reads_any_more_fails() {
    let (ours, theirs) = tokio::io::duplex(8);
    drop(theirs);
    let sent = Sink::Stdout(Stdout::new(ours)).send(&records(&["a"], false), NOW).await;
    assert_eq!(sent.outcome, Outcome::Failed);
    assert!(sent.why.contains("standard output cannot be written"), "{}", sent.why);
}

/// The receiver speaks HTTP/1.1 alone.
fn tls_1(tls: &ServerTls) -> TlsAcceptor {
    let mut config = rustls::ServerConfig::clone(tls.acceptor().config());
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).expect("a file");
}

#[tokio::test]
async fn a_sink_is_tried_out_with_its_token_and_without_a_record() {
    let receiver = Receiver::answering(200, 0).await;
    let folder = tempfile::tempdir().expect("a folder can be made");
    let file = folder.path().join("token");
    std::fs::write(&file, "outside.secret").expect("it can be written");
    let target = HttpTarget { token_file: Some(file), ..receiver.target() };
    for target in [SinkTarget::Ingest(target.clone()), SinkTarget::Webhook(target), SinkTarget::Stdout] {
        let tried = Sink::new(&target).try_out(NOW).await;
        let taken = Tried { status: Some(StatusCode::OK), sent: Sent::DELIVERED };
        assert_eq!(tried, (target != SinkTarget::Stdout).then_some(taken));
    }
    assert_eq!(receiver.bodies(), [r#"{"records":[]}"#, ""]);
    let batch: serde_json::Value = serde_json::from_str(&receiver.bodies()[0]).expect("it is JSON");
    contract::Contract::read().check_named("Batch", &batch);
    assert_eq!(receiver.header("authorization"), ["Bearer outside.secret", "Bearer outside.secret"]);
    let methods: Vec<_> = receiver.heard.lock().expect("unpoisoned").iter().map(|heard| heard.method.clone()).collect();
    assert_eq!(methods, [Method::POST, Method::HEAD]);
    let keys = receiver.header("idempotency-key");
    assert!(keys[0].len() == 38 && keys[0].starts_with("batch.") && keys[1] == "-", "{keys:?}");
}
