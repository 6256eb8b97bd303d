//! Why an exchange with the aggregator failed.

use std::path::PathBuf;

use http::StatusCode;
use thiserror::Error;

/// Why an exchange with the aggregator failed. Its text is one line for logs.
#[derive(Debug, Error)]
pub enum Failure {
    /// The token file cannot be used.
    #[error("--token-file {path}: {problem}: mount a projected ServiceAccount token there")]
    Token {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// There are no CAs to verify the aggregator by.
    #[error("cannot read the aggregator's CA from ConfigMap {config_map}: {problem}")]
    Trust {
        /// Where they should be.
        config_map: String,
        /// Why they are not there.
        problem: String,
    },
    /// The message cannot be sent.
    #[error("{0}")]
    Encode(#[from] wire::EncodeError),
    /// No TCP connection.
    #[error("cannot connect to {address}: {error}")]
    Connect {
        /// Where to.
        address: String,
        /// Why not.
        error: std::io::Error,
    },
    /// The other end is not who it should be, or speaks no TLS.
    #[error("TLS with {address}: {error}")]
    Tls {
        /// Who.
        address: String,
        /// Why not.
        error: std::io::Error,
    },
    /// No HTTP/2, or it broke.
    #[error("HTTP/2: {0}")]
    Http(#[from] hyper::Error),
    /// Nothing came in time.
    #[error("no {0} in time")]
    Late(&'static str),
    /// The answer is longer than any message.
    #[error("the answer is longer than a message can be")]
    TooLong,
    /// The answer is not in the report contract.
    #[error("the answer is none of an aggregator: HTTP {0}")]
    Status(StatusCode),
    /// The answer is damaged.
    #[error("the answer cannot be read: {0}")]
    Decode(#[from] wire::DecodeError),
}

impl Failure {
    /// Every label.
    pub const LABELS: [&str; 7] = ["token", "trust", "connect", "tls", "http", "timeout", "answer"];

    /// The reason, one of few: for metrics.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Token { .. } => "token",
            Self::Trust { .. } => "trust",
            Self::Connect { .. } => "connect",
            Self::Tls { .. } => "tls",
            Self::Http(_) | Self::Encode(_) => "http",
            Self::Late(_) => "timeout",
            Self::TooLong | Self::Status(_) | Self::Decode(_) => "answer",
        }
    }
}
