//! The one place that reads clocks.
//!
//! `now` is the API server's time: the `Date` of its answers carried on by this machine's monotonic clock, so a wrong or
//! stepping wall clock changes nothing. Intervals and deadlines inside the process are measured in [`Mark`]s, which no
//! `Date` can move.
#![allow(clippy::disallowed_methods, reason = "this is the module that the rest of the project is sent to")]

use std::ops::Add;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rules::Time;
use tokio::sync::watch;
use tokio::time::Instant;

mod estimate;

use estimate::Estimate;

/// How long a sleep towards a point in API time goes without looking again: a `Date` may have moved the estimate.
const SLEEP_MAX: Duration = Duration::from_mins(1);

/// A moment on this process's monotonic clock: milliseconds and more since its [`Clock`] was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark(Duration);

/// A handle to the process's clock; clones tell the same time.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    ticks: Ticks,
    estimate: Mutex<Estimate>,
}

/// Where monotonic and wall time come from.
#[derive(Debug)]
enum Ticks {
    /// This machine.
    System { start: Instant },
    /// Tokio's time, which tests may pause; the wall clock began at a given time.
    Tokio { start: Instant, wall: Time },
    /// Moved by hand; the wall clock began at a given time.
    Hand { elapsed: watch::Sender<Duration>, wall: Time },
}

impl Mark {
    /// The moment that long after the clock was made.
    pub const fn from_start(elapsed: Duration) -> Self {
        Self(elapsed)
    }

    /// How long after the clock was made.
    pub const fn since_start(self) -> Duration {
        self.0
    }

    /// The span from `earlier` to this moment; zero when `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    fn millis(self) -> i64 {
        i64::try_from(self.0.as_millis()).unwrap_or(i64::MAX)
    }
}

impl Add<Duration> for Mark {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span))
    }
}

impl Clock {
    /// This machine's clock.
    pub fn system() -> Self {
        Self::new(Ticks::System { start: Instant::now() }, wall_now())
    }

    /// For tests on a runtime whose time is paused: tokio's time, on a machine whose wall clock said `wall` at the start.
    pub fn starting_at(wall: Time) -> Self {
        Self::new(Ticks::Tokio { start: Instant::now(), wall }, wall)
    }

    /// For tests without a runtime: time that stands still until [`Clock::advance`] moves it.
    pub fn by_hand(wall: Time) -> Self {
        Self::new(Ticks::Hand { elapsed: watch::Sender::new(Duration::ZERO), wall }, wall)
    }

    fn new(ticks: Ticks, wall: Time) -> Self {
        Self(Arc::new(Inner { ticks, estimate: Mutex::new(Estimate::before_any_date(wall)) }))
    }

    /// The API server's time; before its first answer, the wall clock's as it was at the start plus the time since.
    pub fn now(&self) -> Time {
        self.estimate().time_at(self.mark())
    }

    /// The present moment on the monotonic clock.
    pub fn mark(&self) -> Mark {
        Mark(match &self.0.ticks {
            Ticks::System { start } | Ticks::Tokio { start, .. } => start.elapsed(),
            Ticks::Hand { elapsed, .. } => *elapsed.borrow(),
        })
    }

    /// Takes in the `Date` (RFC 9110 §6.6.1, whole seconds) of an answer of the API server whose request left at `sent`
    /// and whose headers arrived at `received`.
    pub fn observe_date(&self, date: Time, sent: Mark, received: Mark) {
        self.estimate().observe(date, sent, received);
    }

    /// This node's wall clock minus the API server's, in milliseconds; 0 before the API server's first answer, unless
    /// the wall clock was set since the start. Times that the kubelet wrote are shifted back by it.
    pub fn node_offset_millis(&self) -> i64 {
        self.wall().as_millis().saturating_sub(self.now().as_millis())
    }

    /// Returns when the API server's time has reached `time`. Cancel-safe.
    pub async fn sleep_until(&self, time: Time) {
        loop {
            let left = time.since(self.now());
            if left.is_zero() {
                return;
            }
            self.wait_until(self.mark() + left.min(SLEEP_MAX)).await;
        }
    }

    /// Returns when the monotonic clock has reached `mark`. Cancel-safe.
    pub async fn wait_until(&self, mark: Mark) {
        match &self.0.ticks {
            Ticks::System { .. } | Ticks::Tokio { .. } => tokio::time::sleep(mark.since(self.mark())).await,
            Ticks::Hand { elapsed, .. } => {
                // It cannot fail: the sender lives in the clock that waits.
                let _ = elapsed.subscribe().wait_for(|elapsed| *elapsed >= mark.0).await;
            }
        }
    }

    /// Returns when that much monotonic time has passed. Cancel-safe, counting anew.
    pub async fn sleep(&self, span: Duration) {
        self.wait_until(self.mark() + span).await;
    }

    /// Moves a clock made by [`Clock::by_hand`] on by `span`; others go by themselves, and ignore it.
    pub fn advance(&self, span: Duration) {
        if let Ticks::Hand { elapsed, .. } = &self.0.ticks {
            elapsed.send_modify(|elapsed| *elapsed = elapsed.saturating_add(span));
        }
    }

    /// How many wait for a clock made by [`Clock::by_hand`] to be moved.
    pub fn sleepers(&self) -> usize {
        if let Ticks::Hand { elapsed, .. } = &self.0.ticks { elapsed.receiver_count() } else { 0 }
    }

    /// This machine's wall clock.
    fn wall(&self) -> Time {
        match &self.0.ticks {
            Ticks::System { .. } => wall_now(),
            Ticks::Tokio { wall, .. } | Ticks::Hand { wall, .. } => *wall + self.mark().0,
        }
    }

    fn estimate(&self) -> std::sync::MutexGuard<'_, Estimate> {
        // The estimate is a few integers that are valid after every statement.
        self.0.estimate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The wall clock; a machine set to before 1970 is at the epoch.
fn wall_now() -> Time {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Time::from_millis(0) + since_epoch
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Time = Time::from_millis(1_000_000_000);

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn before_any_answer_the_wall_clock_and_no_offset() {
        let clock = Clock::by_hand(START);
        clock.advance(seconds(5));
        assert_eq!(clock.now(), START + seconds(5));
        assert_eq!(clock.node_offset_millis(), 0);
    }

    #[test]
    fn a_node_an_hour_ahead_follows_the_api_server() {
        let clock = Clock::by_hand(START + seconds(3600));
        let sent = clock.mark();
        clock.observe_date(START, sent, clock.mark());
        assert_eq!(clock.now(), START + Duration::from_millis(500), "a Date stands for the second that it names");
        clock.advance(seconds(10));
        assert_eq!(clock.now(), START + Duration::from_millis(10_500));
        assert_eq!(clock.node_offset_millis(), 3_600_000 - 500);
    }

    #[tokio::test(start_paused = true)]
    async fn sleeps_in_api_time_on_a_paused_runtime() {
        let clock = Clock::starting_at(START);
        clock.sleep_until(START + seconds(7200)).await;
        assert_eq!(clock.now(), START + seconds(7200));
        clock.sleep_until(START).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_sleeper_notices_that_a_date_moved_the_time() {
        let clock = Clock::starting_at(START);
        let sleeper = clock.sleep_until(START + seconds(7200));
        let mover = async {
            clock.sleep(seconds(30)).await;
            clock.observe_date(START + seconds(7300), clock.mark(), clock.mark());
        };
        futures::join!(sleeper, mover);
        assert_eq!(clock.mark().since_start(), SLEEP_MAX);
    }

    #[tokio::test]
    async fn a_clock_moved_by_hand_wakes_its_sleepers() {
        let clock = Clock::by_hand(START);
        let sleeper = clock.sleep_until(START + seconds(90));
        let mover = async {
            for _ in 0..3 {
                assert_eq!(clock.sleepers(), 1);
                clock.advance(seconds(30));
                tokio::task::yield_now().await;
            }
        };
        futures::join!(sleeper, mover);
        assert_eq!(clock.now(), START + seconds(90));
    }
}
