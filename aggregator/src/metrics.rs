//! Metrics: what is counted elsewhere is read when somebody scrapes, not kept twice. Labels are of closed sets: decisions,
//! kinds, severities, and the names that the configuration gives. Nothing that a pod or a peer says becomes one.
//!
//! The books can be checked from one scrape: `tocsin_findings_observed_total` is the sum of `tocsin_findings`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use process::Cost;
use process::tls::ServerTls;
use process::watch::Health;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use rules::{Kind, Severity};
use tokio::sync::watch;

use crate::api::{is_open, severity};
use crate::certificates;
use crate::config::reload;
use crate::core::Core;
use crate::dedupe::decision::Decision;
use crate::forward::outbox;
use crate::forward::sender::Attempts;
use crate::ingest::server::Counts;
use crate::leader::{self, Leadership};
use crate::observe::Shown;
use crate::pipeline::Pipeline;
use crate::told_log::keeper::{self, Written};

/// All metrics. Before the process knows which cluster it is in there are few figures yet; its port answers all the same.
pub struct Metrics {
    certificates: Arc<certificates::Health>,
    config: Arc<reload::Health>,
    standing: OnceLock<Standing>,
    leading: OnceLock<Leading>,
}

/// Where the figures of every replica are.
pub struct Standing {
    /// Who leads.
    pub leadership: Leadership,
    /// What agents asked.
    pub ingest: Counts,
    /// What they are shown.
    pub tls: Arc<ServerTls>,
}

/// Where the figures of the one that leads are.
#[derive(Debug)]
pub struct Leading {
    /// The pipeline.
    pub core: Arc<Core>,
    /// The aggregator's own watches, and what it sees of its agents.
    pub observed: watch::Receiver<Shown>,
    /// What was sent.
    pub attempts: Attempts,
    /// What of it stands where a successor finds it.
    pub told: Written,
}

/// What the pipeline's figures are at one moment.
#[derive(Debug, Default)]
struct Figures {
    observed: u64,
    decided: Vec<(Decision, u64)>,
    issues: BTreeMap<(Kind, Severity), u64>,
    sinks: Vec<(Arc<str>, u64, outbox::Health)>,
    shed_by_agents: u64,
    is_resyncing: bool,
}

const PREFIX: &str = "tocsin";
const SEVERITIES: [Severity; 3] = [Severity::Critical, Severity::Warning, Severity::Info];

impl Metrics {
    /// Metrics without figures but those of the process, the certificate and the configuration file, and the registry that shows them.
    pub fn new(certificates: Arc<certificates::Health>, config: Arc<reload::Health>) -> (Arc<Self>, Registry) {
        let metrics = Arc::new(Self { certificates, config, standing: OnceLock::new(), leading: OnceLock::new() });
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Cost));
        registry.sub_registry_with_prefix(PREFIX).register_collector(Box::new(Arc::clone(&metrics)));
        (metrics, registry)
    }

    /// From now on there are the figures of every replica.
    pub fn stand(&self, standing: Standing) {
        let _ = self.standing.set(standing);
    }

    /// From now on there are those of the one that leads.
    pub fn lead(&self, leading: Leading) {
        // A second one would be a second pipeline: there is one in a process.
        let _ = self.leading.set(leading);
    }
}

impl Collector for Metrics {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let mut out = Out(encoder);
        out.info("build", "What runs here", &[("version", env!("CARGO_PKG_VERSION"))])?;
        self.encode_certificates(&mut out)?;
        self.encode_config(&mut out)?;
        if let Some(standing) = self.standing.get() {
            standing.encode_leadership(&mut out)?;
            standing.encode_ingest(&mut out)?;
        }
        let Some(leading) = self.leading.get() else { return Ok(()) };
        let figures = leading.core.quietly(|pipeline, _| Figures::of(pipeline));
        leading.encode_findings(&mut out, &figures)?;
        encode_sinks(&mut out, &figures)?;
        leading.encode_attempts(&mut out)?;
        leading.encode_told_log(&mut out)?;
        leading.encode_watches(&mut out)
    }
}

impl Metrics {
    fn encode_certificates(&self, out: &mut Out<'_>) -> fmt::Result {
        let serving = self.standing.get().and_then(|standing| certificates::ends(&standing.tls));
        let ends = [("serving", serving), ("authority", self.certificates.authority_ends())];
        let ends =
            ends.into_iter().filter_map(|(of, ends)| Some(([("certificate", of)], ends?.as_millis() as u64 / 1000)));
        out.gauges("certificate_expiry_timestamp_seconds", "When what agents are shown ends, since 1970", ends)?;
        if let Some(is_published) = self.certificates.is_published() {
            let help = "Whether the ConfigMap holds the CAs of the Secret";
            out.gauge("certificate_authority_published", help, u64::from(is_published))?;
        }
        out.registered("certificate_renewals", "Writes of the Secret, by what was new", &self.certificates.renewals)?;
        out.registered(
            "certificate_failures",
            "Looks that could not keep it so, by reason",
            &self.certificates.failures,
        )
    }

    fn encode_config(&self, out: &mut Out<'_>) -> fmt::Result {
        let failures = self.config.failures();
        out.counter("config_reload_failures", "Changed files that were rejected or unreadable", failures)?;
        let is_in_force = u64::from(self.config.is_in_force());
        out.gauge("config_in_force", "Whether what is in force is what the file says", is_in_force)
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Metrics").field("certificates", &self.certificates).finish_non_exhaustive()
    }
}

impl Standing {
    fn encode_leadership(&self, out: &mut Out<'_>) -> fmt::Result {
        let leads = u64::from(self.leadership.may_send());
        out.gauge("leader", "Whether this replica leads, and may send", leads)?;
        let Some(leader::Counts { renewals, failures, transitions }) = self.leadership.counts() else { return Ok(()) };
        out.registered("lease_renewals", "Writes of the Lease that made or kept this replica the leader", renewals)?;
        out.registered("lease_failures", "Requests for the Lease that came to nothing, by reason", failures)?;
        out.registered("lease_transitions", "How often the Lease has changed hands, as it says", transitions)
    }

    fn encode_ingest(&self, out: &mut Out<'_>) -> fmt::Result {
        let Counts { connections, dropped, requests } = &self.ingest;
        out.registered("ingest_connections", "Open connections of agents", connections)?;
        out.registered("ingest_dropped", "Connections closed for what their peer did or did not do", dropped)?;
        out.registered("ingest_requests", "Requests of agents, by answer", requests)
    }
}

impl Leading {
    fn encode_findings(&self, out: &mut Out<'_>, figures: &Figures) -> fmt::Result {
        let Shown { strength, uncovered, shed, watches: _ } = self.observed.borrow().clone();
        out.counter("findings_observed", "Findings observed, each incarnation once", figures.observed)?;
        let decided = figures.decided.iter().map(|(decision, count)| {
            let state = if decision.is_final() { "final" } else { "pending" };
            ([("decision", decision.name()), ("state", state)], *count)
        });
        out.gauges("findings", "Where each observed finding stands", decided)?;
        let issues = figures
            .issues
            .iter()
            .map(|((kind, severity), count)| ([("kind", kind.name()), ("severity", name(*severity))], *count));
        out.gauges("issues_open", "Issues that are told, or on their way", issues)?;
        out.gauges(
            "findings_without_room",
            "Findings that did not fit where they were made, since the start of who made them",
            [([("observer", "agents")], figures.shed_by_agents), ([("observer", "aggregator")], shed)].into_iter(),
        )?;
        out.gauge("agents_expected", "Nodes on which there should be an agent", strength.expected as u64)?;
        out.gauge(
            "agents_connected",
            "Of the expected ones, those that were heard within three heartbeats",
            strength.connected as u64,
        )?;
        out.gauge("agents_silent", "Of the expected ones, those that were not", strength.silent as u64)?;
        out.gauge(
            "agents_uncovered",
            "Nodes on which none is heard, whether expected or not, and whose pods nobody else looks at",
            uncovered as u64,
        )?;
        out.gauge(
            "resyncing",
            "Whether issues wait for agents that have not reported since the start, or since agents were turned on",
            u64::from(figures.is_resyncing),
        )
    }

    fn encode_attempts(&self, out: &mut Out<'_>) -> fmt::Result {
        let Attempts { batches, records, durations } = &self.attempts;
        out.registered("sink_attempts", "Attempts to send a batch, by outcome", batches)?;
        out.registered("sink_records", "Records in these batches, those of each attempt", records)?;
        out.registered("sink_attempt_duration_seconds", "How long a sink took to answer a batch", durations)
    }

    fn encode_told_log(&self, out: &mut Out<'_>) -> fmt::Result {
        let Some(keeper::Counts { writes, unwritten, left_out }) = self.told.counts() else { return Ok(()) };
        out.registered("told_log_writes", "Writes of what was told, by object and outcome", writes)?;
        out.registered("told_log_unwritten_sends", "Batches that left before the told-log had them", unwritten)?;
        out.registered("told_log_left_out", "Issues that had no room in the told-log", left_out)
    }

    fn encode_watches(&self, out: &mut Out<'_>) -> fmt::Result {
        let now = self.core.clock().mark();
        let watches = self.observed.borrow().watches.clone();
        // That of one namespace is called `pods/NAMESPACE`, and there may be many: they are shown as one.
        let mut alike: BTreeMap<&str, Vec<&Health>> = BTreeMap::new();
        for (name, health) in &watches {
            alike.entry(name.split('/').next().unwrap_or(name)).or_default().push(health);
        }
        let alike = || alike.iter().map(|(name, healths)| ([("watch", *name)], healths));
        let of = |figure: fn(&Health) -> u64| {
            alike().map(move |(watch, healths)| (watch, healths.iter().map(|health| figure(health)).sum()))
        };
        let live = alike().map(|(watch, healths)| (watch, u64::from(healths.iter().all(|health| health.is_live()))));
        out.gauges("watch_live", "Whether a watch is open; of those of single namespaces, whether all are", live)?;
        let silent = alike().map(|(watch, healths)| {
            let silent = healths.iter().map(|health| now.since(health.last_heard()).as_secs());
            (watch, silent.max().unwrap_or_default())
        });
        out.gauges("watch_silent_seconds", "Since the API server was last heard in a watch", silent)?;
        out.counters("watch_lists", "Complete LISTs", of(Health::lists))?;
        out.counters("watch_opened", "Opened WATCHes", of(Health::watches))?;
        out.counters("watch_failures", "LISTs and WATCHes that failed", of(Health::failures))?;
        out.counters("watch_skipped", "Objects that could not be read", of(Health::skipped))
    }
}

fn encode_sinks(out: &mut Out<'_>, figures: &Figures) -> fmt::Result {
    let queued = figures.sinks.iter().map(|(sink, queued, _)| ([("sink", &**sink)], *queued));
    out.gauges("sink_queued", "Issues that a sink has yet to hear of", queued)?;
    let healthy = figures.sinks.iter().flat_map(|(sink, _, health)| {
        let health = match health {
            outbox::Health::Working => "working",
            outbox::Health::Failing(_) => "failing",
            outbox::Health::Unauthorized => "unauthorized",
        };
        ["working", "failing", "unauthorized"]
            .map(|state| ([("sink", &**sink), ("health", state)], u64::from(state == health)))
    });
    out.gauges("sink_health", "1 for how a sink is doing, 0 for the rest", healthy)?;
    let failures = figures.sinks.iter().map(|(sink, _, health)| {
        let failures = if let outbox::Health::Failing(failures) = health { *failures } else { 0 };
        ([("sink", &**sink)], u64::from(failures))
    });
    out.gauges("sink_failures_in_a_row", "Batches that failed since the last that did not", failures)
}

impl Figures {
    fn of(pipeline: &Pipeline) -> Self {
        let (dedupe, sessions) = (pipeline.dedupe(), pipeline.sessions());
        let accounts = dedupe.accounts();
        // Every series is there from the start, so that the first of its kind is seen as an increase.
        let mut issues: BTreeMap<_, _> =
            Kind::all().flat_map(|kind| SEVERITIES.map(|severity| ((kind, severity), 0))).collect();
        for issue in dedupe.issues().filter(|issue| issue.episode.is_some() && is_open(issue)) {
            *issues.entry((issue.key.kind, severity(issue))).or_default() += 1;
        }
        Self {
            observed: accounts.observed(),
            decided: Decision::ALL.map(|decision| (decision, accounts.at(decision))).into(),
            issues,
            sinks: pipeline
                .outboxes()
                .iter()
                .map(|(name, outbox)| (Arc::clone(name), outbox.len() as u64, outbox.health()))
                .collect(),
            shed_by_agents: sessions.shed(),
            is_resyncing: dedupe.is_resyncing(),
        }
    }
}

/// Writes single figures.
struct Out<'e>(DescriptorEncoder<'e>);

impl Out<'_> {
    fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
    }

    fn gauges<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        values: impl Iterator<Item = (L, u64)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in values {
            metric.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.0
            .encode_descriptor(name, help, None, MetricType::Counter)?
            .encode_counter::<NoLabelSet, _, u64>(&value, None)
    }

    fn counters<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        values: impl Iterator<Item = (L, u64)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in values {
            metric.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
        }
        Ok(())
    }

    /// What is counted where it happens.
    fn registered(&mut self, name: &str, help: &str, metric: &impl EncodeMetric) -> fmt::Result {
        metric.encode(self.0.encode_descriptor(name, help, None, metric.metric_type())?)
    }

    fn info(&mut self, name: &str, help: &str, labels: &[(&str, &str)]) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Info)?.encode_info(&labels)
    }
}

const fn name(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "critical",
        Severity::Warning => "warning",
        Severity::Info => "info",
    }
}

#[cfg(test)]
mod tests;
