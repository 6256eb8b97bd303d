//! CAs that are published in a ConfigMap, by an API server that the test itself is.

use std::convert::Infallible;
use std::sync::Mutex;

use fastrand::Rng;
use http::{Request, Response, StatusCode};
use kube::client::Body;
use process::Clock;
use process::objects::Objects;
use rules::Time;
use tower::service_fn;

use super::*;

/// The ConfigMap's `ca.crt`, or the status that its readers get.
type Published = Result<String, u16>;

/// An API server with a ConfigMap, and who reads it.
struct World {
    published: Arc<Mutex<Published>>,
    reads: Arc<Mutex<usize>>,
    clock: Clock,
    client: Client,
}

impl World {
    fn new(address: &str, published: Published) -> Self {
        let (published, reads) = (Arc::new(Mutex::new(published)), Arc::new(Mutex::new(0)));
        let (answers, count) = (Arc::clone(&published), Arc::clone(&reads));
        let server = service_fn(move |request: Request<Body>| {
            assert_eq!(
                (request.method().as_str(), request.uri().path()),
                ("GET", "/api/v1/namespaces/watch/configmaps/ca")
            );
            *count.lock().expect("unpoisoned") += 1;
            let (status, body) = match &*answers.lock().expect("unpoisoned") {
                Ok(bundle) if bundle.is_empty() => (200, serde_json::json!({"metadata": {}})),
                Ok(bundle) => (200, serde_json::json!({"metadata": {}, "data": {"ca.crt": bundle}})),
                Err(status) => (*status, serde_json::json!({"message": "no"})),
            };
            let mut response = Response::new(Body::from(body.to_string().into_bytes()));
            *response.status_mut() = StatusCode::from_u16(status).expect("a status");
            async move { Ok::<_, Infallible>(response) }
        });
        let objects = Objects::new(kube::Client::new(server, "default"), "watch", Duration::from_secs(10));
        let clock = Clock::by_hand(Time::from_millis(0));
        let trust = Trust::in_config_map(objects, "ca".into(), clock.clone(), Rng::with_seed(7));
        let client = Client::with(address, trust, TempDir::new().expect("a folder can be made"));
        Self { published, reads, clock, client }
    }

    fn publish(&self, published: Published) {
        *self.published.lock().expect("unpoisoned") = published;
    }

    /// The label of what a hello comes to: `None` when it was answered.
    async fn hello(&mut self) -> Option<(&'static str, String)> {
        match self.client.hello().await {
            Event::Failed(failure) => Some((failure.label(), failure.to_string())),
            _ => None,
        }
    }

    fn reads(&self) -> usize {
        *self.reads.lock().expect("unpoisoned")
    }
}

fn busy() -> Says {
    Says::Message(200, wire::encode(&SessionReply::Busy(9)).expect("it can be written"))
}

#[tokio::test]
async fn until_a_ca_is_published_it_is_asked_for_with_each_attempt_and_what_is_missing_is_said() {
    let aggregator = Aggregator::start().await;
    let mut world = World::new(&aggregator.address, Err(404));
    for (published, says) in [
        (Err(404), "it does not exist: is the aggregator in this namespace?"),
        (Err(403), "not allowed: 403 Forbidden: no: the agent's Role needs get on it by name"),
        (Err(503), "the API server cannot be used: 503 Service Unavailable: no"),
        (Ok(String::new()), "it holds no ca.crt yet, which the aggregator writes"),
        (Ok("garbage".into()), "CA bundle: holds no certificate (BEGIN CERTIFICATE)"),
    ] {
        world.publish(published);
        let (label, text) = world.hello().await.expect("there is no CA");
        assert_eq!((label, text), ("trust", format!("cannot read the aggregator's CA from ConfigMap ca: {says}")));
    }
    assert_eq!(aggregator.connections(), 0, "who cannot be verified is not spoken to");
    world.publish(Ok(aggregator.ca_pem.clone()));
    aggregator.says(busy());
    assert_eq!(world.hello().await, None);
    aggregator.says(busy());
    world.hello().await;
    assert_eq!(world.reads(), 6, "it is known now");
}

#[tokio::test]
async fn an_aggregator_of_another_ca_is_spoken_to_at_once_if_that_was_published_meanwhile() {
    let (before, after) = (Aggregator::start().await, Aggregator::start().await);
    let mut world = World::new(&after.address, Ok(before.ca_pem.clone()));
    let (label, text) = world.hello().await.expect("it is not trusted");
    assert!(label == "tls" && text.contains("certificate"), "{text}");
    world.publish(Ok(before.ca_pem.clone() + &after.ca_pem));
    world.clock.advance(Duration::from_mins(5));
    after.says(busy());
    assert_eq!(world.hello().await, None, "without another attempt of the reporter");
    assert_eq!(world.reads(), 3);
}

#[tokio::test]
async fn an_impostor_does_not_make_agents_ask_the_api_server_without_end() {
    let (real, impostor) = (Aggregator::start().await, Aggregator::start().await);
    let mut world = World::new(&impostor.address, Ok(real.ca_pem.clone()));
    // An hour of attempts, one in ten seconds.
    for _ in 0..360 {
        assert_eq!(world.hello().await.map(|(label, _)| label), Some("tls"));
        world.clock.advance(Duration::from_secs(10));
    }
    assert!((10..=60).contains(&world.reads()), "{} reads", world.reads());
    // What cannot be read takes away nothing.
    world.publish(Err(503));
    world.clock.advance(Duration::from_mins(5));
    assert_eq!(world.hello().await.map(|(label, _)| label), Some("tls"));
    // It is still read now and then, so that one day it is right.
    world.publish(Ok(impostor.ca_pem.clone()));
    world.clock.advance(Duration::from_mins(5));
    impostor.says(busy());
    assert_eq!(world.hello().await, None);
}

#[tokio::test]
async fn another_name_or_no_tls_at_all_is_not_mended_by_other_cas() {
    let stranger = Aggregator::named("stranger.example").await;
    let mut world = World::new(&stranger.address, Ok(stranger.ca_pem.clone()));
    assert_eq!(world.hello().await.map(|(label, _)| label), Some("tls"));
    let closed = Aggregator::start().await;
    let mut nobody = World::new("127.0.0.1:1", Ok(closed.ca_pem.clone()));
    assert_eq!(nobody.hello().await.map(|(label, _)| label), Some("connect"));
    assert_eq!((world.reads(), nobody.reads()), (1, 1));
}
