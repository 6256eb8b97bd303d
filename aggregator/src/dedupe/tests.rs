//! What becomes of findings, told as short stories. A sink that takes everything at once stands behind it, unless the
//! story says otherwise.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rules::{Evidence, Finding, FindingId, Incarnation, Kind, Owner, Seen, State, Subject, Time};

use super::decision::Decision;
use super::*;
use crate::forward::outbox::Status;
use crate::settings::SinkSettings;

const START: Time = Time::from_millis(1_000_000_000);
const DEPLOYMENT: &str = "api";

/// A dedupe stage with a clock, and what came out of it.
struct Story {
    dedupe: Dedupe,
    now: Time,
    /// Whether the sink answers, and how.
    sink: Option<Fate>,
    verdict: Option<Checked>,
    told: Vec<String>,
    settled: Vec<(FindingId, u32)>,
    asked_full: Vec<Observer>,
    waiting: Vec<(Arc<str>, Arc<IssueKey>, u32)>,
    checks: Vec<Check>,
}

impl Story {
    fn begin() -> Self {
        Self::with_sinks(&[("sink", SinkSettings::default())])
    }

    fn with_sinks(sinks: &[(&str, SinkSettings)]) -> Self {
        let sinks: BTreeMap<_, _> = sinks.iter().map(|(name, sink)| (Arc::from(*name), sink.clone())).collect();
        let mut dedupe = Dedupe::new(Arc::new(Settings { sinks, ..Settings::default() }), START);
        dedupe.on_resynced(START);
        Self {
            dedupe,
            now: START,
            sink: Some(Fate::Delivered),
            verdict: Some(Checked::NoDoubt),
            told: Vec::new(),
            settled: Vec::new(),
            asked_full: Vec::new(),
            waiting: Vec::new(),
            checks: Vec::new(),
        }
    }

    fn see(&mut self, finding: Finding) -> &mut Self {
        let observer = match &*finding.subject.pod {
            "" => Arc::from(""),
            _ => Arc::clone(&finding.subject.node),
        };
        self.dedupe.on_finding(&observer, 1, finding, self.now);
        self.run()
    }

    fn after(&mut self, span: Duration) -> &mut Self {
        self.now = self.now + span;
        self.dedupe.on_tick(self.now);
        self.run()
    }

    fn full_report(&mut self, node: &str, absent: &[&Finding]) -> &mut Self {
        let absent: Vec<_> = absent.iter().map(|finding| finding.id).collect();
        self.dedupe.on_full_report(&Arc::from(node), &absent, self.now);
        self.run()
    }

    /// Carries out what dedupe wants, until it wants nothing more; then the books must balance.
    fn run(&mut self) -> &mut Self {
        loop {
            let effects = self.dedupe.take_effects();
            if effects.is_empty() {
                assert!(self.dedupe.balances(), "the books do not balance: {:?}", self.dedupe.accounts());
                return self;
            }
            for effect in effects {
                match effect {
                    Effect::Settle(member, revision) => self.settled.push((member.finding, revision)),
                    Effect::NeedFull(observer) => self.asked_full.push(observer),
                    Effect::Changed(..) => {}
                    Effect::Verify(check) => match self.verdict {
                        Some(verdict) => self.dedupe.on_checked(&check, verdict, self.now),
                        None => self.checks.push(check),
                    },
                    Effect::Tell(sink, issue, intent) => {
                        self.told.push(format!(
                            "{} {} {}",
                            issue.owner.name,
                            issue.kind,
                            match intent.status {
                                Status::Firing => "firing",
                                Status::Resolved => "resolved",
                            }
                        ));
                        match &self.sink {
                            Some(fate) => {
                                self.dedupe.on_fate(&sink, &issue, intent.revision, *fate, self.now);
                            }
                            None => self.waiting.push((sink, issue, intent.revision)),
                        }
                    }
                }
            }
        }
    }

    fn sink_answers(&mut self, fate: Fate) -> &mut Self {
        for (sink, issue, revision) in std::mem::take(&mut self.waiting) {
            self.dedupe.on_fate(&sink, &issue, revision, fate, self.now);
        }
        self.sink = Some(fate);
        self.run()
    }

    #[track_caller]
    fn told(&mut self, expected: &[&str]) -> &mut Self {
        assert_eq!(self.told, expected);
        self
    }

    /// Every non-zero account but `observed`, which is their sum.
    #[track_caller]
    fn accounts(&mut self, expected: &[(Decision, u64)]) -> &mut Self {
        let accounts = self.dedupe.accounts();
        let found: Vec<_> = Decision::ALL.into_iter().map(|at| (at, accounts.at(at))).filter(|(_, n)| *n > 0).collect();
        let mut expected = expected.to_vec();
        expected.sort_by_key(|(decision, _)| Decision::ALL.iter().position(|other| other == decision));
        assert_eq!(found, expected);
        self
    }
}

fn kind(name: &str) -> Kind {
    Kind::named(name).expect("a kind of the catalogue")
}

/// An active finding of `kind_name` about the pod of a Deployment on a node.
fn pod(kind_name: &str, node: &str, pod: &str) -> Finding {
    let container = match kind_name {
        "NotReady" | "PodFailed" | "Evicted" | "Unschedulable" => "",
        _ => "app",
    };
    let subject = Subject {
        namespace: "shop".into(),
        pod: pod.into(),
        uid: format!("uid-{pod}").into(),
        container: container.into(),
        node: node.into(),
    };
    let owner = Owner { kind: "Deployment".into(), name: DEPLOYMENT.into() };
    finding(kind_name, subject, owner)
}

fn node(kind_name: &str, node: &str) -> Finding {
    let subject = Subject { node: node.into(), ..Subject::default() };
    finding(kind_name, subject, Owner { kind: "Node".into(), name: node.into() })
}

fn finding(kind_name: &str, subject: Subject, owner: Owner) -> Finding {
    let kind = kind(kind_name);
    Finding {
        id: FindingId::of(kind, &subject),
        kind,
        subject,
        owner,
        incarnation: Incarnation(1),
        state: State::Active,
        since: START,
        seen: Seen::Happening,
        severity: kind.row().severity,
        evidence: Evidence::default(),
    }
}

fn pending(finding: Finding) -> Finding {
    Finding { state: State::Pending, ..finding }
}

fn cleared(finding: Finding) -> Finding {
    Finding { state: State::Cleared, ..finding }
}

fn again(finding: Finding, incarnation: u64, since: Time) -> Finding {
    Finding { incarnation: Incarnation(incarnation), since, ..finding }
}

fn found(finding: Finding, since: Time) -> Finding {
    Finding { seen: Seen::Found, since, ..finding }
}

const SECOND: Duration = Duration::from_secs(1);
const TOLD: Decision = Decision::Told;
const MERGED: Decision = Decision::Merged;

const fn suppressed(reason: decision::Suppression) -> Decision {
    Decision::Suppressed(reason)
}

#[test]
fn pods_of_one_owner_are_told_once_and_resolved_once() {
    let (one, two) = (pod("CrashLoopBackOff", "n1", "api-1"), pod("CrashLoopBackOff", "n2", "api-2"));
    let mut story = Story::begin();
    story.see(one.clone()).see(two.clone());
    story.told(&["api CrashLoopBackOff firing"]).accounts(&[(TOLD, 1), (MERGED, 1)]);
    story.see(cleared(one)).told(&["api CrashLoopBackOff firing"]);
    story.see(cleared(two)).told(&["api CrashLoopBackOff firing", "api CrashLoopBackOff resolved"]);
    assert_eq!(story.dedupe.issues().count(), 0, "nothing is left of it");
}

#[test]
fn the_same_finding_again_is_counted_once() {
    let one = pod("CrashLoopBackOff", "n1", "api-1");
    let mut story = Story::begin();
    story.see(one.clone()).see(one.clone()).see(one);
    story.told(&["api CrashLoopBackOff firing"]).accounts(&[(TOLD, 1)]);
}

#[test]
fn what_is_only_pending_is_neither_told_nor_counted() {
    let one = pod("CrashLoopBackOff", "n1", "api-1");
    let mut story = Story::begin();
    story.see(pending(one.clone())).told(&[]).accounts(&[]);
    story.see(cleared(one)).told(&[]).accounts(&[]);
    assert_eq!(story.dedupe.issues().count(), 0);
    assert_eq!(story.settled.len(), 1, "its agent may forget it");
}

#[test]
fn what_came_and_went_unheard_is_told_once() {
    let mut story = Story::begin();
    story.see(cleared(pod("CrashLoopBackOff", "n1", "api-1")));
    // The outbox makes one record of the two.
    story.told(&["api CrashLoopBackOff firing", "api CrashLoopBackOff resolved"]).accounts(&[(TOLD, 1)]);
}

#[test]
fn an_edge_that_recurs_while_it_is_open_is_merged() {
    let oom = pod("OOMKilled", "n1", "api-1");
    let mut story = Story::begin();
    story.see(oom.clone()).see(again(oom.clone(), 2, START + SECOND)).see(again(oom, 3, START + 2 * SECOND));
    story.told(&["api OOMKilled firing"]).accounts(&[(TOLD, 1), (MERGED, 2)]);
}

#[test]
fn an_edge_found_that_is_older_than_the_installation_is_old() {
    let oom = found(pod("OOMKilled", "n1", "api-1"), START - 3 * 7 * 24 * Duration::from_hours(1));
    let mut story = Story::begin();
    story.see(oom.clone()).told(&[]).accounts(&[(suppressed(decision::Suppression::Old), 1)]);
    assert_eq!(story.settled, [(oom.id, 1)]);
    story.see(cleared(oom)).told(&[]);
    assert_eq!(story.dedupe.issues().count(), 0);
}

#[test]
fn an_edge_found_after_its_agent_was_away_is_told_if_it_happened_meanwhile() {
    let mut story = Story::begin();
    story.after(600 * SECOND);
    let heard_until = story.now;
    story.after(60 * SECOND);
    story.dedupe.on_session(&Arc::from("n1"), heard_until);
    let before = found(pod("OOMKilled", "n1", "api-1"), heard_until - SECOND);
    let meanwhile = found(pod("OOMKilled", "n1", "api-2"), heard_until + SECOND);
    story.see(before).told(&[]).see(meanwhile).told(&["api OOMKilled firing"]);
}

#[test]
fn an_edge_found_again_after_it_was_told_is_old() {
    let oom = again(pod("OOMKilled", "n1", "api-1"), 7, START + SECOND);
    let mut story = Story::begin();
    story.see(oom.clone()).see(cleared(oom.clone()));
    story.told(&["api OOMKilled firing", "api OOMKilled resolved"]);
    story.see(found(oom, START + SECOND)).told(&["api OOMKilled firing", "api OOMKilled resolved"]);
}

#[test]
fn a_dead_node_swallows_what_its_pods_suffer() {
    let mut story = Story::begin();
    story.see(node("NodeNotReady", "n1"));
    for number in 0..100 {
        story.see(pod("NotReady", "n1", &format!("api-{number}")));
    }
    story.told(&["n1 NodeNotReady firing"]);
    story.accounts(&[(TOLD, 1), (Decision::Pending(decision::Waiting::Inhibited), 100)]);
    assert_eq!(story.dedupe.swallowed_on("n1").count(), 100);
}

#[test]
fn a_symptom_waits_while_its_cause_may_still_come() {
    let (cause, symptom) = (node("NodeNotReady", "n1"), pod("NotReady", "n1", "api-1"));
    let mut story = Story::begin();
    story.see(pending(cause.clone())).see(symptom.clone()).told(&[]);
    story.accounts(&[(Decision::Pending(decision::Waiting::Held), 1)]);

    story.see(cause).told(&["n1 NodeNotReady firing"]);
    story.see(cleared(symptom)).told(&["n1 NodeNotReady firing"]);
    story.accounts(&[(TOLD, 1), (suppressed(decision::Suppression::Inhibited), 1)]);
}

#[test]
fn a_symptom_is_told_at_once_when_its_cause_does_not_come() {
    let (cause, symptom) = (node("NodeNotReady", "n1"), pod("NotReady", "n1", "api-1"));
    let mut story = Story::begin();
    story.see(pending(cause.clone())).see(symptom).told(&[]);
    story.see(cleared(cause)).told(&["api NotReady firing"]);
}

#[test]
fn a_symptom_that_ends_while_it_waits_is_told_to_nobody() {
    let (cause, symptom) = (node("NodeNotReady", "n1"), pod("NotReady", "n1", "api-1"));
    let mut story = Story::begin();
    story.see(pending(cause)).see(symptom.clone()).see(cleared(symptom));
    story.told(&[]).accounts(&[(suppressed(decision::Suppression::ClearedUntold), 1)]);
}

#[test]
fn after_a_cause_has_ended_a_symptom_must_be_seen_again_and_last() {
    let (cause, symptom) = (node("NodeNotReady", "n1"), pod("NotReady", "n1", "api-1"));
    let mut story = Story::begin();
    story.see(cause.clone()).see(symptom).after(60 * SECOND);
    story.see(cleared(cause)).told(&["n1 NodeNotReady firing", "n1 NodeNotReady resolved"]);
    assert_eq!(story.asked_full, [Arc::from("n1")]);

    let sustain = kind("NotReady").row().sustain;
    story.after(sustain + SECOND);
    assert_eq!(story.told.len(), 2, "its agent has not said yet that it is still there");
    story.full_report("n1", &[]);
    assert_eq!(story.told.last().map(String::as_str), Some("api NotReady firing"));
}

#[test]
fn after_a_cause_has_ended_a_symptom_gets_its_whole_sustain_again() {
    let (cause, symptom) = (node("NodeNotReady", "n1"), pod("NotReady", "n1", "api-1"));
    let mut story = Story::begin();
    story.see(cause.clone()).see(symptom.clone()).see(cleared(cause)).after(SECOND);
    story.full_report("n1", &[]).told(&["n1 NodeNotReady firing", "n1 NodeNotReady resolved"]);
    story.see(cleared(symptom)).told(&["n1 NodeNotReady firing", "n1 NodeNotReady resolved"]);
    story.accounts(&[(TOLD, 1), (suppressed(decision::Suppression::Inhibited), 1)]);
}

#[test]
fn an_oom_kill_explains_the_crash_loop_of_its_container_and_no_other() {
    let mut other = pod("CrashLoopBackOff", "n1", "api-1");
    other.subject.container = "proxy".into();
    other.id = FindingId::of(other.kind, &other.subject);
    let mut story = Story::begin();
    story.see(pod("OOMKilled", "n1", "api-1")).see(pod("CrashLoopBackOff", "n1", "api-1")).see(other);
    story.told(&["api OOMKilled firing", "api CrashLoopBackOff firing"]);
    story.accounts(&[(TOLD, 2), (Decision::Pending(decision::Waiting::Inhibited), 1)]);
}

#[test]
fn an_old_cause_explains_nothing() {
    let mut story = Story::begin();
    story.see(found(pod("OOMKilled", "n1", "api-1"), START - SECOND)).see(pod("CrashLoopBackOff", "n1", "api-1"));
    story.told(&["api CrashLoopBackOff firing"]);
}

#[test]
fn nothing_is_settled_before_the_sink_has_it() {
    let one = pod("CrashLoopBackOff", "n1", "api-1");
    let mut story = Story::begin();
    story.sink = None;
    story.see(one.clone());
    assert_eq!(story.settled, []);
    story.accounts(&[(Decision::Pending(decision::Waiting::Queued), 1)]);
    story.sink_answers(Fate::Delivered);
    assert_eq!(story.settled, [(one.id, 1)]);

    story.sink = None;
    story.settled.clear();
    story.see(cleared(one.clone()));
    assert_eq!(story.settled, [], "that it is over is settled when the sink knows");
    story.sink_answers(Fate::Delivered);
    assert_eq!(story.settled, [(one.id, 1)]);
}

#[test]
fn an_issue_that_is_back_before_anybody_heard_of_its_end_is_the_same() {
    let one = pod("CrashLoopBackOff", "n1", "api-1");
    let mut story = Story::begin();
    story.see(one.clone());
    story.sink = None;
    story.see(cleared(one.clone())).see(again(one, 2, START + SECOND));
    story.told(&["api CrashLoopBackOff firing", "api CrashLoopBackOff resolved", "api CrashLoopBackOff firing"]);
    story.sink_answers(Fate::Delivered).accounts(&[(TOLD, 1), (MERGED, 1)]);
    let issue = story.dedupe.issues().next().expect("it is open");
    assert_eq!(issue.episode.as_ref().map(|episode| episode.incarnation), Some(Incarnation(1)));
}

#[test]
fn an_issue_that_the_sink_refuses_is_settled_and_its_end_is_not_sent() {
    let one = pod("CrashLoopBackOff", "n1", "api-1");
    let mut story = Story::begin();
    story.sink = Some(Fate::Quarantined);
    story.see(one.clone()).accounts(&[(suppressed(decision::Suppression::Quarantined), 1)]);
    story.see(cleared(one)).told(&["api CrashLoopBackOff firing"]);
    assert_eq!(story.dedupe.issues().count(), 0);
}

#[test]
fn an_issue_below_every_sinks_severity_is_unrouted() {
    let info = Finding { severity: rules::Severity::Info, ..pod("CrashLoopBackOff", "n1", "api-1") };
    let mut story = Story::begin();
    story.see(info.clone()).told(&[]).accounts(&[(suppressed(decision::Suppression::Unrouted), 1)]);
    story.see(cleared(info));
    assert_eq!(story.dedupe.issues().count(), 0);
}

#[test]
fn a_sink_that_is_not_required_keeps_nothing_unsettled() {
    let optional = SinkSettings { required: false, ..SinkSettings::default() };
    let one = pod("CrashLoopBackOff", "n1", "api-1");
    let mut story = Story::with_sinks(&[("chat", optional)]);
    story.sink = None;
    story.see(one.clone()).accounts(&[(TOLD, 1)]);
    assert_eq!(story.settled, [(one.id, 1)]);
    story.see(cleared(one.clone()));
    assert_eq!(story.settled, [(one.id, 1), (one.id, 1)]);
    assert_eq!(story.dedupe.issues().count(), 1, "kept until the sink has heard of it");
    story.sink_answers(Fate::Delivered);
    assert_eq!(story.dedupe.issues().count(), 0);
}

#[test]
fn an_issue_that_is_back_before_a_sink_that_is_not_required_heard_of_its_end_is_a_new_one() {
    let optional = SinkSettings { required: false, ..SinkSettings::default() };
    let one = pod("CrashLoopBackOff", "n1", "api-1");
    let mut story = Story::with_sinks(&[("chat", optional)]);
    story.sink = None;
    story.see(one.clone()).see(cleared(one.clone())).see(again(one.clone(), 2, START + SECOND));
    story.accounts(&[(TOLD, 2)]).see(cleared(again(one, 2, START + SECOND)));
    story.sink_answers(Fate::Delivered);
    assert_eq!(story.dedupe.issues().count(), 0);
}

#[test]
fn a_report_about_a_pod_that_is_another_one_is_not_believed() {
    let (forged, real) = (pod("CrashLoopBackOff", "n1", "api-1"), pod("CrashLoopBackOff", "n2", "api-2"));
    let mut story = Story::begin();
    story.verdict = None;
    story.see(forged.clone()).told(&[]);
    let check = story.checks.pop().expect("its pod is to be read");
    assert_eq!((&*check.pod, &*check.uid, &*check.node), ("api-1", "uid-api-1", "n1"));
    story.dedupe.on_checked(&check, Checked::Mismatch, story.now);
    story.run().told(&[]).accounts(&[(suppressed(decision::Suppression::Unverified), 1)]);
    assert_eq!(story.settled, [(forged.id, 1)]);

    story.verdict = Some(Checked::NoDoubt);
    story.see(real).told(&["api CrashLoopBackOff firing"]);
}

#[test]
fn the_next_one_speaks_when_the_first_is_not_believed() {
    let (forged, real) = (pod("CrashLoopBackOff", "n1", "api-1"), pod("CrashLoopBackOff", "n2", "api-2"));
    let mut story = Story::begin();
    story.verdict = None;
    story.see(forged).see(Finding { since: START + SECOND, ..real });
    let check = story.checks.pop().expect("the oldest is read first");
    assert_eq!(&*check.pod, "api-1");
    story.verdict = Some(Checked::NoDoubt);
    story.dedupe.on_checked(&check, Checked::Mismatch, story.now);
    story.run().told(&["api CrashLoopBackOff firing"]);
}

#[test]
fn what_a_full_report_does_not_name_ends_after_its_hold_and_not_sooner() {
    let one = pod("CrashLoopBackOff", "n1", "api-1");
    let hold = kind("CrashLoopBackOff").row().hold;
    let mut story = Story::begin();
    story.see(one.clone()).full_report("n1", &[&one]).after(hold - SECOND);
    story.told(&["api CrashLoopBackOff firing"]);
    story.after(2 * SECOND).told(&["api CrashLoopBackOff firing", "api CrashLoopBackOff resolved"]);
}

#[test]
fn what_is_named_again_in_time_goes_on() {
    let one = pod("CrashLoopBackOff", "n1", "api-1");
    let hold = kind("CrashLoopBackOff").row().hold;
    let mut story = Story::begin();
    story.see(one.clone()).full_report("n1", &[&one]).after(hold - SECOND);
    story.see(one).after(2 * hold).told(&["api CrashLoopBackOff firing"]);
}

#[test]
fn a_node_that_goes_quiet_resolves_nothing() {
    let mut story = Story::begin();
    story.see(pod("CrashLoopBackOff", "n1", "api-1")).after(30 * 24 * Duration::from_hours(1));
    story.told(&["api CrashLoopBackOff firing"]);
}

#[test]
fn what_was_on_a_node_that_is_no_more_ends_after_its_hold() {
    let one = pod("CrashLoopBackOff", "n1", "api-1");
    let hold = kind("CrashLoopBackOff").row().hold;
    let mut story = Story::begin();
    story.see(one);
    story.dedupe.on_node_gone(&Arc::from("n1"), story.now);
    story.after(hold).told(&["api CrashLoopBackOff firing", "api CrashLoopBackOff resolved"]);
}

#[test]
fn nothing_resolves_before_everybody_has_reported() {
    let one = pod("CrashLoopBackOff", "n1", "api-1");
    let mut story = Story::begin();
    story.dedupe.resyncing = true;
    story.see(one.clone()).see(cleared(one)).told(&["api CrashLoopBackOff firing"]);
    story.dedupe.on_resynced(story.now);
    story.run().told(&["api CrashLoopBackOff firing", "api CrashLoopBackOff resolved"]);
}

#[test]
fn what_there_is_no_room_for_is_shed_and_settled() {
    let mut story = Story::begin();
    story.dedupe.settings = Arc::new(Settings { findings_max: 1, ..(*story.dedupe.settings).clone() });
    let (first, second) = (pod("CrashLoopBackOff", "n1", "api-1"), pod("OOMKilled", "n1", "api-2"));
    story.see(first).see(second.clone());
    story.told(&["api CrashLoopBackOff firing"]).accounts(&[(TOLD, 1), (Decision::Shed, 1)]);
    assert!(story.settled.contains(&(second.id, 1)));
}

#[test]
fn a_sink_that_is_taken_away_keeps_nothing_waiting() {
    let one = pod("CrashLoopBackOff", "n1", "api-1");
    let mut story = Story::with_sinks(&[("gone", SinkSettings::default()), ("stays", SinkSettings::default())]);
    story.sink = None;
    story.see(one.clone());
    let mut settings = (*story.dedupe.settings).clone();
    settings.sinks.remove("gone");
    story.waiting.retain(|(sink, ..)| &**sink == "stays");
    story.dedupe.configure(Arc::new(settings), story.now);
    story.run();
    assert_eq!(story.settled, []);
    story.sink_answers(Fate::Delivered);
    assert_eq!(story.settled, [(one.id, 1)]);
}

#[test]
fn open_findings_of_a_node_are_what_its_agent_goes_on_with() {
    let (open, over, elsewhere) = (
        pod("CrashLoopBackOff", "n1", "api-1"),
        pod("CrashLoopBackOff", "n1", "api-2"),
        pod("CrashLoopBackOff", "n2", "api-3"),
    );
    let mut story = Story::begin();
    story.see(open.clone()).see(over.clone()).see(elsewhere).see(cleared(over));
    story.see(node("NodeNotReady", "n1"));
    assert_eq!(story.dedupe.open_findings("n1").collect::<Vec<_>>(), [&open]);
}

#[test]
fn explanations_between_kinds_have_no_circle() {
    for kind in Kind::all() {
        let mut reached: Vec<Kind> = vec![kind];
        let mut next = 0;
        while next < reached.len() {
            for name in reached[next].row().explains.iter().filter(|name| **name != "*") {
                let explained = Kind::named(name).unwrap_or_else(|| panic!("{kind} explains {name}, which is no kind"));
                assert_ne!(explained, kind, "{kind} explains itself in a circle");
                if !reached.contains(&explained) {
                    reached.push(explained);
                }
            }
            next += 1;
        }
    }
}
