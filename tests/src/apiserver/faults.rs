//! Scripted faults: which requests they meet, and what happens to those.

use std::time::Duration;

/// Which requests, or open watches, a script means. Start with a verb or [`On::anything`] and narrow it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct On {
    verb: Option<&'static str>,
    resource: Option<String>,
    selector: Option<String>,
    user: Option<String>,
}

/// What a fault does to a request.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Answers this HTTP status, with `Retry-After` if given, and the `Status` that belongs to it.
    Status {
        /// The HTTP status.
        code: u16,
        /// Seconds for `Retry-After`.
        retry_after_s: Option<u64>,
    },
    /// Answers this body with 200, whatever it is.
    Garbage(String),
    /// Answers as usual, later.
    Delay(Duration),
    /// Takes the request and says nothing until the fault is lifted; then answers as usual.
    BlackHole,
    /// Breaks the connection (HTTP/1.1) or stream (HTTP/2) off without an answer.
    Reset,
}

/// How a watch is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The stream ends as after its timeout.
    End,
    /// The connection (HTTP/1.1) or stream (HTTP/2) is reset.
    Reset,
    /// An ERROR event with 410 Expired, then the end.
    Gone,
    /// An ERROR event with this code, then the end.
    Error(u16),
}

/// A fault that was set, to take it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FaultId(u64);

/// The faults that are set, in order.
#[derive(Debug, Default)]
pub(super) struct Faults {
    next: u64,
    set: Vec<(FaultId, On, Fault, Option<u32>)>,
}

/// What a fault or a refusal looks at.
pub(super) struct Asking<'a> {
    pub(super) verb: &'a str,
    pub(super) resource: &'a str,
    pub(super) selector: &'a str,
    pub(super) user: Option<&'a str>,
}

impl On {
    /// Every request.
    pub fn anything() -> Self {
        Self::default()
    }

    /// Requests of one verb (`get`, `list`, `watch`, `create`, `update`, `patch`, `delete`) on a resource (`pods`,
    /// `deployments.apps`, `pods/status`).
    pub fn request(verb: &'static str, resource: &str) -> Self {
        Self { verb: Some(verb), resource: Some(resource.to_string()), ..Self::default() }
    }

    /// LISTs of a resource.
    pub fn list(resource: &str) -> Self {
        Self::request("list", resource)
    }

    /// Watches of a resource.
    pub fn watch(resource: &str) -> Self {
        Self::request("watch", resource)
    }

    /// Every verb on a resource.
    pub fn resource(resource: &str) -> Self {
        Self { resource: Some(resource.to_string()), ..Self::default() }
    }

    /// Only with these selectors: labels and fields as the client writes them, joined by `;` if both are there.
    #[must_use]
    pub fn selector(mut self, selector: &str) -> Self {
        self.selector = Some(selector.to_string());
        self
    }

    /// Only from this user, as its token says.
    #[must_use]
    pub fn user(mut self, user: &str) -> Self {
        self.user = Some(user.to_string());
        self
    }

    pub(super) fn meets(&self, asking: &Asking<'_>) -> bool {
        self.verb.is_none_or(|verb| verb == asking.verb)
            && self.resource.as_ref().is_none_or(|resource| resource == asking.resource)
            && self.selector.as_ref().is_none_or(|selector| selector == asking.selector)
            && self.user.as_ref().is_none_or(|user| Some(user.as_str()) == asking.user)
    }
}

impl Fault {
    /// Answers 429 with `Retry-After`.
    pub fn too_many_requests(retry_after_s: u64) -> Self {
        Self::Status { code: 429, retry_after_s: Some(retry_after_s) }
    }

    /// Answers this HTTP status.
    pub fn status(code: u16) -> Self {
        Self::Status { code, retry_after_s: None }
    }
}

impl Faults {
    /// Sets a fault after those that are there, for so many requests or, with `None`, until it is lifted.
    pub(super) fn set(&mut self, on: On, fault: Fault, times: Option<u32>) -> FaultId {
        self.next += 1;
        self.set.push((FaultId(self.next), on, fault, times));
        FaultId(self.next)
    }

    pub(super) fn lift(&mut self, id: FaultId) {
        self.set.retain(|(set, ..)| *set != id);
    }

    pub(super) fn lift_all(&mut self) {
        self.set.clear();
    }

    pub(super) fn is_set(&self, id: FaultId) -> bool {
        self.set.iter().any(|(set, ..)| *set == id)
    }

    /// The first fault that meets the request; it counts as used once.
    pub(super) fn meet(&mut self, asking: &Asking<'_>) -> Option<(FaultId, Fault)> {
        let at = self.set.iter().position(|(_, on, ..)| on.meets(asking))?;
        let (id, _, fault, times) = &mut self.set[at];
        let met = (*id, fault.clone());
        // A black hole holds those it met until it is lifted, so it stays however often it was met.
        if let (Some(times), false) = (times, matches!(fault, Fault::BlackHole)) {
            *times -= 1;
            if *times == 0 {
                self.set.remove(at);
            }
        }
        Some(met)
    }
}
