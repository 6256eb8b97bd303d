//! The keeper: brings what was told into the objects, and finds it there at the beginning.
//!
//! The journal is written as soon as something is about to leave, but not faster than its length allows; what waits for
//! nobody, as a confirmation, goes with the next, or after a second. The snapshot is written once a minute, earlier when
//! the journal is long (but not faster than its own length allows) or full, and at the end. Now and then all of them are
//! looked at: what somebody has emptied or overwritten is written again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use process::backoff::Backoff;
use process::objects::{ConfigMap, Data, Failure, Objects};
use process::readiness::Handle;
use process::{Clock, Mark, Pulse};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use rules::view::Meta;
use tokio::sync::watch;

use super::{JOURNAL_MAX, Kept, Page, SHARDS};
use crate::core::Core;
use crate::leader::Leadership;
use crate::pipeline::Pipeline;

/// Keeps the told-log of one installation.
pub struct Keeper {
    leadership: Leadership,
    journal: Leaf,
    shards: [Leaf; SHARDS],
    clock: Clock,
    counts: Counts,
    /// The version that the journal has.
    written: watch::Sender<u64>,
    /// The version that somebody waits for.
    wanted: watch::Receiver<u64>,
    wrote: Option<Mark>,
    /// Between that write and the next for which somebody waits.
    pause: Duration,
    /// Whether that write was long.
    is_long: bool,
    folded: Mark,
    /// Between that and the next, while the journal is long.
    fold_pause: Duration,
    looked: Mark,
    trouble: Option<Failure>,
}

/// Whether what is about to leave stands in the journal; clones say the same.
#[derive(Clone, Debug)]
pub struct Written {
    version: Option<watch::Receiver<u64>>,
    wanted: watch::Sender<u64>,
    clock: Clock,
    counts: Counts,
}

/// What is counted of the told-log; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Writes, by object and outcome.
    pub writes: Family<WriteLabels, Counter>,
    /// Batches that left although the journal did not have them in time.
    pub unwritten: Counter,
    /// Entries that had no room in their object.
    pub left_out: Counter,
}

/// What writes are counted by.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct WriteLabels {
    /// `journal` or `snapshot`.
    object: &'static str,
    /// `written`, or one of [`Failure::LABELS`].
    outcome: &'static str,
}

/// One object.
struct Leaf {
    what: &'static str,
    name: String,
    objects: Objects,
    leadership: Leadership,
    /// As it was read or written last.
    known: Option<Meta>,
    /// What it has to have: what we wrote last, or found there.
    text: Option<String>,
}

/// The key in `data`.
const KEY: &str = "told";
/// For one request.
const REQUEST: Duration = Duration::from_secs(5);
/// Between two writes of a journal that nobody waits for, or that is as long as it can be.
const JOURNAL_EVERY: Duration = Duration::from_secs(1);
/// Between two writes of the shortest.
const JOURNAL_EVERY_MIN: Duration = Duration::from_millis(50);
/// A journal of so many bytes delays what is about to leave: what is confirmed has to go.
const JOURNAL_LONG: usize = JOURNAL_MAX / 8;
/// Between two writes of the snapshot.
const FOLD_EVERY: Duration = Duration::from_mins(1);
/// Between two writes of the shortest, while the journal is long.
const FOLD_EVERY_MIN: Duration = Duration::from_secs(1);
/// Between two looks at all objects: what was wiped heals within 30 s.
const LOOK_EVERY: Duration = Duration::from_secs(20);
/// What is to leave waits so long for the journal, and then leaves all the same.
const PATIENCE: Duration = Duration::from_secs(2);
const BACKOFF_FIRST: Duration = Duration::from_millis(500);
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// The names of the objects, made of the one in the options: the journal's first, then the shards'.
pub fn names(name: &str) -> (String, [String; SHARDS]) {
    (format!("{name}-journal"), std::array::from_fn(|shard| format!("{name}-snapshot-{shard}")))
}

impl Keeper {
    /// For the objects in `namespace` that are named after `name`. Nothing is written while `leadership` is in doubt.
    pub fn new(
        (client, namespace): (Client, &str),
        name: &str,
        leadership: Leadership,
        clock: Clock,
    ) -> (Self, Written) {
        let objects = Objects::new(client, namespace, REQUEST);
        let (journal, shards) = names(name);
        let leaf = |what, name| Leaf {
            what,
            name,
            objects: objects.clone(),
            leadership: leadership.clone(),
            known: None,
            text: None,
        };
        let (written, version) = watch::channel(0);
        let (wanted, awaited) = watch::channel(0);
        let counts = Counts::new();
        let now = clock.mark();
        let (journal, shards) = (leaf("journal", journal), shards.map(|name| leaf("snapshot", name)));
        let keeper = Self {
            leadership,
            journal,
            shards,
            counts: counts.clone(),
            written,
            wanted: awaited,
            wrote: None,
            pause: JOURNAL_EVERY_MIN,
            is_long: false,
            folded: now,
            fold_pause: FOLD_EVERY_MIN,
            looked: now,
            trouble: None,
            clock: clock.clone(),
        };
        (keeper, Written { version: Some(version), wanted, clock, counts })
    }

    /// What a predecessor in the cluster of that identity kept. Asks until the API server has answered for each object;
    /// `waiting` says meanwhile why it is not known. Objects that are not there, or that may not be read, have nothing.
    pub async fn read(&mut self, cluster: &str, waiting: &Handle) -> Kept {
        let mut texts = Vec::with_capacity(1 + SHARDS);
        for leaf in std::iter::once(&mut self.journal).chain(&mut self.shards) {
            texts.push(leaf.read_until_answered(&self.clock, waiting).await);
        }
        let snapshots: Vec<_> = texts[1..].iter().map(Option::as_deref).collect();
        let (kept, problems) = Kept::read(cluster, texts[0].as_deref(), &snapshots);
        for problem in &problems {
            tracing::warn!(target: "told_log", %problem, "not_recalled");
        }
        if kept.unreadable > 0 {
            tracing::warn!(target: "told_log", lines = kept.unreadable, "lines_not_recalled");
        }
        let (journal, folded, orphans) = (kept.journal.len(), kept.folded.len(), kept.orphans.len());
        tracing::info!(target: "told_log", journal, folded, orphans, "recalled");
        kept
    }

    /// Writes what there is to write until `over`, then once more all of it; `pulse` beats on every turn.
    pub async fn run(mut self, core: Arc<Core>, over: impl Future<Output = ()>, pulse: Pulse) {
        let mut over = std::pin::pin!(over);
        let mut bell = core.bell();
        loop {
            pulse.beat();
            bell.listen();
            let due = self.work(&core).await;
            tokio::select! {
                biased;
                () = &mut over => break,
                Ok(()) = self.wanted.changed() => {}
                // A confirmation, perhaps.
                () = bell.rung(), if due.is_none() => {}
                () = self.clock.wait_until(due.unwrap_or(self.looked + LOOK_EVERY)) => {}
            }
        }
        self.fold(&core).await;
        self.write_journal(&core).await;
    }

    /// Does what is due; when there is more to do, if it is known already that there is.
    async fn work(&mut self, core: &Core) -> Option<Mark> {
        let now = self.clock.mark();
        if !self.leadership.may_send() {
            // Perhaps another leads, and writes: what we have to write waits until we know.
            return Some(now + JOURNAL_EVERY);
        }
        if now >= self.looked + LOOK_EVERY {
            self.look(core).await;
        }
        let is_news = core.quietly(|pipeline, _| pipeline.told_log().journal_is_old());
        if is_news && now >= self.may_write().unwrap_or(now) {
            self.write_journal(core).await;
        }
        if now >= self.folded + if self.is_long { self.fold_pause } else { FOLD_EVERY } {
            self.fold(core).await;
        }
        let is_news = core.quietly(|pipeline, _| pipeline.told_log().journal_is_old());
        is_news.then(|| self.may_write().unwrap_or(now))
    }

    /// When the journal may be written again; `None` before it was written.
    fn may_write(&self) -> Option<Mark> {
        let is_awaited = *self.wanted.borrow() > *self.written.borrow();
        Some(self.wrote? + if is_awaited { self.pause } else { JOURNAL_EVERY })
    }

    async fn write_journal(&mut self, core: &Core) {
        let page = || core.quietly(|pipeline, _| pipeline.told_log().journal());
        let Some(mut next) = page() else { return };
        if next.left_out > 0 && self.clock.mark() >= self.folded + self.fold_pause {
            // What is confirmed has room in the snapshot.
            self.fold(core).await;
            next = page().unwrap_or(next);
        }
        let Page { text, version, left_out } = next;
        self.wrote = Some(self.clock.mark());
        self.counts.left_out.inc_by(left_out as u64);
        self.pause = pause_after(text.len()).max(JOURNAL_EVERY_MIN);
        self.is_long = text.len() >= JOURNAL_LONG;
        let written = self.journal.write(text, &self.counts).await;
        if self.said(written) {
            core.quietly(|pipeline, _| pipeline.told_log().on_journal_written(version));
            self.written.send_replace(version);
        } else {
            self.pause = JOURNAL_EVERY;
        }
    }

    async fn fold(&mut self, core: &Core) {
        self.folded = self.clock.mark();
        let pages = core.quietly(Pipeline::fold);
        let bytes = pages.iter().map(|(_, page)| page.text.len()).sum();
        self.fold_pause = pause_after(bytes).clamp(FOLD_EVERY_MIN, FOLD_EVERY);
        for (shard, Page { text, version, left_out }) in pages {
            self.counts.left_out.inc_by(left_out as u64);
            let written = self.shards[shard].write(text, &self.counts).await;
            if self.said(written) {
                core.quietly(|pipeline, _| pipeline.told_log().on_folded(shard, version));
            } else {
                self.fold_pause = FOLD_EVERY;
            }
        }
    }

    /// Whether all objects still have what we wrote or found there.
    async fn look(&mut self, core: &Core) {
        self.looked = self.clock.mark();
        let mut is_lost = false;
        for leaf in std::iter::once(&mut self.journal).chain(&mut self.shards) {
            is_lost |= leaf.is_lost().await;
        }
        if is_lost {
            tracing::warn!(target: "told_log", "objects were emptied or overwritten: all of it is written again");
            core.quietly(|pipeline, _| pipeline.told_log().on_lost());
        }
    }

    /// Tells of a failure once; whether it is written.
    fn said(&mut self, written: Result<(), (String, Failure)>) -> bool {
        match written {
            Ok(()) => {
                if self.trouble.take().is_some() {
                    tracing::info!(target: "told_log", "written_again");
                }
                true
            }
            Err((name, failure)) => {
                if self.trouble.as_ref() != Some(&failure) {
                    tracing::warn!(target: "told_log", object = name, reason = %failure, "not_written");
                    self.trouble = Some(failure);
                }
                false
            }
        }
    }
}

impl Written {
    /// Where nothing is kept, nothing is waited for.
    pub fn of_memory(clock: Clock) -> Self {
        Self { version: None, wanted: watch::Sender::default(), clock, counts: Counts::default() }
    }

    /// Returns when the journal has `version`, or has not come to it in time. Cancel-safe.
    pub async fn reaches(&self, version: u64) {
        let Some(mut written) = self.version.clone() else { return };
        let patience = self.clock.mark() + PATIENCE;
        self.wanted.send_if_modified(|wanted| {
            let is_more = version > *wanted;
            *wanted = version.max(*wanted);
            is_more
        });
        tokio::select! {
            biased;
            // An error means that the keeper has ended, which ends the process.
            _ = written.wait_for(|written| *written >= version) => {}
            () = self.clock.wait_until(patience) => {
                self.counts.unwritten.inc();
            }
        }
    }

    /// One whose journal has the version that the sender says.
    #[cfg(test)]
    pub(crate) fn scripted(clock: Clock) -> (watch::Sender<u64>, Self) {
        let (sender, version) = watch::channel(0);
        (sender, Self { version: Some(version), counts: Counts::new(), ..Self::of_memory(clock) })
    }

    /// What is counted; `None` where nothing is kept.
    pub fn counts(&self) -> Option<&Counts> {
        self.version.as_ref().map(|_| &self.counts)
    }
}

impl Counts {
    /// Every outcome is there from the start, so that the first failure is seen as an increase.
    fn new() -> Self {
        let counts = Self::default();
        for object in ["journal", "snapshot"] {
            for outcome in std::iter::once("written").chain(Failure::LABELS) {
                let _ = counts.writes.get_or_create(&WriteLabels { object, outcome });
            }
        }
        counts
    }
}

/// How long an API server is left alone that was given so much: a journal as long as it can be, once a second.
fn pause_after(bytes: usize) -> Duration {
    JOURNAL_EVERY.mul_f64(bytes as f64 / JOURNAL_MAX as f64)
}

impl Leaf {
    /// Its text; `None` where it has none.
    async fn read_until_answered(&mut self, clock: &Clock, waiting: &Handle) -> Option<String> {
        let mut backoff = Backoff::new(BACKOFF_FIRST, BACKOFF_MAX);
        let mut random = fastrand::Rng::new();
        loop {
            match self.read().await {
                Ok(text) => {
                    self.text.clone_from(&text);
                    return text;
                }
                Err(failure @ Failure::Unreachable(_)) => {
                    waiting.unready(format!("cannot read ConfigMap {}: {failure}", self.name));
                    clock.sleep(backoff.next(&mut random)).await;
                }
                Err(failure) => {
                    let advice = "the chart creates it, and a Role must grant get and patch on it";
                    tracing::warn!(target: "told_log", object = self.name, reason = %failure, advice, "not_readable");
                    return None;
                }
            }
        }
    }

    async fn read(&mut self) -> Result<Option<String>, Failure> {
        let mut stored = self.objects.get::<ConfigMap>(&self.name).await?;
        self.known = Some(stored.metadata);
        Ok(stored.content.data.remove(KEY))
    }

    /// Whether it has something else than it has to have.
    async fn is_lost(&mut self) -> bool {
        match self.text.clone() {
            // A failure is seen when it is written.
            Some(text) => self.read().await.is_ok_and(|now| now != Some(text)),
            None => false,
        }
    }

    /// Writes it, over whatever somebody else has written meanwhile, as long as we lead.
    async fn write(&mut self, text: String, counts: &Counts) -> Result<(), (String, Failure)> {
        let mut written = self.patch(&text).await;
        if written == Err(Failure::Conflict) {
            self.known = None;
            written = self.patch(&text).await;
        }
        let outcome = written.as_ref().err().map_or("written", Failure::label);
        counts.writes.get_or_create(&WriteLabels { object: self.what, outcome }).inc();
        if written.is_ok() {
            self.text = Some(text);
        } else {
            self.known = None;
        }
        written.map_err(|failure| (self.name.clone(), failure))
    }

    async fn patch(&mut self, text: &str) -> Result<(), Failure> {
        if self.known.is_none() {
            self.read().await?;
        }
        if !self.leadership.may_send() {
            return Err(Failure::Conflict);
        }
        let Some(known) = &self.known else { return Err(Failure::NotFound) };
        let change = Data { data: BTreeMap::from([(KEY.to_owned(), Some(text.to_owned()))]) };
        self.known = Some(self.objects.patch::<ConfigMap>(known, &change).await?.metadata);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
