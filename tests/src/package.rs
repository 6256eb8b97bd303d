//! What is published beside the images: the chart and its index, what the programs are made of, and checksums.
//!
//! ```text
//!   charts/tocsin ── helm ─▶ tocsin-VERSION.tgz ─▶ index.yaml ─┐
//!   Cargo.lock ── cargo ───▶ tocsin-VERSION.cdx.json ──────────┴─▶ SHA256SUMS
//! ```
//!
//! The same sources and the same time give the same bytes.

mod sbom;

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use tempfile::TempDir;

use crate::chart::{self, Helm};
use crate::images::sha256;

pub use sbom::sbom;

/// The checksums, as `sha256sum --check` reads them.
pub const CHECKSUMS: &str = "SHA256SUMS";

/// Writes everything into `folder`, as of `created`: seconds since 1970. Gives the paths, that of the checksums last.
pub fn write(folder: &Path, created: u64) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    let made = TempDir::new()?;
    pack(made.path(), created)?;
    index(made.path(), created)?;
    let version = env!("CARGO_PKG_VERSION");
    fs::write(made.path().join(format!("tocsin-{version}.cdx.json")), sbom(&time(created)?)?)?;

    let mut names: Vec<_> = fs::read_dir(made.path())?.map(|entry| Ok(entry?.file_name())).collect::<Result<_>>()?;
    names.sort();
    let mut written = Vec::new();
    let mut sums = String::new();
    for name in names {
        let content = fs::read(made.path().join(&name))?;
        writeln!(sums, "{}  {}", sha256(&content), name.display())?;
        let path = folder.join(name);
        fs::write(&path, content).with_context(|| format!("writing {}", path.display()))?;
        written.push(path);
    }
    let path = folder.join(CHECKSUMS);
    fs::write(&path, sums).with_context(|| format!("writing {}", path.display()))?;
    written.push(path);
    Ok(written)
}

/// `created` as RFC 3339.
fn time(created: u64) -> Result<String> {
    Ok(Timestamp::from_second(i64::try_from(created)?).context("that is no time")?.to_string())
}

/// The chart's archive. Helm 4 gives each file in it the time of the file that it was.
fn pack(folder: &Path, created: u64) -> Result<()> {
    let copy = TempDir::new()?;
    let chart = copy.path().join("tocsin");
    copy_dated(&chart::folder(), &chart, SystemTime::UNIX_EPOCH + Duration::from_secs(created))?;
    let arguments = ["package", &*chart.to_string_lossy(), "--destination", &*folder.to_string_lossy()];
    Helm::Four.run(&arguments).map(drop)
}

fn copy_dated(from: &Path, to: &Path, time: SystemTime) -> Result<()> {
    if from.is_dir() {
        fs::create_dir(to)?;
        for entry in fs::read_dir(from)? {
            let name = entry?.file_name();
            copy_dated(&from.join(&name), &to.join(&name), time)?;
        }
        return Ok(());
    }
    let mut file = File::create(to)?;
    std::io::copy(&mut File::open(from)?, &mut file)?;
    Ok(file.set_modified(time)?)
}

/// The index of the archives there. Helm writes its own time into it, which is replaced.
fn index(folder: &Path, created: u64) -> Result<()> {
    Helm::Four.run(&["repo", "index", &*folder.to_string_lossy()])?;
    let path = folder.join("index.yaml");
    let time = time(created)?;
    let mut replaced = 0;
    let dated = |line: &str| match line.split_once(": ") {
        Some((key, _)) if matches!(key.trim(), "created" | "generated") => {
            replaced += 1;
            format!("{key}: \"{time}\"\n")
        }
        _ => format!("{line}\n"),
    };
    let text: String = fs::read_to_string(&path)?.lines().map(dated).collect();
    ensure!(replaced == 2, "helm repo index writes other times than it did: {text}");
    Ok(fs::write(path, text)?)
}
