//! `Node`.

use std::sync::Arc;

use serde::Deserialize;

use super::lenient::{nullable, text};
use super::{Condition, ConditionType, Meta, Object};

/// `Node`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Node {
    /// `metadata`.
    #[serde(rename = "metadata", deserialize_with = "nullable")]
    pub meta: Meta,
    /// `spec`.
    #[serde(deserialize_with = "nullable")]
    pub spec: NodeSpec,
    /// `status`.
    #[serde(deserialize_with = "nullable")]
    pub status: NodeStatus,
}

/// `NodeSpec`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct NodeSpec {
    /// `unschedulable`: cordoned.
    #[serde(deserialize_with = "nullable")]
    pub unschedulable: bool,
    /// `taints`.
    #[serde(deserialize_with = "nullable")]
    pub taints: Vec<Taint>,
}

/// `Taint`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Taint {
    /// `key`.
    #[serde(deserialize_with = "text")]
    pub key: Arc<str>,
}

/// `NodeStatus`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct NodeStatus {
    /// `conditions`.
    #[serde(deserialize_with = "nullable")]
    pub conditions: Vec<Condition>,
}

impl Node {
    /// Its condition of that type.
    pub fn condition(&self, kind: ConditionType) -> Option<&Condition> {
        self.status.conditions.iter().find(|condition| condition.kind == kind)
    }

    /// Whether an autoscaler or the cloud is taking it away: who does so says it with a taint, or deletes the object.
    pub fn being_removed(&self) -> bool {
        self.meta.deletion_timestamp.is_some() || self.spec.taints.iter().any(Taint::says_removal)
    }
}

impl Taint {
    /// Taints that mean "this node will be gone in minutes". (That a node is of a spot pool at all is no such taint.)
    fn says_removal(&self) -> bool {
        matches!(
            &*self.key,
            "ToBeDeletedByClusterAutoscaler"
                | "karpenter.sh/disrupted"
                | "karpenter.sh/disruption"
                | "cloud.google.com/impending-node-termination"
        ) || self.key.starts_with("aws-node-termination-handler/")
    }
}

impl Object for Node {
    const COLLECTION: &'static str = "/api/v1/nodes";

    fn meta(&self) -> &Meta {
        &self.meta
    }
}
