//! What a record must say, held against what it says. The contract is `aggregator/openapi.yaml`.
//!
//! An [`Expected`] is all of one record but for its names, which nobody can know before; [`follow_each_other`] is what the
//! names and times of records have to do with each other.

use std::collections::BTreeMap;
use std::time::Duration;

use rules::{Owner, Time};
use serde_json::{Value, json};

/// A record as it must be. What it has beside that is a difference, too.
///
/// In `text`, the record's own facts stand for `{since}`, `{lasted}`, `{reason}`, `{message}` and `{restarts}` (", 2
/// restarts", or nothing).
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// Its number in its episode.
    pub revision: u32,
    /// `firing` or `resolved`.
    pub status: &'static str,
    /// The catalogue's name.
    pub kind: &'static str,
    /// `critical`, `warning` or `info`.
    pub severity: &'static str,
    /// The cluster's name and id.
    pub cluster: [String; 2],
    /// Empty for a node.
    pub namespace: String,
    /// What it is grouped under.
    pub owner: Owner,
    /// Empty when it is about whole pods or nodes.
    pub container: &'static str,
    /// The nodes, in the order of their names.
    pub nodes: Vec<String>,
    /// All pods, in the order of their names.
    pub pods: Vec<String>,
    /// All pods that it explains, in the order of their names.
    pub swallowed: Vec<String>,
    /// Without the cluster's name.
    pub title: String,
    /// Who suffers since when from what.
    pub text: String,
    /// The evidence that there is; what is not here must be null, or no names. `*` in a text stands for anything, and a
    /// text of `*` alone for any number.
    pub evidence: Value,
    /// When it began, where that is known.
    pub since: Option<Time>,
    /// When it ended, where that is known.
    pub ended: Option<Time>,
    /// The command to look closer.
    pub look: String,
    /// How to hear no more of it.
    pub quiet: String,
}

/// The most pods that a record names.
const SAMPLE_MAX: usize = 5;
/// How many hexadecimal digits the name of an issue has, and that of an episode.
const ISSUE_DIGITS: usize = 32;
const EPISODE_DIGITS: usize = 16;

impl Expected {
    /// "firing CrashLoopBackOff shop/Deployment/api".
    pub fn sentence(&self) -> String {
        let Self { status, kind, namespace, owner, .. } = self;
        sentence(status, kind, namespace, &owner.kind, &owner.name)
    }

    /// Where a record says something else, a line each; empty when it says just that.
    pub fn differences(&self, record: &Value) -> Vec<String> {
        let mut found = Vec::new();
        differ("", &self.whole(record), record, &mut found);
        found
    }

    /// The record that is wanted, with the names and times of the one that is there.
    fn whole(&self, record: &Value) -> Value {
        let [name, id] = &self.cluster;
        let text = |field: &str| record[field].as_str().unwrap_or_default();
        json!({
            "key": format!("{}.{}.{}", text("issue"), text("episode"), self.revision),
            "issue": record["issue"],
            "episode": record["episode"],
            "revision": self.revision,
            "status": self.status,
            "kind": self.kind,
            "severity": self.severity,
            "cluster": {"name": name, "id": id},
            "labels": {},
            "namespace": self.namespace,
            "owner": self.owner,
            "container": self.container,
            "nodes": self.nodes,
            "pods": pods(&self.pods),
            "since": self.since.map_or_else(|| record["since"].clone(), |at| json!(at)),
            "endedAt": self.ended.map_or_else(|| record["endedAt"].clone(), |at| json!(at)),
            "title": format!("{name} · {}", self.title),
            "text": filled(&self.text, record),
            "evidence": evidence(&self.evidence),
            "swallowed": pods(&self.swallowed),
            "look": self.look,
            "quiet": self.quiet,
            "runbookUrl": null,
        })
    }
}

/// What a record says, in short: as [`Expected::sentence`].
pub fn sentence_of(record: &Value) -> String {
    let text = |pointer: &str| record.pointer(pointer).and_then(Value::as_str).unwrap_or("?");
    sentence(text("/status"), text("/kind"), text("/namespace"), text("/owner/kind"), text("/owner/name"))
}

/// Fails unless the names and times of records, in the order of their arrival, fit: each key is made of its issue, episode
/// and revision and has one body; an issue is what it says of what; in an episode revisions rise; what begins fires, and
/// only what fired resolves (or both at once, told late); times are in their order, give or take `slack`.
pub fn follow_each_other<'a>(
    records: impl IntoIterator<Item = (Time, &'a Value)>,
    slack: Duration,
) -> Result<(), String> {
    let mut bodies: BTreeMap<String, &Value> = BTreeMap::new();
    let mut subjects: BTreeMap<String, String> = BTreeMap::new();
    let mut last: BTreeMap<String, Named> = BTreeMap::new();
    for (arrived, record) in records {
        let named = Named::of(record, arrived + slack).map_err(|why| format!("{why}: {record:#}"))?;
        let body = *bodies.entry(named.key.clone()).or_insert(record);
        if body != record {
            let mut differences = Vec::new();
            differ("", body, record, &mut differences);
            return Err(format!("two bodies under one key, {}:\n{}", named.key, differences.join("\n")));
        }
        let subject = subjects.entry(named.issue.clone()).or_insert_with(|| named.subject.clone());
        if *subject != named.subject {
            return Err(format!("one issue about {subject} and {}", named.subject));
        }
        match last.get(&named.issue) {
            // The same once more, which at-least-once allows.
            Some(before) if before.key == named.key => continue,
            before => named.follows(before).map_err(|why| {
                let before = before.map_or("nothing", |before| &before.key);
                format!("{why}: {} comes after {before}\n{record:#}", sentence_of(record))
            })?,
        }
        last.insert(named.issue.clone(), named);
    }
    let mut issues: BTreeMap<&str, &str> = BTreeMap::new();
    for (issue, subject) in &subjects {
        if let Some(other) = issues.insert(subject, issue) {
            return Err(format!("two issues about {subject}: {other} and {issue}"));
        }
    }
    Ok(())
}

/// What names and dates a record.
#[derive(Debug)]
struct Named {
    key: String,
    issue: String,
    episode: String,
    revision: u64,
    is_firing: bool,
    since: Time,
    /// What the issue is about.
    subject: String,
}

impl Named {
    fn of(record: &Value, latest: Time) -> Result<Self, String> {
        let text = |pointer: &str| record.pointer(pointer).and_then(Value::as_str).ok_or(format!("no {pointer}"));
        let time = |pointer: &str| text(pointer).and_then(|at| Time::parse(at).ok_or(format!("no time: {pointer}")));
        let (issue, episode, key) =
            (text("/issue")?.to_owned(), text("/episode")?.to_owned(), text("/key")?.to_owned());
        let revision = record["revision"].as_u64().filter(|&revision| revision > 0).ok_or("no revision")?;
        if !is_hex(&issue, ISSUE_DIGITS) || !is_hex(&episode, EPISODE_DIGITS) {
            return Err("no name of an issue or episode".to_owned());
        }
        if key != format!("{issue}.{episode}.{revision}") {
            return Err("a key of other parts than its record's".to_owned());
        }
        let since = time("/since")?;
        let is_firing = match (text("/status")?, record["endedAt"].is_null()) {
            ("firing", true) => true,
            ("resolved", false) => false,
            _ => return Err("neither firing without an end nor resolved with one".to_owned()),
        };
        let until = if is_firing { latest } else { time("/endedAt")? };
        if since > until || until > latest {
            return Err(format!("its times are not in order, or after {latest}"));
        }
        let place = ["/kind", "/cluster/id", "/namespace", "/owner/kind", "/owner/name", "/container"];
        let subject = place.into_iter().map(text).collect::<Result<Vec<_>, _>>()?.join(" ");
        Ok(Self { key, issue, episode, revision, is_firing, since, subject })
    }

    /// Whether it may come after `before`, the last one told of the issue.
    fn follows(&self, before: Option<&Self>) -> Result<(), &'static str> {
        let Some(before) = before else {
            let is_beginning = self.is_firing == (self.revision == 1);
            return is_beginning.then_some(()).ok_or("the first of an issue is 1 and fires, or is more and resolves");
        };
        if before.is_firing == self.is_firing {
            return Err("the same status again");
        }
        match before.episode == self.episode {
            true if self.revision <= before.revision => Err("revisions of an episode rise"),
            true if self.since != before.since => Err("an episode has one beginning"),
            false if before.is_firing => Err("another episode while one fires"),
            false if self.revision != 1 => Err("an episode begins with revision 1"),
            _ => Ok(()),
        }
    }
}

fn sentence(status: &str, kind: &str, namespace: &str, owner_kind: &str, owner: &str) -> String {
    let space = if namespace.is_empty() { "" } else { "/" };
    format!("{status} {kind} {namespace}{space}{owner_kind}/{owner}")
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn pods(names: &[String]) -> Value {
    json!({"total": names.len(), "sample": names.iter().take(SAMPLE_MAX).collect::<Vec<_>>()})
}

/// Evidence in full, from the part that is there.
fn evidence(there: &Value) -> Value {
    let mut whole = json!({
        "reason": null, "message": null, "image": null, "restarts": null, "exitCode": null, "signal": null,
        "memoryLimit": null, "names": [],
    });
    for (field, value) in there.as_object().into_iter().flatten() {
        whole[field] = value.clone();
    }
    whole
}

/// A text with the record's own facts in it.
fn filled(text: &str, record: &Value) -> String {
    let field = |pointer: &str| record.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let time = |pointer: &str| Time::parse(field(pointer)).unwrap_or_default();
    let since = field("/since").split('.').next().unwrap_or_default();
    let restarts = match record["evidence"]["restarts"].as_u64() {
        None | Some(0) => String::new(),
        Some(1) => ", 1 restart".to_owned(),
        Some(many) => format!(", {many} restarts"),
    };
    let lasted = match time("/endedAt").since(time("/since")).as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds => format!("{} min", seconds / 60),
    };
    text.replace("{since}", &format!("{since}Z"))
        .replace("{lasted}", &lasted)
        .replace("{restarts}", &restarts)
        .replace("{reason}", field("/evidence/reason"))
        .replace("{message}", field("/evidence/message"))
}

/// Lines for where two values differ, each with its place.
fn differ(place: &str, expected: &Value, told: &Value, found: &mut Vec<String>) {
    match (expected, told) {
        (Value::Object(wanted), Value::Object(there)) => {
            for (field, expected) in wanted {
                differ(&format!("{place}/{field}"), expected, &told[field], found);
            }
            let other = there.iter().filter(|(field, _)| !wanted.contains_key(*field));
            found.extend(other.map(|(field, value)| format!("{place}/{field}: expected nothing, told {value}")));
        }
        (Value::String(pattern), Value::String(text)) if matches(pattern, text) => {}
        (Value::String(any), Value::Number(_)) if any == "*" => {}
        (expected, told) if expected == told => {}
        _ => found.push(format!("{place}: expected {expected}\n  told {told}")),
    }
}

/// Whether a text is as a pattern, in which `*` stands for anything.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, after)) => text.strip_prefix(before).is_some_and(|rest| {
            let mut ends = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
            ends.any(|at| matches(after, &rest[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARRIVED: Time = Time::from_millis(1_777_601_700_000); // 2026-05-01T02:15:00Z

    fn expected() -> Expected {
        Expected {
            revision: 2,
            status: "resolved",
            kind: "CrashLoopBackOff",
            severity: "critical",
            cluster: ["here".to_owned(), "uid".to_owned()],
            namespace: "shop".to_owned(),
            owner: Owner { kind: "Deployment".into(), name: "api".into() },
            container: "app",
            nodes: vec!["n1".to_owned()],
            pods: (1..=6).map(|number| format!("api-{number}")).collect(),
            title: "shop/Deployment api runs again".to_owned(),
            text: "6 pods from {since}, for {lasted}. Container `app` exited 3{restarts}. It was: {reason}: {message}"
                .to_owned(),
            evidence: json!({"exitCode": 3, "reason": "*Error", "restarts": "*", "message": "no * for *"}),
            ..Expected::default()
        }
    }

    fn told() -> Value {
        json!({
            "key": "0123456789abcdef0123456789abcdef.0123456789abcdef.2",
            "issue": "0123456789abcdef0123456789abcdef",
            "episode": "0123456789abcdef",
            "revision": 2,
            "status": "resolved",
            "kind": "CrashLoopBackOff",
            "severity": "critical",
            "cluster": {"name": "here", "id": "uid"},
            "labels": {},
            "namespace": "shop",
            "owner": {"kind": "Deployment", "name": "api"},
            "container": "app",
            "nodes": ["n1"],
            "pods": {"total": 6, "sample": ["api-1", "api-2", "api-3", "api-4", "api-5"]},
            "since": "2026-05-01T02:14:05.678Z",
            "endedAt": "2026-05-01T02:14:45.000Z",
            "title": "here · shop/Deployment api runs again",
            "text": "6 pods from 2026-05-01T02:14:05Z, for 39 s. Container `app` exited 3, 2 restarts. It was: Error: no \
                     room for it",
            "evidence": {
                "reason": "Error", "message": "no room for it", "image": null, "restarts": 2, "exitCode": 3,
                "signal": null, "memoryLimit": null, "names": [],
            },
            "swallowed": {"total": 0, "sample": []},
            "look": "",
            "quiet": "",
            "runbookUrl": null,
        })
    }

    /// A record with some fields replaced, by their pointers.
    fn other(record: &Value, changes: &[(&str, Value)]) -> Value {
        let mut record = record.clone();
        for (pointer, value) in changes {
            *record.pointer_mut(pointer).expect("records have it") = value.clone();
        }
        record
    }

    #[test]
    fn what_says_just_that_does_not_differ() {
        assert_eq!(expected().differences(&told()), Vec::<String>::new());
        assert_eq!(sentence_of(&told()), expected().sentence());
    }

    #[test]
    fn every_other_value_is_a_difference_with_its_place() {
        for (pointer, value) in [
            ("/revision", json!(3)),
            ("/key", json!("other")),
            ("/severity", json!("warning")),
            ("/owner/kind", json!("ReplicaSet")),
            ("/nodes", json!([])),
            ("/pods/sample", json!(["api-1"])),
            ("/swallowed/total", json!(1)),
            ("/evidence/image", json!("api:1")),
            ("/evidence/restarts", json!(null)),
            ("/evidence/message", json!("some room for it")),
        ] {
            let differences = expected().differences(&other(&told(), &[(pointer, value)]));
            assert!(differences.iter().any(|line| line.starts_with(pointer)), "{pointer}: {differences:#?}");
        }
        let mut more = told();
        more["more"] = json!(1);
        assert_eq!(expected().differences(&more), ["/more: expected nothing, told 1"]);
    }

    #[test]
    fn facts_in_a_text_are_those_of_its_record() {
        let longer = other(&told(), &[("/endedAt", json!("2026-05-01T02:20:05.000Z"))]);
        let differences = expected().differences(&longer);
        assert!(differences.len() == 1 && differences[0].contains("for 5 min."), "{differences:#?}");
    }

    #[track_caller]
    fn fails(records: &[Value], says: &str) {
        let error = follow_each_other(records.iter().map(|it| (ARRIVED, it)), Duration::ZERO).expect_err(says);
        assert!(error.contains(says), "{error}");
    }

    #[test]
    fn names_and_times_must_fit() {
        let ended = told();
        let key =
            |episode: &str, revision: u64| json!(format!("0123456789abcdef0123456789abcdef.{episode}.{revision}"));
        let firing = |episode: &str, revision: u64| {
            let fields = [
                ("/key", key(episode, revision)),
                ("/episode", json!(episode)),
                ("/revision", json!(revision)),
                ("/status", json!("firing")),
                ("/endedAt", json!(null)),
            ];
            other(&ended, &fields)
        };
        let (first, again) = ("0123456789abcdef", "fedcba9876543210");
        let begun = firing(first, 1);
        let story = [begun.clone(), begun.clone(), ended.clone(), firing(again, 1)];
        assert_eq!(follow_each_other(story.iter().map(|it| (ARRIVED, it)), Duration::ZERO), Ok(()));

        fails(&[firing(first, 2)], "the first of an issue");
        fails(&[other(&ended, &[("/revision", json!(1)), ("/key", key(first, 1))])], "the first of an issue");
        fails(&[begun.clone(), firing(first, 2)], "the same status again");
        fails(&[ended.clone(), firing(first, 1)], "revisions of an episode rise");
        fails(&[ended.clone(), firing(again, 2)], "begins with revision 1");
        let elsewhere = [("/key", key(again, 2)), ("/episode", json!(again))];
        fails(&[begun.clone(), other(&ended, &elsewhere)], "another episode while one fires");
        fails(&[begun.clone(), other(&ended, &[("/since", json!("2026-05-01T02:14:06Z"))])], "has one beginning");
        fails(&[begun.clone(), other(&begun, &[("/title", json!("another"))])], "two bodies under one key");
        fails(&[begun.clone(), other(&ended, &[("/container", json!("web"))])], "one issue about");
        let issue = "f123456789abcdef0123456789abcdef";
        let copy = [("/issue", json!(issue)), ("/key", json!(format!("{issue}.{first}.1")))];
        fails(&[begun.clone(), other(&begun, &copy)], "two issues about");
        fails(&[other(&begun, &[("/endedAt", json!("2026-05-01T02:14:45Z"))])], "neither firing without an end");
        fails(&[other(&ended, &[("/endedAt", json!("2026-05-01T02:14:04Z"))])], "not in order");
        fails(&[other(&begun, &[("/since", json!("2026-05-01T02:15:01Z"))])], "not in order");
        fails(&[other(&begun, &[("/key", json!("k"))])], "of other parts");
        fails(&[other(&begun, &[("/issue", json!("k"))])], "no name of an issue");
    }
}
