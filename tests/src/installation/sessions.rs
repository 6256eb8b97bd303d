//! How the aggregator is reached: for sessions that are the caller's, as of more agents than there can be processes of.

use std::fs;

use anyhow::{Context as _, Result};
use process::Tasks;
use process::tls::{self, ClientTls};
use serde_json::json;
use tocsin_node_agent::connection::{Connection, Settings, Trust};

use super::{AGENT, AGGREGATOR, AUDIENCE, CONFIG_MAP, Installation, LIMIT, NAMESPACE, Programs, path_of};

impl Installation {
    /// The CAs that agents read.
    pub fn published_authorities(&self) -> Option<String> {
        let map = self.cluster.object(&path_of("configmaps", CONFIG_MAP))?;
        map["data"]["ca.crt"].as_str().map(str::to_owned)
    }

    /// A cluster of these nodes and an aggregator that has nobody to report to it yet. Heartbeats are as far apart as by default,
    /// and no more is logged.
    pub fn start_without_agents(programs: Programs, nodes: &[&str]) -> Result<Self> {
        let rules = json!({});
        let mut installation = Self::prepare(programs, nodes, &rules, None)?;
        (installation.heartbeat, installation.log_level) = ("30s", "info");
        installation.write_files(&rules)?;
        installation.start_aggregator()?;
        let aggregator = installation.aggregator.as_ref().context("it was started")?;
        aggregator.until_said("certificate_served", LIMIT)?;
        Ok(installation)
    }

    /// The way to the aggregator for a node's agent, with its token.
    pub fn connection(&self, node: &str, tasks: &Tasks) -> Result<Connection> {
        let pod = self.pods.get(node).with_context(|| format!("no agent is planned for {node}"))?;
        let token = self.cluster.issue_pod_token(pod, AGENT, AUDIENCE);
        let token_file = self.write(&format!("{node}.token"), &token)?;
        let authorities = self.path("published.crt");
        if !authorities.exists() {
            fs::write(&authorities, self.published_authorities().context("no CA is published")?)?;
        }
        let name = tls::server_name(&format!("{AGGREGATOR}.{NAMESPACE}.svc"))?;
        let settings = Settings { address: self.addresses.agents.clone(), name, token_file };
        Ok(Connection::new(settings, Trust::in_file(ClientTls::from_file(authorities)?), tasks.clone()))
    }
}
