//! The engine: what a finding goes through, in virtual time.

use serde_json::json;

use super::*;
use crate::config::SystemNamespaces;
use crate::finding::{Incarnation, Seen};
use crate::testing::{Draft, ended, node, pod, running, time, waiting};

fn engine() -> Engine {
    let mut engine = Engine::new(Observer::NodeAgent { node: Arc::from("n1") }, Arc::new(Config::default()));
    engine.on_relist(&[], time(-1));
    engine
}

fn fresh() -> Engine {
    Engine::new(Observer::NodeAgent { node: Arc::from("n1") }, Arc::new(Config::default()))
}

fn looping() -> Draft {
    pod().app(waiting("CrashLoopBackOff"), 3).last(ended(1, "Error", 9)).unready(9)
}

fn oom_killed() -> Draft {
    pod().app(running(9), 1).last(ended(137, "OOMKilled", 5)).ready(9)
}

fn numbered(draft: Draft, number: usize) -> Pod {
    draft.set("/metadata/uid", json!(format!("uid-{number}"))).pod()
}

/// Kind and state of what has changed.
fn told(engine: &mut Engine) -> Vec<String> {
    let mut told: Vec<String> =
        engine.changes().iter().map(|finding| format!("{} {:?}", finding.kind, finding.state)).collect();
    told.sort();
    told
}

fn with(change: impl FnOnce(&mut Config)) -> Arc<Config> {
    let mut config = Config::default();
    change(&mut config);
    Arc::new(config)
}

fn switch(config: &mut Config, kind: &str, enabled: bool) {
    config.kinds.get_mut(kind).expect("a kind").enabled = enabled;
}

/// The crash loop that an engine before left open, begun long ago with another container.
fn left_open() -> Finding {
    let mut engine = engine();
    engine.on_pod(&looping().pod(), time(10));
    let found = engine.changes().into_iter().find(|finding| finding.kind.name() == "CrashLoopBackOff");
    Finding { incarnation: Incarnation(7), since: time(-5000), ..found.expect("a crash loop") }
}

#[test]
fn a_change_is_told_once_as_it_stands() {
    let mut engine = engine();
    engine.on_pod(&looping().pod(), time(10));
    assert_eq!(told(&mut engine), ["CrashLoopBackOff Active", "NotReady Pending"]);
    engine.on_pod(&looping().pod(), time(11));
    assert_eq!(told(&mut engine), [""; 0], "nothing has changed");
    engine.on_pod(&looping().app(waiting("CrashLoopBackOff"), 4).pod(), time(12));
    assert_eq!(told(&mut engine), ["CrashLoopBackOff Active"], "its evidence has");
    assert_eq!(engine.findings().count(), 2);
}

#[test]
fn whoever_is_alone_sees_what_both_sides_see_and_on_which_node_a_pod_came_to_run() {
    let mut engine = Engine::new(Observer::Alone, Arc::new(Config::default()));
    let homeless = pod().set("/spec/nodeName", json!("")).set("/status", json!({"phase": "Pending"}));
    let homeless = homeless.condition_for("PodScheduled", "False", "Unschedulable", 5);
    engine.on_relist(&[homeless.pod()], time(10));
    assert_eq!(told(&mut engine), ["Unschedulable Pending"]);
    engine.on_pod(&looping().pod(), time(20));
    let changes = engine.changes();
    let on: Vec<_> = changes.iter().map(|it| (it.kind.name(), &*it.subject.node)).collect();
    assert!(on.contains(&("CrashLoopBackOff", "n1")), "{on:?}");
    let mut next = Engine::new(Observer::Alone, Arc::new(Config::default()));
    next.adopt(changes, time(30));
    assert_eq!(next.findings().count(), 2, "it goes on with both sides' as well");
}

#[test]
fn what_ends_before_it_was_told_is_not_told_at_all() {
    let mut engine = engine();
    engine.on_pod(&pod().unready(10).pod(), time(10));
    engine.on_pod(&pod().ready(11).pod(), time(11));
    assert_eq!(told(&mut engine), [""; 0]);
}

#[test]
fn an_edge_is_told_before_it_is_told_to_be_over() {
    let mut engine = engine();
    engine.on_pod(&oom_killed().pod(), time(10));
    engine.on_tick(time(90_000));
    assert_eq!(told(&mut engine), ["OOMKilled Active"]);
    assert_eq!(engine.next_deadline(), Some(time(309)), "and then at once");
    engine.on_tick(time(90_000));
    assert_eq!(told(&mut engine), ["OOMKilled Cleared"]);
    assert_eq!(engine.next_deadline(), None);
}

#[test]
fn a_healthy_pod_leaves_nothing_behind() {
    let mut engine = engine();
    for number in 0..110 {
        engine.on_pod(&numbered(pod().app(waiting("ContainerCreating"), 0), number), time(5));
        engine.on_pod(&numbered(pod(), number), time(10));
    }
    assert!(engine.memories.is_empty() && engine.tracks.is_empty() && engine.deadlines.is_empty());
    assert_eq!(told(&mut engine), [""; 0]);
}

#[test]
fn a_pod_that_is_gone_is_forgotten_in_the_end() {
    let mut engine = engine();
    engine.on_pod(&oom_killed().pod(), time(10));
    engine.on_pod_deleted(&oom_killed().pod(), time(20));
    engine.changes();
    engine.on_tick(time(20 + 3599));
    assert!(engine.tracks.is_empty() && !engine.memories.is_empty(), "its edge is remembered for an hour");
    engine.on_tick(time(20 + 3600));
    assert!(engine.memories.is_empty());
}

#[test]
fn an_edge_is_remembered_for_an_hour_since_its_pod_was_last_gone() {
    let is_static = oom_killed().annotated("kubernetes.io/config.mirror", "x").pod();
    let mut engine = engine();
    engine.on_pod(&is_static, time(10));
    engine.on_pod_deleted(&is_static, time(20));
    engine.on_pod(&is_static, time(3000));
    engine.on_pod_deleted(&is_static, time(3010));
    engine.changes();
    engine.on_tick(time(3700));
    engine.changes();
    engine.on_pod(&is_static, time(3700));
    assert_eq!(told(&mut engine), [""; 0]);
    assert_eq!(engine.findings().count(), 0);
}

#[test]
fn of_those_that_are_gone_the_last_are_remembered() {
    let mut engine = engine();
    for number in 0..RETIRED_MAX + 10 {
        engine.on_pod(&numbered(oom_killed(), number), time(10));
        engine.on_pod_deleted(&numbered(oom_killed(), number), time(10));
    }
    engine.changes();
    engine.on_tick(time(400));
    assert_eq!((engine.findings().count(), engine.memories.len(), engine.retired.len()), (0, RETIRED_MAX, RETIRED_MAX));
}

#[test]
fn what_was_left_open_keeps_its_beginning_whenever_it_is_heard_of() {
    for list_first in [false, true] {
        let mut engine = fresh();
        let list = |engine: &mut Engine| engine.on_relist(&[looping().pod()], time(20));
        if list_first {
            list(&mut engine);
        }
        engine.adopt(vec![left_open()], time(20));
        if !list_first {
            list(&mut engine);
        }
        let findings: Vec<Finding> = engine.findings().filter(|it| it.id == left_open().id).cloned().collect();
        let [finding] = &*findings else { panic!("one crash loop, not {findings:?}") };
        assert_eq!(finding.incarnation, Incarnation(7), "listed first: {list_first}");
        assert_eq!((finding.since, finding.state), (time(-5000), State::Active));
        assert_eq!(finding.seen, Seen::Happening);
    }
}

#[test]
fn what_an_engine_saw_happen_it_knows_better_than_those_who_remember() {
    let mut engine = engine();
    engine.on_pod(&looping().pod(), time(10));
    engine.adopt(vec![left_open()], time(20));
    let since = engine.findings().find(|finding| finding.id == left_open().id).map(|finding| finding.since);
    assert_eq!(since, Some(time(9)));
}

#[test]
fn what_was_left_open_and_is_not_there_any_more_starts_its_hold() {
    for list_first in [false, true] {
        let mut engine = fresh();
        if list_first {
            engine.on_relist(&[], time(20));
        }
        engine.adopt(vec![left_open()], time(20));
        assert_eq!(engine.next_deadline(), list_first.then_some(time(620)), "unseen is not gone");
        engine.on_relist(&[], time(20));
        engine.on_tick(time(619));
        assert_eq!(told(&mut engine), [""; 0]);
        engine.on_tick(time(620));
        assert_eq!(told(&mut engine), ["CrashLoopBackOff Cleared"]);
    }
}

#[test]
fn what_is_adopted_late_counts_its_hold_from_the_apis_time_once_it_is_listed_again() {
    let well = [pod().app(running(30), 3).ready(30).pod()];
    let mut engine = fresh();
    engine.on_relist(&well, time(400));
    assert!(engine.adopt(vec![left_open()], time(400)), "list again");
    assert_eq!(engine.next_deadline(), Some(time(1000)));
    engine.on_relist(&well, time(400));
    assert_eq!(engine.next_deadline(), Some(time(630)));
    assert!(!engine.adopt(vec![left_open()], time(400)), "known already");
    assert!(!fresh().adopt(vec![left_open()], time(400)), "the first LIST is still to come");
}

#[test]
fn what_is_adopted_late_starts_no_hold_while_nobody_knows_how_it_is() {
    let mut engine = fresh();
    engine.on_relist(&[pod().app(running(30), 3).unready(30).pod()], time(40));
    engine.adopt(vec![left_open()], time(40));
    engine.on_tick(time(90_000));
    assert!(engine.findings().any(|finding| finding.id == left_open().id));
}

#[test]
fn what_was_active_to_those_before_is_active_though_it_was_found_pending() {
    let mut engine = fresh();
    engine.on_relist(&[looping().app(waiting("CrashLoopBackOff"), 1).pod()], time(20));
    engine.changes();
    engine.adopt(vec![Finding { since: time(15), ..left_open() }], time(20));
    let state = engine.findings().find(|finding| finding.id == left_open().id).map(|finding| finding.state);
    assert_eq!(state, Some(State::Active));
    engine.on_pod_deleted(&looping().pod(), time(30));
    assert_eq!(engine.findings().count(), 1, "and goes through its hold");
}

#[test]
fn what_others_know_of_is_cleared_for_them_though_it_ended_before_it_was_told_here() {
    let mut engine = fresh();
    engine.on_relist(&[looping().app(waiting("CrashLoopBackOff"), 1).pod()], time(20));
    engine.adopt(vec![Finding { state: State::Pending, since: time(15), ..left_open() }], time(20));
    engine.on_pod(&pod().pod(), time(21));
    assert_eq!(told(&mut engine), ["CrashLoopBackOff Cleared"]);
}

#[test]
fn how_often_an_edge_has_happened_is_handed_on() {
    let mut before = engine();
    before.on_pod(&oom_killed().pod(), time(10));
    let mut open = before.changes();
    open[0].evidence.occurrences = Some(3);

    let mut engine = fresh();
    engine.adopt(open, time(20));
    engine.on_relist(&[pod().app(ended(137, "OOMKilled", 15), 1).pod()], time(20));
    assert_eq!(engine.changes()[0].evidence.occurrences, Some(4));
}

#[test]
fn what_was_left_pending_and_is_not_there_any_more_is_cleared() {
    let mut engine = fresh();
    engine.adopt(vec![Finding { state: State::Pending, ..left_open() }], time(20));
    assert_eq!(engine.findings().count(), 1);
    engine.on_relist(&[pod().pod()], time(20));
    assert_eq!(told(&mut engine), ["CrashLoopBackOff Cleared"]);
}

#[test]
fn what_was_active_to_those_before_is_active_though_it_was_seen_to_be_pending() {
    let mut engine = engine();
    engine.on_pod(&looping().app(waiting("CrashLoopBackOff"), 1).pod(), time(20));
    engine.adopt(vec![left_open()], time(20));
    engine.on_pod(&pod().app(running(21), 1).ready(21).pod(), time(21));
    assert_eq!(
        engine.findings().map(|finding| finding.state).collect::<Vec<_>>(),
        [State::Active],
        "it goes through its hold"
    );
}

#[test]
fn adopting_lets_no_time_pass() {
    let mut engine = engine();
    engine.on_pod(&pod().unready(10).pod(), time(10));
    assert_eq!(told(&mut engine), ["NotReady Pending"]);
    engine.adopt(Vec::new(), time(90_000));
    assert_eq!(told(&mut engine), [""; 0], "perhaps nobody can see the pod");
    engine.on_tick(time(90_000));
    assert_eq!(told(&mut engine), ["NotReady Active"]);
}

#[test]
fn who_is_there_and_could_not_be_read_is_not_gone() {
    let unread = pod().pod().meta;
    for (skipped, is_gone) in
        [(unread.clone(), false), (Meta::default(), false), (Meta { uid: "other".into(), ..unread }, true)]
    {
        let mut engine = fresh();
        engine.adopt(vec![left_open()], time(20));
        engine.on_relist_but(&[], &[skipped], time(20));
        engine.on_tick(time(90_000));
        assert_eq!(told(&mut engine).is_empty(), !is_gone);
        engine.on_relist(&[], time(90_000));
        engine.on_tick(time(180_000));
        assert_eq!(engine.findings().count(), 0);
    }
    let mut engine = Engine::new(Observer::Aggregator, Arc::new(Config::default()));
    let down = node().condition("Ready", "Unknown", -600).node();
    engine.on_node_relist(std::slice::from_ref(&down), time(0));
    for unread in [down.meta, Meta::default()] {
        engine.changes();
        engine.on_node_relist_but(&[], &[unread], time(10));
        engine.on_tick(time(90_000));
        assert_eq!((engine.findings().count(), engine.nodes.len()), (1, 1));
    }
}

#[test]
fn what_is_not_ours_is_not_adopted() {
    let mut engine = fresh();
    let mut elsewhere = left_open();
    elsewhere.subject.node = Arc::from("n2");
    let unschedulable = Finding { kind: Kind::named("Unschedulable").expect("a kind"), ..left_open() };
    engine.adopt(vec![elsewhere, unschedulable, Finding { state: State::Cleared, ..left_open() }], time(20));
    assert_eq!(engine.findings().count(), 0);
    assert_eq!(told(&mut engine), [""; 0]);
}

#[test]
fn what_is_switched_off_is_cleared_at_once_and_not_told_later() {
    let mut engine = engine();
    engine.on_pod(&looping().pod(), time(10));
    engine.changes();
    assert!(!engine.configure(Arc::new(Config::default())), "nothing is different");
    let off = with(|config| {
        switch(config, "CrashLoopBackOff", false);
        switch(config, "OOMKilled", false);
    });
    assert!(engine.configure(Arc::clone(&off)));
    assert_eq!(told(&mut engine), ["CrashLoopBackOff Cleared"]);
    engine.on_pod(&looping().pod(), time(21));
    engine.on_pod(&numbered(oom_killed(), 2), time(21));
    assert_eq!(told(&mut engine), [""; 0]);

    assert!(engine.configure(Arc::new(Config::default())), "the caller has to list again");
    engine.on_relist(&[looping().pod(), numbered(oom_killed(), 2)], time(30));
    assert_eq!(told(&mut engine), ["CrashLoopBackOff Active"], "the level, not the edge of before");

    let mut anew = Engine::new(Observer::NodeAgent { node: Arc::from("n1") }, off);
    anew.adopt(vec![left_open()], time(40));
    assert_eq!(told(&mut anew), ["CrashLoopBackOff Cleared"]);
}

#[test]
fn what_leaves_the_scope_is_cleared_at_once() {
    let mut engine = engine();
    engine.on_pod(&looping().pod(), time(10));
    engine.changes();
    engine.configure(with(|config| config.scope.exclude = vec!["sh*".to_owned()]));
    assert_eq!(told(&mut engine), ["CrashLoopBackOff Cleared", "NotReady Cleared"]);
    engine.on_pod(&looping().pod(), time(30));
    assert_eq!(told(&mut engine), [""; 0]);
}

#[test]
fn in_system_namespaces_only_the_critical_counts() {
    let system = looping().set("/metadata/namespace", json!("kube-system"));
    let of = |scope: SystemNamespaces, pod: Draft| {
        let mut engine = engine();
        engine.configure(with(|config| config.scope.system = scope));
        engine.on_pod(&pod.pod(), time(10));
        told(&mut engine)
    };
    assert_eq!(of(SystemNamespaces::Critical, system.clone()), ["CrashLoopBackOff Active"]);
    assert_eq!(of(SystemNamespaces::All, system.clone()), ["CrashLoopBackOff Active", "NotReady Pending"]);
    assert_eq!(of(SystemNamespaces::Off, system.clone()), [""; 0]);
    assert_eq!(of(SystemNamespaces::Critical, system.annotated("tocsin.dev/severity", "warning")), [""; 0]);
}

#[test]
fn a_pod_that_asks_to_be_ignored_is_cleared_at_once() {
    let mut engine = engine();
    engine.on_pod(&looping().pod(), time(10));
    engine.changes();
    engine.on_pod(&looping().annotated("tocsin.dev/ignore", "crashloopbackoff").pod(), time(20));
    assert_eq!(told(&mut engine), ["CrashLoopBackOff Cleared"]);
}

#[test]
fn a_nodes_wrong_clock_changes_nothing() {
    let since = |offset: i64, seconds: i64| {
        let mut engine = engine();
        engine.set_kubelet_offset(offset * 1000);
        engine.on_pod(&pod().app(ended(137, "OOMKilled", seconds), 0).pod(), time(10));
        engine.changes().first().map(|finding| finding.since)
    };
    assert_eq!(since(0, 9), Some(time(9)));
    assert_eq!(since(3600, 3609), Some(time(9)), "an hour fast");
    assert_eq!(since(-3600, 9 - 3600), Some(time(9)), "an hour slow");
    assert_eq!(since(0, 3609), Some(time(10)), "never later than now");
}

#[test]
fn what_does_not_fit_is_counted_once_and_the_critical_comes_first() {
    let mut engine = engine();
    for number in 0..1_600 {
        engine.on_pod(&numbered(pod().unready(10), number), time(10));
    }
    assert_eq!((engine.findings().count(), engine.shed()), (1_500, 100));
    for number in 1_500..1_600 {
        engine.on_pod(&numbered(pod().unready(10), number), time(11));
    }
    assert_eq!(engine.shed(), 100, "each counts once");
    for number in 2_000..2_600 {
        engine.on_pod(&numbered(pod().app(ended(137, "OOMKilled", 9), 0), number), time(12));
    }
    assert_eq!((engine.findings().count(), engine.shed()), (Engine::FINDINGS_MAX_AGENT, 200));
}

#[test]
fn what_did_not_fit_is_found_when_there_is_room() {
    let mut engine = engine();
    let crowd = |engine: &mut Engine, at| {
        let pods: Vec<Pod> = (0..1_501).map(|number| numbered(pod().unready(10), number)).collect();
        engine.on_relist(&pods, time(at));
    };
    crowd(&mut engine, 10);
    assert_eq!(engine.shed(), 1);
    engine.on_pod_deleted(&numbered(pod(), 0), time(11));
    engine.on_relist(&(1..1_501).map(|number| numbered(pod().unready(10), number)).collect::<Vec<_>>(), time(12));
    assert_eq!((engine.findings().count(), engine.shed()), (1_500, 1));

    crowd(&mut engine, 13);
    assert_eq!((engine.shed(), engine.shed.known.len()), (2, 1));
    engine.on_pod_deleted(&numbered(pod(), 0), time(14));
    assert!(engine.shed.known.is_empty(), "who is gone is counted no more");
    // One of which nothing else is remembered.
    let unseen = Anchor::of_pod(&numbered(pod(), 9_999).meta);
    engine.shed.known.insert(FindingId(7), (Realm::Pods, unseen));
    engine.on_node_relist(&[], time(15));
    assert_eq!(engine.shed.known.len(), 1, "a list of nodes says nothing of pods");
    engine.on_relist(&[], time(16));
    assert!(engine.shed.known.is_empty());
}

#[test]
fn a_node_that_was_there_at_first_and_not_in_a_later_list_starts_its_hold() {
    let mut engine = Engine::new(Observer::Aggregator, Arc::new(Config::default()));
    let down = node().condition("Ready", "Unknown", -600).node();
    engine.on_node_relist(std::slice::from_ref(&down), time(0));
    assert_eq!(told(&mut engine), ["NodeNotReady Active"]);
    engine.on_node_relist(&[], time(10));
    engine.on_tick(time(310));
    assert_eq!(told(&mut engine), ["NodeNotReady Cleared"]);
    assert!(engine.nodes.is_empty() && engine.memories.is_empty());
}

#[test]
fn a_removed_nodes_agent_is_waited_for_no_longer() {
    let mut engine = Engine::new(Observer::Aggregator, Arc::new(Config::default()));
    let node = node().node();
    let silent = AgentSight {
        node: &node,
        daemon_set: Arc::from("agent"),
        wanted: true,
        replacing: false,
        started: None,
        last_heartbeat: Some(time(0)),
        interval: std::time::Duration::from_secs(30),
    };
    engine.on_agent(&silent, time(1000));
    assert_eq!(told(&mut engine), ["AgentSilent Active"]);
    engine.on_agent_gone("n1", time(1001));
    assert_eq!(told(&mut engine), ["AgentSilent Cleared"]);
    assert!(engine.memories.is_empty());
}

#[test]
fn every_agent_is_judged_before_time_goes_on() {
    let mut engine = Engine::new(Observer::Aggregator, Arc::new(Config::default()));
    let nodes = ["n1", "n2"].map(|name| node().set("/metadata/name", serde_json::json!(name)).node());
    let mut agents = nodes.each_ref().map(|node| AgentSight {
        node,
        daemon_set: Arc::from("agent"),
        wanted: true,
        replacing: false,
        started: None,
        last_heartbeat: Some(time(0)),
        interval: std::time::Duration::from_secs(30),
    });
    engine.on_agents(&agents, time(100));
    assert_eq!(told(&mut engine), ["AgentSilent Pending", "AgentSilent Pending"]);
    agents[1].last_heartbeat = Some(time(270));
    engine.on_agents(&agents, time(280));
    let mut told = told(&mut engine);
    told.sort_unstable();
    assert_eq!(told, ["AgentSilent Active", "AgentSilent Cleared"], "the second was heard in time");
}
