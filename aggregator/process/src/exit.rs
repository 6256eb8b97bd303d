//! How a process ends, and what its caller sees: 0 done, 1 failed, 64 used wrongly (`EX_USAGE` of sysexits.h).

use std::process::ExitCode;

/// Why a process ends other than well.
#[derive(Debug)]
pub enum Exit {
    /// Arguments, environment or configuration are wrong; trying again changes nothing. Exit code 64.
    Usage(anyhow::Error),
    /// It could not start, or something broke. Exit code 1.
    Failed(anyhow::Error),
}

impl Exit {
    /// Wrong usage, for `map_err`.
    pub fn usage(cause: impl Into<anyhow::Error>) -> Self {
        Self::Usage(cause.into())
    }

    /// Arguments that cannot be understood, as the parser of command lines says it: it begins with `error: `, as does
    /// what [`code`] says.
    pub fn command_line(said: &str) -> Self {
        Self::Usage(anyhow::anyhow!("{}", said.trim_start_matches("error: ").trim_end()))
    }

    /// The code that the process ends with.
    pub const fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => 64,
            Self::Failed(_) => 1,
        }
    }

    fn cause(&self) -> &anyhow::Error {
        match self {
            Self::Usage(cause) | Self::Failed(cause) => cause,
        }
    }
}

impl<E: Into<anyhow::Error>> From<E> for Exit {
    fn from(cause: E) -> Self {
        Self::Failed(cause.into())
    }
}

/// What `main` returns: says the cause, if there is one (logged, or plain before logs are set up).
pub fn code(result: Result<(), Exit>) -> ExitCode {
    let Err(exit) = result else { return ExitCode::SUCCESS };
    let cause = exit.cause();
    if tracing::dispatcher::has_been_set() {
        tracing::error!(target: "process", exit_code = exit.code(), cause = format!("{cause:#}"), "process_failed");
    } else {
        eprintln!("error: {cause:#}");
    }
    ExitCode::from(exit.code())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_mark_means_failed_and_usage_is_said_explicitly() {
        fn fails() -> Result<(), Exit> {
            Err(std::io::Error::other("broken"))?;
            Ok(())
        }
        assert_eq!(fails().expect_err("it fails").code(), 1);
        assert_eq!(Exit::usage(anyhow::anyhow!("no such key")).code(), 64);
        assert_eq!(Exit::command_line("error: no such flag\n\n").cause().to_string(), "no such flag");
        assert_eq!(format!("{:?}", code(Ok(()))), format!("{:?}", ExitCode::SUCCESS));
        assert_eq!(format!("{:?}", code(Err(Exit::usage(anyhow::anyhow!("x"))))), format!("{:?}", ExitCode::from(64)));
    }
}
