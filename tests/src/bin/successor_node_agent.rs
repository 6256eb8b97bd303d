//! `tocsin-node-agent`, with the feature `successor` of `wire`.

use std::process::ExitCode;

fn main() -> ExitCode {
    process::exit::code(tocsin_node_agent::main())
}
