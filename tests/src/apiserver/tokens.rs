//! Who the bearers of tokens are, and the reviews that ask about it.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::status::Status;

/// The audience of tokens that the server itself accepts.
pub const API_AUDIENCE: &str = "https://kubernetes.default.svc.cluster.local";

/// Who a token's bearer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `system:serviceaccount:NAMESPACE:NAME` for ServiceAccounts.
    pub username: String,
    /// The account's uid.
    pub uid: String,
    /// Groups, such as `system:serviceaccounts`.
    pub groups: Vec<String>,
    /// Extra claims, such as `authentication.kubernetes.io/node-name`.
    pub extra: Vec<(String, String)>,
    /// For whom the token is meant.
    pub audiences: Vec<String>,
}

/// The tokens that are valid.
#[derive(Debug, Default)]
pub(super) struct Tokens(HashMap<String, Identity>);

impl Identity {
    /// A ServiceAccount with a token for the API server.
    pub fn service_account(namespace: &str, name: &str) -> Self {
        let groups = ["system:serviceaccounts", &format!("system:serviceaccounts:{namespace}"), "system:authenticated"];
        Self {
            username: format!("system:serviceaccount:{namespace}:{name}"),
            uid: super::uid(),
            groups: groups.into_iter().map(ToString::to_string).collect(),
            extra: Vec::new(),
            audiences: vec![API_AUDIENCE.to_string()],
        }
    }

    /// With a token for another audience instead.
    #[must_use]
    pub fn for_audience(mut self, audience: &str) -> Self {
        self.audiences = vec![audience.to_string()];
        self
    }

    /// With a token bound to a pod.
    #[must_use]
    pub fn bound_to_pod(mut self, name: &str, uid: &str) -> Self {
        self.extra.push(("authentication.kubernetes.io/pod-name".into(), name.into()));
        self.extra.push(("authentication.kubernetes.io/pod-uid".into(), uid.into()));
        self
    }

    /// With a node claim (KEP-4193), which older servers do not give.
    #[must_use]
    pub fn on_node(mut self, node: &str) -> Self {
        self.extra.push(("authentication.kubernetes.io/node-name".into(), node.into()));
        self
    }

    fn user_info(&self) -> Value {
        let extra: serde_json::Map<_, _> =
            self.extra.iter().map(|(name, value)| (name.clone(), json!([value]))).collect();
        json!({"username": self.username, "uid": self.uid, "groups": self.groups, "extra": extra})
    }
}

impl Tokens {
    /// A new token for an identity.
    pub(super) fn issue(&mut self, identity: Identity) -> String {
        let token = format!("{:016x}{:016x}.{:016x}", fastrand::u64(..), fastrand::u64(..), fastrand::u64(..));
        self.0.insert(token.clone(), identity);
        token
    }

    pub(super) fn insert(&mut self, token: &str, identity: Identity) {
        self.0.insert(token.to_string(), identity);
    }

    pub(super) fn revoke(&mut self, token: &str) {
        self.0.remove(token);
    }

    /// Who asks, by the request's bearer token, if the server knows it and it is meant for the server.
    pub(super) fn bearer(&self, token: &str) -> Option<&Identity> {
        self.0.get(token).filter(|identity| identity.audiences.iter().any(|audience| audience == API_AUDIENCE))
    }

    /// Answers a TokenReview.
    pub(super) fn review(&self, mut review: Value) -> Result<Value, Status> {
        let token = review["spec"]["token"].as_str().unwrap_or_default();
        if token.is_empty() {
            return Err(Status::bad_request("token is required for TokenReview in authentication"));
        }
        let asked: Vec<&str> = match review["spec"]["audiences"].as_array() {
            Some(audiences) if !audiences.is_empty() => audiences.iter().filter_map(Value::as_str).collect(),
            _ => vec![API_AUDIENCE],
        };
        let status = match self.0.get(token) {
            None => json!({"user": {}, "error": "[invalid bearer token, service account token is not valid]"}),
            Some(identity) => {
                let shared: Vec<_> = identity.audiences.iter().filter(|own| asked.contains(&own.as_str())).collect();
                if shared.is_empty() {
                    let error = format!(
                        "token audiences {:?} is invalid for the target audiences {asked:?}",
                        identity.audiences
                    );
                    json!({"user": {}, "error": format!("[invalid bearer token, {error}]")})
                } else {
                    json!({"authenticated": true, "user": identity.user_info(), "audiences": shared})
                }
            }
        };
        review["status"] = status;
        Ok(review)
    }
}
