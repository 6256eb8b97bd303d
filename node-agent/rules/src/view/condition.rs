//! Conditions, of pods and of nodes.

use std::sync::Arc;

use serde::Deserialize;

use super::lenient::{text, time, word};
use crate::time::Time;

/// One of `status.conditions`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Condition {
    /// `type`.
    #[serde(rename = "type", deserialize_with = "word")]
    pub kind: ConditionType,
    /// `status`.
    #[serde(deserialize_with = "word")]
    pub status: ConditionStatus,
    /// `reason`; empty when not given.
    #[serde(deserialize_with = "text")]
    pub reason: Arc<str>,
    /// `message`; empty when not given.
    #[serde(deserialize_with = "text")]
    pub message: Arc<str>,
    /// `lastTransitionTime`, by the clock of whoever wrote it.
    #[serde(deserialize_with = "time")]
    pub last_transition_time: Option<Time>,
}

/// The types of condition that rules read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConditionType {
    /// A pod serves; a node's kubelet is well.
    Ready,
    /// All containers of a pod are ready.
    ContainersReady,
    /// All init containers of a pod are done.
    Initialized,
    /// A pod has its node.
    PodScheduled,
    /// A pod is about to be ended by a disruption (preemption, eviction, node shutdown).
    DisruptionTarget,
    /// Any other.
    #[default]
    Other,
}

/// `status` of a condition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not.
    False,
    /// Nobody knows.
    #[default]
    Unknown,
}

impl From<&str> for ConditionType {
    fn from(word: &str) -> Self {
        match word {
            "Ready" => Self::Ready,
            "ContainersReady" => Self::ContainersReady,
            "Initialized" => Self::Initialized,
            "PodScheduled" => Self::PodScheduled,
            "DisruptionTarget" => Self::DisruptionTarget,
            _ => Self::Other,
        }
    }
}

impl From<&str> for ConditionStatus {
    fn from(word: &str) -> Self {
        match word {
            "True" => Self::True,
            "False" => Self::False,
            _ => Self::Unknown,
        }
    }
}
