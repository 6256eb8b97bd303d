//! Notifications: what is said of an issue, as one JSON object. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ring::digest::{SHA256, digest};
use rules::{Finding, Severity, Subject, Time};
use serde::Serialize;

use super::outbox::{Intent, Status};
use super::text::shown;
use super::words;
use crate::dedupe::issue::Gone;
use crate::dedupe::{Issue, IssueKey};
use crate::settings::{Cluster, Settings};

/// What is said of an issue. The contract is `aggregator/openapi.yaml`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Notification<'a> {
    /// The same for every attempt; also sent as `Idempotency-Key`.
    key: &'a str,
    issue: String,
    episode: String,
    revision: u32,
    status: Status,
    kind: &'static str,
    severity: Severity,
    cluster: ClusterName<'a>,
    labels: &'a BTreeMap<String, String>,
    namespace: &'a str,
    owner: OwnerName<'a>,
    container: &'a str,
    nodes: Vec<&'a str>,
    pods: Pods<'a>,
    since: Time,
    ended_at: Option<Time>,
    title: String,
    text: String,
    evidence: Evidence,
    /// Pods that this issue explains, and that get no notification of their own.
    swallowed: Pods<'a>,
    look: String,
    quiet: String,
    /// Where people's runbook for this kind is, if they have any.
    runbook_url: Option<String>,
}

#[derive(Debug, Serialize)]
struct ClusterName<'a> {
    name: &'a str,
    id: &'a str,
}

#[derive(Debug, Serialize)]
struct OwnerName<'a> {
    kind: &'a str,
    name: &'a str,
}

#[derive(Debug, Serialize)]
struct Pods<'a> {
    total: usize,
    sample: Vec<&'a str>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Evidence {
    reason: Option<String>,
    message: Option<String>,
    image: Option<String>,
    restarts: Option<u32>,
    exit_code: Option<i32>,
    signal: Option<i32>,
    memory_limit: Option<String>,
    names: Vec<String>,
}

const HEX: &[u8; 16] = b"0123456789abcdef";
/// The most pods and nodes that are named.
const SAMPLE_MAX: usize = 5;

/// Names an issue among those of all clusters.
pub fn issue_id(cluster: &Cluster, key: &IssueKey) -> String {
    let IssueKey { namespace, owner, container, kind } = key;
    name_of(&[&cluster.id, namespace, &owner.kind, &owner.name, container, kind.name()], 16)
}

/// The idempotency key and the body of what `intent` says of `issue`. `None` when it has no episode to tell of.
pub fn record<'a>(
    settings: &Settings,
    issue: &'a Issue,
    swallowed: impl Iterator<Item = &'a Finding>,
    intent: &Intent,
) -> Option<(Arc<str>, Arc<str>)> {
    let cluster = &settings.cluster;
    let episode = issue.episode_of(intent.episode)?;
    let is_present = issue.episode.as_ref().is_some_and(|present| present.incarnation == intent.episode);
    let issue_name = issue_id(cluster, &issue.key);
    let episode_name = name_of(&[&issue_name, &episode.incarnation.0.to_string()], 8);
    let key = format!("{issue_name}.{episode_name}.{}", intent.revision);
    let example = issue.example().filter(|_| is_present);
    let speaker = &example.as_ref().unwrap_or(&episode.example).finding;
    let told = issue.members.values().filter(|member| is_present && member.decision.is_some());
    let mut here: Vec<_> = told.map(|member| &member.finding.subject).collect();
    let Gone { subjects: gone, more } = &episode.gone;
    if here.is_empty() && gone.is_empty() {
        here.push(&speaker.subject);
    }
    let pods = Pods::of(here.iter().copied(), gone, *more);
    let swallowed = Pods::of(swallowed.map(|finding| &finding.subject), [], 0);
    let nodes = here.iter().copied().chain(gone).map(|subject| &*subject.node).filter(|node| !node.is_empty());
    let nodes: BTreeSet<_> = nodes.collect();
    let notification = Notification {
        key: &key,
        issue: issue_name,
        episode: episode_name,
        revision: intent.revision,
        status: intent.status,
        kind: issue.key.kind.name(),
        severity: intent.severity,
        cluster: ClusterName { name: &cluster.name, id: &cluster.id },
        labels: &cluster.labels,
        namespace: &issue.key.namespace,
        owner: OwnerName { kind: &issue.key.owner.kind, name: &issue.key.owner.name },
        container: &issue.key.container,
        title: words::title(cluster, &issue.key, intent.status),
        text: words::text(&words::Facts {
            key: &issue.key,
            finding: speaker,
            since: episode.since,
            ended: episode.ended,
            subjects: if pods.total > 0 { pods.total } else { nodes.len() + more },
            swallowed: swallowed.total,
        }),
        nodes: nodes.into_iter().take(SAMPLE_MAX).collect(),
        pods,
        since: episode.since,
        ended_at: episode.ended,
        evidence: evidence(speaker),
        swallowed,
        look: words::look(&issue.key, speaker),
        quiet: words::quiet(&issue.key, speaker),
        runbook_url: settings.runbooks.as_ref().map(|base| format!("{base}/{}", issue.key.kind.name())),
    };
    let body = serde_json::to_string(&notification).expect("plain strings and numbers have a JSON form");
    Some((Arc::from(key), Arc::from(body)))
}

impl<'a> Pods<'a> {
    /// The pods that are `here`, then those that are `gone` and so many more; none if the subjects are no pods.
    fn of(
        here: impl IntoIterator<Item = &'a Subject>,
        gone: impl IntoIterator<Item = &'a Subject>,
        more: usize,
    ) -> Self {
        let pod = |subject: &'a Subject| (&*subject.namespace, &*subject.pod);
        let here: BTreeSet<_> = here.into_iter().map(pod).filter(|pod| !pod.1.is_empty()).collect();
        let gone: BTreeSet<_> =
            gone.into_iter().map(pod).filter(|pod| !pod.1.is_empty() && !here.contains(pod)).collect();
        let total = match here.len() + gone.len() {
            0 => 0,
            known => known + more,
        };
        let mut sample: Vec<_> = here.into_iter().chain(gone).take(SAMPLE_MAX).map(|(_, pod)| pod).collect();
        sample.sort_unstable();
        Self { total, sample }
    }
}

fn evidence(finding: &Finding) -> Evidence {
    let evidence = &finding.evidence;
    Evidence {
        reason: evidence.reason.as_deref().map(shown),
        message: evidence.message.as_deref().map(shown),
        image: evidence.image.as_deref().map(shown),
        restarts: evidence.restarts,
        exit_code: evidence.exit_code,
        signal: evidence.signal,
        memory_limit: evidence.memory_limit.as_deref().map(shown),
        names: evidence.names.iter().map(|name| shown(name)).collect(),
    }
}

/// A name for what `parts` say together: the first `bytes` bytes of their hash, in hexadecimal.
fn name_of(parts: &[&str], bytes: usize) -> String {
    let mut input = Vec::new();
    for part in parts {
        input.extend_from_slice(&(part.len() as u64).to_le_bytes());
        input.extend_from_slice(part.as_bytes());
    }
    let hash = digest(&SHA256, &input);
    hash.as_ref().iter().take(bytes).fold(String::with_capacity(2 * bytes), |mut name, byte| {
        name.push(char::from(HEX[usize::from(byte >> 4)]));
        name.push(char::from(HEX[usize::from(byte & 15)]));
        name
    })
}
