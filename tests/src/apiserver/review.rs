//! What is created but not stored: reviews of tokens and rights, tokens for ServiceAccounts, bindings, evictions.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::clock::seconds;
use super::faults::Asking;
use super::handle::Call;
use super::state::State;
use super::status::Status;
use super::target::Target;
use super::tokens::{API_AUDIENCE, Identity};
use super::write::{self, DeleteOptions};

/// Answers a create that stores nothing; `None` for all others.
pub(super) fn create(state: &mut State, call: &Call, body: &Value, now: Timestamp) -> Option<Result<Value, Status>> {
    let subresource = call.target.subresource.as_deref();
    match (call.target.resource().as_str(), subresource) {
        ("tokenreviews.authentication.k8s.io", None) => Some(state.tokens.review(body.clone())),
        ("selfsubjectaccessreviews.authorization.k8s.io", None) => {
            Some(Ok(access_review(state, body, call.user.as_deref())))
        }
        ("subjectaccessreviews.authorization.k8s.io", None) => {
            Some(Ok(access_review(state, body, body["spec"]["user"].as_str())))
        }
        ("serviceaccounts", Some("token")) => Some(token_request(state, &call.target, body, now)),
        ("pods", Some("binding")) => Some(binding(state, &call.target, body, now)),
        ("pods", Some("eviction")) => Some(eviction(state, &call.target, now)),
        _ => None,
    }
}

/// `TOKEN may not VERB RESOURCE`, in the words of RBAC.
pub(super) fn forbidden(target: &Target, verb: &str, user: Option<&str>) -> Status {
    let (resource, user) = (target.counted(), user.unwrap_or("system:anonymous"));
    let named = target.name.as_ref().map(|name| format!(" \"{name}\"")).unwrap_or_default();
    let place = match &target.namespace {
        Some(namespace) => format!("in the namespace \"{namespace}\""),
        None => "at the cluster scope".to_string(),
    };
    let (plural, group) = (&target.plural, &target.group);
    let message = format!(
        "{resource}{named} is forbidden: User \"{user}\" cannot {verb} resource \"{plural}\" in API group \"{group}\" {place}"
    );
    Status::new(403, "Forbidden", message)
}

/// Everything is allowed that no script denies.
fn access_review(state: &State, body: &Value, user: Option<&str>) -> Value {
    let asked = &body["spec"]["resourceAttributes"];
    let text = |field: &str| asked[field].as_str().unwrap_or_default();
    let mut resource = text("resource").to_string();
    for (field, separator) in [("group", "."), ("subresource", "/")] {
        if !text(field).is_empty() {
            resource = format!("{resource}{separator}{}", text(field));
        }
    }
    let asking = Asking { verb: text("verb"), resource: &resource, selector: "", user };
    let denied = state.denied.iter().any(|on| on.meets(&asking));
    let mut review = body.clone();
    review["status"] = json!({"allowed": !denied});
    review
}

/// TokenRequest: a token for a ServiceAccount, bound to a pod if asked.
fn token_request(state: &mut State, target: &Target, body: &Value, now: Timestamp) -> Result<Value, Status> {
    let (namespace, name) = target.key();
    let spec = &body["spec"];
    let mut identity = Identity::service_account(&namespace, &name);
    if let Some(audiences) = spec["audiences"].as_array().filter(|audiences| !audiences.is_empty()) {
        identity.audiences = audiences.iter().filter_map(Value::as_str).map(ToString::to_string).collect();
    } else {
        identity.audiences = vec![API_AUDIENCE.to_string()];
    }
    if spec["boundObjectRef"]["kind"] == "Pod" {
        let pod = spec["boundObjectRef"]["name"].as_str().unwrap_or_default().to_string();
        let Some(object) = state.store.get("pods", &(namespace, pod.clone())) else {
            return Err(Status::not_found("pods", &pod));
        };
        identity = identity.bound_to_pod(&pod, object.value()["metadata"]["uid"].as_str().unwrap_or_default());
        let node = super::store::node(object);
        if !node.is_empty() {
            identity = identity.on_node(node);
        }
    }
    let lifetime_s = spec["expirationSeconds"].as_i64().unwrap_or(3600);
    let expires = now.checked_add(SignedDuration::from_secs(lifetime_s)).unwrap_or(now);
    let mut request = body.clone();
    request["status"] = json!({"token": state.tokens.issue(identity), "expirationTimestamp": seconds(expires)});
    Ok(request)
}

/// A binding gives a pod its node, once.
fn binding(state: &mut State, target: &Target, body: &Value, now: Timestamp) -> Result<Value, Status> {
    let (key, node) = (target.key(), &body["target"]["name"]);
    let Some(mut pod) = state.store.get("pods", &key).map(|object| object.value()) else {
        return Err(Status::not_found("pods", &key.1));
    };
    if pod["spec"]["nodeName"].is_string() {
        let message = format!(
            "Operation cannot be fulfilled on pods/binding \"{}\": pod {} is already assigned to node {}",
            key.1, key.1, pod["spec"]["nodeName"]
        );
        return Err(Status { message, ..Status::conflict("pods/binding", &key.1) });
    }
    pod["spec"]["nodeName"] = node.clone();
    let scheduled = json!({"type": "PodScheduled", "status": "True", "lastTransitionTime": seconds(now)});
    match pod["status"]["conditions"].as_array_mut() {
        Some(conditions) => {
            conditions.retain(|condition| condition["type"] != "PodScheduled");
            conditions.push(scheduled);
        }
        None => pod["status"]["conditions"] = json!([scheduled]),
    }
    state.store.commit(target, key, Some(pod));
    Ok(json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}))
}

/// An eviction by the API is a deletion.
fn eviction(state: &mut State, target: &Target, now: Timestamp) -> Result<Value, Status> {
    let graceful = state.graceful_deletion;
    write::delete(&mut state.store, target, &target.key(), &DeleteOptions::default(), graceful, now)?;
    Ok(json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}))
}
