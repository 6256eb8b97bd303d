//! One connection: handshake, HTTP/2, and its end.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use process::{Mark, Stage, Tasks};
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::rustls::server::Acceptor;
use tokio_rustls::server::TlsStream;

use super::node::NodeLimit;
use super::places::Place;
use super::{Shared, requests};

/// Who is at the other end, as far as it has shown.
pub(super) struct Peer(Mutex<State>);

struct State {
    /// The node whose agent it is, by its allowance; `None` for a stranger.
    node: Option<Arc<NodeLimit>>,
    place: Place,
    /// When it came, or last had a request answered.
    last: Mark,
}

/// Runs a connection's requests as tasks.
#[derive(Clone)]
struct Spawner(Tasks);

/// An agent has one request under way, and perhaps one that it has given up.
const STREAMS_MAX: u32 = 4;
/// Unread bytes that the peer may send for one request.
const STREAM_WINDOW: u32 = 128 * 1024;
/// Unread bytes that it may send in all.
const CONNECTION_WINDOW: u32 = 256 * 1024;
/// Unsent bytes kept for one answer.
const SEND_BUFFER: usize = 128 * 1024;
/// For all headers of a request; a projected token has some 1,500 bytes.
const HEADER_BYTES_MAX: u32 = 32 * 1024;
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(15);
/// For the requests that are under way when the process drains.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Serves the connection until either end has enough of it.
pub(super) async fn serve(shared: &Arc<Shared>, stream: TcpStream, place: Place) {
    // Boxed, as it is large and soon over, and the connection lasts.
    let handshake = Box::pin(handshake(shared, stream));
    let stream = match tokio::time::timeout(shared.limits.handshake_timeout, handshake).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            shared.counts.dropped("handshake");
            return tracing::debug!(target: "ingest", %error, "handshake_failed");
        }
        Err(_) => {
            shared.counts.dropped("handshake");
            return tracing::debug!(target: "ingest", "handshake_timed_out");
        }
    };
    let peer = Arc::new(Peer::new(place, shared.clock.mark()));
    let service = service_fn(|request| {
        let (shared, peer) = (Arc::clone(shared), Arc::clone(&peer));
        async move { Ok::<_, Infallible>(requests::answer(&shared, &peer, request).await) }
    });
    let mut connection = pin!(http(&shared.tasks).serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        ended = &mut connection => {
            if let Err(error) = ended {
                tracing::debug!(target: "ingest", %error, "connection_failed");
            }
        }
        reason = peer.outstays(shared) => shared.counts.dropped(reason),
        () = shared.phases.draining() => {
            connection.as_mut().graceful_shutdown();
            // What it has not brought to an end by then is repeated to our successor.
            let _ = tokio::time::timeout(DRAIN_TIMEOUT, connection).await;
        }
    }
}

impl Peer {
    fn new(place: Place, now: Mark) -> Self {
        Self(Mutex::new(State { node: None, place, last: now }))
    }

    /// It is the agent of a node, as a request of its has shown; false when there is no place for it.
    pub(super) fn becomes(&self, node: &Arc<NodeLimit>) -> bool {
        let mut state = self.state();
        let has_place = state.node.is_some() || (!node.is_crowded() && state.place.becomes_agents());
        if has_place {
            state.node = Some(Arc::clone(node));
        }
        has_place
    }

    /// The node whose agent it is; `None` for a stranger.
    pub(super) fn node(&self) -> Option<Arc<NodeLimit>> {
        self.state().node.clone()
    }

    /// A request of its was answered.
    pub(super) fn was_answered(&self, now: Mark) {
        let mut state = self.state();
        // A stranger's time is not prolonged by requests that do not succeed.
        if state.node.is_some() {
            state.last = now;
        }
    }

    /// Returns, with the reason, when it was a stranger for too long, or silent for too long.
    async fn outstays(&self, shared: &Shared) -> &'static str {
        let clock = &shared.clock;
        loop {
            let (until, reason) = {
                let state = self.state();
                match state.node {
                    Some(_) => (state.last + shared.limits.idle_timeout, "idle"),
                    None => (state.last + shared.limits.stranger_timeout, "stranger"),
                }
            };
            if clock.mark() >= until {
                return reason;
            }
            clock.wait_until(until).await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Spawner {
    fn execute(&self, future: F) {
        self.0.spawn_short("ingest_request", Stage::Accept, future);
    }
}

/// Waits for a ClientHello first, and takes its turn only to answer it, which is what costs: a peer that says nothing, then
/// or later, waits on its own time, and not in anybody's way.
async fn handshake(shared: &Shared, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
    stream.set_nodelay(true)?;
    let begun = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
    let mut rest = begun.into_stream(Arc::clone(&shared.tls));
    let turn = shared.handshakes.acquire().await.expect("it is never closed");
    let answered = futures::poll!(&mut rest);
    drop(turn);
    match answered {
        Poll::Ready(ended) => ended,
        Poll::Pending => rest.await,
    }
}

fn http(tasks: &Tasks) -> http2::Builder<Spawner> {
    let mut http = http2::Builder::new(Spawner(tasks.clone()));
    http.timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(HEADER_BYTES_MAX)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT);
    http
}
