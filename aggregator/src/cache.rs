//! Remembers values for a fixed time, and no more than so many: the oldest goes first. Pure.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::Duration;

use process::Mark;

/// Values by key. All of them last equally long, so their order of coming is their order of going.
#[derive(Debug)]
pub(crate) struct Cache<K, V> {
    lasts: Duration,
    max: usize,
    values: HashMap<K, (Mark, V)>,
    order: VecDeque<(Mark, K)>,
}

impl<K: Clone + Eq + Hash, V: Clone> Cache<K, V> {
    /// Room for `max` values that each last for `lasts`.
    pub(crate) fn new(lasts: Duration, max: usize) -> Self {
        Self { lasts, max, values: HashMap::new(), order: VecDeque::new() }
    }

    /// The value of `key`, if it has come less than its time before `now`.
    pub(crate) fn get(&self, key: &K, now: Mark) -> Option<V> {
        let (came, value) = self.values.get(key)?;
        (now.since(*came) < self.lasts).then(|| value.clone())
    }

    /// Remembers `value` from `now` on.
    pub(crate) fn insert(&mut self, key: K, value: V, now: Mark) {
        while let Some((came, _)) = self.order.front()
            && (now.since(*came) >= self.lasts || self.order.len() >= self.max)
        {
            self.forget_oldest();
        }
        self.order.push_back((now, key.clone()));
        self.values.insert(key, (now, value));
    }

    fn forget_oldest(&mut self) {
        let Some((came, key)) = self.order.pop_front() else { return };
        // It may have come again since.
        if self.values.get(&key).is_some_and(|(newest, _)| *newest == came) {
            self.values.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Mark {
        Mark::from_start(Duration::from_secs(seconds))
    }

    #[test]
    fn a_value_lasts_for_its_time_and_is_then_forgotten() {
        let mut cache = Cache::new(Duration::from_secs(10), 100);
        cache.insert(1, "one", at(0));
        assert_eq!(cache.get(&1, at(9)), Some("one"));
        assert_eq!(cache.get(&1, at(10)), None);
        assert_eq!(cache.get(&2, at(0)), None);
        cache.insert(2, "two", at(10));
        assert_eq!((cache.values.len(), cache.order.len()), (1, 1));
    }

    #[test]
    fn a_value_that_comes_again_lasts_from_then_on() {
        let mut cache = Cache::new(Duration::from_secs(10), 100);
        cache.insert(1, "one", at(0));
        cache.insert(1, "other", at(5));
        cache.insert(2, "two", at(12));
        assert_eq!(cache.get(&1, at(12)), Some("other"));
    }

    #[test]
    fn a_flood_takes_no_more_room_than_there_is_and_drives_out_the_oldest() {
        let mut cache = Cache::new(Duration::from_secs(10), 3);
        for number in 0..1_000 {
            cache.insert(number, number, at(1));
            cache.insert(number, number, at(1));
            assert!(cache.values.len() <= 3 && cache.order.len() <= 3);
        }
        assert_eq!(cache.get(&999, at(1)), Some(999));
        assert_eq!(cache.get(&0, at(1)), None);
    }
}
