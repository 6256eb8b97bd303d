//! Why a LIST or WATCH failed, in the terms that the next step depends on. Pure.

use std::time::Duration;

use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use thiserror::Error;

/// A server's message is shown up to this length; it may repeat text that users wrote.
const MESSAGE_CHARS_MAX: usize = 200;

/// Why a LIST or WATCH failed. Its text is one line for logs and `/readyz`.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Failure {
    /// 410, as a status or inside the stream: the version is compacted away.
    #[error("410: the version is too old, listing again")]
    Gone,
    /// 504 "Too large resource version": the server has not reached that version yet, or was restored from a backup.
    #[error("504: the server is behind the version last seen")]
    Behind,
    /// 429 or 503: the server asks for patience.
    #[error("{status}: the server is busy: {message}")]
    Busy {
        /// The HTTP status.
        status: u16,
        /// The wait that it asks for, if it says so.
        retry_after: Option<Duration>,
        /// The server's words.
        message: String,
    },
    /// 401 or 403.
    #[error("{status}: not allowed, check the token and that its role grants list and watch: {message}")]
    Denied {
        /// The HTTP status.
        status: u16,
        /// The server's words.
        message: String,
    },
    /// Any other status that is no success.
    #[error("{status}: {message}")]
    Status {
        /// The HTTP status.
        status: u16,
        /// The server's words.
        message: String,
    },
    /// The connection failed or was cut.
    #[error("connection failed: {0}")]
    Connection(String),
    /// Not a byte for too long: the connection may be dead.
    #[error("nothing was heard for too long")]
    Silent,
    /// The answer is none, or larger than allowed.
    #[error("unusable answer: {0}")]
    Unusable(String),
}

/// The parts of `metav1.Status` that say why.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Status {
    code: Option<u16>,
    message: Option<String>,
    reason: Option<String>,
    details: Option<Details>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Details {
    retry_after_seconds: Option<u64>,
    causes: Option<Vec<Cause>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Cause {
    reason: Option<String>,
}

impl Failure {
    /// From an HTTP answer that is no success. `body` is a `metav1.Status`, or whatever a proxy wrote.
    pub(super) fn from_answer(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let said = serde_json::from_slice::<Status>(body).unwrap_or_else(|_| Status {
            message: Some(String::from_utf8_lossy(body).into_owned()),
            ..Status::default()
        });
        // Dates are not read (RFC 9110 §10.2.3 allows them): the API server writes seconds.
        let retry_after = headers
            .get(header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.trim().parse().ok())
            .map(Duration::from_secs);
        Self::new(status.as_u16(), said, retry_after)
    }

    /// From the object of an `ERROR` event inside a watch.
    pub(super) fn from_event(status: Status) -> Self {
        let code = status.code.unwrap_or(match status.reason.as_deref() {
            Some("Expired" | "Gone") => 410,
            _ => 500,
        });
        Self::new(code, status, None)
    }

    fn new(status: u16, said: Status, retry_after: Option<Duration>) -> Self {
        let details = said.details.unwrap_or_default();
        let retry_after = retry_after.or(details.retry_after_seconds.map(Duration::from_secs));
        let message = one_line(said.message.as_deref().or(said.reason.as_deref()).unwrap_or_default());
        let causes = details.causes.unwrap_or_default();
        let behind = causes.iter().any(|cause| cause.reason.as_deref() == Some("ResourceVersionTooLarge"))
            || message.contains("Too large resource version");
        match status {
            410 => Self::Gone,
            504 if behind => Self::Behind,
            429 | 503 => Self::Busy { status, retry_after, message },
            401 | 403 => Self::Denied { status, message },
            _ => Self::Status { status, message },
        }
    }

    /// A closed set of names, for metric labels.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Behind => "behind",
            Self::Busy { .. } => "busy",
            Self::Denied { .. } => "denied",
            Self::Status { .. } => "status",
            Self::Connection(_) => "connection",
            Self::Silent => "silent",
            Self::Unusable(_) => "unusable",
        }
    }
}

/// A short single line without control characters.
pub(crate) fn one_line(text: &str) -> String {
    text.trim().chars().take(MESSAGE_CHARS_MAX).map(|char| if char.is_control() { ' ' } else { char }).collect()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn answered(status: u16, body: &str) -> Failure {
        Failure::from_answer(StatusCode::from_u16(status).expect("a status"), &HeaderMap::new(), body.as_bytes())
    }

    #[test]
    fn a_server_that_is_behind_is_told_from_a_gateway_that_times_out() {
        let by_cause = r#"{"kind":"Status","code":504,"reason":"Timeout","message":"x",
            "details":{"causes":[{"reason":"ResourceVersionTooLarge"}],"retryAfterSeconds":1}}"#;
        let by_text = r#"{"code":504,"message":"Timeout: Too large resource version: 99, current: 7"}"#;
        assert_eq!(answered(504, by_cause), Failure::Behind);
        assert_eq!(answered(504, by_text), Failure::Behind);
        assert_eq!(answered(504, "<html>").label(), "status");
    }

    #[test]
    fn the_wait_asked_for_is_read_from_the_header_or_the_body() {
        let headers = HeaderMap::from_iter([(header::RETRY_AFTER, HeaderValue::from_static("7"))]);
        let busy = |failure| match failure {
            Failure::Busy { retry_after, .. } => retry_after,
            other => panic!("not busy: {other}"),
        };
        let throttled = Failure::from_answer(StatusCode::TOO_MANY_REQUESTS, &headers, b"");
        assert_eq!(busy(throttled), Some(Duration::from_secs(7)));
        assert_eq!(busy(answered(503, r#"{"details":{"retryAfterSeconds":3}}"#)), Some(Duration::from_secs(3)));
        assert_eq!(busy(answered(503, "")), None);
    }

    #[test]
    fn an_error_event_is_judged_like_a_status() {
        let event = |body| Failure::from_event(serde_json::from_str(body).expect("a Status"));
        assert_eq!(event(r#"{"code":410,"reason":"Expired"}"#), Failure::Gone);
        assert_eq!(event(r#"{"reason":"Expired"}"#), Failure::Gone);
        assert_eq!(event(r#"{"code":403,"message":"no"}"#).label(), "denied");
        assert_eq!(event("{}").label(), "status");
    }

    #[test]
    fn a_message_is_one_short_line_whatever_was_sent() {
        let text = answered(500, &format!("a\nb\u{1b}[31m{}", "x".repeat(10_000))).to_string();
        assert!(text.starts_with("500: a b [31mx") && text.chars().count() < 220, "{text}");
        assert!(answered(403, r#"{"message":"pods is forbidden"}"#).to_string().contains("grants list and watch"));
    }
}
