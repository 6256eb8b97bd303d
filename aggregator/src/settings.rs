//! What the pure stages go by: the resolved configuration, without the files and addresses that only the shell needs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rules::{Config, Severity};

/// The settings of every pure stage.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Who we are, in every message.
    pub cluster: Cluster,
    /// Where people's runbooks are: an address without a slash at its end, below which each kind has a page of its name.
    pub runbooks: Option<Arc<str>>,
    /// The rules, pushed to the agents.
    pub rules: Arc<Config>,
    /// Between two heartbeats of an agent.
    pub heartbeat: Duration,
    /// How long a session lasts before its agent must show its token again.
    pub session_lasts: Duration,
    /// After a start, how long expected agents that have not reported yet keep issues from resolving.
    pub resync_window: Duration,
    /// The most findings kept; what does not fit is shed and counted.
    pub findings_max: usize,
    /// The sinks by name.
    pub sinks: BTreeMap<Arc<str>, SinkSettings>,
}

/// Who we are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    /// What people call it.
    pub name: String,
    /// What it is: the UID of the kube-system namespace, or of our own. Part of every key, so that two clusters never share an issue.
    pub id: String,
    /// Labels for every message.
    pub labels: BTreeMap<String, String>,
}

/// What the pure stages know of a sink.
#[derive(Clone, Debug, PartialEq)]
pub struct SinkSettings {
    /// Less severe issues are not for it.
    pub min_severity: Severity,
    /// Whether a finding stays unsettled until this sink has it.
    pub required: bool,
    /// Records a minute, on average; `None` for no limit.
    pub rate_per_minute: Option<u32>,
    /// The most records in one request.
    pub batch_max: usize,
}

impl Settings {
    /// The longest between two heartbeats: a connection is idle after twice that.
    pub const HEARTBEAT_MAX: Duration = Duration::from_secs(150);
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            cluster: Cluster::default(),
            runbooks: None,
            rules: Arc::new(Config::default()),
            heartbeat: Duration::from_secs(30),
            session_lasts: Duration::from_hours(1),
            resync_window: Duration::from_mins(5),
            findings_max: 200_000,
            sinks: BTreeMap::new(),
        }
    }
}

impl Default for SinkSettings {
    fn default() -> Self {
        Self { min_severity: Severity::Warning, required: true, rate_per_minute: Some(20), batch_max: 100 }
    }
}
