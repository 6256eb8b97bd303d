//! Verify: before an issue is first told, one of its pods is read from the API. An agent that was taken over can make up
//! what it likes about pods of its own node and about pods that are gone, but nothing about one that runs elsewhere.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use kube::Client;
use rules::Pod;
use rules::name::is_object_name;

use crate::cache::Cache;
use crate::core::Core;
use crate::dedupe::{Check, Checked};

/// Reads pods for the pipeline.
pub struct Verify {
    core: Arc<Core>,
    client: Client,
    /// Pods that were found as described lately, so that the issues of one pod cost one read.
    believed: Cache<Described, ()>,
}

/// A pod as its reporter describes it: namespace, name, uid and node.
type Described = [Arc<str>; 4];

/// Reads at once.
const READS_MAX: usize = 16;
const TIMEOUT: Duration = Duration::from_secs(5);
const BELIEVED_FOR: Duration = Duration::from_secs(30);
const BELIEVED_MAX: usize = 4_096;
/// `creationTimestamp` is in whole seconds.
const CREATED_EXACT_TO: Duration = Duration::from_secs(1);

impl Verify {
    /// Reads through `client`.
    pub fn new(core: Arc<Core>, client: Client) -> Self {
        Self { core, client, believed: Cache::new(BELIEVED_FOR, BELIEVED_MAX) }
    }

    /// Reads what the pipeline wants read, until it is dropped.
    pub async fn run(mut self) -> anyhow::Result<()> {
        let mut bell = self.core.bell();
        let mut waiting = VecDeque::new();
        let mut reads = FuturesUnordered::new();
        loop {
            bell.listen();
            waiting.extend(self.core.quietly(|pipeline, _| pipeline.take_checks()));
            while reads.len() < READS_MAX
                && let Some(check) = waiting.pop_front()
            {
                if self.believed.get(&described(&check), self.core.clock().mark()).is_some() {
                    self.answer(&check, Checked::NoDoubt);
                } else {
                    reads.push(read(self.client.clone(), check));
                }
            }
            tokio::select! {
                Some((check, found)) = reads.next() => self.on_read(&check, found.as_ref()),
                () = bell.rung() => {}
            }
        }
    }

    fn on_read(&mut self, check: &Check, found: Option<&Pod>) {
        let checked = judge(check, found);
        if found.is_some() && checked == Checked::NoDoubt {
            self.believed.insert(described(check), (), self.core.clock().mark());
        }
        self.answer(check, checked);
    }

    fn answer(&self, check: &Check, checked: Checked) {
        if checked == Checked::Mismatch {
            tracing::warn!(
                target: "verify", kind = check.issue.kind.name(), namespace = %check.namespace, reporter = %check.node,
                "report_not_believed"
            );
        }
        self.core.with(|pipeline, now| pipeline.on_checked(check, checked, now));
    }
}

/// Compares a report with what the API has there; `None` when it has nothing, or could not say.
fn judge(check: &Check, found: Option<&Pod>) -> Checked {
    if !is_object_name(&check.pod) || !is_object_name(&check.namespace) {
        return Checked::Mismatch;
    }
    let Some(pod) = found else { return Checked::NoDoubt };
    // The mirror of a static pod is deleted and made anew, so its uid says nothing.
    let is_same = if check.uid.is_empty() { pod.is_static() } else { pod.meta.uid == check.uid };
    let is_believed =
        if is_same { pod.spec.node_name == check.node } else { !check.uid.is_empty() && is_successor(pod, check) };
    if is_believed { Checked::NoDoubt } else { Checked::Mismatch }
}

/// Whether the pod was made after what is reported had begun: the one that it is about is gone, and this one has its
/// name, as a StatefulSet gives it.
fn is_successor(pod: &Pod, check: &Check) -> bool {
    pod.meta.creation_timestamp.is_some_and(|created| created + CREATED_EXACT_TO > check.since)
}

fn described(check: &Check) -> Described {
    [&check.namespace, &check.pod, &check.uid, &check.node].map(Arc::clone)
}

/// What the API has there. A name that no object can have is not put into an address.
async fn read(client: Client, check: Check) -> (Check, Option<Pod>) {
    let namespace = &check.namespace;
    if !is_object_name(&check.pod) || !is_object_name(namespace) {
        return (check, None);
    }
    let path = format!("/api/v1/namespaces/{namespace}/pods/{}", check.pod);
    let Ok(request) = http::Request::get(path).body(Vec::new()) else { return (check, None) };
    let found = match tokio::time::timeout(TIMEOUT, client.request::<Pod>(request)).await {
        Ok(Ok(pod)) => Some(pod),
        Ok(Err(kube::Error::Api(status))) if status.code == 404 => None,
        Ok(Err(kube::Error::Api(status))) if status.code == 403 => {
            let advice = "grant get on pods; until then reports are believed unread";
            tracing::warn!(target: "verify", advice, "pods_unreadable");
            None
        }
        Ok(Err(error)) => {
            tracing::debug!(target: "verify", %error, "pod_unread");
            None
        }
        Err(_) => None,
    };
    (check, found)
}

#[cfg(test)]
mod tests;
