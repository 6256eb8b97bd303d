//! `ObjectMeta`.

use std::sync::Arc;

use serde::Deserialize;

use super::lenient::{nullable, text, time};
use crate::time::Time;

/// `ObjectMeta`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Meta {
    /// `metadata.name`.
    #[serde(deserialize_with = "text")]
    pub name: Arc<str>,
    /// `metadata.generateName`; empty when the name was given.
    #[serde(deserialize_with = "text")]
    pub generate_name: Arc<str>,
    /// `metadata.namespace`; empty for cluster-wide objects.
    #[serde(deserialize_with = "text")]
    pub namespace: Arc<str>,
    /// `metadata.uid`.
    #[serde(deserialize_with = "text")]
    pub uid: Arc<str>,
    /// `metadata.resourceVersion`: opaque, but for its use in LIST and WATCH.
    #[serde(deserialize_with = "nullable")]
    pub resource_version: String,
    /// `metadata.creationTimestamp`, by the API server's clock.
    #[serde(deserialize_with = "time")]
    pub creation_timestamp: Option<Time>,
    /// `metadata.deletionTimestamp`, by the API server's clock: when the object should be gone, its grace included.
    #[serde(deserialize_with = "time")]
    pub deletion_timestamp: Option<Time>,
    /// `metadata.deletionGracePeriodSeconds`.
    #[serde(deserialize_with = "nullable")]
    pub deletion_grace_period_seconds: u32,
    /// `metadata.finalizers`.
    #[serde(deserialize_with = "nullable")]
    pub finalizers: Vec<Arc<str>>,
    /// `metadata.ownerReferences`.
    #[serde(deserialize_with = "nullable")]
    pub owner_references: Vec<OwnerReference>,
    /// Those of `metadata.labels` that rules read.
    #[serde(deserialize_with = "nullable")]
    pub labels: Labels,
    /// Those of `metadata.annotations` that rules read.
    #[serde(deserialize_with = "nullable")]
    pub annotations: Annotations,
}

/// `OwnerReference`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct OwnerReference {
    /// `apiVersion`: group and version.
    #[serde(deserialize_with = "text")]
    pub api_version: Arc<str>,
    /// `kind`.
    #[serde(deserialize_with = "text")]
    pub kind: Arc<str>,
    /// `name`.
    #[serde(deserialize_with = "text")]
    pub name: Arc<str>,
    /// Whether this is the owner that manages the object.
    #[serde(deserialize_with = "nullable")]
    pub controller: bool,
}

/// The labels that rules read; all others are skipped while decoding.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Labels {
    /// Set by the Deployment controller: the last part of the ReplicaSet's name.
    #[serde(rename = "pod-template-hash")]
    pub pod_template_hash: Option<Arc<str>>,
    /// The same, set by Argo Rollouts.
    #[serde(rename = "rollouts-pod-template-hash")]
    pub rollouts_pod_template_hash: Option<Arc<str>>,
}

/// The annotations that rules read; all others are skipped while decoding.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Annotations {
    /// Set by the kubelet on the mirror of a static pod.
    #[serde(rename = "kubernetes.io/config.mirror")]
    pub config_mirror: Option<Arc<str>>,
    /// Kinds not to tell about this pod: names with commas between, or `all`.
    #[serde(rename = "tocsin.dev/ignore")]
    pub ignore: Option<Arc<str>>,
    /// The severity of whatever is found here.
    #[serde(rename = "tocsin.dev/severity")]
    pub severity: Option<Arc<str>>,
    /// How long a condition must last here before it counts: `90s`, `10m`, `1h`.
    #[serde(rename = "tocsin.dev/sustain")]
    pub sustain: Option<Arc<str>>,
}

impl Meta {
    /// The owner that manages the object.
    pub fn controller(&self) -> Option<&OwnerReference> {
        self.owner_references.iter().find(|owner| owner.controller)
    }

    /// Whether it is the mirror of a static pod, which the kubelet runs by itself and names anew at each start.
    pub fn is_static(&self) -> bool {
        self.annotations.config_mirror.is_some()
    }

    /// When its deletion was asked for: the deletion timestamp without the grace.
    pub fn deletion_asked(&self) -> Option<Time> {
        let grace = std::time::Duration::from_secs(self.deletion_grace_period_seconds.into());
        self.deletion_timestamp.map(|at| at - grace)
    }
}

impl OwnerReference {
    /// The API group of the owner; empty for the core group.
    pub fn group(&self) -> &str {
        self.api_version.split_once('/').map_or("", |(group, _)| group)
    }
}
