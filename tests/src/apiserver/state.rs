//! All that the server knows, behind one lock that is never held across an await.

use super::asked::Asked;
use super::faults::{Asking, Cut, Faults, On};
use super::object::bookmark;
use super::status::Status;
use super::store::Store;
use super::tokens::Tokens;
use super::watchers::{Item, Watcher};

/// All that the server knows.
pub(super) struct State {
    pub(super) store: Store,
    pub(super) faults: Faults,
    pub(super) denied: Vec<On>,
    pub(super) asked: Asked,
    pub(super) tokens: Tokens,
    /// The version at which the cache stands still.
    pub(super) lag: Option<u64>,
    pub(super) bookmarks_silent: bool,
    /// Whether a watch from a compacted version is answered by HTTP status instead of by an ERROR event.
    pub(super) expired_by_http: bool,
    pub(super) graceful_deletion: bool,
}

impl State {
    /// The version that reads from the cache see.
    pub(super) fn cache_version(&self) -> u64 {
        self.lag.map_or(self.store.version(), |lag| lag.min(self.store.version()))
    }

    /// The open watches that a script means.
    fn watches(&self, on: &On) -> Vec<(String, u64)> {
        let open = self.store.collections().flat_map(|collection| {
            collection.watchers.iter().map(|(id, watcher)| (&collection.resource, id, &watcher.selector_text))
        });
        open.filter(|(resource, _, selector)| on.meets(&Asking { verb: "watch", resource, selector, user: None }))
            .map(|(resource, id, _)| (resource.clone(), id))
            .collect()
    }

    pub(super) fn count_watches(&self, on: &On) -> usize {
        self.watches(on).len()
    }

    /// Does something with each watch that a script means, and says how many there were. What answers false ends.
    fn each_watch(&mut self, on: &On, mut act: impl FnMut(&mut Watcher) -> bool) -> usize {
        let meant = self.watches(on);
        for collection in self.store.collections_mut() {
            let resource = collection.resource.clone();
            for (_, id) in meant.iter().filter(|(of, _)| *of == resource) {
                if collection.watchers.get_mut(*id).is_some_and(|watcher| !act(watcher)) {
                    collection.watchers.remove(&resource, *id);
                }
            }
        }
        meant.len()
    }

    pub(super) fn cut(&mut self, on: &On, cut: Cut) -> usize {
        let version = self.store.version();
        self.each_watch(on, |watcher| {
            // A cut reaches a stream also while its events are held back.
            let held = watcher.held.take();
            if cut == Cut::End {
                held.into_iter().flatten().for_each(|item| drop(watcher.queue.try_send(item)));
            }
            let _ = match cut {
                Cut::End => Ok(()),
                Cut::Reset => watcher.queue.try_send(Item::Reset),
                Cut::Gone => watcher.queue.try_send(Item::Line(Status::too_old(watcher.after, version).frame())),
                Cut::Error(code) => watcher.queue.try_send(Item::Line(Status::of_code(code).frame())),
            };
            false
        })
    }

    /// Holds the events of open watches back; nothing, not even bookmarks, is sent.
    pub(super) fn hold(&mut self, on: &On) -> usize {
        self.each_watch(on, |watcher| {
            watcher.held.get_or_insert_default();
            true
        })
    }

    /// Sends what was held back and goes on.
    pub(super) fn release(&mut self, on: &On) -> usize {
        self.each_watch(on, |watcher| {
            let held = watcher.held.take();
            held.into_iter().flatten().all(|item| watcher.send(item))
        })
    }

    /// Sends one watch a bookmark, unless the version is the one that it began at or bookmarks are silent.
    pub(super) fn send_bookmark(&mut self, resource: &str, id: u64) {
        let version = self.store.version();
        if self.bookmarks_silent || resource == "events" {
            return;
        }
        for collection in self.store.collections_mut().filter(|collection| collection.resource == resource) {
            let kind = collection.kind.clone();
            if let Some(watcher) = collection.watchers.get_mut(id)
                && watcher.bookmarks
                && version > watcher.after
            {
                let line = bookmark(&kind, version, watcher.form, false);
                watcher.send(Item::Line(line));
            }
        }
    }

    pub(super) fn send_bookmarks(&mut self, on: &On) {
        for (resource, id) in self.watches(on) {
            self.send_bookmark(&resource, id);
        }
    }

    /// A watch's time is over: it ends, unless a script holds it back.
    pub(super) fn time_out(&mut self, resource: &str, id: u64) {
        for collection in self.store.collections_mut().filter(|collection| collection.resource == resource) {
            if collection.watchers.get_mut(id).is_some_and(|watcher| watcher.held.is_none()) {
                collection.watchers.remove(resource, id);
            }
        }
    }

    /// A watch's client is gone.
    pub(super) fn forget_watch(&mut self, resource: &str, id: u64) {
        for collection in self.store.collections_mut().filter(|collection| collection.resource == resource) {
            collection.watchers.remove(resource, id);
        }
    }
}
