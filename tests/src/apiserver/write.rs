//! Writes with the semantics of the API: names and uids, versions as preconditions, status apart, deletion in two steps.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::clock::seconds;
use super::object::{Key, Object};
use super::status::Status;
use super::store::Store;
use super::target::Target;

/// How a write changes the object.
pub(super) enum Write {
    /// PUT: the whole object.
    Replace(Value),
    /// PATCH: RFC 7386.
    Merge(Value),
}

/// `metav1.DeleteOptions`, as far as it is understood here.
#[derive(Clone, Debug, Default)]
pub(super) struct DeleteOptions {
    pub(super) grace_s: Option<u64>,
    pub(super) uid: Option<String>,
    pub(super) version: Option<String>,
}

/// Creates an object.
pub(super) fn create(
    store: &mut Store,
    target: &Target,
    mut value: Value,
    now: Timestamp,
) -> Result<Arc<Object>, Status> {
    let resource = target.resource();
    if !value.is_object() {
        return Err(Status::bad_request("the object provided is unrecognized: not a JSON object"));
    }
    let metadata = &mut value["metadata"];
    if let (None | Some(""), Some(prefix)) = (metadata["name"].as_str(), metadata["generateName"].as_str()) {
        let name = format!("{prefix}{}", super::suffix());
        metadata["name"] = json!(name);
    }
    let name = metadata["name"].as_str().unwrap_or_default().to_string();
    if name.is_empty() {
        return Err(Status::invalid(&resource, "", "metadata.name: Required value: name or generateName is required"));
    }
    let namespace = target.namespace.clone().unwrap_or_default();
    if metadata["namespace"].as_str().is_some_and(|named| !named.is_empty() && named != namespace) {
        let message = "the namespace of the provided object does not match the namespace sent on the request";
        return Err(Status::bad_request(message));
    }
    let key = (namespace, name);
    if store.get(&resource, &key).is_some() {
        return Err(Status::already_exists(&resource, &key.1));
    }
    if metadata["resourceVersion"].as_str().is_some_and(|version| !version.is_empty()) {
        return Err(Status::bad_request("resourceVersion should not be set on objects to be created"));
    }
    if !key.0.is_empty() {
        metadata["namespace"] = json!(key.0);
    }
    metadata["uid"] = json!(super::uid());
    metadata["creationTimestamp"] = json!(seconds(now));
    if value.get("spec").is_some() && has_generation(&resource) {
        value["metadata"]["generation"] = json!(1);
    }
    reset_status(&resource, &mut value);
    store.commit(target, key, Some(value)).ok_or_else(|| Status::of_code(500))
}

/// Replaces or patches an object, or its status.
pub(super) fn update(store: &mut Store, target: &Target, name: &str, write: Write) -> Result<Arc<Object>, Status> {
    let resource = target.resource();
    let key: Key = (target.namespace.clone().unwrap_or_default(), name.to_string());
    let Some(old) = store.get(&resource, &key).cloned() else {
        return Err(Status::not_found(&resource, name));
    };
    let before = old.value();
    // Leases alone refuse a PUT that names no version.
    let conditional = resource == "leases.coordination.k8s.io" && matches!(write, Write::Replace(_));
    let mut new = match write {
        Write::Replace(value) => value,
        Write::Merge(patch) => {
            let mut value = before.clone();
            value["metadata"]["resourceVersion"] = Value::Null;
            merge(&mut value, patch);
            value
        }
    };
    check_identity(&resource, &before, &new, conditional)?;
    // The parts that the other endpoint writes stay as they are.
    if target.subresource.as_deref() == Some("status") {
        let status = new["status"].take();
        new = before.clone();
        new["status"] = status;
    } else if let Some(status) = before.get("status") {
        new["status"] = status.clone();
    }
    for field in [
        "uid",
        "creationTimestamp",
        "namespace",
        "name",
        "generation",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ] {
        match before["metadata"].get(field) {
            Some(value) => new["metadata"][field] = value.clone(),
            None => {
                new["metadata"].as_object_mut().map(|metadata| metadata.remove(field));
            }
        }
    }
    if has_generation(&resource) && new.get("spec") != before.get("spec") {
        bump_generation(&mut new);
    }
    let finished = new["metadata"].get("deletionTimestamp").is_some()
        && new["metadata"]["deletionGracePeriodSeconds"].as_u64().unwrap_or(0) == 0
        && !has_finalizers(&new);
    let written = store.commit(target, key.clone(), Some(new)).ok_or_else(|| Status::of_code(500))?;
    if finished {
        store.commit(target, key, None);
    }
    Ok(written)
}

/// Deletes an object, or marks it for deletion; says what it was, and whether it is gone.
pub(super) fn delete(
    store: &mut Store,
    target: &Target,
    key: &Key,
    options: &DeleteOptions,
    graceful: bool,
    now: Timestamp,
) -> Result<(Arc<Object>, bool), Status> {
    let resource = target.resource();
    let Some(old) = store.get(&resource, key).cloned() else {
        return Err(Status::not_found(&resource, &key.1));
    };
    let mut value = old.value();
    let metadata = &value["metadata"];
    let differs = |asked: &Option<String>, field: &str| asked.as_deref().is_some_and(|asked| metadata[field] != asked);
    if differs(&options.uid, "uid") || differs(&options.version, "resourceVersion") {
        return Err(Status::conflict(&resource, &key.1));
    }
    // Only a pod that a kubelet may be running has a grace period.
    let default_grace = value["spec"]["terminationGracePeriodSeconds"].as_u64().unwrap_or(30);
    let grace_s = match options.grace_s {
        _ if resource != "pods" || !graceful || super::store::node(&old).is_empty() => 0,
        asked => asked.unwrap_or(default_grace),
    };
    if grace_s == 0 && !has_finalizers(&value) {
        store.commit(target, key.clone(), None);
        return Ok((old, true));
    }
    if metadata.get("deletionTimestamp").is_some() && metadata["deletionGracePeriodSeconds"].as_u64() <= Some(grace_s) {
        return Ok((old, false));
    }
    let grace = SignedDuration::from_secs(grace_s.cast_signed());
    value["metadata"]["deletionTimestamp"] = json!(seconds(now.checked_add(grace).unwrap_or(now)));
    value["metadata"]["deletionGracePeriodSeconds"] = json!(grace_s);
    if has_generation(&resource) {
        bump_generation(&mut value);
    }
    let marked = store.commit(target, key.clone(), Some(value)).ok_or_else(|| Status::of_code(500))?;
    Ok((marked, false))
}

/// RFC 7386.
pub(super) fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (name, value) in patch {
        if value.is_null() {
            target.as_object_mut().map(|fields| fields.remove(&name));
        } else {
            merge(&mut target[&name], value);
        }
    }
}

/// The optimistic lock, and that name and uid are those of the object.
fn check_identity(resource: &str, old: &Value, new: &Value, conditional: bool) -> Result<(), Status> {
    let metadata = &new["metadata"];
    let name = old["metadata"]["name"].as_str().unwrap_or_default();
    if metadata["name"].as_str().is_some_and(|named| named != name) {
        return Err(Status::bad_request(format!("the name of the object does not match the name on the URL ({name})")));
    }
    if metadata["uid"].as_str().is_some_and(|uid| !uid.is_empty() && old["metadata"]["uid"] != uid) {
        return Err(Status::conflict(resource, name));
    }
    match metadata["resourceVersion"].as_str() {
        Some(version) if !version.is_empty() && old["metadata"]["resourceVersion"] != version => {
            Err(Status::conflict(resource, name))
        }
        None | Some("") if conditional => {
            Err(Status::invalid(resource, name, "metadata.resourceVersion: must be specified for an update"))
        }
        _ => Ok(()),
    }
}

/// A new object has the status that the server gives it, not the client's.
fn reset_status(resource: &str, value: &mut Value) {
    match resource {
        "pods" => value["status"] = json!({"phase": "Pending", "qosClass": "BestEffort"}),
        "namespaces" => value["status"] = json!({"phase": "Active"}),
        _ if is_workload(resource) => value["status"] = json!({}),
        _ => {}
    }
}

/// Whether the server counts the changes of this resource's spec.
fn has_generation(resource: &str) -> bool {
    resource == "pods" || is_workload(resource)
}

fn is_workload(resource: &str) -> bool {
    matches!(resource.split_once('.'), Some((_, "apps" | "batch")))
}

fn bump_generation(value: &mut Value) {
    let generation = value["metadata"]["generation"].as_u64().unwrap_or(0);
    value["metadata"]["generation"] = json!(generation + 1);
}

fn has_finalizers(value: &Value) -> bool {
    value["metadata"]["finalizers"].as_array().is_some_and(|finalizers| !finalizers.is_empty())
}
