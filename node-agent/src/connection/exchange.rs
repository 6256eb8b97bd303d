//! One request and its answer.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use process::file;
use tokio::time::timeout;
use wire::codec::{HEADER, LIMIT, Message};
use wire::{EncodeError, Reply, SessionReply};

use super::dial::Link;
use super::{Connection, Dialer, Done, Event, Failure, Settings};
use crate::report::Target;

/// From the first byte of the request to the last of the answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// Projected tokens have some 1,500 bytes.
const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// The pause when a busy server names none, in milliseconds.
const BUSY_MS: u32 = 5_000;

/// What the aggregator answers. Its own words are always a message; a bare status is something else's on the way.
pub(super) trait Answer: Message + Send + 'static {
    /// The answer that a bare status stands for; `None` when it stands for none.
    fn of_status(status: StatusCode, retry_after_ms: u32) -> Option<Self>;
}

impl Answer for SessionReply {
    fn of_status(status: StatusCode, retry_after_ms: u32) -> Option<Self> {
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Some(Self::Refused(format!("HTTP {status}"))),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Some(Self::Busy(retry_after_ms)),
            _ => None,
        }
    }
}

impl Answer for Reply {
    fn of_status(status: StatusCode, retry_after_ms: u32) -> Option<Self> {
        let is_busy = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
        is_busy.then_some(Self::Busy(retry_after_ms))
    }
}

impl Connection {
    /// Begins an exchange; its end is an event. `with_token`: the request proves who we are.
    pub(super) fn exchange<A: Answer>(
        &mut self,
        path: &'static str,
        with_token: bool,
        message: Result<Vec<u8>, EncodeError>,
        to: &Target,
        event: fn(A) -> Event,
    ) {
        let (dialer, link, to) = (Arc::clone(&self.dialer), self.link.take(), to.clone());
        let request =
            message.map_err(Failure::from).and_then(|body| request_of(&dialer.settings, path, with_token, body));
        let exchange = async move { dialer.ask(link, to, request?).await };
        let done = exchange.map(move |outcome| match outcome {
            Ok((answer, link)) => Done { event: event(answer), link: Some(link) },
            Err(failure) => Done { event: Event::Failed(failure), link: None },
        });
        self.under_way = Some(done.boxed());
    }
}

impl Dialer {
    async fn ask<A: Answer>(
        &self,
        link: Option<Link>,
        to: Target,
        request: Request<Full<Bytes>>,
    ) -> Result<(A, Link), Failure> {
        let mut link = self.link(link, to).await?;
        let answer = async { read(link.sender.send_request(request).await?).await };
        let answer = timeout(ANSWER_TIMEOUT, answer).await.map_err(|_| Failure::Late("answer"))??;
        Ok((answer, link))
    }
}

fn request_of(
    settings: &Settings,
    path: &'static str,
    with_token: bool,
    body: Vec<u8>,
) -> Result<Request<Full<Bytes>>, Failure> {
    let uri = format!("https://{}{path}", settings.address);
    let mut request = Request::post(uri).header(header::CONTENT_TYPE, wire::CONTENT_TYPE);
    if with_token {
        request = request.header(header::AUTHORIZATION, authorization(&settings.token_file)?);
    }
    Ok(request.body(Full::new(body.into())).expect("the address was checked to be host and port at the start"))
}

/// `Bearer` and the token as the file holds it now.
pub(crate) fn authorization(path: &Path) -> Result<HeaderValue, Failure> {
    let problem = |problem: String| Failure::Token { path: path.to_owned(), problem };
    let token = file::read_blocking(path, TOKEN_BYTES_MAX).map_err(|error| problem(error.to_string()))?;
    let token = std::str::from_utf8(&token).map_err(|_| problem("it is not UTF-8 text".into()))?.trim();
    if token.is_empty() {
        return Err(problem("it is empty".into()));
    }
    let mut value = HeaderValue::try_from(format!("Bearer {token}"))
        .map_err(|_| problem("it holds characters that no token has".into()))?;
    value.set_sensitive(true);
    Ok(value)
}

async fn read<A: Answer>(response: Response<Incoming>) -> Result<A, Failure> {
    let (parts, body) = response.into_parts();
    if parts.headers.get(header::CONTENT_TYPE).is_none_or(|value| value != wire::CONTENT_TYPE) {
        let retry_after = parts.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let retry_after_ms = retry_after.map_or(BUSY_MS, |seconds: u32| seconds.saturating_mul(1_000));
        return A::of_status(parts.status, retry_after_ms).ok_or(Failure::Status(parts.status));
    }
    let body =
        Limited::new(body, HEADER + LIMIT).collect().await.map_err(|error| match error.downcast::<hyper::Error>() {
            Ok(error) => Failure::Http(*error),
            Err(error) => {
                debug_assert!(error.is::<LengthLimitError>());
                Failure::TooLong
            }
        })?;
    Ok(wire::decode(&body.to_bytes())?)
}
