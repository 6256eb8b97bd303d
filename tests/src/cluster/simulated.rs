//! Nodes that are not there: kwok plays their kubelets, so that a cluster has more nodes than this machine could carry. Their
//! pods are Running as soon as they are scheduled, or crash as soon as that (`tests/cluster/kwok/stages.yaml`), and no process
//! stands behind them.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::{Cluster, START_LIMIT, condition};

const KWOK: &str = "kwok";
/// What kwok goes by.
const STAGES: &str = "cluster/kwok/stages.yaml";
/// The label of nodes that kwok plays.
const PLAYED: &str = "tocsin.test/played";

impl Cluster {
    /// The label of all simulated nodes, alive or dead: `KEY=VALUE`.
    pub const SIMULATED: [&str; 2] = ["tocsin.test/node", "simulated"];

    /// Adds so many simulated nodes and waits until all are Ready; gives their names. Once in a cluster's life.
    pub fn simulate_nodes(&mut self, count: usize) -> Result<Vec<String>> {
        let kwok = self.kwok()?;
        self.processes.start(KWOK, kwok)?;
        let names: Vec<_> = (1..=count).map(|number| format!("simulated-{number:03}")).collect();
        let nodes: Vec<_> = names.iter().map(|name| node(name)).collect();
        self.apply(&json!({"apiVersion": "v1", "kind": "List", "items": nodes}).to_string())?;
        let label = Self::SIMULATED.join("=");
        self.wait_for("the simulated nodes", START_LIMIT, |cluster| {
            let nodes = cluster.get(&["nodes", "-l", &label])?;
            let ready = nodes["items"].as_array().into_iter().flatten().filter(|node| is_ready(node)).count();
            ensure!(ready == count, "{ready} of {count} are Ready");
            Ok(Some(()))
        })?;
        self.say("the simulated nodes are Ready");
        Ok(names)
    }

    /// A simulated node's kubelet falls silent: its Lease is renewed no more, and its pods stay as they are.
    pub fn silence_simulated_node(&self, name: &str) -> Result<()> {
        self.kubectl(&["label", "node", name, &format!("{PLAYED}-")]).map(drop)
    }

    /// It is there again.
    pub fn wake_simulated_node(&self, name: &str) -> Result<()> {
        self.kubectl(&["label", "node", name, &format!("{PLAYED}=")]).map(drop)
    }

    fn kwok(&self) -> Result<Command> {
        let mut command = self.command_in(self.parts.kwok()?);
        command
            .arg(format!("--kubeconfig={}", self.admin_kubeconfig().display()))
            .arg(format!("--config={}", Path::new(env!("CARGO_MANIFEST_DIR")).join(STAGES).display()))
            .arg(format!("--manage-nodes-with-label-selector={PLAYED}"))
            // As the kubelet's: renewed four times in its duration.
            .arg(format!("--node-lease-duration-seconds={}", self.options.node_grace.as_secs()))
            .arg("--v=WARN")
            // Where it would look for more of its configuration.
            .env("HOME", &self.folder);
        Ok(command)
    }
}

fn node(name: &str) -> Value {
    let [key, value] = Cluster::SIMULATED;
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {key: value, PLAYED: "", "kubernetes.io/hostname": name, "kubernetes.io/os": "linux"},
        },
    })
}

fn is_ready(node: &Value) -> bool {
    condition(node, "Ready") == Some("True")
}
