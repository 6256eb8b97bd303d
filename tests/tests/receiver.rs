//! The receiver records what arrives and answers as it is told, over HTTP and HTTPS.
#![allow(clippy::disallowed_methods, reason = "a test is a client with tasks and a clock of its own")]

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use tocsin_tests::certs::{Authority, LOOPBACK};
use tocsin_tests::receiver::{Answer, Received, Receiver};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

const SOON: Duration = Duration::from_secs(10);

async fn receiver() -> Receiver {
    Receiver::start().await.expect("the receiver starts")
}

fn batch(keys: &[&str]) -> Value {
    let records: Vec<Value> = keys.iter().map(|key| json!({"key": key, "title": format!("issue {key}")})).collect();
    json!({"records": records})
}

fn request(token: &str, body: &Value) -> Request<Full<Bytes>> {
    Request::post("/v1/issues")
        .header("host", "localhost")
        .header("authorization", format!("Bearer {token}"))
        .header("idempotency-key", "batch-1")
        .body(Full::new(body.to_string().into()))
        .expect("a request")
}

async fn send(receiver: &Receiver, request: Request<Full<Bytes>>) -> hyper::Result<http::Response<Incoming>> {
    let stream = TcpStream::connect(receiver.http_url().trim_start_matches("http://")).await.expect("it listens");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    drop(tokio::spawn(connection));
    sender.send_request(request).await
}

async fn post(receiver: &Receiver, keys: &[&str]) -> StatusCode {
    send(receiver, request("good", &batch(keys))).await.expect("an answer").status()
}

#[tokio::test]
async fn a_request_is_recorded_whole_and_in_order() {
    let receiver = receiver().await;
    assert_eq!(post(&receiver, &["a", "b"]).await, 200);
    assert_eq!(post(&receiver, &["c"]).await, 200);
    let requests = receiver.received();
    let first = &requests[0];
    assert_eq!((first.method.as_str(), first.path.as_str(), first.token()), ("POST", "/v1/issues", Some("good")));
    assert_eq!((first.idempotency_key(), first.records().len(), first.status), (Some("batch-1"), 2, Some(200)));
    assert_eq!((requests[1].number, requests[1].keyed()[0].0), (1, "c"));
    assert_eq!(receiver.accepted().into_keys().collect::<Vec<_>>(), ["a", "b", "c"]);
}

#[tokio::test]
async fn the_next_answers_come_before_the_usual_one() {
    let receiver = receiver().await;
    receiver.always(Answer::status(503));
    receiver.next([Answer::retry_after(429, 9), Answer::json(202, json!({"accepted": 1}))]);
    let limited = send(&receiver, request("good", &batch(&["a"]))).await.expect("an answer");
    assert_eq!((limited.status().as_u16(), limited.headers()["retry-after"].to_str().ok()), (429, Some("9")));
    assert!(receiver.accepted().is_empty());
    assert_eq!(post(&receiver, &["a"]).await, 202);
    assert_eq!(post(&receiver, &["b"]).await, 503);
    assert_eq!(receiver.accepted().into_keys().collect::<Vec<_>>(), ["a"]);
}

#[tokio::test]
async fn without_the_required_token_everything_is_refused() {
    let receiver = receiver().await;
    receiver.require_token("new");
    assert_eq!(post(&receiver, &["a"]).await, 401);
    let renewed = send(&receiver, request("new", &batch(&["a"]))).await.expect("an answer");
    assert_eq!(renewed.status(), 200);
}

#[tokio::test]
async fn a_judge_refuses_the_batches_that_hold_a_poisoned_record() {
    let receiver = receiver().await;
    receiver.judge(|request| request.keyed().iter().any(|(key, _)| *key == "bad").then(|| Answer::status(422)));
    assert_eq!(post(&receiver, &["a", "bad"]).await, 422);
    assert_eq!(post(&receiver, &["a"]).await, 200);
}

#[tokio::test]
async fn a_cut_comes_before_or_after_the_body_is_read() {
    let receiver = receiver().await;
    receiver.next([Answer::CutBeforeBody, Answer::CutAfterBody]);
    for _ in 0..2 {
        assert!(send(&receiver, request("good", &batch(&["a"]))).await.is_err());
    }
    let requests = receiver.received();
    assert_eq!(requests.iter().map(|request| request.records().len()).collect::<Vec<_>>(), [0, 1]);
    assert!(requests.iter().all(|request| request.status.is_none()));
}

#[tokio::test]
async fn what_hangs_is_answered_when_the_receiver_is_told_to() {
    let receiver = receiver().await;
    receiver.always(Answer::Hang);
    let mut hanging = pin!(post(&receiver, &["a"]));
    let later = async {
        receiver.until("it has come", SOON, |requests| requests.len() == 1).await.expect("it comes");
        // Who comes later is answered.
        receiver.next([Answer::status(202)]);
        post(&receiver, &["b"]).await
    };
    tokio::select! {
        biased;
        status = &mut hanging => panic!("it was answered {status}"),
        status = later => assert_eq!(status, 202),
    }
    receiver.always(Answer::status(200));
    assert_eq!(timeout(SOON, hanging).await.expect("an answer"), 200);
}

#[tokio::test]
async fn a_delayed_answer_comes_late() {
    let receiver = receiver().await;
    let late = Duration::from_hours(1);
    receiver.next([Answer::status(200).after(late)]);
    let started = Instant::now();
    let (status, ()) = tokio::join!(post(&receiver, &["a"]), async {
        receiver.until("it has come", SOON, |requests| requests.len() == 1).await.expect("it comes");
        // From here on only time can pass.
        tokio::time::pause();
    });
    assert_eq!(status, 200);
    assert!(started.elapsed() >= late);
}

#[tokio::test]
async fn waiting_ends_with_what_arrived_or_with_what_is_missing() {
    let receiver = receiver().await;
    let arrives = receiver.until("a record", SOON, |requests| requests.iter().any(Received::accepted));
    let (found, _) = tokio::join!(arrives, post(&receiver, &["a"]));
    assert_eq!(found.expect("it arrived").len(), 1);
    let missing = receiver.until("two requests", Duration::ZERO, |requests| requests.len() == 2).await;
    let error = missing.expect_err("nothing more arrives").to_string();
    assert!(error.contains("two requests") && error.contains("Some(200)"), "{error}");
}

#[tokio::test]
async fn a_key_with_two_bodies_is_not_frozen() {
    let receiver = receiver().await;
    receiver.next([Answer::status(503)]);
    post(&receiver, &["a"]).await;
    post(&receiver, &["a"]).await;
    assert!(receiver.unfrozen().is_empty());
    let other = json!({"records": [{"key": "a", "title": "another text"}]});
    send(&receiver, request("good", &other)).await.expect("an answer");
    assert_eq!(receiver.unfrozen(), ["a"]);
}

#[tokio::test]
async fn a_body_without_records_is_kept_under_its_idempotency_key() {
    let receiver = receiver().await;
    send(&receiver, request("good", &json!({"text": "issue"}))).await.expect("an answer");
    assert_eq!(receiver.accepted()["batch-1"], json!({"text": "issue"}));
}

#[tokio::test]
async fn a_receiver_that_is_down_comes_up_at_the_same_address() {
    let receiver = receiver().await;
    receiver.go_down().await;
    let address = receiver.http_url().trim_start_matches("http://").to_string();
    assert!(TcpStream::connect(&address).await.is_err());
    receiver.come_up().await.expect("the port is free");
    assert_eq!(post(&receiver, &["a"]).await, 200);
}

/// Posts over TLS with HTTP/2, trusting a CA.
async fn post_over_tls(receiver: &Receiver, ca_pem: &str) -> std::io::Result<StatusCode> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca_pem.as_bytes()).expect("a PEM")).expect("a CA");
    let mut config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(receiver.url().trim_start_matches("https://")).await?;
    let name = ServerName::try_from("127.0.0.1").expect("an address");
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .map_err(std::io::Error::other)?;
    drop(tokio::spawn(connection));
    let request =
        Request::post(format!("{}/v1/issues", receiver.url())).body(Full::new(Bytes::from("{}"))).expect("a request");
    let response = sender.send_request(request).await.map_err(std::io::Error::other)?;
    let status = response.status();
    response.into_body().collect().await.map_err(std::io::Error::other)?;
    Ok(status)
}

#[tokio::test]
async fn tls_and_http2_work_for_who_trusts_the_ca_and_for_no_one_else() {
    let receiver = receiver().await;
    assert_eq!(post_over_tls(&receiver, receiver.ca_pem()).await.expect("trusted"), 200);
    let stranger = Authority::new("another").expect("an authority");
    assert!(post_over_tls(&receiver, stranger.ca_pem()).await.is_err());
}

#[test]
fn a_leaf_can_be_expired_already() {
    let authority = Authority::new("test").expect("an authority");
    let leaf = authority.leaf_valid(&LOOPBACK, -30, -1).expect("a leaf");
    let verifier = {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.ca_pem().as_bytes()).expect("a PEM")).expect("a CA");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        rustls::client::WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .expect("a verifier")
    };
    let check = |leaf: &tocsin_tests::certs::Leaf| {
        use rustls::client::danger::ServerCertVerifier as _;
        let certificate = CertificateDer::from_pem_slice(leaf.cert_pem.as_bytes()).expect("a PEM");
        let name = ServerName::try_from("localhost").expect("a name");
        verifier.verify_server_cert(&certificate, &[], &name, &[], rustls::pki_types::UnixTime::now()).map(|_| ())
    };
    let error = check(&leaf).expect_err("it has expired");
    assert!(format!("{error:?}").contains("Expired"), "{error:?}");
    check(&authority.leaf(&LOOPBACK).expect("a leaf")).expect("a fresh leaf is good");
}
