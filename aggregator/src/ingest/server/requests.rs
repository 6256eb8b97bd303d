//! The two requests of the contract. Decoding and encoding happen outside of the pipeline's lock, taking in inside, and
//! the reply is made in the same breath: there is no queue.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use ring::rand::SecureRandom as _;
use wire::codec::{self, DecodeError, HEADER, LIMIT};
use wire::{Hello, REPORT_PATH, Reply, Report, SESSION_PATH, SessionId, SessionReply, Welcome, millis};

use super::Shared;
use super::answer::{Answer, plain};
use super::body::{Unread, begin};
use super::connection::Peer;
use super::node::NodeLimit;
use crate::config::{Agents, Config, Coverage};
use crate::core::Core;
use crate::ingest::identity::{Admission, Refusal};
use crate::leader::Elsewhere;

/// A `Hello` names versions and kinds: far less than that.
const HELLO_BYTES_MAX: usize = 64 * 1024;
/// When the API server or our own random source fails, again after that.
const UNAVAILABLE_PAUSE: Duration = Duration::from_secs(5);
/// When there is no place for another agent's connection, again after that.
const CROWDED_PAUSE: Duration = Duration::from_secs(30);
/// When a body did not come in time, again after that.
const LATE_PAUSE: Duration = Duration::from_secs(1);

/// Answers one request of `peer`.
pub(super) async fn answer(shared: &Shared, peer: &Peer, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let response = match request.uri().path() {
        SESSION_PATH | REPORT_PATH if request.method() != Method::POST => {
            shared.counts.request("none", "method");
            let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "POST only");
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
            response
        }
        SESSION_PATH | REPORT_PATH if !is_ours(request.headers()) => {
            shared.counts.request("none", "content_type");
            plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("the content type must be {}", wire::CONTENT_TYPE))
        }
        SESSION_PATH => {
            let answer = session(shared, peer, request).await;
            shared.counts.request("session", answer.label);
            answer.response()
        }
        REPORT_PATH => {
            let (answer, version) = report(shared, peer, request.into_body()).await;
            shared.counts.request("report", answer.label);
            tracing::debug!(target: "ingest", answer = answer.label, "report_answered");
            version.map_or_else(|| answer.bare(), |version| answer.response_in(version))
        }
        _ => {
            shared.counts.request("none", "not_found");
            plain(StatusCode::NOT_FOUND, format!("here are {SESSION_PATH} and {REPORT_PATH}"))
        }
    };
    peer.was_answered(shared.clock.mark());
    response
}

async fn session(shared: &Shared, peer: &Peer, request: Request<Incoming>) -> Answer<SessionReply> {
    let core = match shared.office.core_for_agents() {
        Ok(core) => core,
        // Without a look at the token: whoever comes is told the same.
        Err(elsewhere) => return SessionReply::NotLeader(elsewhere.address.to_string()).into(),
    };
    let Config { coverage, agents, .. } = &*Arc::clone(&shared.config.borrow());
    if *coverage != Coverage::Agents {
        let why = "agents are turned off: the aggregator watches pods itself (agents.enabled)";
        return Answer::from(SessionReply::Refused(why.to_owned())).with_status(StatusCode::FORBIDDEN);
    }
    let (parts, body) = request.into_parts();
    let node = match shared.identity.admit(agents, token(&parts.headers)).await {
        Admission::Admitted(node) => node,
        Admission::Refused(refusal) => return refuse(shared, agents, &refusal),
        Admission::Unavailable(why) => {
            if let Some(times) = shared.unavailable.tell(shared.clock.mark()) {
                tracing::warn!(target: "ingest", times, why, "tokens_not_reviewed");
            }
            return SessionReply::Busy(millis(UNAVAILABLE_PAUSE)).into();
        }
    };
    let limit = shared.nodes.of(&node, shared.clock.now());
    if let Err(pause) = limit.on_request(shared.clock.now()) {
        return SessionReply::Busy(millis(pause)).into();
    }
    let whole = shared.room.read(body, Vec::new(), HELLO_BYTES_MAX);
    let whole = match tokio::time::timeout(shared.limits.body_timeout, whole).await.unwrap_or(Err(Unread::Late)) {
        Ok(whole) => whole,
        Err(Unread::Late) => return SessionReply::Busy(millis(LATE_PAUSE)).into(),
        Err(unread) => {
            let answer = Answer::from(SessionReply::Refused(unread.to_string()));
            return answer.with_status(unread.status());
        }
    };
    let hello: Hello = match wire::decode(&whole.bytes) {
        Ok(hello) => hello,
        Err(error) => {
            return Answer::from(SessionReply::Refused(error.to_string())).with_status(StatusCode::BAD_REQUEST);
        }
    };
    let Some(session) = session_id(shared) else {
        return SessionReply::Busy(millis(UNAVAILABLE_PAUSE)).into();
    };
    if !peer.becomes(&limit) {
        return SessionReply::Busy(millis(CROWDED_PAUSE)).into();
    }
    let reply = core.with(|pipeline, now| pipeline.on_hello(&node, &hello, session, now));
    if let SessionReply::Welcome(Welcome { version, .. }) = reply {
        tracing::debug!(target: "ingest", node = &*node, version, "session_opened");
    }
    reply.into()
}

/// The answer, and the version that it is to be in; `None` where the report has not come so far that its own is known.
async fn report(shared: &Shared, peer: &Peer, body: Incoming) -> (Answer<Reply>, Option<u16>) {
    let mut version = None;
    let read = tokio::time::timeout(shared.limits.body_timeout, read_report(shared, peer, body, &mut version));
    let answer = match read.await.unwrap_or_else(|_| Err(Unread::Late.into())) {
        Ok((core, report)) => core.with(|pipeline, now| pipeline.on_report(report, now)).into(),
        Err(answer) => answer,
    };
    (answer, version)
}

/// Reads a report, or says why not; `version` becomes the one that it is in, and so the reply. Its session is looked up as
/// soon as its name is there: of a report that belongs to none, nothing further is read.
async fn read_report<'a>(
    shared: &'a Shared,
    peer: &Peer,
    mut body: Incoming,
    version: &mut Option<u16>,
) -> Result<(&'a Core, Report), Answer<Reply>> {
    let begun = begin(&mut body, codec::REPORT_HEAD).await?;
    // Who reports in a version that came after this build speaks the newest one of it, too.
    let spoken = |theirs| if wire::VERSIONS.contains(&theirs) { theirs } else { wire::VERSION };
    *version = codec::version_of_report(&begun).map(spoken);
    let elsewhere = |elsewhere: Elsewhere| Reply::NotLeader(elsewhere.address.to_string());
    let core = shared.office.core_for_agents().map_err(elsewhere)?;
    if let Some(limit) = peer.node() {
        limit.on_request(shared.clock.now()).map_err(busy)?;
    }
    let session = codec::session_of_report(&begun).map_err(|error| unreadable(&error))?;
    let limit = limit_of(shared, core, session)?;
    if peer.node().is_none() {
        // A session that began on another connection: knowing its name proves whose it is.
        limit.on_request(shared.clock.now()).map_err(busy)?;
        if !peer.becomes(&limit) {
            return Err(busy(CROWDED_PAUSE));
        }
    }
    let whole = shared.room.read(body, begun, HEADER + LIMIT).await?;
    limit.on_body(whole.bytes.len(), shared.clock.now());
    Ok((core, wire::decode(&whole.bytes).map_err(|error| unreadable(&error))?))
}

/// The allowance of the node whose agent opened `session`.
fn limit_of(shared: &Shared, core: &Core, session: SessionId) -> Result<Arc<NodeLimit>, Reply> {
    let (node, now) = core.quietly(|pipeline, now| (pipeline.sessions().node_of(session).cloned(), now));
    Ok(shared.nodes.of(&node?, now))
}

fn busy(pause: Duration) -> Answer<Reply> {
    Reply::Busy(millis(pause)).into()
}

fn unreadable(error: &DecodeError) -> Answer<Reply> {
    match error {
        // No session here is in it, but one was with a newer aggregator before it was rolled back: the agent opens another,
        // in a version that both speak.
        DecodeError::Version(_) => Reply::UnknownSession,
        error => Reply::Malformed(error.to_string()),
    }
    .into()
}

impl From<Unread> for Answer<Reply> {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::Late => busy(LATE_PAUSE),
            unread => Self::from(Reply::Malformed(unread.to_string())).with_status(unread.status()),
        }
    }
}

fn refuse(shared: &Shared, agents: &Agents, refusal: &Refusal) -> Answer<SessionReply> {
    let why = refusal.to_string();
    if let Some(times) = shared.refused.tell(shared.clock.mark()) {
        let account = &agents.service_account;
        let admitted = format!("{}/{}", account.namespace, account.name);
        tracing::warn!(target: "ingest", times, why, admitted, "agent_refused");
    }
    let status = match refusal {
        Refusal::NoToken | Refusal::Unknown(_) => StatusCode::UNAUTHORIZED,
        _ => StatusCode::FORBIDDEN,
    };
    Answer::from(SessionReply::Refused(why)).with_status(status)
}

/// A name that nobody can guess.
fn session_id(shared: &Shared) -> Option<SessionId> {
    let mut bytes = [0; 16];
    shared.random.fill(&mut bytes).ok()?;
    Some(SessionId(u128::from_le_bytes(bytes)))
}

/// The bearer token; empty when there is none.
fn token(headers: &HeaderMap) -> &str {
    let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
        _ => "",
    }
}

fn is_ours(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|value| value == wire::CONTENT_TYPE)
}
