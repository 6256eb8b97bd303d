//! Where the programs of a cluster lie: those that `tests/cluster/build.sh` built, and those that Debian brings.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// The folder of the CNI plugins in Debian's package.
pub(super) const CNI_PLUGINS: &str = "/usr/lib/cni";
/// Debian's static busybox, the userland of our test images.
pub(super) const BUSYBOX: &str = "/bin/busybox";

/// The folder of each part, by the names in `versions.env`.
pub(crate) struct Parts {
    built: PathBuf,
    versions: HashMap<String, String>,
}

impl Parts {
    /// Reads their versions, whether they have been built or not.
    pub(crate) fn read() -> Result<Self> {
        let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
        let pins = tests.join("cluster/versions.env");
        let text = std::fs::read_to_string(&pins).with_context(|| format!("reading {}", pins.display()))?;
        let root = tests.parent().context("the tests folder has a parent")?;
        Ok(Self { built: root.join(".cache/cluster"), versions: versions(&text) })
    }

    /// Fails with the command to run if a part of a cluster has not been built.
    pub(super) fn locate() -> Result<Self> {
        let parts = Self::read()?;
        for program in [
            parts.kubernetes("kube-apiserver")?,
            parts.kubernetes("kube-controller-manager")?,
            parts.kubernetes("kube-scheduler")?,
            parts.kubernetes("kubelet")?,
            parts.kubernetes("kubectl")?,
            parts.kubernetes("kube-proxy")?,
            parts.coredns()?,
            parts.kwok()?,
            parts.etcd()?,
            parts.containerd("containerd")?,
            parts.containerd("containerd-shim-runc-v2")?,
            parts.containerd("ctr")?,
            parts.runc()?,
            parts.pause()?,
            PathBuf::from(BUSYBOX),
            Path::new(CNI_PLUGINS).join("bridge"),
        ] {
            ensure!(program.exists(), "{} is not there: run `make cluster-tools`", program.display());
        }
        Ok(parts)
    }

    pub(super) fn kubernetes(&self, program: &str) -> Result<PathBuf> {
        self.part("kubernetes", program)
    }

    pub(super) fn etcd(&self) -> Result<PathBuf> {
        self.part("etcd", "etcd")
    }

    pub(super) fn containerd(&self, program: &str) -> Result<PathBuf> {
        self.part("containerd", program)
    }

    pub(super) fn coredns(&self) -> Result<PathBuf> {
        self.part("coredns", "coredns")
    }

    pub(super) fn kwok(&self) -> Result<PathBuf> {
        self.part("kwok", "kwok")
    }

    pub(super) fn runc(&self) -> Result<PathBuf> {
        self.part("runc", "runc")
    }

    pub(super) fn pause(&self) -> Result<PathBuf> {
        self.part("pause", "pause")
    }

    /// A program of the part of this name.
    pub(crate) fn part(&self, part: &str, program: &str) -> Result<PathBuf> {
        Ok(self.folder(part)?.join(program))
    }

    /// Where the part of this name is, or is to be built.
    pub(crate) fn folder(&self, part: &str) -> Result<PathBuf> {
        Ok(self.built.join(format!("{part}-{}", self.version(part)?)))
    }

    /// What the part of this name is pinned to.
    pub(crate) fn version(&self, part: &str) -> Result<&str> {
        let key = format!("{}_VERSION", part.to_uppercase());
        Ok(self.versions.get(&key).with_context(|| format!("versions.env has no {key}"))?)
    }
}

fn versions(text: &str) -> HashMap<String, String> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('='))
        .map(|(name, version)| (name.to_owned(), version.trim().to_owned()))
        .collect()
}
