//! `tocsin-aggregator`: see the library for what it does.

use std::process::ExitCode;

fn main() -> ExitCode {
    process::exit::code(tocsin_aggregator::main())
}
