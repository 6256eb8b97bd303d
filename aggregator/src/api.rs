//! The API: what is open, for people who look and for scripts, on the loopback interface (`kubectl port-forward`).
//!
//! Read-only, no bodies, and bounded like the admin port: whoever is on this machine can reach it.

mod issues;

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
use process::{Clock, Stage, Tasks};
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::leader::{Elsewhere, Office};

pub(crate) use self::issues::{is_open, severity};

/// The API's port, bound and not yet served.
#[derive(Debug)]
pub struct Api {
    listener: TcpListener,
    addr: SocketAddr,
}

/// What an answer says when there is nothing to answer.
#[derive(Debug, Serialize)]
struct Problem<'a> {
    error: &'a str,
}

const ISSUES_PATH: &str = "/api/v1/issues";
/// A status page and a few scripts; more than this waits in the listener's backlog.
const CONNECTIONS_MAX: usize = 16;
/// For a request's headers, and between two requests.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECTION_LIFE: Duration = Duration::from_mins(5);
/// hyper's smallest.
const HEADER_BYTES_MAX: usize = 8 * 1024;
/// After an accept that failed for want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

impl Api {
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

    /// Serves until it is dropped; its connections are tasks of their own.
    pub async fn serve(self, tasks: Tasks, office: Office, clock: Clock) -> anyhow::Result<()> {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let place = Arc::clone(&places).acquire_owned().await?;
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    tasks.spawn_short("api_connection", Stage::Background, serve(stream, place, office.clone()));
                }
                Err(error) => {
                    tracing::debug!(target: "api", %error, "api_accept_failed");
                    clock.sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// Serves one connection while it holds its place.
async fn serve(stream: TcpStream, place: OwnedSemaphorePermit, office: Office) {
    let service = service_fn(|request: Request<Incoming>| {
        let answer = answer(&request, &office);
        async move { Ok::<_, Infallible>(answer) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    if let Ok(Err(error)) = tokio::time::timeout(CONNECTION_LIFE, connection).await {
        tracing::debug!(target: "api", %error, "api_connection_failed");
    }
    drop(place);
}

fn answer(request: &Request<Incoming>, office: &Office) -> Response<Full<Bytes>> {
    if !request.body().is_end_stream() {
        let mut refused = json(StatusCode::PAYLOAD_TOO_LARGE, &Problem { error: "no request here has a body" });
        refused.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        return refused;
    }
    if request.uri().path() != ISSUES_PATH {
        return json(StatusCode::NOT_FOUND, &Problem { error: "here is /api/v1/issues" });
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refused = json(StatusCode::METHOD_NOT_ALLOWED, &Problem { error: "GET or HEAD" });
        refused.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    match office.core() {
        Ok(core) => json(StatusCode::OK, &core.quietly(|pipeline, now| issues::page(pipeline, now))),
        Err(Elsewhere { leader, .. }) if leader.is_empty() => {
            json(StatusCode::SERVICE_UNAVAILABLE, &Problem { error: "nobody leads yet: ask again in a moment" })
        }
        Err(Elsewhere { leader, .. }) => {
            let error = format!("this replica stands by: ask the one that leads, {leader}");
            json(StatusCode::SERVICE_UNAVAILABLE, &Problem { error: &error })
        }
    }
}

fn json(status: StatusCode, body: &impl Serialize) -> Response<Full<Bytes>> {
    let body = serde_json::to_vec(body).expect("plain strings and numbers have a JSON form");
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests;
