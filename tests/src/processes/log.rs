//! The lines that a process writes, and waiting for them.

use std::io::{BufRead as _, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// More lines than any test's process has to write; later ones are dropped.
const LINES_MAX: usize = 200_000;

#[derive(Debug, Default)]
pub(super) struct Log {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<String>,
    open: usize,
}

impl Log {
    /// Collects an output's lines until it is closed.
    pub(super) fn follow(self: &Arc<Self>, output: impl Read + Send + 'static) {
        self.lock().open += 1;
        let log = Arc::clone(self);
        thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                log.push(String::from_utf8_lossy(&line).into_owned());
            }
            log.lock().open -= 1;
            log.changed.notify_all();
        });
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.lock().lines.clone()
    }

    /// The first that `probe` finds; `None` at the limit, or when all outputs are closed.
    pub(super) fn until<T>(&self, limit: Duration, mut probe: impl FnMut(&str) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + limit;
        let mut seen = 0;
        let mut state = self.lock();
        loop {
            let found = state.lines[seen..].iter().find_map(|line| probe(line));
            seen = state.lines.len();
            if found.is_some() || state.open == 0 {
                return found;
            }
            state = self.wait(state, deadline)?;
        }
    }

    /// How many lines there are.
    pub(super) fn count(&self) -> usize {
        self.lock().lines.len()
    }

    /// Whether there are more than `seen` lines by the deadline; no more come when all outputs are closed.
    pub(super) fn until_more(&self, seen: usize, deadline: Instant) -> bool {
        let mut state = self.lock();
        while state.lines.len() <= seen && state.open > 0 {
            match self.wait(state, deadline) {
                Some(changed) => state = changed,
                None => return false,
            }
        }
        state.lines.len() > seen
    }

    /// Whether all outputs are closed within the limit.
    pub(super) fn until_closed(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let mut state = self.lock();
        while state.open > 0 {
            match self.wait(state, deadline) {
                Some(changed) => state = changed,
                None => return false,
            }
        }
        true
    }

    fn push(&self, line: String) {
        let mut state = self.lock();
        if state.lines.len() < LINES_MAX {
            state.lines.push(line);
        }
        drop(state);
        self.changed.notify_all();
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, deadline: Instant) -> Option<MutexGuard<'a, State>> {
        let left = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
        Some(self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
