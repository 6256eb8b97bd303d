//! Rule configuration, resolved: every kind with every number. The aggregator makes it from its own configuration and
//! pushes it to the agents, so a change of it rolls no DaemonSet.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::bounded;
use crate::catalogue::{Kind, Row};
use crate::finding::Severity;

/// The most kinds, and the most thresholds of a kind, that a peer may name.
const NAMES_MAX: usize = 512;
/// The most patterns of namespaces that a peer may name.
const NAMESPACES_MAX: usize = 4_096;

/// What an engine is told to look for. A kind that is not named here is off: so an aggregator never gets findings of a
/// kind that it does not know from agents newer than itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Which namespaces count.
    pub scope: Scope,
    /// By kind's name; names that the reader does not know are ignored.
    #[serde(deserialize_with = "bounded::map::<_, _, _, NAMES_MAX>")]
    pub kinds: BTreeMap<String, KindConfig>,
}

/// One kind's settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KindConfig {
    /// Whether its rule runs.
    pub enabled: bool,
    /// How long the condition must last before the finding is active.
    pub sustain: Duration,
    /// How long it must be quiet before the finding is cleared.
    pub hold: Duration,
    /// How bad it is.
    pub severity: Severity,
    /// The rule's own numbers, all of [`Row::thresholds`].
    #[serde(deserialize_with = "bounded::map::<_, _, _, NAMES_MAX>")]
    pub thresholds: BTreeMap<String, f64>,
}

/// Which namespaces count. Patterns are globs: `*` stands for any run of characters, `?` for one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// Only these; empty means all.
    #[serde(deserialize_with = "bounded::list::<_, _, NAMESPACES_MAX>")]
    pub watch: Vec<String>,
    /// Not these.
    #[serde(deserialize_with = "bounded::list::<_, _, NAMESPACES_MAX>")]
    pub exclude: Vec<String>,
    /// What counts in kube-system, kube-public and kube-node-lease.
    pub system: SystemNamespaces,
}

/// What counts in the system namespaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SystemNamespaces {
    /// Only what is critical.
    #[default]
    Critical,
    /// Nothing.
    Off,
    /// Everything, as elsewhere.
    All,
}

impl KindConfig {
    /// The catalogue's defaults for a kind.
    pub fn of(row: &Row) -> Self {
        Self {
            enabled: true,
            sustain: row.sustain,
            hold: row.hold,
            severity: row.severity,
            thresholds: row.thresholds.iter().map(|&(name, value)| (name.to_owned(), value)).collect(),
        }
    }
}

impl Config {
    /// The settings of `kind`; `None` when it is off.
    pub fn of(&self, kind: Kind) -> Option<&KindConfig> {
        self.kinds.get(kind.name()).filter(|config| config.enabled)
    }
}

impl Default for Config {
    /// Every kind as the catalogue says it.
    fn default() -> Self {
        let kinds = Kind::all().map(|kind| (kind.name().to_owned(), KindConfig::of(kind.row()))).collect();
        Self { scope: Scope::default(), kinds }
    }
}
