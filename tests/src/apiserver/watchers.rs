//! The open watches of one collection, indexed so that a change meets only those that could select it.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::object::{Change, Form, Key};
use super::selector::{Bucket, Selector};
use super::store::node;

/// How many events may wait for a slow client before its watch is ended, as the real server does.
const QUEUE_MAX: usize = 10_000;

/// What a watch's stream is told to do.
#[derive(Debug)]
pub(super) enum Item {
    Line(Bytes),
    /// Break off without an end: the connection (HTTP/1.1) or stream (HTTP/2) is reset.
    Reset,
}

/// One open watch.
#[derive(Debug)]
pub(super) struct Watcher {
    pub(super) namespace: Option<String>,
    pub(super) selector: Selector,
    /// As the client wrote it, for scripts and counts.
    pub(super) selector_text: String,
    pub(super) form: Form,
    /// Only what is newer is told.
    pub(super) after: u64,
    pub(super) bookmarks: bool,
    pub(super) queue: mpsc::Sender<Item>,
    /// `Some` while a script holds the stream back.
    pub(super) held: Option<Vec<Item>>,
}

/// The open watches of one collection.
#[derive(Debug, Default)]
pub(super) struct Watchers {
    next: u64,
    open: HashMap<u64, Watcher>,
    buckets: HashMap<Bucket, BTreeSet<u64>>,
}

impl Watcher {
    /// A queue for one watch.
    pub(super) fn queue() -> (mpsc::Sender<Item>, mpsc::Receiver<Item>) {
        mpsc::channel(QUEUE_MAX)
    }

    /// Hands an item over; false when the client is too slow, or gone.
    pub(super) fn send(&mut self, item: Item) -> bool {
        match &mut self.held {
            Some(held) if held.len() >= QUEUE_MAX => false,
            Some(held) => {
                held.push(item);
                true
            }
            None => self.queue.try_send(item).is_ok(),
        }
    }

    /// The line that this watch gets for a change.
    pub(super) fn line(&self, change: &Change) -> Option<Bytes> {
        if change.version <= self.after || self.namespace.as_ref().is_some_and(|namespace| *namespace != change.key.0) {
            return None;
        }
        change.seen_by(|object| self.selector.matches(object)).map(|event| change.frame(event, self.form))
    }

    fn is_too_slow_for(&mut self, change: &Change) -> bool {
        self.line(change).is_some_and(|line| !self.send(Item::Line(line)))
    }
}

impl Watchers {
    pub(super) fn add(&mut self, resource: &str, watcher: Watcher) -> u64 {
        self.next += 1;
        self.buckets.entry(watcher.selector.bucket(resource)).or_default().insert(self.next);
        self.open.insert(self.next, watcher);
        self.next
    }

    /// Ends a watch cleanly once it has sent what it has queued.
    pub(super) fn remove(&mut self, resource: &str, id: u64) {
        let Some(watcher) = self.open.remove(&id) else { return };
        let bucket = watcher.selector.bucket(resource);
        if let Some(ids) = self.buckets.get_mut(&bucket) {
            ids.remove(&id);
            if ids.is_empty() {
                self.buckets.remove(&bucket);
            }
        }
    }

    pub(super) fn get_mut(&mut self, id: u64) -> Option<&mut Watcher> {
        self.open.get_mut(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &Watcher)> {
        self.open.iter().map(|(id, watcher)| (*id, watcher))
    }

    /// Tells a change to the watches whose bucket it touches.
    pub(super) fn tell(&mut self, change: &Change, resource: &str) {
        let mut lost = Vec::new();
        for bucket in touched(change, resource) {
            for id in self.buckets.get(&bucket).into_iter().flatten() {
                if self.open.get_mut(id).is_some_and(|watcher| watcher.is_too_slow_for(change)) {
                    lost.push(*id);
                }
            }
        }
        for id in lost {
            self.remove(resource, id);
        }
    }
}

/// The buckets that a change touches, each once.
fn touched(change: &Change, resource: &str) -> Vec<Bucket> {
    let (_, name): &Key = &change.key;
    let mut buckets = vec![Bucket::All, Bucket::Name(name.clone())];
    if resource == "pods" {
        for object in [&change.old, &change.new].into_iter().flatten() {
            let bucket = Bucket::Node(node(object).to_string());
            if !buckets.contains(&bucket) {
                buckets.push(bucket);
            }
        }
    }
    buckets
}
