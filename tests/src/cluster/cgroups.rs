//! The cgroup that all pods of a cluster live under: one folder of its name in every hierarchy of the machine. It makes
//! the containers' processes findable when the runtime is gone, and keeps clusters that run at once apart.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::process_id::ProcessId;

const CGROUPS: &str = "/sys/fs/cgroup";

/// The kubelet's `cgroupRoot` must exist before it starts.
pub(super) fn create(name: &str) -> Result<()> {
    for hierarchy in hierarchies()? {
        let folder = hierarchy.join(name);
        fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    }
    Ok(())
}

/// Every process in it or below.
pub(super) fn processes(name: &str) -> Result<Vec<ProcessId>> {
    let mut numbers = BTreeSet::new();
    for hierarchy in hierarchies()? {
        for folder in folders_below(&hierarchy.join(name)) {
            let listed = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
            numbers.extend(listed.lines().filter_map(|line| line.parse::<i32>().ok()));
        }
    }
    Ok(numbers.into_iter().filter_map(ProcessId::of).collect())
}

/// Works once no process is left inside.
pub(super) fn remove(name: &str) -> Result<()> {
    for hierarchy in hierarchies()? {
        for folder in folders_below(&hierarchy.join(name)) {
            fs::remove_dir(&folder).with_context(|| format!("removing {}", folder.display()))?;
        }
    }
    Ok(())
}

/// The mount points of version 1, or the single one of version 2.
fn hierarchies() -> Result<Vec<PathBuf>> {
    let top = PathBuf::from(CGROUPS);
    if top.join("cgroup.procs").exists() {
        return Ok(vec![top]);
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(&top).context("reading the cgroup hierarchies")? {
        let entry = entry?;
        // Links (`cpu` to `cpu,cpuacct`) name a hierarchy a second time.
        if entry.file_type()?.is_dir() && entry.path().join("cgroup.procs").exists() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// A folder and all below it, children before their parents; empty if it does not exist.
fn folders_below(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .flat_map(|entry| folders_below(&entry.path()))
        .collect();
    found.push(folder.to_owned());
    found
}
