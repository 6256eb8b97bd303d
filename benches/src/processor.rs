//! Processor time that a process has taken, as the kernel counts it.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, ensure};

/// User and system time of the threads that a process has, to the nanosecond (the first field of schedstat, see
/// Documentation/scheduler/sched-stats.rst of Linux): /proc/PID/stat has only hundredths of a second.
pub(crate) fn time_of(id: u32) -> anyhow::Result<Duration> {
    let mut nanos = 0;
    for thread in fs::read_dir(format!("/proc/{id}/task")).context("the process does not run")? {
        // One that ends meanwhile takes its time with it.
        let Ok(counted) = fs::read_to_string(thread?.path().join("schedstat")) else { continue };
        nanos += counted.split(' ').next().and_then(|first| first.parse::<u64>().ok()).context("it begins with it")?;
    }
    ensure!(nanos > 0, "this kernel does not count processor time in schedstat");
    Ok(Duration::from_nanos(nanos))
}

/// A process and a stretch of time, of which the end tells what that process took.
#[derive(Debug)]
pub(crate) struct Stretch {
    id: u32,
    before: Duration,
}

impl Stretch {
    pub(crate) fn begin(id: u32) -> anyhow::Result<Self> {
        Ok(Self { id, before: time_of(id)? })
    }

    pub(crate) fn end(self) -> anyhow::Result<Duration> {
        Ok(time_of(self.id)?.saturating_sub(self.before))
    }
}

/// What `work` costs a process, of which one piece has so many parts, in microseconds for each of them: the least of some
/// rounds, so that a noisy neighbour in one of them does not count.
pub(crate) fn micros_each(
    id: Option<u32>,
    parts: usize,
    mut work: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<f64> {
    const ROUNDS: usize = 5;
    let id = id.context("the process does not run")?;
    let mut least = Duration::MAX;
    for _ in 0..ROUNDS {
        let stretch = Stretch::begin(id)?;
        work()?;
        least = least.min(stretch.end()?);
    }
    Ok(micros(least) / parts as f64)
}

/// In microseconds.
pub(crate) fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
