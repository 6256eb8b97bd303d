//! The list of what a cluster made on this machine. It is written before or as things are made and read when they are
//! taken down, by the same process or, after a crash, by the next one.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::process_id::ProcessId;

const FILE_NAME: &str = "journal";

/// One thing that outlives the process that made it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Made {
    /// The test process itself: while it lives, its cluster is nobody else's to take down.
    Owner(ProcessId),
    Process {
        role: String,
        id: ProcessId,
    },
    NetworkNamespace(String),
    /// The folder of this name at the top of every cgroup hierarchy.
    Cgroup(String),
}

/// The open journal of a run folder.
pub(super) struct Journal {
    file: File,
}

impl Journal {
    pub(super) fn create(run_folder: &Path) -> Result<Self> {
        let path = path_in(run_folder);
        let file = OpenOptions::new().create_new(true).append(true).open(&path);
        Ok(Self { file: file.with_context(|| format!("creating {}", path.display()))? })
    }

    pub(super) fn note(&mut self, made: &Made) -> Result<()> {
        let line = serde_json::to_string(made)? + "\n";
        self.file.write_all(line.as_bytes()).context("writing the cluster's journal")
    }
}

/// All entries in the order they were made. A last line cut short by a crash is left out.
pub(super) fn read(run_folder: &Path) -> Vec<Made> {
    let text = std::fs::read_to_string(path_in(run_folder)).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Where the journal of a run folder is.
pub(super) fn path_in(run_folder: &Path) -> PathBuf {
    run_folder.join(FILE_NAME)
}
