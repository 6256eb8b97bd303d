//! Limit: a token bucket for each sink. What does not fit waits in the sink's outbox and coalesces there.

use std::time::Duration;

use rules::Time;

/// Lets a number of records through a minute on average, and as many at once after a quiet minute.
///
/// It counts in thousandths of a record, so nothing is lost to rounding however often it is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenBucket {
    per_minute: u32,
    /// Thousandths of a record.
    level: u64,
    filled_at: Time,
}

impl TokenBucket {
    /// A full bucket.
    pub fn new(per_minute: u32, now: Time) -> Self {
        Self { per_minute, level: u64::from(per_minute) * 1_000, filled_at: now }
    }

    /// Takes up to `wanted` records' worth; how many there were.
    pub fn take(&mut self, wanted: usize, now: Time) -> usize {
        self.fill(now);
        let there = usize::try_from(self.level / 1_000).unwrap_or(usize::MAX);
        let taken = wanted.min(there);
        self.level -= taken as u64 * 1_000;
        taken
    }

    /// Puts back what was taken and not used.
    pub fn put_back(&mut self, records: usize) {
        self.level = self.full().min(self.level + records as u64 * 1_000);
    }

    /// When one more record fits.
    pub fn next_at(&mut self, now: Time) -> Time {
        self.fill(now);
        let missing = 1_000_u64.saturating_sub(self.level);
        // 1,000 thousandths of a record take 60,000 ms / per_minute.
        let millis = (missing * 60).div_ceil(u64::from(self.per_minute.max(1)));
        now + Duration::from_millis(millis)
    }

    fn full(&self) -> u64 {
        u64::from(self.per_minute) * 1_000
    }

    fn fill(&mut self, now: Time) {
        let elapsed = u64::try_from(now.since(self.filled_at).as_millis()).unwrap_or(u64::MAX);
        let gained = elapsed.saturating_mul(u64::from(self.per_minute)) / 60;
        if gained == 0 {
            return;
        }
        self.level = self.level.saturating_add(gained);
        // Only the time that was turned into tokens is used up; the rest counts for the next one.
        self.filled_at = self.filled_at + Duration::from_millis((gained * 60).div_ceil(u64::from(self.per_minute)));
        if self.level >= self.full() {
            self.level = self.full();
            self.filled_at = now;
        }
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
        assert!((69..=70).contains(&taken), "7 a minute for 10 minutes, not {taken}");
    }

    #[test]
    fn a_clock_that_steps_back_gives_nothing_and_breaks_nothing() {
        let mut bucket = TokenBucket::new(60, START);
        assert_eq!(bucket.take(60, START), 60);
        assert_eq!(bucket.take(1, START - Duration::from_hours(24)), 0);
        assert_eq!(bucket.take(60, START + Duration::from_secs(60)), 60);
    }

    #[test]
    fn what_is_put_back_can_be_taken_again() {
        let mut bucket = TokenBucket::new(2, START);
        assert_eq!(bucket.take(2, START), 2);
        bucket.put_back(1);
        assert_eq!(bucket.take(2, START), 1);
    }
}
