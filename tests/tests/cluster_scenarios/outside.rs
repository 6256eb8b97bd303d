//! The world outside: what was told, held against what had to be.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use tocsin_tests::receiver::{Received, Receiver};
use tokio::runtime::Runtime;

/// The token that the receiver wants.
const TOKEN: &str = "outside.secret";

/// What one message says, as far as it is expected to the letter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Told {
    kind: String,
    namespace: String,
    owner: String,
    status: Status,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Status {
    Firing,
    Resolved,
}

/// A receiver in the cluster's network, and what it was told so far that had to be.
pub(crate) struct Outside {
    runtime: Runtime,
    receiver: Receiver,
    folder: tempfile::TempDir,
    expected: Mutex<BTreeSet<Told>>,
}

impl Told {
    pub(crate) fn new(kind: &str, namespace: &str, owner_kind: &str, owner: &str, status: Status) -> Self {
        let owner = format!("{owner_kind}/{owner}");
        Self { kind: kind.to_owned(), namespace: namespace.to_owned(), owner, status }
    }

    fn of(record: &Value) -> Result<Self> {
        let text = |value: &Value| value.as_str().with_context(|| format!("no record: {record:#}")).map(str::to_owned);
        let status = match record["status"].as_str() {
            Some("firing") => Status::Firing,
            Some("resolved") => Status::Resolved,
            _ => bail!("no status: {record:#}"),
        };
        let owner = format!("{}/{}", text(&record["owner"]["kind"])?, text(&record["owner"]["name"])?);
        Ok(Self { kind: text(&record["kind"])?, namespace: text(&record["namespace"])?, owner, status })
    }
}

impl fmt::Display for Told {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, namespace, owner, status } = self;
        write!(out, "{status:?} {kind} {namespace} {owner}")
    }
}

impl Outside {
    /// Its threads are in the network that the calling thread is in.
    pub(crate) fn start() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let receiver = runtime.block_on(Receiver::start())?;
        receiver.require_token(TOKEN);
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("token"), TOKEN)?;
        std::fs::write(folder.path().join("ca.pem"), receiver.ca_pem())?;
        Ok(Self { runtime, receiver, folder, expected: Mutex::default() })
    }

    pub(crate) fn url(&self) -> String {
        self.receiver.url()
    }

    pub(crate) fn ca_file(&self) -> PathBuf {
        self.file("ca.pem")
    }

    pub(crate) fn token_file(&self) -> PathBuf {
        self.file("token")
    }

    /// Waits until each of these was told, and returns their records in this order. Anything else that is told, or told
    /// twice, is an error at once.
    pub(crate) fn hears(&self, told: &[Told], limit: Duration) -> Result<Vec<Value>> {
        let expected = {
            let mut expected = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
            expected.extend(told.iter().cloned());
            expected.clone()
        };
        let mut judged = Ok(Vec::new());
        let heard = self.receiver.until("all that had to be told", limit, |received| {
            judged = judge(received, &expected);
            judged.as_ref().map_or(true, |records| told.iter().all(|told| records.iter().any(|(it, _)| it == told)))
        });
        let heard = self.runtime.block_on(heard);
        let records = judged?;
        if let Err(error) = heard {
            let missing = told.iter().filter(|told| records.iter().all(|(it, _)| it != *told));
            let missing: Vec<_> = missing.map(ToString::to_string).collect();
            return Err(error.context(format!("not told: {}", missing.join(", "))));
        }
        let record = |told: &Told| records.iter().find(|(it, _)| it == told).map(|(_, record)| record.clone());
        Ok(told.iter().filter_map(record).collect())
    }

    /// All that was expected, and nothing else, has come, each under one key with one body.
    pub(crate) fn is_complete(&self) -> Result<()> {
        let records = self.hears(&[], Duration::ZERO)?;
        ensure!(records.is_empty(), "nothing was asked for");
        ensure!(self.receiver.unfrozen().is_empty(), "more than one body under {:?}", self.receiver.unfrozen());
        Ok(())
    }

    /// Everything that was received, for errors.
    pub(crate) fn dump(&self) -> String {
        let received = self.receiver.received();
        let records = received.iter().flat_map(|request| request.records().iter().map(move |it| (request, it)));
        let line = |(request, record): (&Received, &Value)| {
            let told = Told::of(record).map_or_else(|error| error.to_string(), |told| told.to_string());
            format!("{} {:?} {told}: {}", request.at, request.status, record["text"])
        };
        let lines: Vec<_> = records.map(line).collect();
        format!("{} requests; told:\n{}", received.len(), lines.join("\n"))
    }

    fn file(&self, name: &str) -> PathBuf {
        Path::new(self.folder.path()).join(name)
    }
}

/// What was told, in the order of its coming; an error for what was not expected.
fn judge(received: &[Received], expected: &BTreeSet<Told>) -> Result<Vec<(Told, Value)>> {
    let mut records: Vec<(Told, Value)> = Vec::new();
    let mut keys = BTreeSet::new();
    for request in received.iter().filter(|request| request.accepted()) {
        for (key, record) in request.keyed() {
            let told = Told::of(record)?;
            ensure!(expected.contains(&told), "not expected: {told}\n{record:#}");
            // The same key is the same message once more, which at-least-once allows.
            if !keys.insert(key.to_owned()) {
                continue;
            }
            ensure!(records.iter().all(|(it, _)| *it != told), "told twice: {told}\n{record:#}");
            records.push((told, record.clone()));
        }
    }
    Ok(records)
}
