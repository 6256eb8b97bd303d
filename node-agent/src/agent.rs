//! The one loop: what the watch, the aggregator and time bring goes through engine and reporter, and what these want done
//! is done.

use std::pin::pin;
use std::time::Duration;

use process::readiness::Handle;
use process::watch::{Event, Watch};
use process::{Clock, Mark, Phases, Pulse};
use rules::{Engine, Finding, Pod, State, Time};

use crate::connection::{self, Connection, Failure};
use crate::metrics::Metrics;
use crate::observe::{Sight, Then, Waiting};
use crate::report::{Effect, End, Next, Notice, Reporter};

/// The loop turns at least so often, so that its standing still can be noticed.
const TURN_MAX: Duration = Duration::from_secs(30);

/// The stages of one node, and what they need.
pub(crate) struct Agent {
    pub(crate) clock: Clock,
    pub(crate) watch: Watch<Pod>,
    pub(crate) waiting: Waiting,
    pub(crate) sight: Sight,
    pub(crate) engine: Engine,
    pub(crate) reporter: Reporter,
    pub(crate) connection: Connection,
    pub(crate) metrics: Metrics,
    pub(crate) pulse: Pulse,
    pub(crate) readiness: Waits,
    /// The failure that was logged last, until an exchange succeeds: the same again is no news.
    pub(crate) trouble: Option<String>,
    /// How long reporting what is left may take at the end.
    pub(crate) flush_deadline: Duration,
}

/// What must have happened before the process is ready.
pub(crate) struct Waits {
    /// The first LIST is complete.
    pub(crate) listed: Handle,
    /// The first session is open.
    pub(crate) session: Handle,
}

/// What woke the loop.
#[allow(clippy::large_enum_variant, reason = "there is one at a time, and it is taken apart at once")]
enum Woken {
    Watch(Event<Pod>),
    Connection(connection::Event),
    Time,
    Draining,
}

impl Agent {
    /// Runs until the process drains and what is left is reported, or a newer agent has taken over.
    pub(crate) async fn run(mut self, phases: Phases) -> anyhow::Result<()> {
        let clock = self.clock.clone();
        let mut draining = pin!(phases.draining());
        let mut flush_until: Option<Mark> = None;
        loop {
            let wait = self.turn()?;
            if flush_until.is_some_and(|until| self.is_flushed(until)) {
                return Ok(());
            }
            let tick_at = self.sight.next_deadline(&self.engine);
            let woken = tokio::select! {
                biased;
                () = &mut draining, if flush_until.is_none() => Woken::Draining,
                event = self.connection.next() => Woken::Connection(event),
                event = self.watch.next(), if !self.waiting.is_full() => Woken::Watch(event),
                () = clock.sleep(wait) => Woken::Time,
                () = until(&clock, tick_at) => Woken::Time,
                () = reached(&clock, flush_until) => Woken::Time,
            };
            match woken {
                Woken::Watch(event) => self.on_watch(event),
                Woken::Connection(event) => self.on_connection(event),
                Woken::Time => {}
                Woken::Draining => {
                    flush_until = Some(clock.mark() + self.flush_deadline);
                    self.reporter.flush(self.elapsed());
                }
            }
        }
    }

    /// Ticks what is due, does what the reporter wants done, and gives the time until it wants more.
    fn turn(&mut self) -> anyhow::Result<Duration> {
        self.pulse.beat();
        let now = self.clock.now();
        if self.sight.next_deadline(&self.engine).is_some_and(|at| at <= now) {
            self.engine.set_kubelet_offset(self.clock.node_offset_millis());
            self.engine.on_tick(now);
        }
        self.pass_on_changes();
        let wait = loop {
            match self.reporter.next(self.elapsed()) {
                Next::Hello(hello) => self.connection.hello(self.reporter.target(), &hello),
                Next::Report(report) => {
                    self.metrics.report(&report);
                    self.connection.report(self.reporter.target(), self.reporter.version(), &report);
                }
                Next::WaitUntil(at) => break at.map_or(TURN_MAX, |at| at.since(self.elapsed()).min(TURN_MAX)),
                Next::End(End::Retired) => {
                    anyhow::bail!("another agent of this node has taken over: is there more than one DaemonSet?")
                }
            }
        };
        self.metrics.show(&self.reporter);
        Ok(wait)
    }

    fn on_watch(&mut self, event: Event<Pod>) {
        match &event {
            Event::Listed { .. } => self.readiness.listed.ready(),
            Event::Quiet { reason } if self.watch.health().lists() == 0 => {
                self.readiness.listed.unready(reason.to_string());
            }
            Event::Quiet { .. } | Event::Live | Event::Applied(_) | Event::Deleted(_) => {}
        }
        let now = self.clock.now();
        if let Some(event) = self.waiting.pass(event, now) {
            self.show(event, now);
        }
    }

    /// Observe → detect.
    fn show(&mut self, event: Event<Pod>, now: Time) {
        self.engine.set_kubelet_offset(self.clock.node_offset_millis());
        match self.sight.observe(event, &mut self.engine, now) {
            Then::Nothing => {}
            Then::Synced => {
                // The findings of this LIST first: they are what there is to tell.
                self.pass_on_changes();
                self.reporter.on_synced();
            }
            Then::ListAgain => self.watch.list_again(),
        }
    }

    fn on_connection(&mut self, event: connection::Event) {
        let now = self.elapsed();
        let effects = match event {
            connection::Event::Session(reply) => self.reporter.on_session_reply(reply, now),
            connection::Event::Reply(reply) => self.reporter.on_reply(reply, now),
            connection::Event::Failed(failure) => {
                self.on_failure(&failure);
                return self.reporter.on_failure(now);
            }
            connection::Event::Closed => return self.reporter.on_disconnect(now),
        };
        self.trouble = None;
        for effect in effects {
            self.take(effect);
        }
    }

    fn on_failure(&mut self, failure: &Failure) {
        self.metrics.failure(failure);
        let text = failure.to_string();
        if self.trouble.as_ref() == Some(&text) {
            return tracing::debug!(target: "report", reason = text, "still_not_reported");
        }
        tracing::warn!(target: "report", reason = text, "not_reported");
        self.trouble = Some(text);
    }

    fn take(&mut self, effect: Effect) {
        let now = self.clock.now();
        match effect {
            Effect::Configure(config) => {
                tracing::info!(target: "detect", kinds = config.kinds.len(), "rules_taken_over");
                if self.engine.configure(config) {
                    self.watch.list_again();
                }
            }
            Effect::Adopt(findings) => {
                tracing::info!(target: "detect", findings = findings.len(), "findings_adopted");
                if self.engine.adopt(findings, now) {
                    self.watch.list_again();
                }
                // The session has brought the rules before.
                for (at, event) in self.waiting.on_rules() {
                    self.show(event, at);
                    self.pass_on_changes();
                }
            }
            Effect::Notice(notice) => {
                if let Notice::Opened(_) = notice {
                    self.readiness.session.ready();
                }
                log(&notice);
            }
        }
        self.pass_on_changes();
    }

    /// Detect → report.
    fn pass_on_changes(&mut self) {
        let now = self.elapsed();
        for finding in self.engine.changes() {
            if self.reporter.on_change(finding.clone(), now) {
                log_transition(&finding);
            }
        }
        self.reporter.on_engine_shed(self.engine.shed());
        if self.reporter.has_room_again() {
            for finding in self.engine.findings() {
                self.reporter.on_change(finding.clone(), now);
            }
        }
    }

    /// Whether there is nothing left to report, or no time for it.
    fn is_flushed(&self, until: Mark) -> bool {
        let is_late = self.clock.mark() >= until;
        if is_late && !self.reporter.is_quiet() {
            let unsent = self.reporter.counts().unsent;
            tracing::warn!(target: "report", unsent, "left_unreported");
        }
        is_late || self.reporter.is_quiet()
    }

    /// The reporter's time: monotonic, so that a corrected clock moves no deadline of its.
    fn elapsed(&self) -> Time {
        Time::default() + self.clock.mark().since_start()
    }
}

async fn until(clock: &Clock, at: Option<Time>) {
    match at {
        Some(at) => clock.sleep_until(at).await,
        None => std::future::pending().await,
    }
}

async fn reached(clock: &Clock, at: Option<Mark>) {
    match at {
        Some(at) => clock.wait_until(at).await,
        None => std::future::pending().await,
    }
}

/// One line for each step of a finding's life. Names are the API's; nothing that a pod says is in it.
fn log_transition(finding: &Finding) {
    let Finding { kind, subject, owner, state, severity, .. } = finding;
    let (namespace, pod, container) = (&*subject.namespace, &*subject.pod, &*subject.container);
    let (kind, severity) = (kind.name(), severity.to_string());
    match state {
        State::Pending => {
            tracing::debug!(target: "detect", kind, namespace, %owner, pod, container, severity, "finding_pending");
        }
        State::Active => {
            tracing::info!(target: "detect", kind, namespace, %owner, pod, container, severity, "finding_active");
        }
        State::Cleared => {
            tracing::info!(target: "detect", kind, namespace, %owner, pod, container, severity, "finding_cleared");
        }
    }
}

fn log(notice: &Notice) {
    match notice {
        Notice::Opened(epoch) => tracing::info!(target: "report", epoch = epoch.0, "session_opened"),
        Notice::UnknownSession => tracing::info!(target: "report", "session_unknown"),
        Notice::NotLeader(address) => tracing::info!(target: "report", address, "leader_is_elsewhere"),
        Notice::Busy => tracing::warn!(target: "report", "aggregator_is_busy"),
        Notice::Refused(reason) => tracing::error!(target: "report", reason, "session_refused"),
        Notice::NoCommonVersion(theirs) => {
            let ours = wire::VERSIONS;
            tracing::error!(target: "report", ?theirs, ?ours, "no_common_version");
        }
        Notice::Malformed(reason) => tracing::error!(target: "report", reason, "report_not_understood"),
        Notice::Unreadable(reason) => tracing::error!(target: "report", reason, "opening_not_understood"),
        Notice::NeedFull(why) => tracing::info!(target: "report", ?why, "full_report_wanted"),
    }
}
