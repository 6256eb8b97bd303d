//! Logs: one flat JSON object a line on standard error (or plain text); standard output belongs to a sink.

use std::fmt;
use std::io::IsTerminal as _;
use std::str::FromStr;

use thiserror::Error;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, fmt as subscriber};

/// Libraries that log each request, frame or failure themselves, in words of their own: heard at trace only.
const CHATTY: [&str; 7] = ["kube_client", "hyper", "hyper_util", "h2", "rustls", "tower", "reqwest"];

/// How much is logged. Reads `error`, `warn` (or `warning`), `info`, `debug` and `trace`, in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level(LevelFilter);

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// One flat JSON object: `timestamp`, `level`, `target`, `message` (the event's name) and the event's fields.
    #[default]
    Json,
    /// For people.
    Text,
}

/// A level or format that there is not.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("unknown {what} {given:?}: use {known}")]
pub struct Unknown {
    what: &'static str,
    given: String,
    known: &'static str,
}

/// Logs are set up already.
#[derive(Clone, Copy, Debug, Error)]
#[error("logs are set up already")]
pub struct AlreadySetUp;

/// Sets up logs for the whole process, panics included.
pub fn init(level: Level, format: Format) -> Result<(), AlreadySetUp> {
    let lines = match format {
        Format::Json => json(std::io::stderr).boxed(),
        Format::Text => {
            subscriber::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal()).boxed()
        }
    };
    let registry = tracing_subscriber::registry().with(lines.with_filter(level.filter()));
    registry.try_init().map_err(|_| AlreadySetUp)?;
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        let text = panic.payload_as_str().unwrap_or("no text");
        tracing::error!(target: "process", location, text, "panicked");
    }));
    Ok(())
}

impl Default for Level {
    fn default() -> Self {
        Self(LevelFilter::INFO)
    }
}

impl FromStr for Level {
    type Err = Unknown;

    fn from_str(text: &str) -> Result<Self, Unknown> {
        Ok(Self(match text.to_ascii_lowercase().as_str() {
            "error" => LevelFilter::ERROR,
            "warn" | "warning" => LevelFilter::WARN,
            "info" => LevelFilter::INFO,
            "debug" => LevelFilter::DEBUG,
            "trace" => LevelFilter::TRACE,
            _ => return Err(Unknown::new("log level", text, "error, warn, info, debug or trace")),
        }))
    }
}

impl fmt::Display for Level {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

impl Level {
    fn filter(self) -> Targets {
        let chatty = if self.0 == LevelFilter::TRACE { self.0 } else { LevelFilter::OFF };
        Targets::new().with_default(self.0).with_targets(CHATTY.map(|target| (target, chatty)))
    }
}

impl FromStr for Format {
    type Err = Unknown;

    fn from_str(text: &str) -> Result<Self, Unknown> {
        match text.to_ascii_lowercase().as_str() {
            "json" => Ok(Self::Json),
            "text" => Ok(Self::Text),
            _ => Err(Unknown::new("log format", text, "json or text")),
        }
    }
}

impl Unknown {
    fn new(what: &'static str, given: &str, known: &'static str) -> Self {
        /// More of a wrong value than this tells nobody more.
        const GIVEN_CHARS_MAX: usize = 32;
        Self { what, given: given.chars().take(GIVEN_CHARS_MAX).collect(), known }
    }
}

/// Lines of flat JSON; spans carry nothing of ours.
fn json<S, W>(writer: W) -> impl tracing_subscriber::Layer<S> + Send + Sync
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
    W: for<'a> subscriber::MakeWriter<'a> + Send + Sync + 'static,
{
    subscriber::layer().json().flatten_event(true).with_current_span(false).with_span_list(false).with_writer(writer)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    /// A writer that remembers.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("unpoisoned").write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(level: &str, log: impl FnOnce()) -> Vec<serde_json::Value> {
        let lines = Lines::default();
        let writer = lines.clone();
        let filter = level.parse::<Level>().expect("a level").filter();
        let subscriber = tracing_subscriber::registry().with(json(move || writer.clone()).with_filter(filter));
        tracing::subscriber::with_default(subscriber, log);
        let bytes = lines.0.lock().expect("unpoisoned").clone();
        let text = String::from_utf8(bytes).expect("UTF-8");
        text.lines().map(|line| serde_json::from_str(line).expect("one JSON object a line")).collect()
    }

    #[test]
    fn levels_are_read_in_any_case_and_unknown_ones_name_the_known() {
        for (text, level) in
            [("WARNING", LevelFilter::WARN), ("Warn", LevelFilter::WARN), ("debug", LevelFilter::DEBUG)]
        {
            assert_eq!(text.parse(), Ok(Level(level)), "{text}");
        }
        let error = "verbose".parse::<Level>().expect_err("no such level").to_string();
        assert_eq!(error, "unknown log level \"verbose\": use error, warn, info, debug or trace");
        assert_eq!("TEXT".parse(), Ok(Format::Text));
        assert!("xml".parse::<Format>().is_err());
    }

    #[test]
    fn a_line_is_one_flat_object() {
        let lines = logged("info", || {
            let _span = tracing::info_span!("request", hidden = 1).entered();
            tracing::info!(target: "watch", collection = "/api/v1/pods", objects = 3, "listed");
        });
        let [line] = lines.as_slice() else { panic!("one line, not {lines:?}") };
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["target"], "watch");
        assert_eq!(line["message"], "listed");
        assert_eq!(line["collection"], "/api/v1/pods");
        assert_eq!(line["objects"], 3);
        assert!(line["timestamp"].is_string());
        assert_eq!(line.as_object().expect("an object").len(), 6, "nothing else: {line}");
    }

    #[test]
    fn libraries_that_log_every_failure_are_heard_at_trace_only() {
        let chat = || tracing::error!(target: "kube_client::client::builder", "failed with status 410");
        assert_eq!(logged("debug", chat).len(), 0);
        assert_eq!(logged("trace", chat).len(), 1);
        assert_eq!(logged("error", || tracing::warn!(target: "watch", "watch_quiet")).len(), 0);
    }
}
