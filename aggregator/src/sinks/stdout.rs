//! Standard output: one record a line, for whoever collects the logs, and for trying out.

use std::fmt;

use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::sync::Mutex;

use super::Sent;
use crate::forward::outbox::Record;

/// A stream that takes lines.
pub struct Stdout(Mutex<Box<dyn AsyncWrite + Send + Unpin>>);

impl Stdout {
    /// Lines into `stream`.
    pub fn new(stream: impl AsyncWrite + Send + Unpin + 'static) -> Self {
        Self(Mutex::new(Box::new(stream)))
    }

    /// Writes `records`, and returns when they have left the process. (JSON keeps line ends out of a body.)
    pub(super) async fn send(&self, records: &[Record]) -> Sent {
        let lines: String = records.iter().flat_map(|record| [&*record.body, "\n"]).collect();
        let mut stream = self.0.lock().await;
        let written = async {
            stream.write_all(lines.as_bytes()).await?;
            stream.flush().await
        };
        match written.await {
            Ok(()) => Sent::DELIVERED,
            Err(error) => Sent::failed(format!("standard output cannot be written: {error}")),
        }
    }
}

impl fmt::Debug for Stdout {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Stdout")
    }
}
