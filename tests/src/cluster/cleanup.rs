//! Taking a cluster down by its journal, whoever started it: this process at the end of a test, or the next one after a
//! crash. Only what the journal names, or what is below the run folder, in the cluster's cgroup or in its network, is
//! touched.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::Signal;

use super::cgroups;
use super::journal::{self, Made};
use super::machine::Machine;
use super::network::NetworkNamespace;
use super::node::containerd_socket;
use super::process_id::ProcessId;
use super::wait::Stopwatch;

/// A killed process is gone as soon as the kernel has freed its memory.
const KILL_LIMIT: Duration = Duration::from_secs(20);

/// Takes down what earlier test processes left among the run folders. Clusters whose owner lives are left alone.
pub(super) fn leftovers(machine: &Machine) -> Result<()> {
    for folder in machine.run_folders()? {
        let owner = journal::read(&folder).into_iter().find_map(|made| match made {
            Made::Owner(owner) => Some(owner),
            _ => None,
        });
        // Nobody makes a run folder while the machine is locked: one without an owner was left half made, or half removed.
        if owner.is_none_or(|owner| !owner.lives()) {
            eprintln!("cluster: taking down what an earlier run left in {}", folder.display());
            take_down(&folder, machine)?;
        }
    }
    Ok(())
}

/// Ends all processes of the cluster, then removes what they used. May be called again after an error. The machine is
/// locked, so that nobody else does the same.
pub(super) fn take_down(run_folder: &Path, _machine: &Machine) -> Result<()> {
    let made = journal::read(run_folder);
    // The youngest first: the kubelet would start anew what ends below it. No program is asked to end in order: nothing
    // of it is kept, and an API server whose etcd is gone would never end.
    for entry in made.iter().rev() {
        if let Made::Process { id, .. } = entry {
            id.signal(Signal::KILL)?;
        }
    }
    for shim in shims(run_folder)? {
        shim.signal(Signal::KILL)?;
    }
    for entry in &made {
        match entry {
            Made::Cgroup(name) => kill_cgroup(name)?,
            // One that was started in the moment of a crash is in no journal.
            Made::NetworkNamespace(name) => {
                for process in NetworkNamespace::named(name).processes()? {
                    process.signal(Signal::KILL)?;
                }
            }
            Made::Owner(_) | Made::Process { .. } => {}
        }
    }
    unmount_below(run_folder)?;
    for entry in &made {
        match entry {
            Made::NetworkNamespace(name) => NetworkNamespace::named(name).delete()?,
            Made::Cgroup(name) => cgroups::remove(name)?,
            Made::Owner(_) | Made::Process { .. } => {}
        }
    }
    remove_log_links(run_folder);
    // The journal last: without it nobody would know what else there was.
    let entries = fs::read_dir(run_folder).with_context(|| format!("reading {}", run_folder.display()))?;
    for entry in entries.flatten().map(|entry| entry.path()).filter(|path| *path != journal::path_in(run_folder)) {
        let removed = if entry.is_dir() { fs::remove_dir_all(&entry) } else { fs::remove_file(&entry) };
        removed.with_context(|| format!("removing {}", entry.display()))?;
    }
    fs::remove_dir_all(run_folder).with_context(|| format!("removing {}", run_folder.display()))
}

/// containerd's shims outlive it. Each names its containerd's socket, which no other cluster has.
fn shims(run_folder: &Path) -> Result<Vec<ProcessId>> {
    let socket = containerd_socket(run_folder);
    let socket = socket.as_os_str().as_encoded_bytes();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context("listing processes")?.flatten() {
        let Some(number) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let command_line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let mut arguments = command_line.split(|&byte| byte == 0);
        let is_shim = arguments.next().is_some_and(|program| program.ends_with(b"containerd-shim-runc-v2"));
        if is_shim && arguments.any(|argument| argument == socket) {
            found.extend(ProcessId::of(number));
        }
    }
    Ok(found)
}

/// Kills the containers until none is left: one may have forked while we looked.
fn kill_cgroup(name: &str) -> Result<()> {
    let watch = Stopwatch::start();
    loop {
        let left = cgroups::processes(name)?;
        for process in &left {
            process.signal(Signal::KILL)?;
        }
        for process in &left {
            let ended = process.ends_within(KILL_LIMIT.saturating_sub(watch.elapsed()))?;
            ensure!(ended, "containers have not ended within {KILL_LIMIT:?}");
        }
        if left.is_empty() {
            return Ok(());
        }
    }
}

/// Container file systems, the tmpfs of secrets, and the network namespaces of pods.
fn unmount_below(run_folder: &Path) -> Result<()> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("reading the mounts")?;
    let below: Vec<PathBuf> = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(PathBuf::from)
        .filter(|mount| mount.starts_with(run_folder))
        .collect();
    // Later mounts may lie on earlier ones.
    for mount in below.iter().rev() {
        unmount(mount, UnmountFlags::DETACH).with_context(|| format!("unmounting {}", mount.display()))?;
    }
    Ok(())
}

/// The kubelet links container logs in a folder of the machine's that it cannot be talked out of.
fn remove_log_links(run_folder: &Path) {
    let Ok(entries) = fs::read_dir("/var/log/containers") else { return };
    for link in entries.flatten().map(|entry| entry.path()) {
        if fs::read_link(&link).is_ok_and(|target| target.starts_with(run_folder)) {
            let _ = fs::remove_file(link);
        }
    }
}
