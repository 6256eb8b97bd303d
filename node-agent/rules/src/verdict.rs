//! What a rule is asked and what it answers.

use std::sync::Arc;
use std::time::Duration;

use crate::agent::AgentSight;
use crate::config::KindConfig;
use crate::engine::NodeHistory;
use crate::finding::{Evidence, Incarnation, Owner, Severity};
use crate::time::Time;
use crate::view::{ConditionType, Container, ContainerStatus, Node, Phase, Pod, WaitingState};

/// A rule, by what it looks at.
pub(crate) enum Rule {
    /// Asked for each init container and container of a pod.
    Container(fn(&ContainerCase<'_>) -> Verdict),
    /// Asked once for a pod.
    Pod(fn(&PodCase<'_>) -> Verdict),
    /// Asked once for a node.
    Node(fn(&NodeCase<'_>) -> Verdict),
    /// Asked once for the agent of a node.
    Agent(fn(&AgentCase<'_>) -> Verdict),
}

/// A container to judge.
pub(crate) struct ContainerCase<'a> {
    pub(crate) pod: &'a Pod,
    pub(crate) spec: &'a Container,
    pub(crate) status: &'a ContainerStatus,
    pub(crate) moment: Moment,
    pub(crate) settings: &'a KindConfig,
}

/// A pod to judge.
pub(crate) struct PodCase<'a> {
    pub(crate) pod: &'a Pod,
    pub(crate) moment: Moment,
    pub(crate) settings: &'a KindConfig,
}

/// A node to judge.
pub(crate) struct NodeCase<'a> {
    pub(crate) node: &'a Node,
    pub(crate) history: &'a NodeHistory,
    pub(crate) moment: Moment,
    pub(crate) settings: &'a KindConfig,
}

/// A node's agent to judge.
pub(crate) struct AgentCase<'a> {
    pub(crate) agent: &'a AgentSight<'a>,
    pub(crate) moment: Moment,
    pub(crate) settings: &'a KindConfig,
}

/// What a rule answers.
pub(crate) enum Verdict {
    /// A level's condition is there.
    Holds(Observation),
    /// An edge: this is the newest occurrence that the view shows, perhaps long known; and how its subject is now.
    Happened(Observation, Health),
    /// Nothing of that kind, and how the subject is.
    Not(Health),
}

/// How a subject is that the condition does not hold for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    /// Well, since that time; `None`: the API does not say since when, so since it was first seen well.
    Well(Option<Time>),
    /// Neither: nothing fires, and no hold runs (a crash-looping container that runs but is not ready yet).
    Unclear,
}

/// A condition that a rule sees.
pub(crate) struct Observation {
    /// Since when (a level), or when it happened (an edge): the API's time where there is one, else `now`.
    pub(crate) since: Time,
    /// Which occurrence it is.
    pub(crate) incarnation: Incarnation,
    /// A level that comes and goes by nature: its sustain runs on through other incarnations of itself.
    pub(crate) unbroken: bool,
    /// The sustain, where the rule knows better than the configuration.
    pub(crate) sustain: Option<Duration>,
    /// The severity, where the rule knows better than the configuration.
    pub(crate) severity: Option<Severity>,
    /// What it is grouped under, where that is not the subject's top owner.
    pub(crate) owner: Option<Owner>,
    /// The facts.
    pub(crate) evidence: Evidence,
}

/// Now, and how to read the clocks of others.
#[derive(Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) now: Time,
    /// The node's wall clock minus the API server's, in milliseconds.
    pub(crate) kubelet_offset: i64,
}

impl Observation {
    /// An observation with nothing but the necessary.
    pub(crate) fn new(since: Time, incarnation: &[&str]) -> Self {
        Self {
            since,
            incarnation: Incarnation::of(incarnation),
            unbroken: false,
            sustain: None,
            severity: None,
            owner: None,
            evidence: Evidence::default(),
        }
    }
}

impl Verdict {
    /// Nothing, and well since that time.
    pub(crate) fn well(since: Option<Time>) -> Self {
        Self::Not(Health::Well(since))
    }

    /// Nothing that can be told.
    pub(crate) fn unclear() -> Self {
        Self::Not(Health::Unclear)
    }
}

impl Moment {
    /// A time that the control plane wrote; a time to come is now.
    pub(crate) fn api(self, at: Time) -> Time {
        at.min(self.now)
    }

    /// A time that the kubelet wrote, by the API server's clock; a time to come is now.
    pub(crate) fn kubelet(self, at: Time) -> Time {
        at.shifted(self.kubelet_offset.saturating_neg()).min(self.now)
    }
}

impl KindConfig {
    /// The rule's own number of that name, as a span in seconds.
    pub(crate) fn seconds(&self, name: &str) -> Duration {
        Duration::try_from_secs_f64(self.threshold(name)).unwrap_or(Duration::MAX)
    }

    /// The rule's own number of that name; zero where the configuration has none.
    pub(crate) fn threshold(&self, name: &str) -> f64 {
        self.thresholds.get(name).copied().unwrap_or(0.0)
    }
}

impl ContainerCase<'_> {
    /// How the container is: well when it is ready, or ended with zero; unclear otherwise.
    ///
    /// The API does not say when one container became ready. It was not before it started, and when all containers of
    /// the pod are ready, it was ready no later than `ContainersReady` changed.
    pub(crate) fn health(&self) -> Health {
        let state = &self.status.state;
        if let Some(ended) = state.terminated.as_ref().filter(|ended| ended.exit_code == 0) {
            return Health::Well(ended.finished_at.map(|at| self.moment.kubelet(at)));
        }
        let Some(running) = state.running.as_ref().filter(|_| self.status.ready) else { return Health::Unclear };
        let all_ready = self.pod.holds(ConditionType::ContainersReady).and_then(|all| all.last_transition_time);
        Health::Well(
            all_ready.max(running.started_at).filter(|_| all_ready.is_some()).map(|at| self.moment.kubelet(at)),
        )
    }

    /// What it waits for, if that is `reason`.
    pub(crate) fn waiting(&self, reason: &str) -> Option<&WaitingState> {
        self.status.state.waiting.as_ref().filter(|waiting| &*waiting.reason == reason)
    }

    /// The facts about the container.
    pub(crate) fn evidence(&self) -> Evidence {
        container_evidence(self.spec, self.status)
    }

    /// This container of this pod at the time of `fact`, as a text.
    pub(crate) fn identity(&self, fact: &str) -> String {
        format!("{}/{}/{fact}", identity(self.pod), self.spec.name)
    }

    /// A native sidecar whose pod's main containers have all ended: how it ends itself says nothing.
    pub(crate) fn is_sidecar_after_the_end(&self) -> bool {
        is_sidecar_after_the_end(self.pod, self.spec)
    }
}

impl PodCase<'_> {
    /// What makes this pod this one and no other.
    pub(crate) fn identity(&self) -> &str {
        identity(self.pod)
    }
}

/// What makes a pod this one and no other: its uid; a static pod's mirror gets another each time, its name stays.
fn identity(pod: &Pod) -> &str {
    if pod.is_static() { &pod.meta.name } else { &pod.meta.uid }
}

/// The facts about a container: the image, how often it was started again, how it ended last.
pub(crate) fn container_evidence(spec: &Container, status: &ContainerStatus) -> Evidence {
    let ended = status.state.terminated.as_ref().or(status.last_state.terminated.as_ref());
    Evidence {
        image: some_text(&spec.image),
        restarts: Some(status.restart_count),
        exit_code: ended.map(|ended| ended.exit_code),
        signal: ended.and_then(|ended| ended.signal).filter(|&signal| signal != 0),
        memory_limit: spec.resources.limits.memory.as_deref().map(Evidence::text),
        ..Evidence::default()
    }
}

/// A native sidecar of a pod whose main containers have all ended.
pub(crate) fn is_sidecar_after_the_end(pod: &Pod, spec: &Container) -> bool {
    let main = &pod.status.container_statuses;
    pod.spec.init_containers.iter().any(|init| std::ptr::eq(init, spec))
        && spec.is_sidecar()
        && !main.is_empty()
        && main.iter().all(|status| status.state.terminated.is_some())
}

/// Whether the pod has ended, whichever way.
pub(crate) fn has_ended(pod: &Pod) -> bool {
    matches!(pod.status.phase, Phase::Succeeded | Phase::Failed)
}

/// When the last container of the pod ended.
pub(crate) fn last_end(pod: &Pod, moment: Moment) -> Option<Time> {
    let ends = pod.containers().filter_map(|(_, status)| status.state.terminated.as_ref()?.finished_at);
    ends.max().map(|at| moment.kubelet(at))
}

/// A text for the evidence; `None` for an empty one.
pub(crate) fn some_text(text: &str) -> Option<Arc<str>> {
    (!text.is_empty()).then(|| Evidence::text(text))
}
