//! When to try again: everything that waits does so with jitter, so that five thousand agents do not come at once.

use std::time::Duration;

use fastrand::Rng;
use process::backoff::{Backoff, between, up_to};
use rules::Time;

/// The shortest wait that somebody else may ask for, or who says "at once" would be asked without a pause.
const ASKED_MIN: Duration = Duration::from_secs(1);

/// The longest wait before another attempt, whoever asked for it.
pub const WAIT_MAX: Duration = Duration::from_mins(1);

/// The spread of a reconnect until an aggregator has named one.
const WINDOW: Duration = Duration::from_secs(2);

/// Of such spreads, the longest wait of one who finds no leader: that is a load which the aggregator has asked for, and
/// a successor is found soon.
const WINDOWS: u32 = 4;

/// The longest spread of a reconnect that an aggregator may ask for; more than [`WAIT_MAX`] for tens of thousands of nodes.
const WINDOW_MAX: Duration = Duration::from_mins(2);

/// The interval between heartbeats until an aggregator has named one, and what it may name.
const HEARTBEAT: Duration = Duration::from_secs(30);
const HEARTBEAT_MIN: Duration = Duration::from_secs(1);
const HEARTBEAT_MAX: Duration = Duration::from_mins(5);

/// Draws the waits.
#[derive(Debug)]
pub(super) struct Pace {
    rng: Rng,
    search: Backoff,
    complaints: Backoff,
    window: Option<Duration>,
    heartbeat: Duration,
}

impl Pace {
    pub(super) fn new(seed: u64) -> Self {
        let (search, complaints) = (Backoff::new(WINDOW, WAIT_MAX), Backoff::new(WINDOW, WAIT_MAX));
        Self { rng: Rng::with_seed(seed), search, complaints, window: None, heartbeat: HEARTBEAT }
    }

    /// Goes by what the aggregator asks for, within bounds.
    pub(super) fn adjust(&mut self, heartbeat_ms: u32, reconnect_window_ms: u32) {
        self.heartbeat = Duration::from_millis(heartbeat_ms.into()).clamp(HEARTBEAT_MIN, HEARTBEAT_MAX);
        let window = Duration::from_millis(reconnect_window_ms.into()).min(WINDOW_MAX);
        if self.window.replace(window) != Some(window) {
            self.search = Backoff::new(window, (window * WINDOWS).min(WAIT_MAX).max(window));
            self.complaints = Backoff::new(window, window.max(WAIT_MAX));
        }
    }

    /// All went well: the next failure is the first again.
    pub(super) const fn reset(&mut self) {
        self.search.reset();
        self.complaints.reset();
    }

    /// The next attempt after one more that found no leader.
    pub(super) fn after_failure(&mut self, now: Time) -> Time {
        now + self.search.next(&mut self.rng)
    }

    /// The next attempt after one more that a leader was not content with.
    pub(super) fn after_complaint(&mut self, now: Time) -> Time {
        now + self.complaints.next(&mut self.rng)
    }

    /// The next attempt after something that only a person can mend.
    pub(super) fn after_refusal(&mut self, now: Time) -> Time {
        now + up_to(WAIT_MAX, &mut self.rng)
    }

    /// The next attempt when the aggregator asks for none within `millis`.
    pub(super) fn after_request(&mut self, millis: u32, now: Time) -> Time {
        let asked = Duration::from_millis(millis.into()).clamp(ASKED_MIN, WAIT_MAX);
        now + between(asked..=asked + asked / 4, &mut self.rng)
    }

    /// The next heartbeat: never later than the interval, whose multiples the aggregator counts.
    pub(super) fn heartbeat(&mut self, now: Time) -> Time {
        now + between(self.heartbeat * 3 / 4..=self.heartbeat, &mut self.rng)
    }
}
