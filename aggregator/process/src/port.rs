//! A port of plain HTTP/1 for those who look: probes, scrapers, people. What there is to see is its owner's ([`Pages`]).
//!
//! It answers GET and HEAD, reads no bodies, and bounds headers, idle time, a connection's life and their number: whoever
//! can reach the pod can reach its ports.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::clock::Clock;
use crate::tasks::{Stage, Tasks};

/// What a port shows.
pub trait Pages: Clone + Send + Sync + 'static {
    /// What is there, for those who look elsewhere.
    const HERE: &'static str;

    /// The page at a path, for a request with these headers; `None` when there is none.
    fn page(&self, path: &str, headers: &HeaderMap) -> Option<Response<Full<Bytes>>>;

    /// Says why there is no page for a request.
    fn refusal(status: StatusCode, why: &'static str) -> Response<Full<Bytes>>;
}

/// Those who look are few; more than this waits in the listener's backlog.
const CONNECTIONS_MAX: usize = 64;
/// For a request's headers, and between two requests.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Then a connection takes no further request, and what it still sends has a moment to end.
const CONNECTION_LIFE: Duration = Duration::from_mins(5);
const LAST_ANSWER: Duration = Duration::from_secs(10);
/// hyper's smallest; headers of a probe are a few hundred bytes.
const HEADER_BYTES_MAX: usize = 8 * 1024;
const HEADERS_MAX: usize = 64;
/// After an accept that failed for want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Binds `addr`; port 0 takes any.
pub async fn bind(addr: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(addr).await.with_context(|| format!("cannot listen on {addr}"))
}

/// The next connection, and where it comes from; an accept that fails is tried again after a moment of `clock`.
/// Cancel-safe.
pub async fn accept(listener: &TcpListener, clock: &Clock) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) => {
                tracing::debug!(target: "process", %error, "accept_failed");
                clock.sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Shows `pages` until it is dropped; its connections are tasks of that name. Spawn it as [`Stage::Background`]: those who
/// look are answered to the end.
pub async fn serve(
    listener: TcpListener,
    connection: &'static str,
    tasks: Tasks,
    clock: Clock,
    pages: impl Pages,
) -> anyhow::Result<()> {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let place = Arc::clone(&places).acquire_owned().await?;
        let (stream, _) = accept(&listener, &clock).await;
        tasks.spawn_short(connection, Stage::Background, serve_one(stream, place, pages.clone()));
    }
}

/// A whole answer; it is not to be stored on the way.
pub fn response(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Serves one connection while it holds its place.
async fn serve_one<IO>(stream: IO, place: OwnedSemaphorePermit, pages: impl Pages)
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = answer(&request, &pages);
        async move { Ok::<_, Infallible>(answer) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEADER_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = tokio::time::sleep(CONNECTION_LIFE) => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(LAST_ANSWER, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(target: "process", %error, "connection_failed");
    }
    drop(place);
}

fn answer<P: Pages>(request: &Request<Incoming>, pages: &P) -> Response<Full<Bytes>> {
    if !request.body().is_end_stream() {
        let mut refused = P::refusal(StatusCode::PAYLOAD_TOO_LARGE, "no request here has a body");
        refused.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        return refused;
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refused = P::refusal(StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD");
        refused.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    pages.page(request.uri().path(), request.headers()).unwrap_or_else(|| P::refusal(StatusCode::NOT_FOUND, P::HERE))
}

#[cfg(test)]
mod tests;
