//! Limit: a token bucket for each sink. What does not fit waits in the sink's outbox and coalesces there. Pure.

use std::time::Duration;

use rules::Time;

/// Lets a number of records through a minute on average, and as many at once after a quiet minute.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenBucket {
    per_minute: u32,
    /// In parts of which [`RECORD`] are one record: a millisecond brings `per_minute` of them, so nothing is ever
    /// lost to rounding.
    level: u64,
    filled_at: Time,
}

/// The parts that one record takes: the milliseconds of a minute.
const RECORD: u64 = 60_000;
/// In which an empty bucket fills.
const FULL_AFTER: Duration = Duration::from_mins(1);

impl TokenBucket {
    /// A full bucket.
    pub fn new(per_minute: u32, now: Time) -> Self {
        Self { per_minute, level: u64::from(per_minute) * RECORD, filled_at: now }
    }

    /// Takes up to `wanted` records' worth; how many there were.
    pub fn take(&mut self, wanted: usize, now: Time) -> usize {
        self.fill(now);
        let there = usize::try_from(self.level / RECORD).unwrap_or(usize::MAX);
        let taken = wanted.min(there);
        self.level -= taken as u64 * RECORD;
        taken
    }

    /// When one more record fits.
    pub fn next_at(&mut self, now: Time) -> Time {
        self.fill(now);
        let missing = RECORD.saturating_sub(self.level);
        now + Duration::from_millis(missing.div_ceil(u64::from(self.per_minute.max(1))))
    }

    fn fill(&mut self, now: Time) {
        // A clock that steps back brings nothing, and what it then runs through again neither; but no longer than it takes
        // to fill, or a clock that was an hour ahead for one answer would stop the sink for that hour.
        self.filled_at = self.filled_at.min(now + FULL_AFTER);
        let elapsed = u64::try_from(now.since(self.filled_at).as_millis()).unwrap_or(u64::MAX);
        let full = u64::from(self.per_minute) * RECORD;
        self.level = self.level.saturating_add(elapsed.saturating_mul(u64::from(self.per_minute))).min(full);
        self.filled_at = self.filled_at.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Time = Time::from_millis(1_000_000);

    #[test]
    fn a_full_bucket_gives_a_minutes_worth_and_then_one_at_a_time() {
        let mut bucket = TokenBucket::new(20, START);
        assert_eq!(bucket.take(100, START), 20);
        assert_eq!(bucket.take(1, START), 0);
        assert_eq!(bucket.next_at(START), START + Duration::from_secs(3));
        assert_eq!(bucket.take(1, START + Duration::from_millis(2_999)), 0);
        assert_eq!(bucket.take(2, START + Duration::from_secs(3)), 1);
    }

    #[test]
    fn asking_often_loses_nothing() {
        let mut bucket = TokenBucket::new(7, START);
        assert_eq!(bucket.take(7, START), 7);
        let taken: usize = (1..=600_000).map(|ms| bucket.take(1, START + Duration::from_millis(ms))).sum();
        assert_eq!(taken, 70, "7 a minute for 10 minutes");
    }

    #[test]
    fn a_clock_that_steps_back_gives_nothing_and_breaks_nothing() {
        let mut bucket = TokenBucket::new(60, START);
        assert_eq!(bucket.take(60, START), 60);
        assert_eq!(bucket.take(1, START - Duration::from_hours(24)), 0);
        assert_eq!(bucket.take(60, START + Duration::from_mins(1)), 60);
    }

    #[test]
    fn a_clock_that_was_ahead_for_a_moment_stops_it_for_a_minute_and_no_longer() {
        let mut bucket = TokenBucket::new(60, START);
        assert_eq!(bucket.take(60, START + Duration::from_hours(1)), 60);
        assert_eq!(bucket.take(1, START), 0);
        assert_eq!(bucket.take(60, START + Duration::from_secs(59)), 0);
        assert_eq!(bucket.take(60, START + Duration::from_secs(90)), 30);
    }
}
