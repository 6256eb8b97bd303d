//! Who stands in for which agents, when it looks, and what becomes of that when the agent is back.

use rules::{State, view::Meta};
use serde_json::json;
use wire::{Body, Epoch, Hello, OpenSet, Reply, Report, SessionId};

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

    fn agent_says_hello(&mut self) {
        let kinds = rules::Kind::all().map(|kind| kind.name().to_owned()).collect();
        let hello = Hello { versions: wire::VERSIONS.to_vec(), kinds, build: "test".to_owned() };
        self.pipeline.on_hello(&"n1".into(), &hello, SessionId(1), self.now);
    }
}

fn pods(state: &str, version: &str) -> Listing<Pod> {
    let pod = json!({
        "metadata": { "name": "p", "namespace": "shop", "uid": "p", "creationTimestamp": START.to_string() },
        "spec": { "nodeName": "n1", "containers": [{ "name": "app" }] },
        "status": { "phase": "Running", "containerStatuses": [{ "name": "app", "state": match state {
            "ill" => json!({ "waiting": { "reason": "ImagePullBackOff" } }),
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
    let report = |scene: &mut Scene| {
        let (session, body, open) = (SessionId(1), Body::Full(Vec::new()), OpenSet::default());
        let report = Report { session, seq: 1, body, open, settled_seen: 0, config_hash: 0, shed: 0 };
        scene.pipeline.on_report(report, scene.now)
    };
    assert!(matches!(report(&mut scene), Reply::Answer(_)));
    scene.now = scene.now + Duration::from_mins(5);
    scene.want(&["n1"]);
    scene.sees(Ok(pods("ill", "1")));
    assert_eq!(report(&mut scene), Reply::UnknownSession);
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
