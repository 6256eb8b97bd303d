//! Tocsin's own programs as real processes: built, started, heard, and ended.
//!
//! ```text
//!   Programs::built() ─▶ Command (the caller's: options, network) ─▶ Process::start ─▶ until_line … ─▶ end ─▶ Ended
//! ```
//!
//! All calls block: in async code, make them outside of the runtime or by `spawn_blocking`.

mod build;
mod log;

use std::fmt;
use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

pub use build::Programs;
#[cfg(test)]
pub(crate) use build::{SHIPPED, STATIC};
use log::Log;

/// How much of a log an error shows.
const TAIL_LINES: usize = 40;

/// A running process whose output is collected line by line. Dropping it kills it.
pub struct Process {
    name: String,
    child: Child,
    log: Arc<Log>,
    ended: bool,
}

/// A process that has ended.
#[derive(Debug)]
pub struct Ended {
    /// How it ended.
    pub status: ExitStatus,
    /// All that it wrote.
    pub lines: Vec<String>,
}

impl Process {
    /// Starts a program; `name` is what errors call it.
    pub fn start(name: &str, command: &mut Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {name}: {command:?}"))?;
        let log = Arc::new(Log::default());
        let outputs: [Option<Box<dyn Read + Send>>; 2] =
            [child.stdout.take().map(|out| Box::new(out) as _), child.stderr.take().map(|out| Box::new(out) as _)];
        for output in outputs {
            log.follow(output.context("both outputs are piped")?);
        }
        Ok(Self { name: name.to_owned(), child, log, ended: false })
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What errors call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it has written so far, on both outputs.
    pub fn lines(&self) -> Vec<String> {
        self.log.lines()
    }

    /// The end of what it has written, for errors.
    pub fn tail(&self) -> String {
        tail(&self.name, &self.lines())
    }

    /// The first that `probe` finds in its lines, past ones included. Fails when it ends without, or at the limit.
    pub fn until_line<T>(&self, what: &str, limit: Duration, probe: impl FnMut(&str) -> Option<T>) -> Result<T> {
        match self.log.until(limit, probe) {
            Some(found) => Ok(found),
            None => bail!("{} has not said within {limit:?}: {what}\n{}", self.name, self.tail()),
        }
    }

    /// The first log line with this message.
    pub fn until_said(&self, message: &str, limit: Duration) -> Result<Value> {
        self.until_line(message, limit, |line| {
            let line: Value = serde_json::from_str(line).ok()?;
            (line["message"] == message).then_some(line)
        })
    }

    /// Looks until `look` gives a value: at once, and again whenever the process has written another line. For what it can
    /// only be asked for, and changes no more than it writes about.
    pub fn until<T>(&self, what: &str, limit: Duration, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
        let deadline = Instant::now() + limit;
        loop {
            // Counted first: what changes during the look is written about after it.
            let seen = self.log.count();
            if let Some(found) = look()? {
                return Ok(found);
            }
            ensure!(self.log.until_more(seen, deadline), "{} has not come to this within {limit:?}: {what}", self.name);
        }
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        // It is not collected before `end`, so the number is still its own.
        kill_process(Pid::from_child(&self.child), signal).with_context(|| format!("signalling {}", self.name))
    }

    /// Asks it to end (SIGTERM) and waits for that.
    pub fn end(self, limit: Duration) -> Result<Ended> {
        self.signal(Signal::TERM)?;
        self.wait(limit)
    }

    /// Ends it without asking (SIGKILL).
    pub fn kill(self) -> Result<Ended> {
        self.signal(Signal::KILL)?;
        self.wait(Duration::from_secs(10))
    }

    /// Waits until it has ended by itself.
    pub fn wait(mut self, limit: Duration) -> Result<Ended> {
        // It holds its outputs for as long as it lives.
        if !self.log.until_closed(limit) {
            bail!("{} has not ended within {limit:?}\n{}", self.name, self.tail());
        }
        let status = self.child.wait().with_context(|| format!("waiting for {}", self.name))?;
        self.ended = true;
        Ok(Ended { status, lines: self.lines() })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.ended {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Process").field("name", &self.name).field("id", &self.id()).finish_non_exhaustive()
    }
}

/// The end of a log, for errors.
pub fn tail(name: &str, lines: &[String]) -> String {
    let end = &lines[lines.len().saturating_sub(TAIL_LINES)..];
    format!("--- {name} ({} lines), at the end:\n{}", lines.len(), end.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    fn shell(script: &str) -> Process {
        Process::start("shell", Command::new("sh").args(["-c", script])).expect("there is a shell")
    }

    #[test]
    fn lines_of_both_outputs_are_heard_also_those_from_before() {
        let process = shell("echo one; echo two >&2; exec sleep 60");
        let found = |word: &'static str| move |line: &str| (line == word).then_some(());
        process.until_line("two", SOON, found("two")).expect("it says so");
        process.until_line("one", SOON, found("one")).expect("it says so");
        process.kill().expect("it can be killed");
    }

    #[test]
    fn who_ends_without_a_word_is_not_waited_for() {
        let process = shell("echo other; printf unended");
        let error = process.until_line("word", Duration::from_mins(10), |line| (line == "word").then_some(()));
        let error = error.expect_err("it never says that").to_string();
        assert!(error.contains("has not said") && error.contains("other\nunended"), "{error}");
    }

    /// Says a word when it hears SIGUSR1, and ends with 3 when it is asked to.
    fn up() -> Process {
        let traps = "trap 'echo word' USR1; trap 'kill $!; echo asked; exit 3' TERM";
        let process = shell(&format!("sleep 60 & {traps}; echo up; while :; do wait; done"));
        process.until_line("up", SOON, |line| (line == "up").then_some(())).expect("it says so");
        process
    }

    #[test]
    fn what_is_written_during_a_look_is_looked_at_again_until_it_has_ended() {
        let process = up();
        let mut looks = 0;
        let found = process.until("a second look", SOON, || {
            looks += 1;
            if looks == 1 {
                process.signal(Signal::USR1)?;
                process.until_line("word", SOON, |line| (line == "word").then_some(()))?;
            }
            Ok((looks > 1).then_some(looks))
        });
        assert_eq!(found.expect("it is found"), 2);
        process.signal(Signal::TERM).expect("it lives");
        let error = process.until("more", Duration::from_mins(10), || Ok(None::<()>)).expect_err("it ends");
        assert!(error.to_string().contains("not come to this"), "{error}");
    }

    #[test]
    fn the_status_is_its_own() {
        let process = up();
        let ended = process.end(SOON).expect("it ends when asked");
        assert_eq!((ended.status.code(), ended.lines), (Some(3), vec!["up".to_owned(), "asked".to_owned()]));
    }
}
