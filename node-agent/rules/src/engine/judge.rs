//! Asking the rules about one object and letting their verdicts take effect.

use std::sync::Arc;
use std::time::Duration;

use crate::agent::AgentSight;
use crate::finding::{Evidence, Finding, FindingId, Owner, Seen, Severity, State, Subject};
use crate::owner::top_owner;
use crate::time::Time;
use crate::verdict::{AgentCase, ContainerCase, Health, NodeCase, Observation, PodCase, Rule, Verdict};
use crate::view::{Node, Pod};
use crate::wishes::Wishes;

use super::memory::{Anchor, Memory, Realm};
use super::track::{Condition, Track};
use super::{Engine, Watched};

/// One object under judgement.
pub(super) struct Scene<'a> {
    object: ObjectRef<'a>,
    anchor: Anchor,
    realm: Realm,
    wishes: Wishes<'a>,
    seen: Seen,
    now: Time,
}

enum ObjectRef<'a> {
    Pod(&'a Pod),
    Node(&'a Node),
    Agent(&'a AgentSight<'a>),
}

impl Scene<'_> {
    fn subject(&self) -> Subject {
        match self.object {
            ObjectRef::Pod(pod) => Subject {
                namespace: pod.meta.namespace.clone(),
                pod: pod.meta.name.clone(),
                uid: if pod.is_static() { Arc::default() } else { pod.meta.uid.clone() },
                container: Arc::default(),
                node: pod.spec.node_name.clone(),
            },
            ObjectRef::Node(node) => Subject { node: node.meta.name.clone(), ..Subject::default() },
            ObjectRef::Agent(agent) => Subject { node: agent.node.meta.name.clone(), ..Subject::default() },
        }
    }

    fn owner(&self) -> Owner {
        match self.object {
            ObjectRef::Pod(pod) => top_owner(pod),
            ObjectRef::Node(node) => Owner { kind: Arc::from("Node"), name: node.meta.name.clone() },
            ObjectRef::Agent(agent) => Owner { kind: Arc::from("DaemonSet"), name: agent.daemon_set.clone() },
        }
    }

    fn severity(&self, seen: &Observation, watched: &Watched) -> Severity {
        self.wishes.severity.or(seen.severity).unwrap_or(watched.settings.severity)
    }

    fn sustain(&self, seen: &Observation, watched: &Watched) -> Duration {
        self.wishes.sustain.or(seen.sustain).unwrap_or(watched.settings.sustain)
    }
}

impl Engine {
    pub(super) fn judge_pod(&mut self, pod: &Pod, now: Time) {
        let scene = Scene {
            object: ObjectRef::Pod(pod),
            anchor: Anchor::of_pod(&pod.meta),
            realm: Realm::Pods,
            wishes: Wishes::of(&pod.meta.annotations),
            seen: if self.pods_listed { Seen::Happening } else { Seen::Found },
            now,
        };
        let (watched, moment, whole) = (Arc::clone(&self.watched), self.moment(now), Arc::default());
        let mut unjudged = self.seen_again(scene.anchor);
        if let Some(memory) = self.memories.get_mut(&scene.anchor) {
            // Whoever watches all pods has seen it before it had one.
            memory.subject.node.clone_from(&pod.spec.node_name);
        }
        for kind in watched.iter() {
            let (row, settings) = (kind.kind.row(), &kind.settings);
            let closed = row.gates.closed(pod, moment).map(Verdict::Not);
            match row.rule {
                Rule::Pod(rule) => {
                    let verdict = closed.unwrap_or_else(|| rule(&PodCase { pod, moment, settings }));
                    self.judge(&scene, kind, &whole, verdict, &mut unjudged);
                }
                Rule::Container(rule) => {
                    for (spec, status) in pod.containers() {
                        let case = ContainerCase { pod, spec, status, moment, settings };
                        let verdict = match closed {
                            Some(Verdict::Not(health)) => Verdict::Not(health),
                            _ => rule(&case),
                        };
                        self.judge(&scene, kind, &spec.name, verdict, &mut unjudged);
                    }
                }
                Rule::Node(_) | Rule::Agent(_) => {}
            }
        }
        // Containers that the pod does not show any more.
        for id in unjudged {
            self.quieten(id, now);
        }
    }

    pub(super) fn judge_node(&mut self, node: &Node, now: Time) {
        let scene = Scene {
            object: ObjectRef::Node(node),
            anchor: Anchor::of(Realm::Nodes, &node.meta.name),
            realm: Realm::Nodes,
            wishes: Wishes::default(),
            seen: if self.nodes_listed { Seen::Happening } else { Seen::Found },
            now,
        };
        let (watched, moment, whole) = (Arc::clone(&self.watched), self.moment(now), Arc::default());
        let mut unjudged = self.seen_again(scene.anchor);
        self.nodes.entry(scene.anchor).or_default().note(node, now);
        for kind in watched.iter() {
            if let Rule::Node(rule) = kind.kind.row().rule {
                let history = &self.nodes[&scene.anchor];
                let verdict = rule(&NodeCase { node, history, moment, settings: &kind.settings });
                self.judge(&scene, kind, &whole, verdict, &mut unjudged);
            }
        }
    }

    pub(super) fn judge_agent(&mut self, agent: &AgentSight<'_>, now: Time) {
        let scene = Scene {
            object: ObjectRef::Agent(agent),
            anchor: Anchor::of(Realm::Agents, &agent.node.meta.name),
            realm: Realm::Agents,
            wishes: Wishes::default(),
            seen: Seen::Happening,
            now,
        };
        let (watched, moment, whole) = (Arc::clone(&self.watched), self.moment(now), Arc::default());
        let mut unjudged = self.seen_again(scene.anchor);
        for kind in watched.iter() {
            if let Rule::Agent(rule) = kind.kind.row().rule {
                let verdict = rule(&AgentCase { agent, moment, settings: &kind.settings });
                self.judge(&scene, kind, &whole, verdict, &mut unjudged);
            }
        }
    }

    /// A subject is there (again). Its open findings.
    fn seen_again(&mut self, anchor: Anchor) -> Vec<FindingId> {
        let Some(memory) = self.memories.get_mut(&anchor) else { return Vec::new() };
        memory.gone = None;
        memory.open.clone()
    }

    /// Lets a verdict about a container (or the whole object, then its name is empty) take effect.
    fn judge(
        &mut self,
        scene: &Scene<'_>,
        watched: &Watched,
        container: &Arc<str>,
        verdict: Verdict,
        unjudged: &mut Vec<FindingId>,
    ) {
        let kind = watched.kind;
        let unclear = matches!(verdict, Verdict::Not(Health::Unclear) | Verdict::Happened(_, Health::Unclear));
        let nothing = matches!(verdict, Verdict::Not(_)) && !unclear;
        if nothing && !self.memories.contains_key(&scene.anchor) && self.shed.known.is_empty() {
            return;
        }
        let memory = self.memories.entry(scene.anchor).or_insert_with(|| Memory::new(scene.realm, &scene.subject()));
        memory.note_unclear(kind, container, unclear);
        let subject = Subject { container: container.clone(), ..memory.subject.clone() };
        let id = FindingId::of(kind, &subject);
        unjudged.retain(|other| *other != id);
        match verdict {
            Verdict::Holds(seen) => self.hold(scene, watched, &subject, seen),
            Verdict::Happened(seen, health) => {
                self.happen(scene, watched, &subject, seen);
                self.recover(id, health, scene.now);
            }
            Verdict::Not(health) => {
                self.shed.known.remove(&id);
                if !watched.enabled || scene.wishes.ignore(kind) {
                    self.end(id);
                }
                self.recover(id, health, scene.now);
            }
        }
        if self.memories.get(&scene.anchor).is_some_and(Memory::is_empty) {
            self.memories.remove(&scene.anchor);
        }
    }

    /// The condition of a level is there.
    fn hold(&mut self, scene: &Scene<'_>, watched: &Watched, subject: &Subject, mut seen: Observation) {
        let id = FindingId::of(watched.kind, subject);
        let (severity, sustain) = (scene.severity(&seen, watched), scene.sustain(&seen, watched));
        if !self.counts(scene, watched, subject, severity) {
            return self.end(id);
        }
        if self.tracks.get(&id).is_some_and(|track| track.is_replaced_by(&seen, severity)) {
            self.end(id);
            seen.since = scene.now;
        }
        if let Some(track) = self.tracks.get_mut(&id) {
            let changed = track.observe(seen, severity, scene.now);
            (track.sustain, track.hold) = (sustain, watched.settings.hold);
            if changed && track.announced {
                self.outbox.push(id);
            }
            return self.rearm(id);
        }
        let finding = found(scene, watched, subject.clone(), severity, State::Pending, seen);
        let track = Track::begun(finding, scene.anchor, scene.realm, sustain, watched.settings.hold);
        self.begin(track, scene.anchor, subject);
    }

    /// An edge's newest occurrence is in the view: a new one opens its finding, or opens it again.
    fn happen(&mut self, scene: &Scene<'_>, watched: &Watched, subject: &Subject, mut seen: Observation) {
        let id = FindingId::of(watched.kind, subject);
        let severity = scene.severity(&seen, watched);
        let memory = self.memories.entry(scene.anchor).or_insert_with(|| Memory::new(scene.realm, subject));
        // Spent even when nobody is told: what happens while a kind is switched off is not told later.
        let occurrences = memory.spend(watched.kind, &subject.container, seen.incarnation, seen.since);
        if !self.counts(scene, watched, subject, severity) {
            return self.end(id);
        }
        let Some(occurrences) = occurrences else { return };
        seen.evidence.occurrences = Some(occurrences);
        let finding = found(scene, watched, subject.clone(), severity, State::Active, seen);
        if let Some(track) = self.tracks.get_mut(&id) {
            track.finding = finding;
            track.condition = Condition::There;
            track.told = track.told.map(|_| State::Pending);
            self.outbox.push(id);
            return self.rearm(id);
        }
        let mut track = Track::begun(finding, scene.anchor, scene.realm, Duration::ZERO, watched.settings.hold);
        track.announced = true;
        self.begin(track, scene.anchor, subject);
    }

    /// How the subject of a finding is now that its condition is not there, or that its edge has happened.
    fn recover(&mut self, id: FindingId, health: Health, now: Time) {
        match health {
            Health::Well(since) => self.quieten(id, since.unwrap_or(now)),
            Health::Unclear => self.set_condition(id, Condition::Unclear),
        }
    }

    /// Whether a finding counts: its kind is on, nobody asked to ignore it, its namespace is in scope.
    fn counts(&self, scene: &Scene<'_>, watched: &Watched, subject: &Subject, severity: Severity) -> bool {
        watched.enabled && !scene.wishes.ignore(watched.kind) && self.config.scope.admits(&subject.namespace, severity)
    }
}

fn found(
    scene: &Scene<'_>,
    watched: &Watched,
    subject: Subject,
    severity: Severity,
    state: State,
    seen: Observation,
) -> Finding {
    let Observation { since, incarnation, owner, mut evidence, .. } = seen;
    evidence.names.truncate(Evidence::NAMES_MAX);
    Finding {
        id: FindingId::of(watched.kind, &subject),
        kind: watched.kind,
        owner: owner.unwrap_or_else(|| scene.owner()),
        subject,
        incarnation,
        state,
        since,
        seen: scene.seen,
        severity,
        evidence,
    }
}
