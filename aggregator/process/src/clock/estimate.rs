//! What the API server's time is, judged from the `Date` of its answers. Pure.
//!
//! A `Date` names a whole second, and the server read its clock at some moment between the request's departure and the
//! answer's arrival. So one answer bounds the offset (server time minus monotonic time): at least `date - received`, less
//! than `date + 1 s - sent`. The bounds of many answers are intersected, and the estimate moves only when it falls outside
//! of them, and then no further than their edge: it does not jitter with each truncated second. The first estimate is the
//! middle: the middle of the round trip, and of the second.

use rules::Time;

use super::Mark;

/// A `Date` is truncated to it (RFC 9110 §5.6.7).
const DATE_GRANULARITY_MILLIS: i64 = 1_000;

/// The offset from monotonic to API server time, in milliseconds.
#[derive(Debug)]
pub(super) struct Estimate {
    offset: i64,
    bounds: Option<Bounds>,
}

#[derive(Clone, Copy, Debug)]
struct Bounds {
    low: i64,
    high: i64,
}

impl Estimate {
    /// The wall clock at the start, until the first answer.
    pub(super) const fn before_any_date(wall: Time) -> Self {
        Self { offset: wall.as_millis(), bounds: None }
    }

    /// The API server's time at a moment.
    pub(super) fn time_at(&self, mark: Mark) -> Time {
        Time::from_millis(self.offset.saturating_add(mark.millis()))
    }

    /// Takes in one answer.
    pub(super) fn observe(&mut self, date: Time, sent: Mark, received: Mark) {
        let fresh = Bounds {
            low: date.as_millis().saturating_sub(received.millis()),
            high: date.as_millis().saturating_add(DATE_GRANULARITY_MILLIS).saturating_sub(sent.millis()),
        };
        self.offset = match self.bounds {
            None => fresh.low.midpoint(fresh.high),
            Some(_) => self.offset,
        };
        // Nothing in common: clocks have drifted, one was set, or another server answered. The newest answer counts.
        let bounds = self.bounds.and_then(|known| known.intersection(fresh)).unwrap_or(fresh);
        self.offset = self.offset.clamp(bounds.low, bounds.high);
        self.bounds = Some(bounds);
    }
}

impl Bounds {
    fn intersection(self, fresh: Self) -> Option<Self> {
        let (low, high) = (self.low.max(fresh.low), self.high.min(fresh.high));
        (low <= high).then_some(Self { low, high })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A server whose clock is `offset` ms ahead of monotonic time answers at `at` ms, half-way through a round trip.
    fn answer(estimate: &mut Estimate, offset: i64, at: u64, round_trip: u64) {
        let date = (offset + at as i64).div_euclid(1_000) * 1_000;
        let sent = Mark::from_start(Duration::from_millis(at - round_trip / 2));
        let received = Mark::from_start(Duration::from_millis(at + round_trip / 2));
        estimate.observe(Time::from_millis(date), sent, received);
    }

    fn error(estimate: &Estimate, offset: i64) -> i64 {
        estimate.offset - offset
    }

    #[test]
    fn many_answers_narrow_it_down_to_the_round_trip() {
        let mut estimate = Estimate::before_any_date(Time::from_millis(0));
        for answers in 0..200 {
            answer(&mut estimate, 50_000_333, 1_000 + answers * 137, 20);
        }
        assert!(error(&estimate, 50_000_333).abs() <= 20, "off by {} ms", error(&estimate, 50_000_333));
    }

    #[test]
    fn truncated_seconds_do_not_make_it_jitter() {
        let mut estimate = Estimate::before_any_date(Time::from_millis(0));
        answer(&mut estimate, 7_000_000, 10_500, 10);
        let first = estimate.offset;
        // The same second named again and again, then the next one: all consistent with the first estimate.
        for at in [10_500, 10_700, 10_900, 10_999, 11_500] {
            answer(&mut estimate, 7_000_000, at, 10);
            assert!((estimate.offset - first).abs() <= 10, "moved by {} ms at {at}", estimate.offset - first);
        }
    }

    #[test]
    fn a_slow_answer_says_little_and_changes_nothing() {
        let mut estimate = Estimate::before_any_date(Time::from_millis(0));
        answer(&mut estimate, 7_000_000, 10_500, 10);
        let first = estimate.offset;
        estimate.observe(Time::from_millis(7_011_000), Mark::default(), Mark::from_start(Duration::from_secs(40)));
        assert_eq!(estimate.offset, first);
    }

    #[test]
    fn a_server_whose_clock_was_set_is_followed_at_once() {
        let mut estimate = Estimate::before_any_date(Time::from_millis(0));
        answer(&mut estimate, 7_000_000, 10_500, 10);
        for offset in [3_000_000, 9_000_000] {
            answer(&mut estimate, offset, 20_000, 10);
            assert!(error(&estimate, offset).abs() <= 1_010, "off by {} ms", error(&estimate, offset));
        }
    }

    #[test]
    fn drift_over_days_is_followed() {
        let mut estimate = Estimate::before_any_date(Time::from_millis(0));
        for hour in 1..100_i64 {
            let drifted = 7_000_000 + hour * 360; // 100 ppm
            answer(&mut estimate, drifted, hour.unsigned_abs() * 3_600_000, 10);
            assert!(error(&estimate, drifted).abs() <= 1_010, "off by {} ms", error(&estimate, drifted));
        }
    }
}
