//! From a request to its answer: counted, met by faults, authenticated, authorised, then done.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, DATE, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::Request;
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::Inner;
use super::clock::http_date;
use super::faults::{Asking, Fault};
use super::list::List;
use super::object::{Form, Object};
use super::review;
use super::state::State;
use super::status::Status;
use super::stream;
use super::target::{Query, Target};
use super::write::{self, DeleteOptions, Write};
use crate::listener::{Body, BrokenOff, full};

/// The largest request body, as the real server's.
const BODY_MAX: usize = 3 * 1024 * 1024;

/// What a request is, once read.
pub(super) struct Call {
    pub(super) target: Target,
    pub(super) query: Query,
    pub(super) verb: &'static str,
    pub(super) form: Form,
    pub(super) user: Option<String>,
}

/// Answers one request; an error breaks it off without an answer.
pub(super) async fn handle(server: Arc<Inner>, request: Request<Incoming>) -> Result<Response<Body>, BrokenOff> {
    let mut response = match answer(&server, request).await {
        Ok(response) => response,
        Err(Refused::Status(status)) => refuse(&status),
        Err(Refused::Broken) => return Err(BrokenOff("by a script")),
    };
    let date = http_date(server.clock.now());
    if let Ok(date) = HeaderValue::from_str(&date) {
        response.headers_mut().insert(DATE, date);
    }
    Ok(response)
}

/// Why a request was not done.
enum Refused {
    Status(Status),
    Broken,
}

impl From<Status> for Refused {
    fn from(status: Status) -> Self {
        Self::Status(status)
    }
}

async fn answer(server: &Arc<Inner>, request: Request<Incoming>) -> Result<Response<Body>, Refused> {
    let (parts, body) = request.into_parts();
    let call = read(server, &parts);
    let met = {
        let mut state = server.lock();
        let state = &mut *state;
        let asking = match &call {
            Ok(call) => {
                let (namespace, _) = call.target.key();
                state.asked.count(call.verb, &call.target.counted(), &namespace, &call.query.selector_text());
                (call.verb, call.target.counted(), call.query.selector_text(), call.user.as_deref())
            }
            Err(_) => ("get", parts.uri.path().to_string(), String::new(), None),
        };
        let (verb, resource, selector, user) = &asking;
        state.faults.meet(&Asking { verb, resource, selector, user: *user })
    };
    server.changed();
    match met {
        None => {}
        Some((_, Fault::Status { code, retry_after_s })) => {
            let status = Status::of_code(code);
            return Err(retry_after_s.map_or(status.clone(), |seconds| status.retry_after(seconds)).into());
        }
        Some((_, Fault::Garbage(text))) => return Ok(json_answer(StatusCode::OK, full(text))),
        Some((_, Fault::Reset)) => return Err(Refused::Broken),
        Some((_, Fault::Delay(delay))) => tokio::time::sleep(delay).await,
        Some((id, Fault::BlackHole)) => server.wait(|state| !state.faults.is_set(id)).await,
    }
    match call {
        Err(path) => plain(&path),
        Ok(call) => {
            allowed(server, &call)?;
            perform(server, call, &parts, body).await
        }
    }
}

/// Reads the request line and headers; the error is a path that names no resource.
fn read(server: &Inner, parts: &Parts) -> Result<Call, String> {
    let target = Target::parse(parts.uri.path()).ok_or_else(|| parts.uri.path().to_string())?;
    let query = Query::parse(parts.uri.query());
    let verb = match (&parts.method, &target.name) {
        (&Method::GET, Some(_)) => "get",
        (&Method::GET, None) if query.is_true("watch") => "watch",
        (&Method::GET, None) => "list",
        (&Method::PUT, _) => "update",
        (&Method::PATCH, _) => "patch",
        (&Method::DELETE, Some(_)) => "delete",
        (&Method::DELETE, None) => "deletecollection",
        _ => "create",
    };
    let header = |name| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let accept = header(ACCEPT);
    let form = if accept.contains("as=PartialObjectMetadata") {
        Form::Metadata
    } else if server.options.drop_managed_fields && accept.contains("drop=metadata.managedFields") {
        Form::Lean
    } else {
        Form::Full
    };
    let user = header(AUTHORIZATION)
        .strip_prefix("Bearer ")
        .and_then(|token| server.lock().tokens.bearer(token).map(|identity| identity.username.clone()));
    Ok(Call { target, query, verb, form, user })
}

/// Authentication, then authorisation.
fn allowed(server: &Inner, call: &Call) -> Result<(), Status> {
    if server.options.authenticate && call.user.is_none() {
        return Err(Status::unauthorized());
    }
    let (resource, selector) = (call.target.counted(), call.query.selector_text());
    let user = call.user.as_deref();
    let asking = Asking { verb: call.verb, resource: &resource, selector: &selector, user };
    if server.lock().denied.iter().any(|on| on.meets(&asking)) {
        return Err(review::forbidden(&call.target, call.verb, user));
    }
    Ok(())
}

async fn perform(server: &Arc<Inner>, call: Call, parts: &Parts, body: Incoming) -> Result<Response<Body>, Refused> {
    match call.verb {
        "get" => Ok(get(&mut server.lock(), &call)?),
        "list" => Ok(list(server, &call).await?),
        "watch" => {
            let begun = stream::begin(&mut server.lock(), &call.target, &call.query, call.form)?;
            server.changed();
            let seconds = call.query.get("timeoutSeconds").and_then(|text| text.parse().ok());
            // The real server picks 30 to 60 minutes for who names none.
            let ends = seconds.unwrap_or_else(|| fastrand::u64(1800..3600));
            Ok(json_answer(StatusCode::OK, stream::body(server, begun, Duration::from_secs(ends))))
        }
        _ => {
            let body = read_body(body).await?;
            let answer = change(server, &call, parts, &body);
            server.changed();
            Ok(answer?)
        }
    }
}

async fn read_body(body: Incoming) -> Result<Bytes, Refused> {
    match Limited::new(body, BODY_MAX).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            let message = format!("limit is {BODY_MAX}");
            Err(Status::new(413, "RequestEntityTooLarge", format!("Request entity too large: {message}")).into())
        }
        Err(_) => Err(Refused::Broken),
    }
}

fn get(state: &mut State, call: &Call) -> Result<Response<Body>, Status> {
    let resource = call.target.resource();
    let key = call.target.key();
    match state.store.get(&resource, &key) {
        Some(object) => Ok(object_answer(StatusCode::OK, object, call.form)),
        None => Err(Status::not_found(&resource, &key.1)),
    }
}

async fn list(server: &Arc<Inner>, call: &Call) -> Result<Response<Body>, Status> {
    let list = List::parse(&call.target, &call.query, call.form)?;
    let needs = list.needs();
    if list.visible(&server.lock()) < needs {
        let fresh = server.wait(|state| list.visible(state) >= needs);
        if timeout(server.options.fresh_wait, fresh).await.is_err() {
            return Err(Status::too_large(needs, list.visible(&server.lock())));
        }
    }
    Ok(json_answer(StatusCode::OK, full(list.answer(&mut server.lock())?)))
}

fn change(server: &Inner, call: &Call, parts: &Parts, body: &[u8]) -> Result<Response<Body>, Status> {
    let body: Value = if body.is_empty() {
        json!({})
    } else {
        serde_json::from_slice(body)
            .map_err(|error| Status::bad_request(format!("the object provided is no JSON: {error}")))?
    };
    let now = server.clock.now();
    let mut state = server.lock();
    if call.verb == "create"
        && let Some(answer) = review::create(&mut state, call, &body, now)
    {
        return answer.map(|object| json_answer(StatusCode::CREATED, full(object.to_string())));
    }
    let store = &mut state.store;
    let name = call.target.name.as_deref().unwrap_or_default();
    let (code, object) = match call.verb {
        "create" if call.target.name.is_none() => (StatusCode::CREATED, write::create(store, &call.target, body, now)?),
        "update" if is_lease_to_create(store.get(&call.target.resource(), &call.target.key()), call) => {
            (StatusCode::CREATED, write::create(store, &call.target, body, now)?)
        }
        "update" => (StatusCode::OK, write::update(store, &call.target, name, Write::Replace(body))?),
        "patch" => (StatusCode::OK, write::update(store, &call.target, name, merge_patch(parts, body)?)?),
        "delete" => return delete(&mut state, call, &body, now),
        "deletecollection" => return delete_all(&mut state, call, &body, now),
        _ => {
            return Err(Status::new(
                405,
                "MethodNotAllowed",
                "the server does not allow this method on the requested resource",
            ));
        }
    };
    Ok(object_answer(code, &object, call.form))
}

/// The one kind of patch that is understood here.
fn merge_patch(parts: &Parts, body: Value) -> Result<Write, Status> {
    if parts.headers.get(CONTENT_TYPE).is_some_and(|kind| kind == "application/merge-patch+json") {
        return Ok(Write::Merge(body));
    }
    let message = "the simulated apiserver understands only application/merge-patch+json";
    Err(Status::new(415, "UnsupportedMediaType", message))
}

/// Leases alone can be created by a PUT.
fn is_lease_to_create(existing: Option<&Arc<Object>>, call: &Call) -> bool {
    existing.is_none() && call.target.plural == "leases" && call.target.subresource.is_none()
}

fn delete_options(call: &Call, body: &Value) -> DeleteOptions {
    let text = |value: &Value| value.as_str().map(ToString::to_string);
    DeleteOptions {
        grace_s: call
            .query
            .get("gracePeriodSeconds")
            .and_then(|text| text.parse().ok())
            .or_else(|| body["gracePeriodSeconds"].as_u64()),
        uid: text(&body["preconditions"]["uid"]),
        version: text(&body["preconditions"]["resourceVersion"]),
    }
}

fn delete(state: &mut State, call: &Call, body: &Value, now: jiff::Timestamp) -> Result<Response<Body>, Status> {
    let (options, key, graceful) = (delete_options(call, body), call.target.key(), state.graceful_deletion);
    let (object, gone) = write::delete(&mut state.store, &call.target, &key, &options, graceful, now)?;
    if !gone || call.target.plural == "pods" {
        return Ok(object_answer(StatusCode::OK, &object, call.form));
    }
    let details = json!({"name": key.1, "kind": call.target.plural, "uid": object.value()["metadata"]["uid"]});
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details,
    });
    Ok(json_answer(StatusCode::OK, full(status.to_string())))
}

fn delete_all(state: &mut State, call: &Call, body: &Value, now: jiff::Timestamp) -> Result<Response<Body>, Status> {
    let list = List::parse(&call.target, &call.query, call.form)?;
    let answer = list.answer(state)?;
    let (options, graceful) = (delete_options(call, body), state.graceful_deletion);
    for key in list.keys(state) {
        let target =
            Target { namespace: Some(key.0.clone()).filter(|namespace| !namespace.is_empty()), ..call.target.clone() };
        write::delete(&mut state.store, &target, &key, &options, graceful, now)?;
    }
    Ok(json_answer(StatusCode::OK, full(answer)))
}

/// The few paths that are no resources.
fn plain(path: &str) -> Result<Response<Body>, Refused> {
    match path.trim_end_matches('/') {
        "/version" => {
            let version = json!({
                "major": "1", "minor": "36", "gitVersion": "v1.36.3", "gitCommit": "0000000000000000000000000000000000000000",
                "gitTreeState": "clean", "buildDate": "2026-01-01T00:00:00Z", "goVersion": "go1.26.0", "compiler": "gc",
                "platform": "linux/amd64",
            });
            Ok(json_answer(StatusCode::OK, full(version.to_string())))
        }
        "/livez" | "/readyz" | "/healthz" => Ok(Response::new(full("ok"))),
        _ => Err(Status::new(404, "NotFound", "the server could not find the requested resource").into()),
    }
}

fn refuse(status: &Status) -> Response<Body> {
    let mut response = json_answer(status.http(), full(status.json().to_string()));
    if let Some(seconds) = status.retry_after_s {
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    response
}

fn object_answer(code: StatusCode, object: &Object, form: Form) -> Response<Body> {
    let mut body = Vec::new();
    object.write(form, &mut body);
    body.push(b'\n');
    json_answer(code, full(body))
}

fn json_answer(code: StatusCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
