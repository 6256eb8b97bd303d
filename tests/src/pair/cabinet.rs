//! The objects in which the told-log is kept, and the moments in which an aggregator may die.

use std::time::Duration;

use rules::Time;
use tocsin_aggregator::pipeline::Pipeline;
use tocsin_aggregator::told_log::{Kept, SHARDS};

/// What stands in the cluster.
#[derive(Debug, Default)]
pub struct Cabinet {
    journal: Option<String>,
    snapshots: [Option<String>; SHARDS],
    /// The API server refuses writes, or is away.
    pub refuses: bool,
    /// The aggregator dies when it gets there the next time.
    pub stop: Option<Stop>,
    stopped: bool,
    folded: Option<Time>,
}

/// A moment in which an aggregator may die.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Something is about to leave, and does not stand in the journal.
    BeforeJournal,
    /// It stands there, and has not left.
    BeforeFirstByte,
    /// It has left, and is not confirmed.
    BeforeConfirmation,
    /// Some shards of the snapshot are written, others and the journal are not.
    WhileFolding,
}

const FOLD_EVERY: Duration = Duration::from_mins(1);

impl Cabinet {
    /// What a successor finds.
    #[track_caller]
    pub fn read(&self, cluster: &str) -> Kept {
        let snapshots: Vec<_> = self.snapshots.iter().map(|page| page.as_deref()).collect();
        let (kept, problems) = Kept::read(cluster, self.journal.as_deref(), &snapshots);
        assert_eq!((kept.unreadable, &*problems), (0, [].as_slice()), "what is kept cannot be read");
        kept
    }

    /// Somebody empties the objects.
    pub fn wipe(&mut self) {
        self.journal = None;
        self.snapshots = Default::default();
    }

    /// Something is about to leave: whether it may.
    pub(super) fn on_leaving(&mut self, pipeline: &mut Pipeline) -> bool {
        if self.stops(Stop::BeforeJournal) {
            return false;
        }
        self.write_journal(pipeline);
        let goes = !self.stops(Stop::BeforeFirstByte);
        self.stops(Stop::BeforeConfirmation);
        goes
    }

    /// Writes what is not written.
    pub(super) fn keep(&mut self, pipeline: &mut Pipeline, now: Time) {
        if self.stopped {
            return;
        }
        let is_due = self.folded.is_none_or(|last| now.since(last) >= FOLD_EVERY);
        if is_due && !self.refuses {
            self.folded = Some(now);
            for (shard, page) in pipeline.fold(now) {
                self.snapshots[shard] = Some(page.text);
                if self.stops(Stop::WhileFolding) {
                    return;
                }
                pipeline.told_log().on_folded(shard, page.version);
            }
        }
        self.write_journal(pipeline);
    }

    pub(super) fn has_stopped(&mut self) -> bool {
        std::mem::take(&mut self.stopped)
    }

    fn write_journal(&mut self, pipeline: &mut Pipeline) {
        if let Some(page) = pipeline.told_log().journal().filter(|_| !self.refuses) {
            assert_eq!(page.left_out, 0, "the journal is full");
            self.journal = Some(page.text);
            pipeline.told_log().on_journal_written(page.version);
        }
    }

    fn stops(&mut self, at: Stop) -> bool {
        let stops = self.stop == Some(at);
        if stops {
            self.stop = None;
            self.stopped = true;
        }
        stops
    }
}
