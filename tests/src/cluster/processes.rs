//! The long-running programs of a cluster, each with a log file and an entry in the journal.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use super::journal::{Journal, Made};
use super::process_id::ProcessId;

/// How much of a log an error shows.
const LOG_TAIL_LINES: usize = 15;

pub(super) struct Processes {
    journal: Journal,
    logs: PathBuf,
    running: Vec<Running>,
}

struct Running {
    role: String,
    child: Child,
    id: ProcessId,
}

impl Processes {
    pub(super) fn new(journal: Journal, logs: PathBuf) -> Self {
        Self { journal, logs, running: Vec::new() }
    }

    /// Starts a program that is meant to run until it is stopped. A second start of a role goes on in the same log.
    pub(super) fn start(&mut self, role: &str, mut command: Command) -> Result<()> {
        let log = OpenOptions::new().create(true).append(true).open(self.log(role))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting {role}"))?;
        let id = self.record(role, child.id())?;
        self.running.push(Running { role: role.to_owned(), child, id });
        Ok(())
    }

    /// Writes a process into the journal, so that it is ended with the cluster, also after a crash.
    pub(super) fn record(&mut self, role: &str, number: u32) -> Result<ProcessId> {
        let id = ProcessId::of(number.cast_signed()).with_context(|| format!("{role} ended at once"))?;
        self.journal.note(&Made::Process { role: role.to_owned(), id })?;
        Ok(id)
    }

    pub(super) fn signal(&self, role: &str, signal: Signal) -> Result<()> {
        let running = self.running.iter().find(|running| running.role == role);
        running.with_context(|| format!("{role} is not running"))?.id.signal(signal)
    }

    /// Ends one program without asking, and waits for that.
    pub(super) fn kill(&mut self, role: &str) -> Result<()> {
        let index = self.running.iter().position(|running| running.role == role);
        let mut running = self.running.swap_remove(index.with_context(|| format!("{role} is not running"))?);
        running.id.signal(Signal::KILL)?;
        running.child.wait()?;
        Ok(())
    }

    /// An error with the end of its log if any program has ended by itself.
    pub(super) fn check(&mut self) -> Result<()> {
        for running in &mut self.running {
            if let Some(status) = running.child.try_wait()? {
                let log = self.logs.join(format!("{}.log", running.role));
                bail!("{} ended with {status}; its log ends:\n{}", running.role, tail(&log));
            }
        }
        Ok(())
    }

    /// Collects the exit status of programs that were killed from outside, so that none stays a zombie.
    pub(super) fn reap(&mut self) {
        for mut running in self.running.drain(..) {
            // Kill, as waiting for one that nobody managed to end would never end either.
            let _ = running.child.kill();
            let _ = running.child.wait();
        }
    }

    fn log(&self, role: &str) -> PathBuf {
        self.logs.join(format!("{role}.log"))
    }
}

fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
}
