//! What `/metrics` shows. Every label has few values, and none comes from a pod.

use std::fmt;

use process::watch::Health;
use process::{Clock, Cost};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use wire::{Body, Report};

use crate::connection::Failure;
use crate::report::{Counts, Reporter};

/// One label: its name and value.
type Label = [(&'static str, &'static str); 1];

/// The process's metrics; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    findings: Family<Label, Gauge>,
    unsettled: Gauge,
    session: Gauge,
    reports: Family<Label, Counter>,
    failures: Family<Label, Counter>,
    shed: Counter,
}

/// The state of the watch, as it is when somebody asks.
#[derive(Debug)]
struct WatchMetrics {
    health: Health,
    clock: Clock,
}

/// How findings stand.
const STATES: [&str; 3] = ["pending", "active", "cleared"];
/// What reports are.
const REPORTS: [&str; 3] = ["full", "heartbeat", "delta"];

impl Metrics {
    /// Metrics that show up in `registry`, and those of the watch and the process with them.
    pub fn register(registry: &mut Registry, health: Health, clock: Clock) -> Self {
        let metrics = Self::default();
        registry.register_collector(Box::new(Cost));
        let registry = registry.sub_registry_with_prefix("tocsin");
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "This build", version);
        registry.register("findings", "Findings that are not forgotten", metrics.findings.clone());
        registry.register("findings_unsettled", "Findings whose fate is open", metrics.unsettled.clone());
        registry.register("session_open", "1 while a session with the aggregator is open", metrics.session.clone());
        registry.register("reports", "Reports sent, repetitions included", metrics.reports.clone());
        registry.register("report_failures", "Exchanges with the aggregator that failed", metrics.failures.clone());
        registry.register("findings_without_room", "Findings that there was no room for", metrics.shed.clone());
        registry.register_collector(Box::new(WatchMetrics { health, clock }));
        // Every series is there from the start, so that the first of its kind is seen as an increase.
        for state in STATES {
            drop(metrics.findings.get_or_create(&[("state", state)]));
        }
        for kind in REPORTS {
            drop(metrics.reports.get_or_create(&[("kind", kind)]));
        }
        for label in Failure::LABELS {
            drop(metrics.failures.get_or_create(&[("reason", label)]));
        }
        metrics
    }

    /// Shows how the reporter stands.
    pub fn show(&self, reporter: &Reporter) {
        let Counts { pending, active, cleared, unsent: _, unsettled } = reporter.counts();
        for (state, count) in STATES.into_iter().zip([pending, active, cleared]) {
            self.findings.get_or_create(&[("state", state)]).set(count as i64);
        }
        self.unsettled.set(unsettled as i64);
        self.session.set(i64::from(reporter.is_together()));
        self.shed.inc_by(reporter.shed().saturating_sub(self.shed.get()));
    }

    /// A report goes out.
    pub fn report(&self, report: &Report) {
        let kind = match &report.body {
            Body::Full(_) => REPORTS[0],
            Body::Delta(entries) if entries.is_empty() => REPORTS[1],
            Body::Delta(_) => REPORTS[2],
        };
        self.reports.get_or_create(&[("kind", kind)]).inc();
    }

    /// An exchange with the aggregator failed.
    pub fn failure(&self, failure: &Failure) {
        self.failures.get_or_create(&[("reason", failure.label())]).inc();
    }
}

impl Collector for WatchMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Self { health, clock } = self;
        let silent = clock.mark().since(health.last_heard()).as_secs();
        let live = ConstGauge::new(i64::from(health.is_live()));
        show(&mut encoder, "watch_live", "1 while what happens on the node is heard", &live)?;
        show(&mut encoder, "watch_silent_seconds", "Since the API server was last heard", &ConstGauge::new(silent))?;
        let mut count = |name, help, count: u64| show(&mut encoder, name, help, &ConstCounter::new(count));
        count("watch_lists", "Complete LISTs", health.lists())?;
        count("watch_opened", "Opened WATCHes", health.watches())?;
        count("watch_failures", "LISTs and WATCHes that failed", health.failures())?;
        count("watch_skipped", "Objects that could not be read", health.skipped())
    }
}

fn show(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, metric: &impl EncodeMetric) -> fmt::Result {
    metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
}
