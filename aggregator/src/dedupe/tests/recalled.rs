//! What a successor makes of what was told.

use std::collections::BTreeSet;

use super::*;
use crate::dedupe::issue::{Example, Phase};
use crate::told_log;

fn entry(name: &str, status: Status, sinks: &[(&str, told_log::Standing)]) -> told_log::Entry {
    let finding = pod(name, "n1", "api-1");
    let intent = Intent { episode: finding.incarnation, revision: 1, status, severity: rules::Severity::Warning };
    told_log::Entry {
        issue: IssueKey::of(&finding),
        intent,
        earlier: Vec::new(),
        since: START,
        ended: None,
        gone: 3,
        newest_edge: Some(START),
        example: Some(Example { observer: "n1".into(), finding }),
        sinks: sinks.iter().map(|(sink, standing)| (Arc::from(*sink), standing.clone())).collect(),
        bodies: BTreeMap::new(),
    }
}

#[test]
fn an_issue_is_recalled_as_it_was_told_and_waits_for_who_has_yet_to_hear() {
    let mut refuses = told_log::Standing::default();
    refuses.heard.refused = Some(entry("OOMKilled", Status::Firing, &[]).intent);
    let strict = SinkSettings { min_severity: rules::Severity::Critical, ..SinkSettings::default() };
    let sinks = [
        ("new", SinkSettings::default()),
        ("refuses", SinkSettings::default()),
        ("given", strict.clone()),
        ("strict", strict),
    ];
    let given = [("refuses", refuses), ("given", told_log::Standing::default())];

    let mut story = Story::with_sinks(&sinks);
    let firing = entry("OOMKilled", Status::Firing, &given);
    let (key, awaiting, _) = story.dedupe.recall(&firing).expect("it is there");
    assert_eq!(awaiting, BTreeSet::from(["given".into()]), "who is new hears of it under a key of its own");
    assert_eq!(story.dedupe.past.newest_edge(&key), Some(START));
    let episode = story.dedupe.issue(&key).and_then(|issue| issue.episode.as_ref()).expect("it is open");
    assert_eq!((episode.phase, episode.gone.more), (Phase::Telling, 3));
    assert_eq!(episode.refused_by, BTreeSet::from(["refuses".into()]));

    let mut story = Story::with_sinks(&sinks);
    let (_, awaiting, _) = story.dedupe.recall(&entry("OOMKilled", Status::Resolved, &given)).expect("one must hear");
    assert_eq!(awaiting, BTreeSet::from(["given".into()]), "what was never heard of is not over");
}

#[test]
fn an_orphan_is_kept_for_a_successor_until_its_hold_is_over() {
    let mut story = Story::begin();
    story.sink = None;
    let finding = pod("CrashLoopBackOff", "n1", "api-1");
    let orphan = Example { observer: "n1".into(), finding: finding.clone() };
    story.dedupe.recall_orphan(orphan.clone(), START);
    story.run();
    assert_eq!(story.dedupe.orphans(9), [orphan]);
    story.after(finding.kind.row().hold).sink_answers(Fate::Delivered);
    story.told(&["api CrashLoopBackOff firing", "api CrashLoopBackOff resolved"]);
}
