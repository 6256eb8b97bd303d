//! The gates before every pod rule: states of a pod in which a kind says nothing.

use crate::verdict::{Health, Moment, last_end};
use crate::view::{ConditionType, Phase, Pod};

/// In which states of a pod a kind is looked for all the same.
#[derive(Clone, Copy)]
pub(crate) struct Gates {
    /// While the pod is being deleted.
    pub(crate) while_terminating: Open,
    /// While the pod is being disrupted (drained, preempted, its node shut down).
    pub(crate) while_disrupted: Open,
    /// In a pod of negative priority: a placeholder that keeps room for others.
    pub(crate) in_placeholders: Open,
}

/// Whether a gate is open.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Open {
    Yes,
    No,
}

impl Gates {
    /// For what is wrong with a pod in general.
    pub(crate) const POD: Self =
        Self { while_terminating: Open::No, while_disrupted: Open::Yes, in_placeholders: Open::No };
    /// For crashes: ending because of a disruption is none.
    pub(crate) const CRASH: Self = Self { while_disrupted: Open::No, ..Self::POD };
    /// For what keeps even a placeholder from being one.
    pub(crate) const ALSO_PLACEHOLDERS: Self = Self { in_placeholders: Open::Yes, ..Self::POD };
    /// For what is wrong with the deletion itself.
    pub(crate) const DELETION: Self = Self { while_terminating: Open::Yes, ..Self::POD };

    /// `None` to let the rule judge the pod, else how the pod is in the rule's place.
    pub(crate) fn closed(self, pod: &Pod, moment: Moment) -> Option<Health> {
        if pod.status.phase == Phase::Succeeded {
            return Some(Health::Well(last_end(pod, moment)));
        }
        if pod.meta.deletion_timestamp.is_some() && self.while_terminating == Open::No {
            return Some(Health::Well(pod.meta.deletion_asked().map(|at| moment.api(at))));
        }
        if let Some(disrupted) = pod.holds(ConditionType::DisruptionTarget)
            && self.while_disrupted == Open::No
        {
            return Some(Health::Well(disrupted.last_transition_time.map(|at| moment.api(at))));
        }
        (pod.spec.priority < 0 && self.in_placeholders == Open::No).then_some(Health::Well(None))
    }
}
