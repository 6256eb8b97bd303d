//! A bearer token in a file. It is read for every request, so a new one is used at once however the file is replaced
//! (a mounted Secret changes through a symlink), and it is not kept: what is remembered is its hash.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use http::HeaderValue;
use process::file;
use ring::digest::{SHA256, digest};

/// A file with a token.
#[derive(Debug)]
pub(super) struct TokenFile {
    path: PathBuf,
    /// The hash of what it said when it was used last; `None` when there was no token in it.
    used: Mutex<Option<Hash>>,
}

pub(super) type Hash = [u8; 32];

/// A longer file is no token.
const TOKEN_BYTES_MAX: usize = 64 * 1024;

impl TokenFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, used: Mutex::default() }
    }

    /// The `Authorization` header with the token as it is now; an error says what is wrong with the file.
    pub(super) async fn bearer(&self) -> Result<HeaderValue, String> {
        let read = self.read().await;
        self.set_used(read.as_deref().ok().map(hash));
        let mut header = HeaderValue::try_from(format!("Bearer {}", read?)).map_err(|_| {
            self.fault("holds characters that no token has: write the token alone into it, as one line")
        })?;
        header.set_sensitive(true);
        Ok(header)
    }

    /// Whether it says something else than when it was used last.
    pub(super) async fn has_changed(&self) -> bool {
        let now = self.read().await.ok().as_deref().map(hash);
        now != *self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_used(&self, hash: Option<Hash>) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = hash;
    }

    async fn read(&self) -> Result<String, String> {
        let text = file::text(&self.path, TOKEN_BYTES_MAX).await;
        match text.map_err(|error| self.fault(&format!("cannot be read: {error}")))?.trim() {
            "" => Err(self.fault("is empty: write the token into it")),
            token => Ok(token.to_owned()),
        }
    }

    fn fault(&self, what: &str) -> String {
        format!("tokenFile {} {what}", self.path.display())
    }
}

/// Tells secrets apart without keeping them.
pub(super) fn hash(secret: &str) -> Hash {
    digest(&SHA256, secret.as_bytes()).as_ref().try_into().expect("SHA-256 has 32 bytes")
}
