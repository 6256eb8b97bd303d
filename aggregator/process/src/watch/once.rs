//! One LIST that nothing follows.

use kube::Client;
use rules::view::{Meta, Object};

use super::plan::{ListQuery, ListVersion};
use super::request::{self, ListPage};
use super::{Failure, Options};

/// All objects at one moment.
#[derive(Debug, PartialEq)]
pub struct Listing<V> {
    /// Those that could be decoded.
    pub objects: Vec<V>,
    /// Those that exist and could not; an empty uid where not even that could.
    pub skipped: Vec<Meta>,
    /// `metadata.resourceVersion` of that moment.
    pub version: String,
}

/// Lists a collection: as the server has it at hand (`resourceVersion=0`), or not older than a version seen before.
pub async fn list_once<V: Object>(
    client: Client,
    options: &Options,
    not_older_than: Option<String>,
) -> Result<Listing<V>, Failure> {
    let version = not_older_than.map_or(ListVersion::Any, ListVersion::NotOlderThan);
    let options = Options { page_size: None, ..options.clone() };
    let uri = request::list_uri(V::COLLECTION, &options, &ListQuery { version, continue_token: None });
    let page = request::list(client, uri, options.list_bytes_max, options.object_bytes_max).await?;
    match page {
        ListPage { objects, skipped, version, continue_token: None } => Ok(Listing { objects, skipped, version }),
        // No server does: no limit was given.
        ListPage { .. } => Err(Failure::Unusable("only a part of the list".into())),
    }
}
