//! Who may ask, and the reviews that tell others.

use http::Method;
use serde_json::json;
use tocsin_tests::apiserver::{API_AUDIENCE, ApiServer, Identity, On, Options};

use crate::client::{CONFIG_MAPS, answer, ask, get, open, request, server, template};

const TOKEN_REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
const ACCESS_REVIEWS: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";

async fn ask_as(server: &ApiServer, token: &str, path: &str) -> crate::client::Answer {
    answer(open(server, request(Method::GET, path, Some(token), None)).await.expect("an answer")).await
}

#[tokio::test]
async fn a_strict_server_knows_its_tokens_and_their_audience() {
    let options = Options { authenticate: true, ..Options::default() };
    let server = ApiServer::start(options).await.expect("the server starts");
    let good = server.issue_token(Identity::service_account("tocsin", "aggregator"));
    let elsewhere = server.issue_token(Identity::service_account("tocsin", "agent").for_audience("tocsin"));
    assert_eq!(get(&server, CONFIG_MAPS).await.status, 401);
    assert_eq!(ask_as(&server, "unknown", CONFIG_MAPS).await.status, 401);
    assert_eq!(ask_as(&server, &elsewhere, CONFIG_MAPS).await.status, 401);
    assert_eq!(ask_as(&server, &good, CONFIG_MAPS).await.status, 200);
    server.revoke_token(&good);
    assert_eq!(ask_as(&server, &good, CONFIG_MAPS).await.status, 401);
}

#[tokio::test]
async fn what_is_denied_is_forbidden_in_the_words_of_rbac() {
    let server = server().await;
    let token = server.issue_token(Identity::service_account("tocsin", "agent"));
    server.deny(On::list("nodes").user("system:serviceaccount:tocsin:agent"));
    let refused = ask_as(&server, &token, "/api/v1/nodes").await;
    assert_eq!(refused.status, 403);
    let message = "nodes is forbidden: User \"system:serviceaccount:tocsin:agent\" cannot list resource \"nodes\" in API \
                   group \"\" at the cluster scope";
    assert_eq!(refused.json["message"], message);
    assert_eq!(get(&server, "/api/v1/nodes").await.status, 200);
    server.allow_all();
    assert_eq!(ask_as(&server, &token, "/api/v1/nodes").await.status, 200);
}

#[tokio::test]
async fn a_token_review_tells_whose_token_it_is_and_from_which_node() {
    let server = server().await;
    let pod = server.add_pod("tocsin", "agent-x", &template(), Some("n1"));
    let token = server.issue_pod_token(&pod, "agent", "tocsin");
    let review = json!({"spec": {"token": token, "audiences": ["tocsin", "other"]}});
    let answer = ask(&server, Method::POST, TOKEN_REVIEWS, Some(&review)).await;
    assert_eq!(answer.status, 201);
    let status = &answer.json["status"];
    assert_eq!((&status["authenticated"], &status["audiences"]), (&json!(true), &json!(["tocsin"])));
    assert_eq!(status["user"]["username"], "system:serviceaccount:tocsin:agent");
    let extra = &status["user"]["extra"];
    assert_eq!(extra["authentication.kubernetes.io/node-name"], json!(["n1"]));
    assert_eq!(extra["authentication.kubernetes.io/pod-name"], json!(["agent-x"]));
}

#[tokio::test]
async fn unknown_tokens_and_those_for_others_are_not_authenticated() {
    let server = server().await;
    let token = server.issue_token(Identity::service_account("tocsin", "agent").for_audience("tocsin"));
    for (token, audiences) in
        [("unknown", json!(["tocsin"])), (token.as_str(), json!(["other"])), (token.as_str(), json!([]))]
    {
        let review = json!({"spec": {"token": token, "audiences": audiences}});
        let status = ask(&server, Method::POST, TOKEN_REVIEWS, Some(&review)).await.json["status"].clone();
        assert!(status["authenticated"].is_null() && status["error"].is_string(), "{status}");
    }
    let empty = ask(&server, Method::POST, TOKEN_REVIEWS, Some(&json!({"spec": {}}))).await;
    assert_eq!(empty.status, 400);
}

#[tokio::test]
async fn a_token_request_gives_a_token_bound_to_the_pod_and_its_node() {
    let server = server().await;
    server.add_pod("tocsin", "agent-x", &template(), Some("n1"));
    let path = "/api/v1/namespaces/tocsin/serviceaccounts/agent/token";
    let body = json!({"spec": {"audiences": ["tocsin"], "boundObjectRef": {"kind": "Pod", "name": "agent-x"}}});
    let token = ask(&server, Method::POST, path, Some(&body)).await.json["status"]["token"].clone();
    let review = json!({"spec": {"token": token, "audiences": ["tocsin"]}});
    let status = ask(&server, Method::POST, TOKEN_REVIEWS, Some(&review)).await.json["status"].clone();
    assert_eq!(status["user"]["extra"]["authentication.kubernetes.io/node-name"], json!(["n1"]));
    let unbound = ask(&server, Method::POST, path, Some(&json!({"spec": {}}))).await.json["status"]["token"].clone();
    let review = json!({"spec": {"token": unbound}});
    let status = ask(&server, Method::POST, TOKEN_REVIEWS, Some(&review)).await.json["status"].clone();
    assert_eq!(status["audiences"], json!([API_AUDIENCE]));
}

#[tokio::test]
async fn an_access_review_allows_what_is_not_denied() {
    let server = server().await;
    let review = json!({"spec": {"resourceAttributes": {"verb": "list", "resource": "pods"}}});
    let allowed =
        async || ask(&server, Method::POST, ACCESS_REVIEWS, Some(&review)).await.json["status"]["allowed"].clone();
    assert_eq!(allowed().await, true);
    server.deny(On::list("pods"));
    assert_eq!(allowed().await, false);
}
