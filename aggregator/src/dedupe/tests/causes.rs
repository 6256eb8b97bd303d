//! Causes swallow their symptoms.

use super::*;

#[test]
fn a_dead_node_swallows_what_its_pods_suffer() {
    let mut story = Story::begin();
    story.see(node("NodeNotReady", "n1"));
    for number in 0..100 {
        story.see(pod("NotReady", "n1", &format!("api-{number}")));
    }
    story.told(&["n1 NodeNotReady firing"]);
    story.accounts(&[(TOLD, 1), (Decision::Pending(decision::Waiting::Inhibited), 100)]);
    assert_eq!(story.dedupe.swallowed_by(&IssueKey::of(&node("NodeNotReady", "n1"))).count(), 100);
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
fn a_cause_may_come_after_its_symptom_in_the_same_report() {
    let (cause, symptom) = (pod("CrashLoopBackOff", "n1", "api-1"), pod("NotReady", "n1", "api-1"));
    for findings in [vec![cause.clone(), symptom.clone()], vec![symptom, cause]] {
        let mut story = Story::begin();
        story.report(&Arc::from("n1"), findings).told(&["api CrashLoopBackOff firing"]);
    }
}

#[test]
fn a_cause_that_comes_while_its_symptoms_pod_is_being_read_is_told_in_its_place() {
    let (cause, symptom) = (pod("CrashLoopBackOff", "n1", "api-1"), pod("NotReady", "n1", "api-1"));
    let mut story = Story::begin();
    story.verdict = None;
    story.see(symptom);
    let check = story.checks.pop().expect("the symptom's pod is to be read");
    story.verdict = Some(Checked::NoDoubt);
    story.see(cause);
    story.dedupe.on_checked(&check, Checked::NoDoubt, story.now);
    story.run().told(&["api CrashLoopBackOff firing"]);
    story.accounts(&[(TOLD, 1), (Decision::Pending(decision::Waiting::Inhibited), 1)]);
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
