//! What may be written into the file: every key with its bounds. Nothing here has a default; that is `resolve`'s.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use rules::name::is_object_name;
use rules::{Kind, Nature, Severity, SystemNamespaces};
use serde_json::Value;

use super::tree::{Problems, Section, unknown};
use super::{NamespacedName, SinkType, values};
use crate::settings::Settings;

/// The file.
#[derive(Debug)]
pub(super) struct RawConfig {
    pub(super) cluster_name: Option<String>,
    pub(super) extra_labels: BTreeMap<String, String>,
    pub(super) runbooks: Option<Arc<str>>,
    pub(super) restrict_to_namespaces: Option<BTreeSet<Arc<str>>>,
    pub(super) watch_namespaces: Option<Vec<String>>,
    pub(super) exclude_namespaces: Option<Vec<String>>,
    pub(super) system_namespaces: Option<SystemNamespaces>,
    pub(super) rules: BTreeMap<Kind, RawRule>,
    pub(super) agents: RawAgents,
    pub(super) proxy: RawProxy,
    pub(super) sinks: BTreeMap<String, RawSink>,
}

/// `rules.<Kind>`.
#[derive(Debug)]
pub(super) struct RawRule {
    pub(super) enabled: Option<bool>,
    pub(super) severity: Option<Severity>,
    pub(super) sustain: Option<Duration>,
    pub(super) hold: Option<Duration>,
    pub(super) thresholds: BTreeMap<&'static str, f64>,
}

/// `agents`.
#[derive(Debug)]
pub(super) struct RawAgents {
    pub(super) enabled: Option<bool>,
    pub(super) heartbeat: Option<Duration>,
    pub(super) session: Option<Duration>,
    pub(super) resync: Option<Duration>,
    pub(super) service_account: Option<NamespacedName>,
    pub(super) audience: Option<String>,
    pub(super) daemon_set: Option<NamespacedName>,
    pub(super) pod_selector: Option<Arc<str>>,
}

/// `proxy`.
#[derive(Debug)]
pub(super) struct RawProxy {
    pub(super) http: Option<Url>,
    pub(super) https: Option<Url>,
    pub(super) no_proxy: Option<String>,
    pub(super) folder: Option<PathBuf>,
}

/// `sinks.<name>`.
#[derive(Debug)]
pub(super) struct RawSink {
    pub(super) kind: Option<SinkType>,
    pub(super) url: Option<Url>,
    pub(super) url_file: Option<PathBuf>,
    pub(super) token_file: Option<PathBuf>,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) min_severity: Option<Severity>,
    pub(super) required: Option<bool>,
    pub(super) rate_per_minute: Option<u32>,
    pub(super) batch: Option<u32>,
    pub(super) timeout: Option<Duration>,
}

const LABELS_MAX: usize = 32;
const LABEL_CHARS_MAX: usize = 256;
const SINKS_MAX: usize = 16;
/// A rule's own numbers are percentages, counts and seconds.
const THRESHOLD_MAX: f64 = 1_000_000.0;
const DAY: Duration = Duration::from_hours(24);

impl RawConfig {
    /// Reads the file's tree.
    pub(super) fn read(tree: Value, problems: &Problems) -> Self {
        let mut file = Section::new(String::new(), Some(tree), problems);
        let raw = Self {
            cluster_name: file.take("clusterName", values::text(100, "prod-eu-1")),
            extra_labels: labels(&mut file, problems),
            runbooks: file.take("runbookBaseUrl", values::runbooks),
            restrict_to_namespaces: file.take("restrictToNamespaces", values::namespace_names),
            watch_namespaces: file.take("watchNamespaces", values::namespaces),
            exclude_namespaces: file.take("excludeNamespaces", values::namespaces),
            system_namespaces: file.take("systemNamespaces", values::system_namespaces),
            rules: rules(&mut file, problems),
            agents: RawAgents::read(file.section("agents")),
            proxy: RawProxy::read(file.section("proxy")),
            sinks: sinks(&mut file, problems),
        };
        file.done();
        raw
    }
}

impl RawRule {
    fn read(kind: Kind, mut section: Section<'_>) -> Self {
        let mut thresholds = BTreeMap::new();
        for &(name, _) in kind.row().thresholds {
            if let Some(value) = section.take(name, values::number(0.0..=THRESHOLD_MAX)) {
                thresholds.insert(name, value);
            }
        }
        let raw = Self {
            enabled: section.take("enabled", values::flag),
            severity: section.take("severity", values::severity),
            sustain: section.take("sustain", |value| match kind.row().nature {
                Nature::Level => values::duration(Duration::ZERO..=DAY)(value),
                Nature::Edge => {
                    Err("means nothing to a kind that happens at a moment and is told at once: leave it out".into())
                }
            }),
            hold: section.take("hold", values::duration(Duration::ZERO..=DAY)),
            thresholds,
        };
        section.done();
        raw
    }
}

impl RawAgents {
    fn read(mut section: Section<'_>) -> Self {
        let raw = Self {
            enabled: section.take("enabled", values::flag),
            heartbeat: section.take("heartbeat", values::duration(Duration::from_secs(1)..=Settings::HEARTBEAT_MAX)),
            session: section.take("session", values::duration(Duration::from_mins(1)..=DAY)),
            resync: section.take("resync", values::duration(Duration::ZERO..=Duration::from_hours(1))),
            service_account: section.take("serviceAccount", values::namespaced_name),
            audience: section.take("audience", values::text(253, "tocsin-aggregator")),
            daemon_set: section.take("daemonSet", values::namespaced_name),
            pod_selector: section.take("podSelector", values::selector),
        };
        section.done();
        raw
    }
}

impl RawProxy {
    fn read(mut section: Section<'_>) -> Self {
        let raw = Self {
            http: section.take("http", values::proxy),
            https: section.take("https", values::proxy),
            no_proxy: section.take("noProxy", values::no_proxy),
            folder: section.take("folder", values::folder),
        };
        section.done();
        raw
    }
}

impl RawSink {
    fn read(mut section: Section<'_>) -> Self {
        let raw = Self {
            kind: section.take("type", values::sink_type),
            url: section.take("url", values::url),
            url_file: section.take("urlFile", values::file),
            token_file: section.take("tokenFile", values::file),
            ca_file: section.take("caFile", values::file),
            min_severity: section.take("minSeverity", values::severity),
            required: section.take("required", values::flag),
            rate_per_minute: section.take("ratePerMinute", values::count(0..=60_000)),
            batch: section.take("batch", values::count(1..=1_000)),
            timeout: section.take("timeout", values::duration(Duration::from_secs(1)..=Duration::from_mins(1))),
        };
        section.done();
        raw
    }
}

fn labels(file: &mut Section<'_>, problems: &Problems) -> BTreeMap<String, String> {
    let labels = file.entries("extraLabels", values::text(LABEL_CHARS_MAX, "platform"));
    if labels.len() > LABELS_MAX {
        problems.add("extraLabels", format_args!("at most {LABELS_MAX} labels, found {}", labels.len()));
    }
    for name in labels.keys().filter(|name| name.is_empty() || name.chars().count() > LABEL_CHARS_MAX) {
        problems.add(
            "extraLabels",
            format_args!("a label's name has from 1 to {LABEL_CHARS_MAX} characters, not {}", name.chars().count()),
        );
    }
    labels
}

fn rules(file: &mut Section<'_>, problems: &Problems) -> BTreeMap<Kind, RawRule> {
    let mut rules = BTreeMap::new();
    for (name, section) in file.named("rules") {
        match Kind::named(&name) {
            Some(kind) => {
                rules.insert(kind, RawRule::read(kind, section));
            }
            None => problems.add(&format!("rules.{name}"), unknown("kind", &name, Kind::all().map(Kind::name))),
        }
    }
    rules
}

fn sinks(file: &mut Section<'_>, problems: &Problems) -> BTreeMap<String, RawSink> {
    let mut sinks = BTreeMap::new();
    for (name, section) in file.named("sinks") {
        if !is_object_name(&name) {
            problems.add(
                "sinks",
                format_args!("a sink's name is made of a-z, 0-9, - and ., for example collector, not {name:?}"),
            );
        }
        sinks.insert(name, RawSink::read(section));
    }
    if sinks.len() > SINKS_MAX {
        problems.add("sinks", format_args!("at most {SINKS_MAX} sinks, found {}", sinks.len()));
    }
    sinks
}
