//! The configuration: one YAML file, resolved into what the stages and the shell go by.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;

use crate::settings::Settings;

/// The configuration, resolved: every value is there and within its bounds.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// What the pure stages go by. The cluster's id is not in any file: it is still empty.
    pub settings: Settings,
    /// Where each sink of [`Settings::sinks`] is.
    pub targets: BTreeMap<Arc<str>, SinkTarget>,
    /// The node-agents.
    pub agents: Agents,
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
    /// `http` or `https`; without credentials.
    pub url: Url,
    /// A file with a bearer token, read anew when it changes; its path only, so it may be logged.
    pub token_file: Option<PathBuf>,
    /// PEM certificates to trust beside the usual ones.
    pub ca_file: Option<PathBuf>,
    /// For one request, from the connection to the last byte of the answer.
    pub timeout: Duration,
}

/// Who the node-agents are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agents {
    /// The one ServiceAccount that is let in.
    pub service_account: NamespacedName,
    /// The audience that their tokens must be for.
    pub audience: Arc<str>,
    /// Their DaemonSet.
    pub daemon_set: NamespacedName,
}

/// A name in a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespacedName {
    /// The namespace.
    pub namespace: Arc<str>,
    /// The name.
    pub name: Arc<str>,
}
