//! What a process says of itself over HTTP: its figures, and whatever else it answers.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

/// How long an answer is waited for, far above what any takes.
const PATIENCE: Duration = Duration::from_mins(1);

/// One scrape.
#[derive(Clone, Debug)]
pub struct Metrics(pub String);

impl Metrics {
    /// What is at `/metrics` of `address` (`HOST:PORT`).
    pub fn scrape(address: &str) -> Result<Self> {
        Ok(Self(http_get(address, "/metrics")?))
    }

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

/// The body of what `address` (`HOST:PORT`) answers; anything but 200 is an error.
pub fn http_get(address: &str, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
    ensure!(head.starts_with("HTTP/1.1 200 "), "{path}: {head}");
    Ok(body.to_owned())
}
