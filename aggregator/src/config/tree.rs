//! The file as a tree of sections that is read key by key. What is wrong is collected with its path, so that one run of
//! `--check` names everything; what nobody asked for is an unknown key.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

/// Everything that is wrong with a file, one problem a line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems(RefCell<Vec<Problem>>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Problem {
    path: String,
    problem: String,
}

/// One section of the file: the keys under a path.
#[derive(Debug)]
pub(super) struct Section<'p> {
    path: String,
    values: BTreeMap<String, Value>,
    asked_for: Vec<String>,
    problems: &'p Problems,
}

/// The most problems that are listed: whoever has more begins with these.
const PROBLEMS_MAX: usize = 50;
/// How far a known key may be from what was written to be meant by it (Jaro-Winkler, 1 is the same).
const NEAR: f64 = 0.7;
/// A wrong value is quoted up to this length.
const QUOTED_CHARS_MAX: usize = 40;

impl Problems {
    /// Notes that something is wrong with what is at `path`.
    pub(super) fn add(&self, path: &str, problem: impl fmt::Display) {
        let mut problems = self.0.borrow_mut();
        if problems.len() < PROBLEMS_MAX {
            problems.push(Problem { path: path.to_owned(), problem: problem.to_string() });
        }
    }

    /// Notes that what must be at `path` is not; unless it is there and wrong, which has been noted.
    pub(super) fn add_missing(&self, path: &str, problem: impl fmt::Display) {
        if !self.0.borrow().iter().any(|known| known.path == path) {
            self.add(path, problem);
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }
}

impl std::error::Error for Problems {}

impl fmt::Display for Problems {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (line, Problem { path, problem }) in self.0.borrow().iter().enumerate() {
            let newline = if line == 0 { "" } else { "\n" };
            let colon = if path.is_empty() { "" } else { ": " };
            write!(out, "{newline}{path}{colon}{problem}")?;
        }
        Ok(())
    }
}

impl<'p> Section<'p> {
    /// The section at `path` with what is in `value`; none at all (or `null`) is an empty one.
    pub(super) fn new(path: String, value: Option<Value>, problems: &'p Problems) -> Self {
        let values = match value {
            None | Some(Value::Null) => BTreeMap::new(),
            Some(Value::Object(values)) => values.into_iter().filter(|(_, value)| !value.is_null()).collect(),
            Some(other) => {
                problems.add(&path, format_args!("expected keys with values, found {}", found(&other)));
                BTreeMap::new()
            }
        };
        Self { path, values, asked_for: Vec::new(), problems }
    }

    /// The value of `key` as `read` understands it; `None` when it is not there or not understood.
    pub(super) fn take<T>(&mut self, key: &str, read: impl FnOnce(&Value) -> Result<T, String>) -> Option<T> {
        let value = self.value(key)?;
        read(&value).map_err(|problem| self.problems.add(&self.path_of(key), problem)).ok()
    }

    /// The section under `key`.
    pub(super) fn section(&mut self, key: &str) -> Section<'p> {
        let value = self.value(key);
        Section::new(self.path_of(key), value, self.problems)
    }

    /// The sections under `key` whose names the user chooses.
    pub(super) fn named(&mut self, key: &str) -> Vec<(String, Section<'p>)> {
        let Section { path, values, .. } = self.section(key);
        let problems = self.problems;
        values
            .into_iter()
            .map(|(name, value)| {
                let path = format!("{path}.{name}");
                (name, Section::new(path, Some(value), problems))
            })
            .collect()
    }

    /// What is under `key`, where the user chooses the names, each value as `read` understands it.
    pub(super) fn entries<T>(&mut self, key: &str, read: impl Fn(&Value) -> Result<T, String>) -> BTreeMap<String, T> {
        let mut section = self.section(key);
        let names: Vec<_> = section.values.keys().cloned().collect();
        names.into_iter().filter_map(|name| section.take(&name, &read).map(|value| (name, value))).collect()
    }

    /// Ends the reading: what was not asked for is unknown.
    pub(super) fn done(self) {
        for key in self.values.keys() {
            let known = self.asked_for.iter().map(String::as_str);
            self.problems.add(&self.path_of(key), unknown("key", key, known));
        }
    }

    fn value(&mut self, key: &str) -> Option<Value> {
        self.asked_for.push(key.to_owned());
        self.values.remove(key)
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

/// Says that there is no such `what` as `given`, and which of the `known` ones may be meant.
pub(super) fn unknown<'a>(what: &str, given: &str, known: impl Iterator<Item = &'a str>) -> String {
    let lower = given.to_lowercase();
    let mut known: Vec<_> = known.map(|known| (strsim::jaro_winkler(&lower, &known.to_lowercase()), known)).collect();
    known.sort_by(|(near, one), (other_near, other)| other_near.total_cmp(near).then(one.cmp(other)));
    match known.first() {
        Some((near, nearest)) if *near >= NEAR => format!("unknown {what}, did you mean {nearest}?"),
        _ => {
            let mut known: Vec<_> = known.into_iter().map(|(_, known)| known).collect();
            known.sort_unstable();
            format!("unknown {what}; there are {}", known.join(", "))
        }
    }
}

/// What `value` is, in words.
pub(super) fn found(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) => quoted(text),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "keys with values".to_owned(),
    }
}

/// `text` in quotes, cut to a readable length.
pub(super) fn quoted(text: &str) -> String {
    match text.char_indices().nth(QUOTED_CHARS_MAX) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}
