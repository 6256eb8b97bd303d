//! The one accept loop of the harness: HTTP/1.1 and HTTP/2, plain or over TLS, and the network's own faults.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

mod wire;

pub(crate) use wire::Wire;
use wire::Wired;

/// A request or a stream that ends without its end, and why.
#[derive(Debug)]
pub(crate) struct BrokenOff(pub(crate) &'static str);

/// An answer's body.
pub(crate) type Body = UnsyncBoxBody<Bytes, BrokenOff>;

/// An answer to come; an error closes the connection (HTTP/1.1) or resets the stream (HTTP/2) without one.
pub(crate) type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, BrokenOff>> + Send>>;

/// What answers the requests.
pub(crate) type Service = Arc<dyn Fn(Request<Incoming>) -> Answer + Send + Sync>;

/// A listening socket with all its connections; they end with its value.
pub(crate) struct Listener {
    address: SocketAddr,
    wire: Arc<Wire>,
    sockets: mpsc::UnboundedSender<Option<TcpListener>>,
    task: JoinHandle<()>,
}

/// A whole body in memory.
pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    http_body_util::Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

impl Listener {
    /// Binds a free port of 127.0.0.1 and serves.
    pub(crate) async fn start(tls: Option<Arc<ServerConfig>>, service: Service) -> io::Result<Self> {
        Self::start_at(IpAddr::V4(Ipv4Addr::LOCALHOST), tls, service).await
    }

    /// Binds a free port of this address and serves.
    pub(crate) async fn start_at(ip: IpAddr, tls: Option<Arc<ServerConfig>>, service: Service) -> io::Result<Self> {
        let socket = TcpListener::bind((ip, 0)).await?;
        let address = socket.local_addr()?;
        let wire = Arc::new(Wire::default());
        // At most one entry per call of a test: nothing to bound.
        let (sockets, orders) = mpsc::unbounded_channel();
        sockets.send(Some(socket)).map_err(io::Error::other)?;
        let task = tokio::spawn(accept(orders, tls.map(TlsAcceptor::from), wire.clone(), service));
        Ok(Self { address, wire, sockets, task })
    }

    /// Where it listens, also while it is down.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The network between it and its clients.
    pub(crate) fn wire(&self) -> &Wire {
        &self.wire
    }

    /// Ends every connection with a reset and refuses new ones.
    pub(crate) async fn go_down(&self) {
        let _ = self.sockets.send(None);
        self.wire.reset();
        self.wire.until_unbound().await;
    }

    /// Listens again at the same address.
    pub(crate) async fn come_up(&self) -> io::Result<()> {
        self.sockets.send(Some(TcpListener::bind(self.address).await?)).map_err(io::Error::other)
    }
}

impl fmt::Display for BrokenOff {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "broken off: {}", self.0)
    }
}

impl std::error::Error for BrokenOff {}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Accepts from the socket last given, until the listener is dropped.
async fn accept(
    mut orders: mpsc::UnboundedReceiver<Option<TcpListener>>,
    tls: Option<TlsAcceptor>,
    wire: Arc<Wire>,
    service: Service,
) {
    let mut connections = JoinSet::new();
    let mut socket: Option<TcpListener> = None;
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                Some(next) => {
                    socket = next;
                    wire.set_bound(socket.is_some());
                }
                None => return,
            },
            accepted = next(socket.as_ref()) => {
                // Out of file descriptors is the usual cause; the client sees a connection that never answers.
                let Ok((stream, _)) = accepted else { continue };
                let _ = stream.set_nodelay(true);
                connections.spawn(connection(Wired::new(stream, &wire), tls.clone(), service.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn next(socket: Option<&TcpListener>) -> io::Result<(tokio::net::TcpStream, SocketAddr)> {
    match socket {
        Some(socket) => socket.accept().await,
        None => std::future::pending().await,
    }
}

async fn connection(stream: Wired, tls: Option<TlsAcceptor>, service: Service) {
    match tls {
        None => http(stream, service).await,
        Some(tls) => {
            // A failed handshake is the client's to report.
            if let Ok(stream) = tls.accept(stream).await {
                http(stream, service).await;
            }
        }
    }
}

async fn http(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, service: Service) {
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new());
    server.http2().timer(TokioTimer::new()).max_concurrent_streams(250);
    let answer = service_fn(move |request| service(request));
    // An error here is a client that left, or a cut that was asked for.
    let _ = server.serve_connection(TokioIo::new(stream), answer).await;
}
