//! What the processes of an installation show on `/metrics`.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use anyhow::{Context as _, Result, bail, ensure};

use super::{Installation, LIMIT, said};
use crate::processes::Process;

/// One scrape.
#[derive(Clone, Debug)]
pub struct Metrics(pub String);

impl Installation {
    /// What the aggregator counts.
    pub fn metrics(&self) -> Result<Metrics> {
        Ok(Metrics(http_get(&self.addresses.metrics, "/metrics")?))
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

impl Metrics {
    /// The sum of all series of a metric whose labels hold these texts.
    pub fn sum(&self, metric: &str, labels: &[&str]) -> Result<u64> {
        let is_meant = |line: &&str| {
            let rest = line.strip_prefix(metric).filter(|rest| rest.starts_with(['{', ' ']));
            rest.is_some_and(|rest| labels.iter().all(|label| rest.contains(label)))
        };
        let mut found = self.0.lines().filter(is_meant).peekable();
        if found.peek().is_none() {
            bail!("no series {metric} with {labels:?} in\n{}", self.0);
        }
        let values = found.map(|line| line.rsplit(' ').next().unwrap_or_default().parse::<u64>());
        values.sum::<Result<u64, _>>().with_context(|| format!("{metric} is no whole number"))
    }

    /// Fails unless every observed finding is in exactly one place.
    pub fn balance(&self) -> Result<()> {
        let (observed, placed) = (self.sum("tocsin_findings_observed_total", &[])?, self.sum("tocsin_findings", &[])?);
        ensure!(observed == placed, "{observed} findings observed, {placed} accounted for:\n{}", self.0);
        Ok(())
    }
}

/// Where a process said at its start that its metrics are.
fn address(process: &Process) -> Result<String> {
    said(process, "started")?["admin"].as_str().map(str::to_owned).context("it says where")
}

fn scrape(process: &Process) -> Result<Metrics> {
    Ok(Metrics(http_get(&address(process)?, "/metrics")?))
}

fn http_get(address: &str, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(LIMIT))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
    ensure!(head.starts_with("HTTP/1.1 200 "), "{path}: {head}");
    Ok(body.to_owned())
}
