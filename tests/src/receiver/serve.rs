//! From a request to its record and its answer.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, LOCATION, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::Request;
use hyper::body::Incoming;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::answer::Answer;
use super::{Inner, REQUESTS_MAX, Received, State};
use crate::listener::{Body, BrokenOff, full};

/// The largest body that is read.
const BODY_MAX: usize = 32 * 1024 * 1024;

/// Records and answers one request; an error breaks it off without an answer.
pub(super) async fn serve(server: Arc<Inner>, request: Request<Incoming>) -> Result<Response<Body>, BrokenOff> {
    let (parts, body) = request.into_parts();
    let mut received = Received {
        number: 0,
        at: Timestamp::now(),
        method: parts.method,
        path: parts.uri.path_and_query().map_or_else(String::new, ToString::to_string),
        headers: parts.headers,
        json: Value::Null,
        body: Bytes::new(),
        status: None,
    };
    // An answer that comes before the body must be chosen before it is read.
    let chosen = { server.lock().next.pop_front() };
    if is_cut_before_body(&server, chosen.as_ref()) {
        record(&server, received);
        return Err(BrokenOff("before the body"));
    }
    received.body = Limited::new(body, BODY_MAX).collect().await.map_err(|_| BrokenOff("by the client"))?.to_bytes();
    received.json = serde_json::from_slice(&received.body).unwrap_or_default();
    received.at = Timestamp::now();
    let number = record(&server, received.clone());
    let code = answer(&server, &received, chosen).await?;
    if let Some(kept) = server.lock().received.iter_mut().rev().find(|kept| kept.number == number) {
        kept.status = Some(code.status().as_u16());
    }
    server.changes.send_replace(());
    Ok(code)
}

fn is_cut_before_body(server: &Inner, chosen: Option<&Answer>) -> bool {
    match chosen {
        Some(answer) => matches!(answer, Answer::CutBeforeBody),
        None => matches!(server.lock().always, Answer::CutBeforeBody),
    }
}

/// Keeps a request and gives it its number.
fn record(server: &Inner, mut received: Received) -> u64 {
    let mut state = server.lock();
    let number = state.count;
    state.count += 1;
    received.number = number;
    if state.received.len() < REQUESTS_MAX {
        state.received.push(received);
    }
    drop(state);
    server.changes.send_replace(());
    number
}

/// Follows delays and hangs until there is something to say.
async fn answer(server: &Inner, received: &Received, chosen: Option<Answer>) -> Result<Response<Body>, BrokenOff> {
    let mut answer = chosen.unwrap_or_else(|| usual(&server.lock(), received));
    loop {
        answer = match answer {
            Answer::Status { code, retry_after, location, body } => return response(code, retry_after, location, body),
            Answer::CutBeforeBody | Answer::CutAfterBody => return Err(BrokenOff("after the body")),
            Answer::Delay(delay, then) => {
                tokio::time::sleep(delay).await;
                *then
            }
            Answer::Hang => {
                let mut changes = server.changes.subscribe();
                let hung = server.lock().generation;
                while server.lock().generation == hung {
                    changes.changed().await.map_err(|_| BrokenOff("the receiver ended"))?;
                }
                usual(&server.lock(), received)
            }
        };
    }
}

/// The answer of no request in particular: the token first, then the judge, then the one for all.
fn usual(state: &State, received: &Received) -> Answer {
    if state.token.is_some() && state.token.as_deref() != received.token() {
        return Answer::json(401, json!({"error": "invalid or revoked token"}));
    }
    let judged = state.judge.as_ref().and_then(|judge| judge(received));
    judged.unwrap_or_else(|| state.always.clone())
}

fn response(
    code: u16,
    retry_after: Option<String>,
    location: Option<String>,
    body: Option<Value>,
) -> Result<Response<Body>, BrokenOff> {
    let mut response = Response::new(full(body.unwrap_or_else(|| json!({})).to_string()));
    *response.status_mut() = StatusCode::from_u16(code).map_err(|_| BrokenOff("no such status"))?;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(value) = retry_after {
        headers.insert(RETRY_AFTER, header(&value)?);
    }
    if let Some(value) = location {
        headers.insert(LOCATION, header(&value)?);
    }
    Ok(response)
}

fn header(value: &str) -> Result<HeaderValue, BrokenOff> {
    HeaderValue::from_str(value).map_err(|_| BrokenOff("no such header value"))
}
