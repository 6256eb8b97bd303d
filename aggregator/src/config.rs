//! The configuration: one YAML file, resolved into what the stages and the shell go by.

mod address;
pub(crate) mod proxy;
mod raw;
pub mod reload;
mod resolve;
mod tree;
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;

pub use self::address::Address;
pub use self::proxy::Proxy;
pub use self::tree::Problems;
use crate::settings::Settings;
use crate::sinks::Sink;

/// The configuration, resolved: every value is there and within its bounds.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// What the pure stages go by. The cluster's id is not in any file: it is still empty.
    pub settings: Settings,
    /// Where each sink of [`Settings::sinks`] is.
    pub targets: BTreeMap<Arc<str>, SinkTarget>,
    /// Who watches pods.
    pub coverage: Coverage,
    /// The node-agents.
    pub agents: Agents,
    /// Narrows the watch over the agents' pods; `None` looks at all pods of the DaemonSet's namespace.
    pub agent_selector: Option<Arc<str>>,
    /// The file names no sink: one on standard output stands in.
    pub told_on_stdout_only: bool,
}

impl Config {
    /// Whether the files that sinks and the proxy name can be read now, and hold what a request needs. Not asked at a start: a
    /// Secret may be mounted later.
    pub async fn check_files(&self) -> anyhow::Result<()> {
        for (name, target) in &self.targets {
            Sink::new(target).check_files().await.map_err(|why| anyhow::anyhow!("sinks.{name}: {why}"))?;
        }
        Ok(())
    }
}

/// Where a sink is, and how it is spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SinkTarget {
    /// The ingestion API: batches of records (`aggregator/openapi.yaml`).
    Ingest(HttpTarget),
    /// One record a request.
    Webhook(HttpTarget),
    /// One record a line on standard output.
    Stdout,
}

/// A sink that is spoken to over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpTarget {
    /// Where it is.
    pub address: Address,
    /// A file with a bearer token, read anew when it changes; its path only, so it may be logged.
    pub token_file: Option<PathBuf>,
    /// PEM certificates to trust beside the usual ones.
    pub ca_file: Option<PathBuf>,
    /// What may be between.
    pub proxy: Proxy,
    /// For one request, from the connection to the last byte of the answer.
    pub timeout: Duration,
}

/// Who watches pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Coverage {
    /// On each node an agent, and the aggregator those without a node.
    Agents,
    /// The aggregator all of them: there are no agents.
    Cluster,
    /// The aggregator those of these namespaces, and nothing else: it has no right in the whole cluster.
    Namespaces(BTreeSet<Arc<str>>),
}

/// Who the node-agents are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agents {
    /// The one ServiceAccount that is let in.
    pub service_account: NamespacedName,
    /// The audience that their tokens must be for.
    pub audience: Arc<str>,
    /// Their DaemonSet: its pods say on which nodes there should be an agent.
    pub daemon_set: NamespacedName,
}

/// The types of sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SinkType {
    /// [`SinkTarget::Ingest`].
    Ingest,
    /// [`SinkTarget::Webhook`].
    Webhook,
    /// [`SinkTarget::Stdout`].
    Stdout,
}

/// A name in a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespacedName {
    /// The namespace.
    pub namespace: Arc<str>,
    /// The name.
    pub name: Arc<str>,
}

/// Why a token and an address may not go together.
const ENCRYPTED: &str = "a token is sent over https only";

/// The largest file that is read, in bytes: what fits into a ConfigMap.
pub const FILE_BYTES_MAX: usize = 1024 * 1024;

impl Config {
    /// Reads a file's `text` for an aggregator that runs in `namespace`. All that is wrong with it comes back at once.
    pub fn parse(text: &str, namespace: &str) -> Result<Self, Problems> {
        let problems = Problems::default();
        if text.len() > FILE_BYTES_MAX {
            problems.add("", format_args!("the file has {} bytes, at most {FILE_BYTES_MAX} are read", text.len()));
            return Err(problems);
        }
        // Only true and false are booleans: `off` is a word of ours.
        let options = serde_saphyr::options! { strict_booleans: true, with_snippet: false };
        let tree = match serde_saphyr::from_str_with_options::<Option<serde_json::Value>>(text, options) {
            Ok(tree) => tree.unwrap_or_default(),
            Err(error) => {
                problems.add("", not_yaml(&error));
                return Err(problems);
            }
        };
        let raw = raw::RawConfig::read(tree, &problems);
        let config = resolve::resolve(raw, namespace, &problems);
        if problems.is_empty() { Ok(config) } else { Err(problems) }
    }
}

/// What is wrong with a text as YAML, and where.
fn not_yaml(error: &serde_saphyr::Error) -> String {
    match error {
        serde_saphyr::Error::DuplicateMappingKey { key, location } => {
            let key = key.as_deref().map_or_else(|| "a key".to_owned(), tree::quoted);
            format!("line {}: {key} is there for the second time: leave one of them out", location.line())
        }
        error => format!("not YAML: {error}"),
    }
}

impl HttpTarget {
    /// Where it is now. An error says what is wrong with the file that says it.
    pub(crate) async fn url(&self) -> Result<Url, String> {
        let url = self.address.now().await?;
        if let Address::File(path) = &self.address
            && self.token_file.is_some()
            && !is_private(&url)
        {
            return Err(format!(
                "urlFile {} must begin with https://, or tokenFile be left out: {ENCRYPTED}",
                path.display()
            ));
        }
        Ok(url)
    }
}

/// Whether nobody else reads what is sent there.
fn is_private(url: &Url) -> bool {
    url.scheme() == "https" || proxy::is_loopback(url)
}

impl SinkType {
    /// Every type.
    pub const ALL: [Self; 3] = [Self::Ingest, Self::Webhook, Self::Stdout];

    /// How it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Webhook => "webhook",
            Self::Stdout => "stdout",
        }
    }
}

#[cfg(test)]
mod tests;
