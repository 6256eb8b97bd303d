//! Who stands in for which agents, when it looks, and what becomes of that when the agent is back.

use rules::{Finding, State, view::Meta};
use serde_json::json;
use wire::{Body, Entry, Epoch, Hello, OpenSet, Reply, Report, SessionId};

use super::*;
use crate::settings::{Settings, SinkSettings};

const START: Time = Time::from_millis(1_777_600_000_000);
const INTERVAL: Duration = Duration::from_secs(30);

/// Those that stand in, the pipeline that they report to, and their time.
struct Scene {
    stand_ins: StandIns,
    pipeline: Pipeline,
    now: Time,
}

impl Scene {
    fn new() -> Self {
        let sinks = [(Arc::from("sink"), SinkSettings::default())].into();
        let settings = Settings { sinks, ..Settings::default() };
        Self {
            stand_ins: StandIns::new(Arc::default(), 7),
            pipeline: Pipeline::new(settings, Epoch(1), 7, START),
            now: START,
        }
    }

    fn want(&mut self, nodes: &[&str]) {
        let nodes = nodes.iter().map(|node| Arc::from(*node)).collect();
        self.stand_ins.want(&nodes, INTERVAL, self.now);
    }

    /// Lets time pass until a look is due; that look.
    fn look(&mut self) -> Look {
        self.now = self.stand_ins.next_deadline().expect("somebody stands in");
        self.stand_ins.looks(self.now).pop().expect("it is due")
    }

    fn shows(&mut self, look: &Look, listing: Result<Listing<Pod>, Failure>) {
        self.stand_ins.on_looked(look, listing, &mut self.pipeline, self.now);
    }

    /// Looks once, and sees that.
    fn sees(&mut self, listing: Result<Listing<Pod>, Failure>) {
        let look = self.look();
        self.shows(&look, listing);
    }

    /// The states of what the node's agent would be told is open.
    fn open(&self) -> Vec<State> {
        self.pipeline.dedupe().open_findings("n1").map(|finding| finding.state).collect()
    }

    /// Its first report of everything.
    fn agent_reports(&mut self, findings: Vec<Finding>) -> Reply {
        let (session, mut open) = (SessionId(1), OpenSet::default());
        for finding in &findings {
            open.add(finding.id, 1);
        }
        let body = Body::Full(findings.into_iter().map(|finding| Entry { revision: 1, finding }).collect());
        let report = Report { session, seq: 1, body, open, settled_seen: 0, config_hash: 0, shed: 0 };
        self.pipeline.on_report(report, self.now)
    }

    fn agent_says_hello(&mut self) {
        let kinds = rules::Kind::all().map(|kind| kind.name().to_owned()).collect();
        let hello = Hello { versions: wire::VERSIONS.to_vec(), kinds, build: "test".to_owned() };
        self.pipeline.on_hello(&"n1".into(), &hello, SessionId(1), self.now);
    }
}

/// That pod's image cannot be pulled, as an agent tells it.
fn ill() -> Finding {
    let mut engine = Engine::new(Observer::NodeAgent { node: "n1".into() }, Arc::default());
    engine.on_relist(&pods("ill", "1").objects, START);
    engine.on_tick(START + Duration::from_mins(5));
    engine.changes().pop().expect("it is ill for long enough")
}

fn pods(state: &str, version: &str) -> Listing<Pod> {
    let pod = json!({
        "metadata": { "name": "p", "namespace": "shop", "uid": "p", "creationTimestamp": START.to_string() },
        "spec": { "nodeName": "n1", "containers": [{ "name": "app" }] },
        "status": { "phase": "Running", "containerStatuses": [{ "name": "app", "state": match state {
            "ill" => json!({ "waiting": { "reason": "ImagePullBackOff" } }),
            "waits" => json!({ "waiting": { "reason": "ContainerCreating" } }),
            _ => json!({ "running": { "startedAt": START.to_string() } }),
        }}] },
    });
    let objects = vec![serde_json::from_value(pod).expect("a pod")];
    Listing { objects, skipped: Vec::<Meta>::new(), version: version.to_owned() }
}

#[test]
fn fifty_nodes_are_looked_at_once_a_minute_and_the_rest_is_counted() {
    let mut scene = Scene::new();
    let nodes: Vec<_> = (10..70).map(|number| format!("n{number}")).collect();
    let nodes: Vec<_> = nodes.iter().map(String::as_str).collect();
    scene.want(&nodes);
    assert_eq!(scene.stand_ins.uncovered(), 60, "nobody has looked yet");
    let mut looked: BTreeMap<Arc<str>, Vec<Time>> = BTreeMap::new();
    while scene.now < START + Duration::from_mins(10) {
        scene.now = scene.stand_ins.next_deadline().expect("somebody stands in");
        for look in scene.stand_ins.looks(scene.now) {
            looked.entry(Arc::clone(&look.node)).or_default().push(scene.now);
            scene.shows(&look, Ok(pods("well", "1")));
        }
    }
    assert_eq!((looked.len(), scene.stand_ins.uncovered()), (50, 10));
    for (node, looks) in &looked {
        let grace = looks[0].since(START);
        assert!(grace >= INTERVAL * 3 && grace <= INTERVAL * 6, "{node} after {grace:?}");
        let spans: Vec<_> = looks.windows(2).map(|pair| pair[1].since(pair[0]).as_secs()).collect();
        assert!(spans.len() >= 5 && spans.iter().all(|span| (54..=66).contains(span)), "{node} after {spans:?}");
    }
    let starts: BTreeSet<_> = looked.values().map(|looks| looks[0]).collect();
    assert!(starts.len() > 40, "they are spread");
    scene.want(&nodes[40..]);
    assert_eq!(scene.stand_ins.uncovered(), 10, "those that are looked at go on");
    assert!(scene.stand_ins.nodes.contains_key("n69"), "there is room now");
}

#[test]
fn a_look_asks_for_nothing_older_than_the_last_saw() {
    let mut scene = Scene::new();
    scene.want(&["n1"]);
    let look = scene.look();
    assert_eq!(look.version, None);
    scene.shows(&look, Ok(pods("ill", "77")));
    assert_eq!(scene.look().version.as_deref(), Some("77"));
}

#[test]
fn while_its_pods_cannot_be_listed_nothing_is_known_of_a_node() {
    let mut scene = Scene::new();
    scene.want(&["n1"]);
    for version in ["1", "2", "3"] {
        scene.sees(Ok(pods("ill", version)));
    }
    assert_eq!((scene.open(), scene.stand_ins.uncovered()), (vec![State::Active], 0));
    for _ in 0..FAILURES_MAX {
        scene.sees(Err(Failure::Behind));
    }
    assert_eq!((scene.open(), scene.stand_ins.uncovered()), (vec![State::Active], 1));
    // Restored from a backup: what it was before says nothing, and what is open is gone on with.
    let look = scene.look();
    assert_eq!(look.version, None);
    scene.shows(&look, Ok(pods("well", "1")));
    for _ in 0..6 {
        scene.sees(Ok(pods("well", "2")));
    }
    assert_eq!((scene.open(), scene.stand_ins.uncovered()), (vec![], 0));
}

#[test]
fn an_agent_that_is_back_is_given_what_was_found_and_a_look_under_way_changes_nothing() {
    let mut scene = Scene::new();
    scene.want(&["n1"]);
    for version in ["1", "2", "3"] {
        scene.sees(Ok(pods("ill", version)));
    }
    let look = scene.look();
    scene.agent_says_hello();
    assert_eq!(scene.open(), [State::Active], "this is what it was given");
    scene.now = scene.now + Duration::from_mins(1);
    scene.shows(&look, Ok(pods("well", "3")));
    scene.pipeline.on_tick(scene.now + Duration::from_hours(1));
    assert_eq!(scene.open(), [State::Active]);
}

/// What it knew of the node is not what is known by now.
#[test]
fn an_agent_that_somebody_stood_in_for_has_to_say_hello_again() {
    let mut scene = Scene::new();
    scene.agent_says_hello();
    assert!(matches!(scene.agent_reports(vec![]), Reply::Answer(_)));
    scene.now = scene.now + Duration::from_mins(5);
    scene.want(&["n1"]);
    scene.sees(Ok(pods("ill", "1")));
    assert_eq!(scene.agent_reports(vec![]), Reply::UnknownSession);
}

/// Between two looks it may come and go again: what it told meanwhile is gone on with.
#[test]
fn an_agent_that_came_and_went_between_two_looks_is_stood_in_for_anew() {
    let mut scene = Scene::new();
    scene.want(&["n1"]);
    for version in ["1", "2"] {
        scene.sees(Ok(pods("well", version)));
    }
    scene.agent_says_hello();
    assert!(matches!(scene.agent_reports(vec![ill()]), Reply::Answer(_)));
    scene.now = scene.now + INTERVAL * 4;
    for version in 3..60 {
        // Neither ill nor well.
        scene.sees(Ok(pods("waits", &version.to_string())));
        scene.pipeline.on_tick(scene.now);
    }
    assert_eq!(scene.open(), [State::Active]);
    assert_eq!(scene.agent_reports(vec![]), Reply::UnknownSession, "it has to say hello again");
}

/// Its pods may outlive it in the API for a while, but nobody will say when they are well.
#[test]
fn a_look_at_a_node_that_went_meanwhile_changes_nothing() {
    let mut scene = Scene::new();
    scene.want(&["n1"]);
    scene.sees(Ok(pods("well", "1")));
    let look = scene.look();
    scene.stand_ins.on_node_gone("n1");
    scene.pipeline.on_node_gone(&"n1".into(), scene.now);
    scene.shows(&look, Ok(pods("ill", "2")));
    assert_eq!(scene.open(), []);
    assert_eq!((scene.stand_ins.next_deadline(), scene.stand_ins.uncovered()), (None, 0));
}

/// What happens after a look is seen by the next one, or else has to be news for a successor.
#[test]
fn for_a_successor_only_what_happened_before_the_last_look_is_old() {
    let mut scene = Scene::new();
    scene.want(&["n1"]);
    scene.pipeline.on_expected(std::iter::empty(), scene.now);
    while scene.now < START + Duration::from_mins(10) {
        scene.sees(Ok(pods("well", "1")));
    }
    let looked = scene.now;
    let low_water = |scene: &mut Scene, passed| {
        scene.pipeline.fold(looked + Duration::from_secs(passed));
        scene.pipeline.told_log().low_water()
    };
    assert_eq!(low_water(&mut scene, 40), looked);
    // Nothing is kept waiting for who cannot be looked at.
    assert_eq!(low_water(&mut scene, 7200), looked + Duration::from_hours(2));
}

#[test]
fn who_stands_in_anew_does_not_take_an_old_look_for_its_own() {
    let mut scene = Scene::new();
    scene.want(&["n1"]);
    let old = scene.look();
    scene.want(&[]);
    scene.want(&["n1"]);
    scene.shows(&old, Ok(pods("ill", "1")));
    let own = scene.look();
    scene.shows(&old, Ok(pods("ill", "1")));
    assert_eq!(scene.open(), []);
    scene.shows(&own, Ok(pods("ill", "2")));
    assert_eq!(scene.open().len(), 1);
}
