//! How a process ends: unready, stop accepting, flush, and no later than a deadline. A second signal ends it at once.

use std::time::Duration;

use anyhow::anyhow;
use futures::stream::{BoxStream, StreamExt as _};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::readiness::Readiness;
use crate::tasks::{Failures, Stage, Tasks};

/// Where the process is in its life. Phases only go forward.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It works.
    #[default]
    Running,
    /// It is unready; let nothing more in, finish what has begun.
    Draining,
    /// Nothing comes in any more; send what is left.
    Flushing,
    /// Whatever still runs is dropped.
    Over,
}

/// Tells the tasks which phase the process is in; clones hear the same.
#[derive(Clone, Debug)]
pub struct Phases(watch::Receiver<Phase>);

/// The process's life from signal to end.
pub struct Shutdown {
    script: Script,
    readiness: Readiness,
    tasks: Tasks,
    failures: Failures,
    requests: BoxStream<'static, &'static str>,
}

/// Sets the phase: [`Shutdown`] from signals, a test by hand.
#[derive(Debug)]
pub struct Script(watch::Sender<Phase>);

impl Shutdown {
    /// A process that ends on SIGTERM or SIGINT. Call it inside a runtime; it fails when the handlers cannot be set.
    pub fn on_signals(readiness: Readiness) -> std::io::Result<Self> {
        let heard = |kind, name| signal(kind).map(|signal| signals(signal, name));
        let requests = futures::stream::select(
            heard(SignalKind::terminate(), "SIGTERM")?,
            heard(SignalKind::interrupt(), "SIGINT")?,
        );
        Ok(Self::on_requests(readiness, requests.boxed()))
    }

    /// A process that ends on the first of `requests`, each named by its reason, and at once on the second.
    pub fn on_requests(readiness: Readiness, requests: BoxStream<'static, &'static str>) -> Self {
        let script = Script::new();
        let (tasks, failures) = Tasks::new(script.phases());
        // A stream that has ended asks for nothing more.
        let requests = requests.chain(futures::stream::pending()).boxed();
        Self { script, readiness, tasks, failures, requests }
    }

    /// The process's tasks.
    pub fn tasks(&self) -> Tasks {
        self.tasks.clone()
    }

    /// The process's phases.
    pub fn phases(&self) -> Phases {
        self.script.phases()
    }

    /// Runs until a signal has led the process through its phases, or something failed.
    ///
    /// Accepting tasks get half of `deadline`, so that a slow peer leaves time to flush; the flush gets the rest. `Err`
    /// is a task's failure, work left at the deadline, or a second signal.
    pub async fn run(mut self, deadline: Duration) -> anyhow::Result<()> {
        let outcome = tokio::select! {
            biased;
            failure = self.failures.next() => Err(failure.into()),
            reason = next(&mut self.requests) => {
                tracing::info!(target: "process", reason, deadline_s = deadline.as_secs(), "shutting_down");
                tokio::select! {
                    biased;
                    failure = self.failures.next() => Err(failure.into()),
                    reason = next(&mut self.requests) => Err(anyhow!("{reason} again: ended at once, unsent work is lost")),
                    outcome = wind_down(&self.script, &self.readiness, &self.tasks, deadline) => outcome,
                }
            }
        };
        self.readiness.shut_down();
        self.script.enter(Phase::Over);
        outcome
    }
}

impl Phases {
    /// The present phase.
    pub fn now(&self) -> Phase {
        *self.0.borrow()
    }

    /// Returns when nothing more may be let in. Cancel-safe.
    pub async fn draining(&self) {
        self.reach(Phase::Draining).await;
    }

    /// Returns when nothing comes in any more and what is left should be sent. Cancel-safe.
    pub async fn flushing(&self) {
        self.reach(Phase::Flushing).await;
    }

    /// Returns when the process is over. Cancel-safe.
    pub async fn over(&self) {
        self.reach(Phase::Over).await;
    }

    async fn reach(&self, phase: Phase) {
        // An error means that whoever sets the phase is gone: the process is over.
        let _ = self.0.clone().wait_for(|now| *now >= phase).await;
    }
}

impl Default for Script {
    fn default() -> Self {
        Self::new()
    }
}

impl Script {
    /// A process that runs.
    pub fn new() -> Self {
        Self(watch::Sender::new(Phase::Running))
    }

    /// Handles that hear of the phases.
    pub fn phases(&self) -> Phases {
        Phases(self.0.subscribe())
    }

    /// Goes on to `phase`; never back.
    pub fn enter(&self, phase: Phase) {
        self.0.send_if_modified(|now| {
            let forward = *now < phase;
            if forward {
                *now = phase;
            }
            forward
        });
    }
}

async fn wind_down(script: &Script, readiness: &Readiness, tasks: &Tasks, deadline: Duration) -> anyhow::Result<()> {
    readiness.shut_down();
    script.enter(Phase::Draining);
    let stages = async {
        if tokio::time::timeout(deadline / 2, tasks.idle(Stage::Accept)).await.is_err() {
            tracing::warn!(target: "process", tasks = ?tasks.running(Stage::Accept), "still_accepting");
        }
        script.enter(Phase::Flushing);
        tasks.idle(Stage::Flush).await;
    };
    tokio::time::timeout(deadline, stages).await.map_err(|_| {
        let tasks = tasks.running(Stage::Flush).join(", ");
        anyhow!("shutdown deadline of {} s passed before these had sent everything: {tasks}", deadline.as_secs())
    })
}

/// One request's reason.
async fn next(requests: &mut BoxStream<'static, &'static str>) -> &'static str {
    requests.next().await.expect("the stream is chained to one that never ends")
}

/// Each arrival of a signal, by its name.
fn signals(signal: Signal, name: &'static str) -> impl futures::Stream<Item = &'static str> + Send {
    futures::stream::unfold(signal, move |mut signal| async move {
        signal.recv().await?;
        Some((name, signal))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use futures::channel::mpsc;

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(20);

    struct Process {
        request: mpsc::UnboundedSender<&'static str>,
        readiness: Readiness,
        shutdown: Shutdown,
        order: Arc<Mutex<Vec<&'static str>>>,
    }

    impl Process {
        fn new() -> Self {
            let (request, requests) = mpsc::unbounded();
            let readiness = Readiness::new();
            let shutdown = Shutdown::on_requests(readiness.clone(), requests.boxed());
            Self { request, readiness, shutdown, order: Arc::default() }
        }

        fn request(&self) {
            self.request.unbounded_send("SIGTERM").expect("the process listens");
        }

        /// A listener and a sender that take the given times to end once they are told to.
        fn spawn(&self, accept: Duration, flush: Duration) {
            let (phases, order) = (self.shutdown.phases(), Arc::clone(&self.order));
            let readiness = self.readiness.clone();
            self.shutdown.tasks().spawn("ingest", Stage::Accept, async move {
                phases.draining().await;
                assert!(!readiness.is_ready(), "unready comes before the port closes");
                tokio::time::sleep(accept).await;
                order.lock().expect("unpoisoned").push("accepted the last");
                Ok(())
            });
            let (phases, order) = (self.shutdown.phases(), Arc::clone(&self.order));
            self.shutdown.tasks().spawn("forward", Stage::Flush, async move {
                phases.flushing().await;
                tokio::time::sleep(flush).await;
                order.lock().expect("unpoisoned").push("flushed");
                Ok(())
            });
        }

        fn order(&self) -> Vec<&'static str> {
            self.order.lock().expect("unpoisoned").clone()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_signal_makes_it_unready_then_stops_accepting_then_flushes() {
        let process = Process::new();
        process.spawn(Duration::from_secs(1), Duration::from_secs(1));
        process.request();
        let order = Arc::clone(&process.order);
        process.shutdown.run(DEADLINE).await.expect("a clean end");
        assert_eq!(*order.lock().expect("unpoisoned"), ["accepted the last", "flushed"]);
    }

    #[tokio::test]
    async fn sigterm_is_such_a_signal() {
        let readiness = Readiness::new();
        let shutdown = Shutdown::on_signals(readiness.clone()).expect("handlers");
        let pid = std::process::id().to_string();
        let sent = std::process::Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs");
        assert!(sent.success());
        shutdown.run(DEADLINE).await.expect("a clean end");
        assert!(!readiness.is_ready());
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_peer_leaves_half_the_deadline_to_flush() {
        let process = Process::new();
        process.spawn(Duration::from_hours(1), Duration::from_secs(9));
        process.request();
        let order = Arc::clone(&process.order);
        process.shutdown.run(DEADLINE).await.expect("a clean end");
        assert_eq!(*order.lock().expect("unpoisoned"), ["flushed"]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_unsent_at_the_deadline_is_named() {
        let process = Process::new();
        process.spawn(Duration::ZERO, Duration::from_hours(1));
        process.request();
        let cause = process.shutdown.run(DEADLINE).await.expect_err("it cannot end in time").to_string();
        assert_eq!(cause, "shutdown deadline of 20 s passed before these had sent everything: forward");
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_signal_ends_it_at_once() {
        let process = Process::new();
        process.spawn(Duration::from_hours(1), Duration::ZERO);
        process.request();
        process.request();
        let cause = process.shutdown.run(DEADLINE).await.expect_err("it is cut short").to_string();
        assert_eq!(cause, "SIGTERM again: ended at once, unsent work is lost");
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_task_ends_the_process_with_its_cause() {
        let process = Process::new();
        process.spawn(Duration::ZERO, Duration::ZERO);
        process.shutdown.tasks().spawn("watch", Stage::Background, async { Err(anyhow!("no such host")) });
        let phases = process.shutdown.phases();
        let readiness = process.readiness.clone();
        assert!(process.order().is_empty());
        let cause = process.shutdown.run(DEADLINE).await.expect_err("a task failed").to_string();
        assert_eq!(cause, "task watch failed: no such host");
        assert!(!readiness.is_ready());
        phases.over().await;
    }
}
