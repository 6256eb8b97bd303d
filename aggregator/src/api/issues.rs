//! `GET /api/v1/issues`: what is open, how far it was told, and why not. The contract is `aggregator/openapi.yaml`. Pure.

use std::cmp::Reverse;
use std::sync::Arc;

use rules::{Severity, State, Time};
use serde::Serialize;

use crate::dedupe::decision::Decision;
use crate::dedupe::issue::Phase;
use crate::dedupe::{Issue, IssueKey, Member, MemberId};
use crate::forward::notification::issue_id;
use crate::pipeline::Pipeline;
use crate::settings::Cluster;

/// The answer.
#[derive(Debug, Serialize)]
pub(super) struct Page {
    cluster: ClusterName,
    /// When this was so.
    time: Time,
    /// How many issues there are; the list may be shorter.
    total: usize,
    issues: Vec<Shown>,
}

#[derive(Debug, Serialize)]
struct ClusterName {
    name: String,
    id: String,
}

/// One issue.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    /// As in notifications.
    id: String,
    kind: &'static str,
    severity: Severity,
    namespace: Arc<str>,
    owner: OwnerName,
    container: Arc<str>,
    /// How far it was told.
    phase: &'static str,
    since: Time,
    /// The last revision told; 0 before the first.
    revision: u32,
    members: Members,
    last_decision: Option<Decided>,
}

#[derive(Debug, Serialize)]
struct OwnerName {
    kind: Arc<str>,
    name: Arc<str>,
}

#[derive(Debug, Serialize)]
struct Members {
    total: usize,
    list: Vec<ShownMember>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownMember {
    /// Who sees it: a node's agent, or the aggregator, which has no node.
    observer: Arc<str>,
    pod: Arc<str>,
    node: Arc<str>,
    container: Arc<str>,
    state: &'static str,
    since: Time,
    /// What became of it; `null` while it is pending.
    decision: Option<Decision>,
    /// Whether that is the last word.
    is_final: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Decided {
    decision: Decision,
    is_final: bool,
    time: Time,
}

/// The most issues in one answer: the most severe, then the oldest.
const ISSUES_MAX: usize = 500;
/// The most members named of one issue.
const MEMBERS_MAX: usize = 20;

/// What is open now.
pub(super) fn page(pipeline: &Pipeline, now: Time) -> Page {
    let cluster = &pipeline.settings().cluster;
    let mut open: Vec<_> = pipeline.dedupe().issues().filter(|issue| is_open(issue)).collect();
    open.sort_by_cached_key(|issue| (Reverse(severity(issue)), since(issue), Arc::clone(&issue.key)));
    Page {
        cluster: ClusterName { name: cluster.name.clone(), id: cluster.id.clone() },
        time: now,
        total: open.len(),
        issues: open.into_iter().take(ISSUES_MAX).map(|issue| shown(cluster, issue)).collect(),
    }
}

/// Whether an issue counts as open: something of it is there, or its end is still to be told.
pub(crate) fn is_open(issue: &Issue) -> bool {
    issue.episode.as_ref().is_none_or(|episode| episode.phase != Phase::Resolved)
}

/// How bad an issue is: as it was told, else as its findings are.
pub(crate) fn severity(issue: &Issue) -> Severity {
    let of_members = || issue.members.values().map(|member| member.finding.severity).max();
    issue.episode.as_ref().map(|episode| episode.severity).or_else(of_members).unwrap_or(Severity::Info)
}

fn since(issue: &Issue) -> Time {
    let of_members = || issue.members.values().map(|member| member.finding.since).min();
    issue.episode.as_ref().map(|episode| episode.since).or_else(of_members).unwrap_or_default()
}

fn shown(cluster: &Cluster, issue: &Issue) -> Shown {
    let IssueKey { namespace, owner, container, kind } = &*issue.key;
    let mut members: Vec<_> = issue.members.iter().collect();
    members.sort_unstable_by_key(|(id, member)| (member.finding.since, *id));
    Shown {
        id: issue_id(cluster, &issue.key),
        kind: kind.name(),
        severity: severity(issue),
        namespace: Arc::clone(namespace),
        owner: OwnerName { kind: Arc::clone(&owner.kind), name: Arc::clone(&owner.name) },
        container: Arc::clone(container),
        phase: phase(issue),
        since: since(issue),
        revision: issue.episode.as_ref().map_or(0, |episode| episode.revision),
        members: Members {
            total: members.len(),
            list: members.into_iter().take(MEMBERS_MAX).map(|(id, member)| shown_member(id, member)).collect(),
        },
        last_decision: issue.last_decision.map(|(decision, time)| Decided {
            decision,
            is_final: decision.is_final(),
            time,
        }),
    }
}

fn shown_member(id: &MemberId, member: &Member) -> ShownMember {
    let subject = &member.finding.subject;
    ShownMember {
        observer: Arc::clone(&id.observer),
        pod: Arc::clone(&subject.pod),
        node: Arc::clone(&subject.node),
        container: Arc::clone(&subject.container),
        state: match member.finding.state {
            _ if member.over => "over",
            State::Pending => "pending",
            State::Active => "active",
            State::Cleared => "over",
        },
        since: member.finding.since,
        decision: member.decision,
        is_final: member.decision.is_some_and(Decision::is_final),
    }
}

fn phase(issue: &Issue) -> &'static str {
    match issue.episode.as_ref().map(|episode| episode.phase) {
        None => "untold",
        Some(Phase::Verifying) => "verifying",
        Some(Phase::Telling) => "telling",
        Some(Phase::Told) => "told",
        Some(Phase::Resolving) => "resolving",
        Some(Phase::Resolved) => "resolved",
    }
}
