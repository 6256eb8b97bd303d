//! One URL that takes requests: token, trust, proxy, timeouts and bounds.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{StatusCode, header};
use process::file;
use reqwest::{Client, Proxy, RequestBuilder, Response, Url, redirect};
use rules::Time;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use super::answer::{self, Answer};
use super::token::{Hash, TokenFile, hash};
use super::{Sent, Tried};
use crate::config::HttpTarget;
use crate::config::proxy::Via;
use crate::forward::outbox::Outcome;
use crate::forward::text::shown;

/// A receiver that is spoken to over HTTP.
#[derive(Debug)]
pub struct Endpoint {
    target: HttpTarget,
    token: Option<TokenFile>,
    /// The hash of where it was asked last, or of why that was not known; `None` before.
    asked: Mutex<Option<Hash>>,
    made: Mutex<Option<Made>>,
}

/// A client, and what it was made with.
#[derive(Clone, Debug)]
struct Made {
    ca_pem: Vec<u8>,
    via: Option<Via>,
    client: Client,
}

/// For the TCP connection; the whole request has the target's timeout.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The most of an answer's body that is read. What is longer costs the connection.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// A longer file of certificates is none: a bundle of all public authorities has a quarter of it.
const CA_BYTES_MAX: usize = 1024 * 1024;
/// No receiver answers this (RFC 9110 §15.5.8).
const UNKNOWN_TO_PROXY: StatusCode = StatusCode::PROXY_AUTHENTICATION_REQUIRED;
/// How hyper-util says that a proxy answered CONNECT with 407; the type of that error is not public.
const UNKNOWN_TO_TUNNEL: &str = "tunnel error: proxy authorization required";

impl Endpoint {
    /// The receiver at `target`.
    pub(super) fn new(target: HttpTarget) -> Self {
        let token = target.token_file.clone().map(TokenFile::new);
        Self { target, token, asked: Mutex::default(), made: Mutex::default() }
    }

    /// Posts `body`, a JSON document, under an idempotency key.
    pub(super) async fn post(&self, key: &str, body: String, now: Time) -> Tried {
        self.ask(now, |client, url| {
            client.post(url).header(header::CONTENT_TYPE, "application/json").header("idempotency-key", key).body(body)
        })
        .await
    }

    /// Asks for no more than the head of what is there (RFC 9110 §9.3.2), which changes nothing.
    pub(super) async fn head(&self, now: Time) -> Tried {
        self.ask(now, |client, url| client.head(url)).await
    }

    async fn ask(&self, now: Time, request: impl FnOnce(Client, Url) -> RequestBuilder) -> Tried {
        let unanswered = |sent| Tried { status: None, sent };
        // Without an address or a token nobody would know us: the same as being told so.
        let unknown = |why| unanswered(Sent { outcome: Outcome::Unauthorized, why });
        let url = self.target.url().await;
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = Some(mark(&url));
        let url = match url {
            Ok(url) => url,
            Err(why) => return unknown(why),
        };
        let Made { client, via, .. } = match self.made(&url).await {
            Ok(made) => made,
            Err(why) => return unanswered(Sent::failed(why)),
        };
        let mut request = request(client, url.clone());
        if let Some(token) = &self.token {
            match token.bearer().await {
                Ok(bearer) => request = request.header(header::AUTHORIZATION, bearer),
                Err(why) => return unknown(why),
            }
        }
        match (request.send().await, via) {
            (Ok(response), Some(via)) if response.status() == UNKNOWN_TO_PROXY => refused_by(&via),
            (Ok(response), _) => Tried { status: Some(response.status()), sent: read(response, &url, now).await },
            (Err(error), via) => failed(error, via.as_ref()),
        }
    }

    /// Whether the files of the address, of the token, of certificates and of the proxy hold what a request needs.
    pub(super) async fn check_files(&self) -> Result<(), String> {
        let url = self.target.url().await?;
        if let Some(token) = &self.token {
            token.bearer().await?;
        }
        self.made(&url).await.map(|_| ())
    }

    /// Whether the files of the token, of the address or of the proxy say something else than at the last request.
    pub(super) async fn has_new_credentials(&self) -> bool {
        if let Some(token) = &self.token
            && token.has_changed().await
        {
            return true;
        }
        let url = self.target.url().await;
        if Some(mark(&url)) != *self.asked.lock().unwrap_or_else(PoisonError::into_inner) {
            return true;
        }
        // What is wrong with the address is what was said of it last; what is wrong with the proxy, the next attempt says.
        let Ok(url) = url else { return false };
        let Ok(via) = self.target.proxy.to(&url).await else { return false };
        self.made.lock().unwrap_or_else(PoisonError::into_inner).as_ref().is_some_and(|made| made.via != via)
    }

    /// The client, made anew when the files of certificates or of the proxy have changed.
    async fn made(&self, url: &Url) -> Result<Made, String> {
        let ca_pem = match &self.target.ca_file {
            Some(path) => read_ca(path).await.map_err(|why| format!("caFile {} {why}", path.display()))?,
            None => Vec::new(),
        };
        let via = self.target.proxy.to(url).await?;
        let mut kept = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        match &*kept {
            Some(made) if made.ca_pem == ca_pem && made.via == via => Ok(made.clone()),
            _ => {
                let client = make(&ca_pem, via.as_ref(), self.target.timeout)?;
                let made = Made { ca_pem, via, client };
                *kept = Some(made.clone());
                Ok(made)
            }
        }
    }
}

/// Tells addresses apart, and what may be wrong with one, without keeping them.
fn mark(url: &Result<Url, String>) -> Hash {
    match url {
        Ok(url) => hash(url.as_str()),
        Err(why) => hash(why),
    }
}

/// A client as sinks are spoken to with, which trusts the authorities that are compiled in: the images have no others.
/// It goes through no proxy.
pub(crate) fn client(timeout: Duration) -> Result<Client, String> {
    make(&[], None, timeout)
}

fn make(ca_pem: &[u8], via: Option<&Via>, timeout: Duration) -> Result<Client, String> {
    let unmade = |error: reqwest::Error| format!("the HTTP client cannot be made: {error}");
    let mut builder = Client::builder()
        .tls_backend_preconfigured(tls(ca_pem)?)
        .user_agent(concat!("tocsin-aggregator/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        // What the environment says is not followed.
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(timeout)
        .pool_max_idle_per_host(1);
    if let Some(via) = via {
        let mut proxy = Proxy::all(via.to_string()).map_err(unmade)?;
        if let Some(credentials) = &via.credentials {
            proxy = proxy.custom_http_auth(credentials.clone());
        }
        builder = builder.proxy(proxy);
    }
    builder.build().map_err(unmade)
}

/// Trusts the public authorities, as compiled in, and those of `ca_pem`.
fn tls(ca_pem: &[u8]) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    for certificate in CertificateDer::pem_slice_iter(ca_pem) {
        let certificate = certificate.map_err(|error| format!("caFile is no PEM: {error}"))?;
        roots.add(certificate).map_err(|error| format!("caFile holds no usable certificate: {error}"))?;
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be set up: {error}"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

async fn read_ca(path: &Path) -> Result<Vec<u8>, String> {
    let pem = file::read(path, CA_BYTES_MAX).await.map_err(|error| format!("cannot be read: {error}"))?;
    // An empty file trusts nobody more, which is hardly what it is there for.
    if CertificateDer::pem_slice_iter(&pem).next().is_none() {
        return Err("holds no certificate: it must be PEM".to_owned());
    }
    Ok(pem)
}

/// Reads as much of the answer as is needed. The status counts even if its body does not come.
async fn read(mut response: Response, url: &Url, now: Time) -> Sent {
    let (status, headers) = (response.status(), response.headers().clone());
    let mut body = Vec::new();
    while body.len() < BODY_BYTES_MAX
        && let Ok(Some(chunk)) = response.chunk().await
    {
        body.extend_from_slice(&chunk[..chunk.len().min(BODY_BYTES_MAX - body.len())]);
    }
    answer::understand(&Answer { url, status, headers: &headers, body: &body }, now)
}

/// The proxy does not know us, and nobody behind it was asked: the same as not being known there.
fn refused_by(via: &Via) -> Tried {
    let advice = match via.credentials {
        Some(_) => {
            "refuses the name and password that it is given: write the right ones into the address in proxy.folder"
        }
        None => "wants a name and a password: write them into the address in proxy.folder",
    };
    let why = format!("the proxy {via} answered {UNKNOWN_TO_PROXY}: it {advice} (the chart's proxy.existingSecret)");
    Tried { status: Some(UNKNOWN_TO_PROXY), sent: Sent { outcome: Outcome::Unauthorized, why } }
}

/// A failure without an answer, with its causes. The URL stays out: a webhook's is a secret.
fn failed(error: reqwest::Error, via: Option<&Via>) -> Tried {
    let timed_out = error.is_timeout();
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    if let Some(via) = via.filter(|_| text.contains(UNKNOWN_TO_TUNNEL)) {
        return refused_by(via);
    }
    let through = via.map(|via| format!(" through the proxy {via}")).unwrap_or_default();
    let what = if timed_out { "it did not answer in time" } else { "it cannot be reached" };
    Tried { status: None, sent: Sent::failed(format!("{what}{through}: {}", shown(&text))) }
}
