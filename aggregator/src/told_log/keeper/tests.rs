//! The keeper before an API server of its own, in virtual time.

use std::collections::HashMap;
use std::sync::Mutex;

use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use kube::client::Body;
use process::{Liveness, Readiness};
use rules::{Evidence, Finding, FindingId, Incarnation, Kind, Owner, Seen, Severity, State, Subject, Time};
use serde_json::{Value, json};
use tower::service_fn;
use wire::Epoch;

use super::*;
use crate::forward::outbox::{Next, Outcome};
use crate::pipeline::Pipeline;
use crate::settings::{Cluster, Settings, SinkSettings};

const SINK: &str = "outside";

/// ConfigMaps by name, and how requests are answered.
#[derive(Default)]
struct Server {
    maps: HashMap<String, (u64, Value)>,
    writes: Vec<(String, Mark)>,
    refuse: Option<StatusCode>,
    refused: usize,
}

struct Story {
    server: Arc<Mutex<Server>>,
    clock: Clock,
    core: Arc<Core>,
    keeper: Option<Keeper>,
    written: Written,
}

impl Story {
    fn begin() -> Self {
        let server = Arc::new(Mutex::new(Server::default()));
        let clock = Clock::starting_at(Time::from_millis(1_700_000_000_000));
        {
            let mut server = server.lock().expect("unpoisoned");
            let (journal, shards) = names("told");
            for name in std::iter::once(journal).chain(shards) {
                server.maps.insert(name, (1, json!({})));
            }
        }
        let (keeper, written) = keeper(&server, &clock);
        let core = Arc::new(Core::new(pipeline(clock.now()), clock.clone()));
        Self { server, clock, core, keeper: Some(keeper), written }
    }

    /// Another leads, and goes on with what is kept.
    async fn succeed(&mut self) {
        let (mut keeper, written) = keeper(&self.server, &self.clock);
        let kept = keeper.read("cluster-uid", &Readiness::new().handle("told_log")).await;
        let mut pipeline = pipeline(self.clock.now());
        pipeline.recall(kept, self.clock.now());
        self.core = Arc::new(Core::new(pipeline, self.clock.clone()));
        (self.keeper, self.written) = (Some(keeper), written);
    }

    fn server(&self) -> std::sync::MutexGuard<'_, Server> {
        self.server.lock().expect("unpoisoned")
    }

    /// Runs the keeper beside `story`, and to its end after it.
    async fn keeping(&mut self, story: impl AsyncFnOnce(&Self)) {
        let keeper = self.keeper.take().expect("it runs once");
        let (over, is_over) = tokio::sync::oneshot::channel::<()>();
        let pulse = Liveness::new(self.clock.clone()).pulse("told_log", Duration::from_mins(2));
        let running = keeper.run(Arc::clone(&self.core), async { drop(is_over.await) }, pulse);
        let telling = async {
            story(self).await;
            let _ = over.send(());
        };
        tokio::join!(running, telling);
    }

    /// An issue of that name is found, and about to leave: what is to leave, and what the journal must have first.
    fn finds(&self, name: &str) -> (usize, u64) {
        self.core.quietly(|pipeline, now| {
            pipeline.on_own_findings(vec![finding(name, now)], now);
            let next = pipeline.next(&Arc::from(SINK), now);
            let Next::Send(records) = next else { panic!("something is to be told, not {next:?}") };
            (records.len(), pipeline.told_log().version())
        })
    }

    fn delivered(&self) {
        self.core.with(|pipeline, now| pipeline.on_outcome(&Arc::from(SINK), Outcome::Delivered, now));
    }

    /// What a successor would go on with.
    async fn successor_finds(&self) -> Kept {
        let (mut keeper, _) = keeper(&self.server, &self.clock);
        keeper.read("cluster-uid", &Readiness::new().handle("told_log")).await
    }

    fn journal_writes(&self) -> Vec<Mark> {
        let server = self.server();
        server.writes.iter().filter(|(name, _)| name == "told-journal").map(|(_, at)| *at).collect()
    }
}

fn keeper(server: &Arc<Mutex<Server>>, clock: &Clock) -> (Keeper, Written) {
    let client = client(Arc::clone(server), clock.clone());
    Keeper::new((client, "tocsin"), "told", Leadership::alone(clock.clone()), clock.clone())
}

fn pipeline(now: Time) -> Pipeline {
    let sink = SinkSettings { rate_per_minute: None, ..SinkSettings::default() };
    let settings = Settings {
        cluster: Cluster { id: "cluster-uid".to_owned(), ..Cluster::default() },
        sinks: BTreeMap::from([(Arc::from(SINK), sink)]),
        ..Settings::default()
    };
    Pipeline::new(settings, Epoch(1), 1, now)
}

fn finding(name: &str, since: Time) -> Finding {
    let kind = Kind::named("Unschedulable").expect("it is in the catalogue");
    let subject = Subject { namespace: "shop".into(), pod: name.into(), ..Subject::default() };
    Finding {
        id: FindingId::of(kind, &subject),
        kind,
        subject,
        owner: Owner { kind: "Deployment".into(), name: name.into() },
        incarnation: Incarnation(1),
        state: State::Active,
        since,
        seen: Seen::Happening,
        severity: Severity::Critical,
        evidence: Evidence::default(),
    }
}

fn client(server: Arc<Mutex<Server>>, clock: Clock) -> Client {
    let service = service_fn(move |request: Request<Body>| {
        let (server, clock) = (Arc::clone(&server), clock.clone());
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.expect("a body").to_bytes();
            let (status, answer) = server.lock().expect("unpoisoned").answer(&head, &body, &clock);
            let mut response = Response::new(Body::from(answer.to_string().into_bytes()));
            *response.status_mut() = status;
            Ok::<_, std::convert::Infallible>(response)
        }
    });
    Client::new(service, "default")
}

impl Server {
    fn answer(&mut self, head: &http::request::Parts, body: &[u8], clock: &Clock) -> (StatusCode, Value) {
        if let Some(status) = self.refuse {
            self.refused += 1;
            return (status, json!({"message": "no"}));
        }
        let name = head.uri.path().rsplit('/').next().unwrap_or_default().to_owned();
        let Some((version, data)) = self.maps.get_mut(&name) else {
            self.refused += 1;
            return (StatusCode::NOT_FOUND, json!({}));
        };
        if head.method == Method::PATCH {
            let patch: Value = serde_json::from_slice(body).expect("a patch");
            if patch["metadata"]["resourceVersion"] != json!(version.to_string()) {
                return (StatusCode::CONFLICT, json!({"message": "another version"}));
            }
            *version += 1;
            *data = patch["data"].clone();
            self.writes.push((name.clone(), clock.mark()));
        }
        (StatusCode::OK, json!({"metadata": {"name": name, "resourceVersion": version.to_string()}, "data": data}))
    }

    fn wipe(&mut self, is_meant: impl Fn(&str) -> bool) {
        for (_, (version, data)) in self.maps.iter_mut().filter(|(name, _)| is_meant(name)) {
            *version += 1;
            *data = json!({});
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_about_to_leave_is_written_at_once_and_a_confirmation_goes_with_the_next() {
    let mut story = Story::begin();
    story
        .keeping(async |story| {
            story.clock.sleep(Duration::from_secs(10)).await;
            let begun = story.clock.mark();
            let (records, version) = story.finds("one");
            assert_eq!(records, 1);
            story.written.reaches(version).await;
            assert_eq!(story.clock.mark(), begun, "at once");
            story.delivered();
            let (_, version) = story.finds("two");
            story.written.reaches(version).await;
            assert_eq!(story.clock.mark().since(begun), JOURNAL_EVERY_MIN);
            let writes = story.journal_writes();
            assert_eq!(writes[1..], [begun, begun + JOURNAL_EVERY_MIN], "one for what was confirmed and what was new");
            story.clock.sleep(Duration::from_secs(10)).await;
            assert_eq!(story.journal_writes(), writes, "nothing is new");
            assert_eq!(story.written.counts().expect("it is kept").unwritten.get(), 0);
        })
        .await;
    let kept = story.successor_finds().await;
    assert_eq!((kept.folded.len(), kept.journal.len()), (1, 1), "two is not confirmed, so its body stays: {kept:?}");
}

#[tokio::test(start_paused = true)]
async fn a_confirmation_that_nothing_follows_is_written_within_a_second() {
    let mut story = Story::begin();
    story
        .keeping(async |story| {
            story.clock.sleep(Duration::from_secs(10)).await;
            let begun = story.clock.mark();
            let (_, version) = story.finds("one");
            story.written.reaches(version).await;
            story.delivered();
            story.clock.sleep(Duration::from_secs(10)).await;
            assert_eq!(story.journal_writes()[1..], [begun, begun + JOURNAL_EVERY]);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn the_longer_the_journal_the_rarer_its_writes() {
    let mut story = Story::begin();
    story
        .keeping(async |story| {
            let mut begun = story.clock.mark();
            let mut gaps = Vec::new();
            for number in 0..100 {
                let (_, version) = story.finds(&format!("issue-{number}"));
                story.written.reaches(version).await;
                story.delivered();
                gaps.push(story.clock.mark().since(begun));
                begun = story.clock.mark();
            }
            assert_eq!(gaps[1], JOURNAL_EVERY_MIN);
            let longest = gaps.iter().max().expect("there are some");
            assert!(*longest > 2 * JOURNAL_EVERY_MIN, "{gaps:?}");
            assert!(*longest <= pause_after(JOURNAL_LONG) + JOURNAL_EVERY_MIN, "what is confirmed has gone: {gaps:?}");
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_confirmed_is_folded_within_a_minute_and_at_the_end() {
    let mut story = Story::begin();
    story
        .keeping(async |story| {
            let (_, version) = story.finds("one");
            story.written.reaches(version).await;
            story.delivered();
            story.clock.sleep(FOLD_EVERY + JOURNAL_EVERY).await;
            let kept = story.successor_finds().await;
            assert_eq!((kept.folded.len(), kept.journal.len()), (1, 0), "{kept:?}");
            story.finds("two");
            story.delivered();
        })
        .await;
    assert_eq!(story.successor_finds().await.folded.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn where_writes_fail_it_leaves_after_two_seconds_all_the_same_and_that_is_counted() {
    let mut story = Story::begin();
    story.server().refuse = Some(StatusCode::SERVICE_UNAVAILABLE);
    story
        .keeping(async |story| {
            let begun = story.clock.mark();
            let (_, version) = story.finds("one");
            story.written.reaches(version).await;
            assert_eq!(story.clock.mark().since(begun), PATIENCE);
            assert_eq!(story.written.counts().expect("it is kept").unwritten.get(), 1);
            let refused = story.server().refused;
            assert!((2..=4).contains(&refused), "asked {refused} times");
            story.server().refuse = None;
            story.written.reaches(version).await;
            assert_eq!(story.written.counts().expect("it is kept").unwritten.get(), 1, "written when it could be");
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn objects_that_somebody_has_emptied_are_written_again_within_half_a_minute() {
    let mut story = Story::begin();
    story
        .keeping(async |story| {
            let (_, version) = story.finds("one");
            story.written.reaches(version).await;
            story.delivered();
            story.clock.sleep(2 * FOLD_EVERY).await;
            story.server().wipe(|_| true);
            story.clock.sleep(Duration::from_secs(30)).await;
            let kept = story.successor_finds().await;
            assert_eq!(kept.journal.len().max(kept.folded.len()), 1, "{kept:?}");
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn what_a_predecessor_wrote_and_somebody_has_emptied_is_written_again_too() {
    let mut story = Story::begin();
    story
        .keeping(async |story| {
            story.finds("one");
            story.delivered();
        })
        .await;
    story.succeed().await;
    story
        .keeping(async |story| {
            story.clock.sleep(2 * FOLD_EVERY).await;
            story.server().wipe(|name| name != "told-journal");
            story.clock.sleep(Duration::from_secs(30)).await;
            let kept = story.successor_finds().await;
            assert_eq!(kept.journal.len().max(kept.folded.len()), 1, "{kept:?}");
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_confirmed_and_has_no_room_in_the_journal_is_folded_at_once() {
    let mut story = Story::begin();
    story
        .keeping(async |story| {
            story.clock.sleep(FOLD_EVERY).await;
            for issue in 0..1_000 {
                story.finds(&format!("issue-{issue}"));
                story.delivered();
            }
            story.clock.sleep(2 * JOURNAL_EVERY).await;
            let kept = story.successor_finds().await;
            assert_eq!(kept.folded.len(), 1_000);
            story.server().wipe(|_| true);
            story.clock.sleep(Duration::from_secs(30)).await;
            assert_eq!(story.successor_finds().await.folded.len(), 1_000);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn what_leaves_does_not_wait_for_what_many_others_have_confirmed() {
    let mut story = Story::begin();
    story
        .keeping(async |story| {
            let mut longest = Duration::ZERO;
            for issue in 0..100 {
                // As fast as a receiver answers.
                story.clock.sleep(Duration::from_millis(75)).await;
                let begun = story.clock.mark();
                let (_, version) = story.finds(&format!("issue-{issue}"));
                story.written.reaches(version).await;
                longest = longest.max(story.clock.mark().since(begun));
                story.delivered();
            }
            assert!(longest <= Duration::from_millis(150), "{longest:?}");
        })
        .await;
    let folds = story.server().writes.iter().filter(|(name, _)| name != "told-journal").count();
    assert!((SHARDS..=8 * SHARDS).contains(&folds), "{folds} writes of the snapshot");
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_cannot_be_written_is_tried_once_a_minute_however_long_the_journal() {
    let mut story = Story::begin();
    story.server().maps.retain(|name, _| name == "told-journal");
    story
        .keeping(async |story| {
            for issue in 0..100 {
                story.clock.sleep(3 * JOURNAL_EVERY).await;
                story.finds(&format!("issue-{issue}"));
                story.delivered();
            }
            let asked = story.server().refused;
            assert!((4 * SHARDS..=8 * SHARDS).contains(&asked), "asked {asked} times in five minutes");
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_where_nothing_has_changed() {
    let mut story = Story::begin();
    story.keeping(async |story| story.clock.sleep(Duration::from_hours(1)).await).await;
    assert!(story.journal_writes().len() <= 2, "{:?}", story.journal_writes());
}

#[tokio::test(start_paused = true)]
async fn a_successor_waits_for_an_api_server_that_is_away_and_goes_on_without_objects_that_are_not_there() {
    let story = Story::begin();
    story.server().refuse = Some(StatusCode::SERVICE_UNAVAILABLE);
    let (server, clock) = (Arc::clone(&story.server), story.clock.clone());
    let back = async {
        clock.sleep(Duration::from_mins(5)).await;
        let mut server = server.lock().expect("unpoisoned");
        server.refuse = None;
        server.maps.clear();
    };
    let (kept, ()) = tokio::join!(story.successor_finds(), back);
    assert_eq!(kept, Kept::default());
    assert!(story.clock.mark().since_start() >= Duration::from_mins(5));
}

#[tokio::test(start_paused = true)]
async fn where_nothing_is_kept_nothing_is_waited_for() {
    let clock = Clock::starting_at(Time::from_millis(0));
    Written::of_memory(clock.clone()).reaches(u64::MAX).await;
    assert_eq!(clock.mark().since_start(), Duration::ZERO);
}
