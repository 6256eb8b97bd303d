//! Running a program for what it prints, with its own words in the error.

use std::io::{BufReader, Write};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Deserializer, Value};

/// Standard output of a program that must succeed.
pub(super) fn output(command: &mut Command) -> Result<String> {
    output_with_input(command, "")
}

/// As [`output`], with a text on standard input.
pub(super) fn output_with_input(command: &mut Command, input: &str) -> Result<String> {
    let shown = format!("{command:?}");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {shown}"))?;
    let mut stdin = child.stdin.take().context("standard input is piped")?;
    // A program that ends without reading is judged by its exit status, not by this.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let done = child.wait_with_output().with_context(|| format!("waiting for {shown}"))?;
    ensure!(done.status.success(), "{shown}: {}: {}", done.status, String::from_utf8_lossy(&done.stderr).trim());
    String::from_utf8(done.stdout).with_context(|| format!("{shown}: output is not UTF-8"))
}

/// The first value that `probe` finds in the JSON documents that a program prints one after the other. Ends the program.
pub(super) fn first_json<T>(command: &mut Command, mut probe: impl FnMut(&Value) -> Option<T>) -> Result<T> {
    let shown = format!("{command:?}");
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .with_context(|| format!("starting {shown}"))?;
    let documents = child.stdout.take().context("standard output is piped")?;
    let mut last = Value::Null;
    let mut found = None;
    for document in Deserializer::from_reader(BufReader::new(documents)).into_iter::<Value>().map_while(Result::ok) {
        found = probe(&document);
        if found.is_some() {
            break;
        }
        last = document;
    }
    child.kill()?;
    child.wait()?;
    let Some(found) = found else { bail!("{shown} ended; the last it printed: {:#}", last["status"]) };
    Ok(found)
}
