//! Kubeconfig files. They are written as JSON, which is YAML, too.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// Who asks.
pub(super) enum Credentials<'a> {
    Certificate {
        certificate: &'a Path,
        key: &'a Path,
    },
    /// A bearer token that clients read again when the file changes.
    TokenFile(&'a Path),
}

/// Writes a kubeconfig with one cluster, one user and one context, all named `tocsin`.
pub(super) fn write(path: &Path, api_url: &str, authority: &Path, credentials: &Credentials<'_>) -> Result<()> {
    let user: Value = match credentials {
        Credentials::Certificate { certificate, key } => {
            json!({ "client-certificate": certificate, "client-key": key })
        }
        Credentials::TokenFile(file) => json!({ "tokenFile": file }),
    };
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{
            "name": "tocsin",
            "cluster": { "server": api_url, "certificate-authority": authority },
        }],
        "users": [{ "name": "tocsin", "user": user }],
        "contexts": [{ "name": "tocsin", "context": { "cluster": "tocsin", "user": "tocsin" } }],
        "current-context": "tocsin",
    });
    std::fs::write(path, config.to_string()).with_context(|| format!("writing {}", path.display()))
}
