//! How single values are written: durations with units, numbers and texts within stated bounds. Each reader says what it
//! expected, with an example, and what it found.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use rules::name::{NAME_MAX, is_label, is_object_name};
use rules::time::{parse_span, write_span};
use rules::{Severity, SystemNamespaces};
use serde_json::Value;

use super::address::address;
use super::proxy;
use super::tree::{found, quoted};
use super::{NamespacedName, SinkType};

/// A duration with its unit, within `range`.
pub(super) fn duration(range: RangeInclusive<Duration>) -> impl Fn(&Value) -> Result<Duration, String> {
    move |value| {
        let parsed = value.as_str().and_then(parse_span);
        let Some(span) = parsed else {
            return Err(format!(
                "expected a duration with its unit, for example 30s, 5m or 1h, found {}",
                found(value)
            ));
        };
        if range.contains(&span) {
            return Ok(span);
        }
        let (least, most) = (write_span(*range.start()), write_span(*range.end()));
        Err(format!("must be from {least} to {most}, found {}", write_span(span)))
    }
}

/// A whole number within `range`.
pub(super) fn count(range: RangeInclusive<u32>) -> impl Fn(&Value) -> Result<u32, String> {
    move |value| {
        let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
        number.filter(|number| range.contains(number)).ok_or_else(|| {
            format!("expected a whole number from {} to {}, found {}", range.start(), range.end(), found(value))
        })
    }
}

/// A number within `range`.
pub(super) fn number(range: RangeInclusive<f64>) -> impl Fn(&Value) -> Result<f64, String> {
    move |value| {
        value.as_f64().filter(|number| range.contains(number)).ok_or_else(|| {
            format!("expected a number from {} to {}, found {}", range.start(), range.end(), found(value))
        })
    }
}

/// `true` or `false`.
pub(super) fn flag(value: &Value) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| format!("expected true or false, found {}", found(value)))
}

/// A text of at least one and at most `most` characters, without control characters.
pub(super) fn text(most: usize, example: &'static str) -> impl Fn(&Value) -> Result<String, String> {
    move |value| {
        if value.as_str().is_some_and(|text| text.trim().is_empty()) {
            return Err(format!("must not be empty: write a text, for example {example}"));
        }
        let is_fit = |text: &&str| text.chars().count() <= most && !text.chars().any(char::is_control);
        value.as_str().filter(is_fit).map(str::to_owned).ok_or_else(|| {
            format!("expected a text of at most {most} characters, for example {example}, found {}", found(value))
        })
    }
}

/// The absolute path of a file.
pub(super) fn file(value: &Value) -> Result<PathBuf, String> {
    value.as_str().filter(|path| path.starts_with('/')).map(PathBuf::from).ok_or_else(|| {
        format!("expected the absolute path of a file, for example /etc/tocsin/token, found {}", found(value))
    })
}

/// The absolute path of a folder.
pub(super) fn folder(value: &Value) -> Result<PathBuf, String> {
    value.as_str().filter(|path| path.starts_with('/')).map(PathBuf::from).ok_or_else(|| {
        format!("expected the absolute path of a folder, for example /etc/tocsin/proxy, found {}", found(value))
    })
}

/// The address of a proxy. Credentials in it would end up in logs.
pub(super) fn proxy(value: &Value) -> Result<Url, String> {
    let url = proxy::address(value.as_str().unwrap_or_default())?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("an address must not hold credentials: put it into a file http or https, and name its folder in \
                    proxy.folder"
            .into());
    }
    Ok(url)
}

/// What is reached without a proxy.
pub(super) fn no_proxy(value: &Value) -> Result<String, String> {
    let Some(list) = value.as_str() else {
        return Err(format!("expected a text, for example .example.com,10.0.0.0/8, found {}", found(value)));
    };
    proxy::direct(list).map(|()| list.to_owned())
}

/// An address to POST to. It may be a secret, so it is not shown.
pub(super) fn url(value: &Value) -> Result<Url, String> {
    address(value.as_str().unwrap_or_default())
}

/// Where runbooks are: an address that a kind's name is put behind, so nothing may end it before.
pub(super) fn runbooks(value: &Value) -> Result<Arc<str>, String> {
    const EXPECTED: &str = "expected an address, for example https://wiki.example.com/runbooks";
    const CHARS_MAX: usize = 500;
    let text = value.as_str().ok_or_else(|| format!("{EXPECTED}, found {}", found(value)))?;
    let url = Url::parse(text).map_err(|error| format!("{EXPECTED}: {error}, found {}", quoted(text)))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("an address must not hold credentials: it is in every message".into());
    }
    if !matches!(url.scheme(), "http" | "https") || url.query().is_some() || url.fragment().is_some() {
        return Err(format!(
            "{EXPECTED}: it begins with https:// or http://, and has no ? and no #, as the kind is put behind it, found {}",
            quoted(text)
        ));
    }
    match url.as_str().trim_end_matches('/') {
        base if base.len() > CHARS_MAX => Err(format!("has {} characters, at most {CHARS_MAX} may be", base.len())),
        base => Ok(Arc::from(base)),
    }
}

/// `namespace/name`.
pub(super) fn namespaced_name(value: &Value) -> Result<NamespacedName, String> {
    let parts = value.as_str().and_then(|text| text.split_once('/'));
    match parts {
        Some((namespace, name)) if is_object_name(namespace) && is_object_name(name) => {
            Ok(NamespacedName { namespace: Arc::from(namespace), name: Arc::from(name) })
        }
        _ => Err(format!("expected namespace/name, for example tocsin/tocsin-node-agent, found {}", found(value))),
    }
}

/// A label selector, as `kubectl -l` takes it.
pub(super) fn selector(value: &Value) -> Result<Arc<str>, String> {
    const CHARS_MAX: usize = 1_000;
    let is_fit = |text: &&str| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=!,() ".contains(c);
        !text.is_empty() && text.len() <= CHARS_MAX && text.chars().all(is_plain)
    };
    value.as_str().filter(is_fit).map(Arc::from).ok_or_else(|| {
        format!("expected a label selector, for example app.kubernetes.io/component=node-agent, found {}", found(value))
    })
}

/// Patterns of namespaces: `*` stands for any run of characters, `?` for one.
pub(super) fn namespaces(value: &Value) -> Result<Vec<String>, String> {
    const PATTERNS_MAX: usize = 1_000;
    let is_pattern = |text: &str| {
        let is_fit = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-*?".contains(c);
        !text.is_empty() && text.len() <= NAME_MAX && text.chars().all(is_fit)
    };
    let wrong =
        |found: String| format!("expected a list of namespaces, for example [payments, \"team-*\"], found {found}");
    let items = value.as_array().ok_or_else(|| wrong(found(value)))?;
    if items.len() > PATTERNS_MAX {
        return Err(format!("at most {PATTERNS_MAX} namespaces, found {}: use patterns with *", items.len()));
    }
    let pattern = |item: &Value| {
        let pattern = item.as_str().filter(|text| is_pattern(text)).map(str::to_owned);
        pattern.ok_or_else(|| wrong(format!("{} in it", found(item))))
    };
    items.iter().map(pattern).collect()
}

/// Names of namespaces.
pub(super) fn namespace_names(value: &Value) -> Result<BTreeSet<Arc<str>>, String> {
    // Each costs a LIST and a WATCH.
    const NAMES_MAX: usize = 100;
    let wrong =
        |found: String| format!("expected a list of names of namespaces, for example [payments], found {found}");
    let items = value.as_array().ok_or_else(|| wrong(found(value)))?;
    if items.len() > NAMES_MAX {
        return Err(format!("at most {NAMES_MAX} namespaces, found {}: watch the whole cluster", items.len()));
    }
    let name = |item: &Value| {
        let name = item.as_str().filter(|text| is_label(text)).map(Arc::from);
        name.ok_or_else(|| wrong(format!("{} in it", found(item))))
    };
    items.iter().map(name).collect()
}

/// A severity.
pub(super) fn severity(value: &Value) -> Result<Severity, String> {
    let severities = [Severity::Critical, Severity::Warning, Severity::Info];
    one_of(value, severities.map(|severity| (severity.to_string(), severity)))
}

/// What counts in the system namespaces.
pub(super) fn system_namespaces(value: &Value) -> Result<SystemNamespaces, String> {
    one_of(
        value,
        [
            ("critical".to_owned(), SystemNamespaces::Critical),
            ("off".to_owned(), SystemNamespaces::Off),
            ("all".to_owned(), SystemNamespaces::All),
        ],
    )
}

/// A type of sink.
pub(super) fn sink_type(value: &Value) -> Result<SinkType, String> {
    one_of(value, SinkType::ALL.map(|of| (of.name().to_owned(), of)))
}

fn one_of<T, const N: usize>(value: &Value, choices: [(String, T); N]) -> Result<T, String> {
    let names = choices.each_ref().map(|(name, _)| name.clone()).join(", ");
    let chosen = value.as_str().and_then(|text| {
        let text = text.to_lowercase();
        choices.into_iter().find(|(name, _)| *name == text)
    });
    chosen.map(|(_, choice)| choice).ok_or_else(|| format!("expected one of {names}, found {}", found(value)))
}
