//! Both helms, as people have them, with nothing of this machine's own configuration.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

/// A helm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Helm {
    /// The last of version 3.
    Three,
    /// Version 4.
    Four,
}

impl Helm {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Three, Self::Four];

    /// A command of it that knows of no cluster.
    pub fn command(self) -> Result<Command> {
        let mut command = Command::new(self.program()?);
        command.env_clear().env("HOME", std::env::temp_dir()).env("KUBECONFIG", "/dev/null").stdin(Stdio::null());
        Ok(command)
    }

    /// What it prints when it is called with these arguments. The error is what it says.
    pub fn run<I: AsRef<str>>(self, arguments: &[I]) -> Result<String> {
        let arguments = arguments.iter().map(AsRef::as_ref);
        let Output { status, stdout, stderr } = self.command()?.args(arguments).output().context("starting helm")?;
        if !status.success() {
            bail!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        }
        String::from_utf8(stdout).context("helm prints UTF-8")
    }

    /// The objects that `helm template` renders with these arguments.
    pub fn template<I: AsRef<str>>(self, arguments: &[I]) -> Result<Vec<Value>> {
        let arguments: Vec<_> = ["template"].into_iter().chain(arguments.iter().map(AsRef::as_ref)).collect();
        let text = self.run(&arguments)?;
        let objects = text.split("\n---\n").map(super::yaml).collect::<Result<Vec<_>>>();
        Ok(objects.context("helm template prints YAML")?.into_iter().filter(|object| !object.is_null()).collect())
    }

    /// The notes that an installation with these arguments shows. Only helm 4 shows them without a cluster.
    pub fn notes<I: AsRef<str>>(arguments: &[I]) -> Result<String> {
        let install = ["install", "--dry-run=client"].into_iter();
        let arguments: Vec<_> = install.chain(arguments.iter().map(AsRef::as_ref)).collect();
        let text = Self::Four.run(&arguments)?;
        let (_, notes) = text.split_once("\nNOTES:\n").context("helm install prints notes")?;
        Ok(notes.to_owned())
    }

    /// Where it is.
    pub fn program(self) -> Result<PathBuf> {
        let part = match self {
            Self::Three => "helm3",
            Self::Four => "helm4",
        };
        super::tool(part, "helm")
    }
}
