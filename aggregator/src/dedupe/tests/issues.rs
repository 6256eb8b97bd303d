//! Findings become issues, and end.

use super::*;

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
fn what_a_full_report_does_not_name_ends_after_its_hold_and_not_sooner() {
    let one = pod("CrashLoopBackOff", "n1", "api-1");
    let hold = kind("CrashLoopBackOff").row().hold;
    let mut story = Story::begin();
    story.see(one.clone()).full_report("n1", &[&one]).after(hold.saturating_sub(SECOND));
    story.told(&["api CrashLoopBackOff firing"]);
    story.after(2 * SECOND).told(&["api CrashLoopBackOff firing", "api CrashLoopBackOff resolved"]);
}

#[test]
fn what_is_named_again_in_time_goes_on() {
    let one = pod("CrashLoopBackOff", "n1", "api-1");
    let hold = kind("CrashLoopBackOff").row().hold;
    let mut story = Story::begin();
    story.see(one.clone()).full_report("n1", &[&one]).after(hold.saturating_sub(SECOND));
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
fn what_is_grouped_under_a_node_is_one_issue_for_all_namespaces() {
    let mut evicted = ["shop", "bank"].map(|namespace| {
        let mut finding = pod("Evicted", "n1", "api-1");
        finding.subject.namespace = namespace.into();
        finding.owner = Owner { kind: "Node".into(), name: "n1".into() };
        finding.id = FindingId::of(finding.kind, &finding.subject);
        finding
    });
    let mut story = Story::begin();
    story.report(&Arc::from("n1"), evicted.to_vec()).told(&["n1 Evicted firing"]);
    evicted.reverse();
    story.report(&Arc::from("n1"), evicted.map(cleared).to_vec());
    story.told(&["n1 Evicted firing", "n1 Evicted resolved"]);
}
