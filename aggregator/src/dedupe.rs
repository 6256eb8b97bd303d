//! Dedupe: findings become issues, and every finding gets a decision.
//!
//! Findings of one kind under one top owner are one issue. A cause swallows its symptoms: while it may still turn out
//! to be there they are held, while it is there they are inhibited, and once it has ended they are judged by what is
//! there then. Unknown never resolves: only a finding that its observer cleared, or that nobody can see any more for
//! its whole hold, is over.
//!
//! Pure: inputs are `on_*(…, now)`, outputs are [`Effect`]s, plus one [`Dedupe::next_deadline`].

pub mod accounts;
pub mod decision;
mod episode;
mod explain;
pub mod issue;
mod judge;
mod past;
mod recall;
mod routing;
mod share;
mod shed;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use rules::{Finding, FindingId, Incarnation, Owner, Severity, State, Time};
use wire::Entry;

use self::accounts::Accounts;
use self::decision::{Decision, Waiting};
use self::explain::Explanations;
pub use self::issue::{Issue, IssueKey, Member, MemberId, Observer};
use self::past::Past;
use self::shed::Shed;
use crate::forward::outbox::{Fate, Intent};
use crate::settings::Settings;

/// What dedupe wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// The fate of this state of a finding is decided: its observer may forget it.
    Settle(MemberId, u32),
    /// A sink is to hear of an issue.
    Tell(Arc<str>, Arc<IssueKey>, Intent),
    /// A pod is to be read from the API, and compared.
    Verify(Check),
    /// A full report of that observer is needed.
    NeedFull(Observer),
    /// An episode is over for every sink that was to hear of it: its number, its last revision, and when it ended.
    Over(Arc<IssueKey>, Incarnation, u32, Option<Time>),
    /// For the log: an issue has changed.
    Changed(Arc<IssueKey>, Change),
}

/// What happened to an issue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is going to be told.
    Opened(Severity),
    /// It is over.
    Resolved,
    /// Its opener is not what the API has there.
    Unverified,
}

/// A pod that an issue is about to be told of, as its reporter describes it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Check {
    /// The issue.
    pub issue: Arc<IssueKey>,
    /// The finding.
    pub member: MemberId,
    /// The pod's namespace.
    pub namespace: Arc<str>,
    /// The pod.
    pub pod: Arc<str>,
    /// Its UID; empty for a static pod, where only the node is compared.
    pub uid: Arc<str>,
    /// The node that it must run on: the reporter's.
    pub node: Arc<str>,
    /// When the condition began or happened.
    pub since: Time,
}

/// What reading it gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    /// It is the one, or it is gone by now (another may have its name since), or the API could not say: no reason for
    /// doubt.
    NoDoubt,
    /// Another pod had that name, or it runs elsewhere: the report is not believed.
    Mismatch,
}

/// Findings, issues and what became of them.
#[derive(Debug)]
pub struct Dedupe {
    settings: Arc<Settings>,
    explanations: Explanations,
    issues: HashMap<Arc<IssueKey>, Issue>,
    members: HashMap<MemberId, Arc<IssueKey>>,
    /// The issues under one owner (an owner is unique in its namespace).
    places: HashMap<Place, BTreeSet<Arc<IssueKey>>>,
    /// The findings about pods on a node, whoever sees them.
    by_node: HashMap<Arc<str>, HashSet<MemberId>>,
    past: Past,
    /// Found edges up to then are old.
    low_water: Time,
    /// The same for observers that reported before: up to then they said what they saw.
    saw_until: HashMap<Observer, Time>,
    /// Expected observers have not reported yet: nothing resolves.
    resyncing: bool,
    deadlines: BTreeSet<(Time, MemberId)>,
    accounts: Accounts,
    shed: Shed,
    effects: Vec<Effect>,
}

/// Where issues explain each other: a namespace and an owner.
type Place = (Arc<str>, Owner);

impl Dedupe {
    /// Nothing is known yet. Edges that are found and happened before `now` are old; nothing resolves before
    /// [`Self::on_resynced`].
    pub fn new(settings: Arc<Settings>, now: Time) -> Self {
        Self {
            settings,
            explanations: Explanations::of_catalogue(),
            issues: HashMap::new(),
            members: HashMap::new(),
            places: HashMap::new(),
            by_node: HashMap::new(),
            past: Past::default(),
            low_water: now,
            saw_until: HashMap::new(),
            resyncing: true,
            deadlines: BTreeSet::new(),
            accounts: Accounts::default(),
            shed: Shed::default(),
            effects: Vec::new(),
        }
    }

    /// Goes by other settings from now on. A sink that is new hears of what is open; one that is no more keeps nothing waiting.
    pub fn configure(&mut self, settings: Arc<Settings>, now: Time) {
        self.settings = settings;
        let keys: Vec<_> = self.issues.keys().map(|key| (Arc::clone(key), self.stands(key))).collect();
        for (key, _) in &keys {
            self.reroute(key);
        }
        for (key, stood) in keys {
            self.proceed(&key, now);
            self.decide_held(&key, now);
            self.proceed(&key, now);
            self.has_changed(&key, stood, now);
        }
    }

    /// An observer has told the states of some of its findings. All are taken in before any is judged: a cause may come
    /// after its symptoms. But what a predecessor told and is over by now comes last: what it explained until then is not
    /// known yet.
    pub fn on_findings(&mut self, observer: &Observer, entries: Vec<Entry>, now: Time) {
        let is_end_of_recalled = |Entry { finding, .. }: &Entry| {
            let id = || MemberId { observer: Arc::clone(observer), finding: finding.id };
            finding.state == State::Cleared && self.is_recalled(&id())
        };
        let (ends, others) = entries.into_iter().partition(is_end_of_recalled);
        self.take_in_all(observer, others, now);
        self.take_in_all(observer, ends, now);
    }

    /// A full report of `observer` was taken in whole. What is not `named` in it is not seen by anybody any more; what was
    /// held after a cause ended is confirmed by it.
    pub fn on_full_report(&mut self, observer: &Observer, named: &HashSet<FindingId>, now: Time) {
        self.shed.retain(observer, named);
        let on_node = self.by_node.get(observer).into_iter().flatten();
        let absent = on_node.filter(|id| id.observer == *observer && !named.contains(&id.finding));
        for id in absent.cloned().collect::<Vec<_>>() {
            self.on_unseen(id, now);
        }
        let held: Vec<_> = self.by_node.get(observer).into_iter().flatten().cloned().collect();
        for id in held {
            let Some(member) = self.member_mut(&id) else { continue };
            let is_seen = member.unseen_since.is_none();
            if let Some(held) = &mut member.held {
                held.confirmed |= held.ended < now && is_seen;
                self.judge_anew(&id, now);
            }
        }
    }

    /// A session of `observer` begins anew; up to then it has reported what it saw.
    pub fn on_session(&mut self, observer: &Observer, saw_until: Time) {
        let known = self.saw_until.entry(Arc::clone(observer)).or_insert(saw_until);
        *known = saw_until.max(*known);
    }

    /// A node is no more: what was seen on it is over when its hold has passed.
    pub fn on_node_gone(&mut self, node: &Arc<str>, now: Time) {
        self.saw_until.remove(node);
        self.shed.forget_all_of(node);
        let members: Vec<_> = self.by_node.get(node).into_iter().flatten().cloned().collect();
        for id in members.into_iter().filter(|id| id.observer == *node) {
            self.on_unseen(id, now);
        }
    }

    /// Others observe from now on: nothing resolves before [`Self::on_resynced`].
    pub fn on_other_observers(&mut self) {
        self.resyncing = true;
    }

    /// Every expected observer has reported, or was waited for long enough: issues may resolve.
    pub fn on_resynced(&mut self, now: Time) {
        if !self.resyncing {
            return;
        }
        let stood: Vec<_> = self.issues.keys().map(|key| (Arc::clone(key), self.stands(key))).collect();
        self.resyncing = false;
        for (key, stood) in stood {
            self.proceed(&key, now);
            self.has_changed(&key, stood, now);
        }
    }

    /// Whether issues wait for observers that have not reported yet.
    pub fn is_resyncing(&self) -> bool {
        self.resyncing
    }

    /// A pod was read from the API.
    pub fn on_checked(&mut self, check: &Check, checked: Checked, now: Time) {
        self.change(&check.issue, now, |dedupe| dedupe.take_in_check(check, checked, now));
    }

    /// A sink has heard of an issue, or refuses to.
    pub fn on_fate(&mut self, sink: &Arc<str>, key: &Arc<IssueKey>, told: &Intent, fate: Fate, now: Time) {
        self.change(key, now, |dedupe| dedupe.take_in_fate(sink, key, (told, fate), now));
    }

    /// Time has passed.
    pub fn on_tick(&mut self, now: Time) {
        while self.next_deadline().is_some_and(|at| at <= now) {
            let Some((_, id)) = self.deadlines.pop_first() else { return };
            let Some(key) = self.members.get(&id).map(Arc::clone) else { continue };
            self.change(&key, now, |dedupe| {
                let hold = dedupe.hold_of(&key);
                let Some(member) = dedupe.member_mut(&id) else { return };
                if member.unseen_since.is_some_and(|since| since + hold <= now) {
                    member.over = true;
                }
                dedupe.decide(&id, now);
                dedupe.proceed(&key, now);
            });
        }
    }

    /// When [`Self::on_tick`] has something to do.
    pub fn next_deadline(&self) -> Option<Time> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// What is to be done, in order.
    pub fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// The issue of that key.
    pub fn issue(&self, key: &IssueKey) -> Option<&Issue> {
        self.issues.get(key)
    }

    /// Every issue.
    pub fn issues(&self) -> impl Iterator<Item = &Issue> {
        self.issues.values()
    }

    /// The findings of `observer` that are open: what its agent goes on with after a start.
    pub fn open_findings<'a>(&'a self, observer: &'a str) -> impl Iterator<Item = &'a Finding> {
        let members = self.by_node.get(observer).into_iter().flatten();
        members
            .filter(move |id| &*id.observer == observer)
            .filter_map(|id| self.member(id))
            .filter(|member| !member.over)
            .map(|member| &member.finding)
    }

    /// The findings about pods that the issue of `key`, about their node, keeps from being told.
    pub fn swallowed_by<'a>(&'a self, key: &IssueKey) -> impl Iterator<Item = &'a Finding> {
        let explains = self.explanations.is_of_node(key.kind);
        let members = self.by_node.get(&key.owner.name).filter(|_| explains).into_iter().flatten();
        members
            .filter_map(|id| self.member(id))
            .filter(|member| member.decision == Some(Decision::Pending(Waiting::Inhibited)))
            .map(|member| &member.finding)
    }

    /// The books.
    pub fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// Whether the books say what is there: nothing is lost, nothing counted twice.
    pub fn balances(&self) -> bool {
        let undecided = self.issues.values().flat_map(|issue| issue.members.values()).filter(|m| m.is_undecided());
        self.accounts.balance() && self.accounts.pending() == undecided.count() as u64
    }

    /// Does `work` on the issue of `key`; where that changes what the issue can explain, its symptoms are judged anew.
    fn change(&mut self, key: &Arc<IssueKey>, now: Time, work: impl FnOnce(&mut Self)) {
        let stood = self.stands(key);
        work(self);
        self.has_changed(key, stood, now);
    }

    /// Something was done with an issue that stood like that.
    fn has_changed(&mut self, key: &Arc<IssueKey>, stood: Option<State>, now: Time) {
        let stands = self.stands(key);
        if stood != stands {
            self.on_cause_changed(key, stood, stands, now);
        }
        self.forget_if_empty(key);
    }

    /// Makes room for a finding; the key of its issue, or `None` when there is no room.
    fn admit(&mut self, id: &MemberId, finding: &Finding) -> Option<Arc<IssueKey>> {
        if self.members.len() >= self.settings.findings_max {
            return None;
        }
        let key = IssueKey::of(finding);
        let key = self.issues.get_key_value(&key).map_or_else(|| Arc::new(key), |(key, _)| Arc::clone(key));
        if !self.issues.contains_key(&key) {
            self.issues.insert(Arc::clone(&key), Issue::new(Arc::clone(&key)));
            self.places.entry(place(&key)).or_default().insert(Arc::clone(&key));
        }
        self.members.insert(id.clone(), Arc::clone(&key));
        if !finding.subject.node.is_empty() {
            self.by_node.entry(Arc::clone(&finding.subject.node)).or_default().insert(id.clone());
        }
        Some(key)
    }

    fn take_in_all(&mut self, observer: &Observer, entries: Vec<Entry>, now: Time) {
        let mut taken = Vec::with_capacity(entries.len());
        for Entry { revision, finding } in entries {
            let id = MemberId { observer: Arc::clone(observer), finding: finding.id };
            let known = self.members.get(&id).map(Arc::clone);
            let Some(key) = known.or_else(|| self.admit(&id, &finding)) else {
                if self.shed.note(&id, &finding, self.settings.findings_max) {
                    self.accounts.open(Decision::Shed);
                }
                self.effects.push(Effect::Settle(id, revision));
                continue;
            };
            self.change(&key, now, |dedupe| dedupe.take_in(&id, &key, revision, finding));
            taken.push(id);
        }
        for id in taken {
            self.judge_anew(&id, now);
        }
    }

    /// Puts what an observer says beside what is known.
    fn take_in(&mut self, id: &MemberId, key: &Arc<IssueKey>, revision: u32, mut finding: Finding) {
        let Some(issue) = self.issues.get_mut(key) else { return };
        share::share(&mut finding, &id.observer, issue);
        let state = finding.state;
        let known = issue.members.remove(id).map(|known| *known);
        let mut member = Member {
            decision: None,
            over: state == State::Cleared,
            held: known.as_ref().and_then(|known| known.held),
            unseen_since: None,
            recalled: false,
            revision,
            finding,
        };
        let known = known.filter(|known| !known.recalled);
        let counted = match known {
            Some(known) if known.decision.is_none() && state == State::Cleared => {
                // It never came to be: there is nothing to tell, now or ever.
                self.effects.push(Effect::Settle(id.clone(), revision));
                self.drop_member(id, &member.finding);
                return;
            }
            Some(Member { decision: Some(decision), finding, .. })
                if finding.incarnation == member.finding.incarnation =>
            {
                member.decision = Some(decision);
                true
            }
            // The same again: what was still open about the last time is told with this one.
            Some(Member { decision: Some(decision @ Decision::Pending(_)), .. }) => {
                self.accounts.change(decision, Decision::Merged);
                false
            }
            Some(_) | None => false,
        };
        if !counted && state != State::Pending {
            let held = Decision::Pending(Waiting::Held);
            if self.shed.take(id, member.finding.incarnation) {
                self.accounts.take_back(Decision::Shed, held);
            } else {
                self.accounts.open(held);
            }
            member.decision = Some(held);
        }
        let is_settled = member.decision.is_some_and(Decision::is_final) && !member.over;
        issue.members.insert(id.clone(), Box::new(member));
        if is_settled {
            self.settle(id);
        }
    }

    /// Nobody sees a finding any more, and nobody said that it is over.
    fn on_unseen(&mut self, id: MemberId, now: Time) {
        let Some(key) = self.members.get(&id).map(Arc::clone) else { return };
        let hold = self.hold_of(&key);
        self.change(&key, now, |dedupe| {
            let Some(member) = dedupe.member_mut(&id) else { return };
            if member.decision.is_none() {
                let finding = member.finding.clone();
                if let Some(issue) = dedupe.issues.get_mut(&key) {
                    issue.members.remove(&id);
                }
                dedupe.drop_member(&id, &finding);
            } else if !member.over && member.unseen_since.is_none() {
                member.unseen_since = Some(now);
                dedupe.deadlines.insert((now + hold, id));
            }
        });
    }

    /// Judges a finding again, after something that it depends on has changed.
    fn judge_anew(&mut self, id: &MemberId, now: Time) {
        let Some(key) = self.members.get(id).map(Arc::clone) else { return };
        self.change(&key, now, |dedupe| {
            dedupe.decide(id, now);
            dedupe.proceed(&key, now);
        });
    }

    /// Tells a finding's observer that its state is settled.
    fn settle(&mut self, id: &MemberId) {
        if let Some(member) = self.member(id) {
            let revision = member.revision;
            self.effects.push(Effect::Settle(id.clone(), revision));
        }
    }

    fn member(&self, id: &MemberId) -> Option<&Member> {
        self.issues.get(self.members.get(id)?)?.members.get(id).map(Box::as_ref)
    }

    fn member_mut(&mut self, id: &MemberId) -> Option<&mut Member> {
        self.issues.get_mut(self.members.get(id)?)?.members.get_mut(id).map(Box::as_mut)
    }

    /// Takes a finding that has left its issue out of the indexes.
    fn drop_member(&mut self, id: &MemberId, finding: &Finding) {
        self.members.remove(id);
        if let Some(on_node) = self.by_node.get_mut(&finding.subject.node) {
            on_node.remove(id);
            if on_node.is_empty() {
                self.by_node.remove(&finding.subject.node);
            }
        }
    }

    fn forget_if_empty(&mut self, key: &Arc<IssueKey>) {
        let Some(issue) = self.issues.get(key) else { return };
        if !issue.members.is_empty() || issue.episode.is_some() || issue.previous.is_some() {
            return;
        }
        self.issues.remove(key);
        let place = place(key);
        if let Some(issues) = self.places.get_mut(&place) {
            issues.remove(key);
            if issues.is_empty() {
                self.places.remove(&place);
            }
        }
    }

    fn hold_of(&self, key: &IssueKey) -> std::time::Duration {
        self.settings.rules.of(key.kind).map_or(key.kind.row().hold, |config| config.hold)
    }

    fn sustain_of(&self, key: &IssueKey) -> std::time::Duration {
        self.settings.rules.of(key.kind).map_or(key.kind.row().sustain, |config| config.sustain)
    }
}

fn place(key: &IssueKey) -> Place {
    (Arc::clone(&key.namespace), key.owner.clone())
}

#[cfg(test)]
mod tests;
