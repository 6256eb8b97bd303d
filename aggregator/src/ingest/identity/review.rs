//! What a TokenReview says. Pure.

use std::sync::Arc;

use k8s_openapi::api::authentication::v1::{TokenReviewStatus, UserInfo};
use rules::name::is_object_name;
use serde::Deserialize;
use thiserror::Error;

use crate::config::{Agents, NamespacedName};
use crate::forward::text::shown;

/// Why somebody is not let in.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// There is no token, or nothing that could be one.
    #[error("no token: an agent must show its projected ServiceAccount token")]
    NoToken,
    /// The API server does not know the token.
    #[error("the API server does not accept the token: {0}")]
    Unknown(String),
    /// The token is for others.
    #[error("the token is not for the audience {0}: check the audience of the agents' projected volume")]
    Audience(Arc<str>),
    /// Somebody else's token.
    #[error("the token is of {0}, and only the agents' ServiceAccount is let in")]
    Account(String),
    /// The token is bound to no pod, so nothing says where its holder runs.
    #[error("the token names neither node nor pod: it must be a pod's projected token")]
    Unbound,
    /// The pod that the token is bound to is gone, or another one of its name is there.
    #[error("the pod {0} that the token is bound to is gone")]
    PodGone(String),
    /// The pod that the token is bound to is on no node, so its holder does not run in it.
    #[error("the pod {0} that the token is bound to is on no node")]
    PodNowhere(String),
}

/// What a review says of who holds the token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reviewed {
    /// It is the agent of that node.
    Agent(Arc<str>),
    /// It is an agent, and runs where that pod runs.
    BoundTo(BoundPod),
    /// It is none.
    Refused(Refusal),
}

/// The pod that a token is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BoundPod {
    pub(super) name: String,
    uid: String,
}

/// A pod, as far as it says where it runs.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Pod {
    metadata: PodMetadata,
    #[serde(default)]
    spec: PodSpec,
}

#[derive(Debug, Default, Deserialize)]
struct PodMetadata {
    #[serde(default)]
    uid: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PodSpec {
    #[serde(default)]
    node_name: String,
}

/// KEP-4193; from Kubernetes 1.30 on by default.
const NODE_NAME: &str = "authentication.kubernetes.io/node-name";
const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";

/// What `status` says of who holds the token.
pub(super) fn of_token(status: &TokenReviewStatus, agents: &Agents) -> Reviewed {
    if status.authenticated != Some(true) {
        let why = status.error.as_deref().map(shown).filter(|why| !why.is_empty());
        return Reviewed::Refused(Refusal::Unknown(why.unwrap_or_else(|| "no reason given".to_owned())));
    }
    // A server that knows no audiences leaves them out: then the token may be anybody's for anything.
    if !status.audiences.iter().flatten().any(|audience| **audience == *agents.audience) {
        return Reviewed::Refused(Refusal::Audience(Arc::clone(&agents.audience)));
    }
    let nobody = UserInfo::default();
    let user = status.user.as_ref().unwrap_or(&nobody);
    let username = user.username.as_deref().unwrap_or_default();
    if username != username_of(&agents.service_account) {
        return Reviewed::Refused(Refusal::Account(shown(username)));
    }
    if let Some(node) = extra(user, NODE_NAME) {
        return Reviewed::Agent(Arc::from(node));
    }
    match (extra(user, POD_NAME), extra(user, POD_UID)) {
        (Some(name), Some(uid)) => Reviewed::BoundTo(BoundPod { name: name.to_owned(), uid: uid.to_owned() }),
        _ => Reviewed::Refused(Refusal::Unbound),
    }
}

/// The node that runs the pod that a token is bound to; `pod` is what has its name now.
pub(super) fn of_pod(bound: &BoundPod, pod: Option<Pod>) -> Result<Arc<str>, Refusal> {
    match pod {
        Some(pod) if pod.metadata.uid != bound.uid => Err(Refusal::PodGone(bound.name.clone())),
        Some(pod) if !is_object_name(&pod.spec.node_name) => Err(Refusal::PodNowhere(bound.name.clone())),
        Some(pod) => Ok(Arc::from(pod.spec.node_name)),
        None => Err(Refusal::PodGone(bound.name.clone())),
    }
}

fn username_of(account: &NamespacedName) -> String {
    format!("system:serviceaccount:{}:{}", account.namespace, account.name)
}

/// The one value of an extra field, if it can be an object's name.
fn extra<'a>(user: &'a UserInfo, field: &str) -> Option<&'a str> {
    match &**user.extra.as_ref()?.get(field)? {
        [value] if is_object_name(value) => Some(value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn agents() -> Agents {
        let name = |name: &str| NamespacedName { namespace: "tocsin".into(), name: name.into() };
        Agents { service_account: name("agent"), audience: "tocsin".into(), daemon_set: name("agent") }
    }

    /// A review of a good token with these extra fields.
    fn good(extra: &Value) -> Value {
        json!({
            "authenticated": true,
            "audiences": ["tocsin"],
            "user": {"username": "system:serviceaccount:tocsin:agent", "extra": extra},
        })
    }

    #[track_caller]
    fn check(status: Value, expected: &Reviewed) {
        let status = serde_json::from_value(status).expect("a status as the API server writes it");
        assert_eq!(of_token(&status, &agents()), *expected);
    }

    #[track_caller]
    fn refused(status: Value, why: Refusal) {
        check(status, &Reviewed::Refused(why));
    }

    #[test]
    fn the_node_is_the_tokens() {
        let extra = json!({NODE_NAME: ["node-1"], POD_NAME: ["agent-x"], POD_UID: ["u-1"]});
        check(good(&extra), &Reviewed::Agent("node-1".into()));
    }

    #[test]
    fn where_the_server_names_no_node_the_pod_does() {
        let bound = BoundPod { name: "agent-x".to_owned(), uid: "u-1".to_owned() };
        check(good(&json!({POD_NAME: ["agent-x"], POD_UID: ["u-1"]})), &Reviewed::BoundTo(bound));
        refused(good(&json!({POD_NAME: ["agent-x"]})), Refusal::Unbound);
        refused(good(&json!({})), Refusal::Unbound);
    }

    #[test]
    fn names_that_no_object_has_are_none() {
        refused(good(&json!({NODE_NAME: [""]})), Refusal::Unbound);
        refused(good(&json!({NODE_NAME: ["node-1", "node-2"]})), Refusal::Unbound);
        refused(good(&json!({NODE_NAME: ["x".repeat(254)]})), Refusal::Unbound);
        refused(good(&json!({POD_NAME: ["../secrets/x"], POD_UID: ["u-1"]})), Refusal::Unbound);
        refused(good(&json!({POD_NAME: ["x?watch=1"], POD_UID: ["u-1"]})), Refusal::Unbound);
    }

    #[test]
    fn a_token_that_the_server_does_not_know_is_refused_with_its_reason() {
        refused(json!({}), Refusal::Unknown("no reason given".to_owned()));
        refused(
            json!({"authenticated": false, "error": "token has\nexpired"}),
            Refusal::Unknown("token has expired".to_owned()),
        );
    }

    #[test]
    fn a_token_for_another_audience_is_refused_and_so_is_one_for_none() {
        for audiences in [json!(["other"]), json!([]), json!(null)] {
            let mut status = good(&json!({NODE_NAME: ["node-1"]}));
            status["audiences"] = audiences;
            refused(status, Refusal::Audience("tocsin".into()));
        }
    }

    #[test]
    fn only_the_agents_account_is_let_in() {
        for username in [
            "",
            "node-1",
            "system:serviceaccount:tocsin:other",
            "system:serviceaccount:other:agent",
            "system:serviceaccount:tocsin:agent2",
            "system:node:node-1",
        ] {
            let mut status = good(&json!({NODE_NAME: ["node-1"]}));
            status["user"]["username"] = json!(username);
            refused(status, Refusal::Account(username.to_owned()));
        }
        let mut status = good(&json!({}));
        status["user"] = json!(null);
        refused(status, Refusal::Account(String::new()));
    }

    #[test]
    fn the_pod_must_be_the_one_that_the_token_is_bound_to() {
        let bound = BoundPod { name: "agent-x".to_owned(), uid: "u-1".to_owned() };
        let of = |pod: Value| of_pod(&bound, serde_json::from_value(pod).expect("a pod or none"));
        let pod = |uid: &str, node: &str| json!({"metadata": {"uid": uid}, "spec": {"nodeName": node}});
        assert_eq!(of(pod("u-1", "node-1")), Ok("node-1".into()));
        assert_eq!(of(pod("u-2", "node-1")), Err(Refusal::PodGone("agent-x".to_owned())));
        assert_eq!(of(json!(null)), Err(Refusal::PodGone("agent-x".to_owned())));
        assert_eq!(of(pod("u-1", "")), Err(Refusal::PodNowhere("agent-x".to_owned())));
        assert_eq!(of(json!({"metadata": {"uid": "u-1"}})), Err(Refusal::PodNowhere("agent-x".to_owned())));
    }
}
