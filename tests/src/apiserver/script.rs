//! What a test tells the server to do, and what it asks of it.

use std::io;
use std::time::Duration;

use anyhow::bail;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::ApiServer;
use super::asked::Asked;
use super::clock::seconds;
use super::faults::{Cut, Fault, FaultId, On};
use super::object::plural_of;
use super::target::Target;
use super::tokens::Identity;

/// The network.
impl ApiServer {
    /// A black hole: connections stay up, new ones are accepted, and no byte goes either way, until told otherwise.
    pub fn black_hole(&self, on: bool) {
        self.sockets().https.wire().set_silent(on);
        self.sockets().http.wire().set_silent(on);
    }

    /// Resets (TCP RST) all connections.
    pub fn reset_connections(&self) {
        self.sockets().https.wire().reset();
        self.sockets().http.wire().reset();
    }

    /// How many connections are up.
    pub fn connections(&self) -> usize {
        self.sockets().https.wire().connections() + self.sockets().http.wire().connections()
    }

    /// Ends all connections and refuses new ones; the objects stay.
    pub async fn go_down(&self) {
        self.sockets().https.go_down().await;
        self.sockets().http.go_down().await;
    }

    /// Listens again at the same addresses.
    pub async fn come_up(&self) -> io::Result<()> {
        self.sockets().https.come_up().await?;
        self.sockets().http.come_up().await
    }
}

/// Faults of requests and streams.
impl ApiServer {
    /// Sets a fault until it is lifted. Of several that meet a request the first one set counts.
    pub fn fault(&self, on: On, fault: Fault) -> FaultId {
        self.inner.lock().faults.set(on, fault, None)
    }

    /// Sets a fault for so many requests.
    pub fn fault_times(&self, on: On, fault: Fault, times: u32) -> FaultId {
        self.inner.lock().faults.set(on, fault, Some(times))
    }

    /// Takes a fault back; what a black hole held goes on.
    pub fn lift(&self, fault: FaultId) {
        self.inner.lock().faults.lift(fault);
        self.inner.changed();
    }

    /// Takes all faults back.
    pub fn lift_all(&self) {
        self.inner.lock().faults.lift_all();
        self.inner.changed();
    }

    /// Answers these requests 403 from now on.
    pub fn deny(&self, on: On) {
        self.inner.lock().denied.push(on);
    }

    /// Takes all refusals back.
    pub fn allow_all(&self) {
        self.inner.lock().denied.clear();
    }

    /// Ends open watches; says how many.
    pub fn cut(&self, on: &On, cut: Cut) -> usize {
        self.inner.lock().cut(on, cut)
    }

    /// Open watches fall silent: they stay up, and neither events nor bookmarks are sent. Says how many.
    pub fn hold(&self, on: &On) -> usize {
        self.inner.lock().hold(on)
    }

    /// Sends what [`hold`](Self::hold) held back and goes on.
    pub fn release(&self, on: &On) -> usize {
        self.inner.lock().release(on)
    }

    /// How many watches are open.
    pub fn watches(&self, on: &On) -> usize {
        self.inner.lock().count_watches(on)
    }

    /// Sends the bookmarks that are otherwise sent by the clock, now.
    pub fn send_bookmarks(&self, on: &On) {
        self.inner.lock().send_bookmarks(on);
    }

    /// Sends no bookmarks, or sends them again.
    pub fn silence_bookmarks(&self, silent: bool) {
        self.inner.lock().bookmarks_silent = silent;
    }
}

/// Versions and time.
impl ApiServer {
    /// The version of the last write.
    pub fn version(&self) -> u64 {
        self.inner.lock().store.version()
    }

    /// How many writes there were since the start.
    pub fn changes(&self) -> u64 {
        self.version() - self.inner.options.first_version
    }

    /// Forgets all history: reads and watches from before now are answered 410.
    pub fn compact(&self) {
        let mut state = self.inner.lock();
        let version = state.store.version();
        state.store.compact(version);
    }

    /// Whether a watch from a compacted version is refused with HTTP 410 (as by old servers) instead of with an ERROR
    /// event.
    pub fn expire_by_http(&self, by_http: bool) {
        self.inner.lock().expired_by_http = by_http;
    }

    /// Goes back to a version, as when etcd is restored from a backup: objects and versions are those of then, and all
    /// watches are cut.
    pub fn rewind(&self, version: u64) -> anyhow::Result<()> {
        let mut state = self.inner.lock();
        if state.store.rewind(version).is_err() {
            bail!("version {version} is not in the history: raise Options::history_max or rewind less far");
        }
        state.cut(&On::anything(), Cut::Reset);
        drop(state);
        self.inner.changed();
        Ok(())
    }

    /// The cache stands still: LISTs of version 0 see the state of that version until [`catch_up`](Self::catch_up),
    /// those of a newer one wait and get 504. LISTs without a version and watches see the present.
    pub fn lag(&self, version: u64) {
        self.inner.lock().lag = Some(version);
    }

    /// The cache is up to date again.
    pub fn catch_up(&self) {
        self.inner.lock().lag = None;
        self.inner.changed();
    }

    /// The server's clock, as its `Date` says it.
    pub fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    /// Sets how far the server's clock is ahead of this machine's.
    pub fn set_skew(&self, ahead: SignedDuration) {
        self.inner.clock.set_skew(ahead);
    }

    /// Stops the server's clock and the nodes' at that time, until it is set again.
    pub fn set_now(&self, now: Timestamp) {
        self.inner.clock.stop_at(now);
    }

    /// Whether deleted pods stay for their grace period, until deleted again with none; off at the start.
    pub fn set_graceful_deletion(&self, graceful: bool) {
        self.inner.lock().graceful_deletion = graceful;
    }
}

/// Tokens.
impl ApiServer {
    /// A new token for an identity.
    pub fn issue_token(&self, identity: Identity) -> String {
        self.inner.lock().tokens.issue(identity)
    }

    /// Makes a token of a test's choice valid for an identity.
    pub fn set_token(&self, token: &str, identity: Identity) {
        self.inner.lock().tokens.insert(token, identity);
    }

    /// Makes a token invalid.
    pub fn revoke_token(&self, token: &str) {
        self.inner.lock().tokens.revoke(token);
    }
}

/// What was asked, and waiting for it.
impl ApiServer {
    /// The requests so far.
    pub fn asked(&self) -> Asked {
        self.inner.lock().asked.clone()
    }

    /// Counts requests from zero again.
    pub fn forget_requests(&self) {
        self.inner.lock().asked = Asked::default();
    }

    /// Waits until something holds, looking again after every request, write and end of a watch; `what` names it in
    /// the error.
    pub async fn until(
        &self,
        what: &str,
        deadline: Duration,
        mut holds: impl FnMut(&Self) -> bool,
    ) -> anyhow::Result<()> {
        let mut changes = self.inner.changes.subscribe();
        let held = async { while !holds(self) && changes.changed().await.is_ok() {} };
        if timeout(deadline, held).await.is_err() {
            bail!("after {deadline:?} still not: {what}; asked so far: {:?}", self.asked().all());
        }
        Ok(())
    }

    /// Waits until a watch is open.
    pub async fn until_watched(&self, on: &On, deadline: Duration) -> anyhow::Result<()> {
        self.until(&format!("a watch on {on:?}"), deadline, |server| server.watches(on) > 0).await
    }
}

/// Objects, written past authentication and preconditions.
impl ApiServer {
    /// Creates an object, or replaces it with its status. The path comes from `apiVersion`, `kind` and metadata.
    ///
    /// # Panics
    /// If the object lacks one of these: the test is wrong.
    pub fn put(&self, object: Value) -> Value {
        let path = path_of(&object);
        let target = parse(&path);
        let mut object = object;
        let now = seconds(self.now());
        let mut state = self.inner.lock();
        let old = state.store.get(&target.resource(), &target.key()).map(|old| old.value());
        for (field, fresh) in [("uid", json!(super::uid())), ("creationTimestamp", json!(now))] {
            let metadata = &mut object["metadata"];
            if metadata[field].is_null() {
                metadata[field] = old.as_ref().map_or(fresh, |old| old["metadata"][field].clone());
            }
        }
        let written = state.store.commit(&target, target.key(), Some(object)).map(|object| object.whole());
        drop(state);
        self.inner.changed();
        written.unwrap_or_default()
    }

    /// The object at a path such as `/api/v1/namespaces/shop/pods/api-0`.
    pub fn object(&self, path: &str) -> Option<Value> {
        let target = parse(path);
        self.inner.lock().store.get(&target.resource(), &target.key()).map(|object| object.whole())
    }

    /// Changes the object at a path; false when there is none.
    pub fn edit(&self, path: &str, change: impl FnOnce(&mut Value)) -> bool {
        let target = parse(path);
        let mut state = self.inner.lock();
        let Some(old) = state.store.get(&target.resource(), &target.key()) else { return false };
        let mut value = old.value();
        change(&mut value);
        state.store.commit(&target, target.key(), Some(value));
        drop(state);
        self.inner.changed();
        true
    }

    /// Removes the object at a path at once; false when there is none.
    pub fn remove(&self, path: &str) -> bool {
        let target = parse(path);
        let removed = self.inner.lock().store.commit(&target, target.key(), None).is_some();
        self.inner.changed();
        removed
    }

    /// All objects of a collection's path, such as `/api/v1/pods`.
    pub fn objects(&self, path: &str) -> Vec<Value> {
        let target = parse(path);
        let mut state = self.inner.lock();
        let objects =
            state.store.collection(&target).select(target.namespace.as_deref(), &super::selector::Selector::default());
        objects.iter().map(|object| object.whole()).collect()
    }

    /// Adds a namespace.
    pub fn add_namespace(&self, name: &str) {
        self.put(json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}},
            "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"},
        }));
    }
}

fn parse(path: &str) -> Target {
    Target::parse(path)
        .unwrap_or_else(|| panic!("{path:?} is no path of a resource: /api/v1/namespaces/NAMESPACE/pods/NAME"))
}

/// Where an object lives.
fn path_of(object: &Value) -> String {
    let text = |value: &Value, what: &str| {
        value.as_str().unwrap_or_else(|| panic!("the object has no {what}: {object}")).to_string()
    };
    let api_version = text(&object["apiVersion"], "apiVersion");
    let root = if api_version.contains('/') { format!("/apis/{api_version}") } else { format!("/api/{api_version}") };
    let plural = plural_of(&text(&object["kind"], "kind"));
    let name = text(&object["metadata"]["name"], "metadata.name");
    match object["metadata"]["namespace"].as_str() {
        Some(namespace) if !namespace.is_empty() => format!("{root}/namespaces/{namespace}/{plural}/{name}"),
        _ => format!("{root}/{plural}/{name}"),
    }
}
