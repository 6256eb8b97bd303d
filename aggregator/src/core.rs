//! The one shared handle: the pipeline behind a lock, the clock, and a bell that rings whenever something has changed.
//!
//! The lock is held for one call of the pure core, never across an await, and logging happens after it is let go.

use std::sync::{Arc, Mutex, MutexGuard};

use process::clock::Clock;
use rules::Time;
use tokio::sync::watch;

use crate::dedupe::{Change, IssueKey};
use crate::pipeline::Pipeline;

/// The pipeline as every task of the shell sees it. To be shared in an [`Arc`].
#[derive(Debug)]
pub struct Core {
    pipeline: Mutex<Pipeline>,
    bell: watch::Sender<()>,
    clock: Clock,
}

/// Hears the bell of a [`Core`]. What rang before [`Bell::listen`] is heard as well, so nothing is missed between
/// asking the pipeline and waiting.
#[derive(Clone, Debug)]
pub struct Bell(watch::Receiver<()>);

impl Core {
    /// Shares `pipeline`, which lives by `clock`.
    pub fn new(pipeline: Pipeline, clock: Clock) -> Self {
        Self { pipeline: Mutex::new(pipeline), bell: watch::Sender::default(), clock }
    }

    /// Does `work` that may change what others have to do, rings the bell, and logs the issues that changed.
    pub fn with<R>(&self, work: impl FnOnce(&mut Pipeline, Time) -> R) -> R {
        let (result, changes) = {
            let mut pipeline = self.lock();
            let result = work(&mut pipeline, self.clock.now());
            (result, pipeline.take_changes())
        };
        self.bell.send_replace(());
        for (issue, change) in changes {
            log(&issue, change);
        }
        result
    }

    /// Does `work` that gives nobody else anything to do: reading, or taking what was there to be taken (a sender's next
    /// batch, the pods to check). The bell stays silent, so whoever listens to it may call this on each of its rings.
    pub fn quietly<R>(&self, work: impl FnOnce(&mut Pipeline, Time) -> R) -> R {
        work(&mut self.lock(), self.clock.now())
    }

    /// An ear for the bell.
    pub fn bell(&self) -> Bell {
        Bell(self.bell.subscribe())
    }

    /// The clock that the pipeline lives by.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    fn lock(&self) -> MutexGuard<'_, Pipeline> {
        self.pipeline.lock().expect("a panic inside of the pipeline ends the process, so nobody comes after it")
    }
}

impl Bell {
    /// From here on [`Bell::rung`] waits for what comes next. To be called before asking the pipeline.
    pub fn listen(&mut self) {
        self.0.mark_unchanged();
    }

    /// Returns when the bell has rung since [`Bell::listen`] or since this returned last; never, once the core is gone.
    /// Cancel-safe.
    pub async fn rung(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// One line for each transition of an issue; names only, no text from pods.
fn log(issue: &Arc<IssueKey>, change: Change) {
    let IssueKey { namespace, owner, container, kind } = &**issue;
    let (kind, owner) = (kind.name(), owner.to_string());
    match change {
        Change::Opened(severity) => {
            tracing::info!(target: "dedupe", kind, %namespace, owner, %container, %severity, "issue_opened");
        }
        Change::Resolved => tracing::info!(target: "dedupe", kind, %namespace, owner, %container, "issue_resolved"),
        Change::Unverified => {
            tracing::warn!(target: "dedupe", kind, %namespace, owner, %container, "issue_unverified");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use wire::Epoch;

    use super::*;
    use crate::settings::Settings;

    fn core() -> Core {
        let clock = Clock::by_hand(Time::from_millis(1_000_000));
        Core::new(Pipeline::new(Settings::default(), Epoch(1), 7, clock.now()), clock)
    }

    #[tokio::test]
    async fn whoever_listened_before_a_change_hears_it_and_reading_is_silent() {
        let core = core();
        let mut bell = core.bell();
        bell.listen();
        core.quietly(|pipeline, _| assert!(pipeline.dedupe().balances()));
        assert!(is_silent(&mut bell).await, "reading rings no bell");
        core.with(Pipeline::on_tick);
        assert!(!is_silent(&mut bell).await, "a change does");
        assert!(is_silent(&mut bell).await, "one ring is heard once");
        core.with(|_, _| ());
        bell.listen();
        assert!(is_silent(&mut bell).await, "what rang before listening is over");
    }

    #[tokio::test]
    async fn work_is_given_the_clocks_time() {
        let core = core();
        core.clock().advance(Duration::from_secs(5));
        assert_eq!(core.quietly(|_, now| now), Time::from_millis(1_005_000));
    }

    async fn is_silent(bell: &mut Bell) -> bool {
        tokio::select! {
            biased;
            () = bell.rung() => false,
            () = std::future::ready(()) => true,
        }
    }
}
