//! `values.schema.json`: closed, so that a typo fails with the key's name. No references in it, as helms differ in them.

use anyhow::{Context as _, Result, bail};
use rules::{Kind, Nature};
use serde_json::{Map, Value, json};

use super::aliases::Aliases;
use super::values::Entry;

/// A parent chart may keep more than we know there.
const OPEN: &str = "global";

/// The file's text.
pub(super) fn text(entries: &[Entry], aliases: &Aliases) -> Result<String> {
    let mut root = closed();
    for entry in entries {
        let mut schema = if entry.is_block() { closed() } else { of(entry)? };
        if entry.path == OPEN {
            schema["additionalProperties"] = json!(true);
        }
        if !entry.words.is_empty() {
            schema["description"] = json!(entry.words);
        }
        put(&mut root, &entry.path, schema);
    }
    for (alias, names) in &aliases.names {
        let name = names.first().with_context(|| format!("{alias} stands for nothing"))?;
        let meant = entries.iter().find(|entry| entry.path == *name);
        let meant = meant.with_context(|| format!("{alias} stands for {name}, which is no value"))?;
        let mut schema = of(meant)?;
        schema["description"] = json!(format!("Read as {}.", names.join(" and ")));
        put(&mut root, alias, schema);
    }
    let definitions: Value = serde_json::from_str(include_str!("definitions.json")).context("definitions.json")?;
    for (path, why) in &aliases.without_effect {
        let mut schema = definitions.get(path).cloned().with_context(|| format!("definitions.json has no {path}"))?;
        schema["description"] = json!(format!("Has no effect yet: {why}."));
        put(&mut root, path, schema);
    }
    root["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    root["title"] = json!("Values of the chart tocsin");
    Ok(format!("{root:#}\n"))
}

/// The settings of every kind in the catalogue, with its own thresholds. Of others the templates say which there are.
pub(super) fn rules(definitions: &Value) -> Value {
    let mut kinds = json!({"type": "object", "properties": {}});
    for kind in Kind::all() {
        let mut rule = closed();
        // A later file of values may take it away.
        rule["type"] = json!(["object", "null"]);
        put(&mut rule, "enabled", json!({"type": "boolean"}));
        put(&mut rule, "severity", definitions["severity"].clone());
        if kind.row().nature == Nature::Level {
            put(&mut rule, "sustain", definitions["duration"].clone());
        }
        put(&mut rule, "hold", definitions["duration"].clone());
        for (threshold, _) in kind.row().thresholds {
            put(&mut rule, threshold, json!({"type": "number", "minimum": 0, "maximum": 1_000_000}));
        }
        put(&mut kinds, kind.name(), rule);
    }
    kinds
}

fn of(entry: &Entry) -> Result<Value> {
    let mut schema = match (&entry.schema, &entry.default) {
        (Some(schema), _) => schema.clone(),
        (None, Value::String(_)) => json!({"type": "string"}),
        (None, Value::Bool(_)) => json!({"type": "boolean"}),
        (None, other) => bail!("{}: {other} does not say what it may be: add # @schema", entry.path),
    };
    schema["default"] = entry.default.clone();
    Ok(schema)
}

fn closed() -> Value {
    json!({"type": "object", "additionalProperties": false, "properties": {}})
}

/// Puts the schema of the value at `path` into that of all; blocks that no entry has made are closed, too.
fn put(root: &mut Value, path: &str, schema: Value) {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let properties = &mut root["properties"];
    if !properties.is_object() {
        *properties = Value::Object(Map::new());
    }
    match rest {
        None => properties[first] = schema,
        Some(rest) => {
            if properties.get(first).is_none() {
                properties[first] = closed();
            }
            put(&mut properties[first], rest, schema);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn made(text_of_values: &str, names: &[(&str, &str)]) -> Result<Value> {
        let names = names.iter().map(|(alias, name)| ((*alias).to_owned(), vec![(*name).to_owned()])).collect();
        let aliases = Aliases { names, images: Vec::new(), without_effect: BTreeMap::new() };
        Ok(serde_json::from_str(&text(&super::super::values::read(text_of_values)?, &aliases)?)?)
    }

    #[test]
    fn every_block_is_closed_but_the_one_that_parents_share() {
        let schema = made("# It.\nglobal:\n  # A.\n  a: x\nblock:\n  # B.\n  b: true\n", &[]).expect("it is made");
        assert_eq!(schema["additionalProperties"], false);
        assert_eq!(schema["properties"]["block"]["additionalProperties"], false);
        assert_eq!(schema["properties"]["block"]["properties"]["b"]["type"], "boolean");
        assert_eq!(schema["properties"]["global"]["additionalProperties"], true);
    }

    #[test]
    fn an_alias_may_be_what_its_value_may_be() {
        let schema = made("# A.\n# @schema severity\na: info\n", &[("old.name", "a")]).expect("it is made");
        let old = &schema["properties"]["old"];
        assert_eq!(old["additionalProperties"], false);
        assert_eq!(old["properties"]["name"]["enum"], json!(["info", "warning", "critical"]));
        let error = made("# A.\na: x\n", &[("old", "b")]).expect_err("there is no b");
        assert_eq!(error.to_string(), "old stands for b, which is no value");
    }

    #[test]
    fn a_default_that_says_no_type_needs_a_schema() {
        let error = made("# A.\na: []\n", &[]).expect_err("a list of what?");
        assert_eq!(error.to_string(), "a: [] does not say what it may be: add # @schema");
    }
}
