//! The world outside: what was told, held against what had to be.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use jiff::Timestamp;
use rules::Time;
use serde_json::Value;
use tocsin_tests::receiver::{Received, Receiver};
use tocsin_tests::record::{Expected, follow_each_other, sentence_of};
use tokio::runtime::Runtime;

/// The token that the receiver wants.
const TOKEN: &str = "outside.secret";
/// How far the times of a record may be off: the API's have no fractions of a second, and the API server's clock is known
/// from such times.
const SLACK: Duration = Duration::from_secs(2);

/// A receiver in the cluster's network, and what it was told so far that had to be.
pub(crate) struct Outside {
    runtime: Runtime,
    receiver: Receiver,
    folder: PathBuf,
    story: Mutex<Story>,
}

/// What had to be told so far, in steps.
struct Story {
    /// Each with the beginning of its step.
    expected: Vec<(Time, Expected)>,
    /// When the last step was over.
    begun: Time,
}

impl Outside {
    /// Its threads are in the network that the calling thread is in; its files are in `folder`.
    pub(crate) fn start(folder: &Path) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let receiver = runtime.block_on(Receiver::start())?;
        receiver.require_token(TOKEN);
        let story = Mutex::new(Story { expected: Vec::new(), begun: now() });
        let outside = Self { runtime, receiver, folder: folder.to_owned(), story };
        fs::write(outside.token_file(), TOKEN)?;
        fs::write(outside.ca_file(), outside.receiver.ca_pem())?;
        Ok(outside)
    }

    pub(crate) fn url(&self) -> String {
        self.receiver.url()
    }

    pub(crate) fn ca_file(&self) -> PathBuf {
        self.folder.join("outside-ca.pem")
    }

    pub(crate) fn token_file(&self) -> PathBuf {
        self.folder.join("outside-token")
    }

    /// Waits until each of these was told, about what began or ended after the last call of this. Anything else that is
    /// told, or told otherwise, or twice, is an error at once.
    pub(crate) fn hears(&self, expected: Vec<Expected>, limit: Duration) -> Result<()> {
        let mut story = self.story();
        let (begun, sentences) = (story.begun, expected.iter().map(Expected::sentence).collect::<Vec<_>>());
        story.expected.extend(expected.into_iter().map(|expected| (begun, expected)));
        let mut judged = Ok(Vec::new());
        let heard = self.receiver.until("all that had to be told", limit, |received| {
            judged = judge(received, &story.expected);
            judged.as_ref().map_or(true, |told| sentences.iter().all(|sentence| told.contains(sentence)))
        });
        let heard = self.runtime.block_on(heard);
        let told = judged?;
        if let Err(error) = heard {
            let missing: Vec<_> = sentences.iter().filter(|sentence| !told.contains(sentence)).cloned().collect();
            return Err(error.context(format!("not told: {}", missing.join(", "))));
        }
        story.begun = now();
        Ok(())
    }

    /// All that was expected, and nothing else, has come, each under one key with one body.
    pub(crate) fn is_complete(&self) -> Result<()> {
        self.hears(Vec::new(), Duration::ZERO)?;
        ensure!(self.receiver.unfrozen().is_empty(), "more than one body under {:?}", self.receiver.unfrozen());
        Ok(())
    }

    /// Everything that was received, for errors.
    pub(crate) fn dump(&self) -> String {
        let received = self.receiver.received();
        let records = received.iter().flat_map(|request| request.records().iter().map(move |it| (request, it)));
        let line = |(request, record): (&Received, &Value)| {
            format!("{} {:?} {}: {}", request.at, request.status, sentence_of(record), record["text"])
        };
        let lines: Vec<_> = records.map(line).collect();
        format!("{} requests; told:\n{}", received.len(), lines.join("\n"))
    }

    fn story(&self) -> MutexGuard<'_, Story> {
        self.story.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was told, as sentences, in the order of its coming; an error for what was not expected, or not like this.
fn judge(received: &[Received], expected: &[(Time, Expected)]) -> Result<Vec<String>> {
    let accepted = received.iter().filter(|request| request.accepted());
    let arrived: Vec<_> = accepted
        .flat_map(|request| request.keyed().into_iter().map(|(_, record)| (time(request.at), record)))
        .collect();
    follow_each_other(arrived.iter().copied(), SLACK).map_err(|why| anyhow!("{why}"))?;
    let mut told: Vec<(String, &Value)> = Vec::new();
    for (_, record) in arrived {
        let sentence = sentence_of(record);
        let meant = expected.iter().find(|(_, expected)| expected.sentence() == sentence);
        let Some((begun, expected)) = meant else { anyhow::bail!("not expected: {sentence}\n{record:#}") };
        let differences = expected.differences(record);
        ensure!(differences.is_empty(), "{sentence} is told otherwise:\n{}", differences.join("\n"));
        let field = if record["endedAt"].is_null() { "since" } else { "endedAt" };
        let happened = record[field].as_str().and_then(Time::parse);
        ensure!(happened >= Some(*begun - SLACK), "{sentence}: {field} is before {begun}, when it was not so");
        // The same key is the same message once more, which at-least-once allows.
        if told.iter().all(|(_, other)| other["key"] != record["key"]) {
            ensure!(told.iter().all(|(other, _)| *other != sentence), "told twice: {sentence}\n{record:#}");
            told.push((sentence, record));
        }
    }
    Ok(told.into_iter().map(|(sentence, _)| sentence).collect())
}

#[allow(clippy::disallowed_methods, reason = "a test is a client with a clock of its own")]
fn now() -> Time {
    time(Timestamp::now())
}

fn time(at: Timestamp) -> Time {
    Time::from_millis(at.as_millisecond())
}
