//! Views: the few fields of a Kubernetes object that the rules read, decoded straight from the API's JSON.
//!
//! Unknown fields are skipped, missing and `null` ones are empty.

use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::time::Time;

/// An object that can be listed and watched.
pub trait Object: DeserializeOwned + Send + 'static {
    /// The collection's path in the API, cluster-wide: `/api/v1/pods`.
    const COLLECTION: &'static str;

    /// Its metadata.
    fn meta(&self) -> &Meta;
}

/// `ObjectMeta`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Meta {
    /// `metadata.name`.
    pub name: Arc<str>,
    /// `metadata.namespace`; empty for cluster-wide objects.
    pub namespace: Arc<str>,
    /// `metadata.uid`.
    pub uid: Arc<str>,
    /// `metadata.resourceVersion`: opaque, but for its use in LIST and WATCH.
    pub resource_version: String,
    /// `metadata.creationTimestamp`.
    pub creation_timestamp: Option<Time>,
}
