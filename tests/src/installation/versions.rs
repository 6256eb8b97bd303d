//! Programs of several builds beside each other, and the versions of the report format that they have agreed on.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{Installation, LIMIT};
use crate::processes::{Process, Programs};

impl Installation {
    /// What is started from now on is one of these.
    pub fn replace_programs(&mut self, programs: Programs) {
        self.programs = programs;
    }

    /// Waits until the last session of each node with this aggregator is in this version. The aggregator's line about it may
    /// come after the agent's.
    pub fn until_versions(&self, expected: &BTreeMap<String, u64>) -> Result<()> {
        let aggregator = self.aggregator.as_ref().context("there is no aggregator")?;
        let agreed = aggregator
            .until("sessions in these versions", LIMIT, || Ok((versions(aggregator) == *expected).then_some(())));
        agreed.with_context(|| format!("expected {expected:?}, found {:?}\n{}", versions(aggregator), self.tails()))
    }
}

/// Of each node that has opened a session with this aggregator, the version that its last one is in.
fn versions(aggregator: &Process) -> BTreeMap<String, u64> {
    let opened = aggregator.lines().into_iter().filter_map(|line| {
        let line: Value = serde_json::from_str(&line).ok()?;
        let session = line["message"] == "session_opened";
        session.then(|| Some((line["node"].as_str()?.to_owned(), line["version"].as_u64()?)))?
    });
    opened.collect()
}
