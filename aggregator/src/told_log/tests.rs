//! What stands in the objects, and what a successor reads out of it.

use std::collections::BTreeMap;

use rules::{Evidence, Finding, FindingId, Incarnation, Kind, Owner, Seen, Severity, State, Subject};

use super::*;
use crate::dedupe::MemberId;
use crate::dedupe::issue::{Episode, Gone, Phase};
use crate::forward::outbox::{Intent, Status};

const START: Time = Time::from_millis(1_700_000_000_000);
const CLUSTER: &str = "cluster-uid";

fn finding(name: &str) -> Finding {
    let kind = Kind::named("OOMKilled").expect("it is in the catalogue");
    let subject = Subject { namespace: "shop".into(), pod: name.into(), node: "n1".into(), ..Subject::default() };
    Finding {
        id: FindingId::of(kind, &subject),
        kind,
        subject,
        owner: Owner { kind: "Deployment".into(), name: name.into() },
        incarnation: Incarnation(u64::MAX),
        state: State::Active,
        since: START,
        seen: Seen::Happening,
        severity: Severity::Critical,
        evidence: Evidence::default(),
    }
}

/// The log of a leader, and the objects.
struct Leader {
    log: ToldLog,
    journal: Option<String>,
    shards: [Option<String>; SHARDS],
}

impl Leader {
    fn new() -> Self {
        Self { log: ToldLog::new(CLUSTER.to_owned(), START), journal: None, shards: Default::default() }
    }

    /// A record of the issue `name` leaves for `sink`, with that text as its body.
    fn sends(
        &mut self,
        sink: &str,
        name: &str,
        (episode, revision, status): (u64, u32, Status),
        text: &str,
    ) -> &mut Self {
        let key = Arc::new(IssueKey::of(&finding(name)));
        let intent = Intent { episode: Incarnation(episode), revision, status, severity: Severity::Critical };
        let mut issue = Issue::new(Arc::clone(&key));
        issue.episode = Some(Box::new(episode_of(name, &intent)));
        let id = Arc::from(format!("{name}.{episode}.{revision}"));
        let record = Record { issue: key, intent, key: id, body: Arc::from(text) };
        self.log.on_leaving(&Arc::from(sink), &issue, &record);
        self
    }

    fn answered(&mut self, sink: &str, name: &str, fate: Fate) -> &mut Self {
        self.log.on_fate(&Arc::from(sink), &Arc::new(IssueKey::of(&finding(name))), fate);
        self
    }

    fn writes_journal(&mut self) -> &mut Self {
        if let Some(page) = self.log.journal() {
            self.journal = Some(page.text);
            self.log.on_journal_written(page.version);
        }
        self
    }

    fn folds(&mut self) -> &mut Self {
        for (shard, page) in self.log.snapshot() {
            self.shards[shard] = Some(page.text);
            self.log.on_folded(shard, page.version);
        }
        self
    }

    fn kept(&self) -> Kept {
        let shards: Vec<_> = self.shards.iter().map(Option::as_deref).collect();
        let (kept, problems) = Kept::read(CLUSTER, self.journal.as_deref(), &shards);
        assert_eq!(problems, []);
        kept
    }

    /// What a successor knows: "name revision status, sink: what it has heard or may have received".
    fn successor_knows(&self) -> Vec<String> {
        let mut log = ToldLog::new(CLUSTER.to_owned(), START);
        log.recall(self.kept());
        let mut entries: Vec<_> = log.entries().map(told).collect();
        entries.sort_unstable();
        entries
    }
}

fn told(entry: &Entry) -> String {
    let status = |status| match status {
        Status::Firing => "firing",
        Status::Resolved => "resolved",
    };
    let sinks = entry.sinks.iter().map(|(sink, standing)| {
        let body = standing.sent.as_ref().and_then(|key| entry.bodies.get(key));
        let told = standing.heard.told.map(|told| format!(" heard {}", told.revision)).unwrap_or_default();
        let sent = body.map(|body| format!(" sent {:?}", body.text)).unwrap_or_default();
        let refused = standing.heard.refused.map(|it| format!(" refuses {}", it.revision)).unwrap_or_default();
        format!(", {sink}{told}{sent}{refused}")
    });
    let sinks: String = sinks.collect();
    format!("{} {} {}{sinks}", entry.issue.owner.name, entry.intent.revision, status(entry.intent.status))
}

fn episode_of(name: &str, intent: &Intent) -> Episode {
    let finding = finding(name);
    Episode {
        opener: MemberId { observer: "n1".into(), finding: finding.id },
        incarnation: intent.episode,
        phase: Phase::Telling,
        awaiting: BTreeMap::new(),
        sinks: std::collections::BTreeSet::new(),
        refused_by: std::collections::BTreeSet::new(),
        revision: intent.revision,
        since: START,
        ended: (intent.status == Status::Resolved).then(|| START + Duration::from_mins(1)),
        severity: intent.severity,
        gone: Gone::default(),
        example: Example { observer: "n1".into(), finding },
    }
}

const FIRING: (u64, u32, Status) = (1, 1, Status::Firing);
const RESOLVED: (u64, u32, Status) = (1, 2, Status::Resolved);

#[test]
fn what_is_about_to_leave_stands_in_the_journal_with_its_body() {
    let mut leader = Leader::new();
    leader.sends("a", "api", FIRING, "{}").writes_journal();
    assert_eq!(leader.successor_knows(), ["api 1 firing, a sent \"{}\""]);
    assert_eq!(leader.log.journal(), None, "it is written");
}

#[test]
fn a_key_has_one_body_for_every_sink() {
    let mut leader = Leader::new();
    leader.sends("a", "api", FIRING, "first");
    let issue = IssueKey::of(&finding("api"));
    assert_eq!(leader.log.body(&issue, "api.1.1").as_deref(), Some("first"));
    assert_eq!(leader.log.body(&issue, "api.1.2"), None);
}

#[test]
fn what_every_sink_has_confirmed_moves_into_the_snapshot_without_its_body() {
    let mut leader = Leader::new();
    leader.sends("a", "api", FIRING, "{}").sends("b", "api", FIRING, "{}");
    leader.answered("a", "api", Fate::Delivered).writes_journal().folds().writes_journal();
    assert_eq!(leader.kept().folded, [], "b has not confirmed");
    leader.answered("b", "api", Fate::Quarantined).writes_journal().folds().writes_journal();
    assert_eq!(leader.kept().journal, []);
    assert_eq!(leader.successor_knows(), ["api 1 firing, a heard 1, b refuses 1"]);
}

#[test]
fn between_any_two_writes_a_successor_knows_the_same() {
    let mut leader = Leader::new();
    leader.sends("a", "api", FIRING, "{}").answered("a", "api", Fate::Delivered).writes_journal();
    let known = ["api 1 firing, a heard 1"];
    assert_eq!(leader.successor_knows(), known);
    leader.folds();
    assert_eq!(leader.successor_knows(), known, "the snapshot has it, and the journal still does");
    leader.writes_journal();
    assert_eq!(leader.successor_knows(), known);

    leader.sends("a", "api", RESOLVED, "over").writes_journal();
    assert_eq!(leader.successor_knows(), ["api 2 resolved, a heard 1 sent \"over\""], "the journal is newer");
}

#[test]
fn of_what_is_over_for_everybody_only_its_number_is_kept() {
    let mut leader = Leader::new();
    leader.sends("a", "api", FIRING, "{}").answered("a", "api", Fate::Delivered);
    leader.sends("a", "api", RESOLVED, "{}").answered("a", "api", Fate::Delivered).folds().writes_journal();
    assert_eq!(leader.successor_knows(), ["api 2 resolved"]);
    let kept = leader.kept().folded;
    assert_eq!((kept[0].example.as_ref(), kept[0].ended), (None, Some(START + Duration::from_mins(1))));
}

#[test]
fn another_episode_keeps_only_what_is_still_on_its_way_of_the_one_before() {
    let mut leader = Leader::new();
    leader.sends("a", "api", FIRING, "one").sends("b", "api", FIRING, "one").answered("a", "api", Fate::Delivered);
    leader.sends("c", "api", FIRING, "one").answered("c", "api", Fate::Quarantined);
    leader.sends("a", "api", RESOLVED, "over").answered("a", "api", Fate::Delivered);
    leader.sends("d", "api", RESOLVED, "over").answered("d", "api", Fate::Delivered);
    leader.sends("a", "api", (2, 1, Status::Firing), "two").writes_journal();
    assert_eq!(leader.successor_knows(), ["api 1 firing, a sent \"two\", b sent \"one\""]);
}

#[test]
fn a_successor_knows_what_was_refused_and_what_was_taken_after_that() {
    let mut leader = Leader::new();
    leader.sends("a", "api", FIRING, "{}").answered("a", "api", Fate::Quarantined);
    leader.sends("b", "api", FIRING, "{}").answered("b", "api", Fate::Delivered);
    let again = (1, 2, Status::Firing);
    leader.sends("b", "api", again, "{}").answered("b", "api", Fate::Quarantined).writes_journal();
    assert_eq!(leader.successor_knows(), ["api 2 firing, a refuses 1, b heard 1 refuses 2"]);
    leader.sends("a", "api", again, "{}").answered("a", "api", Fate::Delivered);
    let over = (1, 3, Status::Resolved);
    leader.sends("b", "api", over, "{}").answered("b", "api", Fate::Quarantined).writes_journal();
    assert_eq!(leader.successor_knows(), ["api 3 resolved, a heard 2, b refuses 3"]);
    assert!(!leader.kept().journal[0].is_closed(), "a is to hear of the end");
    leader.sends("a", "api", over, "{}").answered("a", "api", Fate::Delivered).writes_journal();
    assert_eq!(leader.successor_knows(), ["api 3 resolved"]);
}

#[test]
fn what_the_release_before_wrote_of_a_refusal_is_read_and_it_reads_what_is_written_now() {
    let mut leader = Leader::new();
    leader.sends("a", "api", FIRING, "{}").answered("a", "api", Fate::Quarantined).writes_journal();
    let journal = leader.journal.clone().expect("it is written");
    let (begin, rest) = journal.split_once(",\"refusal\":{").expect("what was refused");
    let (_, end) = rest.split_once('}').expect("it ends");
    let before = format!("{begin}{end}");
    assert!(before.contains("\"a\":{\"told\":null,\"refused\":true,\"sent\":null}"), "{before}");
    leader.journal = Some(before);
    assert_eq!(leader.successor_knows(), ["api 1 firing, a refuses 1"]);
}

#[test]
fn a_sink_that_is_no_more_keeps_nothing() {
    let mut leader = Leader::new();
    leader.sends("gone", "api", FIRING, "{}").sends("stays", "api", FIRING, "{}");
    leader.answered("stays", "api", Fate::Delivered);
    leader.log.retain_sinks(|sink| sink == "stays");
    leader.writes_journal().folds().writes_journal();
    assert_eq!(leader.successor_knows(), ["api 1 firing, stays heard 1"]);
    assert_eq!(leader.kept().journal, [], "its body is not kept either");
}

#[test]
fn objects_that_somebody_has_emptied_are_written_again() {
    let mut leader = Leader::new();
    leader
        .sends("a", "api", FIRING, "{}")
        .answered("a", "api", Fate::Delivered)
        .writes_journal()
        .folds()
        .writes_journal();
    (leader.journal, leader.shards) = (None, Default::default());
    leader.log.on_lost();
    leader.writes_journal();
    assert_eq!(leader.successor_knows(), ["api 1 firing, a heard 1"]);
    leader.folds();
    assert_eq!(leader.kept().folded.len(), 1);
}

#[test]
fn orphans_and_the_low_water_mark_are_kept() {
    let mut leader = Leader::new();
    let orphan = Example { observer: "n1".into(), finding: finding("api") };
    leader.log.on_orphans(vec![orphan.clone()]);
    leader.log.on_nothing_unsettled(START + LOW_WATER_STEP);
    leader.writes_journal().folds();
    let kept = leader.kept();
    assert_eq!((kept.orphans, kept.low_water), (vec![orphan], Some(START + LOW_WATER_STEP)));
    leader.log.on_orphans(Vec::new());
    leader.folds();
    assert_eq!(leader.kept().orphans, []);
    leader.writes_journal();
    leader.log.on_nothing_unsettled(START + LOW_WATER_STEP + Duration::from_secs(1));
    assert_eq!(leader.log.journal(), None, "not worth a write");
}

#[test]
fn a_line_that_cannot_be_read_loses_no_other() {
    let mut leader = Leader::new();
    leader.sends("a", "api", FIRING, "{}").sends("a", "web", FIRING, "{}").writes_journal();
    let journal = leader.journal.take().expect("it is written").replacen("OOMKilled", "FromTheFuture", 1);
    let (kept, problems) = Kept::read(CLUSTER, Some(&journal), &[]);
    assert_eq!((kept.journal.len(), kept.unreadable, problems), (1, 1, Vec::new()));
}

#[test]
fn what_is_of_another_cluster_or_form_is_not_believed() {
    #[track_caller]
    fn check(header: &str, expected: &str) {
        let (kept, problems) = Kept::read(CLUSTER, Some(header), &[]);
        assert_eq!(kept, Kept::default());
        let said: Vec<_> = problems.iter().map(ToString::to_string).collect();
        assert!(said.len() == 1 && said[0].starts_with(expected), "{said:?}");
    }
    check("{\"form\":1,\"cluster\":\"another\"}\n", "it is of another cluster, another");
    check("{\"form\":2,\"cluster\":\"cluster-uid\"}\n", "it has form 2, and this version reads form 1 only");
    check("hello", "the first line does not say what it is: ");
    check("", "the first line does not say what it is: ");
}

#[test]
fn no_object_grows_too_large_and_what_has_left_comes_first() {
    let mut leader = Leader::new();
    let text = "x".repeat(8 * 1024);
    for issue in 0..40 {
        leader.sends("a", &format!("told-{issue}"), FIRING, &text).answered(
            "a",
            &format!("told-{issue}"),
            Fate::Delivered,
        );
    }
    for issue in 0..40 {
        leader.sends("a", &format!("sent-{issue}"), FIRING, &text);
    }
    let page = leader.log.journal().expect("there is news");
    assert!(page.text.len() <= JOURNAL_MAX, "{}", page.text.len());
    assert!(page.left_out >= 40 && page.text.contains("sent-0\"") && page.text.contains(&text), "{}", page.left_out);
}

#[test]
fn the_snapshot_has_room_for_two_thousand_open_issues_with_two_sinks_and_a_pull_error_each() {
    let mut leader = Leader::new();
    for number in 0..2_000 {
        let name = format!("payments-backend-canary-{number}");
        let mut issue = Issue::new(Arc::new(IssueKey::of(&finding(&name))));
        let intent = Intent {
            episode: Incarnation(u64::MAX),
            revision: 1,
            status: Status::Firing,
            severity: Severity::Critical,
        };
        let mut episode = episode_of(&name, &intent);
        episode.example.finding.evidence = Evidence {
            reason: Some("ImagePullBackOff".into()),
            message: Some("x".repeat(300).into()),
            image: Some("registry.example.com/payments/backend:2026.11.21-canary".into()),
            restarts: Some(0),
            ..Evidence::default()
        };
        issue.episode = Some(Box::new(episode));
        let key = Arc::clone(&issue.key);
        for sink in ["pagers", "tickets"].map(Arc::from) {
            let record = Record { issue: Arc::clone(&key), intent, key: name.as_str().into(), body: "{}".into() };
            leader.log.on_leaving(&sink, &issue, &record);
            leader.log.on_fate(&sink, &key, Fate::Delivered);
        }
    }
    let pages = leader.log.snapshot();
    let lengths: Vec<_> = pages.iter().map(|(_, page)| page.text.len()).collect();
    assert_eq!(pages.iter().map(|(_, page)| page.left_out).sum::<usize>(), 0, "{lengths:?}");
}

#[test]
fn a_long_life_forgets_what_ended_longest_ago() {
    let mut leader = Leader::new();
    for issue in 0..=ENTRIES_MAX {
        let name = format!("i{issue}");
        leader.sends("a", &name, RESOLVED, "{}").answered("a", &name, Fate::Delivered);
    }
    assert_eq!(leader.log.entries().count(), ENTRIES_MAX + 1 - ENTRIES_ROOM);
}

#[test]
fn what_leaves_late_for_one_sink_is_not_the_last_that_was_said() {
    let mut leader = Leader::new();
    leader.sends("a", "api", FIRING, "{}").answered("a", "api", Fate::Delivered);
    leader.sends("a", "api", RESOLVED, "{}").answered("a", "api", Fate::Delivered);
    leader.sends("a", "api", (1, 3, Status::Firing), "{}").answered("a", "api", Fate::Delivered);
    leader.sends("b", "api", RESOLVED, "{}").answered("b", "api", Fate::Delivered).writes_journal();
    assert_eq!(leader.successor_knows(), ["api 3 firing, a heard 3, b heard 2"]);
}

#[test]
fn a_sink_that_heard_of_an_episode_before_only_that_it_began_is_still_waited_for() {
    let mut leader = Leader::new();
    leader.sends("a", "api", FIRING, "{}").sends("b", "api", FIRING, "{}");
    leader.answered("a", "api", Fate::Delivered).answered("b", "api", Fate::Delivered);
    leader.sends("a", "api", RESOLVED, "{}").answered("a", "api", Fate::Delivered);
    leader.sends("a", "api", (2, 1, Status::Firing), "{}").answered("a", "api", Fate::Delivered);
    leader.sends("a", "api", (2, 2, Status::Resolved), "{}").answered("a", "api", Fate::Delivered).writes_journal();
    assert_eq!(leader.successor_knows(), ["api 2 resolved, a heard 2, b heard 1"]);
    assert!(!leader.kept().journal[0].is_closed());
}

#[test]
fn what_was_on_its_way_when_the_journal_was_lost_leaves_anew_with_a_body_and_is_confirmed() {
    let mut leader = Leader::new();
    leader.sends("a", "api", FIRING, "{}");
    for issue in 0..40 {
        let name = format!("told-{issue}");
        leader.sends("a", &name, FIRING, "{}").answered("a", &name, Fate::Delivered);
    }
    leader.folds();
    let mut successor = Leader::new();
    successor.log.recall(leader.kept());
    successor.shards = leader.shards;
    successor.sends("a", "api", FIRING, "anew").writes_journal();
    assert!(successor.successor_knows().contains(&"api 1 firing, a sent \"anew\"".to_owned()));
    successor.answered("a", "api", Fate::Delivered).writes_journal();
    assert!(successor.successor_knows().contains(&"api 1 firing, a heard 1".to_owned()));
}

#[test]
fn a_low_water_mark_that_is_ahead_of_the_clock_makes_nothing_old_that_is_to_come() {
    let mut leader = Leader::new();
    leader.log.on_nothing_unsettled(START + LOW_WATER_STEP);
    leader.writes_journal();
    let mut successor = ToldLog::new(CLUSTER.to_owned(), START);
    successor.recall(leader.kept());
    assert_eq!(successor.low_water(), START);
}

#[test]
fn numbers_of_the_last_episodes_are_kept_for_each_once() {
    let mut leader = Leader::new();
    for episode in (1..=10).chain([5]) {
        leader.sends("a", "api", (episode, 2, Status::Resolved), "{}").answered("a", "api", Fate::Delivered);
    }
    leader.writes_journal();
    let kept = leader.kept().journal;
    assert_eq!(kept[0].earlier, [3, 4, 6, 7, 8, 9, 10].map(|episode| (Incarnation(episode), 2)));
}
