//! The candidate in virtual time, against an API server that is a function.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use futures::FutureExt as _;
use http::{Method, Request, Response, StatusCode};
use kube::Client;
use kube::client::Body;
use process::{Liveness, Readiness};
use rules::Time;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tower::service_fn;

use super::election::{End, LEASE, POLL_EVERY, RENEW_EVERY, SEND_FOR};
use super::*;

const START: Time = Time::from_millis(1_777_593_600_000);
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/watch/leases";
const SECOND: Duration = Duration::from_secs(1);

/// An API server with at most one Lease, and a Deployment.
#[derive(Clone, Default)]
struct Api(Arc<Mutex<Stored>>);

#[derive(Default)]
struct Stored {
    lease: Option<Value>,
    version: u64,
    /// It answers every request for the Lease with this.
    refuses: Option<u16>,
    asked: Vec<String>,
    hides_deployment: bool,
}

/// A candidate whose turns the test takes, and what it tells.
struct Replica {
    leadership: Leadership,
    readiness: Readiness,
    clock: Clock,
    running: tokio::task::JoinHandle<anyhow::Result<()>>,
    sending: Option<oneshot::Sender<()>>,
}

impl Api {
    fn client(&self) -> Client {
        let api = self.clone();
        let service = service_fn(move |request: Request<Body>| {
            let api = api.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect_bytes().await.expect("it is in memory");
                let sent: Value = serde_json::from_slice(&body).unwrap_or_default();
                let (status, answer) = api.lock().answer(&head.method, head.uri.path(), &sent);
                let mut response = Response::new(Body::from(answer.to_string().into_bytes()));
                *response.status_mut() = StatusCode::from_u16(status).expect("a status");
                Ok::<_, Infallible>(response)
            }
        });
        Client::new(service, "default")
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Stored> {
        self.0.lock().expect("unpoisoned")
    }

    /// The Lease as it is.
    fn lease(&self) -> Value {
        self.lock().lease.clone().expect("there is a Lease")
    }

    /// Somebody else writes it.
    fn hold(&self, holder: &str) {
        let spec = json!({"holderIdentity": holder, "renewTime": holder, "leaseTransitions": 3});
        let metadata = json!({"name": "chosen", "annotations": {"tocsin.dev/address": "10.0.0.9:8443"}});
        self.lock().write(json!({"metadata": metadata, "spec": spec}));
    }

    fn refuse(&self, status: Option<u16>) {
        self.lock().refuses = status;
    }
}

impl Stored {
    fn answer(&mut self, method: &Method, path: &str, sent: &Value) -> (u16, Value) {
        self.asked.push(format!("{method} {path}"));
        let refusal = |status: u16| (status, json!({"kind": "Status", "code": status, "message": "no"}));
        if path == "/apis/apps/v1/namespaces/watch/deployments/aggregators" {
            let deployment = json!({"metadata": {"name": "aggregators", "uid": "u1"}});
            return if self.hides_deployment { refusal(403) } else { (200, deployment) };
        }
        if let Some(status) = self.refuses {
            return refusal(status);
        }
        match (method.as_str(), &self.lease) {
            ("POST", None) => {
                assert_eq!((path, &sent["metadata"]["name"]), (LEASES, &json!("chosen")));
                (201, self.write(sent.clone()))
            }
            ("POST", Some(_)) => refusal(409),
            (_, None) => refusal(404),
            ("GET", Some(lease)) => (200, lease.clone()),
            (_, Some(lease)) if sent["metadata"]["resourceVersion"] != lease["metadata"]["resourceVersion"] => {
                refusal(409)
            }
            (_, Some(lease)) => {
                let mut lease = lease.clone();
                lease["spec"] = sent["spec"].clone();
                lease["metadata"]["annotations"] = sent["metadata"]["annotations"].clone();
                (200, self.write(lease))
            }
        }
    }

    fn write(&mut self, mut lease: Value) -> Value {
        self.version += 1;
        lease["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.lease = Some(lease.clone());
        lease
    }
}

impl Replica {
    fn start(api: &Api) -> Self {
        let (clock, readiness) = (Clock::starting_at(START), Readiness::new());
        let election = Election {
            pod: "pod-1".into(),
            ip: "10.0.0.7".parse().expect("an address"),
            lease: "chosen".into(),
            deployment: "aggregators".into(),
        };
        let waiting = readiness.handle("leader");
        let (candidate, leadership) = Candidate::new(election, 8443, (api.client(), "watch"), clock.clone(), waiting);
        let (sending, sent) = oneshot::channel::<()>();
        let pulse = Liveness::new(clock.clone()).pulse("leader", LEASE);
        let running = candidate.run(sent.map(drop), pulse);
        #[allow(clippy::disallowed_methods, reason = "a test looks at how it ends")]
        let running = tokio::spawn(running);
        Self { leadership, readiness, clock, running, sending: Some(sending) }
    }

    async fn leading(api: &Api) -> Self {
        api.lock().lease = Some(json!({"metadata": {"name": "chosen", "resourceVersion": "0"}}));
        let mut replica = Self::start(api);
        replica.leadership.gained().await;
        replica
    }

    async fn ended(&mut self) -> anyhow::Result<()> {
        let end = tokio::time::timeout(Duration::from_hours(1), &mut self.running);
        end.await.expect("it ends").expect("no panic")
    }

    fn elapsed(&self) -> Duration {
        self.clock.now().since(START)
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_of_an_installation_makes_the_lease_with_its_deployment_as_owner() {
    let api = Api::default();
    let mut replica = Replica::start(&api);
    assert_eq!(replica.readiness.unready_because().as_deref(), Some("leader: starting\n"));
    replica.leadership.gained().await;
    assert_eq!(replica.elapsed(), LEASE);
    assert!(replica.readiness.is_ready() && replica.leadership.may_send());
    let Value::Object(metadata) = &api.lease()["metadata"] else { panic!("it has metadata") };
    let owner = json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": "aggregators", "uid": "u1"}]);
    assert_eq!(metadata["ownerReferences"], owner);
    assert_eq!(metadata["annotations"], json!({"tocsin.dev/address": "10.0.0.7:8443"}));
    let spec = &api.lease()["spec"];
    assert!(spec["holderIdentity"].as_str().is_some_and(|holder| holder.starts_with("pod-1_")), "{spec}");
    assert_eq!(spec["renewTime"], "2026-05-01T00:00:15.000001Z");
    assert_eq!((&spec["acquireTime"], &spec["leaseDurationSeconds"]), (&spec["renewTime"], &json!(15)));
}

#[tokio::test(start_paused = true)]
async fn without_the_right_to_read_the_deployment_the_lease_has_no_owner() {
    let api = Api::default();
    api.lock().hides_deployment = true;
    Replica::start(&api).leadership.gained().await;
    assert_eq!(api.lease()["metadata"]["ownerReferences"], json!([]));
}

#[tokio::test(start_paused = true)]
async fn a_standby_is_ready_when_it_knows_who_leads_and_tells_where() {
    let api = Api::default();
    api.hold("other_1");
    let mut replica = Replica::start(&api);
    replica.leadership.changed().await;
    let role = Role::StandingBy { leader: "other_1".into(), address: "10.0.0.9:8443".into() };
    assert_eq!(replica.leadership.role(), role);
    assert!(replica.readiness.is_ready() && !replica.leadership.may_send());
    replica.clock.sleep(POLL_EVERY * 3).await;
    assert!(api.lock().asked.iter().all(|asked| *asked == format!("GET {LEASES}/chosen")), "it only reads");
    assert_eq!(replica.leadership.counts().expect("it counts").transitions.get(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_leader_renews_and_keeps_when_it_won() {
    let api = Api::default();
    let replica = Replica::leading(&api).await;
    let acquired = api.lease()["spec"]["acquireTime"].clone();
    replica.clock.sleep(RENEW_EVERY * 10 + SECOND).await;
    let counts = replica.leadership.counts().expect("it counts");
    assert_eq!((counts.renewals.get(), counts.transitions.get()), (11, 1));
    assert_eq!(api.lease()["spec"]["acquireTime"], acquired);
    assert!(replica.leadership.may_send());
}

#[tokio::test(start_paused = true)]
async fn when_nothing_is_sent_any_more_the_lease_is_given_up() {
    let api = Api::default();
    let mut replica = Replica::leading(&api).await;
    drop(replica.sending.take());
    replica.ended().await.expect("a clean end");
    let spec = &api.lease()["spec"];
    assert_eq!((&spec["holderIdentity"], &spec["leaseTransitions"]), (&Value::Null, &json!(1)));
    assert_eq!((replica.leadership.may_send(), replica.elapsed()), (false, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn a_standby_ends_without_a_word() {
    let api = Api::default();
    api.hold("other_1");
    let mut replica = Replica::start(&api);
    replica.leadership.changed().await;
    drop(replica.sending.take());
    replica.ended().await.expect("a clean end");
    assert_eq!(api.lease()["spec"]["holderIdentity"], "other_1");
}

#[tokio::test(start_paused = true)]
async fn one_whose_lease_another_has_ends_with_an_error() {
    let api = Api::default();
    let mut replica = Replica::leading(&api).await;
    api.hold("other_1");
    let error = replica.ended().await.expect_err("it is lost").to_string();
    assert_eq!(error, "the Lease chosen is other_1's now");
    assert_eq!(replica.leadership.role(), Role::Ended(End::Lost("other_1".into())));
}

#[tokio::test(start_paused = true)]
async fn while_the_api_server_is_away_it_leads_on_without_sending() {
    let api = Api::default();
    let mut replica = Replica::leading(&api).await;
    api.refuse(Some(503));
    replica.clock.sleep(SEND_FOR).await;
    assert!(!replica.leadership.may_send());
    assert!(matches!(replica.leadership.role(), Role::Leading { .. }));
    replica.clock.sleep(600 * SECOND).await;
    api.refuse(None);
    replica.leadership.changed().await;
    assert!(replica.leadership.may_send() && replica.readiness.is_ready());
}

#[tokio::test(start_paused = true)]
async fn without_rights_it_is_not_ready_and_says_what_it_may_not_do() {
    let api = Api::default();
    api.refuse(Some(403));
    let replica = Replica::start(&api);
    replica.clock.sleep(POLL_EVERY / 2).await;
    let reason = "leader: cannot get the Lease chosen: not allowed: 403 Forbidden: no\n";
    assert_eq!(replica.readiness.unready_because().as_deref(), Some(reason));
    let failures = &replica.leadership.counts().expect("it counts").failures;
    assert_eq!(failures.get_or_create(&FailureLabels { reason: "forbidden" }).get(), 1);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_alone_always_leads() {
    let mut leadership = Leadership::alone(Clock::starting_at(START));
    leadership.gained().await;
    tokio::time::sleep(Duration::from_hours(10_000)).await;
    assert!(leadership.may_send());
    assert!(leadership.lapsed().now_or_never().is_none() && leadership.changed().now_or_never().is_none());
}
