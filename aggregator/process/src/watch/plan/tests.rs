//! The facts of `plan`, each in virtual time.

use super::*;

/// A plan and the time, moved on by what the plan asks for.
struct Run {
    plan: Plan,
    now: Mark,
}

impl Run {
    fn new() -> Self {
        Self::with_seed(1)
    }

    fn with_seed(seed: u64) -> Self {
        Self { plan: Plan::new(Some(Duration::from_secs(150)), Rng::with_seed(seed)), now: Mark::default() }
    }

    /// The next request, or reading deadline; waits until it is due and says how long that took.
    fn step(&mut self) -> (Duration, Step) {
        let from = self.now;
        loop {
            match self.plan.next(self.now) {
                Step::Wait(until) => self.now = until,
                step => return (self.now.since(from), step),
            }
        }
    }

    fn listed(&mut self, version: &str) -> Page {
        let (_, step) = self.step();
        assert!(matches!(step, Step::List(_)), "not a LIST: {step:?}");
        self.plan.on_page(self.now, version.into(), None)
    }

    fn opened(&mut self) -> WatchQuery {
        let (_, Step::Watch(watch)) = self.step() else { panic!("not a WATCH: {:?}", self.step()) };
        self.plan.on_opened(self.now);
        watch
    }

    /// Listed at version 10 and watching.
    fn watching() -> Self {
        let mut run = Self::new();
        run.listed("10");
        run.opened();
        run
    }

    fn pass(&mut self, seconds: u64) {
        self.now = self.now + Duration::from_secs(seconds);
    }

    fn fail(&mut self, failure: &Failure) -> (Duration, Step) {
        self.plan.on_failure(self.now, failure);
        self.step()
    }
}

fn list(version: ListVersion) -> Step {
    Step::List(ListQuery { version, continue_token: None })
}

fn not_older_than(version: &str) -> Step {
    list(ListVersion::NotOlderThan(version.into()))
}

fn cut() -> Failure {
    Failure::Connection("reset".into())
}

/// Whether a step opens a watch at a version.
fn watches_at(step: &Step, at: &str) -> bool {
    matches!(step, Step::Watch(WatchQuery { version, .. }) if version == at)
}

#[test]
fn the_first_list_takes_any_version_and_the_watch_begins_at_the_lists() {
    let mut run = Run::new();
    assert_eq!(run.step(), (Duration::ZERO, list(ListVersion::Any)));
    assert_eq!(run.listed("10"), Page::Complete { first: true, restored: false });
    assert_eq!(run.opened().version, "10");
}

#[test]
fn a_watch_is_asked_to_stay_for_half_an_hour_to_an_hour_and_thousands_spread_out() {
    let spans: Vec<_> = (0..1000)
        .map(|seed| {
            let mut run = Run::with_seed(seed);
            run.listed("10");
            run.opened().timeout
        })
        .collect();
    assert!(spans.iter().all(|span| (WATCH_SPAN_MIN..=WATCH_SPAN_MAX).contains(span)));
    let early = spans.iter().filter(|span| **span < Duration::from_mins(45)).count();
    assert!((400..600).contains(&early), "{early} of 1000 end in the first half");
}

#[test]
fn asking_twice_gives_the_same_step() {
    let run = Run::watching();
    assert_eq!(run.plan.next(run.now), run.plan.next(run.now));
}

#[test]
fn a_watch_opens_again_at_the_newest_version_it_brought() {
    let mut run = Run::watching();
    run.plan.on_version("11".into());
    run.plan.on_version("15".into());
    run.pass(1200);
    run.plan.on_closed(run.now);
    let (wait, step) = run.step();
    assert!(watches_at(&step, "15"), "{step:?}");
    assert!(wait <= REOPEN_SPREAD, "waited {wait:?}");
}

#[test]
fn an_object_without_a_version_does_not_make_the_watch_begin_anywhere() {
    let mut run = Run::watching();
    run.plan.on_version(String::new());
    assert!(watches_at(&run.fail(&cut()).1, "10"));
}

#[test]
fn a_watch_whose_time_is_up_opens_again_at_once() {
    let mut run = Run::new();
    run.listed("10");
    let watch = run.opened();
    run.now = run.now + watch.timeout;
    run.plan.on_closed(run.now);
    let (wait, step) = run.step();
    assert!(wait.is_zero() && watches_at(&step, "10"), "{wait:?} {step:?}");
}

#[test]
fn gone_lists_again_but_not_back_in_time() {
    for open in [true, false] {
        let mut run = Run::new();
        run.listed("10");
        if open {
            run.opened();
            run.plan.on_version("15".into());
        }
        let (_, step) = run.fail(&Failure::Gone);
        assert_eq!(step, not_older_than(if open { "15" } else { "10" }), "inside the stream: {open}");
        assert_eq!(run.listed("20"), Page::Complete { first: false, restored: false });
    }
}

#[test]
fn a_server_that_always_says_gone_is_listed_ever_more_seldom() {
    let mut run = Run::new();
    let mut lists = 0;
    while run.now < Mark::from_start(Duration::from_hours(1)) {
        run.listed("10");
        lists += 1;
        run.fail(&Failure::Gone);
        run.plan.next(run.now);
    }
    assert!((60..400).contains(&lists), "{lists} LISTs in an hour");
}

#[test]
fn a_server_that_stays_behind_for_a_minute_was_restored_and_is_then_believed_once() {
    let mut run = Run::watching();
    run.plan.on_version("500".into());
    run.fail(&Failure::Gone);
    let began = run.now;
    loop {
        let (wait, step) = run.fail(&Failure::Behind);
        assert!(wait <= BEHIND_WAIT_MAX);
        if step == list(ListVersion::Newest) {
            break;
        }
        assert_eq!(step, not_older_than("500"));
    }
    assert!(run.now.since(began) >= BEHIND_MAX, "believed after {:?}", run.now.since(began));
    assert!(run.now.since(began) <= BEHIND_MAX + 2 * BEHIND_WAIT_MAX);
    assert_eq!(run.listed("100"), Page::Complete { first: false, restored: true });
    assert_eq!(run.opened().version, "100");
    run.plan.on_version("101".into());
    assert_eq!(run.fail(&Failure::Gone).1, not_older_than("101"), "only once");
}

#[test]
fn a_server_that_catches_up_within_the_minute_was_only_lagging() {
    let mut run = Run::watching();
    run.fail(&Failure::Gone);
    run.fail(&Failure::Behind);
    run.pass(50);
    run.fail(&Failure::Behind);
    assert_eq!(run.listed("12"), Page::Complete { first: false, restored: false });
    run.opened();
    run.fail(&Failure::Gone);
    run.pass(50);
    assert_eq!(run.fail(&Failure::Behind).1, not_older_than("12"), "the minute begins anew");
}

#[test]
fn other_failures_alone_never_make_it_go_back_in_time() {
    let mut run = Run::watching();
    run.fail(&Failure::Gone);
    for _ in 0..500 {
        assert_eq!(run.fail(&cut()).1, not_older_than("10"));
    }
    assert!(run.now > Mark::from_start(Duration::from_hours(1)));
}

#[test]
fn a_list_older_than_asked_for_is_not_used() {
    let mut run = Run::watching();
    run.plan.on_version("500".into());
    run.fail(&Failure::Gone);
    assert_eq!(run.listed("499"), Page::Stale);
    assert_eq!(run.step().1, not_older_than("500"));
    assert_eq!(run.listed("500"), Page::Complete { first: false, restored: false });
}

#[test]
fn silence_opens_again_at_the_same_version_without_waiting() {
    let mut run = Run::watching();
    run.pass(100);
    run.plan.on_bytes(run.now);
    let (_, Step::Read(deadline)) = run.step() else { panic!("a watch is open") };
    assert_eq!(deadline.since(run.now), Duration::from_secs(150));
    run.now = deadline;
    run.plan.on_read_deadline(run.now);
    let (wait, step) = run.step();
    assert!(wait.is_zero() && watches_at(&step, "10"), "{wait:?} {step:?}");
}

#[test]
fn a_collection_without_bookmarks_may_be_silent_until_the_next_list() {
    let mut run = Run { plan: Plan::new(None, Rng::with_seed(1)), now: Mark::default() };
    run.listed("10");
    run.opened();
    let (_, Step::Read(deadline)) = run.step() else { panic!("a watch is open") };
    assert!((RELIST_MIN..=RELIST_MAX).contains(&deadline.since(run.now)));
}

#[test]
fn watches_without_progress_end_in_a_list_and_progress_starts_the_count_again() {
    for failure in [Failure::Silent, cut()] {
        let mut run = Run::watching();
        for attempt in 1..BARREN_WATCHES_MAX {
            let (_, step) = run.fail(&failure);
            assert!(watches_at(&step, "10"), "{failure} {attempt}: {step:?}");
            run.opened();
        }
        run.plan.on_version("11".into());
        for _ in 1..BARREN_WATCHES_MAX {
            run.fail(&failure);
            run.opened();
        }
        assert_eq!(run.fail(&failure).1, not_older_than("11"), "{failure}");
    }
}

#[test]
fn after_an_outage_it_watches_on_where_it_was_and_does_not_list() {
    let status = |status| Failure::Status { status, message: String::new() };
    let busy = Failure::Busy { status: 503, retry_after: None, message: String::new() };
    for failure in [cut(), Failure::Silent, busy, denied(), status(502), status(504)] {
        let mut run = Run::watching();
        run.plan.on_version("11".into());
        for attempt in 0..50 {
            let (_, step) = run.fail(&failure);
            assert!(watches_at(&step, "11"), "{failure} {attempt}: {step:?}");
        }
    }
    // What the server itself says may be about the version.
    for failure in [status(400), status(500)] {
        let mut run = Run::watching();
        let lists = (0..BARREN_WATCHES_MAX).map(|_| run.fail(&failure).1).filter(|step| matches!(step, Step::List(_)));
        assert_eq!(lists.count(), 1, "{failure}");
    }
}

#[test]
fn a_watch_that_always_ends_at_once_backs_off() {
    let mut run = Run::watching();
    let began = run.now;
    for _ in 0..40 {
        run.plan.on_closed(run.now);
        match run.step().1 {
            Step::List(_) => {
                run.listed("10");
                run.opened();
            }
            _ => {
                run.opened();
            }
        }
    }
    assert!(run.now.since(began) > Duration::from_mins(4), "40 watches within {:?}", run.now.since(began));
}

#[test]
fn it_lists_now_and_then_although_the_watch_is_well() {
    let mut run = Run::watching();
    let began = run.now;
    loop {
        run.pass(60);
        run.plan.on_bytes(run.now);
        run.plan.on_version("11".into());
        let (_, step) = run.step();
        match step {
            Step::Read(deadline) if deadline <= run.now => run.plan.on_read_deadline(run.now),
            Step::Read(_) => {}
            step => {
                assert_eq!(step, not_older_than("11"));
                break;
            }
        }
    }
    let after = run.now.since(began);
    assert!((RELIST_MIN..=RELIST_MAX + Duration::from_mins(1)).contains(&after), "listed after {after:?}");
}

#[test]
fn the_wait_that_a_busy_server_asks_for_is_kept_but_capped() {
    let busy = |seconds| Failure::Busy {
        status: 429,
        retry_after: Some(Duration::from_secs(seconds)),
        message: String::new(),
    };
    for (asked, at_least, at_most) in [(7, 7, 8), (86_400, 120, 121)] {
        let (wait, step) = Run::new().fail(&busy(asked));
        assert!((at_least..=at_most).contains(&wait.as_secs()), "asked for {asked} s, waited {wait:?}");
        assert_eq!(step, list(ListVersion::Any));
    }
}

fn denied() -> Failure {
    Failure::Denied { status: 403, message: String::new() }
}

#[test]
fn what_is_not_allowed_is_asked_for_slowly_once_it_can_no_longer_pass() {
    let mut run = Run::new();
    let waits: Vec<_> = (0..15).map(|_| run.fail(&denied()).0).collect();
    let (early, late) = waits.split_at(DENIALS_MAY_PASS as usize);
    assert!(early.iter().sum::<Duration>() < Duration::from_secs(16), "{early:?}");
    assert!(late.iter().all(|wait| (DENIED_WAIT_MIN..=DENIED_WAIT_MAX).contains(wait)), "{late:?}");
}

#[test]
fn a_list_that_is_allowed_does_not_speed_up_a_watch_that_is_not() {
    let mut run = Run::watching();
    let began = run.now;
    run.fail(&cut());
    for _ in 0..100 {
        if matches!(run.step().1, Step::List(_)) {
            run.listed("10");
        } else {
            run.fail(&denied());
        }
    }
    assert!(run.now.since(began) > DENIED_WAIT_MIN * 60, "{:?}", run.now.since(began));
}

#[test]
fn each_restart_of_the_server_may_deny_for_a_moment() {
    let mut run = Run::watching();
    for version in 11..20 {
        run.fail(&cut());
        for _ in 0..3 {
            assert!(run.fail(&denied()).0 < Duration::from_secs(5));
        }
        run.opened();
        run.plan.on_version(version.to_string());
    }
}

#[test]
fn failures_wait_up_to_half_a_minute_with_full_jitter_and_progress_forgives_them() {
    let mut run = Run::new();
    let waits: Vec<_> = (0..200).map(|_| run.fail(&cut()).0).collect();
    assert!(waits[0] <= BACKOFF_FIRST);
    assert!(waits.iter().all(|wait| *wait <= BACKOFF_MAX));
    assert!(waits[50..].iter().any(|wait| *wait > Duration::from_secs(25)));
    assert!(waits[50..].iter().any(|wait| *wait < Duration::from_secs(5)));
    run.listed("10");
    run.opened();
    run.plan.on_version("11".into());
    assert!(run.fail(&cut()).0 <= BACKOFF_FIRST);
}

#[test]
fn pages_follow_their_token_and_an_expired_one_starts_over() {
    let mut run = Run::new();
    let token = Some("t".to_owned());
    assert_eq!(run.plan.on_page(run.now, "10".into(), token.clone()), Page::Partial);
    assert_eq!(run.step().1, Step::List(ListQuery { version: ListVersion::Any, continue_token: token }));
    assert_eq!(run.fail(&Failure::Gone).1, list(ListVersion::Any));
    assert_eq!(run.listed("12"), Page::Complete { first: true, restored: false });
    assert_eq!(run.opened().version, "12");
}

#[test]
fn asked_to_it_lists_again_and_not_older_than_what_was_seen() {
    let mut run = Run::watching();
    run.plan.on_version("17".into());
    run.plan.list_again();
    assert_eq!(run.step(), (Duration::ZERO, not_older_than("17")));
    run.plan.list_again();
    assert_eq!(run.step(), (Duration::ZERO, not_older_than("17")), "one is due already");
    let mut run = Run::new();
    run.plan.list_again();
    assert_eq!(run.step(), (Duration::ZERO, list(ListVersion::Any)), "the first is due already");
}
