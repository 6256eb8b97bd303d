//! An earlier Tocsin, to upgrade from: the chart and the programs of the commit that `tests/cluster/versions.env` names.
//!
//! ```text
//!   git archive ─▶ sources ─▶ cargo build ─▶ .cache/cluster/earlier-COMMIT/{charts,Dockerfile,tocsin-…}
//! ```
//!
//! It is built once. The folder is moved into place at the end: an interrupted build leaves nothing that looks finished.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};

use crate::cluster::Parts;
use crate::images::Image;
use crate::processes::Programs;

/// The earlier chart and images.
#[derive(Debug)]
pub struct Earlier {
    folder: PathBuf,
}

const DOCKERFILE: &str = "Dockerfile";
const CHARTS: &str = "charts";
const NODE_AGENT: &str = "tocsin-node-agent";
const AGGREGATOR: &str = "tocsin-aggregator";

impl Earlier {
    /// What its images are tagged with: their version may be that of the present ones.
    pub const TAG: &str = "earlier";

    /// The one that was built before, or is built now.
    pub fn built() -> Result<Self> {
        let parts = Parts::read()?;
        let commit = parts.version("earlier")?;
        let folder = parts.folder("earlier")?;
        if !folder.exists() {
            build(commit, &folder).with_context(|| format!("building the earlier commit {commit}"))?;
        }
        Ok(Self { folder })
    }

    /// Where its chart is.
    pub fn chart(&self) -> PathBuf {
        self.folder.join(CHARTS).join("tocsin")
    }

    /// Its images, with a tag of their own.
    pub fn images(&self) -> Result<Vec<Image>> {
        let [node_agent, aggregator] = [NODE_AGENT, AGGREGATOR].map(|program| self.folder.join(program));
        Image::of_dockerfile(&self.folder.join(DOCKERFILE), Self::TAG, &Programs { node_agent, aggregator })
    }
}

fn build(commit: &str, folder: &Path) -> Result<()> {
    let started = Instant::now();
    let say = |what: &str| eprintln!("earlier: {:5.1} s  {what}", started.elapsed().as_secs_f32());
    let parent = folder.parent().context("a part lies in a folder")?;
    std::fs::create_dir_all(parent)?;
    let work = tempfile::tempdir_in(parent)?;
    let sources = work.path().join("sources");
    take_out(commit, &sources)?;
    say("its sources are there, its programs are built once");
    let programs = Programs::released_of(&sources)?;
    let whole = work.path().join("whole");
    std::fs::create_dir(&whole)?;
    for (program, name) in [(programs.node_agent, NODE_AGENT), (programs.aggregator, AGGREGATOR)] {
        std::fs::copy(&program, whole.join(name)).with_context(|| format!("copying {}", program.display()))?;
    }
    for kept in [CHARTS, DOCKERFILE] {
        std::fs::rename(sources.join(kept), whole.join(kept))?;
    }
    // Where two build at once, the one that is late finds it there.
    if let Err(error) = std::fs::rename(&whole, folder)
        && !folder.exists()
    {
        return Err(error).with_context(|| format!("moving it to {}", folder.display()));
    }
    say("its programs are there");
    Ok(())
}

/// Writes the commit's sources into a new folder; a clone without it asks where it came from.
fn take_out(commit: &str, sources: &Path) -> Result<()> {
    if git(&["cat-file", "-e", &format!("{commit}^{{commit}}")]).is_err()
        && let Err(error) = git(&["fetch", "--quiet", "--depth=1", "origin", commit])
    {
        bail!(
            "it is not in this clone: run `git fetch --unshallow`, or take a clone with the whole history, and see that \
             tests/cluster/versions.env names a commit of the main line: {error:#}"
        );
    }
    let archive = git(&["archive", "--format=tar", commit])?;
    tar::Archive::new(&archive[..]).unpack(sources).context("unpacking its sources")
}

/// What git prints about this repository.
fn git(arguments: &[&str]) -> Result<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut command = Command::new("git");
    let output = command.arg("-C").arg(root).args(arguments).stdin(Stdio::null()).output().context("starting git")?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "git {}: {}", arguments.join(" "), error.trim());
    Ok(output.stdout)
}
