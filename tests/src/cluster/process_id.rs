//! A process of this machine, told apart from a later one that was given the same number.

use std::io;

use anyhow::{Context, Result};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// A process number with the moment its process started, in clock ticks since boot (proc_pid_stat(5), field 22).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ProcessId {
    number: i32,
    start_ticks: u64,
}

impl ProcessId {
    /// The process that has this number now; none if it has ended (a zombie has).
    pub(super) fn of(number: i32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{number}/stat")).ok()?;
        // The program's name is in brackets and may itself contain anything.
        let (_, after_name) = stat.rsplit_once(") ")?;
        let fields: Vec<&str> = after_name.split(' ').collect();
        let (state, start_ticks) = (*fields.first()?, fields.get(19)?.parse().ok()?);
        (state != "Z" && state != "X").then_some(Self { number, start_ticks })
    }

    pub(super) fn lives(self) -> bool {
        Self::of(self.number) == Some(self)
    }

    /// Sends to this very process or to none: one that has ended is no error.
    pub(super) fn signal(self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(self.number).context("a process number is never zero")?;
        let sent = match pidfd_open(pid, PidfdFlags::empty()) {
            // The descriptor holds on to the process, so nobody else can take its number between look and signal.
            Ok(process) if self.lives() => pidfd_send_signal(process, signal),
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        match sent {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(io::Error::from(error)).with_context(|| format!("signalling process {}", self.number)),
        }
    }
}
