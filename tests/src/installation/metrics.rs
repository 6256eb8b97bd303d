//! What the processes of an installation show on `/metrics`.

use anyhow::{Context as _, Result};

use super::{Installation, LIMIT};
use crate::metrics::{Metrics, http_get};
use crate::processes::Process;

impl Installation {
    /// What the aggregator counts.
    pub fn metrics(&self) -> Result<Metrics> {
        Metrics::scrape(&self.addresses.metrics)
    }

    /// What `/api/v1/issues` shows.
    pub fn open_issues(&self) -> Result<String> {
        http_get(&self.addresses.api, "/api/v1/issues")
    }

    /// Looks at what the aggregator counts until it is as it should be: again after each line of its log, which tells of
    /// each report and each batch.
    pub fn until_metrics(&self, what: &str, mut holds: impl FnMut(&Metrics) -> Result<bool>) -> Result<()> {
        let aggregator = self.aggregator.as_ref().context("there is no aggregator")?;
        let mut last = String::new();
        let held = aggregator.until(what, LIMIT, || {
            let metrics = self.metrics()?;
            let holds = holds(&metrics)?;
            last = metrics.0;
            Ok(holds.then_some(()))
        });
        held.with_context(|| format!("{last}\n{}", self.tails()))
    }

    /// What each kind of process counts: the aggregators, the one that leads first, and one agent.
    pub fn all_metrics(&self) -> Result<(Vec<Metrics>, Metrics)> {
        let aggregators = self.leader.iter().chain(&self.aggregator).map(scrape).collect::<Result<_>>()?;
        let agent = self.agents.values().next().context("there is no agent")?;
        Ok((aggregators, scrape(agent)?))
    }

    /// `HOST:PORT` of `/metrics` of every aggregator and every agent.
    pub fn metrics_addresses(&self) -> Result<(Vec<String>, Vec<String>)> {
        let aggregators = self.leader.iter().chain(&self.aggregator).map(address).collect::<Result<_>>()?;
        Ok((aggregators, self.agents.values().map(address).collect::<Result<_>>()?))
    }
}

/// Where a process said at its start that its metrics are.
fn address(process: &Process) -> Result<String> {
    process.until_said("started", LIMIT)?["admin"].as_str().map(str::to_owned).context("it says where")
}

fn scrape(process: &Process) -> Result<Metrics> {
    Metrics::scrape(&address(process)?)
}
