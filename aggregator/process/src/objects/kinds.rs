//! The kinds of objects that are touched, and of each the fields that we read or write.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::ByteString;
use serde::{Deserialize, Deserializer, Serialize};

use super::{Changeable, Kind};

/// `v1/ConfigMap`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct ConfigMap {
    /// `data`; empty where there is none.
    #[serde(default, deserialize_with = "nullable")]
    pub data: BTreeMap<String, String>,
}

/// `v1/Secret`. Debug shows its keys alone.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Secret {
    /// `data`; empty where there is none.
    #[serde(default, deserialize_with = "nullable")]
    pub data: BTreeMap<String, ByteString>,
}

/// A change of `data`: keys that are not named stay. Debug shows the keys alone.
#[derive(Clone, Serialize)]
pub struct Data<V> {
    /// The keys to write; `None` takes one away.
    pub data: BTreeMap<String, Option<V>>,
}

/// `coordination.k8s.io/v1/Lease`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// What there is of our own in `metadata`.
    #[serde(default, deserialize_with = "nullable")]
    pub metadata: LeaseMetadata,
    /// `spec`.
    #[serde(default, deserialize_with = "nullable")]
    pub spec: LeaseSpec,
}

/// `metadata` of a Lease.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseMetadata {
    /// Those of ours.
    #[serde(default, deserialize_with = "nullable")]
    pub annotations: Annotations,
}

/// The annotations of a Lease that are ours. A patch leaves what is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Annotations {
    /// Where its holder hears agents: `IP:port`.
    #[serde(rename = "tocsin.dev/address", skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

/// `LeaseSpec`. A patch takes away what is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LeaseSpec {
    /// Who has it.
    pub holder_identity: Option<String>,
    /// How long it is good for after it was last seen to change.
    pub lease_duration_seconds: Option<u32>,
    /// When its holder got it; RFC 3339 with six digits of fraction.
    pub acquire_time: Option<String>,
    /// When it was last renewed; the same.
    pub renew_time: Option<String>,
    /// How often it has changed hands.
    pub lease_transitions: Option<u32>,
}

/// `apps/v1/Deployment`, of which nothing but its metadata is read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Deployment {}

impl Kind for ConfigMap {
    const ROOT: &'static str = "/api/v1";
    const PLURAL: &'static str = "configmaps";
    const KIND: &'static str = "ConfigMap";
}

impl Changeable for ConfigMap {
    type Change = Data<String>;
}

impl Kind for Secret {
    const ROOT: &'static str = "/api/v1";
    const PLURAL: &'static str = "secrets";
    const KIND: &'static str = "Secret";
}

impl Changeable for Secret {
    type Change = Data<ByteString>;
}

impl Kind for Lease {
    const ROOT: &'static str = "/apis/coordination.k8s.io/v1";
    const PLURAL: &'static str = "leases";
    const KIND: &'static str = "Lease";
}

impl Changeable for Lease {
    type Change = Self;
}

impl Kind for Deployment {
    const ROOT: &'static str = "/apis/apps/v1";
    const PLURAL: &'static str = "deployments";
    const KIND: &'static str = "Deployment";
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Secret").field("keys", &self.data.keys()).finish_non_exhaustive()
    }
}

impl<V> fmt::Debug for Data<V> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Data").field("keys", &self.data.keys()).finish_non_exhaustive()
    }
}

/// Servers write `null` for what is empty now and then.
fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}
