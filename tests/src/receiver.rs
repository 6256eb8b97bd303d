//! A receiver of issues: an HTTP(S) server that records each request and answers whatever a test wants.
//!
//! The ingestion API's contract: POST of `{"records": [{"key": …, …}, …]}`; 200 or 202 accepts all of them, and each
//! key's record is the same however often it comes.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail};
use http::header::AUTHORIZATION;
use http::{HeaderMap, Method};
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::timeout;

mod answer;
mod serve;

pub use answer::Answer;

use crate::certs::{Authority, LOOPBACK};
use crate::forward_proxy::BEHIND;
use crate::listener::{Listener, Service};

/// How many requests are kept; later ones are answered and counted, not kept.
const REQUESTS_MAX: usize = 200_000;

/// One request as it arrived.
#[derive(Clone, Debug)]
pub struct Received {
    /// Its place in the order of arrival, from 0.
    pub number: u64,
    /// When it had arrived whole.
    pub at: Timestamp,
    /// The method.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as JSON; `Null` when it is none, or was not read.
    pub json: Value,
    /// The body; empty when it was not read.
    pub body: bytes::Bytes,
    /// The HTTP status it was answered with; `None` for one that was cut or is still without an answer.
    pub status: Option<u16>,
}

/// A running receiver; it ends with its value.
pub struct Receiver {
    inner: Arc<Inner>,
    authority: Authority,
    https: Listener,
    http: Listener,
}

struct Inner {
    state: Mutex<State>,
    changes: watch::Sender<()>,
}

/// How requests are judged, by body; for answers that depend on what a batch holds.
type Judge = Box<dyn Fn(&Received) -> Option<Answer> + Send>;

struct State {
    received: Vec<Received>,
    count: u64,
    next: VecDeque<Answer>,
    always: Answer,
    judge: Option<Judge>,
    token: Option<String>,
    /// Grows whenever the answers change: what hangs looks again.
    generation: u64,
}

impl Received {
    /// The `Idempotency-Key` header.
    pub fn idempotency_key(&self) -> Option<&str> {
        self.header("idempotency-key")
    }

    /// A header's value, if it is there and text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The bearer token.
    pub fn token(&self) -> Option<&str> {
        self.headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
    }

    /// The records of a batch; none for other bodies.
    pub fn records(&self) -> &[Value] {
        self.json["records"].as_array().map_or(&[], Vec::as_slice)
    }

    /// Whether it was answered with success.
    pub fn accepted(&self) -> bool {
        self.status.is_some_and(|status| (200..300).contains(&status))
    }

    /// What was sent under which key: the records of a batch by their own, any other body by its `Idempotency-Key`.
    pub fn keyed(&self) -> Vec<(&str, &Value)> {
        let records = self.records().iter().filter_map(|record| Some((record["key"].as_str()?, record)));
        let whole = self.idempotency_key().map(|key| (key, &self.json));
        if self.records().is_empty() { whole.into_iter().collect() } else { records.collect() }
    }
}

impl Receiver {
    /// Starts a receiver that accepts everything.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_at(IpAddr::V4(Ipv4Addr::LOCALHOST)).await
    }

    /// The same at an address of this machine that others than itself can reach: pods of a cluster in its network.
    pub async fn start_at(ip: IpAddr) -> anyhow::Result<Self> {
        let state = State {
            received: Vec::new(),
            count: 0,
            next: VecDeque::new(),
            always: Answer::status(200),
            judge: None,
            token: None,
            generation: 0,
        };
        let inner = Arc::new(Inner { state: Mutex::new(state), changes: watch::Sender::new(()) });
        let serving = inner.clone();
        let service: Service = Arc::new(move |request| Box::pin(serve::serve(serving.clone(), request)));
        let authority = Authority::new("simulated-receiver-ca")?;
        let address = ip.to_string();
        let tls = authority.leaf(&[&LOOPBACK[..], &[&address, BEHIND]].concat())?.server_config()?;
        let https = Listener::start_at(ip, Some(tls), service.clone()).await.context("no port for the receiver")?;
        let http = Listener::start_at(ip, None, service).await.context("no port for the receiver")?;
        Ok(Self { inner, authority, https, http })
    }

    /// `https://ADDRESS:PORT`.
    pub fn url(&self) -> String {
        format!("https://{}", self.https.address())
    }

    /// `https://NAME:PORT`, which a proxy finds, and nobody else.
    pub fn url_behind(&self) -> String {
        format!("https://{BEHIND}:{}", self.https.address().port())
    }

    /// `http://ADDRESS:PORT`: the same receiver without TLS.
    pub fn http_url(&self) -> String {
        format!("http://{}", self.http.address())
    }

    /// The CA that signed the serving certificate, PEM.
    pub fn ca_pem(&self) -> &str {
        self.authority.ca_pem()
    }

    /// Answers every request like this from now on, unless something below applies; what hangs is answered too.
    pub fn always(&self, answer: Answer) {
        self.change(|state| state.always = answer);
    }

    /// Answers the next requests like these, one each, before all else.
    pub fn next(&self, answers: impl IntoIterator<Item = Answer>) {
        self.change(|state| state.next.extend(answers));
    }

    /// Answers a request by what it holds where the judge has an answer: a batch with a poisoned record, say.
    pub fn judge(&self, judge: impl Fn(&Received) -> Option<Answer> + Send + 'static) {
        self.change(|state| state.judge = Some(Box::new(judge)));
    }

    /// Answers 401 to every request without this bearer token.
    pub fn require_token(&self, token: &str) {
        self.change(|state| state.token = Some(token.to_string()));
    }

    /// A black hole: connections stay up, and no byte goes either way, until told otherwise.
    pub fn black_hole(&self, on: bool) {
        self.https.wire().set_silent(on);
        self.http.wire().set_silent(on);
    }

    /// Ends all connections and refuses new ones.
    pub async fn go_down(&self) {
        self.https.go_down().await;
        self.http.go_down().await;
    }

    /// Listens again at the same addresses.
    pub async fn come_up(&self) -> std::io::Result<()> {
        self.https.come_up().await?;
        self.http.come_up().await
    }

    /// All requests so far, in the order of their arrival, whatever they were answered.
    pub fn received(&self) -> Vec<Received> {
        self.inner.lock().received.clone()
    }

    /// How many requests came, kept or not.
    pub fn count(&self) -> u64 {
        self.inner.lock().count
    }

    /// What was accepted, by key, as it first came.
    pub fn accepted(&self) -> BTreeMap<String, Value> {
        let mut accepted = BTreeMap::new();
        for request in self.inner.lock().received.iter().filter(|request| request.accepted()) {
            for (key, record) in request.keyed() {
                accepted.entry(key.to_string()).or_insert_with(|| record.clone());
            }
        }
        accepted
    }

    /// The keys under which more than one body came, accepted or not: there must be none.
    pub fn unfrozen(&self) -> Vec<String> {
        let state = self.inner.lock();
        let mut bodies: BTreeMap<&str, &Value> = BTreeMap::new();
        let mut unfrozen = Vec::new();
        for (key, body) in state.received.iter().flat_map(Received::keyed) {
            if *bodies.entry(key).or_insert(body) != body {
                unfrozen.push(key.to_string());
            }
        }
        unfrozen.sort();
        unfrozen.dedup();
        unfrozen
    }

    /// Forgets the requests so far; the order of arrival goes on.
    pub fn forget(&self) {
        self.inner.lock().received.clear();
    }

    /// Waits until what was received satisfies a condition, looking again after every request and answer.
    pub async fn until(
        &self,
        what: &str,
        deadline: Duration,
        mut holds: impl FnMut(&[Received]) -> bool,
    ) -> anyhow::Result<Vec<Received>> {
        let mut changes = self.inner.changes.subscribe();
        let held = async {
            loop {
                {
                    let state = self.inner.lock();
                    if holds(&state.received) {
                        return state.received.clone();
                    }
                }
                // The sender lives in self, so this cannot end early.
                let _ = changes.changed().await;
            }
        };
        match timeout(deadline, held).await {
            Ok(received) => Ok(received),
            Err(_) => bail!("after {deadline:?} still not: {what}; received: {:#?}", self.summary()),
        }
    }

    /// One line for each request, for errors.
    fn summary(&self) -> Vec<String> {
        let state = self.inner.lock();
        let line = |request: &Received| {
            let keys: Vec<&str> = request.keyed().into_iter().map(|(key, _)| key).collect();
            format!("{} {} {:?} keys {keys:?}", request.method, request.path, request.status)
        };
        state.received.iter().take(50).map(line).collect()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.inner.lock();
        change(&mut state);
        state.generation += 1;
        drop(state);
        self.inner.changes.send_replace(());
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Receiver").field("url", &self.url()).finish_non_exhaustive()
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
