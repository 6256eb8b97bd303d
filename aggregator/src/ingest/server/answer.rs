//! Replies as HTTP: the status mirrors what the body says, so that proxies and people see it too. Pure.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use wire::codec::Message;
use wire::{Reply, SessionReply};

/// A reply, and how it looks outside of its body.
#[derive(Debug)]
pub(super) struct Answer<M> {
    pub(super) status: StatusCode,
    /// For the metric.
    pub(super) label: &'static str,
    pub(super) reply: M,
}

/// What an agent hears that is not let in for the moment.
pub(super) trait Busy: Message {
    /// How long it is to wait, in milliseconds; `None` when it is not to wait.
    fn busy_ms(&self) -> Option<u32>;
}

impl Busy for SessionReply {
    fn busy_ms(&self) -> Option<u32> {
        if let Self::Busy(ms) = self { Some(*ms) } else { None }
    }
}

impl Busy for Reply {
    fn busy_ms(&self) -> Option<u32> {
        match self {
            Self::Busy(ms) => Some(*ms),
            _ => None,
        }
    }
}

impl From<SessionReply> for Answer<SessionReply> {
    fn from(reply: SessionReply) -> Self {
        let (status, label) = match &reply {
            SessionReply::Welcome(_) => (StatusCode::OK, "welcome"),
            SessionReply::NoCommonVersion(_) => (StatusCode::NOT_ACCEPTABLE, "no_common_version"),
            SessionReply::NotLeader(_) => (StatusCode::MISDIRECTED_REQUEST, "not_leader"),
            SessionReply::Refused(_) => (StatusCode::FORBIDDEN, "refused"),
            SessionReply::Busy(_) => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
        };
        Self { status, label, reply }
    }
}

impl From<Reply> for Answer<Reply> {
    fn from(reply: Reply) -> Self {
        let (status, label) = match &reply {
            Reply::Answer(_) => (StatusCode::OK, "answer"),
            Reply::UnknownSession => (StatusCode::GONE, "unknown_session"),
            Reply::Retired => (StatusCode::CONFLICT, "retired"),
            Reply::NotLeader(_) => (StatusCode::MISDIRECTED_REQUEST, "not_leader"),
            Reply::Malformed(_) => (StatusCode::BAD_REQUEST, "malformed"),
            Reply::Busy(_) => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
        };
        Self { status, label, reply }
    }
}

impl Answer<SessionReply> {
    /// The response.
    pub(super) fn response(&self) -> Response<Full<Bytes>> {
        self.response_in(SessionReply::VERSIONS[0])
    }
}

impl Answer<Reply> {
    /// The response to who may speak any version: the status alone, which all of them understand.
    pub(super) fn bare(&self) -> Response<Full<Bytes>> {
        let why = if let Reply::Malformed(why) = &self.reply { why } else { self.label };
        self.with_pause(plain(self.status, why))
    }
}

impl<M: Busy> Answer<M> {
    /// The same with a status that says more.
    pub(super) fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// The response in that version of the format.
    pub(super) fn response_in(&self, version: u16) -> Response<Full<Bytes>> {
        let body = match wire::encode_in(version, &self.reply) {
            Ok(body) => body,
            Err(error) => return plain(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        };
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = self.status;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(wire::CONTENT_TYPE));
        self.with_pause(response)
    }

    /// `response` says how long the agent is to wait, if it is to.
    fn with_pause(&self, mut response: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
        if let Some(ms) = self.reply.busy_ms() {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(ms.div_ceil(1_000)));
        }
        response
    }
}

/// A response for people, to what is no request of the contract.
pub(super) fn plain(status: StatusCode, text: impl Into<String>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text.into() + "\n")));
    *response.status_mut() = status;
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, text);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check<M: Busy>(reply: M, status: u16, label: &str, retry_after: Option<&str>)
    where
        Answer<M>: From<M>,
    {
        let answer = Answer::from(reply);
        let response = answer.response_in(M::VERSIONS[0]);
        assert_eq!((response.status().as_u16(), answer.label), (status, label));
        let header = response.headers().get(header::RETRY_AFTER).map(|value| value.to_str().expect("digits"));
        assert_eq!(header, retry_after);
        assert_eq!(response.headers()[header::CONTENT_TYPE], wire::CONTENT_TYPE);
    }

    #[test]
    fn every_reply_has_its_status() {
        check(SessionReply::NoCommonVersion(vec![1]), 406, "no_common_version", None);
        check(SessionReply::NotLeader(String::new()), 421, "not_leader", None);
        check(SessionReply::Refused(String::new()), 403, "refused", None);
        check(SessionReply::Busy(1_001), 503, "busy", Some("2"));
        check(Reply::UnknownSession, 410, "unknown_session", None);
        check(Reply::Retired, 409, "retired", None);
        check(Reply::NotLeader(String::new()), 421, "not_leader", None);
        check(Reply::Malformed(String::new()), 400, "malformed", None);
        check(Reply::Busy(1), 503, "busy", Some("1"));
    }
}
