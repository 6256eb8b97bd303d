//! The admin port: `/metrics`, `/livez`, `/readyz` and their aliases, and nothing else, in plain HTTP/1.
//!
//! It reads no bodies, and it bounds headers, idle time, a connection's life and their number: whoever can reach a pod can
//! reach this port.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::liveness::Liveness;
use crate::readiness::Readiness;
use crate::tasks::{Stage, Tasks};

/// Probes and scrapers are few; more than this waits in the listener's backlog.
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
/// What `prometheus_client::encoding::text` writes (OpenMetrics 1.0.0).
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// The admin port, bound and not yet served.
#[derive(Debug)]
pub struct Admin {
    listener: TcpListener,
    addr: SocketAddr,
}

/// What the admin port shows.
#[derive(Clone, Debug)]
pub struct Shown {
    /// `/readyz`.
    pub readiness: Readiness,
    /// `/livez`.
    pub liveness: Liveness,
    /// `/metrics`.
    pub registry: Arc<Registry>,
}

impl Admin {
    /// Binds `addr`; port 0 takes any.
    pub async fn bind(addr: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        Ok(Self { listener, addr })
    }

    /// The address that is bound.
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Serves until it is dropped; its connections are tasks of their own. Spawn it as [`Stage::Background`]: probes are
    /// answered to the end.
    pub async fn serve(self, tasks: Tasks, shown: Shown) -> anyhow::Result<()> {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let place = Arc::clone(&places).acquire_owned().await?;
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    tasks.spawn_short("admin_connection", Stage::Background, serve(stream, place, shown.clone()));
                }
                Err(error) => {
                    tracing::debug!(target: "process", %error, "admin_accept_failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// Serves one connection while it holds its place.
async fn serve<IO>(stream: IO, place: OwnedSemaphorePermit, shown: Shown)
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = answer(&request, &shown);
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
        tracing::debug!(target: "process", %error, "admin_connection_failed");
    }
    drop(place);
}

fn answer(request: &Request<Incoming>, shown: &Shown) -> Response<Full<Bytes>> {
    if !request.body().is_end_stream() {
        let mut refused = text(StatusCode::PAYLOAD_TOO_LARGE, "no request here has a body\n".into());
        refused.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        return refused;
    }
    let page: fn(&Shown) -> Response<Full<Bytes>> = match request.uri().path() {
        "/metrics" => metrics,
        "/livez" | "/healthz" | "/health" => livez,
        "/readyz" | "/ready" => readyz,
        _ => return text(StatusCode::NOT_FOUND, "here are /metrics, /livez and /readyz\n".into()),
    };
    if *request.method() == Method::GET || *request.method() == Method::HEAD {
        return page(shown);
    }
    let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD\n".into());
    refused.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    refused
}

fn livez(shown: &Shown) -> Response<Full<Bytes>> {
    match shown.liveness.stalled() {
        None => text(StatusCode::OK, "ok\n".into()),
        Some(stalled) => text(StatusCode::SERVICE_UNAVAILABLE, stalled),
    }
}

fn readyz(shown: &Shown) -> Response<Full<Bytes>> {
    match shown.readiness.unready_because() {
        None => text(StatusCode::OK, "ok\n".into()),
        Some(reasons) => text(StatusCode::SERVICE_UNAVAILABLE, reasons),
    }
}

fn metrics(shown: &Shown) -> Response<Full<Bytes>> {
    let mut body = String::new();
    match encode(&mut body, &shown.registry) {
        Ok(()) => response(StatusCode::OK, OPENMETRICS, body),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("a metric cannot be written: {error}\n")),
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    response(status, TEXT, body)
}

fn response(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests;
