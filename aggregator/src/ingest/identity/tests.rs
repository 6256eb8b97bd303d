//! Identity against an API server that is a function.

use std::convert::Infallible;
use std::sync::Mutex as StdMutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::{Request, Response};
use http_body_util::BodyExt as _;
use kube::client::Body;
use serde_json::{Value, json};

use super::*;

/// An API server: knows some tokens, and one pod.
pub(in crate::ingest) struct Api {
    /// The tokens that it was asked about.
    asked: StdMutex<Vec<String>>,
    audiences: StdMutex<Vec<Value>>,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
    takes: Duration,
}

/// A token of an agent whose node the server names begins with this; the rest is the node.
const ON: &str = "on-";
/// A token that only names its pod.
const BOUND: &str = "bound";

impl Api {
    pub(in crate::ingest) fn start(takes: Duration) -> (Arc<Self>, Client) {
        let api = Arc::new(Self {
            asked: StdMutex::default(),
            audiences: StdMutex::default(),
            at_once: AtomicUsize::new(0),
            most_at_once: AtomicUsize::new(0),
            takes,
        });
        let served = Arc::clone(&api);
        let service = tower::service_fn(move |request| {
            let api = Arc::clone(&served);
            async move { Ok::<_, Infallible>(api.answer(request).await) }
        });
        (api, Client::new(service, "default"))
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("unpoisoned").clone()
    }

    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let at_once = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_at_once.fetch_max(at_once, Ordering::SeqCst);
        tokio::time::sleep(self.takes).await;
        self.at_once.fetch_sub(1, Ordering::SeqCst);
        let path = request.uri().path().to_owned();
        let (status, answer) = match path.as_str() {
            "/apis/authentication.k8s.io/v1/tokenreviews" => self.review(request).await,
            "/api/v1/namespaces/tocsin/pods/agent-x" => {
                (200, json!({"metadata": {"uid": "u-1"}, "spec": {"nodeName": "node-x"}}))
            }
            _ => (404, json!({"kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound"})),
        };
        let body = Body::from(answer.to_string().into_bytes());
        Response::builder().status(status).body(body).expect("a response")
    }

    async fn review(&self, request: Request<Body>) -> (u16, Value) {
        let body = request.into_body().collect().await.expect("a body").to_bytes();
        let review: Value = serde_json::from_slice(&body).expect("a review");
        let token = review["spec"]["token"].as_str().expect("a token").to_owned();
        self.asked.lock().expect("unpoisoned").push(token.clone());
        self.audiences.lock().expect("unpoisoned").push(review["spec"]["audiences"].clone());
        let extra = match token.strip_prefix(ON) {
            Some(node) => json!({"authentication.kubernetes.io/node-name": [node]}),
            None => json!({
                "authentication.kubernetes.io/pod-name": [token.replace(BOUND, "agent-x")],
                "authentication.kubernetes.io/pod-uid": ["u-1"],
            }),
        };
        let status = match token.as_str() {
            "broken" => {
                return (500, json!({"kind": "Status", "status": "Failure", "code": 500, "message": "no etcd"}));
            }
            "bad" => json!({"authenticated": false, "error": "invalid bearer token"}),
            "others" => json!({
                "authenticated": true,
                "audiences": ["tocsin"],
                "user": {"username": "system:serviceaccount:shop:api", "extra": extra},
            }),
            _ => json!({
                "authenticated": true,
                "audiences": ["tocsin"],
                "user": {"username": "system:serviceaccount:tocsin:agent", "extra": extra},
            }),
        };
        (201, json!({"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "spec": {}, "status": status}))
    }
}

pub(in crate::ingest) fn agents() -> Agents {
    let name = |name: &str| NamespacedName { namespace: "tocsin".into(), name: name.into() };
    Agents { service_account: name("agent"), audience: "tocsin".into(), daemon_set: name("agent") }
}

fn identity(client: Client) -> (Identity, Clock) {
    let clock = Clock::starting_at(rules::Time::from_millis(1_000_000));
    (Identity::new(client, clock.clone()), clock)
}

fn admitted(node: &str) -> Admission {
    Admission::Admitted(node.into())
}

#[tokio::test(start_paused = true)]
async fn a_good_token_is_asked_about_once_in_its_time() {
    let (api, client) = Api::start(Duration::ZERO);
    let (identity, clock) = identity(client);
    for _ in 0..3 {
        assert_eq!(identity.admit(&agents(), "on-node-1").await, admitted("node-1"));
    }
    assert_eq!(api.asked(), ["on-node-1"]);
    assert_eq!(*api.audiences.lock().expect("unpoisoned"), [json!(["tocsin"])]);
    clock.sleep(ADMITTED_LASTS).await;
    assert_eq!(identity.admit(&agents(), "on-node-1").await, admitted("node-1"));
    assert_eq!(api.asked().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_bad_token_is_asked_about_again_sooner_and_drives_out_no_good_one() {
    let (api, client) = Api::start(Duration::ZERO);
    let (identity, clock) = identity(client);
    let refused = Admission::Refused(Refusal::Unknown("invalid bearer token".to_owned()));
    assert_eq!(identity.admit(&agents(), "on-node-1").await, admitted("node-1"));
    for _ in 0..3 {
        assert_eq!(identity.admit(&agents(), "bad").await, refused);
    }
    assert_eq!(api.asked(), ["on-node-1", "bad"]);
    clock.sleep(REFUSED_LASTS).await;
    assert_eq!(identity.admit(&agents(), "bad").await, refused);
    assert_eq!(identity.admit(&agents(), "on-node-1").await, admitted("node-1"));
    assert_eq!(api.asked(), ["on-node-1", "bad", "bad"]);
}

#[tokio::test(start_paused = true)]
async fn other_settings_forget_what_the_old_ones_let_in() {
    let (api, client) = Api::start(Duration::ZERO);
    let (identity, _) = identity(client);
    assert_eq!(identity.admit(&agents(), "on-node-1").await, admitted("node-1"));
    let mut others = agents();
    others.service_account.name = "other".into();
    let account = "system:serviceaccount:tocsin:agent".to_owned();
    assert_eq!(identity.admit(&others, "on-node-1").await, Admission::Refused(Refusal::Account(account)));
    assert_eq!(api.asked().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn where_no_node_is_named_the_pod_is_read() {
    let (_, client) = Api::start(Duration::ZERO);
    let (identity, _) = identity(client);
    assert_eq!(identity.admit(&agents(), BOUND).await, admitted("node-x"));
    let gone = Admission::Refused(Refusal::PodGone("other-pod".to_owned()));
    assert_eq!(identity.admit(&agents(), "other-pod").await, gone);
}

#[tokio::test(start_paused = true)]
async fn without_a_token_nobody_is_asked() {
    let (api, client) = Api::start(Duration::ZERO);
    let (identity, _) = identity(client);
    for token in [String::new(), "x".repeat(TOKEN_BYTES_MAX + 1)] {
        assert_eq!(identity.admit(&agents(), &token).await, Admission::Refused(Refusal::NoToken));
    }
    assert!(api.asked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_api_server_in_trouble_refuses_nobody_and_is_asked_again() {
    let (api, client) = Api::start(Duration::ZERO);
    let (identity, _) = identity(client);
    for _ in 0..2 {
        let Admission::Unavailable(why) = identity.admit(&agents(), "broken").await else { panic!("it cannot say") };
        assert!(why.contains("no etcd"), "{why}");
    }
    assert_eq!(api.asked().len(), 2);

    let (_, client) = Api::start(Duration::from_hours(1));
    let (identity, clock) = self::identity(client);
    let unavailable = Admission::Unavailable("the API server reviewed no token in 10 s".to_owned());
    assert_eq!(identity.admit(&agents(), "on-node-1").await, unavailable);
    assert_eq!(clock.mark().since_start(), TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn many_with_one_token_are_one_question_and_many_tokens_are_few_at_once() {
    let (api, client) = Api::start(Duration::from_millis(10));
    let (identity, _) = identity(client);
    let agents = agents();
    let same = futures::future::join_all((0..100).map(|_| identity.admit(&agents, "on-node-1"))).await;
    assert!(same.iter().all(|admission| *admission == admitted("node-1")));
    assert_eq!(api.asked().len(), 1);

    let tokens: Vec<_> = (0..1_000).map(|number| format!("on-node-{number}")).collect();
    let all = futures::future::join_all(tokens.iter().map(|token| identity.admit(&agents, token))).await;
    assert!(all.iter().all(|admission| matches!(admission, Admission::Admitted(_))));
    assert_eq!(api.most_at_once.load(Ordering::SeqCst), REVIEWS_MAX);
    assert!(identity.0.asking().is_empty());
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_takes_nobody_along_and_leaves_nothing_behind() {
    let (api, client) = Api::start(Duration::from_secs(5));
    let (identity, _) = identity(client);
    let agents = agents();
    let impatient = tokio::time::timeout(Duration::from_secs(1), identity.admit(&agents, "on-node-1"));
    let (impatient, patient) = futures::join!(impatient, identity.admit(&agents, "on-node-1"));
    assert!(impatient.is_err());
    assert_eq!(patient, admitted("node-1"));
    assert_eq!(api.asked().len(), 1);

    for number in 0..2 * ASKING_SWEEP {
        let token = format!("abandoned-{number}");
        let gone = tokio::time::timeout(Duration::from_millis(1), identity.admit(&agents, &token)).await;
        assert!(gone.is_err());
    }
    assert!(identity.0.asking().len() <= ASKING_SWEEP);
    assert_eq!(identity.admit(&agents, "on-node-2").await, admitted("node-2"), "abandoned questions hold no turn");
}
