//! The told-log: what was told, kept where a successor finds it, so that a takeover neither tells again under another
//! key nor forgets to say that something is over.
//!
//! ```text
//!   outbox ── about to leave ──▶ entry by issue ──▶ journal    what the snapshot does not have, with its bodies
//!   sinks ─── confirmed ───────▶                └─▶ snapshot   what is confirmed, in shards, without bodies
//! ```
//!
//! Before the first byte of a notification leaves, its key and body stand in the journal. An entry is the present state
//! of one issue, not an event: the journal's line for an issue takes the place of the snapshot's, and either may be
//! written again at any time.
//!
//! Pure but for [`keeper`]: what is to be written comes out as text; that it was written goes in.

mod encode;
mod entry;
pub mod keeper;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rules::{Incarnation, Time};

use self::encode::{Header, Line, shard_of};
pub use self::encode::{Kept, Unreadable};
pub use self::entry::{Body, Entry, Standing};
use crate::dedupe::issue::Example;
use crate::dedupe::{Issue, IssueKey};
use crate::forward::outbox::{Fate, Intent, Record, Status};

/// What was told of every issue, and which of it stands where a successor finds it.
#[derive(Debug)]
pub struct ToldLog {
    cluster: String,
    entries: HashMap<Arc<IssueKey>, Versioned>,
    orphans: Vec<Example>,
    low_water: Time,
    /// Rises with every change.
    version: u64,
    /// The version that the journal has.
    written: u64,
    /// The version that each shard of the snapshot has.
    folded: [u64; SHARDS],
    /// When the orphans changed last.
    orphans_version: u64,
}

/// An entry, and when it changed last.
#[derive(Debug)]
struct Versioned {
    /// Boxed: most of the table's places are empty at times.
    entry: Box<Entry>,
    version: u64,
}

/// What is to be written into one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Its text.
    pub text: String,
    /// What it is up to date with: to be given back once it is written.
    pub version: u64,
    /// Entries that had no room.
    pub left_out: usize,
}

/// Into so many objects the snapshot is divided, by issue.
pub const SHARDS: usize = 4;
/// The most findings kept whose agent is gone.
pub const ORPHANS_MAX: usize = 500;
/// The longest journal, in bytes.
pub const JOURNAL_MAX: usize = 256 * 1024;
/// The longest shard, in bytes; an object may have 1 MiB of data.
pub const SHARD_MAX: usize = 900 * 1024;
/// The most issues remembered; those that ended longest ago are forgotten first.
const ENTRIES_MAX: usize = 20_000;
/// How many are forgotten at once, so that making room is rare.
const ENTRIES_ROOM: usize = 1_000;
/// The low-water mark is worth a write of its own so often.
const LOW_WATER_STEP: Duration = Duration::from_mins(5);

impl ToldLog {
    /// Nothing was told yet in the cluster of that identity; found edges up to `low_water` are old.
    pub fn new(cluster: String, low_water: Time) -> Self {
        Self {
            cluster,
            entries: HashMap::new(),
            orphans: Vec::new(),
            low_water,
            version: 1,
            written: 0,
            folded: [0; SHARDS],
            orphans_version: 0,
        }
    }

    /// Goes on with what a predecessor kept.
    pub fn recall(&mut self, kept: Kept) {
        let Kept { journal, folded, orphans, low_water, unreadable: _ } = kept;
        // A mark that is ahead of the clock, which was set back, says nothing of what is to come.
        self.low_water = low_water.map_or(self.low_water, |kept| kept.min(self.low_water));
        self.orphans = orphans;
        for mut entry in folded {
            entry.complete_refusals();
            entry.forget_what_has_no_body();
            let issue = Arc::new(entry.issue.clone());
            self.entries.insert(issue, Versioned { entry: Box::new(entry), version: 0 });
        }
        for mut entry in journal {
            entry.complete_refusals();
            entry.forget_what_has_no_body();
            self.put(Arc::new(entry.issue.clone()), entry);
        }
    }

    /// What is remembered of every issue.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values().map(|versioned| &*versioned.entry)
    }

    /// Findings that were accepted and not settled, and whose agent is gone.
    pub fn orphans(&self) -> &[Example] {
        &self.orphans
    }

    /// Found edges up to then are old.
    pub fn low_water(&self) -> Time {
        self.low_water
    }

    /// The body under which `key` has left already, for whichever sink: a key has one body.
    pub fn body(&self, issue: &IssueKey, key: &str) -> Option<Arc<str>> {
        let body = self.entries.get(issue)?.entry.bodies.get(key)?;
        Some(Arc::clone(&body.text))
    }

    /// `record`, about `issue`, is about to leave for `sink`.
    pub fn on_leaving(&mut self, sink: &Arc<str>, issue: &Issue, record: &Record) {
        let Some(episode) = issue.episode_of(record.intent.episode) else { return };
        let known = self.entries.get(&record.issue).map(|versioned| &versioned.entry);
        if known
            .and_then(|entry| entry.sinks.get(sink))
            .is_some_and(|standing| standing.sent.as_ref() == Some(&record.key))
        {
            return;
        }
        // A sink that is slow may be given what is older than what others know.
        let newer = known
            .map(|known| known.intent)
            .filter(|intent| intent.episode == record.intent.episode && intent.revision > record.intent.revision);
        let mut entry = Entry {
            issue: (*record.issue).clone(),
            intent: newer.unwrap_or(record.intent),
            earlier: known.map(|known| known.earlier_than(record.intent.episode)).unwrap_or_default(),
            since: episode.since,
            ended: episode.ended,
            gone: episode.gone.subjects.len() + episode.gone.more,
            newest_edge: issue.newest_edge().max(known.and_then(|known| known.newest_edge)),
            example: issue.example().or_else(|| Some(episode.example.clone())),
            sinks: known.map(|known| known.sinks.clone()).unwrap_or_default(),
            bodies: known.map(|known| known.bodies.clone()).unwrap_or_default(),
        };
        if known.is_some_and(|known| known.intent.episode != entry.intent.episode) {
            // What is still on its way of the episode before stays so, and who knows only that it began is to hear the end
            // of this one at the latest.
            entry.sinks.retain(|_, standing| standing.sent.is_some() || standing.heard.knows_of_it());
            entry.sinks.values_mut().for_each(Standing::forget_refusal);
        }
        entry.sinks.entry(Arc::clone(sink)).or_default().sent = Some(Arc::clone(&record.key));
        let body = Body { intent: record.intent, text: Arc::clone(&record.body) };
        entry.bodies.insert(Arc::clone(&record.key), body);
        self.make_room();
        self.put(Arc::clone(&record.issue), entry);
    }

    /// `sink` has answered for what left for it last of `issue`.
    pub fn on_fate(&mut self, sink: &Arc<str>, issue: &Arc<IssueKey>, fate: Fate) {
        self.change(issue, |entry| {
            let Some(standing) = entry.sinks.get_mut(sink) else { return };
            let Some(body) = standing.sent.take().and_then(|key| entry.bodies.get(&key)) else { return };
            standing.answer(body.intent, fate);
        });
    }

    /// That episode, at that revision, is over for every sink that was to hear of it, also where nothing left to say so: those
    /// that were told it are gone, or have refused it.
    pub fn on_over(&mut self, issue: &Arc<IssueKey>, (episode, revision): (Incarnation, u32), ended: Option<Time>) {
        self.change(issue, |entry| {
            if entry.intent.episode == episode && entry.intent.status == Status::Firing {
                entry.intent = Intent { revision, status: Status::Resolved, ..entry.intent };
                entry.ended = ended;
            }
        });
    }

    /// Only these sinks are left: nothing waits for the others.
    pub fn retain_sinks(&mut self, is_left: impl Fn(&str) -> bool) {
        let affected = |versioned: &Versioned| versioned.entry.sinks.keys().any(|sink| !is_left(sink));
        let affected: Vec<_> =
            self.entries.iter().filter(|(_, it)| affected(it)).map(|(issue, _)| Arc::clone(issue)).collect();
        for issue in affected {
            self.change(&issue, |entry| entry.sinks.retain(|sink, _| is_left(sink)));
        }
    }

    /// Nothing is unsettled at `now`: found edges up to then are old for a successor.
    pub fn on_nothing_unsettled(&mut self, now: Time) {
        if now.since(self.low_water) >= LOW_WATER_STEP {
            self.low_water = now;
            self.version += 1;
        }
    }

    /// These findings were accepted and are not settled, and their agent is gone: only we have them.
    pub fn on_orphans(&mut self, mut orphans: Vec<Example>) {
        orphans.truncate(ORPHANS_MAX);
        if self.orphans != orphans {
            self.orphans = orphans;
            self.version += 1;
            self.orphans_version = self.version;
        }
    }

    /// Rises with every change: what has left by now stands in a journal of this version.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Whether the journal lacks something.
    pub fn journal_is_old(&self) -> bool {
        self.written < self.version
    }

    /// What the journal has to say, when it does not say it yet. What has left comes first.
    pub fn journal(&self) -> Option<Page> {
        if !self.journal_is_old() {
            return None;
        }
        let header = Header { low_water: Some(self.low_water), ..self.header() };
        let mut lines: Vec<_> = self.entries.iter().filter(|(issue, it)| !self.is_folded(issue, it)).collect();
        lines.sort_unstable_by_key(|(_, it)| (it.entry.bodies.is_empty(), it.version));
        let lines = lines.into_iter().map(|(_, it)| Line::Issue(&*it.entry));
        let (text, left_out) = encode::text(&header, lines, JOURNAL_MAX);
        Some(Page { text, version: self.version, left_out })
    }

    /// The shards of the snapshot that lack something, and what they have to say. Issues that are there come first.
    pub fn snapshot(&self) -> Vec<(usize, Page)> {
        let lacks = |shard: usize| {
            let mut entries = self.entries.iter().filter(|(issue, _)| shard_of(issue) == shard);
            let is_new = |it: &Versioned| it.entry.bodies.is_empty() && it.version > self.folded[shard];
            self.orphans_version > self.folded[shard] || entries.any(|(_, it)| is_new(it))
        };
        (0..SHARDS).filter(|&shard| lacks(shard)).map(|shard| (shard, self.shard(shard))).collect()
    }

    /// The journal has the page of that version.
    pub fn on_journal_written(&mut self, version: u64) {
        self.written = self.written.max(version);
    }

    /// A shard has the page of that version: the journal need not say it again.
    pub fn on_folded(&mut self, shard: usize, version: u64) {
        self.folded[shard] = self.folded[shard].max(version);
        // The journal is shorter now.
        self.version += 1;
    }

    /// Somebody has emptied the objects, or written something else there: all of it is to be written again.
    pub fn on_lost(&mut self) {
        self.version += 1;
        self.orphans_version = self.version;
        for versioned in self.entries.values_mut() {
            versioned.version = self.version;
        }
    }

    fn shard(&self, shard: usize) -> Page {
        let mut entries: Vec<_> =
            self.entries.iter().filter(|(issue, _)| shard_of(issue) == shard).map(|(_, it)| &*it.entry).collect();
        entries
            .sort_unstable_by_key(|entry| (entry.is_closed(), std::cmp::Reverse(entry.ended.unwrap_or(entry.since))));
        let bare: Vec<_> = entries.into_iter().map(Entry::without_bodies).collect();
        let orphans = self.orphans.iter().filter(|orphan| shard_of(&IssueKey::of(&orphan.finding)) == shard);
        let lines = orphans.map(Line::Orphan).chain(bare.iter().map(Line::Issue));
        let (text, left_out) = encode::text(&self.header(), lines, SHARD_MAX);
        Page { text, version: self.version, left_out }
    }

    fn header(&self) -> Header {
        Header { form: encode::FORM, cluster: self.cluster.clone(), low_water: None }
    }

    fn is_folded(&self, issue: &IssueKey, versioned: &Versioned) -> bool {
        versioned.entry.bodies.is_empty() && versioned.version <= self.folded[shard_of(issue)]
    }

    /// Changes an entry, if that changes anything.
    fn change(&mut self, issue: &Arc<IssueKey>, change: impl FnOnce(&mut Entry)) {
        let Some(versioned) = self.entries.get_mut(issue) else { return };
        let before = versioned.entry.clone();
        change(&mut versioned.entry);
        versioned.entry.forget_what_is_confirmed();
        if versioned.entry != before {
            self.version += 1;
            versioned.version = self.version;
        }
    }

    fn put(&mut self, issue: Arc<IssueKey>, mut entry: Entry) {
        entry.forget_what_is_confirmed();
        self.version += 1;
        self.entries.insert(issue, Versioned { entry: Box::new(entry), version: self.version });
    }

    /// Forgets the issues that ended longest ago, when there are too many.
    fn make_room(&mut self) {
        if self.entries.len() < ENTRIES_MAX {
            return;
        }
        let closed = self.entries.iter().filter(|(_, it)| it.entry.is_closed());
        let mut closed: Vec<_> = closed.map(|(issue, it)| (it.entry.ended, Arc::clone(issue))).collect();
        closed.sort_unstable();
        for (_, issue) in closed.into_iter().take(ENTRIES_ROOM) {
            self.entries.remove(&issue);
        }
    }
}

#[cfg(test)]
mod tests;
