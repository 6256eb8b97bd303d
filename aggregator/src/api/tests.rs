//! The API over a socket.

use std::sync::Arc;

use process::{Clock, Readiness, Shutdown, port};
use rules::{Evidence, Finding, FindingId, Incarnation, Kind, Owner, Seen, Severity, State, Subject, Time};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use wire::Epoch;

use super::*;
use crate::core::Core;
use crate::leader::Leadership;
use crate::leader::election::Role;
use crate::pipeline::Pipeline;
use crate::settings::{Cluster, Settings, SinkSettings};
use crate::sinks::contract::Contract;

const START: Time = Time::from_millis(1_777_600_000_000);

fn core() -> Arc<Core> {
    let clock = Clock::by_hand(START);
    let cluster = Cluster { name: "prod".into(), id: "c1".into(), ..Cluster::default() };
    let sinks = [(Arc::from("log"), SinkSettings::default())].into();
    let settings = Settings { cluster, sinks, ..Settings::default() };
    Arc::new(Core::new(Pipeline::new(settings, Epoch(1), 7, clock.now()), clock))
}

fn unschedulable(pod: &str, severity: Severity, state: State) -> Finding {
    let kind = Kind::named("Unschedulable").expect("it is in the catalogue");
    let subject = Subject { namespace: "shop".into(), pod: pod.into(), uid: pod.into(), ..Subject::default() };
    Finding {
        id: FindingId::of(kind, &subject),
        kind,
        owner: Owner { kind: "Deployment".into(), name: pod.split('-').next().expect("one part").into() },
        subject,
        incarnation: Incarnation(1),
        state,
        since: START,
        seen: Seen::Happening,
        severity,
        evidence: Evidence::default(),
    }
}

/// Serves `core` and asks it; the status and the JSON.
async fn ask(core: &Arc<Core>, request: &str) -> (u16, Value) {
    let office = Office::new(Leadership::alone(core.clock().clone()));
    office.take(Arc::clone(core));
    ask_at(office, request).await
}

async fn ask_at(office: Office, request: &str) -> (u16, Value) {
    ask_api(Api { office: Arc::new(OnceLock::from(office)), readiness: Readiness::new() }, request).await
}

async fn ask_api(api: Api, request: &str) -> (u16, Value) {
    let listener = port::bind("127.0.0.1:0".parse().expect("an address")).await.expect("bound");
    let addr = listener.local_addr().expect("it is bound");
    let shutdown = Shutdown::on_requests(Readiness::new(), futures::StreamExt::boxed(futures::stream::pending()));
    let serving = port::serve(listener, "api_connection", shutdown.tasks(), Clock::by_hand(START), api);
    let asking = async {
        let mut stream = TcpStream::connect(addr).await.expect("connected");
        let request = format!("{request}\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("answered");
        answer
    };
    let answer = tokio::select! {
        answer = asking => answer,
        ended = serving => panic!("it ended: {ended:?}"),
    };
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.to_lowercase().contains("content-type: application/json"), "{head}");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, serde_json::from_str(body).unwrap_or_default())
}

#[tokio::test]
async fn open_issues_are_listed_with_what_became_of_them() {
    let core = core();
    core.with(|pipeline, now| {
        let critical = unschedulable("web-1", Severity::Critical, State::Active);
        let pending = unschedulable("job-1", Severity::Warning, State::Pending);
        let info = unschedulable("dev-1", Severity::Info, State::Active);
        pipeline.on_own_findings(vec![info, pending, critical], now);
    });
    let (status, page) = ask(&core, "GET /api/v1/issues HTTP/1.1").await;
    assert_eq!(status, 200);
    Contract::read().check_named("Issues", &page);
    assert_eq!(page["cluster"], json!({ "name": "prod", "id": "c1" }));
    assert_eq!((page["time"].as_str(), page["total"].as_u64()), (Some(START.to_string().as_str()), Some(3)));
    let issues = page["issues"].as_array().expect("a list");
    let shown: Vec<_> = issues.iter().map(|it| (it["owner"]["name"].as_str(), it["phase"].as_str())).collect();
    assert_eq!(shown, [(Some("web"), Some("telling")), (Some("job"), Some("untold")), (Some("dev"), Some("untold"))]);
    assert_eq!(issues[0]["severity"], "critical");
    assert_eq!(issues[0]["id"].as_str().map(str::len), Some(32));
    let member = json!({
        "observer": "", "pod": "web-1", "node": "", "container": "", "state": "active", "since": START.to_string(),
        "decision": "queued", "isFinal": false,
    });
    assert_eq!(issues[0]["members"], json!({ "total": 1, "list": [member] }));
    assert_eq!(issues[0]["lastDecision"], json!({ "decision": "queued", "isFinal": false, "time": START.to_string() }));
    assert_eq!(issues[1]["lastDecision"], Value::Null, "what is only pending is not decided");
    assert_eq!(issues[2]["lastDecision"]["decision"], "unrouted");
}

#[tokio::test]
async fn many_issues_are_counted_and_the_list_is_cut() {
    let core = core();
    core.with(|pipeline, now| {
        let many = (0..600).map(|n| unschedulable(&format!("w{n}-1"), Severity::Warning, State::Active));
        let last = unschedulable("last-1", Severity::Critical, State::Active);
        pipeline.on_own_findings(many.chain([last]).collect(), now);
    });
    let (_, page) = ask(&core, "GET /api/v1/issues?x=1 HTTP/1.1").await;
    assert_eq!(page["total"], 601);
    let issues = page["issues"].as_array().expect("a list");
    assert_eq!((issues.len(), issues[0]["owner"]["name"].as_str()), (500, Some("last")));
}

#[tokio::test]
async fn nothing_else_is_there() {
    let core = core();
    assert_eq!(ask(&core, "GET / HTTP/1.1").await, (404, json!({ "error": "here is /api/v1/issues" })));
    assert_eq!(ask(&core, "GET /metrics HTTP/1.1").await.0, 404);
    assert_eq!(ask(&core, "DELETE /api/v1/issues HTTP/1.1").await, (405, json!({ "error": "GET or HEAD" })));
    assert_eq!(ask(&core, "HEAD /api/v1/issues HTTP/1.1").await.0, 200);
    assert_eq!(ask(&core, "POST /api/v1/issues HTTP/1.1\r\ncontent-length: 5").await.0, 413);
}

#[tokio::test]
async fn a_standby_says_who_leads() {
    let standing_by = |leader: &str| {
        let role = Role::StandingBy { leader: leader.into(), address: "10.0.0.7:8443".into() };
        Office::new(Leadership::scripted(role, Clock::by_hand(START)).1)
    };
    let (status, answer) = ask_at(standing_by("other_1"), "GET /api/v1/issues HTTP/1.1").await;
    assert_eq!((status, &answer["error"]), (503, &json!("this replica stands by: ask the one that leads, other_1")));
    Contract::read().check_named("Problem", &answer);
    let (status, answer) = ask_at(standing_by(""), "GET /api/v1/issues HTTP/1.1").await;
    assert_eq!((status, &answer["error"]), (503, &json!("nobody leads yet: ask again in a moment")));
}

#[tokio::test]
async fn before_the_cluster_is_known_it_says_what_that_waits_for() {
    let readiness = Readiness::new();
    let waiting = [readiness.handle("cluster"), readiness.handle("certificate")];
    waiting[0].unready("cannot read namespace kube-system: 503");
    let api = Api { office: Arc::default(), readiness };
    let (status, answer) = ask_api(api, "GET /api/v1/issues HTTP/1.1").await;
    let waits_for = "cluster: cannot read namespace kube-system: 503; certificate: starting";
    let error = format!("this replica has just started: ask again in a moment ({waits_for})");
    assert_eq!((status, &answer["error"]), (503, &json!(error)));
    Contract::read().check_named("Problem", &answer);
}

#[test]
fn the_contract_knows_every_decision() {
    let decisions = crate::dedupe::decision::Decision::ALL;
    for decision in decisions {
        Contract::read().check_named("Decision", &json!(decision));
    }
}
