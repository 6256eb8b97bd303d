//! Sinks that come, go and come back with the configuration.

use std::path::Path;

use tokio::net::TcpListener;

use super::*;

#[tokio::test(start_paused = true)]
async fn a_sink_that_is_taken_out_is_sent_nothing_more_and_another_in_its_place_is() {
    let (one, other) = (Stream::default(), Stream::default());
    let mut process = Process::begin(stdout(&one), None);
    find(&process.core, "node-1");
    one.told(1).await;
    process.sink.as_ref().expect("it is there").send_replace(Arc::new(stdout(&other)));
    find(&process.core, "node-2");
    assert_eq!(other.told(1).await, ["node-2"]);
    process.sink = None;
    process.tasks.idle(Stage::Flush).await;
    find(&process.core, "node-3");
    assert_eq!((one.told(1).await.len(), other.told(1).await.len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_a_sink_that_was_taken_out_is_none_to_another_of_its_name() {
    let stream = Stream::default();
    let (process, _journal) = keeping(stdout(&stream));
    find(&process.core, "node-1");
    process.core.clock().sleep(SECOND).await;
    for sinks in [&[][..], &["sink"]] {
        process.core.with(|pipeline, now| pipeline.configure(settings(sinks, None), now));
    }
    find(&process.core, "node-2");
    let next = process.core.quietly(|pipeline, now| pipeline.next(&"sink".into(), now));
    let Next::Send(records) = next else { panic!("there is something to send: {next:?}") };
    process.until(|process| process.count(Outcome::Delivered) > 0).await;
    assert_eq!(stream.told(1).await, ["node-1"]);
    let waiting = process.core.quietly(|pipeline, _| pipeline.outboxes().get("sink").map(Outbox::len));
    assert_eq!(waiting, Some(records.len()), "what is on its way waits for its own answer");
}

#[tokio::test(start_paused = true)]
async fn senders_come_and_go_with_the_configuration() {
    let dir = tempfile::tempdir().expect("a folder");
    let missing = dir.path().join("missing");
    let core = core(&["a", "b"], None);
    let script = Script::new();
    let (tasks, _) = Tasks::new(script.phases());
    let attempts = Attempts::default();
    let (publish, config) = watch::channel(Arc::new(targets(&["a"], &missing)));
    let alone = (Leadership::alone(core.clock().clone()), Written::of_memory(core.clock().clone()));
    let running = run(Arc::clone(&core), alone, config, script.phases(), attempts.clone());
    tasks.spawn("forward", Stage::Flush, async move {
        running.await;
        Ok(())
    });
    let until = async |sink: &str, outcome: Outcome, count: u64| {
        let mut bell = core.bell();
        loop {
            bell.listen();
            if attempts.count(sink, outcome) >= count {
                return;
            }
            bell.rung().await;
        }
    };
    find(&core, "node-1");
    until("a", Outcome::Unauthorized, 1).await;
    assert_eq!(attempts.count("b", Outcome::Unauthorized), 0, "nobody sends to b yet");
    publish.send_replace(Arc::new(targets(&["b"], &missing)));
    until("b", Outcome::Unauthorized, 2).await;
    let shown = shown(&attempts);
    assert!(!shown.contains("sink=\"a\""), "nobody sends to a any more: {shown}");
    assert!(shown.contains("attempts_total{sink=\"b\",outcome=\"delivered\"} 0\n"), "{shown}");
    let begun = core.clock().now();
    std::fs::write(dir.path().join("other"), "let me in").expect("a file");
    publish.send_replace(Arc::new(targets(&["b"], &dir.path().join("other"))));
    until("b", Outcome::Failed, 1).await;
    assert!(core.clock().now().since(begun) < 2 * SECOND, "another token file is tried at once");
    drop(publish);
    script.enter(Phase::Flushing);
    tasks.idle(Stage::Flush).await;
}

/// Returns when it is so; nothing else is left to happen until then.
async fn comes_to_be(is_so: impl Fn() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_hours(1), waiting).await.expect("it comes to be so");
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_is_back_before_its_answer_has_its_series_and_the_answer_is_not_counted_there() {
    let port = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = format!("http://{}/", port.local_addr().expect("it is bound"));
    let config = |sinks: &[&str]| Arc::new(to(&address, sinks, None, Duration::from_hours(9)));
    let core = core(&["a"], None);
    let script = Script::new();
    let (tasks, _) = Tasks::new(script.phases());
    let attempts = Attempts::default();
    let (publish, current) = watch::channel(config(&["a"]));
    let alone = (Leadership::alone(core.clock().clone()), Written::of_memory(core.clock().clone()));
    let running = run(Arc::clone(&core), alone, current, script.phases(), attempts.clone());
    tasks.spawn_short("forward", Stage::Flush, running);
    find(&core, "node-1");
    let (asked, _) = port.accept().await.expect("a request");
    for sinks in [["b"], ["a"]] {
        publish.send_replace(config(&sinks));
        comes_to_be(|| shown(&attempts).contains("sink=\"b\"") == (sinks == ["b"])).await;
    }
    let mut bell = core.bell();
    drop(asked);
    bell.rung().await;
    let shown = shown(&attempts);
    for outcome in standing::LABELS {
        assert!(shown.contains(&format!("attempts_total{{sink=\"a\",outcome=\"{outcome}\"}} 0\n")), "{shown}");
    }
    assert!(shown.contains("duration_seconds_count{sink=\"a\"} 0\n"), "{shown}");
    drop(publish);
    script.enter(Phase::Flushing);
    tasks.idle(Stage::Flush).await;
}

/// Targets of these names, with a token file, where nobody listens.
fn targets(sinks: &[&str], token: &Path) -> Config {
    to("http://127.0.0.1:1/", sinks, Some(token), SECOND)
}

/// Targets of these names, all at that address.
fn to(address: &str, sinks: &[&str], token: Option<&Path>, timeout: Duration) -> Config {
    let target = SinkTarget::Ingest(HttpTarget {
        address: Address::Written(address.parse().expect("a URL")),
        token_file: token.map(Path::to_owned),
        ca_file: None,
        proxy: Proxy::default(),
        timeout,
    });
    let targets = sinks.iter().map(|name| (Arc::from(*name), target.clone())).collect();
    Config { targets, ..Config::parse("clusterName: test", "tocsin").expect("a configuration") }
}
