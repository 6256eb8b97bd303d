//! How the certificate is doing, for `/metrics`.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use rules::Time;

use super::plan::Plan;
use super::store::Trouble;

/// One label: its name and value.
type Label = [(&'static str, &'static str); 1];

/// How the certificate is doing.
#[derive(Debug)]
pub struct Health {
    /// What was written into the Secret, by kind.
    pub renewals: Family<Label, Counter>,
    /// What went wrong, by reason.
    pub failures: Family<Label, Counter>,
    authority_ends: AtomicI64,
    publishes: AtomicBool,
    is_published: AtomicBool,
}

/// What a plan writes.
const WRITES: [&str; 3] = ["authority", "serving", "restored"];

impl Health {
    /// When the CA ends that signed what is served; `None` where it is not known.
    pub fn authority_ends(&self) -> Option<Time> {
        let ends = self.authority_ends.load(Ordering::Relaxed);
        (ends != 0).then(|| Time::from_millis(ends))
    }

    /// Whether the ConfigMap holds the CAs of the Secret; `None` where it is not to.
    pub fn is_published(&self) -> Option<bool> {
        self.publishes.load(Ordering::Relaxed).then(|| self.is_published.load(Ordering::Relaxed))
    }

    pub(super) fn wrote(&self, plan: &Plan) {
        let what = match plan {
            Plan::Keep => return,
            Plan::Authority { .. } => WRITES[0],
            Plan::Serving { .. } => WRITES[1],
            Plan::Restore(..) => WRITES[2],
        };
        self.renewals.get_or_create(&[("wrote", what)]).inc();
    }

    pub(super) fn failed(&self, trouble: &Trouble) {
        self.failures.get_or_create(&[("reason", trouble.label())]).inc();
    }

    /// How it stands after a look at the objects.
    pub(super) fn saw(&self, is_published: Option<bool>, authority_ends: Option<Time>) {
        self.publishes.store(is_published.is_some(), Ordering::Relaxed);
        self.is_published.store(is_published == Some(true), Ordering::Relaxed);
        self.authority_ends.store(authority_ends.map_or(0, Time::as_millis), Ordering::Relaxed);
    }
}

impl Default for Health {
    /// Every series is there from the start, so that the first of its kind is seen as an increase.
    fn default() -> Self {
        let (renewals, failures) = (Family::<Label, Counter>::default(), Family::<Label, Counter>::default());
        for what in WRITES {
            drop(renewals.get_or_create(&[("wrote", what)]));
        }
        for label in Trouble::LABELS {
            drop(failures.get_or_create(&[("reason", label)]));
        }
        let (authority_ends, publishes, is_published) = Default::default();
        Self { renewals, failures, authority_ends, publishes, is_published }
    }
}
