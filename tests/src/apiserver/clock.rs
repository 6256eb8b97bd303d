//! The server's clock, which may differ from this machine's, and the API's ways to write a time.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::{SignedDuration, Timestamp};

/// The server's clock: this machine's plus a skew, or one that stands until it is moved.
#[derive(Debug, Default)]
pub(super) struct Clock {
    skew_ms: AtomicI64,
    stopped_ms: OnceLock<AtomicI64>,
}

impl Clock {
    /// What the server says that it is.
    pub(super) fn now(&self) -> Timestamp {
        let skew = SignedDuration::from_millis(self.skew_ms.load(Ordering::Relaxed));
        self.of_nodes().checked_add(skew).unwrap_or(Timestamp::MAX)
    }

    /// What the nodes' clocks say: they have no skew.
    pub(super) fn of_nodes(&self) -> Timestamp {
        let stopped = self.stopped_ms.get().map(|at| at.load(Ordering::Relaxed));
        stopped.map_or_else(Timestamp::now, |at| Timestamp::from_millisecond(at).unwrap_or(Timestamp::MAX))
    }

    /// From now on it stands at `now`, until it is moved.
    pub(super) fn stop_at(&self, now: Timestamp) {
        self.stopped_ms.get_or_init(AtomicI64::default).store(now.as_millisecond(), Ordering::Relaxed);
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
