//! The port over real sockets: TLS and HTTP/2 on loopback, and an API server that is a function.

mod strangers;
mod versions;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http::{Method, Request, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use process::shutdown::Script;
use process::tls::ServerTls;
use process::{Clock, Mark, Phase};
use rcgen::{CertificateParams, KeyPair};
use rules::{Evidence, Finding, FindingId, Incarnation, Kind, Owner, Seen, State, Subject, Time};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use wire::codec::{HEADER, LIMIT, Message, REPORT_HEAD};
use wire::{
    Answer, Body, Entry, Epoch, Hello, OpenSet, REPORT_PATH, Reply, Report, SESSION_PATH, SessionId, SessionReply,
    Welcome,
};

use super::*;
use crate::core::Core;
use crate::ingest::identity::tests::{Api, agents};
use crate::leader::Leadership;
use crate::leader::election::Role;
use crate::pipeline::Pipeline;
use crate::settings::{Settings, SinkSettings};

const START: Time = Time::from_millis(1_000_000_000);

/// The port, and whoever connects to it. Its clock stands still until it is moved.
struct Port {
    addr: SocketAddr,
    tls: TlsConnector,
    office: Office,
    core: Arc<Core>,
    counts: Counts,
    script: Script,
    tasks: Tasks,
    /// The clients' connections.
    connections: JoinSet<()>,
    publish: watch::Sender<Arc<Config>>,
}

/// A client's connection.
struct Client {
    sender: http2::SendRequest<UnsyncBoxBody<Bytes, Infallible>>,
    closed: oneshot::Receiver<()>,
}

/// What a client hears.
struct Heard {
    status: StatusCode,
    headers: http::HeaderMap,
    body: Bytes,
}

impl Port {
    async fn open(limits: Limits) -> Self {
        let port = Self::open_as(Leadership::alone(Clock::by_hand(START)), limits).await;
        port.office.take(Arc::clone(&port.core));
        port
    }

    /// A replica's whose core has not begun.
    async fn open_as(leadership: Leadership, limits: Limits) -> Self {
        let clock = Clock::by_hand(START);
        let sinks = [(Arc::from("sink"), SinkSettings::default())].into();
        let settings = Settings { sinks, ..Settings::default() };
        let core = Arc::new(Core::new(Pipeline::new(settings, Epoch(1), 7, START), clock.clone()));
        let (_, api) = Api::start(Duration::ZERO);
        let config = Config::parse("clusterName: test", "tocsin").expect("a configuration");
        let (publish, config) = watch::channel(Arc::new(Config { agents: agents(), ..config }));
        let (server_tls, tls) = tls();
        let script = Script::new();
        let (tasks, _) = Tasks::new(script.phases());
        let identity = Identity::new(api, clock.clone());
        let office = Office::new(leadership);
        let process = (tasks.clone(), script.phases());
        let server = Server::new((office.clone(), clock), identity, config, &server_tls.acceptor(), limits, process);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let addr = listener.local_addr().expect("it is bound");
        let counts = server.counts();
        tasks.spawn("ingest", Stage::Accept, async move {
            server.run(listener).await;
            Ok(())
        });
        Self { addr, tls, office, core, counts, script, tasks, connections: JoinSet::new(), publish }
    }

    async fn connect(&mut self) -> Client {
        let stream = TcpStream::connect(self.addr).await.expect("it listens");
        let name = ServerName::try_from("localhost").expect("a name");
        let stream = self.tls.connect(name, stream).await.expect("a handshake");
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("HTTP/2");
        let (open, closed) = oneshot::channel();
        self.connections.spawn(async move {
            // An error is a connection that the port has dropped.
            let _ = connection.await;
            drop::<oneshot::Sender<()>>(open);
        });
        Client { sender, closed }
    }

    /// A connection with a session.
    async fn agent(&mut self, node: &str) -> (Client, Welcome) {
        let mut client = self.connect().await;
        let heard = client.session(&format!("on-{node}"), &hello()).await;
        assert_eq!(heard.status, StatusCode::OK);
        let SessionReply::Welcome(welcome) = heard.read() else { panic!("it is let in") };
        (client, welcome)
    }
}

impl Client {
    async fn send(&mut self, request: Request<UnsyncBoxBody<Bytes, Infallible>>) -> Heard {
        let response = self.sender.send_request(request).await.expect("an answer");
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        Heard { status: parts.status, headers: parts.headers, body }
    }

    async fn post(&mut self, path: &str, token: &str, body: impl Into<Bytes>) -> Heard {
        self.begin(path, token, Full::new(body.into()).boxed_unsync()).await
    }

    async fn begin(&mut self, path: &str, token: &str, body: UnsyncBoxBody<Bytes, Infallible>) -> Heard {
        let request = Request::post(format!("https://localhost{path}"))
            .header(header::CONTENT_TYPE, wire::CONTENT_TYPE)
            .header(header::AUTHORIZATION, format!("Bearer {token}"));
        self.send(request.body(body).expect("a request")).await
    }

    async fn session(&mut self, token: &str, hello: &Hello) -> Heard {
        self.post(SESSION_PATH, token, wire::encode(hello).expect("a message")).await
    }

    async fn report(&mut self, report: &Report) -> Heard {
        self.post(REPORT_PATH, "", wire::encode(report).expect("a message")).await
    }

    /// Returns when the port has closed the connection.
    async fn closed(&mut self) {
        // Nothing is ever sent: the sender goes with the connection.
        let _ = (&mut self.closed).await;
    }
}

impl Heard {
    #[track_caller]
    fn read<M: Message>(&self) -> M {
        assert_eq!(self.headers[header::CONTENT_TYPE], wire::CONTENT_TYPE);
        wire::decode(&self.body).expect("a message")
    }

    /// The status, and the reason in the reply.
    #[track_caller]
    fn refused(&self) -> (u16, String) {
        let SessionReply::Refused(why) = self.read() else { panic!("it is refused") };
        (self.status.as_u16(), why)
    }

    #[track_caller]
    fn malformed(&self) -> (u16, String) {
        let Reply::Malformed(why) = self.read() else { panic!("it is malformed") };
        (self.status.as_u16(), why)
    }

    #[track_caller]
    fn answer(&self) -> Answer {
        assert_eq!(self.status, StatusCode::OK);
        let Reply::Answer(answer) = self.read() else { panic!("it is taken in") };
        answer
    }
}

fn tls() -> (ServerTls, TlsConnector) {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    let pem = params.self_signed(&key).expect("a certificate").pem();
    let server = ServerTls::from_pem(pem.as_bytes(), key.serialize_pem().as_bytes()).expect("a server");
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).expect("PEM")).expect("a certificate");
    let mut client = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.alpn_protocols = vec![b"h2".to_vec()];
    (server, TlsConnector::from(Arc::new(client)))
}

fn hello() -> Hello {
    Hello { versions: wire::VERSIONS.to_vec(), build: "test".to_owned(), kinds: Vec::new() }
}

fn report(session: SessionId, seq: u64, body: Body) -> Report {
    let open = body.entries().iter().collect::<OpenSet>();
    Report { session, seq, open, body, settled_seen: 0, config_hash: 0, shed: 0 }
}

/// A container on `node` crash-loops.
fn entry(node: &str) -> Entry {
    let kind = Kind::named("CrashLoopBackOff").expect("a kind of the catalogue");
    let subject = Subject {
        namespace: "shop".into(),
        pod: "api-0".into(),
        uid: "u-1".into(),
        container: "app".into(),
        node: node.into(),
    };
    let finding = Finding {
        id: FindingId::of(kind, &subject),
        kind,
        subject,
        owner: Owner { kind: "StatefulSet".into(), name: "api".into() },
        incarnation: Incarnation(1),
        state: State::Active,
        since: START,
        seen: Seen::Happening,
        severity: kind.row().severity,
        evidence: Evidence::default(),
    };
    Entry { revision: 1, finding }
}

#[tokio::test]
async fn a_standby_sends_everybody_to_the_leader_without_a_look_at_who_asks_what() {
    let role = |address: &str| Role::StandingBy { leader: "other".into(), address: address.into() };
    let (script, leadership) = Leadership::scripted(role("10.0.0.7:8443"), Clock::by_hand(START));
    let mut port = Port::open_as(leadership, Limits::default()).await;
    let mut client = port.connect().await;
    let heard = client.post(SESSION_PATH, "nobody's", "no message").await;
    assert_eq!(heard.status, StatusCode::MISDIRECTED_REQUEST);
    assert_eq!(heard.read::<SessionReply>(), SessionReply::NotLeader("10.0.0.7:8443".to_owned()));
    script.send_replace(role(""));
    let nobodys = report(SessionId(7), 1, Body::Full(Vec::new()));
    let heard = client.report(&nobodys).await;
    assert_eq!(heard.read::<Reply>(), Reply::NotLeader(String::new()), "nobody is known to lead");
    script.send_replace(Role::Leading { send_until: Mark::default() });
    let heard = client.report(&nobodys).await;
    assert_eq!(heard.read::<Reply>(), Reply::NotLeader(String::new()), "it is about to lead");
    port.office.take(Arc::clone(&port.core));
    script.send_replace(Role::Leading { send_until: Mark::from_start(Duration::from_secs(10)) });
    assert_eq!(client.session("on-node-1", &hello()).await.status, StatusCode::OK);
    assert_eq!(port.counts.answered("session", "not_leader"), 1);
}

#[tokio::test]
async fn a_leader_that_cannot_renew_lets_its_agents_look_for_another_and_takes_them_back() {
    let good_for = |seconds: u64| Role::Leading { send_until: Mark::from_start(Duration::from_secs(seconds)) };
    let clock = Clock::by_hand(START);
    let (script, leadership) = Leadership::scripted(good_for(10), clock.clone());
    let mut port = Port::open_as(leadership, Limits::default()).await;
    port.office.take(Arc::clone(&port.core));
    let (mut client, welcome) = port.agent("node-1").await;
    client.report(&report(welcome.session, 1, Body::Full(Vec::new()))).await.answer();
    clock.advance(Duration::from_secs(10));
    let heard = client.report(&report(welcome.session, 2, Body::Delta(Vec::new()))).await;
    assert_eq!(heard.read::<Reply>(), Reply::NotLeader(String::new()));
    let heard = client.session("on-node-1", &hello()).await;
    assert_eq!(heard.read::<SessionReply>(), SessionReply::NotLeader(String::new()));
    script.send_replace(good_for(20));
    let answer = client.report(&report(welcome.session, 2, Body::Delta(Vec::new()))).await.answer();
    assert_eq!(answer.accepted, 2, "its session goes on");
}

#[tokio::test]
async fn an_agent_opens_a_session_and_its_reports_are_taken_in() {
    let mut port = Port::open(Limits::default()).await;
    let (mut client, welcome) = port.agent("node-1").await;
    assert_eq!(welcome.epoch, Epoch(1));
    let full = Body::Full(vec![entry("node-1")]);
    let answer = client.report(&report(welcome.session, 1, full)).await.answer();
    assert_eq!((answer.accepted, answer.need_full), (1, None));
    assert!(answer.configuration.is_some(), "the agent's rules are others");
    let observed = port.core.quietly(|pipeline, _| pipeline.dedupe().accounts().observed());
    assert_eq!(observed, 1);
    assert_eq!(port.counts.answered("session", "welcome"), 1);
    assert_eq!(port.counts.answered("report", "answer"), 1);
    assert_eq!(port.counts.connections.get(), 1);
}

#[tokio::test]
async fn a_session_goes_on_over_another_connection() {
    let mut port = Port::open(Limits::default()).await;
    let (client, welcome) = port.agent("node-1").await;
    drop(client);
    let mut client = port.connect().await;
    let answer = client.report(&report(welcome.session, 1, Body::Full(Vec::new()))).await.answer();
    assert_eq!(answer.accepted, 1);
    port.core.clock().advance(Duration::from_mins(1));
    client.report(&report(welcome.session, 2, Body::Delta(Vec::new()))).await.answer();
    assert_eq!(port.counts.dropped_for("stranger"), 0, "it is no stranger any more");
}

#[tokio::test]
async fn a_newer_session_of_the_node_retires_the_older() {
    let mut port = Port::open(Limits::default()).await;
    let (mut older, older_welcome) = port.agent("node-1").await;
    let (mut newer, newer_welcome) = port.agent("node-1").await;
    assert_ne!(older_welcome.session, newer_welcome.session);
    let heard = older.report(&report(older_welcome.session, 1, Body::Full(Vec::new()))).await;
    assert_eq!((heard.status.as_u16(), heard.read()), (409, Reply::Retired));
    newer.report(&report(newer_welcome.session, 1, Body::Full(Vec::new()))).await.answer();
}

#[tokio::test]
async fn a_session_that_nobody_opened_is_unknown() {
    let mut port = Port::open(Limits::default()).await;
    let heard = port.connect().await.report(&report(SessionId(7), 1, Body::Full(Vec::new()))).await;
    assert_eq!((heard.status.as_u16(), heard.read()), (410, Reply::UnknownSession));
}

#[tokio::test]
async fn of_a_report_that_belongs_to_no_session_only_the_sessions_name_is_read() {
    let mut port = Port::open(Limits::default()).await;
    let (_, older) = port.agent("node-1").await;
    port.agent("node-1").await;
    let mut stranger = port.connect().await;
    for (session, reply) in [(SessionId(u128::MAX), Reply::UnknownSession), (older.session, Reply::Retired)] {
        let message = wire::encode(&report(session, 1, Body::Full(Vec::new()))).expect("a message");
        let begun = Bytes::from(message).slice(..REPORT_HEAD);
        let endless = stream::iter([Ok(Frame::data(begun))]).chain(stream::pending());
        let heard = stranger.begin(REPORT_PATH, "", StreamBody::new(endless).boxed_unsync());
        let heard = tokio::time::timeout(Duration::from_secs(10), heard).await.expect("it is not waited for the rest");
        assert_eq!(heard.read::<Reply>(), reply);
    }
}

#[tokio::test]
async fn a_node_is_the_tokens_and_not_the_reports() {
    let mut port = Port::open(Limits::default()).await;
    let (mut client, welcome) = port.agent("node-1").await;
    let (status, why) = client.report(&report(welcome.session, 1, Body::Full(vec![entry("node-2")]))).await.malformed();
    assert_eq!(status, 400);
    assert!(why.contains("another node"), "{why}");
}

#[tokio::test]
async fn who_has_no_good_token_is_not_let_in() {
    let mut port = Port::open(Limits::default()).await;
    let mut client = port.connect().await;
    for (token, status, reason) in [
        ("", 401, "no token"),
        ("bad", 401, "invalid bearer token"),
        ("others", 403, "system:serviceaccount:shop:api"),
        ("gone-pod", 403, "is gone"),
    ] {
        let (heard, why) = client.session(token, &hello()).await.refused();
        assert_eq!(heard, status, "{token}");
        assert!(why.contains(reason), "{why}");
    }
    let heard = client.session("broken", &hello()).await;
    assert_eq!((heard.status.as_u16(), heard.read()), (503, SessionReply::Busy(5_000)));
    assert_eq!(heard.headers[header::RETRY_AFTER], "5");
    assert_eq!(port.core.quietly(|pipeline, _| pipeline.sessions().heard().count()), 0);
}

#[tokio::test]
async fn what_is_no_message_is_malformed() {
    let mut port = Port::open(Limits::default()).await;
    let (mut client, welcome) = port.agent("node-1").await;
    for body in [Vec::new(), b"GET / HTTP/1.1".to_vec(), vec![0; 100_000], wire::encode(&hello()).expect("a message")] {
        let heard = client.post(REPORT_PATH, "", body).await;
        assert_eq!(heard.status, 400);
        assert_eq!(
            heard.headers[header::CONTENT_TYPE],
            "text/plain; charset=utf-8",
            "who knows which version they speak"
        );
    }
    let mut damaged = wire::encode(&report(welcome.session, 1, Body::Full(Vec::new()))).expect("a message");
    *damaged.last_mut().expect("it has bytes") ^= 1;
    assert!(client.post(REPORT_PATH, "", damaged).await.malformed().1.contains("checksum"));
    assert_eq!(client.post(SESSION_PATH, "on-node-1", "nonsense").await.refused().0, 400);
    client.report(&report(welcome.session, 1, Body::Full(Vec::new()))).await.answer();
}

/// As after a rollback: it was opened by an aggregator that speaks more.
#[tokio::test]
async fn a_session_in_a_version_that_is_not_spoken_is_unknown() {
    let mut port = Port::open(Limits::default()).await;
    let (mut client, welcome) = port.agent("node-1").await;
    let mut newer = wire::encode(&report(welcome.session, 1, Body::Full(Vec::new()))).expect("a message");
    newer[4] = 99;
    let heard = client.post(REPORT_PATH, "", newer).await;
    assert_eq!((heard.status, heard.read()), (StatusCode::GONE, Reply::UnknownSession));
}

#[tokio::test]
async fn a_body_that_is_too_long_is_refused_unread() {
    let mut port = Port::open(Limits::default()).await;
    let (mut client, welcome) = port.agent("node-1").await;
    let mut long = wire::encode(&report(welcome.session, 1, Body::Full(Vec::new()))).expect("a message");
    long.resize(HEADER + LIMIT + 1, 0);
    assert_eq!(client.post(REPORT_PATH, "", long).await.malformed().0, 413);
    assert_eq!(client.post(SESSION_PATH, "on-node-1", vec![0; 64 * 1024 + 1]).await.refused().0, 413);
    client.report(&report(welcome.session, 1, Body::Full(Vec::new()))).await.answer();
}

#[tokio::test]
async fn other_requests_are_answered_for_people() {
    let mut port = Port::open(Limits::default()).await;
    let mut client = port.connect().await;
    for (method, path, content_type, status) in [
        (Method::GET, "/", wire::CONTENT_TYPE, 404),
        (Method::POST, "/v1/sessions", wire::CONTENT_TYPE, 404),
        (Method::GET, SESSION_PATH, wire::CONTENT_TYPE, 405),
        (Method::POST, REPORT_PATH, "application/json", 415),
    ] {
        let request = Request::builder()
            .method(method)
            .uri(format!("https://localhost{path}"))
            .header(header::CONTENT_TYPE, content_type)
            .body(Full::default().boxed_unsync())
            .expect("a request");
        let heard = client.send(request).await;
        assert_eq!(heard.status.as_u16(), status, "{path}");
        assert_eq!(heard.headers[header::CONTENT_TYPE], "text/plain; charset=utf-8");
    }
}

#[tokio::test]
async fn a_node_that_asks_too_often_waits_on_all_of_its_connections_and_no_other_does() {
    let mut port = Port::open(Limits { requests_per_minute: 3, ..Limits::default() }).await;
    let (mut client, welcome) = port.agent("node-1").await;
    for _ in 0..2 {
        client.report(&report(welcome.session, 1, Body::Full(Vec::new()))).await.answer();
    }
    let mut again = port.connect().await;
    for client in [&mut client, &mut again] {
        let heard = client.report(&report(welcome.session, 1, Body::Full(Vec::new()))).await;
        assert_eq!((heard.status.as_u16(), heard.read()), (503, Reply::Busy(20_000)));
        assert_eq!(heard.headers[header::RETRY_AFTER], "20");
    }
    assert_eq!(again.session("on-node-1", &hello()).await.read::<SessionReply>(), SessionReply::Busy(20_000));
    port.agent("node-2").await;
    port.core.clock().advance(Duration::from_secs(20));
    client.report(&report(welcome.session, 1, Body::Full(Vec::new()))).await.answer();
}

#[tokio::test]
async fn a_port_that_drains_answers_what_has_begun_and_takes_no_more() {
    let mut port = Port::open(Limits::default()).await;
    let (mut client, welcome) = port.agent("node-1").await;
    let message = wire::encode(&report(welcome.session, 1, Body::Full(Vec::new()))).expect("a message");
    let (finish, end) = oneshot::channel::<Bytes>();
    let end = stream::once(async { Ok(Frame::data(end.await.expect("the test ends it"))) });
    let begun = client.begin(REPORT_PATH, "", StreamBody::new(end).boxed_unsync());
    let mut begun = pin!(begun);
    tokio::select! {
        heard = &mut begun => panic!("answered with {} before its end", heard.status),
        () = port.tasks.until(Stage::Accept, |names| names.contains(&"ingest_request")) => {}
    }
    port.script.enter(Phase::Draining);
    port.tasks.until(Stage::Accept, |names| !names.contains(&"ingest")).await;
    assert!(TcpStream::connect(port.addr).await.is_err());
    finish.send(message.into()).expect("it waits");
    assert_eq!(begun.await.answer().accepted, 1);
    // Long before those that do not end are cut off.
    tokio::time::timeout(Duration::from_secs(4), port.tasks.idle(Stage::Accept)).await.expect("it lets go");
}
