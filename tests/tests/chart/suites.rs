//! The chart's own suites, run by helm-unittest.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use tocsin_tests::chart;

#[test]
fn the_charts_suites_pass() -> Result<()> {
    let folder = chart::folder();
    let names = std::fs::read_dir(folder.join("tests"))?.map(|entry| Ok(entry?.file_name()));
    let names = names.collect::<Result<Vec<_>>>()?;
    let suites = names.iter().filter(|name| name.to_string_lossy().ends_with("_test.yaml")).count();
    let mut command = Command::new(chart::unittest()?);
    let output = command.arg(&folder).stdin(Stdio::null()).output().context("starting helm-unittest")?;
    let said = String::from_utf8_lossy(&output.stdout);
    let all = format!("Test Suites: {suites} passed, {suites} total");
    ensure!(output.status.success() && said.contains(&all), "not {all:?}:\n{said}");
    Ok(())
}
