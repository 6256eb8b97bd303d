//! The outbox of one sink: what it has yet to hear, by issue and not by message. Hours of outage cost memory by
//! distinct issue, and recovery sends the present, not the past. Pure.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use process::backoff::Backoff;
use rules::{Incarnation, Severity, Time};

use super::heard::Heard;
use crate::dedupe::IssueKey;
use crate::limit::TokenBucket;
use crate::settings::SinkSettings;
use crate::told_log::Body;

/// What an issue has to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Intent {
    /// Of which of the issue's episodes.
    pub episode: Incarnation,
    /// Which of its revisions.
    pub revision: u32,
    /// Whether it is there or over.
    pub status: Status,
    /// Critical ones go first.
    pub severity: Severity,
}

/// Whether an issue is there or over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It is there.
    Firing,
    /// It is over.
    Resolved,
}

/// One notification as it leaves: never made anew once it may have been received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The issue.
    pub issue: Arc<IssueKey>,
    /// What it says of it.
    pub intent: Intent,
    /// The same for every attempt.
    pub key: Arc<str>,
    /// The same for every attempt, a JSON object.
    pub body: Arc<str>,
}

/// What the sender is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Send these, and say how it went.
    Send(Vec<Record>),
    /// Nothing before that time.
    WaitUntil(Time),
    /// Nothing until something is enqueued.
    Idle,
}

/// How sending a batch went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The sink has it.
    Delivered,
    /// The sink does not know us (401, 403): hold everything, ask slowly, go on at once when the token changes.
    Unauthorized,
    /// The sink wants less (429, 503), and perhaps said for how long.
    Throttled(Option<Duration>),
    /// The sink will never take this (400, 413, 422).
    Refused,
    /// Anything else: perhaps it has it, perhaps not.
    Failed,
}

/// What became of a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// The sink has it, or has something newer.
    Delivered,
    /// The sink refuses it.
    Quarantined,
}

/// How the sink is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It took the last batch, or none was sent yet.
    Working,
    /// So many batches in a row failed: single records are tried, further and further apart.
    Failing(u32),
    /// It does not know us.
    Unauthorized,
}

/// Everything that one sink has yet to hear.
#[derive(Debug)]
pub struct Outbox {
    number: u64,
    settings: SinkSettings,
    bucket: Option<TokenBucket>,
    entries: HashMap<Arc<IssueKey>, Entry>,
    in_flight: Vec<Arc<IssueKey>>,
    /// Part of a batch that was refused: only so many at once until the culprit is found.
    bisect: Option<usize>,
    health: Health,
    backoff: Backoff,
    not_before: Time,
    random: fastrand::Rng,
}

/// What one sink knows of one issue, and has yet to hear.
#[derive(Debug, Default)]
struct Entry {
    /// What it has answered.
    heard: Heard,
    /// What has been sent and not answered for: it goes again, as it was, before anything newer.
    frozen: Option<Record>,
    /// The newest that it has yet to hear.
    due: Option<Due>,
}

#[derive(Debug)]
struct Due {
    intent: Intent,
    since: Time,
}

/// The first pause after a failure, before jitter.
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
/// The longest pause after a failure, before jitter; also the longest that a sink may ask for.
const BACKOFF_MAX: Duration = Duration::from_mins(5);
/// Between two attempts with a token that was refused.
const UNAUTHORIZED_PROBE: Duration = Duration::from_mins(1);

impl Outbox {
    /// An empty outbox. Its number tells it from one before it of the same name, and is the seed of its jitter.
    pub fn new(settings: SinkSettings, number: u64, now: Time) -> Self {
        let mut outbox = Self {
            number,
            settings: SinkSettings::default(),
            bucket: None,
            entries: HashMap::new(),
            in_flight: Vec::new(),
            bisect: None,
            health: Health::Working,
            backoff: Backoff::new(BACKOFF_FIRST, BACKOFF_MAX),
            not_before: now,
            random: fastrand::Rng::with_seed(number),
        };
        outbox.configure(settings, now);
        outbox
    }

    /// Goes by other settings from now on; what waits, waits on.
    pub fn configure(&mut self, settings: SinkSettings, now: Time) {
        if settings.rate_per_minute != self.settings.rate_per_minute || self.bucket.is_none() {
            self.bucket = settings.rate_per_minute.map(|rate| TokenBucket::new(rate, now));
        }
        self.settings = settings;
    }

    /// Which outbox this is: a sink that was taken out and is there again has another.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The settings in force.
    pub fn settings(&self) -> &SinkSettings {
        &self.settings
    }

    /// `issue` has something new to say; it takes the place of what has not left yet. `Some` when the sink need not
    /// be told at all, because what it knows is right again, or because of what it has refused.
    pub fn enqueue(&mut self, issue: &Arc<IssueKey>, intent: Intent, now: Time) -> Option<Fate> {
        let entry = self.entries.entry(Arc::clone(issue)).or_default();
        if entry.frozen.is_none()
            && let Some(fate) = entry.heard.fate_of(&intent)
        {
            entry.due = None;
            return Some(fate);
        }
        let since = entry.due.as_ref().map_or(now, |due| due.since);
        entry.due = Some(Due { intent, since });
        None
    }

    /// Goes on with what a predecessor sent of `issue`: what the sink has answered, what it may have received since,
    /// and the last that it has to hear.
    pub fn recall(
        &mut self,
        issue: &Arc<IssueKey>,
        heard: Heard,
        sent: Option<(&Arc<str>, &Body)>,
        due: Option<Intent>,
        now: Time,
    ) {
        let frozen = sent.map(|(key, body)| Record {
            issue: Arc::clone(issue),
            intent: body.intent,
            key: Arc::clone(key),
            body: Arc::clone(&body.text),
        });
        let due = due.filter(|due| frozen.as_ref().is_none_or(|frozen| frozen.intent != *due));
        let entry = Entry { heard, frozen, due: due.map(|intent| Due { intent, since: now }) };
        if !entry.is_done() {
            self.entries.insert(Arc::clone(issue), entry);
        }
    }

    /// `issue` is over for every sink: what this one refused of it is forgotten.
    pub fn on_over(&mut self, issue: &Arc<IssueKey>) {
        let Some(entry) = self.entries.get_mut(issue) else { return };
        entry.heard.refused = None;
        if entry.is_done() {
            self.entries.remove(issue);
        }
    }

    /// What to do now. `render` writes the key and the body of an intent, once.
    pub fn next(
        &mut self,
        now: Time,
        mut render: impl FnMut(&Arc<IssueKey>, &Intent) -> Option<(Arc<str>, Arc<str>)>,
    ) -> Next {
        if !self.in_flight.is_empty() {
            return Next::Idle;
        }
        if !self.entries.values().any(Entry::waits) {
            return Next::Idle;
        }
        // A clock that was set back does not make the pause longer.
        self.not_before = self.not_before.min(now + BACKOFF_MAX);
        if now < self.not_before {
            return Next::WaitUntil(self.not_before);
        }
        let mut records = self.again();
        let room = self.batch_max() - records.len();
        if room > 0 {
            let wanted = self.most_urgent(room);
            let allowed = self.bucket.as_mut().map_or(wanted.len(), |bucket| bucket.take(wanted.len(), now));
            for issue in wanted.into_iter().take(allowed) {
                records.extend(self.freeze(issue, &mut render));
            }
        }
        if records.is_empty() {
            return match &mut self.bucket {
                _ if !self.entries.values().any(Entry::waits) => Next::Idle,
                Some(bucket) => Next::WaitUntil(bucket.next_at(now)),
                None => Next::WaitUntil(now),
            };
        }
        self.in_flight = records.iter().map(|record| Arc::clone(&record.issue)).collect();
        Next::Send(records)
    }

    /// How the batch went; of each issue whose fate that decides, how far it does, and what became of it.
    pub fn on_outcome(&mut self, outcome: Outcome, now: Time) -> Vec<(Arc<IssueKey>, Intent, Fate)> {
        let batch = std::mem::take(&mut self.in_flight);
        match outcome {
            Outcome::Delivered => {
                self.succeed(Health::Working);
                self.bisect = None;
                batch.into_iter().filter_map(|issue| self.confirm(issue, Fate::Delivered)).collect()
            }
            Outcome::Refused => {
                self.succeed(Health::Working);
                if batch.len() > 1 {
                    self.bisect = Some(batch.len().div_ceil(2));
                    return Vec::new();
                }
                self.bisect = None;
                batch.into_iter().filter_map(|issue| self.confirm(issue, Fate::Quarantined)).collect()
            }
            Outcome::Unauthorized => {
                self.succeed(Health::Unauthorized);
                self.not_before = now + UNAUTHORIZED_PROBE;
                Vec::new()
            }
            Outcome::Throttled(asked) => {
                // A sink that asks for no pause at all gets ours.
                let pause = self.fail();
                self.not_before = now + asked.map_or(pause, |asked| asked.clamp(pause, BACKOFF_MAX));
                Vec::new()
            }
            Outcome::Failed => {
                let pause = self.fail();
                self.not_before = now + pause;
                Vec::new()
            }
        }
    }

    /// The token, the address or another credential has changed: it is worth trying again at once.
    pub fn on_credentials_changed(&mut self, now: Time) {
        if self.health != Health::Working {
            self.not_before = now;
        }
    }

    /// How the sink is doing.
    pub fn health(&self) -> Health {
        self.health
    }

    /// How many issues it has yet to hear of.
    pub fn len(&self) -> usize {
        self.entries.values().filter(|entry| entry.waits()).count()
    }

    /// Of how many issues anything is kept: what the sink has yet to hear, what it has heard of, and what it has refused.
    pub fn kept(&self) -> usize {
        self.entries.len()
    }

    /// Whether it has nothing to hear.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One at a time while the sink fails or does not know us, fewer while a culprit is sought.
    fn batch_max(&self) -> usize {
        match self.health {
            Health::Working => self.bisect.unwrap_or(self.settings.batch_max).max(1),
            Health::Failing(_) | Health::Unauthorized => 1,
        }
    }

    /// What has been sent before and is not answered for, in the order of its keys: the same batch comes again as the
    /// same batch.
    fn again(&self) -> Vec<Record> {
        let mut records: Vec<_> = self.entries.values().filter_map(|entry| entry.frozen.clone()).collect();
        records.sort_unstable_by(|one, other| one.key.cmp(&other.key));
        records.truncate(self.batch_max());
        records
    }

    /// The issues that go next: the most severe first, then those that wait longest.
    fn most_urgent(&self, count: usize) -> Vec<Arc<IssueKey>> {
        let mut waiting: Vec<_> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.frozen.is_none())
            .filter_map(|(issue, entry)| entry.due.as_ref().map(|due| (issue, due)))
            .collect();
        waiting.sort_unstable_by(|(issue, due), (other_issue, other)| {
            (other.intent.severity, due.since, issue).cmp(&(due.intent.severity, other.since, other_issue))
        });
        waiting.into_iter().take(count).map(|(issue, _)| Arc::clone(issue)).collect()
    }

    /// Turns what is due into a record; `None` (and nothing due any more) when the issue has nothing to say after all.
    fn freeze(
        &mut self,
        issue: Arc<IssueKey>,
        render: &mut impl FnMut(&Arc<IssueKey>, &Intent) -> Option<(Arc<str>, Arc<str>)>,
    ) -> Option<Record> {
        let entry = self.entries.get_mut(&issue)?;
        let Due { intent, .. } = entry.due.take()?;
        let (key, body) = render(&issue, &intent)?;
        let record = Record { issue, intent, key, body };
        entry.frozen = Some(record.clone());
        Some(record)
    }

    /// The sink has answered for what it was sent last of `issue`.
    fn confirm(&mut self, issue: Arc<IssueKey>, fate: Fate) -> Option<(Arc<IssueKey>, Intent, Fate)> {
        let entry = self.entries.get_mut(&issue)?;
        let record = entry.frozen.take()?;
        entry.heard.answer(record.intent, fate);
        let moot = entry.due.take_if(|due| entry.heard.fate_of(&due.intent).is_some());
        let intent = moot.map_or(record.intent, |due| due.intent);
        if entry.is_done() {
            self.entries.remove(&issue);
        }
        Some((issue, intent, fate))
    }

    /// Counts a failure; the pause after it.
    fn fail(&mut self) -> Duration {
        let pause = self.backoff.next(&mut self.random);
        self.health = Health::Failing(self.backoff.failures());
        pause
    }

    /// The sink has answered, whatever it said.
    fn succeed(&mut self, health: Health) {
        self.health = health;
        self.backoff.reset();
    }
}

impl Intent {
    /// Whether who has heard this need not hear `other`: the same episode, there or over as in this, and no worse.
    pub fn says_as_much_as(&self, other: &Self) -> bool {
        let is_no_worse = other.status == Status::Resolved || other.severity <= self.severity;
        (self.episode, self.status) == (other.episode, other.status) && is_no_worse
    }
}

impl Entry {
    fn waits(&self) -> bool {
        self.frozen.is_some() || self.due.is_some()
    }

    /// Whether there is nothing to say of it and nothing to remember.
    fn is_done(&self) -> bool {
        !self.waits() && !self.heard.knows_of_it() && self.heard.refused.is_none()
    }
}

#[cfg(test)]
mod tests;
