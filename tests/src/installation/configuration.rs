//! What an installation's aggregator is configured with.

use std::fs;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::{CLUSTER_NAME, Installation, LIMIT, PROXY_FOLDER};
use crate::processes::Process;

/// The file with the address of who is told, where that is a secret.
const URL_FILE: &str = "sink-url";

impl Installation {
    /// The configuration with these `rules`.
    pub(super) fn config(&self, rules: &Value) -> Value {
        let outside = if self.proxied.is_behind { self.outside.url_behind() } else { self.outside.url() };
        let proxy = self.proxy.as_ref().map(|proxy| match self.proxied.in_file {
            true => json!({"folder": self.path(PROXY_FOLDER), "noProxy": self.proxied.no_proxy}),
            false => json!({"https": format!("http://{}", proxy.address()), "noProxy": self.proxied.no_proxy}),
        });
        let (url, file) = (format!("{outside}/v1/issues"), self.path(URL_FILE));
        json!({
            "clusterName": CLUSTER_NAME,
            "proxy": proxy,
            "agents": {"heartbeat": self.heartbeat, "enabled": self.alone.is_none()},
            "restrictToNamespaces": self.alone,
            "rules": rules,
            "sinks": {"outside": {
                "type": "ingest",
                "url": (!self.is_hidden).then_some(url),
                "urlFile": self.is_hidden.then_some(file),
                "caFile": self.path("outside.crt"),
                "tokenFile": self.path("sink-token"),
                "ratePerMinute": 0,
            }},
        })
    }

    /// Other `rules` in the aggregator's configuration, as a mounted ConfigMap is replaced: in one step.
    pub fn change_rules(&self, rules: &Value) -> Result<()> {
        let next = self.write("config.next", &self.config(rules).to_string())?;
        Ok(fs::rename(next, self.path("config.yaml"))?)
    }

    /// The aggregator is to find the address of who is told in a file, and takes that over for the first time.
    pub fn hide_address(&mut self, rules: &Value) -> Result<()> {
        self.is_hidden = true;
        self.change_rules(rules)?;
        self.aggregator.as_ref().context("there is no aggregator")?.until_said("config_reloaded", LIMIT).map(drop)
    }

    /// The file's address with this path, as a mounted Secret is replaced: in one step.
    pub fn replace_address(&self, path: &str) -> Result<()> {
        let next = self.write("sink-url.next", &format!("{}{path}\n", self.outside.url()))?;
        Ok(fs::rename(next, self.path(URL_FILE))?)
    }

    /// Every line that the aggregator has logged.
    pub fn log(&self) -> Vec<String> {
        self.aggregator.as_ref().map(Process::lines).unwrap_or_default()
    }
}
