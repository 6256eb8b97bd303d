//! `make demo`: an incident, played on this machine.

use std::process::ExitCode;

use clap::Parser;
use tocsin_tests::demo;

/// Plays an incident in a simulated cluster, with Tocsin's own programs, and shows what is told outside.
#[derive(Debug, Parser)]
#[command(name = "demo")]
struct Options {
    /// Run on after the story, until Ctrl-C
    #[arg(long)]
    keep: bool,
}

fn main() -> ExitCode {
    let Options { keep } = Options::parse();
    match demo::play(keep) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}
