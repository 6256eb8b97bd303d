//! A log line that strangers can cause is written once a minute, with how often it was meant. Pure.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use process::Mark;

/// One kind of line.
#[derive(Debug, Default)]
pub(super) struct Rarely(Mutex<(Option<Mark>, u64)>);

/// Between two lines.
const EVERY: Duration = Duration::from_mins(1);

impl Rarely {
    /// It has happened again, at `now`; how often since the last line, if it is time for one.
    pub(super) fn tell(&self, now: Mark) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (told_at, times) = &mut *state;
        *times += 1;
        if told_at.is_some_and(|told_at| now.since(told_at) < EVERY) {
            return None;
        }
        *told_at = Some(now);
        Some(std::mem::take(times))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_at_once_and_the_rest_as_a_number() {
        let at = |seconds| Mark::from_start(Duration::from_secs(seconds));
        let line = Rarely::default();
        assert_eq!(line.tell(at(0)), Some(1));
        assert_eq!(line.tell(at(1)), None);
        assert_eq!(line.tell(at(59)), None);
        assert_eq!(line.tell(at(60)), Some(3));
        assert_eq!(line.tell(at(61)), None);
    }
}
