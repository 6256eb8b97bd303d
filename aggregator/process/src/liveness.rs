//! Whether the process still makes headway.
//!
//! Each loop that must never stand still takes a [`Pulse`] and beats it on every turn; one that has not beaten for longer
//! than its limit has stalled, and the kubelet is told to restart the process. Nothing outside of the process counts: an
//! API server that is away is no reason to restart.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::{Clock, Mark};

/// The process's liveness; clones share it.
#[derive(Clone, Debug)]
pub struct Liveness {
    clock: Clock,
    pulses: Arc<Mutex<Vec<Watched>>>,
}

/// The sign of life of one loop. Dropping it ends the watch over that loop.
#[derive(Debug)]
pub struct Pulse {
    clock: Clock,
    last: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Watched {
    name: &'static str,
    limit: Duration,
    last: std::sync::Weak<AtomicU64>,
}

impl Liveness {
    /// A process without loops to watch.
    pub fn new(clock: Clock) -> Self {
        Self { clock, pulses: Arc::default() }
    }

    /// Watches a loop that must turn at least once in every `limit`; the first turn counts from now.
    pub fn pulse(&self, name: &'static str, limit: Duration) -> Pulse {
        let last = Arc::new(AtomicU64::default());
        let pulse = Pulse { clock: self.clock.clone(), last: Arc::clone(&last) };
        pulse.beat();
        self.lock().push(Watched { name, limit, last: Arc::downgrade(&last) });
        pulse
    }

    /// Which loops have stalled, one a line; `None` when all is well.
    pub fn stalled(&self) -> Option<String> {
        let now = self.clock.mark();
        let mut stalled = String::new();
        self.lock().retain(|watched| {
            let Some(last) = watched.last.upgrade() else { return false };
            let quiet = now.since(Mark::from_start(Duration::from_millis(last.load(Ordering::Relaxed))));
            if quiet > watched.limit {
                writeln!(stalled, "{}: no turn for {} s", watched.name, quiet.as_secs())
                    .expect("a String takes any text");
            }
            true
        });
        (!stalled.is_empty()).then_some(stalled)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Watched>> {
        // A list that is valid after every statement.
        self.pulses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pulse {
    /// The loop has turned.
    pub fn beat(&self) {
        let millis = u64::try_from(self.clock.mark().since_start().as_millis()).unwrap_or(u64::MAX);
        self.last.store(millis, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use rules::Time;

    use super::*;

    #[test]
    fn a_loop_that_stands_still_is_named_until_it_turns_again_or_ends() {
        let clock = Clock::by_hand(Time::from_millis(0));
        let liveness = Liveness::new(clock.clone());
        let pulse = liveness.pulse("core", Duration::from_secs(30));
        clock.advance(Duration::from_secs(30));
        assert_eq!(liveness.stalled(), None);
        clock.advance(Duration::from_secs(1));
        assert_eq!(liveness.stalled().as_deref(), Some("core: no turn for 31 s\n"));
        pulse.beat();
        assert_eq!(liveness.stalled(), None);
        clock.advance(Duration::from_secs(31));
        drop(pulse);
        assert_eq!(liveness.stalled(), None);
    }
}
