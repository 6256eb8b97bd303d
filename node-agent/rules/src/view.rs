//! Views: the few fields of a Kubernetes object that the rules read, decoded straight from the API's JSON.
//!
//! Unknown fields are skipped, missing and `null` ones are empty, words that no rule knows are `Other`. A view is made
//! for one call of the engine and dropped: nothing here is kept.

mod condition;
mod container;
mod lenient;
mod meta;
mod node;
mod pod;

use serde::de::DeserializeOwned;

pub use condition::{Condition, ConditionStatus, ConditionType};
pub use container::{
    Container, ContainerState, ContainerStatus, ExitCodes, Limits, Probe, Resources, RestartPolicy, RestartRule,
    RunningState, TerminatedState, WaitingState,
};
pub use meta::{Annotations, Labels, Meta, OwnerReference};
pub use node::{Node, NodeSpec, NodeStatus, Taint};
pub use pod::{Phase, Pod, PodSpec, PodStatus};

/// An object that can be listed and watched.
pub trait Object: DeserializeOwned + Send + 'static {
    /// The collection's path in the API, cluster-wide: `/api/v1/pods`.
    const COLLECTION: &'static str;

    /// Its metadata.
    fn meta(&self) -> &Meta;
}

#[cfg(test)]
mod tests;
