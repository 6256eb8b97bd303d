//! `make images`: both images as docker archives.
#![allow(clippy::print_stdout, reason = "where the images are is its output")]

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use tocsin_tests::images::Image;
use tocsin_tests::processes::Programs;

/// Builds Tocsin's programs as they are shipped, and an image of each, for `docker load` and `ctr images import`.
#[derive(Debug, Parser)]
#[command(name = "images")]
struct Options {
    /// The folder to write the archives to
    folder: PathBuf,
}

const MB: f64 = 1e6;
/// The agent is pulled by every node.
const LIMITS_MB: [(&str, f64); 2] = [("tocsin/node-agent", 15.0), ("tocsin/aggregator", 30.0)];

fn main() -> Result<()> {
    let Options { folder } = Options::parse();
    std::fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    for image in Image::shipped(&Programs::released()?)? {
        let (repository, _) = image.name.split_once(':').context("an image has a tag")?;
        let archive = folder.join(format!("{}.tar", repository.replace('/', "-")));
        let size = image.write_archive(&archive)? as f64 / MB;
        let (_, limit) = LIMITS_MB.iter().find(|(name, _)| *name == repository).context("an image has a limit")?;
        println!("{:24} {size:5.1} MB of at most {limit:.0}  {}", image.name, archive.display());
        ensure!(size <= *limit, "{} has {size:.1} MB, more than {limit}", image.name);
    }
    Ok(())
}
