//! What values of the chart ask for.

use std::fs;

use anyhow::{Context as _, bail};
use serde_json::Value;
use tocsin_tests::chart;

/// Requests and limits of one component.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    /// The request of processor time, in thousandths of a core: milliseconds a second.
    pub(crate) cpu: f64,
    /// The request of memory, in MiB.
    pub(crate) memory: f64,
    /// The limit of memory, in MiB.
    pub(crate) memory_limit: f64,
}

impl Asked {
    /// What a file of values has for `aggregator` or `nodeAgent`.
    pub(crate) fn of(component: &str, values: &str) -> anyhow::Result<Self> {
        let text = fs::read_to_string(chart::folder().join(values))?;
        let values: Value = serde_saphyr::from_str(&text)?;
        let resources = &values[component]["resources"];
        let amount = |which: &str, what: &str| {
            let text = resources[which][what].as_str();
            quantity(text.with_context(|| format!("{component} has no {which} of {what}"))?)
        };
        Ok(Self {
            cpu: amount("requests", "cpu")? * 1_000.0,
            memory: amount("requests", "memory")? / MIB,
            memory_limit: amount("limits", "memory")? / MIB,
        })
    }
}

const MIB: f64 = 1024.0 * 1024.0;

/// A Kubernetes quantity with a suffix.
fn quantity(text: &str) -> anyhow::Result<f64> {
    for (suffix, factor) in [("m", 1e-3), ("Mi", MIB), ("Gi", 1024.0 * MIB)] {
        if let Some(number) = text.strip_suffix(suffix) {
            return Ok(number.parse::<f64>()? * factor);
        }
    }
    bail!("{text} ends with none of m, Mi and Gi")
}
