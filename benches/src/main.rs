//! Figures of one run, side by side: counts and ratios that mean something on another machine, too.
//!
//! `make bench` runs all of them, `make bench ONLY="codec dedupe"` some. Each line ends with
//! its budget, and the command fails when one is missed.
#![allow(clippy::disallowed_methods, reason = "a bench measures time; nothing decides by it")]
#![allow(clippy::print_stdout, reason = "the figures are its output")]

mod asked;
mod codec;
mod cpu;
mod dedupe;
mod figures;
mod latency;
mod memory;
mod processor;
mod sizes;

use std::process::ExitCode;

use figures::Figures;

/// A bench: its name, and what it measures.
type Bench = (&'static str, fn(&mut Figures) -> anyhow::Result<()>);

const BENCHES: &[Bench] = &[
    ("codec", codec::run),
    ("cpu", cpu::run),
    ("dedupe", dedupe::run),
    ("latency", latency::run),
    ("memory", memory::run),
    ("sizes", sizes::run),
];

fn main() -> anyhow::Result<ExitCode> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    if let Some(unknown) = wanted.iter().find(|name| BENCHES.iter().all(|(bench, _)| bench != name)) {
        let names: Vec<_> = BENCHES.iter().map(|(name, _)| *name).collect();
        eprintln!("no bench is called {unknown}; there are {}", names.join(", "));
        return Ok(ExitCode::from(64));
    }
    let mut figures = Figures::default();
    for (name, bench) in BENCHES {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            println!("{name}");
            bench(&mut figures)?;
        }
    }
    Ok(if figures.all_kept() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
