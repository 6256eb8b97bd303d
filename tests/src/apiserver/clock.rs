//! The server's clock, which may differ from this machine's, and the API's ways to write a time.

use std::sync::atomic::{AtomicI64, Ordering};

use jiff::{SignedDuration, Timestamp};

/// The server's clock: this machine's plus a skew.
#[derive(Debug, Default)]
pub(super) struct Clock {
    skew_ms: AtomicI64,
}

impl Clock {
    /// What the server says that it is.
    pub(super) fn now(&self) -> Timestamp {
        let skew = SignedDuration::from_millis(self.skew_ms.load(Ordering::Relaxed));
        Timestamp::now().checked_add(skew).unwrap_or(Timestamp::MAX)
    }

    /// Sets how far the server is ahead of this machine.
    pub(super) fn set_skew(&self, skew: SignedDuration) {
        self.skew_ms.store(skew.as_millis().try_into().unwrap_or(i64::MAX), Ordering::Relaxed);
    }
}

/// `metav1.Time`: RFC 3339 in whole seconds.
pub fn seconds(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// `metav1.MicroTime`: RFC 3339 in microseconds.
pub fn micros(at: Timestamp) -> String {
    format!("{at:.6}")
}

/// The `Date` header: IMF-fixdate of RFC 9110.
pub(super) fn http_date(at: Timestamp) -> String {
    at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}
