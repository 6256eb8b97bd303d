//! Programs of several builds beside each other, and the versions of the report format that they have agreed on.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::Installation;
use crate::processes::{Process, Programs};

impl Installation {
    /// What is started from now on is one of these.
    pub fn replace_programs(&mut self, programs: Programs) {
        self.programs = programs;
    }

    /// Of each node that has opened a session with this aggregator, the version that its last one is in.
    pub fn versions(&self) -> Result<BTreeMap<String, u64>> {
        let lines = self.aggregator.as_ref().map(Process::lines).context("there is no aggregator")?;
        let opened = lines.iter().filter_map(|line| {
            let line: Value = serde_json::from_str(line).ok()?;
            let session = line["message"] == "session_opened";
            session.then(|| Some((line["node"].as_str()?.to_owned(), line["version"].as_u64()?)))?
        });
        Ok(opened.collect())
    }
}
