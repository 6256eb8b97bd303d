//! What the cluster-wide watches show, and what is made of it.

use process::watch::Failure;
use rules::{Kind, State};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;

const START: Time = Time::from_millis(1_777_600_000_000);
const INTERVAL: Duration = Duration::from_secs(30);

/// A sight, its time, and what came out of it.
struct Scene {
    sight: Sight,
    now: Time,
    heard: HashMap<Arc<str>, Heard>,
    told: Vec<(&'static str, State)>,
    gone: Vec<Arc<str>>,
    asked: Vec<(FindingId, Arc<str>)>,
    list_again: Vec<Collection>,
}

impl Scene {
    /// All watches have listed nothing, and are open.
    fn new() -> Self {
        let mut scene = Self::blind(Coverage::Agents, START);
        scene.pods(listed(&[]));
        scene.pods(Event::Live);
        scene.nodes(listed(&[]));
        scene.nodes(Event::Live);
        scene.agents(listed(&[]));
        scene.agents(Event::Live);
        scene
    }

    /// No watch has said anything.
    fn blind(coverage: Coverage, now: Time) -> Self {
        let config = Arc::new(Config::default());
        Self {
            sight: Sight::new(&config, coverage, "agent".into(), INTERVAL, now),
            now,
            heard: HashMap::new(),
            told: Vec::new(),
            gone: Vec::new(),
            asked: Vec::new(),
            list_again: Vec::new(),
        }
    }

    fn take(&mut self, steps: Steps) {
        let Steps { findings, gone, ask, list_again } = steps;
        self.told.extend(findings.iter().map(|finding| (finding.kind.name(), finding.state)));
        self.gone.extend(gone);
        self.asked.extend(ask);
        self.list_again.extend(list_again);
    }

    fn pods(&mut self, event: Event<Pod>) {
        self.pods_of(0, event);
    }

    fn pods_of(&mut self, number: usize, event: Event<Pod>) {
        let steps = self.sight.on_pods(number, event, self.now);
        self.take(steps);
    }

    fn nodes(&mut self, event: Event<Node>) {
        let steps = self.sight.on_nodes(event, self.now);
        self.take(steps);
    }

    fn agents(&mut self, event: Event<Pod>) {
        let steps = self.sight.on_agents(event, self.now);
        self.take(steps);
    }

    /// Lets time pass as the shell would, from deadline to deadline.
    fn pass(&mut self, span: Duration) {
        let until = self.now + span;
        for _ in 0..10_000 {
            self.now = self.sight.next_deadline().max(self.now).min(until);
            let steps = self.sight.on_tick(&self.heard, self.now);
            self.take(steps);
            if self.now >= until {
                return;
            }
        }
        panic!("at {} a deadline never passes", self.now);
    }

    fn hear(&mut self, node: &str, at: Time) {
        self.heard.insert(node.into(), Heard { at, interval: INTERVAL });
    }

    fn told(&mut self) -> Vec<(&'static str, State)> {
        std::mem::take(&mut self.told)
    }

    fn list_again(&mut self) -> Vec<Collection> {
        std::mem::take(&mut self.list_again)
    }
}

fn object<V: DeserializeOwned>(object: &Value) -> V {
    serde_json::from_value(object.clone()).expect("an object")
}

fn listed<V: DeserializeOwned>(objects: &[Value]) -> Event<V> {
    Event::Listed { objects: objects.iter().map(object).collect(), skipped: Vec::new(), first: true, restored: false }
}

fn quiet<V>() -> Event<V> {
    Event::Quiet { reason: Failure::Silent }
}

fn unschedulable() -> Value {
    json!({
        "metadata": { "name": "p", "namespace": "shop", "uid": "p", "creationTimestamp": START.to_string() },
        "status": { "phase": "Pending", "conditions": [{
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "lastTransitionTime": START.to_string(),
        }] },
    })
}

fn node(name: &str) -> Value {
    let hours_ago = (START - Duration::from_hours(5)).to_string();
    json!({
        "metadata": { "name": name, "uid": name, "creationTimestamp": hours_ago },
        "status": { "conditions": [{ "type": "Ready", "status": "True", "lastTransitionTime": hours_ago }] },
    })
}

/// The same, not ready since the start.
fn dark(name: &str) -> Value {
    let mut dark = node(name);
    dark["status"]["conditions"][0]["status"] = json!("Unknown");
    dark["status"]["conditions"][0]["lastTransitionTime"] = json!(START.to_string());
    dark
}

fn agent_on(node: &str) -> Value {
    let hours_ago = (START - Duration::from_hours(4)).to_string();
    json!({
        "metadata": {
            "name": format!("agent-{node}"), "uid": format!("agent-{node}"), "creationTimestamp": hours_ago,
            "ownerReferences": [{ "kind": "DaemonSet", "name": "agent", "controller": true }],
        },
        "spec": { "nodeName": node },
        "status": { "phase": "Running", "containerStatuses": [{ "state": { "running": { "startedAt": hours_ago } } }] },
    })
}

#[test]
fn a_pod_that_finds_no_node_is_told_after_its_sustain_and_ends_when_it_is_scheduled() {
    let mut scene = Scene::new();
    scene.pods(Event::Applied(object(&unschedulable())));
    assert_eq!(scene.told(), [("Unschedulable", State::Pending)]);
    scene.pass(Duration::from_mins(6));
    assert_eq!(scene.told(), [("Unschedulable", State::Active)]);
    scene.pods(Event::Deleted(object(&unschedulable())));
    scene.pass(Duration::from_mins(10));
    assert_eq!(scene.told(), [("Unschedulable", State::Cleared)]);
}

#[test]
fn a_quiet_watch_freezes_what_it_shows_and_nothing_else() {
    let mut scene = Scene::new();
    scene.pods(Event::Applied(object(&unschedulable())));
    scene.nodes(Event::Applied(object(&node("n1"))));
    scene.told();
    scene.pods(quiet());
    scene.nodes(Event::Applied(object(&dark("n1"))));
    scene.pass(Duration::from_mins(6));
    assert_eq!(scene.told(), [("NodeNotReady", State::Pending), ("NodeNotReady", State::Active)]);
    scene.pods(Event::Live);
    scene.pass(Duration::from_secs(1));
    assert_eq!((scene.told(), scene.list_again()), (vec![], vec![Collection::Pods(0)]), "it may have found one since");
    scene.pods(listed(&[unschedulable()]));
    assert_eq!(scene.told(), [("Unschedulable", State::Active)]);
}

#[test]
fn what_recovered_while_a_watch_was_quiet_is_told_by_nobody() {
    let mut scene = Scene::new();
    scene.pods(Event::Applied(object(&unschedulable())));
    scene.nodes(Event::Applied(object(&dark("n1"))));
    scene.told();
    scene.pods(quiet());
    scene.nodes(quiet());
    scene.pass(Duration::from_mins(10));
    scene.pods(Event::Live);
    scene.nodes(Event::Live);
    scene.pass(Duration::from_secs(1));
    assert_eq!((scene.told(), scene.list_again()), (vec![], vec![Collection::Pods(0), Collection::Nodes]));
    scene.pods(listed(&[]));
    scene.nodes(listed(&[node("n1")]));
    scene.pass(Duration::from_hours(1));
    assert_eq!(scene.told(), [("Unschedulable", State::Cleared), ("NodeNotReady", State::Cleared)]);
}

#[test]
fn what_fell_ill_again_while_a_watch_was_quiet_does_not_resolve() {
    let mut scene = Scene::new();
    scene.nodes(Event::Applied(object(&dark("n1"))));
    scene.pass(Duration::from_mins(6));
    let mut well = node("n1");
    well["status"]["conditions"][0]["lastTransitionTime"] = json!(scene.now.to_string());
    scene.nodes(Event::Applied(object(&well)));
    assert_eq!(scene.told(), [("NodeNotReady", State::Pending), ("NodeNotReady", State::Active)], "its hold runs");
    scene.nodes(quiet());
    scene.pass(Duration::from_hours(1));
    scene.nodes(Event::Live);
    scene.pass(Duration::from_secs(1));
    scene.nodes(listed(&[dark("n1")]));
    scene.pass(Duration::from_hours(1));
    assert_eq!(scene.told(), []);
}

#[test]
fn an_agent_that_was_replaced_while_its_pods_could_not_be_seen_is_not_silent() {
    let mut scene = Scene::new();
    scene.nodes(listed(&[node("n1")]));
    scene.agents(listed(&[agent_on("n1")]));
    scene.hear("n1", START);
    scene.pass(Duration::from_secs(1));
    scene.agents(quiet());
    scene.pass(Duration::from_mins(10));
    scene.agents(Event::Live);
    scene.pass(Duration::from_mins(1));
    assert_eq!((scene.told(), scene.list_again()), (vec![], vec![Collection::Agents]));
    scene.agents(listed(&[]));
    scene.pass(Duration::from_hours(1));
    assert_eq!(scene.told(), []);
}

#[test]
fn an_agent_that_was_heard_since_the_last_look_is_not_told() {
    let mut scene = Scene::new();
    scene.nodes(listed(&[node("n1")]));
    scene.agents(listed(&[agent_on("n1")]));
    scene.hear("n1", START);
    // Its three minutes are over at 270.
    scene.pass(Duration::from_secs(265));
    assert_eq!(scene.told(), [("AgentSilent", State::Pending)]);
    scene.hear("n1", scene.now);
    scene.pass(Duration::from_mins(1));
    assert_eq!(scene.told(), [("AgentSilent", State::Cleared)]);
    assert_eq!(scene.asked, []);
}

#[test]
fn an_agent_that_falls_silent_is_told_once_its_nodes_lease_was_read() {
    let mut scene = Scene::new();
    scene.nodes(Event::Applied(object(&node("n1"))));
    scene.agents(Event::Applied(object(&agent_on("n1"))));
    scene.hear("n1", START);
    scene.pass(Duration::from_secs(80));
    assert_eq!(scene.told(), [], "three heartbeats may be missing");
    scene.pass(Duration::from_mins(5));
    assert_eq!(scene.told(), [("AgentSilent", State::Pending)]);
    let [(id, asked)] = scene.asked.as_slice() else { panic!("one lease, not {:?}", scene.asked) };
    assert_eq!(&**asked, "n1");
    let steps = scene.sight.on_verdict(*id, Verdict::AgentBroken);
    let [finding] = steps.findings.as_slice() else { panic!("one finding, not {:?}", steps.findings) };
    assert_eq!((finding.state, finding.evidence.reason.as_deref()), (State::Active, Some("AgentBroken")));
    scene.hear("n1", scene.now + Duration::from_mins(10));
    scene.pass(Duration::from_mins(10));
    assert_eq!(scene.told(), [("AgentSilent", State::Cleared)]);
}

#[test]
fn while_the_fleet_cannot_be_seen_nobody_is_silent() {
    let mut scene = Scene::new();
    scene.nodes(Event::Applied(object(&node("n1"))));
    scene.agents(Event::Applied(object(&agent_on("n1"))));
    assert_eq!(scene.sight.expected(), Some(vec!["n1".into()]));
    scene.agents(quiet());
    assert_eq!(scene.sight.expected(), None);
    scene.pass(Duration::from_mins(30));
    assert_eq!(scene.told(), []);
}

#[test]
fn who_is_without_an_agent_is_well_and_waits_for_none() {
    let mut scene = Scene::new();
    let mut leaving = node("leaving");
    leaving["metadata"]["deletionTimestamp"] = json!(START.to_string());
    let nodes = ["covered", "silent", "starting", "virtual"].map(node);
    scene.nodes(listed(&[&nodes[..], &[dark("dark"), leaving]].concat()));
    let mut starting = agent_on("starting");
    starting["metadata"]["creationTimestamp"] = json!(START.to_string());
    starting["status"] = json!({ "phase": "Pending" });
    scene.agents(listed(&[agent_on("covered"), agent_on("silent"), starting]));
    scene.hear("covered", START);
    scene.hear("silent", START - Duration::from_mins(2));
    let without = |scene: &Scene| scene.sight.without_agent(&scene.heard, scene.now);
    assert_eq!(without(&scene), Some(["silent".into(), "virtual".into()].into()));
    scene.agents(quiet());
    assert_eq!(without(&scene), None);
}

#[test]
fn a_node_that_is_removed_takes_its_silence_with_it() {
    let mut scene = Scene::new();
    scene.nodes(listed(&[node("n1"), node("n2")]));
    scene.agents(listed(&[agent_on("n1"), agent_on("n2")]));
    scene.pass(Duration::from_mins(2));
    assert_eq!(scene.told(), [("AgentSilent", State::Pending); 2]);
    scene.nodes(Event::Deleted(object(&node("n1"))));
    assert_eq!(scene.told(), [("AgentSilent", State::Cleared)]);
    scene.nodes(listed(&[]));
    assert_eq!(scene.told(), [("AgentSilent", State::Cleared)]);
    assert_eq!(scene.gone, [Arc::from("n1"), Arc::from("n2")]);
}

#[test]
fn an_agent_is_silent_by_what_it_was_told_and_not_by_what_others_are() {
    let mut scene = Scene::new();
    scene.nodes(listed(&[node("n1")]));
    scene.agents(listed(&[agent_on("n1")]));
    scene.heard.insert("n1".into(), Heard { at: START, interval: Duration::from_mins(5) });
    scene.pass(Duration::from_mins(14));
    assert_eq!(scene.told(), []);
    assert_eq!(scene.sight.strength(&scene.heard, scene.now), Strength { expected: 1, connected: 1, silent: 0 });
}

#[test]
fn what_a_predecessor_told_ends_here() {
    let mut before = Scene::new();
    before.nodes(listed(&[node("n1"), node("n2"), dark("n3")]));
    before.agents(listed(&[agent_on("n1"), agent_on("n2")]));
    before.pods(listed(&[unschedulable()]));
    before.pass(Duration::from_mins(30));
    let told: Vec<Finding> = before.sight.engines().flat_map(Engine::findings).cloned().collect();
    let mut kinds: Vec<_> = told.iter().map(|finding| finding.kind.name()).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["AgentSilent", "AgentSilent", "NodeNotReady", "Unschedulable"]);

    let mut scene = Scene::blind(Coverage::Agents, before.now);
    let adopted = scene.sight.adopt(told.clone(), scene.now);
    assert_eq!(adopted, told.iter().map(|finding| finding.id).collect());
    assert_eq!(scene.sight.nodes(), None, "nobody has looked yet");
    // Meanwhile the pod was scheduled, two nodes were removed, and the third agent is heard again.
    scene.nodes(listed(&[node("n1")]));
    scene.nodes(Event::Live);
    assert_eq!(scene.sight.nodes(), Some([Arc::from("n1")].into()));
    scene.agents(listed(&[agent_on("n1")]));
    scene.agents(Event::Live);
    scene.pods(listed(&[]));
    scene.pods(Event::Live);
    scene.hear("n1", scene.now + Duration::from_mins(30));
    scene.pass(Duration::from_mins(30));
    let mut ended: Vec<_> = scene.told().into_iter().filter(|(_, state)| *state == State::Cleared).collect();
    ended.sort_unstable_by_key(|(kind, _)| *kind);
    let kinds: Vec<_> = ended.into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, ["AgentSilent", "AgentSilent", "NodeNotReady", "Unschedulable"]);
}

#[test]
fn an_agent_that_outlived_its_node_is_forgotten_once_it_is_silent() {
    let mut scene = Scene::new();
    scene.nodes(listed(&[node("n1")]));
    scene.hear("n1", START);
    scene.nodes(Event::Deleted(object(&node("n1"))));
    assert_eq!(std::mem::take(&mut scene.gone), [Arc::from("n1")]);
    scene.hear("n1", START + Duration::from_secs(5));
    scene.pass(Duration::from_secs(94));
    assert_eq!(scene.gone, [] as [Arc<str>; 0], "it may be that the node is not seen yet");
    scene.pass(Duration::from_secs(30));
    assert_eq!(scene.gone, [Arc::from("n1")]);
}

#[test]
fn nobody_is_forgotten_because_of_nodes_that_cannot_be_seen() {
    let mut scene = Scene::new();
    scene.hear("n1", START);
    scene.hear("n2", START);
    scene.nodes(quiet());
    scene.pass(Duration::from_hours(1));
    assert_eq!(scene.gone, [] as [Arc<str>; 0]);
    scene.nodes(Event::Live);
    let skipped = vec![Meta { name: "n1".into(), ..Meta::default() }];
    scene.nodes(Event::Listed { objects: Vec::new(), skipped, first: false, restored: false });
    scene.pass(Duration::from_mins(1));
    assert_eq!(scene.gone.first(), Some(&Arc::from("n2")));
    assert!(!scene.gone.contains(&Arc::from("n1")), "it is there, whatever it is like");
}

#[test]
fn other_rules_look_at_what_is_there_again() {
    let mut scene = Scene::new();
    scene.nodes(Event::Applied(object(&dark("n1"))));
    scene.pods(Event::Applied(object(&unschedulable())));
    scene.pass(Duration::from_mins(6));
    scene.told();
    let mut off = Config::default();
    for kind in ["Unschedulable", "NodeNotReady"] {
        off.kinds.get_mut(kind).expect("a kind").enabled = false;
    }
    let steps = scene.sight.configure(&Arc::new(off), INTERVAL, scene.now);
    scene.take(steps);
    assert_eq!(scene.told(), [("Unschedulable", State::Cleared), ("NodeNotReady", State::Cleared)]);
    let steps = scene.sight.configure(&Arc::new(Config::default()), INTERVAL, scene.now);
    assert_eq!(steps.list_again, [Collection::Pods(0)], "pods are not kept");
    scene.take(steps);
    scene.pods(listed(&[unschedulable()]));
    scene.told.sort_unstable();
    assert_eq!(scene.told(), [("NodeNotReady", State::Active), ("Unschedulable", State::Active)]);
}

#[test]
fn what_a_list_could_not_read_is_not_gone() {
    let mut scene = Scene::new();
    let mut dark = node("n1");
    dark["status"]["conditions"][0]["status"] = json!("Unknown");
    let (dark, homeless) = (object::<Node>(&dark), object::<Pod>(&unschedulable()));
    scene.nodes(Event::Applied(dark.clone()));
    scene.pods(Event::Applied(homeless.clone()));
    scene.pass(Duration::from_mins(6));
    scene.told();
    scene.nodes(Event::Listed { objects: Vec::new(), skipped: vec![dark.meta], first: false, restored: false });
    scene.pods(Event::Listed { objects: Vec::new(), skipped: vec![homeless.meta], first: false, restored: false });
    scene.pass(Duration::from_hours(1));
    assert_eq!(scene.told(), []);
}

/// A pod that keeps failing to pull its image.
fn ill(namespace: &str) -> Value {
    json!({
        "metadata": { "name": "p", "namespace": namespace, "uid": namespace, "creationTimestamp": START.to_string() },
        "spec": { "nodeName": "n1", "containers": [{ "name": "app" }] },
        "status": { "phase": "Pending", "containerStatuses": [
            { "name": "app", "state": { "waiting": { "reason": "ImagePullBackOff" } } },
        ] },
    })
}

#[test]
fn without_agents_pods_and_nodes_are_seen_here_and_nobody_is_silent() {
    let mut scene = Scene::blind(Coverage::Cluster, START);
    assert_eq!((scene.sight.expected(), scene.sight.sees_all_pods()), (None, false), "nothing is known yet");
    scene.nodes(listed(&[dark("n1"), node("n2")]));
    scene.nodes(Event::Live);
    scene.pods(listed(&[ill("shop"), unschedulable()]));
    scene.pods(Event::Live);
    scene.pass(Duration::from_hours(1));
    let mut told = scene.told();
    told.retain(|(_, state)| *state == State::Active);
    told.sort_unstable_by_key(|(kind, _)| *kind);
    let kinds: Vec<_> = told.into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, ["ImagePull", "NodeNotReady", "Unschedulable"]);
    assert_eq!((scene.sight.expected(), scene.sight.sees_all_pods()), (Some(vec![]), true));
    assert_eq!(scene.sight.without_agent(&scene.heard, scene.now), None, "there is none to stand in for");
}

#[test]
fn each_namespace_freezes_by_itself_and_goes_on_with_its_own() {
    let coverage = || Coverage::Namespaces(["payments".into(), "shop".into()].into());
    let mut before = Scene::blind(coverage(), START);
    for (number, namespace) in ["payments", "shop"].into_iter().enumerate() {
        before.pods_of(number, listed(&[ill(namespace)]));
        before.pods_of(number, Event::Live);
    }
    before.pods_of(0, quiet());
    before.pass(Duration::from_hours(1));
    assert_eq!(
        before.told(),
        [("ImagePull", State::Pending), ("ImagePull", State::Pending), ("ImagePull", State::Active),]
    );
    before.pods_of(0, Event::Live);
    before.pass(INTERVAL);
    assert_eq!(before.list_again(), [Collection::Pods(0)]);
    before.pods_of(0, listed(&[ill("payments")]));
    assert_eq!(before.told(), [("ImagePull", State::Active)]);

    let mut open: Vec<Finding> = before.sight.engines().flat_map(Engine::findings).cloned().collect();
    let silent = Kind::named("AgentSilent").expect("a kind");
    open.push(Finding { id: FindingId(7), kind: silent, ..open[0].clone() });
    let node = Kind::named("NodeNotReady").expect("a kind");
    open.push(Finding { id: FindingId(8), kind: node, ..open[0].clone() });
    let mut scene = Scene::blind(coverage(), before.now);
    assert_eq!(scene.sight.adopt(open, scene.now).len(), 2, "nodes and agents are not watched any more");
    scene.pods_of(1, listed(&[]));
    scene.pods_of(1, Event::Live);
    scene.pass(Duration::from_hours(1));
    assert_eq!(scene.told(), [("ImagePull", State::Cleared)], "of the other nothing is known");
}

#[test]
fn between_deadlines_there_is_nothing_to_do() {
    let mut scene = Scene::new();
    scene.pass(Duration::from_secs(1));
    assert_eq!(scene.sight.next_deadline(), START + INTERVAL, "the next look over the fleet");
    scene.pods(quiet());
    scene.nodes(quiet());
    scene.pass(Duration::from_hours(1));
    assert!(scene.sight.next_deadline() > scene.now, "what cannot be seen keeps nobody busy");
}
