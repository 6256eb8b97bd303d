//! The stages in their order, without sockets: ingest → dedupe → limit → forward.
//!
//! Pure: the shell moves values between this and the sockets, and virtual time drives it in tests.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use rules::{Finding, FindingId, Time};
use wire::{Configuration, Entry, Epoch, Hello, NeedFull, Reply, Report, SessionId, SessionReply, Settled};

use crate::dedupe::{Change, Check, Checked, Dedupe, Effect, IssueKey};
use crate::forward::notification;
use crate::forward::outbox::{Next, Outbox, Outcome};
use crate::ingest::sessions::Sessions;
use crate::settings::Settings;
use crate::told_log::{Kept, ORPHANS_MAX, Page, ToldLog};

/// All of the aggregator that decides.
#[derive(Debug)]
pub struct Pipeline {
    settings: Arc<Settings>,
    /// Since when observers are waited for that have not reported yet.
    resyncing_since: Time,
    sessions: Sessions,
    dedupe: Dedupe,
    outboxes: BTreeMap<Arc<str>, Outbox>,
    told_log: ToldLog,
    checks: Vec<Check>,
    changes: Vec<(Arc<IssueKey>, Change)>,
    /// Revisions of the aggregator's own findings.
    own_revision: u32,
    seed: u64,
}

impl Pipeline {
    /// A pipeline that knows nothing yet. `seed` is for jitter; `epoch` names this life.
    pub fn new(settings: Settings, epoch: Epoch, seed: u64, now: Time) -> Self {
        let settings = Arc::new(settings);
        let configuration = Configuration::new(Arc::clone(&settings.rules));
        let mut pipeline = Self {
            resyncing_since: now,
            sessions: Sessions::new(epoch, configuration, settings.heartbeat, settings.session_lasts),
            dedupe: Dedupe::new(Arc::clone(&settings), now),
            outboxes: BTreeMap::new(),
            told_log: ToldLog::new(settings.cluster.id.clone(), now),
            checks: Vec::new(),
            changes: Vec::new(),
            own_revision: 0,
            seed,
            settings,
        };
        pipeline.set_up_outboxes(now);
        pipeline
    }

    /// Goes on where a predecessor stopped. To be called before anything else comes in.
    pub fn recall(&mut self, kept: Kept, now: Time) {
        self.told_log.recall(kept);
        self.told_log.retain_sinks(|name| self.settings.sinks.contains_key(name));
        self.dedupe.recall_low_water(self.told_log.low_water());
        for entry in self.told_log.entries() {
            let Some((issue, awaiting, intent)) = self.dedupe.recall(entry) else { continue };
            for (sink, outbox) in &mut self.outboxes {
                let standing = entry.sinks.get(sink);
                let sent = standing.and_then(|standing| standing.sent.as_ref());
                let sent = sent.and_then(|key| Some((key, entry.bodies.get(key)?)));
                let due = awaiting.contains(sink).then_some(intent);
                outbox.recall(&issue, standing.map(|standing| standing.heard).unwrap_or_default(), sent, due, now);
            }
        }
        for orphan in self.told_log.orphans().to_vec() {
            self.dedupe.recall_orphan(orphan, now);
        }
        self.carry_out(now);
    }

    /// Goes by other settings from now on.
    pub fn configure(&mut self, settings: Settings, now: Time) {
        self.settings = Arc::new(settings);
        let Settings { rules, heartbeat, session_lasts, .. } = &*self.settings;
        self.sessions.configure(Configuration::new(Arc::clone(rules)), *heartbeat, *session_lasts);
        self.set_up_outboxes(now);
        self.told_log.retain_sinks(|name| self.settings.sinks.contains_key(name));
        self.dedupe.configure(Arc::clone(&self.settings), now);
        self.carry_out(now);
    }

    /// The settings in force.
    pub fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    /// The agent of `node` (so its token says) wants a session, to be named `session`.
    pub fn on_hello(&mut self, node: &Arc<str>, hello: &Hello, session: SessionId, now: Time) -> SessionReply {
        if let Some(until) = self.sessions.saw_until(node) {
            self.dedupe.on_session(node, until);
        }
        self.sessions.on_hello(node, hello, session, self.dedupe.open_findings(node), now)
    }

    /// A report has come.
    pub fn on_report(&mut self, report: Report, now: Time) -> Reply {
        let config_hash = report.config_hash;
        let (node, taken) = match self.sessions.on_report(report, now) {
            Ok(taken) => taken,
            Err(reply) => return reply,
        };
        self.dedupe.on_findings(&node, taken.new, now);
        if let Some(named) = taken.full {
            self.dedupe.on_full_report(&node, &named, now);
        }
        self.carry_out(now);
        self.sessions.reply(&node, config_hash)
    }

    /// The aggregator's own rules have found something.
    pub fn on_own_findings(&mut self, findings: Vec<Finding>, now: Time) {
        self.own_revision = self.own_revision.wrapping_add(1);
        let revision = self.own_revision;
        let entries = findings.into_iter().map(|finding| Entry { revision, finding }).collect();
        self.dedupe.on_findings(&Arc::from(""), entries, now);
        self.carry_out(now);
    }

    /// The agent of `node` is not heard, and somebody begins to stand in for it, as an agent that starts anew would: what is
    /// open there, for its rules to go on with.
    pub fn on_stand_in(&mut self, node: &Arc<str>) -> Vec<Finding> {
        if let Some(until) = self.sessions.saw_until(node) {
            self.dedupe.on_session(node, until);
        }
        self.sessions.suspend(node);
        self.dedupe.open_findings(node).cloned().collect()
    }

    /// Who stands in for the agent of `node` has looked at all of its pods, as they were at `at`: what has changed, and all
    /// that is there.
    pub fn on_looked(
        &mut self,
        node: &Arc<str>,
        changes: Vec<Finding>,
        there: &HashSet<FindingId>,
        at: Time,
        now: Time,
    ) {
        // No revision: what the agent has told by itself is not settled by this.
        let entries = changes.into_iter().map(|finding| Entry { revision: 0, finding }).collect();
        self.dedupe.on_findings(node, entries, now);
        self.dedupe.on_full_report(node, there, now);
        self.dedupe.on_session(node, at);
        self.sessions.on_looked(node, at);
        self.carry_out(now);
    }

    /// Who should be reporting: until all of them have, or [`Settings::resync_window`] has passed, nothing resolves.
    pub fn on_expected<'a>(&mut self, mut nodes: impl Iterator<Item = &'a str>, now: Time) {
        let is_over = now.since(self.resyncing_since) >= self.settings.resync_window;
        if self.dedupe.is_resyncing() && (is_over || nodes.all(|node| self.sessions.is_synced(node))) {
            self.dedupe.on_resynced(now);
            self.carry_out(now);
        }
    }

    /// Others observe from now on: nothing resolves until they have reported, as after a start.
    pub fn on_other_observers(&mut self, now: Time) {
        self.resyncing_since = now;
        self.dedupe.on_other_observers();
    }

    /// A node is no more.
    pub fn on_node_gone(&mut self, node: &Arc<str>, now: Time) {
        self.sessions.on_node_gone(node);
        self.dedupe.on_node_gone(node, now);
        self.carry_out(now);
    }

    /// When each agent was last heard.
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// Pods to be read from the API before their issues are told.
    pub fn take_checks(&mut self) -> Vec<Check> {
        std::mem::take(&mut self.checks)
    }

    /// A pod was read from the API.
    pub fn on_checked(&mut self, check: &Check, checked: Checked, now: Time) {
        self.dedupe.on_checked(check, checked, now);
        self.carry_out(now);
    }

    /// What happened to issues since the last call, for the log.
    pub fn take_changes(&mut self) -> Vec<(Arc<IssueKey>, Change)> {
        std::mem::take(&mut self.changes)
    }

    /// What the sender of `sink` is to do.
    pub fn next(&mut self, sink: &Arc<str>, now: Time) -> Next {
        let Some(outbox) = self.outboxes.get_mut(sink) else { return Next::Idle };
        let (dedupe, told_log, settings) = (&self.dedupe, &self.told_log, &self.settings);
        let next = outbox.next(now, |issue, intent| {
            let (key, body) = notification::record(settings, dedupe.issue(issue)?, dedupe.swallowed_by(issue), intent)?;
            let body = told_log.body(issue, &key).unwrap_or(body);
            Some((key, body))
        });
        if let Next::Send(records) = &next {
            for record in records {
                if let Some(issue) = self.dedupe.issue(&record.issue) {
                    self.told_log.on_leaving(sink, issue, record);
                }
            }
        }
        next
    }

    /// How the batch of `sink` went.
    pub fn on_outcome(&mut self, sink: &Arc<str>, outcome: Outcome, now: Time) {
        let Some(outbox) = self.outboxes.get_mut(sink) else { return };
        for (issue, told, fate) in outbox.on_outcome(outcome, now) {
            self.told_log.on_fate(sink, &issue, fate);
            self.dedupe.on_fate(sink, &issue, &told, fate, now);
        }
        self.carry_out(now);
    }

    /// The credentials of `sink` have changed.
    pub fn on_credentials_changed(&mut self, sink: &str, now: Time) {
        if let Some(outbox) = self.outboxes.get_mut(sink) {
            outbox.on_credentials_changed(now);
        }
    }

    /// Time has passed.
    pub fn on_tick(&mut self, now: Time) {
        self.dedupe.on_tick(now);
        self.carry_out(now);
    }

    /// When [`Self::on_tick`] has something to do. (A sender's own wait is in its [`Next`].)
    pub fn next_deadline(&self) -> Option<Time> {
        self.dedupe.next_deadline()
    }

    /// The findings, the issues and the books.
    pub fn dedupe(&self) -> &Dedupe {
        &self.dedupe
    }

    /// For tests: what an agent says goes in here without a session of it.
    #[cfg(test)]
    pub(crate) fn dedupe_mut(&mut self) -> &mut Dedupe {
        &mut self.dedupe
    }

    /// These nodes are there, and no others.
    pub fn on_nodes_known(&mut self, nodes: &BTreeSet<Arc<str>>, now: Time) {
        self.dedupe.on_nodes_known(nodes, now);
        self.carry_out(now);
    }

    /// There are no agents, and all that they would see is seen by the aggregator itself: what they told is over when its
    /// hold has passed.
    pub fn on_no_agents(&mut self, now: Time) {
        self.sessions.on_no_agents();
        let heard = self.sessions.heard().map(|(node, _)| Arc::clone(node));
        for node in heard.chain(self.dedupe.observers()).collect::<BTreeSet<_>>() {
            self.on_node_gone(&node, now);
        }
    }

    /// The aggregator's own rules went on with these of [`Dedupe::own_findings`].
    pub fn on_own_adopted(&mut self, adopted: &BTreeSet<FindingId>, now: Time) {
        self.dedupe.on_own_adopted(adopted, now);
        self.carry_out(now);
    }

    /// What was told, as a successor is to find it.
    pub fn told_log(&mut self) -> &mut ToldLog {
        &mut self.told_log
    }

    /// What the snapshot of the told-log lacks, by shard, once it knows what only we know.
    pub fn fold(&mut self, now: Time) -> Vec<(usize, Page)> {
        self.told_log.on_orphans(self.dedupe.orphans(ORPHANS_MAX));
        let is_settled = !self.dedupe.is_resyncing() && self.dedupe.accounts().pending() == 0;
        if let Some(until) = self.sessions.all_saw_until(now).filter(|_| is_settled) {
            self.told_log.on_nothing_unsettled(until);
        }
        self.told_log.snapshot()
    }

    /// The outboxes by sink.
    pub fn outboxes(&self) -> &BTreeMap<Arc<str>, Outbox> {
        &self.outboxes
    }

    /// Does what dedupe wants done, until it wants nothing more.
    fn carry_out(&mut self, now: Time) {
        loop {
            let effects = self.dedupe.take_effects();
            if effects.is_empty() {
                return;
            }
            for effect in effects {
                match effect {
                    Effect::Settle(member, revision) => {
                        self.sessions.on_settled(&member.observer, Settled { id: member.finding, revision });
                    }
                    Effect::Tell(sink, issue, intent) => {
                        let Some(outbox) = self.outboxes.get_mut(&sink) else { continue };
                        if let Some(fate) = outbox.enqueue(&issue, intent, now) {
                            self.dedupe.on_fate(&sink, &issue, &intent, fate, now);
                        }
                    }
                    Effect::Verify(check) => self.checks.push(check),
                    Effect::NeedFull(observer) => self.sessions.need_full(&observer, NeedFull::CauseEnded),
                    Effect::Over(issue, episode, revision, ended) => {
                        self.told_log.on_over(&issue, (episode, revision), ended);
                        self.outboxes.values_mut().for_each(|outbox| outbox.on_over(&issue));
                    }
                    Effect::Changed(issue, change) => self.changes.push((issue, change)),
                }
            }
        }
    }

    fn set_up_outboxes(&mut self, now: Time) {
        let sinks = &self.settings.sinks;
        self.outboxes.retain(|name, _| sinks.contains_key(name));
        for (name, settings) in sinks {
            match self.outboxes.get_mut(name) {
                Some(outbox) => outbox.configure(settings.clone(), now),
                None => {
                    self.seed = self.seed.wrapping_add(1);
                    self.outboxes.insert(Arc::clone(name), Outbox::new(settings.clone(), self.seed, now));
                }
            }
        }
    }
}
