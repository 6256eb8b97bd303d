//! Senders in virtual time, with a stream in the place of standard output, and with files.

mod sinks;

use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};

use process::shutdown::Script;
use process::{Clock, Mark, Stage, Tasks};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use rules::{Evidence, Finding, FindingId, Incarnation, Kind, Owner, Seen, State, Subject};
use tokio::io::AsyncWrite;
use tokio::sync::Notify;
use wire::Epoch;

use super::*;
use crate::config::{Address, HttpTarget, Proxy};
use crate::forward::outbox::Outcome;
use crate::leader::election::Role;
use crate::settings::{Settings, SinkSettings};
use crate::sinks::Stdout;

const START: Time = Time::from_millis(1_000_000_000);
const SECOND: Duration = Duration::from_secs(1);

/// What a stream has taken, and whether it takes anything.
#[derive(Clone, Debug, Default)]
struct Stream(Arc<(Mutex<Taken>, Notify)>);

#[derive(Debug, Default)]
struct Taken {
    text: String,
    broken: bool,
    stuck: bool,
    attempts: usize,
}

impl Stream {
    fn set_broken(&self, broken: bool) {
        self.0.0.lock().expect("unpoisoned").broken = broken;
    }

    fn set_stuck(&self, stuck: bool) {
        self.0.0.lock().expect("unpoisoned").stuck = stuck;
    }

    fn attempts(&self) -> usize {
        self.0.0.lock().expect("unpoisoned").attempts
    }

    /// Returns the names of the nodes that were told of, when there are `count`.
    async fn told(&self, count: usize) -> Vec<String> {
        loop {
            let told = self.0.1.notified();
            let names: Vec<_> = {
                let taken = self.0.0.lock().expect("unpoisoned");
                let name = |line: &str| {
                    let record: serde_json::Value = serde_json::from_str(line).expect("JSON");
                    record["owner"]["name"].as_str().expect("a name").to_owned()
                };
                taken.text.lines().map(name).collect()
            };
            if names.len() >= count {
                return names;
            }
            told.await;
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        let mut taken = self.0.0.lock().expect("unpoisoned");
        taken.attempts += 1;
        if taken.stuck {
            return Poll::Pending;
        }
        if taken.broken {
            return Poll::Ready(Err(std::io::ErrorKind::BrokenPipe.into()));
        }
        taken.text += std::str::from_utf8(bytes).expect("text");
        self.0.1.notify_one();
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A process with one sink, `sink`.
struct Process {
    core: Arc<Core>,
    script: Script,
    tasks: Tasks,
    attempts: Attempts,
    /// What the configuration has; `None` once it was taken out.
    sink: Option<watch::Sender<Arc<Sink>>>,
}

impl Process {
    fn begin(sink: Sink, rate_per_minute: Option<u32>) -> Self {
        Self::begin_as(Leadership::alone, sink, rate_per_minute)
    }

    fn begin_as(leadership: impl FnOnce(Clock) -> Leadership, sink: Sink, rate_per_minute: Option<u32>) -> Self {
        Self::begin_with(|clock| (leadership(clock.clone()), Written::of_memory(clock)), sink, rate_per_minute)
    }

    fn begin_with(kept: impl FnOnce(Clock) -> (Leadership, Written), sink: Sink, rate_per_minute: Option<u32>) -> Self {
        let core = core(&["sink"], rate_per_minute);
        let script = Script::new();
        let (tasks, _) = Tasks::new(script.phases());
        let attempts = Attempts::default();
        let (leadership, told) = kept(core.clock().clone());
        let senders =
            Senders { core: Arc::clone(&core), leadership, told, phases: script.phases(), attempts: attempts.clone() };
        let (sender, current) = watch::channel(Arc::new(sink));
        tasks.spawn_short("forward", Stage::Flush, async move { senders.run("sink".into(), current).await });
        Self { core, script, tasks, attempts, sink: Some(sender) }
    }

    fn count(&self, outcome: Outcome) -> u64 {
        self.attempts.count("sink", outcome)
    }

    fn elapsed(&self) -> Duration {
        self.core.clock().now().since(START)
    }

    fn health(&self) -> Option<Health> {
        self.core.quietly(|pipeline, _| pipeline.outboxes().get("sink").map(Outbox::health))
    }

    /// Waits for the bell until `is_so`.
    async fn until(&self, is_so: impl Fn(&Self) -> bool) {
        let mut bell = self.core.bell();
        let ringing = async {
            loop {
                bell.listen();
                if is_so(self) {
                    return;
                }
                bell.rung().await;
            }
        };
        tokio::time::timeout(Duration::from_hours(1), ringing).await.expect("it comes to be so");
    }
}

fn core(sinks: &[&str], rate_per_minute: Option<u32>) -> Arc<Core> {
    let clock = Clock::starting_at(START);
    let pipeline = Pipeline::new(settings(sinks, rate_per_minute), Epoch(1), 7, clock.now());
    Arc::new(Core::new(pipeline, clock))
}

fn settings(sinks: &[&str], rate_per_minute: Option<u32>) -> Settings {
    let sink = SinkSettings { rate_per_minute, ..SinkSettings::default() };
    let sinks = sinks.iter().map(|name| (Arc::from(*name), sink.clone())).collect();
    Settings { sinks, ..Settings::default() }
}

/// A node is not ready.
fn find(core: &Core, node: &str) {
    let kind = Kind::named("NodeNotReady").expect("a kind of the catalogue");
    let subject = Subject { node: node.into(), ..Subject::default() };
    let finding = Finding {
        id: FindingId::of(kind, &subject),
        kind,
        subject,
        owner: Owner { kind: "Node".into(), name: node.into() },
        incarnation: Incarnation(1),
        state: State::Active,
        since: START,
        seen: Seen::Happening,
        severity: kind.row().severity,
        evidence: Evidence::default(),
    };
    core.with(|pipeline, now| pipeline.on_own_findings(vec![finding], now));
}

/// What a scrape says of attempts.
fn shown(Attempts { batches, records, durations }: &Attempts) -> String {
    let mut registry = Registry::default();
    registry.register("attempts", "", batches.clone());
    registry.register("records", "", records.clone());
    registry.register("duration_seconds", "", durations.clone());
    let mut text = String::new();
    encode(&mut text, &registry).expect("written");
    text
}

fn stdout(stream: &Stream) -> Sink {
    Sink::Stdout(Stdout::new(stream.clone()))
}

#[tokio::test(start_paused = true)]
async fn what_happens_is_sent_at_once_and_what_happens_together_goes_together() {
    let stream = Stream::default();
    let process = Process::begin(stdout(&stream), None);
    tokio::task::yield_now().await;
    find(&process.core, "node-1");
    find(&process.core, "node-2");
    assert_eq!(stream.told(2).await.len(), 2);
    process.until(|process| process.count(Outcome::Delivered) > 0).await;
    assert_eq!((process.count(Outcome::Delivered), process.elapsed()), (1, GATHER));
    let shown = shown(&process.attempts);
    assert!(shown.contains("records_total{sink=\"sink\",outcome=\"delivered\"} 2\n"), "{shown}");
    assert!(shown.contains("duration_seconds_count{sink=\"sink\"} 1\n"), "{shown}");
    find(&process.core, "node-3");
    assert_eq!(stream.told(3).await[2], "node-3");
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_was_down_for_hours_gets_everything_when_it_is_back() {
    let stream = Stream::default();
    stream.set_broken(true);
    let process = Process::begin(stdout(&stream), None);
    find(&process.core, "node-1");
    find(&process.core, "node-2");
    process.core.clock().sleep(6 * 3600 * SECOND).await;
    let attempts = stream.attempts();
    assert!((50..1_000).contains(&attempts), "{attempts} attempts in six hours");
    assert_eq!(process.count(Outcome::Failed), attempts as u64);
    stream.set_broken(false);
    let mut told = stream.told(2).await;
    told.sort();
    assert_eq!(told, ["node-1", "node-2"]);
    assert!(process.elapsed() < 6 * 3600 * SECOND + 601 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn what_the_limit_holds_back_goes_when_it_may() {
    let stream = Stream::default();
    let process = Process::begin(stdout(&stream), Some(2));
    for number in 1..=3 {
        find(&process.core, &format!("node-{number}"));
    }
    stream.told(2).await;
    assert!(process.elapsed() < SECOND);
    stream.told(3).await;
    assert!((30 * SECOND..31 * SECOND).contains(&process.elapsed()), "{:?}", process.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_new_token_is_tried_at_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let token = dir.path().join("token");
    let target = HttpTarget {
        // Nobody listens there: that it is asked at all shows that the token was taken.
        address: Address::Written("http://127.0.0.1:1/".parse().expect("a URL")),
        token_file: Some(token.clone()),
        ca_file: None,
        proxy: Proxy::default(),
        timeout: SECOND,
    };
    let process = Process::begin(Sink::new(&SinkTarget::Ingest(target)), None);
    find(&process.core, "node-1");
    process.until(|process| process.health() == Some(Health::Unauthorized)).await;
    assert_eq!(process.count(Outcome::Unauthorized), 1);
    let begun = process.elapsed();
    std::fs::write(token, "let me in").expect("a file");
    process.until(|process| process.count(Outcome::Failed) > 0).await;
    let waited = process.elapsed().saturating_sub(begun);
    assert!(waited <= TOKEN_POLL + SECOND, "it took {waited:?}");
    assert_eq!(process.count(Outcome::Unauthorized), 1, "it was not asked with the old one meanwhile");
}

#[tokio::test(start_paused = true)]
async fn at_a_shutdown_what_is_left_is_sent() {
    let stream = Stream::default();
    let process = Process::begin(stdout(&stream), None);
    find(&process.core, "node-1");
    process.script.enter(Phase::Flushing);
    process.tasks.idle(Stage::Flush).await;
    assert_eq!(stream.told(1).await, ["node-1"]);
}

#[tokio::test(start_paused = true)]
async fn at_a_shutdown_a_short_pause_is_waited_for_and_a_long_one_is_not() {
    for (pause, is_sent) in [(3 * SECOND, true), (6 * SECOND, false)] {
        let stream = Stream::default();
        // One record, and then one each `pause`.
        let rate = u32::try_from(60 / pause.as_secs()).expect("small");
        let process = Process::begin(stdout(&stream), Some(rate));
        let nodes = usize::try_from(rate).expect("small") + 1;
        for number in 0..nodes {
            find(&process.core, &format!("node-{number}"));
        }
        stream.told(nodes - 1).await;
        process.script.enter(Phase::Flushing);
        process.tasks.idle(Stage::Flush).await;
        assert_eq!(stream.told(0).await.len(), nodes - usize::from(!is_sent));
        assert!(process.elapsed() < 4 * SECOND, "{:?}", process.elapsed());
    }
}

/// A process that leads until `seconds`, and what decides about that.
fn leading_until(seconds: u64, sink: Sink) -> (Process, watch::Sender<Role>) {
    let mut script = None;
    let process = Process::begin_as(
        |clock| {
            let (sender, leadership) = Leadership::scripted(until(seconds), clock);
            script = Some(sender);
            leadership
        },
        sink,
        None,
    );
    (process, script.expect("it was made"))
}

fn until(seconds: u64) -> Role {
    Role::Leading { send_until: Mark::from_start(Duration::from_secs(seconds)) }
}

#[tokio::test(start_paused = true)]
async fn who_has_not_renewed_sends_nothing_and_goes_on_where_it_stopped() {
    let stream = Stream::default();
    stream.set_broken(true);
    let (process, script) = leading_until(10, stdout(&stream));
    find(&process.core, "node-1");
    process.until(|process| process.count(Outcome::Failed) > 0).await;
    process.core.clock().sleep_until(START + 10 * SECOND).await;
    let attempts = stream.attempts();
    stream.set_broken(false);
    find(&process.core, "node-2");
    process.core.clock().sleep(3600 * SECOND).await;
    assert_eq!(stream.attempts(), attempts, "it has sent after 10 s");
    script.send_replace(until(3_700));
    let mut told = stream.told(2).await;
    told.sort();
    assert_eq!(told, ["node-1", "node-2"]);
    assert_eq!(process.elapsed(), 3_610 * SECOND);
}

/// A process whose told-log has the versions that the sender says.
fn keeping(sink: Sink) -> (Process, watch::Sender<u64>) {
    let mut journal = None;
    let kept = |clock: Clock| {
        let (sender, told) = Written::scripted(clock.clone());
        journal = Some(sender);
        (Leadership::alone(clock), told)
    };
    let process = Process::begin_with(kept, sink, None);
    (process, journal.expect("it was made"))
}

#[tokio::test(start_paused = true)]
async fn nothing_leaves_before_it_stands_in_the_told_log() {
    let stream = Stream::default();
    let (process, journal) = keeping(stdout(&stream));
    find(&process.core, "node-1");
    process.core.clock().sleep(SECOND).await;
    assert_eq!(stream.attempts(), 0);
    journal.send_replace(process.core.quietly(|pipeline, _| pipeline.told_log().version()));
    assert_eq!(stream.told(1).await, ["node-1"]);
    assert_eq!(process.elapsed(), SECOND);
}

#[tokio::test(start_paused = true)]
async fn what_the_told_log_cannot_take_in_leaves_all_the_same_after_two_seconds() {
    let stream = Stream::default();
    let (process, _journal) = keeping(stdout(&stream));
    tokio::task::yield_now().await;
    find(&process.core, "node-1");
    assert_eq!(stream.told(1).await, ["node-1"]);
    assert_eq!(process.elapsed(), GATHER + 2 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn what_is_under_way_when_the_lease_has_run_out_is_given_up_and_sent_again_later() {
    let stream = Stream::default();
    stream.set_stuck(true);
    let (process, script) = leading_until(10, stdout(&stream));
    find(&process.core, "node-1");
    process.core.clock().sleep(9 * SECOND).await;
    script.send_replace(until(19));
    process.until(|process| process.count(Outcome::Failed) > 0).await;
    assert_eq!(process.elapsed(), 24 * SECOND, "five seconds after the last moment to begin");
    stream.set_stuck(false);
    script.send_replace(until(60));
    assert_eq!(stream.told(1).await, ["node-1"]);
}

#[tokio::test(start_paused = true)]
async fn at_a_shutdown_who_may_not_send_leaves_what_is_left() {
    let stream = Stream::default();
    let (process, _script) = leading_until(0, stdout(&stream));
    find(&process.core, "node-1");
    process.script.enter(Phase::Flushing);
    tokio::time::timeout(SECOND, process.tasks.idle(Stage::Flush)).await.expect("it ends at once");
    assert_eq!(stream.attempts(), 0);
}
