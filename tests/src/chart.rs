//! The chart: what is made from its values' comments, both helms to render it with, and Prometheus.
//!
//! ```text
//!   values.yaml ───────┐
//!   _aliases.tpl ──────┼─▶ values.schema.json, _defaults.tpl, the tables of README.md
//!   rules::catalogue ──┘
//! ```
//!
//! `make chart-docs` writes them. A test fails where they are not what this makes of the sources.

mod aliases;
mod documents;
mod helm;
mod prometheus;
mod schema;
mod values;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

pub use aliases::Aliases;
pub use helm::Helm;
pub use prometheus::{Prometheus, Scraping};
pub use values::Entry;

use crate::cluster::Parts;

/// A generated file: its path, and what is to be in it.
pub type Generated = (PathBuf, String);

/// Where the chart is.
pub fn folder() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace holds this package");
    root.join("charts/tocsin")
}

/// Every value of the chart, in the order of `values.yaml`.
pub fn entries() -> Result<Vec<Entry>> {
    values::read(&read(&folder().join("values.yaml"))?)
}

/// Names that other charts have for the chart's values.
pub fn aliases() -> Result<Aliases> {
    Aliases::read(&read(&folder().join("templates/_aliases.tpl"))?)
}

/// What is to be in each file that is made from others.
pub fn generated() -> Result<Vec<Generated>> {
    let folder = folder();
    let entries = entries()?;
    let aliases = aliases()?;
    let readme = folder.join("README.md");
    let tables = documents::tables(&entries, &aliases);
    let written = documents::fill(&read(&readme)?, &tables)?;
    Ok(vec![
        (folder.join("values.schema.json"), schema::text(&entries, &aliases)?),
        (folder.join("templates/_defaults.tpl"), documents::defaults(&entries)),
        (readme, written),
    ])
}

/// Where helm-unittest is, which runs the chart's suites.
pub fn unittest() -> Result<PathBuf> {
    tool("unittest", "helm-unittest")
}

/// Where a program is that `make chart-tools` builds.
fn tool(part: &str, program: &str) -> Result<PathBuf> {
    let program = Parts::read()?.part(part, program)?;
    ensure!(program.exists(), "{} is not there: run `make chart-tools`", program.display());
    Ok(program)
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
}

/// Parses YAML; only `true` and `false` are booleans.
pub fn yaml(text: &str) -> Result<serde_json::Value> {
    let options = serde_saphyr::options! { strict_booleans: true, with_snippet: false };
    Ok(serde_saphyr::from_str_with_options::<Option<serde_json::Value>>(text, options)?.unwrap_or_default())
}
