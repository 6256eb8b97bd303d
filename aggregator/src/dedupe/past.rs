//! What is remembered of issues that are over: so that a key says one thing only, and that old news stays old.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use rules::{Incarnation, Time};

use super::IssueKey;
use super::issue::EPISODES_MAX;

/// Issues that are over, the last ended so many of them.
#[derive(Debug, Default)]
pub(super) struct Past(HashMap<Arc<IssueKey>, PastIssue>);

/// One of them.
#[derive(Debug)]
struct PastIssue {
    ended: Time,
    newest_edge: Option<Time>,
    /// How far its last episodes were numbered: the same finding may open one again.
    numbers: VecDeque<(Incarnation, u32)>,
}

const ISSUES_MAX: usize = 10_000;

impl Past {
    /// An episode has ended, whose last revision is `revision`.
    pub(super) fn remember(
        &mut self,
        key: &Arc<IssueKey>,
        (incarnation, revision): (Incarnation, u32),
        newest_edge: Option<Time>,
        ended: Time,
    ) {
        if self.0.len() >= ISSUES_MAX
            && !self.0.contains_key(key)
            && let Some(oldest) = self.0.iter().min_by_key(|(_, issue)| issue.ended).map(|(key, _)| Arc::clone(key))
        {
            self.0.remove(&oldest);
        }
        let new = || PastIssue { ended, newest_edge, numbers: VecDeque::new() };
        let issue = self.0.entry(Arc::clone(key)).or_insert_with(new);
        issue.ended = issue.ended.max(ended);
        issue.newest_edge = issue.newest_edge.max(newest_edge);
        issue.numbers.retain(|(known, _)| *known != incarnation);
        issue.numbers.push_back((incarnation, revision));
        if issue.numbers.len() > EPISODES_MAX {
            issue.numbers.pop_front();
        }
    }

    /// How far an episode of that name was numbered; 0 when there was none.
    pub(super) fn revision(&self, key: &IssueKey, incarnation: Incarnation) -> u32 {
        let numbers = self.0.get(key).map(|issue| &issue.numbers);
        let number = numbers.and_then(|numbers| numbers.iter().find(|(known, _)| *known == incarnation));
        number.map_or(0, |&(_, revision)| revision)
    }

    /// The newest edge that was told of an issue.
    pub(super) fn newest_edge(&self, key: &IssueKey) -> Option<Time> {
        self.0.get(key)?.newest_edge
    }

    /// When an issue was over last.
    pub(super) fn ended(&self, key: &IssueKey) -> Option<Time> {
        Some(self.0.get(key)?.ended)
    }
}

#[cfg(test)]
mod tests {
    use rules::{Kind, Owner};

    use super::*;

    fn key(name: usize) -> Arc<IssueKey> {
        Arc::new(IssueKey {
            namespace: "shop".into(),
            owner: Owner { kind: "Deployment".into(), name: name.to_string().into() },
            container: "app".into(),
            kind: Kind::named("OOMKilled").expect("it is in the catalogue"),
        })
    }

    const fn at(millis: i64) -> Time {
        Time::from_millis(millis)
    }

    #[test]
    fn numbers_go_on_for_each_episode_and_the_newest_edge_never_grows_older() {
        let mut past = Past::default();
        let (first, second) = (Incarnation(1), Incarnation(2));
        past.remember(&key(0), (first, 2), Some(at(50)), at(100));
        past.remember(&key(0), (second, 4), Some(at(40)), at(200));
        assert_eq!((past.revision(&key(0), first), past.revision(&key(0), second)), (2, 4));
        assert_eq!(past.revision(&key(1), first), 0, "another issue");
        assert_eq!((past.newest_edge(&key(0)), past.ended(&key(0))), (Some(at(50)), Some(at(200))));
    }

    #[test]
    fn the_issue_that_ended_longest_ago_is_forgotten_first() {
        let mut past = Past::default();
        for name in 0..=ISSUES_MAX {
            let ended = at(i64::try_from(name).expect("small"));
            past.remember(&key(name), (Incarnation(1), 2), None, ended);
        }
        assert_eq!(past.ended(&key(0)), None);
        assert_eq!(past.ended(&key(1)), Some(at(1)));
        for episode in 0..=EPISODES_MAX {
            past.remember(&key(1), (Incarnation(10 + episode as u64), 2), None, at(1));
        }
        assert_eq!(past.revision(&key(1), Incarnation(10)), 0, "the oldest episode");
        assert_eq!(past.revision(&key(1), Incarnation(11)), 2);
    }
}
