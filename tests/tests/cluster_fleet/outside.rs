//! The world outside: a receiver, and all that it was told held against all that had to be.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, ensure};
use rules::Time;
use serde_json::Value;
use tocsin_tests::receiver::{Received, Receiver};
use tocsin_tests::record::{follow_each_other, sentence_of};
use tokio::runtime::Runtime;

use super::LIMIT;

/// How far the times of a record may be off: the API's have no fractions of a second.
const SLACK: std::time::Duration = std::time::Duration::from_secs(2);

pub(crate) struct Outside {
    receiver: Receiver,
    pub(crate) runtime: Runtime,
    folder: PathBuf,
    expected: Vec<String>,
}

impl Outside {
    /// Its threads are in the network that the calling thread is in; its files are in `folder`.
    pub(crate) fn start(folder: &Path) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let receiver = runtime.block_on(Receiver::start())?;
        fs::write(folder.join("outside-ca.pem"), receiver.ca_pem())?;
        Ok(Self { receiver, runtime, folder: folder.to_owned(), expected: Vec::new() })
    }

    pub(crate) fn url(&self) -> String {
        self.receiver.url()
    }

    pub(crate) fn ca_file(&self) -> PathBuf {
        self.folder.join("outside-ca.pem")
    }

    /// Waits until this was told after all that was expected before; and nothing else, and nothing twice. Gives the news' records.
    pub(crate) fn hears<const N: usize>(&mut self, news: &[&str; N]) -> Result<[Value; N]> {
        self.expected.extend(news.iter().map(ToString::to_string));
        let (expected, mut told) = (&self.expected, Ok(Vec::new()));
        // What was not expected ends the wait as well.
        let all = |received: &[Received]| {
            told = records(received);
            let Ok(told) = &told else { return true };
            told.len() >= expected.len()
                || told.iter().zip(expected).any(|(record, expected)| sentence_of(record) != *expected)
        };
        let waited = self.runtime.block_on(self.receiver.until("all that had to be told", LIMIT, all));
        let told = told?;
        let sentences: Vec<_> = told.iter().map(sentence_of).collect();
        ensure!(sentences == *expected, "expected {expected:#?}, was told {sentences:#?}");
        waited?;
        ensure!(self.receiver.unfrozen().is_empty(), "not the same under one key: {:?}", self.receiver.unfrozen());
        let news = told[told.len() - N..].to_vec();
        news.try_into().map_err(|_| anyhow!("as many were told as had to be"))
    }

    /// Everything that was told, for errors.
    pub(crate) fn dump(&self) -> String {
        let told = records(&self.receiver.received()).unwrap_or_default();
        let lines: Vec<_> = told.iter().map(|record| format!("{}: {}", sentence_of(record), record["text"])).collect();
        format!("told:\n{}", lines.join("\n"))
    }
}

/// What was accepted, each key once, in the order of its coming.
fn records(received: &[Received]) -> Result<Vec<Value>> {
    let accepted = received.iter().filter(|request| request.accepted());
    let keyed: Vec<_> = accepted
        .flat_map(|request| request.keyed().into_iter().map(move |(key, record)| (request.at, key, record)))
        .collect();
    let arrived = keyed.iter().map(|(at, _, record)| (Time::from_millis(at.as_millisecond()), *record));
    follow_each_other(arrived, SLACK).map_err(|why| anyhow!("{why}"))?;
    let mut first = BTreeMap::new();
    for (_, key, _) in &keyed {
        let place = first.len();
        first.entry(*key).or_insert(place);
    }
    let mut seen = 0;
    let news = keyed.into_iter().filter(|(_, key, _)| {
        let is_new = first[key] == seen;
        seen += usize::from(is_new);
        is_new
    });
    Ok(news.map(|(_, _, record)| record.clone()).collect())
}
