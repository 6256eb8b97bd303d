//! What is counted of sending: by sink, and each sink's series are there for as long as the configuration has it.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;

use super::standing;
use crate::forward::outbox::Outcome;

/// Attempts to send a batch, to be registered for `/metrics`; clones share the counts.
#[derive(Clone, Debug)]
pub struct Attempts {
    /// Attempts, by sink and outcome.
    pub batches: Family<AttemptLabels, Counter>,
    /// The records in them.
    pub records: Family<AttemptLabels, Counter>,
    /// How long sinks took to answer, in seconds.
    pub durations: Family<SinkLabels, Histogram, fn() -> Histogram>,
}

/// What attempts are counted by.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct AttemptLabels {
    /// The sink's name, from the configuration.
    sink: String,
    /// `delivered`, `unauthorized`, `throttled`, `refused` or `failed`.
    outcome: &'static str,
}

/// What is measured of each sink.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SinkLabels {
    /// The sink's name, from the configuration.
    sink: String,
}

/// Up to the longest that a request may take.
const BUCKETS_SECONDS: [f64; 11] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];

impl Default for Attempts {
    fn default() -> Self {
        let durations = Family::new_with_constructor((|| Histogram::new(BUCKETS_SECONDS)) as fn() -> Histogram);
        Self { batches: Family::default(), records: Family::default(), durations }
    }
}

impl Attempts {
    /// From now on there is a sink of that name: its series begin at zero, so that the first attempt is seen as an increase.
    pub(super) fn begin(&self, sink: &str) {
        for outcome in standing::LABELS {
            drop(self.batches.get_or_create(&labels(sink, outcome)));
            drop(self.records.get_or_create(&labels(sink, outcome)));
        }
        drop(self.durations.get_or_create(&SinkLabels { sink: sink.to_owned() }));
    }

    /// There is no such sink any more.
    pub(super) fn end(&self, sink: &str) {
        for outcome in standing::LABELS {
            self.batches.remove(&labels(sink, outcome));
            self.records.remove(&labels(sink, outcome));
        }
        self.durations.remove(&SinkLabels { sink: sink.to_owned() });
    }

    /// An attempt to send `records` went like that; where the sink was asked, it took so long to answer, or not to.
    pub(super) fn add(&self, sink: &str, outcome: Outcome, records: usize, took: Option<Duration>) {
        let labels = labels(sink, standing::label(outcome));
        self.batches.get_or_create(&labels).inc();
        self.records.get_or_create(&labels).inc_by(records as u64);
        if let Some(took) = took {
            self.durations.get_or_create(&SinkLabels { sink: sink.to_owned() }).observe(took.as_secs_f64());
        }
    }

    #[cfg(test)]
    pub(super) fn count(&self, sink: &str, outcome: Outcome) -> u64 {
        self.batches.get_or_create(&labels(sink, standing::label(outcome))).get()
    }
}

fn labels(sink: &str, outcome: &'static str) -> AttemptLabels {
    AttemptLabels { sink: sink.to_owned(), outcome }
}
