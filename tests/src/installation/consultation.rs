//! Asks `tocsin-aggregator doctor` how an installation does.

use std::process::Output;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::replicas::as_pod;
use super::{Installation, OWN_KUBECONFIG};

/// What it said.
#[derive(Clone, Debug)]
pub struct Diagnosis {
    /// Its exit code.
    pub code: Option<i32>,
    /// Its checks.
    pub checks: Vec<Value>,
    /// What it said beside them.
    pub error: String,
}

impl Installation {
    /// Of an aggregator that is alone, without patience.
    pub fn consult(&self) -> Result<Diagnosis> {
        self.diagnose(&["--patience=0s".to_owned()])
    }

    /// Of one that had itself elected.
    pub fn consult_pod(&self, patience: &str) -> Result<Diagnosis> {
        self.diagnose(&[&as_pod("doctor")[..], &[format!("--patience={patience}")]].concat())
    }

    fn diagnose(&self, arguments: &[String]) -> Result<Diagnosis> {
        let mut command = self.aggregator_command(Some("doctor"), OWN_KUBECONFIG);
        // As in its image, where there are no trust roots but its own.
        command.envs([("SSL_CERT_FILE", "/dev/null"), ("SSL_CERT_DIR", "/dev/null")]);
        let Output { status, stdout, stderr } = command.arg("--output=json").args(arguments).output()?;
        let error = String::from_utf8_lossy(&stderr).into_owned();
        let said: Value = serde_json::from_slice(&stdout).with_context(|| format!("it prints no JSON: {error}"))?;
        let checks = said["checks"].as_array().with_context(|| format!("{said} has no checks"))?.clone();
        Ok(Diagnosis { code: status.code(), checks, error })
    }
}

impl Diagnosis {
    /// The names of those that have this outcome.
    pub fn with(&self, outcome: &str) -> Vec<&str> {
        let meant = self.checks.iter().filter(|check| check["outcome"] == outcome);
        meant.filter_map(|check| check["name"].as_str()).collect()
    }

    /// That it has failed, for no other reason than the check of this name, which says all of this.
    pub fn has_failed_for(&self, name: &str, says: &[&str]) -> Result<()> {
        ensure!(self.code == Some(1) && self.error.starts_with("error: 1 of "), "{self:#?}");
        ensure!(self.with("failed") == [name], "{:?} have failed: {self:#?}", self.with("failed"));
        let check = self.checks.iter().find(|check| check["outcome"] == "failed").map(ToString::to_string);
        let check = check.unwrap_or_default();
        let unsaid: Vec<_> = says.iter().filter(|says| !check.contains(**says)).collect();
        ensure!(unsaid.is_empty(), "{check} does not say {unsaid:?}");
        Ok(())
    }
}
