//! How the demo looks: one line for a step, one for a message; colour only on a terminal.

use std::io::IsTerminal as _;

use serde_json::Value;

const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const PLAIN: &str = "\x1b[0m";

/// Standard output.
#[derive(Debug)]
pub(super) struct Screen {
    is_terminal: bool,
}

impl Screen {
    pub(super) fn new() -> Self {
        Self { is_terminal: std::io::stdout().is_terminal() }
    }

    /// What happens in the story.
    pub(super) fn step(&self, text: &str) {
        println!("{}", self.styled(BOLD, &format!("▶ {text}")));
    }

    /// What belongs to it.
    pub(super) fn note(&self, text: &str) {
        println!("  {}", self.styled(DIM, text));
    }

    /// What was told outside.
    pub(super) fn message(&self, record: &Value) {
        let text = |field: &str| record[field].as_str().unwrap_or_default();
        println!(
            "  {} {} {}",
            mark(record),
            self.styled(BOLD, text("title")),
            self.styled(DIM, &format!("— {}", text("text")))
        );
    }

    fn styled(&self, style: &str, text: &str) -> String {
        if self.is_terminal { format!("{style}{text}{PLAIN}") } else { text.to_owned() }
    }
}

/// A message in short, as the story names it: `🔴 CrashLoopBackOff payments/api`, `🟢 NodeNotReady node-4`.
pub(super) fn short(record: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (namespace, owner) = (text(&record["namespace"]), text(&record["owner"]["name"]));
    let place = if namespace.is_empty() { owner } else { format!("{namespace}/{owner}") };
    format!("{} {} {place}", mark(record), text(&record["kind"]))
}

fn mark(record: &Value) -> &'static str {
    match record["status"].as_str() {
        Some("firing") => "🔴",
        Some("resolved") => "🟢",
        _ => "❔",
    }
}
