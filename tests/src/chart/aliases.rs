//! The tables of `_aliases.tpl`: YAML between a `define` and its `end`.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde::de::DeserializeOwned;

/// Names that other charts have for our values, and values that change nothing yet.
#[derive(Debug)]
pub struct Aliases {
    /// By alias, the values that it stands for.
    pub names: BTreeMap<String, Vec<String>>,
    /// Images of other products: where an alias names one, it is taken for not said.
    pub images: Vec<String>,
    /// By value, what it waits for.
    pub without_effect: BTreeMap<String, String>,
}

impl Aliases {
    pub(super) fn read(text: &str) -> Result<Self> {
        Ok(Self {
            names: table(text, "tocsin.aliases")?,
            images: table(text, "tocsin.aliases.images")?,
            without_effect: table(text, "tocsin.withoutEffect")?,
        })
    }
}

fn table<T: DeserializeOwned>(text: &str, name: &str) -> Result<T> {
    let begin = format!("{{{{- define \"{name}\" -}}}}\n");
    let (_, rest) = text.split_once(&begin).with_context(|| format!("_aliases.tpl does not define {name}"))?;
    let (table, _) = rest.split_once("{{- end -}}").with_context(|| format!("{name} has no end"))?;
    serde_json::from_value(super::yaml(table)?).with_context(|| format!("reading {name}"))
}
