//! TLS with rustls and ring: a server whose key pair and a client whose CA bundle are read again when they change.
//!
//! Files are compared by content every [`RELOAD_INTERVAL`], without inotify: Secrets are swapped through a symlink, and
//! other mounts tell nobody. What cannot be used is logged, and what was loaded before goes on serving.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use thiserror::Error;

use crate::file;

mod client;
mod pem;
mod server;

pub use client::{ClientTls, server_name};
pub use server::ServerTls;

/// How often files are looked at. The kubelet takes about a minute to refresh a mounted Secret.
pub const RELOAD_INTERVAL: Duration = Duration::from_secs(10);
/// Larger than any key pair or bundle of CAs.
const PEM_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Which file, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{origin}: {problem}")]
pub struct Error {
    origin: Origin,
    problem: String,
}

/// Where PEM text came from.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Origin {
    File(PathBuf),
    /// Named by whoever handed it in.
    Given(&'static str),
}

/// Makes ring the process's cryptography, for libraries that ask for a default. Once, before anything speaks TLS.
pub fn use_ring() {
    // An error says that there is a default already: with ring as the only provider built in, the same one.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

fn ring() -> std::sync::Arc<CryptoProvider> {
    std::sync::Arc::new(rustls::crypto::ring::default_provider())
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    file::read_blocking(path, PEM_BYTES_MAX)
        .map_err(|error| Error::new(Origin::File(path.into()), format!("cannot be read: {error}")))
}

impl Error {
    fn new(origin: Origin, problem: impl Into<String>) -> Self {
        Self { origin, problem: problem.into() }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(out),
            Self::Given(name) => out.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests;
