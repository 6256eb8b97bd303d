//! One URL that takes requests: token, trust, timeouts and bounds.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::header;
use reqwest::{Client, RequestBuilder, Response, Url, redirect};
use rules::Time;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::AsyncReadExt as _;

use super::answer::{self, Answer};
use super::token::TokenFile;
use super::{Sent, Tried};
use crate::config::HttpTarget;
use crate::forward::outbox::Outcome;
use crate::forward::text::shown;

/// A receiver that is spoken to over HTTP.
#[derive(Debug)]
pub struct Endpoint {
    target: HttpTarget,
    token: Option<TokenFile>,
    /// The client, and the certificates that it was made with.
    client: Mutex<Option<(Vec<u8>, Client)>>,
}

/// For the TCP connection; the whole request has the target's timeout.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The most of an answer's body that is read. What is longer costs the connection.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// A longer file of certificates is none: a bundle of all public authorities has a quarter of it.
const CA_BYTES_MAX: u64 = 1024 * 1024;

impl Endpoint {
    /// The receiver at `target`.
    pub(super) fn new(target: HttpTarget) -> Self {
        let token = target.token_file.clone().map(TokenFile::new);
        Self { target, token, client: Mutex::default() }
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
        let client = match self.client().await {
            Ok(client) => client,
            Err(why) => return unanswered(Sent::failed(why)),
        };
        let mut request = request(client, self.target.url.clone());
        if let Some(token) = &self.token {
            match token.bearer().await {
                Ok(bearer) => request = request.header(header::AUTHORIZATION, bearer),
                // Without a token nobody would know us: the same as being told so.
                Err(why) => return unanswered(Sent { outcome: Outcome::Unauthorized, why }),
            }
        }
        match request.send().await {
            Ok(response) => Tried { status: Some(response.status()), sent: read(response, now).await },
            Err(error) => unanswered(Sent::failed(explain(error))),
        }
    }

    /// Whether the token file says something else than at the last request.
    pub(super) async fn has_new_token(&self) -> bool {
        match &self.token {
            Some(token) => token.has_changed().await,
            None => false,
        }
    }

    /// The client, made anew when the file of certificates has changed.
    async fn client(&self) -> Result<Client, String> {
        let pem = match &self.target.ca_file {
            Some(path) => read_ca(path).await.map_err(|why| format!("caFile {} {why}", path.display()))?,
            None => Vec::new(),
        };
        let mut client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        match &*client {
            Some((made_with, client)) if *made_with == pem => Ok(client.clone()),
            _ => {
                let made = make(&pem, self.target.timeout)?;
                *client = Some((pem, made.clone()));
                Ok(made)
            }
        }
    }
}

/// A client as sinks are spoken to with, which trusts the authorities that are compiled in: the images have no others.
pub(crate) fn client(timeout: Duration) -> Result<Client, String> {
    make(&[], timeout)
}

fn make(ca_pem: &[u8], timeout: Duration) -> Result<Client, String> {
    Client::builder()
        .tls_backend_preconfigured(tls(ca_pem)?)
        .user_agent(concat!("tocsin-aggregator/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(timeout)
        .pool_max_idle_per_host(1)
        .build()
        .map_err(|error| format!("the HTTP client cannot be made: {error}"))
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
    let read = async {
        let mut pem = Vec::new();
        tokio::fs::File::open(path).await?.take(CA_BYTES_MAX + 1).read_to_end(&mut pem).await?;
        io::Result::Ok(pem)
    };
    let pem = read.await.map_err(|error| format!("cannot be read: {error}"))?;
    if pem.len() as u64 > CA_BYTES_MAX {
        return Err(format!("is longer than {CA_BYTES_MAX} bytes"));
    }
    // An empty file trusts nobody more, which is hardly what it is there for.
    if CertificateDer::pem_slice_iter(&pem).next().is_none() {
        return Err("holds no certificate: it must be PEM".to_owned());
    }
    Ok(pem)
}

/// Reads as much of the answer as is needed. The status counts even if its body does not come.
async fn read(mut response: Response, now: Time) -> Sent {
    let (status, headers) = (response.status(), response.headers().clone());
    let mut body = Vec::new();
    while body.len() < BODY_BYTES_MAX
        && let Ok(Some(chunk)) = response.chunk().await
    {
        body.extend_from_slice(&chunk[..chunk.len().min(BODY_BYTES_MAX - body.len())]);
    }
    answer::understand(&Answer { status, headers: &headers, body: &body }, now)
}

/// A failure without an answer, with its causes. The URL stays out: a webhook's is a secret.
fn explain(error: reqwest::Error) -> String {
    let timed_out = error.is_timeout();
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    let what = if timed_out { "it did not answer in time" } else { "it cannot be reached" };
    format!("{what}: {}", shown(&text))
}
