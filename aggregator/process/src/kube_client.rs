//! How the API server is reached: from inside of a cluster, or through a kubeconfig.
//!
//! - kube's own retries are off: they repeat 429, 503 and 504 for minutes, which defeats deadlines of ours.
//! - Proxy variables of the environment are ignored: the API server is inside.
//! - Every answer's `Date` goes to the [`Clock`].

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use futures::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use kube::client::ClientBuilder;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use rules::Time;
use tower::{Layer, Service};

use crate::clock::Clock;
use crate::file;
use crate::watch::SILENCE;

/// What in-cluster configuration is made from; the kubelet sets it in every pod.
const SERVICE_HOST: &str = "KUBERNETES_SERVICE_HOST";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A longer file is no kubeconfig.
const KUBECONFIG_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How to reach the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// A kubeconfig file; without it, the pod's own ServiceAccount.
    pub kubeconfig: Option<PathBuf>,
    /// A context of the kubeconfig other than its current one.
    pub context: Option<String>,
    /// A connection without a byte for so long is dead. Watches that are exempt from silence need a longer one.
    pub read_timeout: Duration,
}

impl Default for Access {
    fn default() -> Self {
        Self { kubeconfig: None, context: None, read_timeout: SILENCE }
    }
}

/// A client of the API server whose answers set `clock`. `user_agent` is what audit logs show, as
/// `tocsin-aggregator/0.1.0`. It connects on first use. The error says what is wrong with the configuration.
pub async fn connect(access: &Access, clock: &Clock, user_agent: &'static str) -> anyhow::Result<Client> {
    let mut config = match (&access.kubeconfig, &access.context) {
        (Some(path), context) => from_kubeconfig(path, context.clone()).await?,
        (None, Some(context)) => bail!("context {context:?} is given without a kubeconfig: name the file as well"),
        (None, None) if !is_inside() => {
            bail!("not inside of a cluster ({SERVICE_HOST} is not set): pass --kubeconfig FILE")
        }
        (None, None) => Config::incluster().context("cannot read the pod's ServiceAccount")?,
    };
    config.headers.push((header::USER_AGENT, HeaderValue::from_static(user_agent)));
    build(config, access.read_timeout, clock)
}

/// Whether [`connect`] can use what `access` names, as far as files say; no connection is made. Without a kubeconfig that
/// is the pod's own ServiceAccount, which is only asked for in a pod.
pub async fn check(access: &Access, clock: &Clock, user_agent: &'static str) -> anyhow::Result<()> {
    let is_of_a_pod = access.kubeconfig.is_none() && access.context.is_none();
    if is_of_a_pod && !is_inside() {
        return Ok(());
    }
    connect(access, clock, user_agent).await.map(drop)
}

/// A client for a configuration made elsewhere, with our timeouts and without kube's retries.
pub fn build(mut config: Config, read_timeout: Duration, clock: &Clock) -> anyhow::Result<Client> {
    config.default_retry = false;
    config.proxy_url = None;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(read_timeout);
    // Or the time that a pooled connection sat idle would count against the next answer.
    config.reset_reader_on_write = true;
    let address = config.cluster_url.clone();
    let builder = ClientBuilder::try_from(config).with_context(|| format!("cannot use the API server at {address}"))?;
    Ok(builder.with_layer(&DateLayer(clock.clone())).build())
}

/// Whether this process runs in a pod.
fn is_inside() -> bool {
    std::env::var_os(SERVICE_HOST).is_some()
}

async fn from_kubeconfig(path: &Path, context: Option<String>) -> anyhow::Result<Config> {
    let shown = path.display();
    let unread = |why: &dyn Display| anyhow!("cannot read kubeconfig {shown}: {why}: check --kubeconfig");
    // What reads it next would wait for a pipe, and has no bound.
    file::read(path, KUBECONFIG_BYTES_MAX).await.map_err(|error| unread(&error))?;
    let kubeconfig = Kubeconfig::read_from(path).map_err(|error| match error {
        KubeconfigError::ReadConfig(error, _) => unread(&error),
        // The words of the parser show the lines around, with what is secret in them.
        KubeconfigError::Parse(error) => match error.location() {
            Some(at) => unread(&format!("it is no kubeconfig from line {}, column {} on", at.line(), at.column())),
            None => unread(&"it is no kubeconfig"),
        },
        error => anyhow!("cannot read kubeconfig {shown}: {error}"),
    })?;
    if has_proxy(&kubeconfig, context.as_deref()) {
        bail!("kubeconfig {shown} asks for a proxy, which is not supported: remove proxy-url");
    }
    let options = KubeConfigOptions { context, ..KubeConfigOptions::default() };
    // Its causes are in its words already.
    let unusable = |error| anyhow!("cannot use kubeconfig {shown}: {error}");
    Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(unusable)
}

/// Whether the cluster that the context names has a `proxy-url`. It may hold credentials, so it is not shown.
fn has_proxy(kubeconfig: &Kubeconfig, context: Option<&str>) -> bool {
    let proxy = || {
        let context = context.or(kubeconfig.current_context.as_deref())?;
        let cluster = &kubeconfig.contexts.iter().find(|named| named.name == context)?.context.as_ref()?.cluster;
        let cluster = kubeconfig.clusters.iter().find(|named| named.name == *cluster)?.cluster.as_ref()?;
        cluster.proxy_url.as_deref()
    };
    proxy().is_some_and(|proxy| !proxy.is_empty())
}

/// Shows every answer's `Date` to the clock.
#[derive(Clone, Debug)]
struct DateLayer(Clock);

#[derive(Clone, Debug)]
struct Dated<S> {
    inner: S,
    clock: Clock,
}

impl<S> Layer<S> for DateLayer {
    type Service = Dated<S>;

    fn layer(&self, inner: S) -> Dated<S> {
        Dated { inner, clock: self.0.clone() }
    }
}

impl<S, A, B> Service<Request<A>> for Dated<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<B>, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let clock = self.clock.clone();
        let sent = clock.mark();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            if let Some(date) = date_of(answer.headers()) {
                clock.observe_date(date, sent, clock.mark());
            }
            Ok(answer)
        })
    }
}

fn date_of(headers: &HeaderMap) -> Option<Time> {
    Time::of_http_date(headers.get(header::DATE)?.to_str().ok()?)
}

#[cfg(test)]
mod tests;
