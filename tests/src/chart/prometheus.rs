//! Debian's Prometheus: its tool, and a server that scrapes.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cluster::wait;
use crate::processes::Process;

/// Its programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prometheus {
    /// `prometheus`.
    Server,
    /// `promtool`.
    Tool,
}

/// A server that scrapes every second. It ends with the value.
#[derive(Debug)]
pub struct Scraping {
    process: Process,
    url: String,
    _folder: TempDir,
}

/// Far above what anything takes, also on a busy machine.
const LIMIT: Duration = Duration::from_mins(1);

impl Prometheus {
    /// Where the program is.
    pub fn program(self) -> Result<PathBuf> {
        let program = match self {
            Self::Server => "prometheus",
            Self::Tool => "promtool",
        };
        super::tool("prometheus", program)
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

impl Scraping {
    /// Starts one that scrapes these targets, each `HOST:PORT`.
    pub fn start(targets: &[String]) -> Result<Self> {
        let folder = TempDir::new()?;
        let file = folder.path().join("prometheus.yaml");
        // JSON is YAML, too.
        let config = json!({
            "global": {"scrape_interval": "1s"},
            "scrape_configs": [{"job_name": "tocsin", "static_configs": [{"targets": targets}]}],
        });
        std::fs::write(&file, config.to_string())?;
        let mut command = Command::new(Prometheus::Server.program()?);
        command
            .env_clear()
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg("--web.listen-address=127.0.0.1:0");
        let process = Process::start("prometheus", &mut command)?;
        let listens =
            |line: &str| line.split_once("msg=\"Listening on\" address=").map(|(_, address)| address.to_owned());
        let address = process.until_line("where it listens", LIMIT, listens)?;
        let url = format!("http://{}", address.trim());
        Ok(Self { process, url, _folder: folder })
    }

    /// Asks for this expression until it gives a number for something. It does not say when it has scraped.
    pub fn until_data(&self, expression: &str) -> Result<()> {
        let arguments = ["query", "instant", "--format", "json", &self.url, expression];
        let data = wait::until(expression, LIMIT, || {
            let samples: Vec<Value> = serde_json::from_str(&Prometheus::tool(&arguments, "")?)?;
            let number = samples.iter().find(|sample| sample["value"][1].as_str().is_some_and(|value| value != "NaN"));
            Ok(number.map(|_| ()))
        });
        data.with_context(|| self.process.tail())
    }
}
