//! A simulated Kubernetes API server over real HTTP and HTTPS, for tests, benches and the demo.
//!
//! ```text
//!   request ─▶ counted ─▶ faults ─▶ authenticated ─▶ allowed ─▶ read / written ─▶ answer
//!                                                                    │
//!   script, story ───────────────────────────────────────────────▶ store ─▶ history ─▶ watchers (by node) ─▶ streams
//! ```
//!
//! It keeps the semantics that clients depend on: one growing version over all objects, LIST and WATCH from versions,
//! selectors, bookmarks, 410 both ways, optimistic locking, `Date`. What it does not do: validation, defaulting beyond
//! the basics, admission, controllers (stories play those), strategic merge and apply patches.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::watch;

mod asked;
mod clock;
mod events;
mod faults;
mod handle;
mod kubelet;
mod list;
mod nodes;
mod object;
mod review;
mod script;
mod selector;
mod state;
mod status;
mod store;
mod story;
mod stream;
mod target;
mod template;
mod tokens;
mod watchers;
mod workloads;
mod write;

pub use asked::{Asked, Request};
pub use clock::{micros, seconds};
pub use faults::{Cut, Fault, FaultId, On};
pub use story::PodRef;
pub use template::{Container, PodTemplate};
pub use tokens::{API_AUDIENCE, Identity};
pub use workloads::{Deployment, Rollout};

use crate::certs::{Authority, LOOPBACK};
use crate::listener::{Listener, Service};
use clock::Clock;
use state::State;
use store::Store;

/// How the server starts. What changes while it runs has a method of [`ApiServer`].
#[derive(Clone, Debug)]
pub struct Options {
    /// The version that the empty server has; there is no history before it.
    pub first_version: u64,
    /// How many changes of each resource are kept for watches that begin in the past.
    pub history_max: usize,
    /// How often a watch that asked for them gets bookmarks; the real server's minute.
    pub bookmark_period: Duration,
    /// How long a LIST waits for a version that is not there yet, before 504; the real server's 3 s.
    pub fresh_wait: Duration,
    /// Whether clients must present a known token.
    pub authenticate: bool,
    /// Whether a TokenReview names the node of the pod that a token is bound to (KEP-4193); before v1.30 none does.
    pub names_nodes: bool,
    /// Whether it knows the `drop=metadata.managedFields` parameter of `Accept`; v1.36 does not.
    pub drop_managed_fields: bool,
}

/// A running server; it ends with its value.
pub struct ApiServer {
    inner: Arc<Inner>,
    authority: Authority,
    /// None for a cluster that only stories change and that is read past HTTP.
    sockets: Option<Sockets>,
}

/// Where a server is reached.
struct Sockets {
    https: Listener,
    http: Listener,
}

/// What all connections share.
struct Inner {
    options: Options,
    clock: Clock,
    state: Mutex<State>,
    changes: watch::Sender<()>,
    /// How long ago it happened what stories write.
    backdated: Mutex<Duration>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            first_version: 1000,
            history_max: 10_000,
            bookmark_period: Duration::from_mins(1),
            fresh_wait: Duration::from_secs(3),
            authenticate: false,
            names_nodes: true,
            drop_managed_fields: false,
        }
    }
}

impl ApiServer {
    /// Starts a server with the namespaces that every cluster has.
    pub async fn start(options: Options) -> anyhow::Result<Self> {
        let mut server = Self::without_sockets(options)?;
        let serving = server.inner.clone();
        let service: Service = Arc::new(move |request| Box::pin(handle::handle(serving.clone(), request)));
        let names = [LOOPBACK.as_slice(), &["kubernetes", "kubernetes.default.svc"]].concat();
        let tls = server.authority.leaf(&names)?.server_config()?;
        let https = Listener::start(Some(tls), service.clone()).await.context("no port for the API server")?;
        let http = Listener::start(None, service).await.context("no port for the API server")?;
        server.sockets = Some(Sockets { https, http });
        Ok(server)
    }

    /// The same, not listening anywhere: stories write it, [`ApiServer::objects`] reads it.
    pub fn without_sockets(options: Options) -> anyhow::Result<Self> {
        let state = State {
            store: Store::new(options.first_version, options.history_max),
            faults: faults::Faults::default(),
            denied: Vec::new(),
            asked: Asked::default(),
            tokens: tokens::Tokens::default(),
            lag: None,
            bookmarks_silent: false,
            expired_by_http: false,
            graceful_deletion: false,
        };
        let inner = Arc::new(Inner {
            options,
            clock: Clock::default(),
            state: Mutex::new(state),
            changes: watch::Sender::new(()),
            backdated: Mutex::default(),
        });
        let server = Self { inner, authority: Authority::new("simulated-kubernetes-ca")?, sockets: None };
        for namespace in ["default", "kube-system", "kube-public", "kube-node-lease"] {
            server.add_namespace(namespace);
        }
        Ok(server)
    }

    fn sockets(&self) -> &Sockets {
        self.sockets.as_ref().expect("a server that was started without sockets is not reached by any")
    }

    /// `https://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("https://{}", self.sockets().https.address())
    }

    /// `http://127.0.0.1:PORT`: the same server without TLS.
    pub fn http_url(&self) -> String {
        format!("http://{}", self.sockets().http.address())
    }

    /// The CA that signed the serving certificate, PEM.
    pub fn ca_pem(&self) -> &str {
        self.authority.ca_pem()
    }

    /// Writes a kubeconfig for this server, with a bearer token if given.
    pub fn write_kubeconfig(&self, path: &Path, token: Option<&str>) -> anyhow::Result<()> {
        let ca = path.with_extension("ca.pem");
        std::fs::write(&ca, self.ca_pem()).with_context(|| format!("cannot write {}", ca.display()))?;
        let user = token.map_or("{}".to_string(), |token| format!("{{token: {token:?}}}"));
        let (url, ca) = (self.url(), ca.display().to_string());
        let config = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: simulated\n\
             clusters: [{{name: simulated, cluster: {{server: {url:?}, certificate-authority: {ca:?}}}}}]\n\
             users: [{{name: simulated, user: {user}}}]\n\
             contexts: [{{name: simulated, context: {{cluster: simulated, user: simulated}}}}]\n"
        );
        std::fs::write(path, config).with_context(|| format!("cannot write {}", path.display()))
    }
}

impl fmt::Debug for ApiServer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ApiServer")
            .field("url", &self.sockets.as_ref().map(|sockets| sockets.https.address()))
            .finish_non_exhaustive()
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes who waits for something to have changed.
    fn changed(&self) {
        self.changes.send_replace(());
    }

    /// Waits until something holds.
    async fn wait(&self, mut holds: impl FnMut(&State) -> bool) {
        let mut changes = self.changes.subscribe();
        // The sender lives in self, so the wait cannot fail.
        while !holds(&self.lock()) && changes.changed().await.is_ok() {}
    }
}

/// A random uid in the form of a version 4 UUID.
fn uid() -> String {
    let (high, low) = (fastrand::u64(..), fastrand::u64(..));
    format!(
        "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xfff,
        low >> 52,
        low & 0xffff_ffff_ffff
    )
}

/// Five characters as the server appends to generated names.
fn suffix() -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    (0..5).map(|_| char::from(ALPHABET[fastrand::usize(..ALPHABET.len())])).collect()
}
