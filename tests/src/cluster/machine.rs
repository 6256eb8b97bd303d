//! What a node changes on the machine outside of the cluster's own folder, where no configuration keeps it from that: the
//! kernel settings that every kubelet sets, and a few folders. The first cluster notes how they were; the last one puts
//! them back.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// The kubelet's `setupKernelTunables`.
const KERNEL_SETTINGS: [&str; 6] = [
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
];
/// Of the kubelet (device plugins, links to logs) and of the CNI plugins (results). All of it is state of a running node.
const FOLDERS: [&str; 3] = ["/var/lib/kubelet", "/var/lib/cni", "/var/log/containers"];
const FILE_NAME: &str = "machine-before";

/// The folder of all clusters' run folders, locked against other processes that start or end one.
pub(super) struct Machine {
    parent: PathBuf,
    _lock: File,
}

#[derive(Serialize, Deserialize)]
struct Before {
    settings: BTreeMap<String, String>,
    absent_folders: Vec<PathBuf>,
}

impl Machine {
    pub(super) fn lock(parent: &Path) -> Result<Self> {
        fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
        let lock = File::open(parent)?;
        lock.lock().with_context(|| format!("locking {}", parent.display()))?;
        Ok(Self { parent: parent.to_owned(), _lock: lock })
    }

    /// The run folders of all clusters that run or crashed.
    pub(super) fn run_folders(&self) -> Result<Vec<PathBuf>> {
        let entries = fs::read_dir(&self.parent).with_context(|| format!("reading {}", self.parent.display()))?;
        Ok(entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect())
    }

    /// Does nothing if another cluster runs, or crashed: then what is to be put back is noted already.
    pub(super) fn remember(&self) -> Result<()> {
        if self.file().exists() {
            return Ok(());
        }
        let read = |name: &str| Some((name.to_owned(), fs::read_to_string(kernel_setting(name)).ok()?));
        let before = Before {
            settings: KERNEL_SETTINGS.into_iter().filter_map(read).collect(),
            absent_folders: FOLDERS.iter().map(PathBuf::from).filter(|folder| !folder.exists()).collect(),
        };
        fs::write(self.file(), serde_json::to_string(&before)?).context("noting the machine's settings")
    }

    /// Does nothing while a cluster's folder is left.
    pub(super) fn restore_if_unused(&self) -> Result<()> {
        let Ok(noted) = fs::read_to_string(self.file()) else { return Ok(()) };
        if !self.run_folders()?.is_empty() {
            return Ok(());
        }
        let before: Before = serde_json::from_str(&noted).context("reading the machine's settings of before")?;
        for (name, value) in before.settings {
            if fs::read_to_string(kernel_setting(&name))? != value {
                fs::write(kernel_setting(&name), value).with_context(|| format!("putting {name} back"))?;
            }
        }
        for folder in before.absent_folders.iter().filter(|folder| folder.exists()) {
            fs::remove_dir_all(folder).with_context(|| format!("removing {}", folder.display()))?;
        }
        fs::remove_file(self.file()).context("forgetting the machine's settings")
    }

    fn file(&self) -> PathBuf {
        self.parent.join(FILE_NAME)
    }
}

fn kernel_setting(name: &str) -> PathBuf {
    Path::new("/proc/sys").join(name)
}
