//! Whether the process is ready for traffic, and what it still waits for.
//!
//! Whoever must finish something first takes a [`Handle`]; the process is ready when every handle has said so or was
//! dropped. A handle that was ready can say unready again, with a reason that `/readyz` shows.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a handle may say of itself, in characters.
const REASON_CHARS_MAX: usize = 300;

/// The process's readiness; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<State>>);

/// One thing that must be ready. Dropping it means that there is nothing more to wait for.
#[derive(Debug)]
pub struct Handle {
    readiness: Readiness,
    id: u64,
}

#[derive(Debug, Default)]
struct State {
    next_id: u64,
    waiting: BTreeMap<u64, Waiting>,
    shutting_down: bool,
}

#[derive(Debug)]
struct Waiting {
    name: &'static str,
    /// Why it is not ready; `None` when it is.
    reason: Option<String>,
}

impl Readiness {
    /// A process that waits for nothing yet, hence is ready. Take the handles before the admin port opens.
    pub fn new() -> Self {
        Self::default()
    }

    /// A thing to wait for, not ready at first. `name` is shown in the body of `/readyz`.
    pub fn handle(&self, name: &'static str) -> Handle {
        let mut state = self.lock();
        let id = state.next_id;
        state.next_id += 1;
        state.waiting.insert(id, Waiting { name, reason: Some("starting".into()) });
        drop(state);
        Handle { readiness: self.clone(), id }
    }

    /// Unready for good: the process is ending.
    pub fn shut_down(&self) {
        self.lock().shutting_down = true;
    }

    /// Whether everything is ready.
    pub fn is_ready(&self) -> bool {
        self.unready_because().is_none()
    }

    /// What the process waits for, one `name: reason` a line; `None` when it is ready.
    pub fn unready_because(&self) -> Option<String> {
        let state = self.lock();
        if state.shutting_down {
            return Some("shutting down\n".into());
        }
        let mut reasons = String::new();
        for Waiting { name, reason } in state.waiting.values() {
            if let Some(reason) = reason {
                writeln!(reasons, "{name}: {reason}").expect("a String takes any text");
            }
        }
        (!reasons.is_empty()).then_some(reasons)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A map that is valid after every statement.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handle {
    /// This is ready.
    pub fn ready(&self) {
        self.set(None);
    }

    /// This is not ready, or not any more, for a reason in one line.
    pub fn unready(&self, reason: impl Into<String>) {
        let mut reason = reason.into();
        if let Some((end, _)) = reason.char_indices().nth(REASON_CHARS_MAX) {
            reason.truncate(end);
        }
        self.set(Some(reason));
    }

    fn set(&self, reason: Option<String>) {
        if let Some(waiting) = self.readiness.lock().waiting.get_mut(&self.id) {
            waiting.reason = reason;
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.readiness.lock().waiting.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_when_every_handle_is_ready_or_dropped() {
        let readiness = Readiness::new();
        let (list, session) = (readiness.handle("first list"), readiness.handle("session"));
        assert_eq!(readiness.unready_because().as_deref(), Some("first list: starting\nsession: starting\n"));
        list.ready();
        assert!(!readiness.is_ready());
        drop(session);
        assert!(readiness.is_ready());
    }

    #[test]
    fn a_handle_may_become_unready_again_and_says_why() {
        let readiness = Readiness::new();
        let list = readiness.handle("first list");
        list.ready();
        list.unready("403 Forbidden");
        assert_eq!(readiness.unready_because().as_deref(), Some("first list: 403 Forbidden\n"));
        list.unready("ü".repeat(10_000));
        assert!(readiness.unready_because().is_some_and(|reasons| reasons.chars().count() < 400));
    }

    #[test]
    fn nothing_is_ready_once_the_process_shuts_down() {
        let readiness = Readiness::new();
        readiness.handle("first list").ready();
        readiness.shut_down();
        assert_eq!(readiness.unready_because().as_deref(), Some("shutting down\n"));
    }
}
