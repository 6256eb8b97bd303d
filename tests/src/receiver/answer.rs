//! What a receiver can answer.

use std::time::Duration;

use serde_json::Value;

/// An answer to one request.
#[derive(Clone, Debug)]
pub enum Answer {
    /// An HTTP status, with what goes with it.
    Status {
        /// The HTTP status.
        code: u16,
        /// The header `Retry-After`: seconds, or anything else a server might send.
        retry_after: Option<String>,
        /// The header `Location`.
        location: Option<String>,
        /// The body; none is `{}`.
        body: Option<Value>,
    },
    /// Another answer, later.
    Delay(Duration, Box<Answer>),
    /// The connection breaks off before the body is read.
    CutBeforeBody,
    /// The body is read, then the connection breaks off: accepted or not, the sender cannot know.
    CutAfterBody,
    /// Nothing, until the receiver is told to answer otherwise.
    Hang,
}

impl Answer {
    /// An HTTP status alone.
    pub fn status(code: u16) -> Self {
        Self::Status { code, retry_after: None, location: None, body: None }
    }

    /// An HTTP status with `Retry-After` in seconds.
    pub fn retry_after(code: u16, seconds: u64) -> Self {
        Self::Status { code, retry_after: Some(seconds.to_string()), location: None, body: None }
    }

    /// A redirect.
    pub fn redirect(location: &str) -> Self {
        Self::Status { code: 307, retry_after: None, location: Some(location.to_string()), body: None }
    }

    /// An HTTP status with a JSON body.
    pub fn json(code: u16, body: Value) -> Self {
        Self::Status { code, retry_after: None, location: None, body: Some(body) }
    }

    /// This answer, later.
    #[must_use]
    pub fn after(self, delay: Duration) -> Self {
        Self::Delay(delay, Box::new(self))
    }
}
