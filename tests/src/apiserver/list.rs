//! LIST: which version it shows, and in which pages (`resourceVersion` semantics of the API concepts page).

use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};

use super::object::{Form, Key, Object};
use super::selector::Selector;
use super::state::State;
use super::status::Status;
use super::target::{Query, Target};

/// Which version a LIST, a GET or a watch asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// No version: the newest.
    Latest,
    /// `resourceVersion=0`: whatever the cache has.
    Any,
    NotOlderThan(u64),
    Exact(u64),
}

/// A LIST as asked.
pub(super) struct List<'a> {
    target: &'a Target,
    selector: Selector,
    wanted: Wanted,
    limit: Option<usize>,
    /// Namespace and name after which a further page begins.
    after: Option<Key>,
    form: Form,
}

impl Wanted {
    fn parse(query: &Query) -> Result<Self, Status> {
        let version = match query.get("resourceVersion") {
            None => None,
            Some(text) => Some(
                text.parse::<u64>()
                    .map_err(|_| Status::bad_request(format!("Invalid value: \"{text}\": resourceVersion")))?,
            ),
        };
        match (query.get("resourceVersionMatch"), version) {
            (None, None) => Ok(Self::Latest),
            (None | Some("NotOlderThan"), Some(0)) => Ok(Self::Any),
            // Before there was a match parameter, a limit made the version an exact one.
            (None, Some(version)) if query.get("limit").is_some() => Ok(Self::Exact(version)),
            (None | Some("NotOlderThan"), Some(version)) => Ok(Self::NotOlderThan(version)),
            (Some("Exact"), Some(version)) if version > 0 => Ok(Self::Exact(version)),
            (Some(_), None) => {
                Err(Status::bad_request("resourceVersionMatch is forbidden unless resourceVersion is provided"))
            }
            (Some(other), Some(_)) => {
                Err(Status::bad_request(format!("resourceVersionMatch: Unsupported value: {other:?}")))
            }
        }
    }
}

impl<'a> List<'a> {
    pub(super) fn parse(target: &'a Target, query: &Query, form: Form) -> Result<Self, Status> {
        let selector = Selector::parse(query, &target.resource()).map_err(Status::bad_request)?;
        let limit = match query.get("limit").map(str::parse::<usize>) {
            None | Some(Ok(0)) => None,
            Some(Ok(limit)) => Some(limit),
            Some(Err(_)) => return Err(Status::bad_request("limit: Invalid value")),
        };
        let (wanted, after) = match query.get("continue") {
            None => (Wanted::parse(query)?, None),
            Some(_) if query.get("resourceVersion").is_some_and(|version| version != "0") => {
                let message = "specifying resource version is not allowed when using continue";
                return Err(Status::bad_request(message));
            }
            Some(token) => {
                let (version, after) =
                    read_token(token).ok_or_else(|| Status::bad_request("continue key is not valid"))?;
                (Wanted::Exact(version), Some(after))
            }
        };
        Ok(Self { target, selector, wanted, limit, after, form })
    }

    /// The version that must be there before the answer.
    pub(super) fn needs(&self) -> u64 {
        match self.wanted {
            Wanted::NotOlderThan(version) | Wanted::Exact(version) => version,
            Wanted::Latest | Wanted::Any => 0,
        }
    }

    /// The version that this LIST can see now: the cache's may lag.
    pub(super) fn visible(&self, state: &State) -> u64 {
        match self.wanted {
            // Events are not cached.
            Wanted::Any | Wanted::NotOlderThan(_) if self.target.plural != "events" => state.cache_version(),
            _ => state.store.version(),
        }
    }

    pub(super) fn answer(&self, state: &mut State) -> Result<Bytes, Status> {
        let version = match self.wanted {
            Wanted::Exact(version) => version,
            _ => self.visible(state),
        };
        let current = state.store.version();
        let namespace = self.target.namespace.as_deref();
        let collection = state.store.collection(self.target);
        let mut objects = if version == current {
            collection.select(namespace, &self.selector)
        } else {
            collection.select_at(version, namespace, &self.selector).map_err(|_| match self.after {
                Some(_) => Status::continue_expired(),
                None => Status::list_expired(),
            })?
        };
        let (kind, api_version) = collection.kind.list_header(self.form);
        let mut metadata = json!({"resourceVersion": version.to_string()});
        self.page(&mut objects, version, &mut metadata);
        Ok(body(&kind, api_version, &metadata, &objects, self.form))
    }

    /// The keys of all selected objects as they are now.
    pub(super) fn keys(&self, state: &mut State) -> Vec<Key> {
        let collection = state.store.collection(self.target);
        let objects = collection.select(self.target.namespace.as_deref(), &self.selector);
        objects.iter().map(|object| key(object)).map(|(namespace, name)| (namespace.into(), name.into())).collect()
    }

    /// Leaves one page of the objects, and in the metadata how to get the next.
    fn page(&self, objects: &mut Vec<Arc<Object>>, version: u64, metadata: &mut Value) {
        if let Some(after) = &self.after {
            objects.retain(|object| key(object) > (after.0.as_str(), after.1.as_str()));
        }
        // The cache serves any version whole.
        let Some(limit) = self.limit.filter(|_| self.wanted != Wanted::Any) else { return };
        if objects.len() <= limit {
            return;
        }
        let rest = objects.len() - limit;
        objects.truncate(limit);
        if let Some(last) = objects.last() {
            metadata["continue"] = json!(write_token(version, key(last)));
            if self.selector.is_empty() {
                metadata["remainingItemCount"] = json!(rest);
            }
        }
    }
}

fn body(kind: &str, api_version: &str, metadata: &Value, objects: &[Arc<Object>], form: Form) -> Bytes {
    let size: usize = objects.iter().map(|object| object.item(form).len() + 1).sum();
    let mut body = Vec::with_capacity(size + 256);
    body.extend_from_slice(
        format!("{{\"kind\":\"{kind}\",\"apiVersion\":\"{api_version}\",\"metadata\":{metadata},\"items\":[")
            .as_bytes(),
    );
    for (at, object) in objects.iter().enumerate() {
        if at > 0 {
            body.push(b',');
        }
        body.extend_from_slice(object.item(form));
    }
    body.extend_from_slice(b"]}\n");
    body.into()
}

fn key(object: &Object) -> (&str, &str) {
    (object.selectable.field("metadata.namespace"), object.selectable.field("metadata.name"))
}

/// An opaque token: version, namespace and name in hexadecimal.
fn write_token(version: u64, (namespace, name): (&str, &str)) -> String {
    let mut token = String::new();
    for byte in format!("{version}/{namespace}/{name}").bytes() {
        let _ = write!(token, "{byte:02x}");
    }
    token
}

fn read_token(token: &str) -> Option<(u64, Key)> {
    let bytes = (0..token.len())
        .step_by(2)
        .map(|at| token.get(at..at + 2).and_then(|digits| u8::from_str_radix(digits, 16).ok()))
        .collect::<Option<Vec<u8>>>()?;
    let text = String::from_utf8(bytes).ok()?;
    let mut parts = text.splitn(3, '/');
    let version = parts.next()?.parse().ok()?;
    Some((version, (parts.next()?.to_string(), parts.next()?.to_string())))
}
