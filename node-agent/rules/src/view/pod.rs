//! `Pod`.

use std::sync::Arc;

use serde::Deserialize;

use super::lenient::{nullable, text, time, word};
use super::{Condition, ConditionStatus, ConditionType, Container, ContainerStatus, Meta, Object, RestartPolicy};
use crate::time::Time;

/// `Pod`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Pod {
    /// `metadata`.
    #[serde(rename = "metadata", deserialize_with = "nullable")]
    pub meta: Meta,
    /// `spec`.
    #[serde(deserialize_with = "nullable")]
    pub spec: PodSpec,
    /// `status`.
    #[serde(deserialize_with = "nullable")]
    pub status: PodStatus,
}

/// `PodSpec`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodSpec {
    /// `nodeName`; empty until the pod is scheduled.
    #[serde(deserialize_with = "text")]
    pub node_name: Arc<str>,
    /// `restartPolicy`.
    #[serde(deserialize_with = "word")]
    pub restart_policy: RestartPolicy,
    /// `priority`.
    #[serde(deserialize_with = "nullable")]
    pub priority: i32,
    /// `containers`.
    #[serde(deserialize_with = "nullable")]
    pub containers: Vec<Container>,
    /// `initContainers`, native sidecars among them.
    #[serde(deserialize_with = "nullable")]
    pub init_containers: Vec<Container>,
}

/// `PodStatus`. Ephemeral containers are left out: a person's debugging is not the pod's trouble.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodStatus {
    /// `phase`.
    #[serde(deserialize_with = "word")]
    pub phase: Phase,
    /// `reason`.
    #[serde(deserialize_with = "text")]
    pub reason: Arc<str>,
    /// `message`.
    #[serde(deserialize_with = "text")]
    pub message: Arc<str>,
    /// `startTime`, by the node's clock.
    #[serde(deserialize_with = "time")]
    pub start_time: Option<Time>,
    /// `conditions`.
    #[serde(deserialize_with = "nullable")]
    pub conditions: Vec<Condition>,
    /// `containerStatuses`.
    #[serde(deserialize_with = "nullable")]
    pub container_statuses: Vec<ContainerStatus>,
    /// `initContainerStatuses`.
    #[serde(deserialize_with = "nullable")]
    pub init_container_statuses: Vec<ContainerStatus>,
}

/// `status.phase`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Not all containers have been started yet.
    Pending,
    /// At least one container runs or is being restarted.
    Running,
    /// All containers ended with zero and stay ended.
    Succeeded,
    /// All containers ended, one of them with another code than zero.
    Failed,
    /// Anything else.
    #[default]
    Unknown,
}

impl Pod {
    /// Its condition of that type.
    pub fn condition(&self, kind: ConditionType) -> Option<&Condition> {
        self.status.conditions.iter().find(|condition| condition.kind == kind)
    }

    /// Its condition of that type, when it is true.
    pub fn holds(&self, kind: ConditionType) -> Option<&Condition> {
        self.condition(kind).filter(|condition| condition.status == ConditionStatus::True)
    }

    /// Whether it is the mirror of a static pod.
    pub fn is_static(&self) -> bool {
        self.meta.is_static()
    }

    /// Its init containers and containers, each with its spec and its status; ones without a status are left out.
    pub fn containers(&self) -> impl Iterator<Item = (&Container, &ContainerStatus)> {
        let init = paired(&self.spec.init_containers, &self.status.init_container_statuses);
        init.chain(paired(&self.spec.containers, &self.status.container_statuses))
    }
}

impl Object for Pod {
    const COLLECTION: &'static str = "/api/v1/pods";

    fn meta(&self) -> &Meta {
        &self.meta
    }
}

impl From<&str> for Phase {
    fn from(word: &str) -> Self {
        match word {
            "Pending" => Self::Pending,
            "Running" => Self::Running,
            "Succeeded" => Self::Succeeded,
            "Failed" => Self::Failed,
            _ => Self::Unknown,
        }
    }
}

fn paired<'a>(
    specs: &'a [Container],
    statuses: &'a [ContainerStatus],
) -> impl Iterator<Item = (&'a Container, &'a ContainerStatus)> {
    specs.iter().filter_map(|spec| statuses.iter().find(|status| status.name == spec.name).map(|status| (spec, status)))
}
