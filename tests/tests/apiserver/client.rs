//! A plain HTTP client: one connection per request, nothing hidden.

use std::fmt::Debug;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tocsin_tests::apiserver::{ApiServer, Container, Options, PodTemplate};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long a test waits for what must come.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) json: Value,
}

/// An open watch.
pub(crate) struct Watch {
    body: Incoming,
    buffer: Vec<u8>,
}

/// A server that asks for nothing.
pub(crate) async fn server() -> ApiServer {
    ApiServer::start(Options::default()).await.expect("the server starts")
}

/// A template that keeps objects small.
pub(crate) fn template() -> PodTemplate {
    PodTemplate { managed_fields: false, ..PodTemplate::new("api", Container::new("app", "api:1")) }
}

/// A minimal ConfigMap.
pub(crate) fn config_map(name: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "shop"}, "data": {"key": value}})
}

/// Where the ConfigMaps of these tests live.
pub(crate) const CONFIG_MAPS: &str = "/api/v1/namespaces/shop/configmaps";

pub(crate) async fn open(server: &ApiServer, request: Request<Full<Bytes>>) -> hyper::Result<http::Response<Incoming>> {
    let address = server.http_url().trim_start_matches("http://").to_string();
    let stream = TcpStream::connect(address).await.expect("the server listens");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    drop(tokio::spawn(connection));
    sender.send_request(request).await
}

pub(crate) fn request(method: Method, path: &str, token: Option<&str>, body: Option<&Value>) -> Request<Full<Bytes>> {
    let kind = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
    let mut request =
        Request::builder().method(method).uri(path).header("host", "localhost").header("content-type", kind);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let body = body.map(Value::to_string).unwrap_or_default();
    request.body(Full::new(body.into())).expect("a valid request")
}

/// Sends a request and reads the whole answer.
pub(crate) async fn ask(server: &ApiServer, method: Method, path: &str, body: Option<&Value>) -> Answer {
    let response = open(server, request(method, path, None, body)).await.expect("an answer");
    answer(response).await
}

pub(crate) async fn answer(response: http::Response<Incoming>) -> Answer {
    let (parts, body) = response.into_parts();
    let body = body.collect().await.expect("a whole body").to_bytes();
    let json = serde_json::from_slice(&body).unwrap_or_default();
    Answer { status: parts.status.as_u16(), headers: parts.headers, json }
}

pub(crate) async fn get(server: &ApiServer, path: &str) -> Answer {
    ask(server, Method::GET, path, None).await
}

/// Asserts that there is nothing to hear of `waiting` for as long as `meanwhile` takes.
pub(crate) async fn silent_during<T: Debug>(waiting: impl Future<Output = T> + Unpin, meanwhile: impl Future) {
    tokio::select! {
        biased;
        heard = waiting => panic!("it was not silent: {heard:?}"),
        _ = meanwhile => {}
    }
}

/// As much time passes at once. Only then, as what is under way on a socket does not hold virtual time up.
pub(crate) async fn passes(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

/// Opens a watch that must be answered 200.
pub(crate) async fn watch(server: &ApiServer, path: &str) -> Watch {
    let separator = if path.contains('?') { '&' } else { '?' };
    let path = format!("{path}{separator}watch=true");
    let response = open(server, request(Method::GET, &path, None, None)).await.expect("an answer");
    assert_eq!(response.status(), 200);
    Watch { body: response.into_body(), buffer: Vec::new() }
}

impl Answer {
    /// The names of a list's items.
    pub(crate) fn names(&self) -> Vec<&str> {
        let items = self.json["items"].as_array().unwrap_or_else(|| panic!("no list: {}", self.json));
        items.iter().filter_map(|item| item["metadata"]["name"].as_str()).collect()
    }

    /// The list's version.
    pub(crate) fn version(&self) -> u64 {
        self.json["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse().ok()).expect("a version")
    }
}

impl Watch {
    /// The next event; `None` at a clean end, `Err` when it was broken off.
    pub(crate) async fn event(&mut self) -> Result<Option<Value>, hyper::Error> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Ok(Some(serde_json::from_slice(&line).expect("each line is JSON")));
            }
            match timeout(SOON, self.body.frame()).await.expect("an event within the deadline") {
                None => return Ok(None),
                Some(frame) => self.buffer.extend_from_slice(&frame?.into_data().unwrap_or_default()),
            }
        }
    }

    /// The next event's type, object name and version.
    pub(crate) async fn next(&mut self) -> (String, String, u64) {
        let event = self.event().await.expect("no break").expect("no end");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
        let metadata = &event["object"]["metadata"];
        let version = text(&metadata["resourceVersion"]).parse().unwrap_or_default();
        (text(&event["type"]), text(&metadata["name"]), version)
    }

    /// Asserts the next event's type and name.
    #[track_caller]
    pub(crate) fn expects<'a>(&'a mut self, kind: &'a str, name: &'a str) -> impl Future<Output = u64> + 'a {
        let caller = std::panic::Location::caller();
        async move {
            let (found_kind, found_name, version) = self.next().await;
            assert_eq!((found_kind.as_str(), found_name.as_str()), (kind, name), "at {caller}");
            version
        }
    }

    /// Asserts that the next thing is a clean end.
    pub(crate) async fn ends(&mut self) {
        assert_eq!(self.event().await.expect("no break"), None);
    }
}
