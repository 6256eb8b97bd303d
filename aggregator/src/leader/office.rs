//! Whom a request is for: the core, where this replica leads, and else whoever does.

use std::sync::{Arc, OnceLock};

use super::Leadership;
use super::election::Role;
use crate::core::Core;

/// What the ports ask before they answer; clones say the same.
#[derive(Clone, Debug)]
pub struct Office {
    core: Arc<OnceLock<Arc<Core>>>,
    leadership: Leadership,
}

/// Another replica leads, or none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Elsewhere {
    /// Its identity; empty when nobody is known to lead.
    pub leader: Arc<str>,
    /// Where it hears agents (`IP:port`); empty when that is not known.
    pub address: Arc<str>,
}

impl Office {
    /// One that nobody holds here.
    pub fn new(leadership: Leadership) -> Self {
        Self { core: Arc::default(), leadership }
    }

    /// This replica leads from now on, with `core`.
    pub fn take(&self, core: Arc<Core>) {
        // A process leads once at the most: one that loses its office ends.
        let _ = self.core.set(core);
    }

    /// The core, while agents are well served here. Who could not renew its Lease for so long that it sends nothing may
    /// have been followed by another: its agents look for that one, and come back when there is none.
    pub fn core_for_agents(&self) -> Result<&Arc<Core>, Elsewhere> {
        let core = self.core()?;
        if self.leadership.may_send() { Ok(core) } else { Err(Elsewhere::default()) }
    }

    /// The core; or who has one.
    pub fn core(&self) -> Result<&Arc<Core>, Elsewhere> {
        self.core.get().ok_or_else(|| match self.leadership.role() {
            Role::StandingBy { leader, address } => Elsewhere { leader, address },
            // It is about to lead, or led.
            Role::Leading { .. } | Role::Ended(_) => Elsewhere::default(),
        })
    }
}
