//! A check is a value: what was looked at, how it is, what was seen, and what to do. Pure.

use std::fmt::{Display, Write as _};

use serde::Serialize;
use serde_json::json;

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at, in a few words.
    pub name: String,
    /// How it is.
    pub outcome: Outcome,
    /// What was seen, in one line.
    pub seen: String,
    /// What to do about it, in one line; empty where there is nothing to do.
    pub advice: String,
}

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// As it should be.
    Ok,
    /// It works, and somebody should have a look.
    Warning,
    /// It does not work.
    Failed,
    /// There is nothing to look at, or it cannot be looked at for a reason that another check names.
    NotApplicable,
}

impl Check {
    /// As it should be.
    pub fn ok(name: impl Into<String>, seen: impl Display) -> Self {
        Self::new(name, Outcome::Ok, seen, "")
    }

    /// Somebody should have a look, and do this.
    pub fn warning(name: impl Into<String>, seen: impl Display, advice: impl Display) -> Self {
        Self::new(name, Outcome::Warning, seen, advice)
    }

    /// It does not work, and this is what to do.
    pub fn failed(name: impl Into<String>, seen: impl Display, advice: impl Display) -> Self {
        Self::new(name, Outcome::Failed, seen, advice)
    }

    /// There was nothing to look at, and why.
    pub fn not_applicable(name: impl Into<String>, why: impl Display) -> Self {
        Self::new(name, Outcome::NotApplicable, why, "")
    }

    /// Nothing in it can move a terminal's cursor, or begin a line of its own.
    fn new(name: impl Into<String>, outcome: Outcome, seen: impl Display, advice: impl Display) -> Self {
        Self { name: name.into(), outcome, seen: one_line(&seen.to_string()), advice: one_line(&advice.to_string()) }
    }
}

impl Outcome {
    /// How it begins a line.
    const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "WARNING",
            Self::Failed => "FAILED",
            Self::NotApplicable => "-",
        }
    }
}

/// One line a check, in columns; below each of which something is to be done, what.
pub(super) fn text(checks: &[Check]) -> String {
    let width = checks.iter().map(|check| check.name.chars().count()).max().unwrap_or_default();
    let mut text = String::new();
    for Check { name, outcome, seen, advice } in checks {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{:<8} {name:<width$}  {seen}", outcome.word());
        if !advice.is_empty() {
            let _ = writeln!(text, "{:<8} {:<width$}  => {advice}", "", "");
        }
    }
    let count = |outcome| checks.iter().filter(|check| check.outcome == outcome).count();
    let (ok, warnings, failed) = (count(Outcome::Ok), count(Outcome::Warning), count(Outcome::Failed));
    let left_out = checks.len() - ok - warnings - failed;
    let _ = write!(text, "{ok} ok, {warnings} to look at, {failed} failed, {left_out} not looked at");
    text
}

/// The same as one document.
pub(super) fn json(checks: &[Check]) -> String {
    json!({ "checks": checks }).to_string()
}

fn one_line(text: &str) -> String {
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checks() -> [Check; 4] {
        [
            Check::ok("clock", "0 s off"),
            Check::warning("proxy", "HTTPS_PROXY is set", "take it away"),
            Check::failed("sink outside", "it answered\n401\x1b[31m", "write\tthe token"),
            Check::not_applicable("leader", "alone"),
        ]
    }

    #[test]
    fn each_is_one_line_with_what_to_do_below_it() {
        let expected = "\
ok       clock         0 s off
WARNING  proxy         HTTPS_PROXY is set
                       => take it away
FAILED   sink outside  it answered 401 [31m
                       => write the token
-        leader        alone
1 ok, 1 to look at, 1 failed, 1 not looked at";
        assert_eq!(text(&checks()), expected);
    }

    #[test]
    fn the_same_is_in_the_document() {
        let document: serde_json::Value = serde_json::from_str(&json(&checks())).expect("it is JSON");
        let outcomes: Vec<_> = ["0", "1", "2", "3"]
            .map(|at| document["checks"][at.parse::<usize>().expect("a number")]["outcome"].clone())
            .into();
        assert_eq!(outcomes, ["ok", "warning", "failed", "not-applicable"]);
        let one =
            json!({"name": "proxy", "outcome": "warning", "seen": "HTTPS_PROXY is set", "advice": "take it away"});
        assert_eq!(document["checks"][1], one);
    }
}
