//! The aggregator's own watches: which there are follows from who watches pods ([`Coverage`]).

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::select_all;
use kube::Client;
use process::readiness::Handle;
use process::watch::{self, Health};
use process::{Clock, Event, Readiness, Watch};
use rules::view::Object;
use rules::{Node, Pod};

use super::sight::Collection;
use crate::config::{Config, Coverage};

/// The watches.
pub(super) struct Watches {
    pods: Vec<Listened<Pod>>,
    /// `None` where no right reaches them.
    nodes: Option<Listened<Node>>,
    /// The agents' pods; `None` where there are no agents.
    agents: Option<Listened<Pod>>,
}

/// What one of them has.
pub(super) enum Seen {
    /// Pods, in the watch of that number.
    Pods(usize, Event<Pod>),
    /// Nodes.
    Nodes(Event<Node>),
    /// Agents' pods.
    Agents(Event<Pod>),
}

/// The names of the watches, and how each is doing.
pub type Healths = Vec<(Arc<str>, Health)>;

/// A watch, and whether its first LIST has been waited for.
struct Listened<V> {
    name: Arc<str>,
    watch: Watch<V>,
    ready: Handle,
}

impl Watches {
    /// Watches that have not asked for anything yet. `readiness` waits for the first LIST of each.
    pub(super) fn new(config: &Config, client: &Client, clock: &Clock, readiness: &Readiness) -> Self {
        let pods = |name: &str, namespace: Option<&str>, field_selector: Option<&str>, waits: &'static str| {
            let options = watch::Options {
                namespace: namespace.map(Into::into),
                field_selector: field_selector.map(Into::into),
                ..watch::Options::default()
            };
            Listened::new(name, client, clock, options, readiness.handle(waits))
        };
        let Config { coverage, agents, agent_selector, .. } = config;
        let nodes = || Listened::new("nodes", client, clock, watch::Options::default(), readiness.handle("nodes"));
        let of_agents = || watch::Options {
            namespace: Some(agents.daemon_set.namespace.to_string()),
            label_selector: agent_selector.as_deref().map(Into::into),
            ..watch::Options::default()
        };
        match coverage {
            Coverage::Agents => Self {
                pods: vec![pods("unscheduled_pods", None, Some("spec.nodeName="), "pods without a node")],
                nodes: Some(nodes()),
                agents: Some(Listened::new("agent_pods", client, clock, of_agents(), readiness.handle("agents' pods"))),
            },
            Coverage::Cluster => {
                Self { pods: vec![pods("pods", None, None, "pods")], nodes: Some(nodes()), agents: None }
            }
            Coverage::Namespaces(names) => {
                let of = |name: &Arc<str>| pods(&format!("pods/{name}"), Some(name), None, "pods of a namespace");
                Self { pods: names.iter().map(of).collect(), nodes: None, agents: None }
            }
        }
    }

    /// How they are doing.
    pub(super) fn healths(&self) -> Healths {
        let pods = self.pods.iter().chain(&self.agents).map(Listened::health);
        pods.chain(self.nodes.iter().map(Listened::health)).collect()
    }

    /// What comes next from any of them. Cancel-safe.
    pub(super) async fn next(&mut self) -> Seen {
        let Self { pods, nodes, agents } = self;
        let pods = select_all(pods.iter_mut().map(|pods| pods.next().boxed()));
        tokio::select! {
            (event, number, _) = pods => Seen::Pods(number, event),
            Some(event) = next_of(nodes) => Seen::Nodes(event),
            Some(event) = next_of(agents) => Seen::Agents(event),
        }
    }

    /// Shows everything of one of them once more.
    pub(super) fn list_again(&mut self, collection: Collection) {
        match collection {
            Collection::Pods(number) => self.pods[number].watch.list_again(),
            Collection::Nodes => self.nodes.iter_mut().for_each(|nodes| nodes.watch.list_again()),
            Collection::Agents => self.agents.iter_mut().for_each(|agents| agents.watch.list_again()),
        }
    }
}

impl<V: Object> Listened<V> {
    fn new(name: &str, client: &Client, clock: &Clock, options: watch::Options, ready: Handle) -> Self {
        let watch = Watch::new(client.clone(), clock.clone(), options, fastrand::Rng::new());
        Self { name: Arc::from(name), watch, ready }
    }

    fn health(&self) -> (Arc<str>, Health) {
        (Arc::clone(&self.name), self.watch.health())
    }

    /// The next event. Cancel-safe.
    async fn next(&mut self) -> Event<V> {
        let event = self.watch.next().await;
        match &event {
            Event::Listed { .. } => self.ready.ready(),
            // Later the API server may be away: that is no reason to turn agents away.
            Event::Quiet { reason } if self.watch.health().lists() == 0 => self.ready.unready(reason.to_string()),
            Event::Quiet { .. } | Event::Live | Event::Applied(_) | Event::Deleted(_) => {}
        }
        event
    }
}

/// The next event of a watch, if there is one. Cancel-safe.
async fn next_of<V: Object>(watch: &mut Option<Listened<V>>) -> Option<Event<V>> {
    match watch {
        Some(watch) => Some(watch.next().await),
        None => None,
    }
}
