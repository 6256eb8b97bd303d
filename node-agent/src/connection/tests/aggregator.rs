//! An aggregator's port that answers as it is told.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::StreamExt as _;
use futures::channel::mpsc;
use http::{HeaderMap, Request, Response, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use process::shutdown::Script;
use process::tasks::{Failures, Stage, Tasks};
use process::tls::ServerTls;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// The name of the Service.
pub(super) const NAME: &str = "tocsin-aggregator.tocsin.svc";

/// How one request is answered.
pub(super) enum Says {
    /// With a message.
    Message(u16, Vec<u8>),
    /// With a status and headers.
    Bare(u16, Vec<(&'static str, &'static str)>),
    /// With a message that does not end.
    Endless,
    /// Not at all.
    Nothing,
}

/// What was asked for.
pub(super) struct Asked {
    pub(super) path: String,
    pub(super) authorization: Option<String>,
    pub(super) content_type: String,
    pub(super) body: Bytes,
}

pub(super) struct Aggregator {
    pub(super) address: String,
    pub(super) ca_pem: String,
    says: mpsc::UnboundedSender<Says>,
    asked: mpsc::UnboundedReceiver<Asked>,
    connections: Arc<AtomicUsize>,
    close: watch::Sender<usize>,
    // Dropped, the tasks end.
    _script: Script,
    _failures: Failures,
}

/// What connections share.
#[derive(Clone)]
struct Port {
    tls: Arc<ServerTls>,
    tasks: Tasks,
    says: Arc<Mutex<mpsc::UnboundedReceiver<Says>>>,
    asked: mpsc::UnboundedSender<Asked>,
    close: watch::Receiver<usize>,
}

#[derive(Clone)]
struct Spawner(Tasks);

type Answer = Response<BoxBody<Bytes, Infallible>>;

impl Aggregator {
    /// One with the Service's certificate, from a CA of its own.
    pub(super) async fn start() -> Self {
        Self::named(NAME).await
    }

    /// One with a certificate for that name.
    pub(super) async fn named(name: &str) -> Self {
        let (ca_pem, certificate, key) = certificates(name);
        let tls = Arc::new(ServerTls::from_pem(certificate.as_bytes(), key.as_bytes()).expect("they belong together"));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound").to_string();
        let script = Script::new();
        let (tasks, failures) = Tasks::new(script.phases());
        let (says, to_say) = mpsc::unbounded();
        let (ask, asked) = mpsc::unbounded();
        let (close, closing) = watch::channel(0);
        let connections = Arc::new(AtomicUsize::new(0));
        let to_say = Arc::new(Mutex::new(to_say));
        let port = Port { tls, tasks: tasks.clone(), says: to_say, asked: ask, close: closing };
        let counted = Arc::clone(&connections);
        tasks.spawn("accept", Stage::Background, async move {
            loop {
                let (stream, _) = listener.accept().await?;
                counted.fetch_add(1, Ordering::Relaxed);
                port.tasks.spawn_short("serve", Stage::Background, port.clone().serve(stream));
            }
        });
        Self { address, ca_pem, says, asked, connections, close, _script: script, _failures: failures }
    }

    /// Answers the next request so.
    pub(super) fn says(&self, answer: Says) {
        self.says.unbounded_send(answer).expect("the port is open");
    }

    /// The next request.
    pub(super) async fn asked(&mut self) -> Asked {
        self.asked.next().await.expect("the port is open")
    }

    /// How many connections there were.
    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Closes every connection.
    pub(super) fn close(&self) {
        self.close.send_modify(|times| *times += 1);
    }
}

impl Port {
    async fn serve(mut self, stream: TcpStream) {
        let Ok(stream) = self.tls.acceptor().accept(stream).await else { return };
        self.close.mark_unchanged();
        let mut close = self.close.clone();
        let http = http2::Builder::new(Spawner(self.tasks.clone()));
        let service = service_fn(move |request| {
            let port = self.clone();
            async move { Ok::<_, Infallible>(port.answer(request).await) }
        });
        tokio::select! {
            _ = http.serve_connection(TokioIo::new(stream), service) => {}
            _ = close.changed() => {}
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.expect("the request is whole").to_bytes();
        let text = |headers: &HeaderMap, name| Some(headers.get(name)?.to_str().expect("it is text").to_owned());
        let asked = Asked {
            path: parts.uri.path().to_owned(),
            authorization: text(&parts.headers, header::AUTHORIZATION),
            content_type: text(&parts.headers, header::CONTENT_TYPE).unwrap_or_default(),
            body,
        };
        self.asked.unbounded_send(asked).expect("the test listens");
        let says = self.says.lock().expect("unpoisoned").try_recv().expect("the test has said how to answer");
        let message = Response::builder().header(header::CONTENT_TYPE, wire::CONTENT_TYPE);
        let answer = match says {
            Says::Message(status, bytes) => message.status(status).body(Full::from(bytes).boxed()),
            Says::Bare(status, headers) => {
                let bare =
                    headers.into_iter().fold(Response::builder(), |bare, (name, value)| bare.header(name, value));
                bare.status(status).body(Full::from("<html>").boxed())
            }
            Says::Endless => {
                let chunk = Bytes::from(vec![0; 64 * 1024]);
                let chunks = futures::stream::repeat_with(move || Ok(Frame::data(chunk.clone())));
                message.body(BodyExt::boxed(StreamBody::new(chunks)))
            }
            Says::Nothing => std::future::pending().await,
        };
        answer.expect("status and headers are valid")
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Spawner {
    fn execute(&self, future: F) {
        self.0.spawn_short("stream", Stage::Background, future);
    }
}

/// A CA, and a certificate for `name` with its key.
fn certificates(name: &str) -> (String, String, String) {
    let ca_key = KeyPair::generate().expect("a key can be made");
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_pem = ca.self_signed(&ca_key).expect("it signs itself").pem();
    let issuer = Issuer::from_params(&ca, &ca_key);
    let key = KeyPair::generate().expect("a key can be made");
    let leaf = CertificateParams::new([name.to_owned()]).expect("it is a name");
    let certificate = leaf.signed_by(&key, &issuer).expect("it is signed").pem();
    (ca_pem, certificate, key.serialize_pem())
}
