//! How the told-log is written: a line of JSON that says what it is, then one for each entry. A line that cannot be read
//! loses that entry and no other.

use ring::digest::{SHA256, digest};
use rules::Time;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Entry, SHARDS};
use crate::dedupe::IssueKey;
use crate::dedupe::issue::Example;

/// What a predecessor kept.
#[derive(Debug, Default, PartialEq)]
pub struct Kept {
    /// The entries that only the journal has, or has newer.
    pub journal: Vec<Entry>,
    /// The entries of the snapshot.
    pub folded: Vec<Entry>,
    /// Findings that were accepted and not settled, and whose agent is gone.
    pub orphans: Vec<Example>,
    /// Found edges up to then are old; `None` when nothing was kept.
    pub low_water: Option<Time>,
    /// Lines that could not be read.
    pub unreadable: usize,
}

/// Why a text is not read.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum Unreadable {
    /// Its first line is not one of ours.
    #[error("the first line does not say what it is: {0}")]
    Header(String),
    /// A newer version wrote it.
    #[error("it has form {0}, and this version reads form {FORM} only")]
    Form(u32),
    /// It was copied here from another cluster.
    #[error("it is of another cluster, {0}")]
    Cluster(String),
}

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Header {
    pub(super) form: u32,
    /// Identity of the cluster: what was told of another says nothing here.
    pub(super) cluster: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) low_water: Option<Time>,
}

/// Every other line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Line<E = Entry, O = Example> {
    Issue(E),
    Orphan(O),
}

/// The form that this version writes, and the only one that it reads. What is added later has a default and needs no
/// other form.
pub(super) const FORM: u32 = 1;

/// `lines` below `header`, as many as have room in `bytes_max`; and how many had none.
pub(super) fn text<'a>(
    header: &Header,
    lines: impl Iterator<Item = Line<&'a Entry, &'a Example>>,
    bytes_max: usize,
) -> (String, usize) {
    let mut text = line(header);
    let mut left_out = 0;
    for entry in lines {
        let line = line(&entry);
        if text.len() + line.len() <= bytes_max {
            text.push_str(&line);
        } else {
            left_out += 1;
        }
    }
    (text, left_out)
}

/// Which shard of the snapshot has an issue. Part of the form: a successor of another version finds it there.
pub(super) fn shard_of(issue: &IssueKey) -> usize {
    usize::from(digest(&SHA256, line(issue).as_bytes()).as_ref()[0]) % SHARDS
}

impl Kept {
    /// What the objects of the cluster of that identity have, those that are there; a text that cannot be read at all
    /// counts as not there, and says why.
    pub fn read(cluster: &str, journal: Option<&str>, snapshots: &[Option<&str>]) -> (Self, Vec<Unreadable>) {
        let mut kept = Self::default();
        let mut problems = Vec::new();
        for snapshot in snapshots.iter().flatten() {
            match kept.read_text(cluster, snapshot) {
                Ok((_, entries)) => kept.folded.extend(entries),
                Err(problem) => problems.push(problem),
            }
        }
        match journal.map(|journal| kept.read_text(cluster, journal)) {
            Some(Ok((header, entries))) => {
                kept.low_water = header.low_water;
                kept.journal = entries;
            }
            Some(Err(problem)) => problems.push(problem),
            None => {}
        }
        (kept, problems)
    }

    fn read_text(&mut self, cluster: &str, text: &str) -> Result<(Header, Vec<Entry>), Unreadable> {
        let mut lines = text.lines();
        let header: Header = serde_json::from_str(lines.next().unwrap_or_default())
            .map_err(|error| Unreadable::Header(error.to_string()))?;
        if header.form != FORM {
            return Err(Unreadable::Form(header.form));
        }
        if header.cluster != cluster {
            return Err(Unreadable::Cluster(header.cluster));
        }
        let mut entries = Vec::new();
        for line in lines {
            match serde_json::from_str(line) {
                Ok(Line::Issue(entry)) => entries.push(entry),
                Ok(Line::Orphan(orphan)) => self.orphans.push(orphan),
                Err(_) => self.unreadable += 1,
            }
        }
        Ok((header, entries))
    }
}

fn line(what: &impl Serialize) -> String {
    let mut line = serde_json::to_string(what).expect("plain strings and numbers have a JSON form");
    line.push('\n');
    line
}
