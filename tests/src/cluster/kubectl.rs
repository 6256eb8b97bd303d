//! What a test asks of the API server, by kubectl: it is what people would use, and needs no client library here.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::kubeconfig::{self, Credentials};
use super::{Cluster, command};

impl Cluster {
    /// Runs kubectl as admin and returns what it prints.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        command::output(&mut self.kubectl_command(arguments)?)
    }

    /// Runs commands as people write them in a shell, with kubectl as admin, and returns what they print.
    pub fn shell(&self, script: &str) -> Result<String> {
        let kubectl = self.parts.kubernetes("kubectl")?;
        let folder = kubectl.parent().context("kubectl is in a folder")?.display();
        let path = std::env::var("PATH").context("there is a PATH")?;
        let mut shell = self.network.command("/bin/sh");
        shell.args(["-euc", script]).env("PATH", format!("{folder}:{path}"));
        shell.env("KUBECONFIG", self.admin_kubeconfig()).env("KUBECACHEDIR", self.folder.join("kubectl-cache"));
        command::output(&mut shell)
    }

    /// An object or a list as JSON, by kubectl's arguments after `get`.
    pub fn get(&self, arguments: &[&str]) -> Result<Value> {
        let text = self.kubectl(&[&["get", "-o", "json"], arguments].concat())?;
        serde_json::from_str(&text).context("reading kubectl's JSON")
    }

    /// Creates or updates objects from a manifest of JSON or YAML.
    pub fn apply(&self, manifest: &str) -> Result<()> {
        command::output_with_input(&mut self.kubectl_command(&["apply", "-f", "-"])?, manifest).map(|_| ())
    }

    /// Creates one object and returns the API server's answer, which for reviews is all there is.
    pub fn create(&self, object: &Value) -> Result<Value> {
        let mut kubectl = self.kubectl_command(&["create", "-o", "json", "-f", "-"])?;
        let answer = command::output_with_input(&mut kubectl, &object.to_string())?;
        serde_json::from_str(&answer).context("reading kubectl's JSON")
    }

    /// Watches objects, by kubectl's arguments after `get`, from their present state on, until `probe` gives a value. Sees
    /// every state that the API server tells, also those that last for milliseconds only (CrashLoopBackOff is one).
    pub fn watch<T>(&self, arguments: &[&str], limit: Duration, probe: impl FnMut(&Value) -> Option<T>) -> Result<T> {
        let timeout = format!("--request-timeout={}s", limit.as_secs());
        let mut kubectl = self.kubectl_command(&[&["get", "-o", "json", "--watch", &timeout], arguments].concat())?;
        command::first_json(&mut kubectl, probe).with_context(|| format!("watching {arguments:?} for {limit:?}"))
    }

    /// Waits until the namespace has its default ServiceAccount: a pod made before it is refused.
    pub fn until_pods_can_be_made(&self, namespace: &str, limit: Duration) -> Result<()> {
        self.watch(&["serviceaccounts", "-n", namespace, "--field-selector=metadata.name=default"], limit, |_| Some(()))
    }

    /// A token of a ServiceAccount from the TokenRequest API. Without an audience it is good for the API server; with a
    /// pod's name it is bound to that pod, as the tokens that the kubelet projects are.
    pub fn service_account_token(
        &self,
        namespace: &str,
        service_account: &str,
        audience: Option<&str>,
        pod: Option<&str>,
    ) -> Result<String> {
        let mut arguments = vec!["create", "token", service_account, "-n", namespace];
        if let Some(audience) = audience {
            arguments.extend(["--audience", audience]);
        }
        if let Some(pod) = pod {
            arguments.extend(["--bound-object-kind", "Pod", "--bound-object-name", pod]);
        }
        Ok(self.kubectl(&arguments)?.trim().to_owned())
    }

    /// Writes a kubeconfig of this name for a client with a bearer token in a file, which it reads again as it changes.
    pub fn kubeconfig_with_token_file(&self, name: &str, token_file: &Path) -> Result<PathBuf> {
        let path = self.kubeconfig(name);
        kubeconfig::write(&path, &self.api_url(), &self.authority(), &Credentials::TokenFile(token_file))?;
        Ok(path)
    }

    fn kubectl_command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = self.network.command(self.parts.kubernetes("kubectl")?);
        command.arg("--kubeconfig").arg(self.admin_kubeconfig());
        command.arg("--cache-dir").arg(self.folder.join("kubectl-cache")).args(arguments);
        Ok(command)
    }
}

/// The status of an object's condition: `True`, `False` or `Unknown`.
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a str> {
    let conditions = object["status"]["conditions"].as_array()?;
    conditions.iter().find(|condition| condition["type"] == kind)?["status"].as_str()
}
