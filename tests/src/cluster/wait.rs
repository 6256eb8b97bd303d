//! Waiting for programs that are not ours and tell nobody when they are ready: to ask again and again is all there is.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often a state is looked at: each look may cost a process.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// How much time has passed since it was made.
#[derive(Clone, Copy)]
pub(super) struct Stopwatch(Instant);

impl Stopwatch {
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    pub(super) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

/// Calls `probe` until it gives a value. `Ok(None)` and errors mean "not yet"; past `limit` the last error is told.
pub(crate) fn until<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let watch = Stopwatch::start();
    loop {
        let looked = probe();
        if let Ok(Some(value)) = looked {
            return Ok(value);
        }
        if watch.elapsed() >= limit {
            match looked {
                Err(error) => return Err(error.context(format!("{what}: not within {limit:?}"))),
                Ok(_) => bail!("{what}: not within {limit:?}"),
            }
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}
