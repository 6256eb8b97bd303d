//! A server of which the test itself is the inside: it sees each request and says what comes back.

use std::convert::Infallible;

use bytes::Bytes;
use futures::channel::{mpsc, oneshot};
use futures::{FutureExt as _, StreamExt as _};
use http::{Request, Response, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server;
use hyper_util::rt::TokioIo;
use kube::Client;
use kube::client::{self, ClientBuilder};
use tower::service_fn;

use crate::tasks::{Stage, Tasks};

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// The requests, as they arrive.
pub(super) struct Server {
    asked: mpsc::UnboundedReceiver<Asked>,
}

/// One request that waits for its answer.
pub(super) struct Asked {
    /// Path and query.
    pub(super) uri: String,
    pub(super) accept: String,
    answer: oneshot::Sender<Response<Body>>,
}

/// A body that goes on; dropped, it ends in order.
pub(super) struct Stream(mpsc::UnboundedSender<Result<Frame<Bytes>, std::io::Error>>);

impl Server {
    /// A server and a client of it. Connections are in memory, because time is virtual: on a socket, bytes under way do
    /// not hold the time up.
    pub(super) fn start(tasks: &Tasks) -> (Self, Client) {
        let (send, asked) = mpsc::unbounded();
        let tasks = tasks.clone();
        let connect = service_fn(move |request| exchange(request, tasks.clone(), send.clone()));
        (Self { asked }, ClientBuilder::new(connect, "default").build())
    }

    pub(super) async fn asked(&mut self) -> Asked {
        self.asked.next().await.expect("the client lives")
    }
}

impl Asked {
    pub(super) fn answer(self, status: u16, body: impl Into<Bytes>) {
        self.respond(
            Response::builder().status(status),
            Full::new(body.into()).map_err(|never| match never {}).boxed_unsync(),
        );
    }

    pub(super) fn stream(self) -> Stream {
        let (send, frames) = mpsc::unbounded();
        self.respond(Response::builder(), StreamBody::new(frames).boxed_unsync());
        Stream(send)
    }

    fn respond(self, head: http::response::Builder, body: Body) {
        // The client may have given the request up.
        let _ = self.answer.send(head.body(body).expect("a response"));
    }
}

impl Stream {
    pub(super) fn send(&self, text: &str) {
        self.0.unbounded_send(Ok(Frame::data(Bytes::copy_from_slice(text.as_bytes())))).expect("the watch is open");
    }

    /// Breaks the connection in the middle.
    pub(super) fn cut(self) {
        self.0.unbounded_send(Err(std::io::Error::other("cut"))).expect("the watch is open");
    }
}

/// Sends one request over a connection of its own.
async fn exchange(
    request: Request<client::Body>,
    tasks: Tasks,
    asked: mpsc::UnboundedSender<Asked>,
) -> hyper::Result<Response<Incoming>> {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let ask = hyper::service::service_fn(move |request| ask(request, asked.clone()));
    // Either side may go away: that is what the tests are about.
    let serve = server::conn::http1::Builder::new().serve_connection(TokioIo::new(far), ask).map(|_| ());
    tasks.spawn_short("server", Stage::Background, serve);
    let (mut send, connection) = hyper::client::conn::http1::handshake(TokioIo::new(near)).await?;
    tasks.spawn_short("client", Stage::Background, connection.map(|_| ()));
    send.send_request(request).await
}

async fn ask(request: Request<Incoming>, asked: mpsc::UnboundedSender<Asked>) -> Result<Response<Body>, Infallible> {
    let (answer, answered) = oneshot::channel();
    let accept = request.headers()[header::ACCEPT].to_str().expect("text").to_owned();
    let asking = Asked { uri: request.uri().to_string(), accept, answer };
    asked.unbounded_send(asking).expect("the test listens");
    Ok(answered.await.expect("the test answers"))
}
