//! What each answer means, without a server. Real ones are met in the tests crate.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http::Response;
use rules::Time;
use tower::service_fn;

use super::*;
use crate::clock::Clock;

const DEADLINE: Duration = Duration::from_secs(5);

/// A namespace whose server always answers this, and what it was asked.
fn objects(status: u16, body: &'static str) -> (Objects, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    let client = Client::new(
        service_fn(move |request: Request<Body>| {
            let log = Arc::clone(&log);
            async move {
                let (head, sent) = request.into_parts();
                let sent = sent.collect_bytes().await.expect("it is in memory");
                let kind = head.headers[header::CONTENT_TYPE].to_str().expect("text").to_owned();
                let line = format!("{} {} {kind} {}", head.method, head.uri, String::from_utf8_lossy(&sent));
                log.lock().expect("unpoisoned").push(line);
                let mut response = Response::new(Body::from(body.as_bytes().to_vec()));
                *response.status_mut() = StatusCode::from_u16(status).expect("a status");
                Ok::<_, Infallible>(response)
            }
        }),
        "default",
    );
    (Objects::new(client, "watch", DEADLINE), asked)
}

async fn failure(status: u16, body: &'static str) -> Failure {
    objects(status, body).0.get::<ConfigMap>("ca").await.expect_err("a failure")
}

#[tokio::test]
async fn each_refusal_is_told_from_the_others_in_the_words_of_the_server() {
    assert_eq!(failure(409, r#"{"reason":"Conflict"}"#).await, Failure::Conflict);
    assert_eq!(failure(404, r#"{"reason":"NotFound"}"#).await, Failure::NotFound);
    for (status, label) in [
        (401, "forbidden"),
        (403, "forbidden"),
        (400, "invalid"),
        (413, "invalid"),
        (422, "invalid"),
        (429, "unreachable"),
    ] {
        let failure = failure(status, r#"{"message":"no\nsuch thing"}"#).await;
        assert_eq!(failure.label(), label, "{status}");
        assert!(failure.to_string().ends_with(": no such thing"), "{failure}");
    }
    assert_eq!(failure(502, "<html>").await.to_string(), "the API server cannot be used: 502 Bad Gateway");
    assert!(Failure::LABELS.contains(&Failure::Conflict.label()) && Failure::LABELS.contains(&"not_found"));
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_is_not_shown_as_it_may_hold_a_key() {
    let (objects, _) = objects(200, r#"{"metadata":{},"data":{"tls.key":"BEGIN PRIVATE KEY"}}"#);
    let failure = objects.get::<Secret>("tls").await.expect_err("no base64").to_string();
    assert!(failure.contains("its answer is no Secret: data error at byte"), "{failure}");
    assert!(!failure.contains("PRIVATE"), "{failure}");
}

#[tokio::test]
async fn what_is_read_shows_the_keys_of_a_secret_and_not_what_they_hold() {
    let (objects, asked) =
        objects(200, r#"{"metadata":{"name":"tls","resourceVersion":"7"},"data":{"tls.key":"QUJD"}}"#);
    let secret = objects.get::<Secret>("tls").await.expect("a Secret");
    assert_eq!((&*secret.metadata.resource_version, &*secret.content.data["tls.key"].0), ("7", &b"ABC"[..]));
    let shown = format!("{secret:?}");
    assert!(shown.contains("tls.key") && !shown.contains("ABC") && !shown.contains("65, 66"), "{shown}");
    let data = Data { data: [("tls.key".to_owned(), Some("ABC"))].into() };
    assert!(!format!("{data:?}").contains("ABC"));
    assert_eq!(asked.lock().expect("unpoisoned")[..], ["GET /api/v1/namespaces/watch/secrets/tls application/json "]);
}

#[tokio::test]
async fn a_change_names_the_version_that_it_was_decided_from_and_nothing_that_it_leaves() {
    let (objects, asked) = objects(200, r#"{"metadata":{"name":"ca","resourceVersion":"7"},"data":null}"#);
    let read = objects.get::<ConfigMap>("ca").await.expect("a ConfigMap");
    assert!(read.content.data.is_empty());
    let data = [("new".to_owned(), Some("1".to_owned())), ("old".to_owned(), None)].into();
    objects.patch::<ConfigMap>(&read.metadata, &Data { data }).await.expect("written");
    assert_eq!(
        asked.lock().expect("unpoisoned")[1],
        r#"PATCH /api/v1/namespaces/watch/configmaps/ca application/merge-patch+json {"data":{"new":"1","old":null},"metadata":{"resourceVersion":"7"}}"#
    );
}

#[tokio::test]
async fn what_is_created_goes_with_its_owner() {
    let (objects, asked) = objects(201, r#"{"metadata":{"name":"tocsin","uid":"u1","resourceVersion":"7"}}"#);
    let deployment = objects.get::<Deployment>("tocsin").await.expect("a Deployment");
    let lease = Lease {
        metadata: LeaseMetadata { annotations: Annotations { address: Some("10.0.0.7:8443".into()) } },
        spec: LeaseSpec { holder_identity: Some("a".into()), ..LeaseSpec::default() },
    };
    objects.create("leader", Some(Owner::of(&deployment)), &lease).await.expect("created");
    let asked = asked.lock().expect("unpoisoned");
    assert_eq!(asked[0], "GET /apis/apps/v1/namespaces/watch/deployments/tocsin application/json ");
    let (request, body) = asked[1].split_once(" {").expect("a body");
    assert_eq!(request, "POST /apis/coordination.k8s.io/v1/namespaces/watch/leases application/json");
    let body: Value = serde_json::from_str(&format!("{{{body}")).expect("JSON");
    let metadata = json!({
        "name": "leader",
        "annotations": {"tocsin.dev/address": "10.0.0.7:8443"},
        "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "tocsin", "uid": "u1"}],
    });
    assert_eq!((&body["apiVersion"], &body["kind"]), (&json!("coordination.k8s.io/v1"), &json!("Lease")));
    assert_eq!((&body["metadata"], &body["spec"]["holderIdentity"]), (&metadata, &json!("a")));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_says_nothing_is_waited_for_until_the_deadline_and_no_longer() {
    let silent = service_fn(|_: Request<Body>| std::future::pending::<Result<Response<Body>, Infallible>>());
    let objects = Objects::new(Client::new(silent, "default"), "watch", DEADLINE);
    let clock = Clock::starting_at(Time::default());
    let failure = objects.get::<ConfigMap>("ca").await.expect_err("no answer");
    assert_eq!(failure, Failure::Unreachable("no answer in 5000 ms".into()));
    assert_eq!(clock.mark().since_start(), DEADLINE);
}
