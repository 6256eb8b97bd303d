//! Which request comes next, and when. Pure: answers go in, the next step comes out.
//!
//! The facts of Kubernetes that it rests on:
//! - The first LIST takes any version (`resourceVersion=0`), so it is served from the watch cache and its indexes. Later
//!   ones must not be older than what was seen: nothing goes back in time.
//! - A server that stays behind that version was restored from a backup: then one LIST without a version is believed.
//! - A watch may be silent for long when nothing changes (bookmarks are not promised), so silence is no failure: it opens
//!   again at the same version. But a version from the future, or one that the server never gets past, is silent too: after
//!   some watches without progress it lists again.
//! - Failures wait with full jitter, and only progress in a watch forgives them: a LIST that succeeds and a watch that
//!   always fails must not turn into a storm of LISTs.

use std::time::Duration;

use fastrand::Rng;

use super::failure::Failure;
use crate::backoff::{Backoff, between, up_to};
use crate::clock::Mark;

/// How long a watch is asked to stay: long, so that thousands of agents reopen few of them, and spread out.
const WATCH_SPAN_MIN: Duration = Duration::from_mins(30);
const WATCH_SPAN_MAX: Duration = Duration::from_hours(1);
/// A LIST now and then corrects what a watch may have missed.
const RELIST_MIN: Duration = Duration::from_mins(6 * 60 - 36);
const RELIST_MAX: Duration = Duration::from_mins(6 * 60 + 36);
/// How long a server must answer that it is behind before it counts as restored from a backup.
const BEHIND_MAX: Duration = Duration::from_mins(1);
/// While a server is behind it is asked at least so often.
const BEHIND_WAIT_MAX: Duration = Duration::from_secs(5);
/// After so many watches that brought nothing, list again.
const BARREN_WATCHES_MAX: u32 = 5;
/// A watch that ends sooner has failed, however politely.
const SHORT_WATCH: Duration = Duration::from_secs(10);
/// Watches that a server closes before their time are opened again over this long: it closed all of them at once.
const REOPEN_SPREAD: Duration = Duration::from_secs(1);
const BACKOFF_FIRST: Duration = Duration::from_millis(500);
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// A server that has just started allows nobody anything until it has read its roles, for some seconds.
const DENIALS_MAY_PASS: u32 = 5;
/// What is not allowed even then stays so until somebody acts.
const DENIED_WAIT_MIN: Duration = Duration::from_secs(30);
const DENIED_WAIT_MAX: Duration = Duration::from_mins(1);
/// A server may ask for more patience, and does not get it.
const RETRY_AFTER_MAX: Duration = Duration::from_mins(2);

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing, before this moment.
    Wait(Mark),
    /// Send a LIST, or the next page of it.
    List(ListQuery),
    /// Open a WATCH.
    Watch(WatchQuery),
    /// Read the open watch; at this moment, call [`Plan::on_read_deadline`].
    Read(Mark),
}

/// A LIST request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListQuery {
    /// Which versions will do.
    pub version: ListVersion,
    /// `continue`: the next page of the LIST before.
    pub continue_token: Option<String>,
}

/// Which versions a LIST may answer with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListVersion {
    /// Any: `resourceVersion=0`.
    Any,
    /// This one or a newer: `resourceVersionMatch=NotOlderThan`.
    NotOlderThan(String),
    /// The newest that the store has: no `resourceVersion`.
    Newest,
}

/// A WATCH request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchQuery {
    /// `resourceVersion`: what came after it.
    pub version: String,
    /// `timeoutSeconds`.
    pub timeout: Duration,
}

/// What a page of a LIST amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// There is more.
    Partial,
    /// The LIST is complete.
    Complete {
        /// It is the first since the process started.
        first: bool,
        /// The server was restored from a backup: it is believed although it goes back in time.
        restored: bool,
    },
    /// It is older than what was seen: not to be used.
    Stale,
}

/// The list/watch state machine of one collection.
#[derive(Debug)]
pub struct Plan {
    state: State,
    /// The newest version that a LIST, an event or a bookmark gave.
    last_seen: Option<String>,
    /// Watches in a row that brought no version, not counting those that could not be opened because the server was away.
    barren: u32,
    backoff: Backoff,
    /// Denials since the last progress.
    denials: u32,
    not_before: Mark,
    /// How long a watch may be silent; `None` for collections without bookmarks (Events are not in the watch cache).
    silence: Option<Duration>,
    rng: Rng,
}

#[derive(Debug)]
enum State {
    /// A LIST is due or on its way.
    Listing { list: ListQuery, behind_since: Option<Mark> },
    /// A WATCH is due or on its way.
    Opening { version: String, timeout: Duration, relist: Mark },
    /// A WATCH is open. `heard` is when its last byte came.
    Watching { timeout: Duration, relist: Mark, opened: Mark, heard: Mark },
}

impl Plan {
    /// A collection never listed yet. A watch silent for `silence` is opened again, with `None` never.
    pub fn new(silence: Option<Duration>, rng: Rng) -> Self {
        let list = ListQuery { version: ListVersion::Any, continue_token: None };
        Self {
            state: State::Listing { list, behind_since: None },
            last_seen: None,
            barren: 0,
            backoff: Backoff::new(BACKOFF_FIRST, BACKOFF_MAX),
            denials: 0,
            not_before: Mark::default(),
            silence,
            rng,
        }
    }

    /// What to do now. Asking changes nothing: only what comes of a step does.
    pub fn next(&self, now: Mark) -> Step {
        if now < self.not_before {
            return Step::Wait(self.not_before);
        }
        match &self.state {
            State::Listing { list, .. } => Step::List(list.clone()),
            State::Opening { version, timeout, .. } => {
                Step::Watch(WatchQuery { version: version.clone(), timeout: *timeout })
            }
            State::Watching { relist, heard, .. } => {
                Step::Read(self.silence.map_or(*relist, |silence| (*heard + silence).min(*relist)))
            }
        }
    }

    /// The caller wants to be shown everything once more: a LIST is next, unless one is due already.
    pub fn list_again(&mut self) {
        if !matches!(self.state, State::Listing { .. }) {
            self.relist();
        }
    }

    /// A page of a LIST arrived, with the list's version and the token of its next page.
    pub fn on_page(&mut self, now: Mark, version: String, continue_token: Option<String>) -> Page {
        let State::Listing { list, .. } = &mut self.state else { return Page::Stale };
        if matches!(list.version, ListVersion::NotOlderThan(_)) && is_older(&version, self.last_seen.as_deref()) {
            self.on_failure(now, &Failure::Behind);
            return Page::Stale;
        }
        if continue_token.is_some() {
            list.continue_token = continue_token;
            return Page::Partial;
        }
        let complete =
            Page::Complete { first: self.last_seen.is_none(), restored: list.version == ListVersion::Newest };
        let relist = now + between(RELIST_MIN..=RELIST_MAX, &mut self.rng);
        self.last_seen = Some(version.clone());
        self.open(version, relist);
        complete
    }

    /// The WATCH was answered with success.
    pub fn on_opened(&mut self, now: Mark) {
        if let State::Opening { timeout, relist, .. } = self.state {
            self.state = State::Watching { timeout, relist, opened: now, heard: now };
        }
    }

    /// Bytes arrived in the open watch.
    pub fn on_bytes(&mut self, now: Mark) {
        if let State::Watching { heard, .. } = &mut self.state {
            *heard = now;
        }
    }

    /// An event or a bookmark carried this version; an empty one is none.
    pub fn on_version(&mut self, version: String) {
        // A watch at no version begins anywhere.
        if version.is_empty() {
            return;
        }
        self.last_seen = Some(version);
        self.barren = 0;
        self.forgive();
    }

    /// The open watch ended without an error.
    pub fn on_closed(&mut self, now: Mark) {
        let State::Watching { timeout, relist, opened, .. } = self.state else { return };
        let lived = now.since(opened);
        if lived < SHORT_WATCH {
            return self.on_failure(now, &Failure::Connection("the watch ended at once".into()));
        }
        self.forgive();
        // Its own time was up: watches asked for different spans, so these are spread out already.
        let in_time = lived + SHORT_WATCH >= timeout;
        self.not_before = if in_time { now } else { now + up_to(REOPEN_SPREAD, &mut self.rng) };
        self.reopen(relist);
    }

    /// The moment named by [`Step::Read`] has come.
    pub fn on_read_deadline(&mut self, now: Mark) {
        if let State::Watching { relist, .. } = self.state {
            if now >= relist { self.relist() } else { self.on_failure(now, &Failure::Silent) }
        }
    }

    /// The step failed.
    pub fn on_failure(&mut self, now: Mark, failure: &Failure) {
        match &mut self.state {
            State::Listing { list, behind_since } => {
                // Whatever was collected is void: the LIST starts over.
                list.continue_token = None;
                if *failure == Failure::Behind && now.since(*behind_since.get_or_insert(now)) >= BEHIND_MAX {
                    list.version = ListVersion::Newest;
                }
                self.not_before = now + self.wait_after(failure);
            }
            State::Opening { relist, .. } | State::Watching { relist, .. } => {
                let relist = *relist;
                self.barren += u32::from(may_be_the_version(failure) || matches!(self.state, State::Watching { .. }));
                let wait = if *failure == Failure::Silent { Duration::ZERO } else { self.wait_after(failure) };
                self.not_before = now + wait;
                let stuck = self.barren >= BARREN_WATCHES_MAX;
                if stuck || matches!(failure, Failure::Gone | Failure::Behind) {
                    self.relist();
                } else {
                    self.reopen(relist);
                }
            }
        }
    }

    fn forgive(&mut self) {
        self.backoff.reset();
        self.denials = 0;
    }

    fn wait_after(&mut self, failure: &Failure) -> Duration {
        let jitter = self.backoff.next(&mut self.rng);
        self.denials += u32::from(matches!(failure, Failure::Denied { .. }));
        match failure {
            Failure::Behind => jitter.min(BEHIND_WAIT_MAX),
            Failure::Busy { retry_after, .. } => retry_after.unwrap_or_default().min(RETRY_AFTER_MAX) + jitter,
            Failure::Denied { .. } if self.denials <= DENIALS_MAY_PASS => jitter,
            Failure::Denied { .. } => between(DENIED_WAIT_MIN..=DENIED_WAIT_MAX, &mut self.rng),
            Failure::Gone
            | Failure::Status { .. }
            | Failure::Connection(_)
            | Failure::Silent
            | Failure::Unusable(_) => jitter,
        }
    }

    /// Lists again, not going back in time.
    fn relist(&mut self) {
        let version = self.last_seen.clone().map_or(ListVersion::Any, ListVersion::NotOlderThan);
        self.barren = 0;
        self.state = State::Listing { list: ListQuery { version, continue_token: None }, behind_since: None };
    }

    /// Opens a watch again where the last one got to.
    fn reopen(&mut self, relist: Mark) {
        match self.last_seen.clone() {
            Some(version) => self.open(version, relist),
            None => self.relist(),
        }
    }

    fn open(&mut self, version: String, relist: Mark) {
        let timeout = between(WATCH_SPAN_MIN..=WATCH_SPAN_MAX, &mut self.rng);
        self.state = State::Opening { version, timeout, relist };
    }
}

/// Whether a WATCH that was not even opened may have failed because of its version. A server that is away, or has just
/// started, says nothing of the version: then thousands of agents go on where they were, and do not list all at once.
fn may_be_the_version(failure: &Failure) -> bool {
    match failure {
        Failure::Gone | Failure::Behind | Failure::Unusable(_) => true,
        // 502 and 504 are a proxy's, about a server that is away.
        Failure::Status { status, .. } => !matches!(status, 502 | 504),
        Failure::Busy { .. } | Failure::Denied { .. } | Failure::Connection(_) | Failure::Silent => false,
    }
}

/// Whether a version is older than another. Versions are opaque, but comparable where both are numbers (KEP-5504).
fn is_older(version: &str, than: Option<&str>) -> bool {
    match (version.parse::<u64>(), than.map(str::parse::<u64>)) {
        (Ok(version), Some(Ok(than))) => version < than,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
