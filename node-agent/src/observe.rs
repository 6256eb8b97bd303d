//! What the watch shows becomes what the engine knows.
//!
//! Before the first session there are no rules to judge it by: until then it waits, and is judged later as of when it
//! came. So a start tells nothing that the rules leave out, and loses nothing that happened before them.
//!
//! While the watch is quiet the engine stands still ([`watch::Sight`]).

use std::collections::VecDeque;

use process::watch::{self, Event};
use rules::{Engine, Pod, Time};

/// What the watch has shown before there are rules.
#[derive(Debug, Default)]
pub struct Waiting {
    events: VecDeque<(Time, Event<Pod>)>,
    has_rules: bool,
}

/// What the watch shows, as far as it may be believed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sight(watch::Sight);

/// What is to be done besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Nothing.
    Nothing,
    /// The LIST was complete: what there is can be told whole.
    Synced,
    /// Ask for everything once more.
    ListAgain,
}

impl Waiting {
    /// How many events wait: more than a node has in an hour, as a rule, and 2 MiB. The first of them is the LIST.
    pub const EVENTS_MAX: usize = 512;

    /// Gives an event back when it can be judged now, else keeps it.
    pub fn pass(&mut self, event: Event<Pod>, now: Time) -> Option<Event<Pod>> {
        if self.has_rules {
            return Some(event);
        }
        self.events.push_back((now, event));
        None
    }

    /// Whether there is room for no more. Then the watch is not to be read: the API server keeps what comes, or it is
    /// listed again.
    pub fn is_full(&self) -> bool {
        self.events.len() >= Self::EVENTS_MAX
    }

    /// The rules are there: what has waited, oldest first, and when it came.
    pub fn on_rules(&mut self) -> VecDeque<(Time, Event<Pod>)> {
        self.has_rules = true;
        std::mem::take(&mut self.events)
    }
}

impl Sight {
    /// Shows an event to the engine.
    pub fn observe(&mut self, event: Event<Pod>, engine: &mut Engine, now: Time) -> Then {
        let is_due = engine.next_deadline().is_some_and(|deadline| deadline <= now);
        let list_again = self.0.on(&event, is_due);
        match event {
            Event::Listed { objects, skipped, first: _, restored: _ } => {
                engine.on_relist_but(&objects, &skipped, now);
                return Then::Synced;
            }
            Event::Applied(pod) => engine.on_pod(&pod, now),
            Event::Deleted(pod) => engine.on_pod_deleted(&pod, now),
            Event::Quiet { .. } | Event::Live => {}
        }
        if list_again { Then::ListAgain } else { Then::Nothing }
    }

    /// When the engine is to be ticked next; `None` while time stands still.
    pub fn next_deadline(self, engine: &Engine) -> Option<Time> {
        engine.next_deadline().filter(|_| self.0.is_live())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use process::watch::Failure;
    use rules::view::Meta;
    use rules::{Config, Finding, Observer, State};

    use super::*;

    const START: Time = Time::from_millis(1_778_000_000_000);

    /// A node's engine and what it sees, in a test's hands.
    struct Seer {
        engine: Engine,
        sight: Sight,
        now: Time,
    }

    impl Seer {
        /// A LIST and an open watch.
        fn live(pods: Vec<Pod>) -> Self {
            let engine = Engine::new(Observer::NodeAgent { node: "node-1".into() }, Arc::new(Config::default()));
            let mut seer = Self { engine, sight: Sight::default(), now: START };
            assert_eq!(seer.shows(listed(pods, Vec::new(), true)), Then::Synced);
            assert_eq!(seer.shows(Event::Live), Then::Nothing);
            seer
        }

        fn shows(&mut self, event: Event<Pod>) -> Then {
            self.sight.observe(event, &mut self.engine, self.now)
        }

        /// Time passes, and the engine is ticked when it wants and may be.
        fn pass(&mut self, span: Duration) {
            let end = self.now + span;
            while let Some(at) = self.sight.next_deadline(&self.engine).filter(|at| *at <= end) {
                self.now = self.now.max(at);
                self.engine.on_tick(self.now);
            }
            self.now = end;
        }

        fn states(&mut self) -> Vec<(String, State)> {
            let name = |finding: Finding| (format!("{} {}", finding.kind, finding.subject.pod), finding.state);
            self.engine.changes().into_iter().map(name).collect()
        }
    }

    /// A pod whose image cannot be pulled, since the start.
    fn ill(name: &str) -> Pod {
        pod(name, r#"{"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}"#, "Pending", "False")
    }

    fn well(name: &str) -> Pod {
        pod(name, &format!(r#"{{"running": {{"startedAt": "{START}"}}}}"#), "Running", "True")
    }

    fn pod(name: &str, state: &str, phase: &str, ready: &str) -> Pod {
        let condition = format!(r#"{{"type": "Ready", "status": "{ready}", "lastTransitionTime": "{START}"}}"#);
        let status = format!(
            r#"{{"phase": "{phase}", "startTime": "{START}", "conditions": [{condition}], "containerStatuses":
                [{{"name": "app", "ready": {}, "restartCount": 0, "image": "app:1", "state": {state}}}]}}"#,
            ready == "True"
        );
        let meta = format!(
            r#"{{"name": "{name}", "namespace": "shop", "uid": "uid-{name}", "creationTimestamp": "{START}"}}"#
        );
        let spec = r#"{"nodeName": "node-1", "containers": [{"name": "app", "image": "app:1"}]}"#;
        serde_json::from_str(&format!(r#"{{"metadata": {meta}, "spec": {spec}, "status": {status}}}"#))
            .expect("it is a pod")
    }

    fn listed(objects: Vec<Pod>, skipped: Vec<Meta>, first: bool) -> Event<Pod> {
        Event::Listed { objects, skipped, first, restored: false }
    }

    fn quiet() -> Event<Pod> {
        Event::Quiet { reason: Failure::Silent }
    }

    fn is(pod: &str, state: State) -> Vec<(String, State)> {
        vec![(format!("ImagePull {pod}"), state)]
    }

    #[test]
    fn while_nothing_is_heard_nothing_fires() {
        let mut seer = Seer::live(vec![ill("a")]);
        assert_eq!(seer.states(), is("a", State::Pending));
        seer.shows(quiet());
        seer.pass(Duration::from_hours(1));
        assert_eq!(seer.states(), []);
        assert_eq!(seer.shows(Event::Live), Then::ListAgain);
        assert_eq!(seer.states(), [], "what happened meanwhile is not known yet");
        assert_eq!(seer.shows(listed(vec![ill("a")], Vec::new(), false)), Then::Synced);
        assert_eq!(seer.states(), is("a", State::Active));
        assert!(seer.sight.0.is_live());
    }

    #[test]
    fn while_nothing_is_heard_nothing_resolves() {
        let mut seer = Seer::live(vec![ill("a")]);
        seer.pass(Duration::from_mins(2));
        assert_eq!(seer.states(), is("a", State::Active));
        seer.shows(Event::Applied(well("a")));
        seer.shows(quiet());
        seer.pass(Duration::from_hours(1));
        assert_eq!(seer.shows(Event::Live), Then::ListAgain);
        // It fell ill again before anybody looked.
        seer.shows(listed(vec![ill("a")], Vec::new(), false));
        seer.pass(Duration::from_hours(1));
        assert_eq!(seer.states(), []);
    }

    #[test]
    fn a_short_silence_in_which_nothing_was_due_needs_no_list() {
        let mut seer = Seer::live(vec![ill("a")]);
        seer.shows(quiet());
        seer.pass(Duration::from_secs(5));
        assert_eq!(seer.shows(Event::Live), Then::Nothing);
        seer.pass(Duration::from_mins(2));
        assert_eq!(seer.states(), is("a", State::Active));
    }

    #[test]
    fn a_pod_that_could_not_be_decoded_is_not_taken_for_gone() {
        let mut seer = Seer::live(vec![ill("a")]);
        seer.pass(Duration::from_mins(2));
        assert_eq!(seer.states(), is("a", State::Active));
        let skipped = vec![ill("a").meta];
        seer.shows(listed(Vec::new(), skipped, false));
        seer.pass(Duration::from_hours(1));
        assert_eq!(seer.states(), []);
        seer.shows(listed(Vec::new(), Vec::new(), false));
        seer.pass(Duration::from_hours(1));
        assert_eq!(seer.states(), is("a", State::Cleared));
    }

    #[test]
    fn all_of_a_list_is_judged_before_what_was_due_in_the_dark_also_when_some_cannot_be_read() {
        let mut seer = Seer::live(vec![ill("a"), ill("b")]);
        seer.states();
        seer.shows(quiet());
        seer.pass(Duration::from_hours(1));
        assert_eq!(seer.shows(Event::Live), Then::ListAgain);
        seer.shows(listed(vec![well("a"), well("b")], vec![ill("c").meta], false));
        assert_eq!(seer.states(), [is("a", State::Cleared), is("b", State::Cleared)].concat());
    }

    #[test]
    fn what_the_first_list_cannot_read_is_not_gone_either() {
        let mut before = Seer::live(vec![ill("a")]);
        before.pass(Duration::from_mins(2));
        let open: Vec<Finding> = before.engine.findings().cloned().collect();
        let engine = Engine::new(Observer::NodeAgent { node: "node-1".into() }, Arc::new(Config::default()));
        let mut seer = Seer { engine, sight: Sight::default(), now: before.now };
        seer.engine.adopt(open, seer.now);
        seer.shows(listed(Vec::new(), vec![ill("a").meta], true));
        seer.shows(Event::Live);
        seer.pass(Duration::from_hours(1));
        assert_eq!(seer.states(), []);
    }

    #[test]
    fn what_comes_before_the_rules_is_judged_by_them_as_of_when_it_came() {
        let mut waiting = Waiting::default();
        let later = START + Duration::from_hours(1);
        for (at, event) in [(START, listed(Vec::new(), Vec::new(), true)), (START, Event::Live)] {
            assert_eq!(waiting.pass(event, at), None);
        }
        assert_eq!(waiting.pass(Event::Applied(ill("a")), later), None);
        let mut config = Config::default();
        config.kinds.get_mut("ImagePull").expect("a kind").sustain = Duration::from_hours(2);
        let engine = Engine::new(Observer::NodeAgent { node: "node-1".into() }, Arc::new(Config::default()));
        let mut seer = Seer { engine, sight: Sight::default(), now: START };
        assert!(!seer.engine.configure(Arc::new(config)), "there was no list yet");
        let mut then = Vec::new();
        for (at, event) in waiting.on_rules() {
            seer.now = at;
            then.push(seer.shows(event));
        }
        assert_eq!(then, [Then::Synced, Then::Nothing, Then::Nothing]);
        assert_eq!(seer.states(), is("a", State::Pending));
        seer.pass(Duration::from_mins(119));
        assert_eq!(seer.states(), [], "the rules' sustain counts, from when it was seen");
        seer.pass(Duration::from_mins(2));
        assert_eq!(seer.states(), is("a", State::Active));
        assert_eq!(waiting.pass(Event::Live, later), Some(Event::Live), "from then on nothing waits");
    }

    #[test]
    fn what_waits_for_rules_has_a_bound() {
        let mut waiting = Waiting::default();
        while !waiting.is_full() {
            assert_eq!(waiting.pass(Event::Applied(well("a")), START), None);
        }
        assert_eq!(waiting.on_rules().len(), Waiting::EVENTS_MAX);
        assert!(!waiting.is_full());
    }

    #[test]
    fn what_is_applied_and_deleted_reaches_the_engine() {
        let mut seer = Seer::live(Vec::new());
        seer.shows(Event::Applied(ill("a")));
        seer.pass(Duration::from_mins(2));
        assert_eq!(seer.states(), is("a", State::Active));
        seer.shows(Event::Deleted(ill("a")));
        seer.pass(Duration::from_hours(1));
        assert_eq!(seer.states(), is("a", State::Cleared));
    }
}
