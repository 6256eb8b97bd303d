//! From what is written to what is in force: defaults, and what must fit together. Every raw option is named here, so one
//! that is read and not used does not compile.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rules::{Kind, KindConfig, Scope};

use super::raw::{RawAgents, RawConfig, RawProxy, RawRule, RawSink};
use super::tree::Problems;
use super::{
    Address, Agents, Config, Coverage, ENCRYPTED, HttpTarget, NamespacedName, Proxy, SinkTarget, SinkType, is_private,
};
use crate::settings::{Cluster, Settings, SinkSettings};

/// What the agents' ServiceAccount and DaemonSet are called unless the file says otherwise.
const AGENT: &str = "tocsin-node-agent";
/// Who the agents' tokens are for unless the file says otherwise.
const AUDIENCE: &str = "tocsin-aggregator";
/// The sink that stands in when the file names none.
const STDOUT: &str = "stdout";
const SINK_TIMEOUT: Duration = Duration::from_secs(10);

/// Resolves `raw` for an aggregator that runs in `namespace`. What is wrong is added to `problems`, and then the result is
/// of no use.
pub(super) fn resolve(raw: RawConfig, namespace: &str, problems: &Problems) -> Config {
    let RawConfig {
        cluster_name,
        extra_labels,
        runbooks,
        restrict_to_namespaces,
        watch_namespaces,
        exclude_namespaces,
        system_namespaces,
        rules,
        agents,
        proxy: RawProxy { http, https, no_proxy, folder },
        sinks,
    } = raw;
    let proxy = Proxy { http, https, no_proxy, folder };
    if cluster_name.is_none() {
        problems.add_missing("clusterName", "must be set: it is in every message, for example prod-eu-1");
    }
    let scope = Scope {
        watch: watch_namespaces.unwrap_or_default(),
        exclude: exclude_namespaces.unwrap_or_default(),
        system: system_namespaces.unwrap_or_default(),
    };
    let mut kinds: BTreeMap<_, _> =
        Kind::all().map(|kind| (kind.name().to_owned(), KindConfig::of(kind.row()))).collect();
    for (kind, raw) in rules {
        kinds.insert(kind.name().to_owned(), rule(kind, raw));
    }
    let no_sink = sinks.is_empty();
    let mut resolved: BTreeMap<_, _> =
        sinks.into_iter().map(|(name, raw)| sink(&name, raw, &proxy, problems)).collect();
    if no_sink {
        resolved.insert(Arc::from(STDOUT), (SinkSettings::default(), SinkTarget::Stdout));
    }
    let RawAgents { enabled, heartbeat, session, resync, service_account, audience, daemon_set, pod_selector } = agents;
    let coverage = match (enabled, restrict_to_namespaces.filter(|names| !names.is_empty())) {
        (None | Some(true), None) => Coverage::Agents,
        (Some(false), None) => Coverage::Cluster,
        (Some(false), Some(names)) => Coverage::Namespaces(names),
        (None | Some(true), Some(_)) => {
            let problem = "agents need rights in the whole cluster: set agents.enabled to false, or leave it out";
            problems.add("restrictToNamespaces", problem);
            Coverage::Agents
        }
    };
    let defaults = Settings::default();
    let of_ours = |name: &str| NamespacedName { namespace: Arc::from(namespace), name: Arc::from(name) };
    Config {
        settings: Settings {
            cluster: Cluster { name: cluster_name.unwrap_or_default(), id: String::new(), labels: extra_labels },
            runbooks,
            rules: Arc::new(rules::Config { scope, kinds }),
            heartbeat: heartbeat.unwrap_or(defaults.heartbeat),
            session_lasts: session.unwrap_or(defaults.session_lasts),
            resync_window: resync.unwrap_or(defaults.resync_window),
            findings_max: defaults.findings_max,
            sinks: resolved.iter().map(|(name, (settings, _))| (Arc::clone(name), settings.clone())).collect(),
        },
        targets: resolved.into_iter().map(|(name, (_, target))| (name, target)).collect(),
        coverage,
        agents: Agents {
            service_account: service_account.unwrap_or_else(|| of_ours(AGENT)),
            audience: audience.map_or_else(|| Arc::from(AUDIENCE), Arc::from),
            daemon_set: daemon_set.unwrap_or_else(|| of_ours(AGENT)),
        },
        agent_selector: pod_selector,
        told_on_stdout_only: no_sink,
    }
}

fn rule(kind: Kind, raw: RawRule) -> KindConfig {
    let RawRule { enabled, severity, sustain, hold, thresholds } = raw;
    let mut config = KindConfig::of(kind.row());
    config.enabled = enabled.unwrap_or(config.enabled);
    config.severity = severity.unwrap_or(config.severity);
    config.sustain = sustain.unwrap_or(config.sustain);
    config.hold = hold.unwrap_or(config.hold);
    config.thresholds.extend(thresholds.into_iter().map(|(name, value)| (name.to_owned(), value)));
    config
}

fn sink(name: &str, raw: RawSink, proxy: &Proxy, problems: &Problems) -> (Arc<str>, (SinkSettings, SinkTarget)) {
    let RawSink { kind, url, url_file, token_file, ca_file, min_severity, required, rate_per_minute, batch, timeout } =
        raw;
    let path = |key: &str| format!("sinks.{name}.{key}");
    let Some(kind) = kind else {
        problems.add_missing(&path("type"), "must be set: ingest, webhook or stdout");
        return (Arc::from(name), (SinkSettings::default(), SinkTarget::Stdout));
    };
    let defaults = SinkSettings::default();
    let settings = SinkSettings {
        min_severity: min_severity.unwrap_or(defaults.min_severity),
        required: required.unwrap_or(defaults.required),
        rate_per_minute: match rate_per_minute {
            None => defaults.rate_per_minute,
            Some(0) => None,
            Some(rate) => Some(rate),
        },
        batch_max: match (kind, batch) {
            // One record a request, whatever the file says.
            (SinkType::Webhook, _) => 1,
            (_, Some(batch)) => batch as usize,
            (_, None) => defaults.batch_max,
        },
    };
    if kind == SinkType::Webhook && batch.is_some() {
        problems.add(&path("batch"), "a webhook gets one record a request: leave it out");
    }
    if kind == SinkType::Stdout {
        let given = [
            ("url", url.is_some()),
            ("urlFile", url_file.is_some()),
            ("tokenFile", token_file.is_some()),
            ("caFile", ca_file.is_some()),
            ("timeout", timeout.is_some()),
        ];
        for (key, _) in given.into_iter().filter(|(_, given)| *given) {
            problems.add(&path(key), "means nothing to a sink of type stdout: leave it out");
        }
        return (Arc::from(name), (settings, SinkTarget::Stdout));
    }
    let address = match (url, url_file) {
        (Some(url), None) => {
            if token_file.is_some() && !is_private(&url) {
                let advice = "begin the address with https://, or leave tokenFile out";
                problems.add(&path("url"), format_args!("{ENCRYPTED}: {advice}"));
            }
            Address::Written(url)
        }
        (None, Some(file)) => Address::File(file),
        (Some(_), Some(file)) => {
            let problem = "url is set as well, and only one can be meant: leave one of them out";
            problems.add(&path("urlFile"), problem);
            Address::File(file)
        }
        (None, None) => {
            problems.add_missing(
                &path("url"),
                "must be set to an address, for example https://collector.example.com/v1/issues, or urlFile to a file that \
                 says it: there is no default",
            );
            return (Arc::from(name), (settings, SinkTarget::Stdout));
        }
    };
    let timeout = timeout.unwrap_or(SINK_TIMEOUT);
    let target = HttpTarget { address, token_file, ca_file, proxy: proxy.clone(), timeout };
    let target = match kind {
        SinkType::Ingest => SinkTarget::Ingest(target),
        SinkType::Webhook => SinkTarget::Webhook(target),
        SinkType::Stdout => SinkTarget::Stdout,
    };
    (Arc::from(name), (settings, target))
}
