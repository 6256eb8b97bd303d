//! Sinks refuse some of what they are sent, and issues become worse and better meanwhile.

use super::*;

impl Story {
    /// Somebody makes a kind worse or better.
    pub(super) fn severity(&mut self, kind: usize, severity: Severity) {
        self.pair.change_rules(|rules| rules.kinds.get_mut(KINDS[kind]).expect("a kind").severity = severity);
    }

    /// Who took that something is there was sent that it is over, whatever it refused in between.
    pub(super) fn who_heard_of_it_was_sent_the_end(&self, ill: &[PodRef]) {
        for (name, outbound) in [("outside", &self.pair.outbound), ("aside", &self.pair.aside)] {
            let mut open = BTreeMap::new();
            let taken: BTreeSet<_> = outbound.taken.iter().map(|told| &told.key).collect();
            for told in &outbound.sent {
                let issue = told.body["issue"].as_str().expect("a text");
                if told.body["status"] == "resolved" {
                    open.remove(issue);
                } else if taken.contains(&told.key) {
                    open.insert(issue, told.sentence());
                }
            }
            for sentence in open.values() {
                let is_ill = ill.iter().any(|pod| sentence.contains(&format!(" {} ", app_of(pod))));
                assert!(is_ill, "{name} was never sent the end of {sentence}");
            }
        }
    }
}

const REFUSING: Mode = Mode { refuses: true, ..CALM };
const CHANGING: Mode = Mode { severities: true, ..CALM };

#[test]
fn whatever_the_outside_refuses_nothing_is_left() {
    tell(Mode { agents_die: true, nodes_die: true, rules_change: true, ..REFUSING }, 2000);
    tell(
        Mode { sinks_change: true, rules_change: true, agents_die: true, nodes_die: true, ill: 3, ..REFUSING },
        54_000,
    );
}

#[test]
fn whatever_was_refused_the_next_leader_tells_the_end_of_what_was_taken() {
    tell(Mode { sinks_change: true, aggregator_dies: true, told_log: true, ..REFUSING }, 51_000);
}

#[test]
fn whatever_becomes_worse_or_better_its_end_is_told() {
    tell(Mode { sinks_change: true, rules_change: true, ..CHANGING }, 56_000);
    tell(Mode { sinks_change: true, aggregator_dies: true, told_log: true, ..CHANGING }, 57_000);
}

#[test]
fn whatever_becomes_worse_and_is_refused_its_end_is_told_to_who_heard_of_it() {
    let both = Mode { refuses: true, ..CHANGING };
    tell(both, 58_000);
    tell(Mode { sinks_change: true, rules_change: true, ..both }, 59_000);
    tell(Mode { sinks_change: true, aggregator_dies: true, told_log: true, ..both }, 60_000);
}
