//! Containers: what their spec asks for and what their status says.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::lenient::{nullable, text, time};
use crate::time::Time;

/// One of `spec.containers` or `spec.initContainers`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Container {
    /// `name`.
    #[serde(deserialize_with = "text")]
    pub name: Arc<str>,
    /// `image`.
    #[serde(deserialize_with = "text")]
    pub image: Arc<str>,
    /// `resources`.
    #[serde(deserialize_with = "nullable")]
    pub resources: Resources,
    /// `startupProbe`.
    pub startup_probe: Option<Probe>,
    /// `readinessProbe`.
    pub readiness_probe: Option<Probe>,
    /// `restartPolicy` of this container; `None` when the pod's counts. `Always` on an init container makes it a native
    /// sidecar (KEP-753).
    #[serde(deserialize_with = "nullable")]
    pub restart_policy: Option<RestartPolicy>,
    /// `restartPolicyRules` (KEP-5307): the first that fits an exit code comes before the policy.
    #[serde(deserialize_with = "nullable")]
    pub restart_policy_rules: Vec<RestartRule>,
}

/// `ResourceRequirements`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// `limits`.
    #[serde(deserialize_with = "nullable")]
    pub limits: Limits,
}

/// The limits that rules read.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// `memory`, as the spec says it.
    pub memory: Option<Arc<str>>,
}

/// The numbers of a probe.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Probe {
    /// `initialDelaySeconds`.
    pub initial_delay_seconds: u32,
    /// `periodSeconds`.
    pub period_seconds: u32,
    /// `failureThreshold`.
    pub failure_threshold: u32,
}

/// When the kubelet starts a container again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Arc<str>")]
pub enum RestartPolicy {
    /// Whenever it ended.
    #[default]
    Always,
    /// When it ended with another code than zero.
    OnFailure,
    /// Never.
    Never,
}

/// One of `restartPolicyRules`. Every `action` that is defined starts the container again.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RestartRule {
    /// `exitCodes` that it is for.
    #[serde(deserialize_with = "nullable")]
    pub exit_codes: ExitCodes,
}

/// A set of exit codes.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ExitCodes {
    /// `In` or `NotIn`.
    #[serde(deserialize_with = "text")]
    pub operator: Arc<str>,
    /// The codes.
    #[serde(deserialize_with = "nullable")]
    pub values: Vec<i32>,
}

/// One of `status.containerStatuses` or `status.initContainerStatuses`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ContainerStatus {
    /// `name`.
    #[serde(deserialize_with = "text")]
    pub name: Arc<str>,
    /// `ready`.
    #[serde(deserialize_with = "nullable")]
    pub ready: bool,
    /// `started`: its startup probe has passed.
    #[serde(deserialize_with = "nullable")]
    pub started: bool,
    /// `restartCount`.
    #[serde(deserialize_with = "nullable")]
    pub restart_count: u32,
    /// `state`.
    #[serde(deserialize_with = "nullable")]
    pub state: ContainerState,
    /// `lastState`: how the container before this one ended. It stays for as long as the pod lives.
    #[serde(deserialize_with = "nullable")]
    pub last_state: ContainerState,
}

/// `ContainerState`: one of its members is set, or none (then it is waiting).
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ContainerState {
    /// `waiting`.
    pub waiting: Option<WaitingState>,
    /// `running`.
    pub running: Option<RunningState>,
    /// `terminated`.
    pub terminated: Option<TerminatedState>,
}

/// `ContainerStateWaiting`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct WaitingState {
    /// `reason`.
    #[serde(deserialize_with = "text")]
    pub reason: Arc<str>,
    /// `message`.
    #[serde(deserialize_with = "text")]
    pub message: Arc<str>,
}

/// `ContainerStateRunning`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RunningState {
    /// `startedAt`, by the node's clock.
    #[serde(deserialize_with = "time")]
    pub started_at: Option<Time>,
}

/// `ContainerStateTerminated`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TerminatedState {
    /// `exitCode`.
    #[serde(deserialize_with = "nullable")]
    pub exit_code: i32,
    /// `signal`.
    pub signal: Option<i32>,
    /// `reason`.
    #[serde(deserialize_with = "text")]
    pub reason: Arc<str>,
    /// `message`: the container's termination message.
    #[serde(deserialize_with = "text")]
    pub message: Arc<str>,
    /// `startedAt`, by the node's clock; in 1970 when it never started.
    #[serde(deserialize_with = "time")]
    pub started_at: Option<Time>,
    /// `finishedAt`, by the node's clock.
    #[serde(deserialize_with = "time")]
    pub finished_at: Option<Time>,
    /// `containerID`.
    #[serde(rename = "containerID", deserialize_with = "text")]
    pub container_id: Arc<str>,
}

impl Container {
    /// Whether it is a native sidecar, if it is an init container.
    pub fn is_sidecar(&self) -> bool {
        self.restart_policy == Some(RestartPolicy::Always)
    }

    /// Whether the kubelet starts it again after it ended with `exit_code`, in a pod with `policy`.
    pub fn restarts(&self, exit_code: i32, policy: RestartPolicy) -> bool {
        if self.restart_policy_rules.iter().any(|rule| rule.exit_codes.contain(exit_code)) {
            return true;
        }
        match self.restart_policy.unwrap_or(policy) {
            RestartPolicy::Always => true,
            RestartPolicy::OnFailure => exit_code != 0,
            RestartPolicy::Never => false,
        }
    }
}

impl ExitCodes {
    fn contain(&self, code: i32) -> bool {
        match &*self.operator {
            "In" => self.values.contains(&code),
            "NotIn" => !self.values.contains(&code),
            _ => false,
        }
    }
}

impl Probe {
    /// How long it may fail before it has failed.
    pub fn budget(&self) -> Duration {
        let period = Duration::from_secs(self.period_seconds.into());
        Duration::from_secs(self.initial_delay_seconds.into()) + period.saturating_mul(self.failure_threshold)
    }
}

impl Default for Probe {
    /// The API's own defaults.
    fn default() -> Self {
        Self { initial_delay_seconds: 0, period_seconds: 10, failure_threshold: 3 }
    }
}

impl From<Arc<str>> for RestartPolicy {
    fn from(word: Arc<str>) -> Self {
        Self::from(&*word)
    }
}

impl From<&str> for RestartPolicy {
    fn from(word: &str) -> Self {
        match word {
            "OnFailure" => Self::OnFailure,
            "Never" => Self::Never,
            _ => Self::Always,
        }
    }
}
