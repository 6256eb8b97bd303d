//! How long to wait after a failure: exponential with full jitter. Pure; chance comes from the generator handed in.

use std::ops::RangeInclusive;
use std::time::Duration;

use fastrand::Rng;

/// Waits drawn evenly from nothing up to a ceiling that doubles with each failure.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    failures: u32,
}

impl Backoff {
    /// The first wait is at most `first`, and none is longer than `max`.
    pub const fn new(first: Duration, max: Duration) -> Self {
        Self { first, max, failures: 0 }
    }

    /// The wait after one more failure.
    pub fn next(&mut self, rng: &mut Rng) -> Duration {
        let ceiling = self.ceiling();
        self.failures = self.failures.saturating_add(1);
        up_to(ceiling, rng)
    }

    /// The longest that the next wait can be.
    pub fn ceiling(&self) -> Duration {
        let factor = 1_u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        self.first.saturating_mul(factor).min(self.max)
    }

    /// How many failures there were since the last success.
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// A success: the next failure is the first again.
    pub const fn reset(&mut self) {
        self.failures = 0;
    }
}

/// A span drawn evenly from nothing up to `max`, to the millisecond.
pub fn up_to(max: Duration, rng: &mut Rng) -> Duration {
    between(Duration::ZERO..=max, rng)
}

/// A span drawn evenly from `range`, to the millisecond; its start when the range is empty.
pub fn between(range: RangeInclusive<Duration>, rng: &mut Rng) -> Duration {
    let millis = |span: &Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let (low, high) = (millis(range.start()), millis(range.end()));
    Duration::from_millis(if low < high { rng.u64(low..=high) } else { low })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ceiling_doubles_up_to_its_maximum_and_falls_back_on_success() {
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
        let mut rng = Rng::with_seed(7);
        let ceilings: Vec<_> = (0..8)
            .map(|_| {
                let ceiling = backoff.ceiling();
                assert!(backoff.next(&mut rng) <= ceiling);
                ceiling.as_millis()
            })
            .collect();
        assert_eq!(ceilings, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
        backoff.reset();
        assert_eq!(backoff.ceiling(), Duration::from_millis(500));
    }

    #[test]
    fn after_days_of_failures_it_neither_wraps_nor_stops_jittering() {
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
        let mut rng = Rng::with_seed(7);
        let waits: Vec<_> = (0..10_000).map(|_| backoff.next(&mut rng)).skip(100).collect();
        let mean = waits.iter().sum::<Duration>() / u32::try_from(waits.len()).expect("fewer than 10,000");
        assert!(waits.iter().all(|wait| *wait <= Duration::from_secs(30)));
        assert!((14..=16).contains(&mean.as_secs()), "the mean of full jitter is half its ceiling, not {mean:?}");
    }

    #[test]
    fn a_range_is_kept_to_and_an_empty_one_gives_its_start() {
        let mut rng = Rng::with_seed(7);
        let (low, high) = (Duration::from_mins(30), Duration::from_hours(1));
        assert!((0..1000).all(|_| (low..=high).contains(&between(low..=high, &mut rng))));
        assert_eq!(between(high..=low, &mut rng), high);
    }
}
