//! `make package`: what is published beside the images.
#![allow(clippy::print_stdout, reason = "where the files are is its output")]

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;
use tocsin_tests::package;

/// Writes the chart's archive and its index, the bill of materials and checksums.
#[derive(Debug, Parser)]
#[command(name = "package")]
struct Options {
    /// The folder to write to
    folder: PathBuf,
    /// The time to say that they were made at, in seconds since 1970
    #[arg(long, env = "SOURCE_DATE_EPOCH", value_name = "SECONDS")]
    created: u64,
}

fn main() -> Result<()> {
    let Options { folder, created } = Options::parse();
    for path in package::write(&folder, created)? {
        println!("{}", path.display());
    }
    Ok(())
}
