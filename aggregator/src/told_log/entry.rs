//! What is kept of one issue.

use std::collections::BTreeMap;
use std::sync::Arc;

use rules::{Incarnation, Time};
use serde::{Deserialize, Serialize};

use crate::dedupe::IssueKey;
use crate::dedupe::issue::{EPISODES_MAX, Example};
use crate::forward::heard::Heard;
use crate::forward::outbox::{Fate, Intent, Status};

/// What was told of an issue, in its last episode.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// The issue.
    pub issue: IssueKey,
    /// The newest that left for any sink.
    pub intent: Intent,
    /// How far its episodes before were numbered, the last of them at the end: the same finding may open one again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<(Incarnation, u32)>,
    /// When the episode began.
    pub since: Time,
    /// When it ended.
    #[serde(default)]
    pub ended: Option<Time>,
    /// How many were part of it and are well again.
    #[serde(default)]
    pub gone: usize,
    /// The newest edge told of this issue, in this episode or one before.
    #[serde(default)]
    pub newest_edge: Option<Time>,
    /// A finding of the episode and who saw it, while it may still have to be spoken of.
    #[serde(default)]
    pub example: Option<Example>,
    /// Who was given it.
    #[serde(default)]
    pub sinks: BTreeMap<Arc<str>, Standing>,
    /// What has left and is not answered for, by its idempotency key.
    #[serde(default)]
    pub bodies: BTreeMap<Arc<str>, Body>,
}

/// What one sink has heard of an issue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// What it has answered.
    #[serde(flatten)]
    pub heard: Heard,
    /// It has refused, and does not know of it: all that releases write and read that do not know what was refused.
    #[serde(default)]
    refused: bool,
    /// The key of what has left for it and is not answered for.
    #[serde(default)]
    pub sent: Option<Arc<str>>,
}

/// A notification, as it left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Body {
    /// What it says.
    pub intent: Intent,
    /// A JSON object.
    pub text: Arc<str>,
}

impl Standing {
    /// It has answered for `sent`.
    pub(super) fn answer(&mut self, sent: Intent, fate: Fate) {
        self.heard.answer(sent, fate);
        self.refused = self.heard.refused.is_some() && !self.heard.knows_of_it();
    }

    /// Another episode has begun: what it refused of the one before is no more.
    pub(super) fn forget_refusal(&mut self) {
        self.heard.refused = None;
        self.refused = false;
    }
}

impl Entry {
    /// Whether every sink that it was given to knows how it ended.
    pub fn is_closed(&self) -> bool {
        self.intent.status == Status::Resolved
            && self.bodies.is_empty()
            && self.sinks.values().all(|standing| standing.heard.fate_of(&self.intent).is_some())
    }

    /// The sinks that have refused what they were sent of it last.
    pub fn refusing(&self) -> impl Iterator<Item = &Arc<str>> {
        self.sinks.iter().filter(|(_, standing)| standing.heard.refused.is_some()).map(|(sink, _)| sink)
    }

    /// How far the episodes other than `episode` were numbered, this one among them; as many as are remembered.
    pub(super) fn earlier_than(&self, episode: Incarnation) -> Vec<(Incarnation, u32)> {
        let last = (self.intent.episode, self.intent.revision);
        let mut earlier: Vec<_> =
            self.earlier.iter().copied().chain([last]).filter(|(known, _)| *known != episode).collect();
        earlier.drain(..earlier.len().saturating_sub(EPISODES_MAX - 1));
        earlier
    }

    /// As it is written where bodies have no place.
    pub(super) fn without_bodies(&self) -> Self {
        Self { bodies: BTreeMap::new(), ..self.clone() }
    }

    /// Takes for what was refused the newest that left, where an earlier release wrote no more than that something was.
    pub(super) fn complete_refusals(&mut self) {
        for standing in self.sinks.values_mut().filter(|standing| standing.refused) {
            standing.heard.refused.get_or_insert(self.intent);
        }
    }

    /// Forgets of what has left that which cannot be sent again as it was: the snapshot has no bodies, and the journal is
    /// lost.
    pub(super) fn forget_what_has_no_body(&mut self) {
        let bodies = &self.bodies;
        for standing in self.sinks.values_mut() {
            standing.sent.take_if(|key| !bodies.contains_key(key));
        }
    }

    /// Forgets the bodies that every sink has answered for, and, once it is over for all of them, what it was about.
    pub(super) fn forget_what_is_confirmed(&mut self) {
        let sinks = &self.sinks;
        self.bodies.retain(|key, _| sinks.values().any(|standing| standing.sent.as_ref() == Some(key)));
        if self.bodies.is_empty() {
            // A map keeps room for several of them.
            self.bodies = BTreeMap::new();
        }
        if self.is_closed() {
            self.example = None;
            self.sinks.clear();
        }
    }
}
