//! The loop against a small server, in virtual time: what only bytes can show. `plan` has the rest.

mod server;

use futures::StreamExt as _;
use futures::channel::mpsc;
use rules::Time;

use super::*;
use crate::shutdown::Script;
use crate::tasks::{Failures, Stage, Tasks};
use server::{Asked, Server, Stream};

const START: Time = Time::from_millis(1_700_000_000_000);

/// An object of a collection that nothing else knows.
#[derive(Debug, PartialEq, serde::Deserialize)]
pub(super) struct Thing {
    pub(super) metadata: Meta,
    #[serde(default)]
    pub(super) size: u32,
}

impl Object for Thing {
    const COLLECTION: &'static str = "/apis/test/v1/things";

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

/// A watch that runs by itself, the server that it asks, and its events.
struct Run {
    server: Server,
    events: mpsc::UnboundedReceiver<Event<Thing>>,
    health: Health,
    clock: Clock,
    // Dropped, the tasks end.
    _script: Script,
    _failures: Failures,
}

impl Run {
    fn start(options: Options) -> Self {
        let script = Script::new();
        let (tasks, failures) = Tasks::new(script.phases());
        let clock = Clock::starting_at(START);
        let (server, client) = Server::start(&tasks);
        let mut watch = Watch::<Thing>::new(client, clock.clone(), options, fastrand::Rng::with_seed(1));
        let health = watch.health();
        let (send, events) = mpsc::unbounded();
        tasks.spawn("watch", Stage::Background, async move {
            loop {
                // As a caller with more to do: `next` is dropped again and again.
                tokio::select! {
                    event = watch.next() => send.unbounded_send(event)?,
                    () = tokio::time::sleep(Duration::from_millis(70)) => {}
                }
            }
        });
        Self { server, events, health, clock, _script: script, _failures: failures }
    }

    /// Listed `a` at version 10, watching.
    async fn watching() -> (Self, Stream) {
        let mut run = Self::start(Options::default());
        run.asked("resourceVersion=0").await.answer(200, list("10", &[thing("a", 5, 1)]));
        let Event::Listed { .. } = run.event().await else { panic!("not listed") };
        let stream = run.asked("watch=1&resourceVersion=10&").await.stream();
        assert_eq!(run.event().await, Event::Live);
        (run, stream)
    }

    /// The next request, which contains `part`.
    async fn asked(&mut self, part: &str) -> Asked {
        let asked = self.server.asked().await;
        assert!(asked.uri.contains(part), "asked for {} instead of {part}", asked.uri);
        asked
    }

    async fn event(&mut self) -> Event<Thing> {
        self.events.next().await.expect("the watch runs")
    }

    async fn applied(&mut self) -> String {
        match self.event().await {
            Event::Applied(thing) => format!("{} {}", thing.metadata.name, thing.size),
            event => panic!("not applied: {event:?}"),
        }
    }

    /// The name of the failure that made it quiet.
    async fn quiet(&mut self) -> &'static str {
        match self.event().await {
            Event::Quiet { reason } => reason.label(),
            event => panic!("not quiet: {event:?}"),
        }
    }
}

fn thing(name: &str, version: u64, size: u32) -> String {
    format!(r#"{{"metadata":{{"name":"{name}","uid":"uid-{name}","resourceVersion":"{version}"}},"size":{size}}}"#)
}

fn list(version: &str, things: &[String]) -> String {
    format!(r#"{{"kind":"ThingList","metadata":{{"resourceVersion":"{version}"}},"items":[{}]}}"#, things.join(","))
}

fn line(event: &str, object: &str) -> String {
    format!("{{\"type\":\"{event}\",\"object\":{object}}}\n")
}

#[tokio::test(start_paused = true)]
async fn it_lists_any_version_then_watches_from_there_and_hears_what_happens_in_order() {
    let mut run = Run::start(Options::default());
    let asked = run.asked("/apis/test/v1/things?resourceVersion=0").await;
    assert_eq!(asked.accept, "application/json;drop=metadata.managedFields,application/json");
    asked.answer(200, list("10", &[thing("a", 5, 1), thing("b", 6, 2)]));
    let Event::Listed { objects, skipped, first, restored } = run.event().await else { panic!("not listed") };
    assert_eq!(objects.iter().map(|thing| &*thing.metadata.name).collect::<Vec<_>>(), ["a", "b"]);
    assert!(skipped.is_empty() && first && !restored);
    assert!(!run.health.is_live());

    let asked = run.asked("watch=1&resourceVersion=10&allowWatchBookmarks=true&timeoutSeconds=").await;
    let stream = asked.stream();
    assert_eq!(run.event().await, Event::Live);
    let added = line("ADDED", &thing("c", 11, 3));
    // A line over two chunks, then two lines in one.
    stream.send(&added[..20]);
    stream.send(&added[20..]);
    stream.send(&(line("MODIFIED", &thing("c", 12, 4)) + &line("DELETED", &thing("a", 13, 1))));
    assert_eq!(run.applied().await, "c 3");
    assert_eq!(run.applied().await, "c 4");
    assert!(matches!(run.event().await, Event::Deleted(gone) if &*gone.metadata.name == "a"));
    assert!(run.health.is_live());
    assert_eq!((run.health.lists(), run.health.watches(), run.health.failures()), (1, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_broken_watch_opens_again_after_the_last_version_and_half_a_line_is_forgotten() {
    let (mut run, stream) = Run::watching().await;
    stream.send(&line("ADDED", &thing("b", 12, 2)));
    assert_eq!(run.applied().await, "b 2");
    stream.send(&line("BOOKMARK", r#"{"metadata":{"resourceVersion":"15"}}"#));
    stream.send(r#"{"type":"DELETED","object":{"metadata":{"name":"b""#);
    // A server that breaks at once may take with it what it has not sent.
    run.clock.sleep(Duration::from_secs(1)).await;
    stream.cut();
    let stream = run.asked("watch=1&resourceVersion=15&").await.stream();
    stream.send(&line("MODIFIED", &thing("b", 16, 3)));
    assert_eq!(run.applied().await, "b 3", "nobody needs to know of a watch that broke and opened again");
}

#[tokio::test(start_paused = true)]
async fn a_watch_without_a_byte_for_150_seconds_opens_again_at_the_same_version() {
    let (mut run, stream) = Run::watching().await;
    let began = run.clock.mark();
    let second = run.asked("watch=1&resourceVersion=10&").await.stream();
    assert_eq!(run.clock.mark().since(began).as_secs(), SILENCE.as_secs());
    second.send(&line("ADDED", &thing("b", 12, 2)));
    assert_eq!(run.applied().await, "b 2", "silence is no failure to speak of");
    drop(stream);
}

#[tokio::test(start_paused = true)]
async fn a_bookmark_is_a_sign_of_life() {
    let (mut run, stream) = Run::watching().await;
    for minute in 1..10 {
        run.clock.sleep(Duration::from_mins(1)).await;
        stream.send(&line("BOOKMARK", r#"{"metadata":{"resourceVersion":"10"}}"#));
        run.clock.sleep(Duration::from_secs(1)).await;
        assert_eq!(run.health.watches(), 1, "after {minute} minutes");
        assert!(run.clock.mark().since(run.health.last_heard()) < Duration::from_secs(2));
    }
    stream.send(&line("ADDED", &thing("b", 12, 2)));
    assert_eq!(run.applied().await, "b 2");
}

#[tokio::test(start_paused = true)]
async fn gone_inside_the_stream_and_as_a_status_lists_again_but_not_back_in_time() {
    let (mut run, stream) = Run::watching().await;
    stream.send(&line("ADDED", &thing("b", 12, 2)));
    stream.send(&line("ERROR", r#"{"kind":"Status","code":410,"reason":"Expired"}"#));
    assert_eq!(run.applied().await, "b 2");
    run.asked("?resourceVersion=12&resourceVersionMatch=NotOlderThan").await.answer(200, list("20", &[]));
    assert_eq!(run.event().await, Event::Listed { objects: vec![], skipped: vec![], first: false, restored: false });
    run.asked("watch=1&resourceVersion=20&").await.answer(410, r#"{"kind":"Status","code":410}"#);
    run.asked("?resourceVersion=20&resourceVersionMatch=NotOlderThan").await.answer(200, list("21", &[]));
    let Event::Listed { restored: false, .. } = run.event().await else { panic!("not listed") };
}

#[tokio::test(start_paused = true)]
async fn a_server_restored_from_a_backup_is_believed_after_a_minute() {
    let (mut run, stream) = Run::watching().await;
    stream.send(&line("ERROR", r#"{"code":410}"#));
    let began = run.clock.mark();
    let behind = r#"{"code":504,"message":"Too large resource version: 10, current: 3"}"#;
    loop {
        let asked = run.server.asked().await;
        if !asked.uri.contains("resourceVersion") {
            asked.answer(200, list("3", &[thing("a", 2, 1)]));
            break;
        }
        assert!(asked.uri.ends_with("?resourceVersion=10&resourceVersionMatch=NotOlderThan"), "{}", asked.uri);
        asked.answer(504, behind);
    }
    let after = run.clock.mark().since(began);
    assert!((60..75).contains(&after.as_secs()), "believed after {after:?}");
    assert_eq!(run.quiet().await, "behind");
    let Event::Listed { restored: true, first: false, .. } = run.event().await else { panic!("not restored") };
    let _open = run.asked("watch=1&resourceVersion=3&").await.stream();
    assert_eq!(run.event().await, Event::Live);
}

#[tokio::test(start_paused = true)]
async fn it_says_once_why_it_is_quiet_and_again_when_the_reason_changes() {
    let mut run = Run::start(Options::default());
    for _ in 0..3 {
        run.asked("resourceVersion=0").await.answer(500, "oops");
    }
    // The first few may only mean that the server has not read its roles yet.
    for _ in 0..6 {
        run.asked("resourceVersion=0").await.answer(403, r#"{"code":403,"message":"things is forbidden"}"#);
    }
    assert_eq!(run.quiet().await, "status");
    let Event::Quiet { reason } = run.event().await else { panic!("not quiet") };
    assert_eq!(
        reason.to_string(),
        "403: not allowed, check the token and that its role grants list and watch: things is forbidden"
    );
    let denied = run.clock.mark();
    run.asked("resourceVersion=0").await.answer(200, list("10", &[]));
    assert!(run.clock.mark().since(denied) >= Duration::from_secs(29), "what is not allowed is asked for slowly");
    let Event::Listed { first: true, .. } = run.event().await else { panic!("not listed") };
    let _open = run.asked("watch=1").await.stream();
    assert_eq!(run.event().await, Event::Live);
    assert_eq!(run.health.failures(), 9);
}

#[tokio::test(start_paused = true)]
async fn an_open_watch_that_breaks_is_quiet_when_it_cannot_be_had_again() {
    let (mut run, stream) = Run::watching().await;
    stream.cut();
    run.asked("watch=1").await.answer(503, "");
    assert_eq!(run.quiet().await, "busy");
    assert!(!run.health.is_live());
    let _open = run.asked("watch=1&resourceVersion=10&").await.stream();
    assert_eq!(run.event().await, Event::Live);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_answers_is_given_up_and_asked_again() {
    let mut run = Run::start(Options::default());
    let _held = run.asked("resourceVersion=0").await;
    assert_eq!(run.quiet().await, "connection");
    run.asked("resourceVersion=0").await.answer(200, list("10", &[]));
    let Event::Listed { first: true, .. } = run.event().await else { panic!("not listed") };
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_takes_long_is_waited_for_although_the_caller_looks_away() {
    let mut run = Run::start(Options::default());
    let asked = run.asked("resourceVersion=0").await;
    run.clock.sleep(Duration::from_secs(30)).await;
    asked.answer(200, list("10", &[]));
    let Event::Listed { first: true, .. } = run.event().await else { panic!("not listed") };
    let asked = run.asked("watch=1").await;
    run.clock.sleep(Duration::from_secs(30)).await;
    let _open = asked.stream();
    assert_eq!(run.event().await, Event::Live);
    assert_eq!(run.health.failures(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_object_that_cannot_be_decoded_is_named_and_stops_nothing() {
    let mut run = Run::start(Options::default());
    let bad = thing("bad", 7, 1).replace(":1}", ":\"large\"}");
    run.asked("resourceVersion=0").await.answer(200, list("10", &[bad.clone(), "7".into(), thing("a", 5, 1)]));
    let Event::Listed { objects, skipped, .. } = run.event().await else { panic!("not listed") };
    assert_eq!((objects.len(), skipped.len()), (1, 1));
    assert_eq!(&*skipped[0].uid, "uid-bad");
    let stream = run.asked("watch=1").await.stream();
    assert_eq!(run.event().await, Event::Live);
    stream.send("garbage\n");
    stream.send(&line("MODIFIED", &thing("a", 11, 2)));
    assert_eq!(run.applied().await, "a 2");
    stream.send(&line("MODIFIED", &bad.replace("\"7\"", "\"12\"")));
    drop(stream);
    // Its version counts all the same.
    let _open = run.asked("watch=1&resourceVersion=12&").await.stream();
    assert_eq!(run.health.skipped(), 3);
}

#[tokio::test(start_paused = true)]
async fn lists_and_objects_have_their_bounds() {
    let options = Options { list_bytes_max: 2_000, object_bytes_max: 300, ..Options::default() };
    let mut run = Run::start(options);
    let many: Vec<_> = (0..40).map(|at| thing(&format!("a{at}"), at, 1)).collect();
    run.asked("resourceVersion=0").await.answer(200, list("10", &many));
    assert_eq!(run.quiet().await, "unusable");
    run.asked("resourceVersion=0").await.answer(200, list("10", &[thing(&"x".repeat(300), 5, 1), thing("a", 6, 1)]));
    let Event::Listed { objects, skipped, .. } = run.event().await else { panic!("not listed") };
    assert_eq!((objects.len(), skipped.len()), (1, 1));
    let stream = run.asked("watch=1").await.stream();
    assert_eq!(run.event().await, Event::Live);
    stream.send(&line("ADDED", &thing(&"x".repeat(300), 11, 1)));
    stream.send(&line("ADDED", &thing("b", 12, 1)));
    assert_eq!(run.applied().await, "b 1");
}

#[tokio::test(start_paused = true)]
async fn pages_are_joined() {
    let options = Options { page_size: Some(1), ..Options::default() };
    let mut run = Run::start(options);
    let paged = list("10", &[thing("a", 5, 1)])
        .replace(r#""resourceVersion":"10""#, r#""resourceVersion":"10","continue":"t""#);
    run.asked("?limit=1&resourceVersion=0").await.answer(200, paged);
    run.asked("?limit=1&continue=t").await.answer(200, list("10", &[thing("b", 6, 1)]));
    let Event::Listed { objects, .. } = run.event().await else { panic!("not listed") };
    assert_eq!(objects.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn asked_to_it_gives_up_its_watch_and_shows_everything_once_more() {
    let script = Script::new();
    let (tasks, _failures) = Tasks::new(script.phases());
    let (mut server, client) = Server::start(&tasks);
    let clock = Clock::starting_at(START);
    let mut watch = Watch::<Thing>::new(client, clock, Options::default(), fastrand::Rng::with_seed(1));
    let (listed, asked) =
        futures::join!(watch.next(), server.asked().then(|asked| async { asked.answer(200, list("10", &[])) }));
    assert!(matches!(listed, Event::Listed { first: true, .. }), "{listed:?} {asked:?}");
    let (live, _stream) = futures::join!(watch.next(), server.asked().map(Asked::stream));
    assert_eq!(live, Event::Live);
    watch.list_again();
    let again = async {
        let asked = server.asked().await;
        assert!(asked.uri.contains("resourceVersion=10&resourceVersionMatch=NotOlderThan"), "{}", asked.uri);
        asked.answer(200, list("12", &[thing("a", 11, 1)]));
    };
    let (listed, ()) = futures::join!(watch.next(), again);
    assert!(matches!(listed, Event::Listed { objects, first: false, .. } if objects.len() == 1));
}
