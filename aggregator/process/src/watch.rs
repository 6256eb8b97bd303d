//! The one LIST and WATCH loop, for any [`Object`].
//!
//! Why not kube-runtime's watcher: it hides the version that a LIST gave, so "not older than the last seen" cannot be asked
//! for; it lists again without a version on errors, which can go back in time; it repeats requests on its own; and it asks
//! for watches of five minutes at most. Here [`plan`] decides, [`request`] sends, and this file moves values between them.
//!
//! An object that cannot be decoded is passed over and counted; it never stops the others.

use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _};
use kube::Client;
use kube::client::Body;
use rules::view::{Meta, Object};

mod change;
mod failure;
mod health;
mod items;
mod lines;
mod once;
pub mod plan;
mod request;
mod sight;

pub use failure::Failure;
pub(crate) use failure::one_line;
pub use health::Health;
pub use once::{Listing, list_once};
pub use sight::Sight;

use crate::clock::Clock;
use change::Change;
use lines::{Line, Lines};
use plan::{Page, Plan, Step};
use request::ListPage;

/// Bookmarks come about every minute; twice that and a bit without a byte, and the connection may be dead. A watch is quiet
/// when the next request is not answered either: until then, at most 75 s more, callers go by what they saw last.
pub const SILENCE: Duration = Duration::from_secs(150);

/// What to list and watch, and within which bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Only this namespace; all with `None`.
    pub namespace: Option<String>,
    /// `fieldSelector`, as `spec.nodeName=node-1`.
    pub field_selector: Option<String>,
    /// `labelSelector`, as `app=tocsin`.
    pub label_selector: Option<String>,
    /// `limit` of a LIST's pages; whole with `None`. Servers ignore it where they answer from their watch cache.
    pub page_size: Option<u32>,
    /// How long a WATCH may be silent before it is opened again; for ever with `None` (Events have no bookmarks).
    pub silence: Option<Duration>,
    /// The largest LIST taken, in bytes on the wire.
    pub list_bytes_max: usize,
    /// The largest object taken, in bytes on the wire. etcd's own limit is 1.5 MiB by default.
    pub object_bytes_max: usize,
}

/// What happened.
#[derive(Debug, PartialEq)]
pub enum Event<V> {
    /// A complete LIST: what is not in it is gone.
    Listed {
        /// All objects.
        objects: Vec<V>,
        /// Objects that exist but could not be decoded; an empty uid where not even that could.
        skipped: Vec<Meta>,
        /// It is the first since this process started.
        first: bool,
        /// The server was restored from a backup, so this goes back in time.
        restored: bool,
    },
    /// An object was added or changed.
    Applied(V),
    /// An object is gone; this is how it was last.
    Deleted(V),
    /// Neither a WATCH nor a LIST could be had: from now on nothing is known, until [`Event::Live`]. Said again when the
    /// reason becomes another.
    Quiet {
        /// Why.
        reason: Failure,
    },
    /// A WATCH is open, and what happens is heard.
    Live,
}

/// The list/watch loop of one collection.
pub struct Watch<V> {
    client: Client,
    clock: Clock,
    options: Options,
    plan: Plan,
    flight: Flight<V>,
    /// The pages so far of a LIST that is on its way.
    objects: Vec<V>,
    skipped: Vec<Meta>,
    health: Health,
    said: Said,
}

/// Whether the caller was last told that the watch is live, or why it is quiet.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Said {
    Nothing,
    Live,
    Quiet(&'static str),
}

/// The request that is on its way. It is kept across calls, so that `next` can be dropped at any point.
enum Flight<V> {
    None,
    Listing(BoxFuture<'static, Result<ListPage<V>, Failure>>),
    Opening(BoxFuture<'static, Result<Body, Failure>>),
    Reading { body: Body, lines: Lines },
}

/// What came of waiting for an open watch.
enum Read {
    Bytes(bytes::Bytes),
    Closed,
    Deadline,
    Failed(Failure),
}

impl Default for Options {
    fn default() -> Self {
        Self {
            namespace: None,
            field_selector: None,
            label_selector: None,
            page_size: None,
            silence: Some(SILENCE),
            list_bytes_max: 256 * 1024 * 1024,
            object_bytes_max: 4 * 1024 * 1024,
        }
    }
}

impl<V: Object> Watch<V> {
    /// A loop that has not asked for anything yet. `rng` jitters its waits.
    pub fn new(client: Client, clock: Clock, options: Options, rng: fastrand::Rng) -> Self {
        Self {
            client,
            clock,
            plan: Plan::new(options.silence, rng),
            options,
            flight: Flight::None,
            objects: Vec::new(),
            skipped: Vec::new(),
            health: Health::default(),
            said: Said::Nothing,
        }
    }

    /// How the watch is doing.
    pub fn health(&self) -> Health {
        self.health.clone()
    }

    /// Shows everything once more, in an [`Event::Listed`] that does not go back in time: its rules have changed, and the
    /// caller keeps no objects.
    pub fn list_again(&mut self) {
        self.plan.list_again();
        if !matches!(self.flight, Flight::Listing(_)) {
            self.flight = Flight::None;
        }
    }

    /// The next event. It never ends, and it is cancel-safe: what is on its way stays so until the next call.
    pub async fn next(&mut self) -> Event<V> {
        loop {
            if let Some(event) = self.turn().await {
                return event;
            }
        }
    }

    /// One step: start it, or go on with the one on its way.
    async fn turn(&mut self) -> Option<Event<V>> {
        match &mut self.flight {
            Flight::None => {
                self.start().await;
                None
            }
            Flight::Listing(page) => {
                let page = page.await;
                self.flight = Flight::None;
                self.on_page(page)
            }
            Flight::Opening(body) => {
                let body = body.await;
                self.flight = Flight::None;
                self.on_opened(body)
            }
            Flight::Reading { lines, .. } => match lines.next() {
                Some(line) => self.on_line(line),
                None => self.read().await,
            },
        }
    }

    async fn start(&mut self) {
        match self.plan.next(self.clock.mark()) {
            Step::Wait(until) => self.clock.wait_until(until).await,
            Step::List(list) => {
                if list.continue_token.is_none() {
                    (self.objects, self.skipped) = (Vec::new(), Vec::new());
                }
                let uri = request::list_uri(V::COLLECTION, &self.options, &list);
                let Options { list_bytes_max, object_bytes_max, .. } = self.options;
                let page = request::list(self.client.clone(), uri, list_bytes_max, object_bytes_max);
                self.flight = Flight::Listing(page.boxed());
            }
            Step::Watch(watch) => {
                let uri = request::watch_uri(V::COLLECTION, &self.options, &watch);
                self.flight = Flight::Opening(request::watch(self.client.clone(), uri).boxed());
            }
            Step::Read(_) => unreachable!("a plan that reads has a watch open"),
        }
    }

    fn on_page(&mut self, page: Result<ListPage<V>, Failure>) -> Option<Event<V>> {
        let ListPage { objects, skipped, version, continue_token } = match page {
            Ok(page) => page,
            Err(failure) => return self.on_failure(failure),
        };
        let now = self.clock.mark();
        self.health.heard(now);
        match self.plan.on_page(now, version, continue_token) {
            Page::Stale => {
                self.health.failed();
                self.quiet(Failure::Behind)
            }
            Page::Partial => {
                self.objects.extend(objects);
                self.skipped.extend(skipped);
                None
            }
            Page::Complete { first, restored } => {
                self.health.listed();
                self.objects.extend(objects);
                self.skipped.extend(skipped);
                let (objects, skipped) = (std::mem::take(&mut self.objects), std::mem::take(&mut self.skipped));
                self.skip(skipped.len(), "see the skipped objects of the list");
                tracing::info!(
                    target: "watch", collection = V::COLLECTION, objects = objects.len(), first, restored, "listed"
                );
                Some(Event::Listed { objects, skipped, first, restored })
            }
        }
    }

    fn on_opened(&mut self, body: Result<Body, Failure>) -> Option<Event<V>> {
        let body = match body {
            Ok(body) => body,
            Err(failure) => return self.on_failure(failure),
        };
        let now = self.clock.mark();
        self.plan.on_opened(now);
        self.health.heard(now);
        self.health.opened();
        self.flight = Flight::Reading { body, lines: Lines::new(self.options.object_bytes_max) };
        if std::mem::replace(&mut self.said, Said::Live) == Said::Live {
            return None;
        }
        self.health.set_live(true);
        tracing::info!(target: "watch", collection = V::COLLECTION, "watch_live");
        Some(Event::Live)
    }

    async fn read(&mut self) -> Option<Event<V>> {
        let Step::Read(deadline) = self.plan.next(self.clock.mark()) else {
            // The plan does not know of this watch: give it up.
            self.flight = Flight::None;
            return None;
        };
        let Flight::Reading { body, .. } = &mut self.flight else { return None };
        let read = tokio::select! {
            biased;
            bytes = request::next_bytes(body) => match bytes {
                Ok(Some(bytes)) => Read::Bytes(bytes),
                Ok(None) => Read::Closed,
                Err(failure) => Read::Failed(failure),
            },
            () = self.clock.wait_until(deadline) => Read::Deadline,
        };
        let now = self.clock.mark();
        match read {
            Read::Bytes(bytes) => {
                self.plan.on_bytes(now);
                self.health.heard(now);
                if let Flight::Reading { lines, .. } = &mut self.flight {
                    lines.push(bytes);
                }
                None
            }
            Read::Closed => {
                self.plan.on_closed(now);
                self.flight = Flight::None;
                None
            }
            Read::Deadline => {
                self.plan.on_read_deadline(now);
                self.flight = Flight::None;
                None
            }
            Read::Failed(failure) => self.on_failure(failure),
        }
    }

    fn on_line(&mut self, line: Line) -> Option<Event<V>> {
        let change: Change<V> = match line {
            Line::Whole(line) => Change::decode(&line),
            Line::Oversized => Change::Undecodable { version: None, error: "larger than allowed".into() },
        };
        match change {
            Change::Applied(object) => {
                self.plan.on_version(object.meta().resource_version.clone());
                Some(Event::Applied(object))
            }
            Change::Deleted(object) => {
                self.plan.on_version(object.meta().resource_version.clone());
                Some(Event::Deleted(object))
            }
            Change::Bookmark(version) => {
                self.plan.on_version(version);
                None
            }
            Change::Undecodable { version, error } => {
                if let Some(version) = version {
                    self.plan.on_version(version);
                }
                self.skip(1, &error);
                None
            }
            Change::Failed(failure) => self.on_failure(failure),
        }
    }

    /// Gives up the request on its way.
    fn on_failure(&mut self, failure: Failure) -> Option<Event<V>> {
        let was_open = matches!(self.flight, Flight::Reading { .. });
        self.flight = Flight::None;
        self.plan.on_failure(self.clock.mark(), &failure);
        self.health.failed();
        // A watch that breaks does not mean that the server is away, nor does an old version: the next request shows.
        if was_open || failure == Failure::Gone {
            tracing::info!(target: "watch", collection = V::COLLECTION, reason = %failure, "watch_broken");
            return None;
        }
        self.quiet(failure)
    }

    fn quiet(&mut self, reason: Failure) -> Option<Event<V>> {
        self.health.set_live(false);
        let said = Said::Quiet(reason.label());
        if std::mem::replace(&mut self.said, said) == said {
            tracing::debug!(target: "watch", collection = V::COLLECTION, %reason, "still_quiet");
            return None;
        }
        tracing::warn!(target: "watch", collection = V::COLLECTION, %reason, "watch_quiet");
        Some(Event::Quiet { reason })
    }

    fn skip(&self, objects: usize, error: &str) {
        let before = self.health.skip(objects as u64);
        if objects > 0 && before == 0 {
            tracing::warn!(target: "watch", collection = V::COLLECTION, objects, error, "object_skipped");
        } else if objects > 0 {
            tracing::debug!(target: "watch", collection = V::COLLECTION, objects, error, "object_skipped");
        }
    }
}

#[cfg(test)]
mod tests;
