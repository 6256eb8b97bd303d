//! What was asked of the server, counted, so that tests can assert what a client costs.

use std::collections::BTreeMap;

/// One kind of request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Request {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: String,
    /// `pods`, `deployments.apps`, `pods/status`.
    pub resource: String,
    /// The namespace in its path; empty for the whole cluster, and for what is in none.
    pub namespace: String,
    /// Label and field selector as the client wrote them, joined by `;` if both are there; empty for none.
    pub selector: String,
}

/// How often each kind of request came, since the start or the last [`forget`](super::ApiServer::forget_requests).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked(BTreeMap<Request, u64>);

impl Asked {
    pub(super) fn count(&mut self, verb: &str, resource: &str, namespace: &str, selector: &str) {
        let [verb, resource, namespace, selector] = [verb, resource, namespace, selector].map(str::to_owned);
        let request = Request { verb, resource, namespace, selector };
        *self.0.entry(request).or_default() += 1;
    }

    /// All kinds of request that came, with their counts.
    pub fn all(&self) -> &BTreeMap<Request, u64> {
        &self.0
    }

    /// Requests of a verb on a resource, with any selector.
    pub fn of(&self, verb: &str, resource: &str) -> u64 {
        self.sum(|asked| asked.verb == verb && asked.resource == resource)
    }

    /// Requests of a verb on a resource with exactly this selector.
    pub fn with(&self, verb: &str, resource: &str, selector: &str) -> u64 {
        self.sum(|asked| asked.verb == verb && asked.resource == resource && asked.selector == selector)
    }

    /// All requests.
    pub fn total(&self) -> u64 {
        self.sum(|_| true)
    }

    fn sum(&self, is_meant: impl Fn(&Request) -> bool) -> u64 {
        self.0.iter().filter(|(asked, _)| is_meant(asked)).map(|(_, count)| count).sum()
    }
}
