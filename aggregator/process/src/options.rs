//! The options that every Tocsin program has, and how those that cannot be used are refused.

use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser};
use rules::time::parse_span;
use thiserror::Error;

use crate::exit::Exit;
use crate::kube_client::Access;
use crate::logs::{self, AlreadySetUp, Format, Level};

/// What every program is told, to be flattened into its own options. Of an option that is given twice the last one counts, in
/// every program, so that arguments can be added to those that an installation has.
#[derive(Clone, Debug, Args)]
#[command(args_override_self = true)]
pub struct ProcessOptions {
    /// How to reach the API server from outside of a cluster [default: the pod's own ServiceAccount]
    #[arg(long, env = "TOCSIN_KUBECONFIG", value_name = "FILE")]
    kubeconfig: Option<OsString>,
    /// A context of the kubeconfig other than its current one
    #[arg(long, env = "TOCSIN_CONTEXT", value_name = "NAME")]
    context: Option<String>,
    /// Where /metrics, /livez and /readyz are
    #[arg(long, env = "TOCSIN_METRICS_LISTEN", default_value = "0.0.0.0:8080", value_name = "IP:PORT")]
    metrics_listen: String,
    /// error, warn, info, debug or trace
    #[arg(long, env = "TOCSIN_LOG_LEVEL", default_value = "info", value_name = "LEVEL")]
    log_level: String,
    /// json or text
    #[arg(long, env = "TOCSIN_LOG_FORMAT", default_value = "json", value_name = "FORMAT")]
    log_format: String,
    /// The time in which to send what is left after SIGTERM, 1s to 5m
    #[arg(long, env = "TOCSIN_SHUTDOWN_DEADLINE", default_value = "25s", value_name = "DURATION")]
    shutdown_deadline: String,
    /// Check options, configuration and files, make no connection, and end
    #[arg(long)]
    check: bool,
}

/// What every program goes by: checked, with nothing left to look up but the files.
#[derive(Clone, Debug)]
pub struct ProcessConfig {
    /// How to reach the API server.
    pub access: Access,
    /// Where the admin port is.
    pub metrics_listen: SocketAddr,
    /// How much is logged.
    pub log_level: Level,
    /// How a log line looks.
    pub log_format: Format,
    /// How long ending may take.
    pub shutdown_deadline: Duration,
    /// Only check options, configuration and files.
    pub check: bool,
}

/// An option that cannot be used, and what to do about it.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("--{option}: {problem}")]
pub struct Invalid {
    option: &'static str,
    problem: String,
}

/// The longest time to end in.
const SHUTDOWN_MAX: Duration = Duration::from_mins(5);

/// This process's options; `None` when it was asked for its help or version, which it has then said.
pub fn command_line<O: Parser>() -> Result<Option<O>, Exit> {
    match O::try_parse() {
        Ok(options) => Ok(Some(options)),
        Err(wish) if !wish.use_stderr() => {
            wish.print()?;
            Ok(None)
        }
        Err(error) => Err(Exit::command_line(&error.render().to_string())),
    }
}

/// Refuses an option, by its name without dashes.
pub fn invalid(option: &'static str, problem: impl Display) -> Invalid {
    Invalid { option, problem: problem.to_string() }
}

/// An empty value is none: templates set environment variables so.
pub fn present<T: AsRef<OsStr>>(value: Option<T>) -> Option<T> {
    value.filter(|value| !value.as_ref().is_empty())
}

/// The address that an option gives; `example` is one as it could be.
pub fn address(option: &'static str, given: &str, example: &str) -> Result<SocketAddr, Invalid> {
    given.parse().map_err(|_| invalid(option, format!("{given:?} is not of the form IP:port, as {example}")))
}

impl ProcessOptions {
    /// Checks every option.
    pub fn resolve(self) -> Result<ProcessConfig, Invalid> {
        let Self { kubeconfig, context, metrics_listen, log_level, log_format, shutdown_deadline, check } = self;
        let deadline = parse_span(&shutdown_deadline)
            .filter(|deadline| (Duration::from_secs(1)..=SHUTDOWN_MAX).contains(deadline))
            .ok_or_else(|| {
                let problem = format!("{shutdown_deadline:?} is no duration from 1s to 5m, for example 25s");
                invalid("shutdown-deadline", problem)
            })?;
        Ok(ProcessConfig {
            access: Access {
                kubeconfig: present(kubeconfig).map(PathBuf::from),
                context: present(context),
                ..Access::default()
            },
            metrics_listen: address("metrics-listen", &metrics_listen, "0.0.0.0:8080")?,
            log_level: log_level.parse().map_err(|error| invalid("log-level", error))?,
            log_format: log_format.parse().map_err(|error| invalid("log-format", error))?,
            shutdown_deadline: deadline,
            check,
        })
    }
}

impl ProcessConfig {
    /// Sets up logs; none for a check, which speaks to whoever asked for it.
    pub fn begin_logs(&self) -> Result<(), AlreadySetUp> {
        if self.check { Ok(()) } else { logs::init(self.log_level, self.log_format) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Parser)]
    struct Options {
        #[command(flatten)]
        process: ProcessOptions,
    }

    fn resolve(args: &[&str]) -> Result<ProcessConfig, Invalid> {
        Options::try_parse_from(["program"].iter().chain(args)).expect("the options are known").process.resolve()
    }

    #[test]
    fn the_defaults_run() {
        let config = resolve(&[]).expect("they are valid");
        assert_eq!((config.metrics_listen.port(), config.shutdown_deadline), (8080, Duration::from_secs(25)));
        assert_eq!((config.log_level, config.log_format), (Level::default(), Format::default()));
        assert_eq!(config.access, Access::default());
        assert!(!config.check);
    }

    #[test]
    fn what_is_given_is_taken() {
        let given =
            ["--kubeconfig=k", "--context=c", "--metrics-listen=[::1]:0", "--shutdown-deadline=1m30s", "--check"];
        let config = resolve(&given).expect("they are valid");
        assert_eq!(config.access.kubeconfig.as_deref(), Some(std::path::Path::new("k")));
        assert_eq!(config.access.context.as_deref(), Some("c"));
        assert_eq!((&*config.metrics_listen.to_string(), config.shutdown_deadline.as_secs()), ("[::1]:0", 90));
        assert!(config.check);
        let config = resolve(&["--log-level=WARNING", "--log-format=TEXT"]).expect("they are valid");
        assert_eq!((config.log_level.to_string(), config.log_format), ("warn".to_owned(), Format::Text));
    }

    #[test]
    fn of_an_option_that_is_given_twice_the_last_one_counts() {
        let config =
            resolve(&["--log-level=error", "--check", "--log-level=debug", "--check"]).expect("they are valid");
        assert_eq!((config.log_level.to_string(), config.check), ("debug".to_owned(), true));
    }

    #[test]
    fn an_empty_value_is_none() {
        let config = resolve(&["--kubeconfig=", "--context="]).expect("they are valid");
        assert_eq!(config.access, Access::default());
    }

    #[test]
    fn what_cannot_be_used_is_named_with_what_to_do() {
        for (arg, problem) in [
            ("--metrics-listen=8080", "--metrics-listen: \"8080\" is not of the form IP:port, as 0.0.0.0:8080"),
            ("--shutdown-deadline=25", "--shutdown-deadline: \"25\" is no duration from 1s to 5m, for example 25s"),
            ("--shutdown-deadline=0s", "--shutdown-deadline: \"0s\" is no duration from 1s to 5m, for example 25s"),
            ("--shutdown-deadline=6m", "--shutdown-deadline: \"6m\" is no duration from 1s to 5m, for example 25s"),
            ("--log-level=loud", "--log-level: unknown log level \"loud\": use error, warn, info, debug or trace"),
            ("--log-format=xml", "--log-format: unknown log format \"xml\": use json or text"),
        ] {
            assert_eq!(resolve(&[arg]).expect_err(arg).to_string(), problem);
        }
    }
}
