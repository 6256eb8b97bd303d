//! What a fleet costs: what the API server was asked for, by its own count, and what the processes hold.
//!
//! The API server counts requests by the FlowSchema that they fall under, so each kind of request that matters has one here.

use std::fmt;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tocsin_tests::cluster::Cluster;

use crate::tocsin::{AGENT, AGGREGATOR, OWN, Tocsin};

const COUNTED: &str = "apiserver_flowcontrol_dispatched_requests_total{";
const CUT: &str = "apiserver_terminated_watchers_total{";
const EVERYTHING: [&str; 1] = ["*"];
const MIB: f64 = 1024.0 * 1024.0;
/// As `make bench` has it for a node with more pods.
const AGENT_MIB_MAX: f64 = 8.0;
/// Half of what the chart asks for, for two and a half times as many nodes.
const AGGREGATOR_MIB_MAX: f64 = 32.0;

/// Whose requests, which of them, and what they are called here. The first that fits counts a request.
const KINDS: [(&str, &str, &str); 7] = [
    (AGENT, "list", "pods"),
    (AGENT, "watch", "pods"),
    (AGENT, "*", "*"),
    (AGGREGATOR, "list", "*"),
    (AGGREGATOR, "watch", "*"),
    (AGGREGATOR, "create", "tokenreviews"),
    (AGGREGATOR, "*", "*"),
];

/// What the API server was asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    /// How many requests there were of each of [`KINDS`].
    requests: [u64; KINDS.len()],
    /// How many watches of pods it has ended by itself, anybody's: of those by node each has room for ten events that are not
    /// read yet, and pods without a node are as one node.
    cut: u64,
}

impl Asked {
    /// From now on the API server counts.
    pub(crate) fn count_from_now_on(cluster: &Cluster) -> Result<()> {
        let schemas: Vec<_> = (0..KINDS.len()).map(schema).collect();
        cluster.apply(&json!({"apiVersion": "v1", "kind": "List", "items": schemas}).to_string())?;
        for number in 0..KINDS.len() {
            let one = ["flowschemas", &format!("--field-selector=metadata.name={}", name(number))];
            cluster.watch(&one, crate::LIMIT, |schema| {
                // It is in force once its priority level has been looked at.
                let conditions = schema["status"]["conditions"].as_array()?;
                conditions.iter().any(|its| its["type"] == "Dangling" && its["status"] == "False").then_some(())
            })?;
        }
        Ok(())
    }

    /// What it has counted so far.
    pub(crate) fn of(cluster: &Cluster) -> Result<Self> {
        let figures = cluster.kubectl(&["get", "--raw", "/metrics"])?;
        let mut requests = [0; KINDS.len()];
        for (number, count) in requests.iter_mut().enumerate() {
            *count = counted(&figures, COUNTED, &format!("flow_schema=\"{}\"", name(number)))?;
        }
        Ok(Self { requests, cut: counted(&figures, CUT, "resource=\"pods\"")? })
    }

    /// An agent reads the CA, lists its pods once and watches them once. The aggregator lists and watches nodes, pods without
    /// a node and the agents' own pods, however many agents there are, and has each agent's token looked at. A watch comes again
    /// only where one was ended for it.
    pub(crate) fn is_no_more_than_promised(&self, agents: u64) -> Result<()> {
        let [pod_lists, pod_watches, others, lists, watches, reviews, _] = self.requests;
        ensure!([pod_lists, others] == [agents; 2], "{agents} agents have asked for something else: {self}");
        ensure!([lists, reviews] == [3, agents], "the aggregator has asked for something else: {self}");
        let again = (pod_watches + watches).checked_sub(agents + 3).context("not all are watched")?;
        ensure!(again <= self.cut, "more was watched again than was ended: {self}");
        Ok(())
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = KINDS.iter().zip(self.requests).map(|((who, verb, what), count)| {
            let who = if *who == AGENT { "agents" } else { "aggregator" };
            match (*verb, *what) {
                ("*", _) => format!("{count} others ({who})"),
                (verb, "*") => format!("{count} {verb} ({who})"),
                (verb, what) => format!("{count} {verb} {what} ({who})"),
            }
        });
        write!(out, "{}; it ended {} watches by itself", shown.collect::<Vec<_>>().join(", "), self.cut)
    }
}

/// The sum of the counters that begin like this and have this label; one that has counted nothing yet is not there.
fn counted(figures: &str, begin: &str, label: &str) -> Result<u64> {
    let counters = figures.lines().filter(|line| line.starts_with(begin) && line.contains(label));
    let values = counters.map(|line| line.rsplit(' ').next().unwrap_or_default().parse::<u64>());
    values.sum::<Result<u64, _>>().with_context(|| format!("{begin} is no whole number"))
}

fn name(number: usize) -> String {
    format!("tocsin-{number}")
}

fn schema(number: usize) -> Value {
    let (account, verb, resource) = KINDS[number];
    json!({
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
        "kind": "FlowSchema",
        "metadata": {"name": name(number)},
        "spec": {
            "matchingPrecedence": 1000 + number,
            "priorityLevelConfiguration": {"name": "workload-low"},
            "distinguisherMethod": {"type": "ByUser"},
            "rules": [{
                "subjects": [{"kind": "ServiceAccount", "serviceAccount": {"name": account, "namespace": OWN}}],
                "resourceRules": [{
                    "verbs": [verb],
                    "apiGroups": EVERYTHING,
                    "resources": [resource],
                    "namespaces": EVERYTHING,
                    "clusterScope": true,
                }],
            }],
        },
    })
}

/// What the processes hold, in MiB.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    aggregator: f64,
    /// The one that holds most, and all together.
    agents: [f64; 2],
}

impl Cost {
    pub(crate) fn of(tocsin: &Tocsin) -> Result<Self> {
        let [aggregator, most, together] = tocsin.resident_bytes()?.map(|bytes| bytes as f64 / MIB);
        Ok(Self { aggregator, agents: [most, together] })
    }

    pub(crate) fn is_within_bounds(&self) -> Result<()> {
        let [most, _] = self.agents;
        ensure!(most <= AGENT_MIB_MAX, "an agent holds more than {AGENT_MIB_MAX} MiB: {self}");
        ensure!(
            self.aggregator <= AGGREGATOR_MIB_MAX,
            "the aggregator holds more than {AGGREGATOR_MIB_MAX} MiB: {self}"
        );
        Ok(())
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [most, together] = self.agents;
        write!(out, "aggregator {:.1} MiB, agents at most {most:.1} and together {together:.0} MiB", self.aggregator)
    }
}
