//! A process of this machine, told apart from a later one that was given the same number.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, retry_on_intr};
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
        let sent = self.open().and_then(|process| process.map_or(Ok(()), |it| pidfd_send_signal(it, signal)));
        match sent {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(io::Error::from(error)).with_context(|| format!("signalling process {}", self.number)),
        }
    }

    /// Whether it has ended within `limit`; returns as soon as it has.
    pub(super) fn ends_within(self, limit: Duration) -> Result<bool> {
        let waited = self.open().and_then(|process| {
            let Some(process) = process else { return Ok(true) };
            let limit = Timespec::try_from(limit).map_err(|_| Errno::INVAL)?;
            // A process's descriptor can be read from when the process has ended.
            retry_on_intr(|| poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&limit))).map(|ended| ended > 0)
        });
        waited.map_err(io::Error::from).with_context(|| format!("waiting for process {}", self.number))
    }

    /// A descriptor that holds on to the process, so that nobody else can take its number; none if it has ended.
    fn open(self) -> rustix::io::Result<Option<OwnedFd>> {
        let number = Pid::from_raw(self.number).ok_or(Errno::INVAL)?;
        match pidfd_open(number, PidfdFlags::empty()) {
            Ok(process) => Ok(self.lives().then_some(process)),
            Err(Errno::SRCH) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn an_end_is_noticed_when_it_comes_and_after_it() {
        let mut child = Command::new("sleep").arg("60").spawn().expect("it starts");
        let id = ProcessId::of(child.id().cast_signed()).expect("it lives");
        assert!(!id.ends_within(Duration::ZERO).expect("it can be asked"));
        id.signal(Signal::KILL).expect("it can be killed");
        assert!(id.ends_within(Duration::from_secs(10)).expect("it can be asked"));
        child.wait().expect("it has ended");
        assert!(id.ends_within(Duration::ZERO).expect("it can be asked"));
    }
}
