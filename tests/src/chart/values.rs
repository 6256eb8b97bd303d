//! `values.yaml` with its comments. Above each value stand its words, maybe an indented example, and where its type does not
//! follow from its default, `# @schema`: a name of `definitions.json`, or JSON Schema.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// One value, or one block of values.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// `aggregator.image.tag`.
    pub path: String,
    /// What it is for.
    pub words: String,
    /// What it may be; `None` for a block, whose values say it, and for what its default says.
    pub schema: Option<Value>,
    /// What it is unless it is given.
    pub default: Value,
}

impl Entry {
    /// Whether it holds values with entries of their own.
    pub fn is_block(&self) -> bool {
        self.schema.is_none() && self.default.as_object().is_some_and(|map| !map.is_empty())
    }
}

/// Reads the file's `text`.
pub(super) fn read(text: &str) -> Result<Vec<Entry>> {
    let tree = super::yaml(text)?;
    let definitions: Value = serde_json::from_str(include_str!("definitions.json")).context("definitions.json")?;
    let mut entries: Vec<Entry> = Vec::new();
    let mut above: Vec<(usize, &str)> = Vec::new();
    let mut comments = Vec::new();
    for line in text.lines() {
        if let Some(comment) = line.trim_start().strip_prefix('#') {
            comments.push(comment.strip_prefix(' ').unwrap_or(comment));
            continue;
        }
        let said = std::mem::take(&mut comments);
        let Some((indent, key)) = key(line) else { continue };
        above.retain(|(outer, _)| *outer < indent);
        above.push((indent, key));
        let path = above.iter().map(|(_, key)| *key).collect::<Vec<_>>().join(".");
        if entries.iter().any(|entry| !entry.is_block() && path.starts_with(&format!("{}.", entry.path))) {
            continue;
        }
        let default = tree.pointer(&format!("/{}", path.replace('.', "/")));
        let default = default.with_context(|| format!("{path}: there is no such value"))?.clone();
        let schema = said.iter().find_map(|line| line.strip_prefix("@schema "));
        let schema = schema.map(|schema| self::schema(schema, &definitions)).transpose();
        let schema = schema.with_context(|| format!("{path}: its @schema"))?;
        let words: Vec<_> = said.into_iter().filter(|line| !line.starts_with(['@', ' '])).collect();
        let entry = Entry { path, words: words.join(" "), schema, default };
        ensure!(entry.is_block() || !entry.words.is_empty(), "{}: nothing above it says what it is for", entry.path);
        entries.push(entry);
    }
    Ok(entries)
}

/// `key` of a line `key: …`, and how far it is indented.
fn key(line: &str) -> Option<(usize, &str)> {
    let trimmed = line.trim_start();
    let (key, _) = trimmed.split_once(':')?;
    let is_key = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    is_key.then_some((line.len() - trimmed.len(), key))
}

fn schema(said: &str, definitions: &Value) -> Result<Value> {
    if said.starts_with('{') {
        return Ok(serde_json::from_str(said)?);
    }
    if said == "rules" {
        return Ok(super::schema::rules(definitions));
    }
    definitions.get(said).cloned().with_context(|| format!("definitions.json has no {said}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn words_examples_and_schemas_are_told_apart() {
        let text = "# Of the file.\n\n# What it\n# is.\n#   a: 1\n# @schema severity\none: info\nblock:\n  # Inner.\n  two: 2\n\
                    # Free.\n# @schema {\"type\": \"object\"}\nthree:\n  any: thing\n";
        let entry = |path: &str, words: &str, schema: Option<Value>, default| Entry {
            path: path.to_owned(),
            words: words.to_owned(),
            schema,
            default,
        };
        let severity = json!({"enum": ["info", "warning", "critical"]});
        assert_eq!(
            read(text).expect("it is understood"),
            [
                entry("one", "What it is.", Some(severity), json!("info")),
                entry("block", "", None, json!({"two": 2})),
                entry("block.two", "Inner.", None, json!(2)),
                entry("three", "Free.", Some(json!({"type": "object"})), json!({"any": "thing"})),
            ]
        );
    }

    #[test]
    fn a_value_without_words_is_an_error() {
        let error = read("# Said.\na: 1\nb: 2\n").expect_err("b says nothing");
        assert_eq!(error.to_string(), "b: nothing above it says what it is for");
        let error = read("# It.\n# @schema nothing\na: 1\n").expect_err("no such definition");
        assert_eq!(format!("{error:#}"), "a: its @schema: definitions.json has no nothing");
    }
}
