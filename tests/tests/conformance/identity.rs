//! TokenRequest and TokenReview: what an agent shows, and what the aggregator learns from it.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::server::{NAMESPACE, Server, pod};

const AUDIENCE: &str = "tocsin-aggregator";

pub(crate) async fn a_token_names_its_node(server: &Server) -> Result<()> {
    let holder = server.create(&format!("{NAMESPACE}/pods"), &pod("holder", Some("conformance-1"))).await?;
    let bound = json!({"apiVersion": "v1", "kind": "Pod", "name": "holder", "uid": holder["metadata"]["uid"]});
    let token = token(server, &bound).await?;

    let review = review(server, &token, AUDIENCE).await?;
    let status = &review["status"];
    ensure!(status["authenticated"] == true && status["audiences"] == json!([AUDIENCE]), "{review}");
    let user = &status["user"];
    ensure!(user["username"] == "system:serviceaccount:default:default", "{review}");
    ensure!(user["uid"].as_str().is_some_and(|uid| uid.len() == 36), "{review}");
    let groups = json!(["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"]);
    ensure!(user["groups"] == groups, "{review}");
    let extra = |name: &str| &user["extra"][format!("authentication.kubernetes.io/{name}")];
    ensure!(extra("node-name") == &json!(["conformance-1"]), "{review}");
    ensure!(extra("pod-name") == &json!(["holder"]), "{review}");
    ensure!(extra("pod-uid") == &json!([holder["metadata"]["uid"]]), "{review}");

    // A token for the aggregator is no token for others.
    let elsewhere = self::review(server, &token, "somebody-else").await?;
    ensure!(refused(&elsewhere).contains("invalid bearer token"), "{elsewhere}");
    Ok(())
}

pub(crate) async fn a_strange_token_is_nobodys(server: &Server) -> Result<()> {
    for strange in ["strange", "a.b.c"] {
        let review = review(server, strange, AUDIENCE).await?;
        ensure!(refused(&review).contains("invalid bearer token"), "{review}");
    }
    Ok(())
}

/// Why a review says that a token is nobody's.
fn refused(review: &Value) -> &str {
    let status = &review["status"];
    let is_refused =
        status["authenticated"] != true && status["user"] == json!({}) && status.get("audiences").is_none();
    is_refused.then(|| status["error"].as_str()).flatten().unwrap_or("it was not refused")
}

/// A token as the kubelet projects it into a pod.
async fn token(server: &Server, bound: &Value) -> Result<String> {
    let request = json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
        "spec": {"audiences": [AUDIENCE], "expirationSeconds": 3600, "boundObjectRef": bound},
    });
    let answer = server.create(&format!("{NAMESPACE}/serviceaccounts/default/token"), &request).await?;
    ensure!(answer["status"]["expirationTimestamp"].is_string(), "{answer}");
    answer["status"]["token"].as_str().map(str::to_owned).context("no token")
}

async fn review(server: &Server, token: &str, audience: &str) -> Result<Value> {
    let review = json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
        "spec": {"token": token, "audiences": [audience]},
    });
    server.create("/apis/authentication.k8s.io/v1/tokenreviews", &review).await
}
