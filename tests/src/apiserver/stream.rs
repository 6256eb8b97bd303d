//! WATCH: where it begins, and the body that carries it.

use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, sleep_until};

use super::Inner;
use super::object::{Form, bookmark, frame};
use super::selector::Selector;
use super::state::State;
use super::status::Status;
use super::target::{Query, Target};
use super::watchers::{Item, Watcher};
use crate::listener::{Body, BrokenOff};

/// A watch that has begun: registered, with what it has to send first.
pub(super) struct Begun {
    id: u64,
    resource: String,
    backlog: std::vec::IntoIter<Bytes>,
    queue: mpsc::Receiver<Item>,
}

/// A registered watch; its registration ends when its client goes away.
struct Stream {
    begun: Begun,
    bookmark_period: Duration,
    bookmark: Pin<Box<Sleep>>,
    timeout: Pin<Box<Sleep>>,
    server: Weak<Inner>,
}

/// Where a watch begins.
enum From {
    /// With the current state as ADDED events.
    State,
    /// With what happens after a version.
    Version(u64),
}

/// Registers a watch and gathers what happened since the version that it begins at. An error is a refusal; a begin too
/// far back is, as in the real server, a watch with one ERROR event.
pub(super) fn begin(state: &mut State, target: &Target, query: &Query, form: Form) -> Result<Begun, Status> {
    let selector = Selector::parse(query, &target.resource()).map_err(Status::bad_request)?;
    let namespace = target.namespace.clone();
    let (version, expired_by_http) = (state.store.version(), state.expired_by_http);
    let initial = query.is_true("sendInitialEvents");
    let from = from(query, version)?;
    let collection = state.store.collection(target);
    let (queue, receiver) = Watcher::queue();
    let mut watcher = Watcher {
        namespace: namespace.clone(),
        selector: selector.clone(),
        selector_text: query.selector_text(),
        form,
        after: version,
        bookmarks: query.is_true("allowWatchBookmarks"),
        queue,
        held: None,
    };
    let mut backlog: Vec<Bytes> = Vec::new();
    match from {
        From::State => {
            let objects = collection.select(namespace.as_deref(), &selector);
            backlog.extend(objects.iter().map(|object| frame("ADDED", object, form)));
            if initial && watcher.bookmarks {
                backlog.push(bookmark(&collection.kind, version, form, true));
            }
        }
        From::Version(after) => {
            watcher.after = after;
            match collection.since(after) {
                Ok(changes) => backlog.extend(changes.filter_map(|change| watcher.line(change))),
                Err(_) if expired_by_http => return Err(Status::too_old(after, collection.floor)),
                Err(_) => {
                    // Not registered: the stream ends after its only event.
                    let backlog = vec![Status::too_old(after, collection.floor).frame()].into_iter();
                    return Ok(Begun { id: 0, resource: target.resource(), backlog, queue: receiver });
                }
            }
        }
    }
    let id = collection.watchers.add(&target.resource(), watcher);
    Ok(Begun { id, resource: target.resource(), backlog: backlog.into_iter(), queue: receiver })
}

fn from(query: &Query, version: u64) -> Result<From, Status> {
    let asked = match query.get("resourceVersion").map(str::parse::<u64>) {
        None => 0,
        Some(Ok(asked)) => asked,
        Some(Err(_)) => return Err(Status::bad_request("resourceVersion: Invalid value")),
    };
    let matching = query.get("resourceVersionMatch");
    match query.get("sendInitialEvents") {
        Some("true") if matching != Some("NotOlderThan") => Err(Status::invalid(
            "ListOptions",
            "",
            "resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        )),
        Some("true") => Ok(From::State),
        Some("false") if asked == 0 => Ok(From::Version(version)),
        None if matching.is_some() => {
            Err(Status::bad_request("resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"))
        }
        None if asked == 0 => Ok(From::State),
        _ => Ok(From::Version(asked)),
    }
}

/// The body of a watch: lines as they come, bookmarks by the clock, an end at the timeout.
pub(super) fn body(server: &Arc<Inner>, begun: Begun, timeout: Duration) -> Body {
    let bookmark_period = server.options.bookmark_period;
    let now = Instant::now();
    // The last bookmark comes right before the end, so that the client begins again where it was.
    let before_end = timeout.checked_sub(Duration::from_secs(2)).unwrap_or(timeout);
    let stream = Stream {
        begun,
        bookmark_period,
        bookmark: Box::pin(sleep_until(now + bookmark_period.min(before_end))),
        timeout: Box::pin(sleep_until(now + timeout)),
        server: Arc::downgrade(server),
    };
    BodyExt::boxed_unsync(StreamBody::new(stream::unfold(stream, Stream::next)))
}

impl Stream {
    async fn next(mut self) -> Option<(Result<Frame<Bytes>, BrokenOff>, Self)> {
        loop {
            if let Some(line) = self.begun.backlog.next() {
                return Some((Ok(Frame::data(line)), self));
            }
            tokio::select! {
                biased;
                item = self.begun.queue.recv() => {
                    return match item? {
                        Item::Line(line) => Some((Ok(Frame::data(line)), self)),
                        Item::Reset => Some((Err(BrokenOff("cut by a script")), self)),
                    };
                }
                () = &mut self.timeout => {
                    self.server.upgrade()?.lock().time_out(&self.begun.resource, self.begun.id);
                    // Held back, it looks again later; else the queue ends now.
                    self.timeout.as_mut().reset(Instant::now() + Duration::from_mins(1));
                }
                () = &mut self.bookmark => {
                    self.server.upgrade()?.lock().send_bookmark(&self.begun.resource, self.begun.id);
                    let next = self.timeout.deadline().checked_sub(Duration::from_secs(2)).unwrap_or(Instant::now());
                    let next = if next > Instant::now() { next } else { self.timeout.deadline() + self.bookmark_period };
                    self.bookmark.as_mut().reset(next.min(Instant::now() + self.bookmark_period));
                }
            }
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Some(server) = self.server.upgrade() {
            server.lock().forget_watch(&self.begun.resource, self.begun.id);
            server.changed();
        }
    }
}
