//! `make chart-docs`: writes what is made from the chart's values: their schema, their defaults for templates, and the
//! README's tables.

use anyhow::{Context as _, Result};
use tocsin_tests::chart;

fn main() -> Result<()> {
    for (path, text) in chart::generated()? {
        std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}
