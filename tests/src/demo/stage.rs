//! The story's time: messages are shown as they arrive and held against what the story expects, and Ctrl-C ends it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::timeout_at;

use super::screen::{Screen, short};
use crate::installation::Installation;
use crate::receiver::Received;

/// How long an expected message may take.
const LIMIT: Duration = Duration::from_secs(30);

/// What was told so far, and who may end the story early.
#[derive(Debug)]
pub(super) struct Stage {
    screen: Screen,
    interrupted: watch::Receiver<bool>,
    /// Messages that may have come already.
    allowed: BTreeSet<String>,
    /// Messages that came, by key.
    keys: BTreeSet<String>,
    told: Vec<String>,
    seen: usize,
    /// Hears signals from the beginning on.
    _signals: Runtime,
}

impl Stage {
    pub(super) fn new() -> Result<Self> {
        let signals = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let (sender, interrupted) = watch::channel(false);
        let (mut interrupt, mut terminate) = {
            let _context = signals.enter();
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
        };
        drop(signals.spawn(async move {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                sender.send_replace(true);
            }
        }));
        Ok(Self {
            screen: Screen::new(),
            interrupted,
            allowed: BTreeSet::new(),
            keys: BTreeSet::new(),
            told: Vec::new(),
            seen: 0,
            _signals: signals,
        })
    }

    pub(super) fn narrate(&self, text: &str) {
        self.screen.step(text);
    }

    pub(super) fn note(&self, text: &str) {
        self.screen.note(text);
    }

    /// How many messages were told.
    pub(super) fn told(&self) -> usize {
        self.told.len()
    }

    pub(super) fn is_interrupted(&self) -> bool {
        *self.interrupted.borrow()
    }

    /// These may be told from now on, and need not.
    pub(super) fn allows(&mut self, messages: &[&str]) {
        self.allowed.extend(messages.iter().map(ToString::to_string));
    }

    /// Shows what is told until all of these were, at least for so long. Anything else that is told is an error, and so is
    /// one of these that does not come.
    pub(super) fn hears(&mut self, installation: &Installation, messages: &[&str], at_least: Duration) -> Result<()> {
        self.allows(messages);
        let (earliest, latest) = (Instant::now() + at_least, Instant::now() + LIMIT);
        loop {
            let missing: Vec<_> =
                messages.iter().filter(|message| !self.told.iter().any(|told| told == *message)).collect();
            let until = if missing.is_empty() { earliest } else { latest };
            if !self.hear(installation, until)? {
                ensure!(missing.is_empty(), "not told within {LIMIT:?}: {missing:?}");
                return Ok(());
            }
        }
    }

    /// Shows what is told until somebody presses Ctrl-C.
    pub(super) fn until_interrupted(&mut self, installation: &Installation) {
        let far = Duration::from_hours(24 * 365);
        while self.hear(installation, Instant::now() + far).is_ok() {}
    }

    /// Takes in the next request, if one comes in time.
    fn hear(&mut self, installation: &Installation, until: Instant) -> Result<bool> {
        let mut interrupted = self.interrupted.clone();
        let seen = self.seen;
        let limit = Duration::from_hours(24 * 365);
        // One without an answer yet was not told yet.
        let is_next = |received: &[Received]| received.get(seen).is_some_and(|request| request.status.is_some());
        let heard = installation.block_on(async {
            tokio::select! {
                _ = interrupted.wait_for(|interrupted| *interrupted) => bail!("the story was not told to its end"),
                heard = timeout_at(until.into(), installation.outside.until("a request", limit, is_next)) => Ok(heard.ok()),
            }
        })?;
        let Some(received) = heard else { return Ok(false) };
        let request = received?[seen].clone();
        self.seen += 1;
        for (key, record) in request.keyed().into_iter().filter(|_| request.accepted()) {
            // The same key is the same message once more.
            if !self.keys.insert(key.to_owned()) {
                continue;
            }
            self.screen.message(record);
            let told = short(record);
            ensure!(self.allowed.contains(&told), "told, and the story does not expect it: {told}");
            ensure!(!self.told.contains(&told), "told twice: {told}");
            self.told.push(told);
        }
        Ok(true)
    }
}
