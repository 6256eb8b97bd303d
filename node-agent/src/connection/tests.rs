//! The way to the aggregator, against one that answers as it is told, over TLS on loopback.

mod aggregator;
mod trust;

use std::fs;
use std::future::poll_fn;
use std::pin::pin;
use std::time::Duration;

use process::shutdown::Script;
use process::tasks::Failures;
use process::tls::ClientTls;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpSocket};
use tokio::time::timeout;
use wire::{Body, OpenSet, SessionId};

use super::*;
use aggregator::{Aggregator, Asked, NAME, Says};

/// A connection in a test's hands, and what it stands on.
struct Client {
    connection: Connection,
    folder: TempDir,
    // Dropped, the tasks end.
    _script: Script,
    _failures: Failures,
}

impl Client {
    /// A client that trusts `ca_pem` and is sent to `address`.
    fn new(address: &str, ca_pem: &str) -> Self {
        let folder = TempDir::new().expect("a folder can be made");
        let ca_file = folder.path().join("ca.crt");
        fs::write(&ca_file, ca_pem).expect("it can be written");
        let trust = Trust::in_file(ClientTls::from_file(ca_file).expect("it is a CA"));
        Self::with(address, trust, folder)
    }

    /// A client with its token in `folder`.
    fn with(address: &str, trust: Trust, folder: TempDir) -> Self {
        let token_file = folder.path().join("token");
        fs::write(&token_file, "first\n").expect("it can be written");
        let name = process::tls::server_name(NAME).expect("it is a name");
        let settings = Settings { address: address.into(), name, token_file };
        let script = Script::new();
        let (tasks, failures) = Tasks::new(script.phases());
        Self { connection: Connection::new(settings, trust, tasks), folder, _script: script, _failures: failures }
    }

    fn of(aggregator: &Aggregator) -> Self {
        Self::new(&aggregator.address, &aggregator.ca_pem)
    }

    fn token(&self, token: &str) {
        fs::write(self.folder.path().join("token"), token).expect("it can be written");
    }

    async fn hello(&mut self) -> Event {
        self.hello_to(&Target::Service).await
    }

    async fn hello_to(&mut self, to: &Target) -> Event {
        self.connection.hello(to, &Hello { versions: vec![1], build: "test".into(), kinds: Vec::new() });
        self.connection.next().await
    }

    async fn report(&mut self) -> Event {
        self.connection.report(&Target::Service, wire::VERSION, &report());
        self.connection.next().await
    }
}

fn report() -> Report {
    Report {
        session: SessionId(7),
        seq: 3,
        body: Body::Delta(Vec::new()),
        open: OpenSet::default(),
        settled_seen: 0,
        config_hash: 0,
        shed: 0,
    }
}

/// The failure that an event is, as its text.
#[track_caller]
fn failure(event: Event) -> (&'static str, String) {
    match event {
        Event::Failed(failure) => (failure.label(), failure.to_string()),
        other => panic!("it did not fail: {other:?}"),
    }
}

#[tokio::test]
async fn a_hello_carries_the_token_as_the_file_holds_it_now_and_a_report_carries_none() {
    let mut aggregator = Aggregator::start().await;
    let mut client = Client::of(&aggregator);
    for token in ["first", "second"] {
        client.token(&format!("{token}\n"));
        aggregator.says(Says::Message(200, wire::encode(&SessionReply::Busy(9)).expect("it can be written")));
        assert!(matches!(client.hello().await, Event::Session(SessionReply::Busy(9))));
        let Asked { path, authorization, content_type, body } = aggregator.asked().await;
        assert_eq!((&*path, &*content_type), (wire::SESSION_PATH, wire::CONTENT_TYPE));
        assert_eq!(authorization.as_deref(), Some(&*format!("Bearer {token}")));
        assert_eq!(wire::decode::<Hello>(&body).expect("it is a hello").build, "test");
    }
    aggregator.says(Says::Message(200, wire::encode(&Reply::Busy(9)).expect("it can be written")));
    assert!(matches!(client.report().await, Event::Reply(Reply::Busy(9))));
    let Asked { path, authorization, body, .. } = aggregator.asked().await;
    assert_eq!((&*path, authorization), (wire::REPORT_PATH, None));
    assert_eq!(wire::decode::<Report>(&body).expect("it is a report"), report());
    assert_eq!(aggregator.connections(), 1, "one connection for all");
}

#[tokio::test]
async fn what_the_message_says_counts_whatever_the_status() {
    let aggregator = Aggregator::start().await;
    let mut client = Client::of(&aggregator);
    aggregator.says(Says::Message(409, wire::encode(&Reply::Retired).expect("it can be written")));
    assert!(matches!(client.report().await, Event::Reply(Reply::Retired)));
    let refused = SessionReply::Refused("audience".into());
    aggregator.says(Says::Message(403, wire::encode(&refused).expect("it can be written")));
    assert!(matches!(client.hello().await, Event::Session(SessionReply::Refused(reason)) if reason == "audience"));
}

#[tokio::test]
async fn a_bare_status_means_no_more_than_it_says() {
    let aggregator = Aggregator::start().await;
    let mut client = Client::of(&aggregator);
    aggregator.says(Says::Bare(503, vec![("retry-after", "7")]));
    assert!(matches!(client.report().await, Event::Reply(Reply::Busy(7_000))));
    aggregator.says(Says::Bare(429, vec![("retry-after", "soon")]));
    assert!(matches!(client.hello().await, Event::Session(SessionReply::Busy(5_000))));
    aggregator.says(Says::Bare(401, Vec::new()));
    assert!(matches!(client.hello().await, Event::Session(SessionReply::Refused(_))));
    for status in [200, 401, 409, 410, 500] {
        aggregator.says(Says::Bare(status, vec![("content-type", "text/html")]));
        let (label, text) = failure(client.report().await);
        assert_eq!(label, "answer");
        assert!(text.starts_with(&format!("the answer is none of an aggregator: HTTP {status}")), "{text}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let aggregator = Aggregator::start().await;
    let elsewhere = Aggregator::start().await;
    let mut client = Client::of(&aggregator);
    let location = format!("https://{}/v1/session", elsewhere.address);
    aggregator.says(Says::Bare(307, vec![("location", Box::leak(location.into_boxed_str()))]));
    assert_eq!(failure(client.hello().await).0, "answer");
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn a_damaged_answer_and_an_endless_one_are_failures() {
    let aggregator = Aggregator::start().await;
    let mut client = Client::of(&aggregator);
    let mut bytes = wire::encode(&Reply::Busy(9)).expect("it can be written");
    bytes[20] ^= 1;
    aggregator.says(Says::Message(200, bytes));
    let (label, text) = failure(client.report().await);
    assert_eq!((label, text.contains("checksum")), ("answer", true), "{text}");
    aggregator.says(Says::Endless);
    assert_eq!(failure(client.report().await), ("answer", "the answer is longer than a message can be".into()));
}

#[tokio::test]
async fn the_other_end_must_prove_to_be_the_service_wherever_it_is() {
    let leader = Aggregator::start().await;
    let mut client = Client::new("127.0.0.1:1", &leader.ca_pem);
    leader.says(Says::Message(200, wire::encode(&SessionReply::Busy(9)).expect("it can be written")));
    let to = Target::Leader(leader.address.parse().expect("an address"));
    assert!(matches!(client.hello_to(&to).await, Event::Session(_)), "by its name, not its address");

    let stranger = Aggregator::named("stranger.example").await;
    let mut client = Client::of(&stranger);
    assert_eq!(failure(client.hello().await).0, "tls");

    let other_ca = Aggregator::start().await;
    let mut client = Client::new(&other_ca.address, &leader.ca_pem);
    assert_eq!(failure(client.hello().await).0, "tls");
}

#[tokio::test]
async fn an_open_connection_is_used_for_nobody_else() {
    let (service, leader) = (Aggregator::start().await, Aggregator::start().await);
    let mut client = Client::of(&service);
    service.says(Says::Message(200, wire::encode(&SessionReply::Busy(9)).expect("it can be written")));
    assert!(matches!(client.hello().await, Event::Session(_)));
    // Its CA is another one, so it shows whom the client asked.
    assert_eq!(failure(client.hello_to(&Target::Leader(leader.address.parse().expect("an address"))).await).0, "tls");
    assert_eq!((service.connections(), leader.connections()), (1, 1));
}

#[tokio::test]
async fn a_bundle_that_was_replaced_counts_for_the_next_connection() {
    let aggregator = Aggregator::start().await;
    let other_ca = Aggregator::start().await;
    let mut client = Client::new(&aggregator.address, &other_ca.ca_pem);
    assert_eq!(failure(client.hello().await).0, "tls");
    fs::write(client.folder.path().join("ca.crt"), &aggregator.ca_pem).expect("it can be written");
    aggregator.says(Says::Message(200, wire::encode(&SessionReply::Busy(9)).expect("it can be written")));
    assert!(matches!(client.hello().await, Event::Session(_)));
}

#[tokio::test]
async fn a_connection_that_closes_is_noticed_and_made_anew() {
    let aggregator = Aggregator::start().await;
    let mut client = Client::of(&aggregator);
    let busy = wire::encode(&Reply::Busy(9)).expect("it can be written");
    aggregator.says(Says::Message(200, busy.clone()));
    client.report().await;
    aggregator.close();
    assert!(matches!(client.connection.next().await, Event::Closed));
    aggregator.says(Says::Message(200, busy));
    assert!(matches!(client.report().await, Event::Reply(_)));
    assert_eq!(aggregator.connections(), 2);
}

#[tokio::test]
async fn a_connection_cut_during_an_exchange_fails_it() {
    let mut aggregator = Aggregator::start().await;
    let mut client = Client::of(&aggregator);
    aggregator.says(Says::Nothing);
    client.connection.report(&Target::Service, wire::VERSION, &report());
    let (event, ()) = futures::join!(client.connection.next(), async {
        aggregator.asked().await;
        aggregator.close();
    });
    assert_eq!(failure(event).0, "http");
}

#[tokio::test]
async fn no_answer_is_not_waited_for_for_ever() {
    let mut aggregator = Aggregator::start().await;
    let mut client = Client::of(&aggregator);
    aggregator.says(Says::Nothing);
    client.connection.report(&Target::Service, wire::VERSION, &report());
    let (event, ()) = futures::join!(client.connection.next(), async {
        aggregator.asked().await;
        // From here on only time can pass.
        tokio::time::pause();
    });
    assert_eq!(failure(event), ("timeout", "no answer in time".into()));
}

#[tokio::test]
async fn a_port_that_is_open_and_says_nothing_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let trusted = Aggregator::start().await;
    let address = listener.local_addr().expect("it is bound").to_string();
    let mut client = Client::new(&address, &trusted.ca_pem);
    let (event, stream) = futures::join!(client.hello(), async {
        let stream = listener.accept().await.expect("it connects");
        tokio::time::pause();
        stream
    });
    assert_eq!(failure(event), ("timeout", "no TLS handshake in time".into()));
    drop(stream);
}

#[tokio::test]
async fn a_port_that_is_closed_is_named() {
    // Kept, so that the port is nobody else's; it does not listen.
    let closed = TcpSocket::new_v4().expect("a socket");
    closed.bind(([127, 0, 0, 1], 0).into()).expect("a port is free");
    let address = closed.local_addr().expect("it is bound").to_string();
    let trusted = Aggregator::start().await;
    let (label, text) = failure(Client::new(&address, &trusted.ca_pem).hello().await);
    assert_eq!((label, text.contains(&address)), ("connect", true), "{text}");
}

#[tokio::test]
async fn a_token_that_is_missing_or_empty_is_named_and_nothing_is_sent() {
    let aggregator = Aggregator::start().await;
    let mut client = Client::of(&aggregator);
    client.token(" \n");
    let (label, text) = failure(client.hello().await);
    assert_eq!((label, text.contains("it is empty")), ("token", true), "{text}");
    fs::remove_file(client.folder.path().join("token")).expect("it is there");
    let (label, text) = failure(client.hello().await);
    assert_eq!((label, text.contains("mount a projected ServiceAccount token there")), ("token", true), "{text}");
    assert_eq!(aggregator.connections(), 0);
}

#[tokio::test]
async fn a_wait_that_is_given_up_loses_nothing() {
    let aggregator = Aggregator::start().await;
    let mut client = Client::of(&aggregator);
    aggregator.says(Says::Message(200, wire::encode(&Reply::Busy(9)).expect("it can be written")));
    client.connection.report(&Target::Service, wire::VERSION, &report());
    let mut dropped = 0;
    // Whatever it waits for, it is dropped there, and the next wait begins anew.
    let event = poll_fn(|context| {
        let polled = pin!(client.connection.next()).poll(context);
        dropped += usize::from(polled.is_pending());
        polled
    });
    let event = timeout(Duration::from_secs(10), event).await.expect("an event, as what is under way goes on");
    assert!(matches!(event, Event::Reply(Reply::Busy(9))) && dropped > 0, "dropped {dropped} times");
    assert_eq!(aggregator.connections(), 1);
}
