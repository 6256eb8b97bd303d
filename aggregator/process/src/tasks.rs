//! The one place that spawns. Every task has a name and is watched: one that ends when it should not, fails or panics
//! ends the process with its cause, instead of taking its work with it unseen.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;

use futures::FutureExt as _;
use thiserror::Error;
use tokio::sync::{mpsc, watch};

use crate::shutdown::{Phase, Phases};

/// Failures kept until they are read; the first ends the process, so more are never looked at.
const FAILURES_MAX: usize = 16;

/// Spawns tasks and counts the running ones; clones share both.
#[derive(Clone, Debug)]
pub struct Tasks {
    phases: Phases,
    running: watch::Sender<Running>,
    failures: mpsc::Sender<Failure>,
}

/// Hears of the tasks' failures.
#[derive(Debug)]
pub struct Failures(mpsc::Receiver<Failure>);

/// When a task ends at a shutdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// It lets work in. It ends by itself in [`Phase::Draining`], when what it has begun is done.
    Accept,
    /// It passes work on. It ends by itself in [`Phase::Flushing`], when nothing is left.
    Flush,
    /// It holds nothing. It is dropped at the end.
    Background,
}

/// Why a task ended that should not have.
#[derive(Debug, Error)]
pub enum Failure {
    /// It returned, without being told to.
    #[error("task {0} ended unexpectedly")]
    Ended(&'static str),
    /// It returned an error.
    #[error("task {0} failed: {1:#}")]
    Failed(&'static str, anyhow::Error),
    /// It panicked; the panic hook has said where.
    #[error("task {0} panicked: {1}")]
    Panicked(&'static str, String),
}

/// How many tasks run, by stage and name.
#[derive(Debug, Default)]
struct Running(BTreeMap<(Stage, &'static str), usize>);

/// Counts a task as running until it is dropped, however the task ends.
struct Counted {
    running: watch::Sender<Running>,
    key: (Stage, &'static str),
}

impl Tasks {
    /// Tasks that live through `phases`.
    pub fn new(phases: Phases) -> (Self, Failures) {
        let (failures, heard) = mpsc::channel(FAILURES_MAX);
        (Self { phases, running: watch::Sender::default(), failures }, Failures(heard))
    }

    /// Spawns a task that runs until its stage ends; ending sooner, an error or a panic ends the process.
    pub fn spawn<F>(&self, name: &'static str, stage: Stage, future: F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let phases = self.phases.clone();
        self.start(name, stage, async move {
            future.await.map_err(|cause| Failure::Failed(name, cause))?;
            if phases.now() == Phase::Running { Err(Failure::Ended(name)) } else { Ok(()) }
        });
    }

    /// Spawns a task that may end at any time, such as one connection's. How many there are is the caller's to bound.
    /// Only a panic ends the process.
    pub fn spawn_short<F>(&self, name: &'static str, stage: Stage, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.start(name, stage, future.map(Ok));
    }

    /// Returns when no task of `stage` runs.
    pub async fn idle(&self, stage: Stage) {
        self.until(stage, <[_]>::is_empty).await;
    }

    /// Returns when the tasks of `stage` that run are, by their names, as wanted.
    pub async fn until(&self, stage: Stage, is_wanted: impl Fn(&[&'static str]) -> bool) {
        // It cannot fail: the sender lives in self.
        let _ = self.running.subscribe().wait_for(|running| is_wanted(&running.names(stage))).await;
    }

    /// The names of the tasks of `stage` that run.
    pub fn running(&self, stage: Stage) -> Vec<&'static str> {
        self.running.borrow().names(stage)
    }

    #[allow(clippy::disallowed_methods, reason = "this is the one place that spawns")]
    fn start<F>(&self, name: &'static str, stage: Stage, future: F)
    where
        F: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        let counted = Counted::new(self.running.clone(), (stage, name));
        let (failures, phases) = (self.failures.clone(), self.phases.clone());
        // Boxed, or the task would have room for it twice: where it comes in, and where it runs.
        let mut future = Box::pin(AssertUnwindSafe(future).catch_unwind());
        tokio::spawn(async move {
            let outcome = tokio::select! {
                biased;
                outcome = &mut future => outcome,
                () = phases.over() => Ok(Ok(())),
            };
            let failure = match outcome {
                Ok(Ok(())) => None,
                Ok(Err(failure)) => Some(failure),
                Err(panic) => Some(Failure::Panicked(name, panic_text(&*panic))),
            };
            if let Some(failure) = failure {
                // Full means that failures wait already; closed, that the process ends.
                let _ = failures.try_send(failure);
            }
            drop(counted);
        });
    }
}

impl Failures {
    /// Waits for the next failure. Cancel-safe.
    pub async fn next(&mut self) -> Failure {
        match self.0.recv().await {
            Some(failure) => failure,
            // Nobody is left who could spawn, so nothing can fail.
            None => std::future::pending().await,
        }
    }
}

impl Running {
    fn names(&self, stage: Stage) -> Vec<&'static str> {
        self.0.keys().filter(|(of, _)| *of == stage).map(|(_, name)| *name).collect()
    }
}

impl Counted {
    fn new(running: watch::Sender<Running>, key: (Stage, &'static str)) -> Self {
        running.send_modify(|running| *running.0.entry(key).or_default() += 1);
        Self { running, key }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.running.send_modify(|running| {
            if let Some(count) = running.0.get_mut(&self.key) {
                *count -= 1;
                if *count == 0 {
                    running.0.remove(&self.key);
                }
            }
        });
    }
}

/// What a panic said.
fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&'static str>()
        .map(ToString::to_string)
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no text".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shutdown::Script;

    async fn failure_of<F>(future: F) -> String
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let script = Script::new();
        let (tasks, mut failures) = Tasks::new(script.phases());
        tasks.spawn("core", Stage::Flush, future);
        let failure = failures.next().await.to_string();
        tasks.idle(Stage::Flush).await;
        failure
    }

    #[tokio::test]
    async fn an_end_an_error_and_a_panic_are_each_heard_with_their_cause() {
        assert_eq!(failure_of(async { Ok(()) }).await, "task core ended unexpectedly");
        let cause = async { Err(anyhow::anyhow!("no route").context("cannot send")) };
        assert_eq!(failure_of(cause).await, "task core failed: cannot send: no route");
        assert_eq!(failure_of(async { panic!("index {}", 7) }).await, "task core panicked: index 7");
    }

    #[tokio::test]
    async fn short_tasks_end_quietly_but_do_not_panic_unheard() {
        let script = Script::new();
        let (tasks, mut failures) = Tasks::new(script.phases());
        tasks.spawn_short("connection", Stage::Accept, async {});
        tasks.idle(Stage::Accept).await;
        tasks.spawn_short("connection", Stage::Accept, async { panic!("bad frame") });
        assert_eq!(failures.next().await.to_string(), "task connection panicked: bad frame");
    }

    #[tokio::test]
    async fn ending_is_no_failure_once_the_process_drains_and_the_rest_is_dropped_at_the_end() {
        let script = Script::new();
        let (tasks, mut failures) = Tasks::new(script.phases());
        let phases = script.phases();
        tasks.spawn("listener", Stage::Accept, async move {
            phases.draining().await;
            Ok(())
        });
        tasks.spawn("watch", Stage::Background, std::future::pending());
        assert_eq!(tasks.running(Stage::Accept), ["listener"]);
        script.enter(Phase::Draining);
        tasks.idle(Stage::Accept).await;
        assert_eq!(tasks.running(Stage::Background), ["watch"]);
        script.enter(Phase::Over);
        tasks.idle(Stage::Background).await;
        assert!(failures.next().now_or_never().is_none());
    }
}
