//! Making a connection, and noticing its end.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::rt::Executor;
use hyper_util::rt::{TokioIo, TokioTimer};
use process::tls::ClientTls;
use process::{Stage, Tasks};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::{Dialer, Failure};
use crate::report::Target;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection whose other end is gone without a word is noticed within their sum.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Unread bytes that the aggregator may send. Answers are short, but for the first in a session.
const WINDOW: u32 = 64 * 1024;
/// Unsent bytes kept beside the message itself.
const SEND_BUFFER: usize = 64 * 1024;

/// A connection that is open, as far as is known.
pub(super) struct Link {
    pub(super) sender: SendRequest<Full<Bytes>>,
    target: Target,
    closed: oneshot::Receiver<()>,
}

/// Runs the connection's own futures as tasks.
#[derive(Clone)]
struct Spawner(Tasks);

impl Dialer {
    /// `link`, if it leads to `to` and is open, else a new connection.
    pub(super) async fn link(&self, link: Option<Link>, to: Target) -> Result<Link, Failure> {
        match link {
            Some(link) if link.target == to && link.sender.is_ready() => Ok(link),
            _ => self.dial(to).await,
        }
    }

    async fn dial(&self, to: Target) -> Result<Link, Failure> {
        let tls = self.trust.for_connection().await?;
        match self.dial_with(&tls, to.clone()).await {
            Err(failure) if self.trust.has_changed(&failure).await => self.dial_with(&tls, to).await,
            dialed => dialed,
        }
    }

    async fn dial_with(&self, tls: &ClientTls, to: Target) -> Result<Link, Failure> {
        let address = match &to {
            Target::Service => self.settings.address.clone(),
            Target::Leader(address) => address.to_string(),
        };
        let stream = match timeout(CONNECT_TIMEOUT, TcpStream::connect(&address)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(Failure::Connect { address, error }),
            Err(_) => return Err(Failure::Late("connection")),
        };
        // Messages are written whole; waiting to fill a segment only delays them.
        stream.set_nodelay(true).map_err(|error| Failure::Connect { address: address.clone(), error })?;
        let handshake = timeout(HANDSHAKE_TIMEOUT, tls.connect(self.settings.name.clone(), stream));
        let stream = match handshake.await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(Failure::Tls { address, error }),
            Err(_) => return Err(Failure::Late("TLS handshake")),
        };
        let handshake = http(&self.tasks).handshake(TokioIo::new(stream));
        let (sender, connection) =
            timeout(HANDSHAKE_TIMEOUT, handshake).await.map_err(|_| Failure::Late("HTTP/2"))??;
        let (open, closed) = oneshot::channel();
        self.tasks.spawn_short("aggregator_connection", Stage::Background, async move {
            if let Err(error) = connection.await {
                tracing::debug!(target: "report", %error, "connection_failed");
            }
            drop::<oneshot::Sender<()>>(open);
        });
        Ok(Link { sender, target: to, closed })
    }
}

impl Link {
    /// Returns when the connection is gone. Cancel-safe.
    pub(super) async fn closed(&mut self) {
        // Nothing is ever sent: the sender goes with the connection.
        let _ = (&mut self.closed).await;
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Spawner {
    fn execute(&self, future: F) {
        self.0.spawn_short("aggregator_stream", Stage::Background, future);
    }
}

fn http(tasks: &Tasks) -> http2::Builder<Spawner> {
    let mut http = http2::Builder::new(Spawner(tasks.clone()));
    http.timer(TokioTimer::new())
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(true);
    http
}
