//! Sinks come, go and change their minds while all the rest goes on, and pods are read late.

use tocsin_aggregator::settings::SinkSettings;
use tocsin_tests::pair::{ASIDE, SINK};

use super::*;

/// In how many ways somebody changes the sinks.
pub(super) const CHANGES: u8 = 8;
/// The sinks are what they were in the beginning.
pub(super) const AS_AT_FIRST: u8 = CHANGES;

impl Story {
    /// Somebody changes the configuration's sinks, in one of [`CHANGES`] ways or, with [`AS_AT_FIRST`], back to what they were.
    pub(super) fn sinks(&mut self, how: u8) {
        let default = SinkSettings { rate_per_minute: Some(3), required: false, ..SinkSettings::default() };
        let outside = SinkSettings { rate_per_minute: None, ..SinkSettings::default() };
        let forget = how == 0 && self.pair.sinks().contains_key(ASIDE);
        if forget {
            // What it was told before it went it may forget.
            self.aside(self.pair.aside.answer);
            self.pair.aside.taken.clear();
        }
        self.pair.change_sinks(|sinks| {
            let aside = sinks.get_mut(ASIDE);
            match (how, aside) {
                (0, _) => drop(sinks.remove(ASIDE)),
                (1, None) => drop(sinks.insert(ASIDE.into(), default)),
                (2, Some(aside)) => aside.min_severity = Severity::Critical,
                (3, Some(aside)) => aside.min_severity = default.min_severity,
                (4, Some(aside)) => aside.required = true,
                (5, Some(aside)) => aside.required = false,
                (6, _) => sinks.get_mut(SINK).expect("there").min_severity = Severity::Critical,
                (7, _) => drop(sinks.insert(SINK.into(), outside)),
                (AS_AT_FIRST, _) => {
                    sinks.insert(ASIDE.into(), default);
                    sinks.insert(SINK.into(), outside);
                }
                _ => {}
            }
        });
        self.pair.settle();
    }

    /// What is over is kept as over, so that no successor tells it.
    pub(super) fn nothing_is_kept_as_open(&mut self) {
        let aggregator = self.pair.aggregator.as_mut().expect("it lives");
        let open: Vec<_> = aggregator.pipeline.told_log().entries().filter(|entry| !entry.is_closed()).collect();
        assert!(open.is_empty(), "kept as open: {open:?}");
    }

    /// It was spared some of the past, but in the end it knows the present, unless it refused some of it.
    pub(super) fn aside_knows_the_present(&self, mode: Mode, story: &[Action], ill: &[PodRef]) {
        let mut known: BTreeMap<String, (String, String)> = BTreeMap::new();
        let mut keys = BTreeSet::new();
        for told in self.pair.aside.taken.iter().filter(|told| keys.insert(&told.key)) {
            let text = |field: &str| told.body[field].as_str().expect("a text").to_owned();
            let before = known.insert(text("issue"), (text("status"), told.sentence()));
            if mode.sinks_change && !mode.refuses && !mode.severities {
                let is_again = before.is_some_and(|(before, _)| before == "firing" && text("status") == "firing");
                assert!(!is_again, "aside is told twice: {}", told.sentence());
            }
        }
        let refuses = story.contains(&Action::Aside(Some(Outcome::Refused)));
        for (status, sentence) in known.values().filter(|_| !refuses) {
            let is_ill = ill.iter().any(|pod| sentence.contains(&format!(" {} ", app_of(pod))));
            assert!(status == "resolved" || is_ill, "aside, never resolved: {sentence}");
        }
    }
}

const CHANGING: Mode = Mode { sinks_change: true, ..CALM };

#[test]
fn sinks_that_come_and_go_are_told_what_there_is_once() {
    tell(CHANGING, 20_000);
    tell(Mode { agents_die: true, nodes_die: true, ..CHANGING }, 21_000);
    tell(Mode { rules_change: true, ill: 3, ..CHANGING }, 22_000);
    tell(Mode { refuses: true, agents_die: true, nodes_die: true, ..CHANGING }, 23_000);
}

#[test]
fn sinks_that_come_and_go_between_two_leaders_are_told_what_there_is_once() {
    let next = Mode { aggregator_dies: true, told_log: true, ..CHANGING };
    tell(next, 24_000);
    tell(Mode { agents_die: true, nodes_die: true, ..next }, 25_000);
    tell(Mode { aggregator_dies: false, stands_in: true, agents_die: true, nodes_die: true, ..next }, 26_000);
}

#[test]
fn pods_that_are_read_late_change_nothing_of_what_is_told() {
    let late = Mode { reads_late: true, ..CALM };
    tell(late, 30_000);
    tell(Mode { rules_change: true, nodes_die: true, ..late }, 31_000);
    tell(Mode { sinks_change: true, nodes_die: true, ..late }, 32_000);
    tell(Mode { sinks_change: true, told_log: true, aggregator_dies: true, agents_die: true, ..late }, 33_000);
}
