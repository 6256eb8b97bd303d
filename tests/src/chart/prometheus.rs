//! Debian's Prometheus.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

use crate::cluster::Parts;

/// Its programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prometheus {
    /// `prometheus`.
    Server,
    /// `promtool`.
    Tool,
}

impl Prometheus {
    /// Where the program is.
    pub fn program(self) -> Result<PathBuf> {
        let program = match self {
            Self::Server => "prometheus",
            Self::Tool => "promtool",
        };
        let program = Parts::read()?.part("prometheus", program)?;
        ensure!(program.exists(), "{} is not there: run `make chart-tools`", program.display());
        Ok(program)
    }

    /// What `promtool` says when it is called with these arguments and is given `input`. The error is what it says.
    pub fn tool<I: AsRef<str>>(arguments: &[I], input: &str) -> Result<String> {
        let mut command = Command::new(Self::Tool.program()?);
        command.env_clear().args(arguments.iter().map(AsRef::as_ref));
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("starting promtool")?;
        // It says nothing before it has read all.
        child.stdin.take().context("it is piped")?.write_all(input.as_bytes())?;
        let Output { status, stdout, stderr } = child.wait_with_output()?;
        let said = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        if !status.success() {
            bail!("{said}");
        }
        Ok(said)
    }
}
