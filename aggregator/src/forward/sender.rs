//! Senders: one for each sink. Each asks its outbox what to do, does it, and says how it went.
//!
//! A sender never stops between sending and saying how it went, so an outbox never waits for an answer that nobody
//! brings. It sends while this replica leads: what waits meanwhile waits on, and what may have been received stays as it is.

mod attempts;
mod standing;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use process::{Phase, Phases};
use rules::Time;
use tokio::sync::watch;

pub use self::attempts::Attempts;
use self::standing::Standing;
use super::outbox::{Health, Next, Outbox};
use crate::config::{Config, SinkTarget};
use crate::core::{Bell, Core};
use crate::leader::Leadership;
use crate::pipeline::Pipeline;
use crate::sinks::{Sent, Sink};
use crate::told_log::keeper::Written;

/// What every sender needs.
#[derive(Debug)]
struct Senders {
    core: Arc<Core>,
    leadership: Leadership,
    told: Written,
    phases: Phases,
    attempts: Attempts,
}

/// A sender's sink as the configuration has it; closed once the configuration has none of that name.
type Current = watch::Receiver<Arc<Sink>>;

/// After the bell: what happens together goes out together.
const GATHER: Duration = Duration::from_millis(20);
/// How often the token file is looked at while the sink does not know us.
const TOKEN_POLL: Duration = Duration::from_secs(2);
/// At a shutdown, a sink that wants to be left alone for longer is left alone: the agents keep what is not settled, so
/// nothing is lost with this process.
const FLUSH_PAUSE_MAX: Duration = Duration::from_secs(5);

/// Runs a sender for each of `config`'s targets, whatever they are at the time, while `leadership` lets them; returns when
/// all is sent after a shutdown has begun to flush. What leaves stands in the told-log first, as `told` says. To be
/// spawned in [`process::Stage::Flush`].
pub async fn run(
    core: Arc<Core>,
    (leadership, told): (Leadership, Written),
    mut config: watch::Receiver<Arc<Config>>,
    phases: Phases,
    attempts: Attempts,
) {
    let senders = Senders { core, leadership, told, phases, attempts };
    let mut targets: BTreeMap<Arc<str>, (SinkTarget, watch::Sender<Arc<Sink>>)> = BTreeMap::new();
    let mut running = FuturesUnordered::new();
    loop {
        let wanted = config.borrow_and_update().targets.clone();
        for (name, _) in targets.extract_if(.., |name, _| !wanted.contains_key(name)) {
            senders.attempts.end(&name);
        }
        for (name, target) in wanted {
            match targets.get_mut(&name) {
                Some((known, _)) if *known == target => {}
                Some((known, sink)) => {
                    sink.send_replace(Arc::new(Sink::new(&target)));
                    *known = target;
                    senders.core.with(|pipeline, now| pipeline.on_credentials_changed(&name, now));
                }
                None => {
                    senders.attempts.begin(&name);
                    let (sender, sink) = watch::channel(Arc::new(Sink::new(&target)));
                    targets.insert(Arc::clone(&name), (target, sender));
                    running.push(senders.run(name, sink));
                }
            }
        }
        tokio::select! {
            () = changed(&mut config) => {}
            () = all_done(&mut running, &senders.phases) => return,
        }
    }
}

impl Senders {
    /// Sends to the sink of that name until it is gone from the configuration, or all is sent at a shutdown.
    async fn run(&self, name: Arc<str>, sink: Current) {
        let token = sink.clone();
        tokio::select! {
            () = self.send(&name, sink) => {}
            () = self.follow_credentials(&name, &token) => {}
        }
    }

    async fn send(&self, name: &Arc<str>, mut sink: Current) {
        let mut standing = Standing::default();
        let mut bell = self.core.bell();
        let mut leadership = self.leadership.clone();
        loop {
            bell.listen();
            let now_flushing = self.phases.now() >= Phase::Flushing;
            let current = Arc::clone(&sink.borrow_and_update());
            if sink.has_changed().is_err() {
                return;
            }
            // Asked before the outbox is, which takes what it gives for sent.
            if !leadership.may_send() {
                if now_flushing && self.leaves(name, None) {
                    return;
                }
                self.pause(&mut leadership, &mut sink).await;
                continue;
            }
            let (next, version, outbox) = self.core.quietly(|pipeline, now| {
                (pipeline.next(name, now), pipeline.told_log().version(), outbox_of(pipeline, name))
            });
            let until = match next {
                Next::Send(records) => {
                    // Looked at first: whoever was paused meanwhile sends nothing more.
                    let (sent, took) = tokio::select! {
                        biased;
                        () = leadership.lapsed() => (Sent::failed("the lease has run out"), None),
                        answered = async {
                            self.told.reaches(version).await;
                            let asked = self.core.clock().mark();
                            let sent = current.send(&records, self.core.clock().now()).await;
                            (sent, Some(self.core.clock().mark().since(asked)))
                        } => answered,
                    };
                    // The series of one that was taken out meanwhile are gone, or another's of its name.
                    if sink.has_changed().is_ok() {
                        self.attempts.add(name, sent.outcome, records.len(), took);
                    }
                    let now = self.core.with(|pipeline, now| {
                        // The sink may have been taken out meanwhile, and be there again as another.
                        if outbox_of(pipeline, name) == outbox {
                            pipeline.on_outcome(name, sent.outcome, now);
                        }
                        now
                    });
                    let outcome = standing::label(sent.outcome);
                    tracing::debug!(target: "forward", sink = &**name, records = records.len(), outcome, "batch_sent");
                    if let Some(notice) = standing.on_sent(&sent, records.len(), now) {
                        notice.log(name);
                    }
                    continue;
                }
                Next::WaitUntil(time) => Some(time),
                Next::Idle => None,
            };
            if now_flushing && self.leaves(name, until) {
                return;
            }
            self.wait(until, &mut bell, &mut sink).await;
        }
    }

    /// Returns when it is worth asking the outbox again: at `until`, or when something has happened.
    async fn wait(&self, until: Option<Time>, bell: &mut Bell, sink: &mut Current) {
        tokio::select! {
            () = bell.rung() => self.core.clock().sleep(GATHER).await,
            () = self.until(until) => {}
            () = self.begins_to_flush() => {}
            // An error means that it is gone, which is looked at before anything is sent.
            _ = sink.changed() => {}
        }
    }

    /// Returns when this replica may send again, perhaps.
    async fn pause(&self, leadership: &mut Leadership, sink: &mut Current) {
        tokio::select! {
            () = leadership.changed() => {}
            () = self.begins_to_flush() => {}
            _ = sink.changed() => {}
        }
    }

    async fn until(&self, time: Option<Time>) {
        match time {
            Some(time) => self.core.clock().sleep_until(time).await,
            None => std::future::pending().await,
        }
    }

    /// Returns when the process goes over to flushing; never, when it does so already.
    async fn begins_to_flush(&self) {
        if self.phases.now() >= Phase::Flushing {
            std::future::pending::<()>().await;
        }
        self.phases.flushing().await;
    }

    /// Looks at the files of its token and its address while the sink does not work: new ones are tried at once. Never returns.
    async fn follow_credentials(&self, name: &Arc<str>, sink: &Current) {
        loop {
            self.core.clock().sleep(TOKEN_POLL).await;
            let health = self.core.quietly(|pipeline, _| pipeline.outboxes().get(name).map(Outbox::health));
            let sink = Arc::clone(&sink.borrow());
            if health.is_some_and(|health| health != Health::Working) && sink.has_new_credentials().await {
                self.core.with(|pipeline, now| pipeline.on_credentials_changed(name, now));
            }
        }
    }

    /// Whether nothing more can be sent in the time that a shutdown has.
    fn leaves(&self, name: &str, until: Option<Time>) -> bool {
        let now = self.core.clock().now();
        if until.is_some_and(|until| until.since(now) <= FLUSH_PAUSE_MAX) {
            return false;
        }
        let unsent = self.core.quietly(|pipeline, _| pipeline.outboxes().get(name).map_or(0, Outbox::len));
        if unsent > 0 {
            tracing::info!(target: "forward", sink = name, unsent, "left_unsent");
        }
        true
    }
}

fn outbox_of(pipeline: &Pipeline, sink: &str) -> Option<u64> {
    pipeline.outboxes().get(sink).map(Outbox::number)
}

/// Returns when the configuration has changed; never, once nobody is left to change it.
async fn changed(config: &mut watch::Receiver<Arc<Config>>) {
    if config.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Returns when the process flushes and every sender has ended.
async fn all_done(running: &mut FuturesUnordered<impl Future<Output = ()>>, phases: &Phases) {
    while running.next().await.is_some() {}
    phases.flushing().await;
}

#[cfg(test)]
mod tests;
