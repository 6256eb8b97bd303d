//! The two requests on the wire. kube carries them (addresses, TLS, tokens); the URIs are ours, because its builders refuse
//! a watch longer than five minutes, and the answers are ours, because status, headers and version decide what comes next.

use std::error::Error;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use form_urlencoded::Serializer;
use http::{Request, Response, header};
use http_body_util::BodyExt as _;
use kube::Client;
use kube::client::Body;
use rules::view::{Meta, Object};
use serde::Deserialize;
use tokio::time::timeout;

use super::Options;
use super::failure::{Failure, one_line};
use super::items::{Item, Items, ListMeta};
use super::plan::{ListQuery, ListVersion, WatchQuery};

/// Without `managedFields` a pod is half its size; servers that do not know the parameter ignore it.
const ACCEPT: &str = "application/json;drop=metadata.managedFields,application/json";
/// A LIST may take the server's whole request timeout (60 s by default) to begin.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(75);
/// A LIST that has begun does not pause for longer.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(30);
/// More of an error's body than this says nothing more.
const ERROR_BYTES_MAX: usize = 64 * 1024;

/// One page of a LIST, decoded.
#[derive(Debug)]
pub(super) struct ListPage<V> {
    pub(super) objects: Vec<V>,
    /// Who could not be decoded; empty where not even that could.
    pub(super) skipped: Vec<Meta>,
    pub(super) version: String,
    pub(super) continue_token: Option<String>,
}

/// Sends a LIST and decodes its objects as they arrive.
pub(super) async fn list<V: Object>(
    client: Client,
    uri: String,
    list_bytes_max: usize,
    object_bytes_max: usize,
) -> Result<ListPage<V>, Failure> {
    let mut body = send(client, uri).await?.into_body();
    let mut items = Items::new(object_bytes_max);
    let (mut objects, mut skipped, mut bytes) = (Vec::new(), Vec::new(), 0);
    while let Some(chunk) = next_chunk(&mut body, CHUNK_TIMEOUT).await? {
        bytes += chunk.len();
        if bytes > list_bytes_max {
            let limit = list_bytes_max / (1024 * 1024);
            return Err(Failure::Unusable(format!("the list is larger than {limit} MiB: raise its limit")));
        }
        let decode = |item: Item<'_>| match decode_item(item) {
            Ok(object) => objects.push(object),
            Err(meta) => skipped.push(*meta),
        };
        items.push(&chunk, decode).map_err(|error| Failure::Unusable(error.to_string()))?;
    }
    let ListMeta { resource_version, continue_token } =
        items.finish().map_err(|error| Failure::Unusable(error.to_string()))?;
    let version = resource_version
        .filter(|version| !version.is_empty())
        .ok_or_else(|| Failure::Unusable("a list without a version".into()))?;
    let continue_token = continue_token.filter(|token| !token.is_empty());
    Ok(ListPage { objects, skipped, version, continue_token })
}

/// Sends a WATCH; its body streams.
pub(super) async fn watch(client: Client, uri: String) -> Result<Body, Failure> {
    Ok(send(client, uri).await?.into_body())
}

/// The next bytes of a body, trailers passed over; `None` at its end. A read timeout of the client's is silence.
/// Cancel-safe.
pub(super) async fn next_bytes(body: &mut Body) -> Result<Option<Bytes>, Failure> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| if timed_out(&error) { Failure::Silent } else { cut(&error) })?;
        if let Ok(data) = frame.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

/// The path and query of a LIST.
pub(super) fn list_uri(collection: &str, options: &Options, list: &ListQuery) -> String {
    let mut query = selectors(options);
    if let Some(limit) = options.page_size {
        query.append_pair("limit", &limit.to_string());
    }
    match (&list.continue_token, &list.version) {
        // A token carries its version; naming one as well is refused.
        (Some(token), _) => query.append_pair("continue", token),
        (None, ListVersion::Any) => query.append_pair("resourceVersion", "0"),
        (None, ListVersion::NotOlderThan(version)) => {
            query.append_pair("resourceVersion", version).append_pair("resourceVersionMatch", "NotOlderThan")
        }
        (None, ListVersion::Newest) => &mut query,
    };
    with_query(path(collection, options.namespace.as_deref()), &query.finish())
}

/// The path and query of a WATCH.
pub(super) fn watch_uri(collection: &str, options: &Options, watch: &WatchQuery) -> String {
    let mut query = selectors(options);
    query
        .append_pair("watch", "1")
        .append_pair("resourceVersion", &watch.version)
        .append_pair("allowWatchBookmarks", "true")
        .append_pair("timeoutSeconds", &watch.timeout.as_secs().to_string());
    with_query(path(collection, options.namespace.as_deref()), &query.finish())
}

fn selectors(options: &Options) -> Serializer<'static, String> {
    let mut query = Serializer::new(String::new());
    if let Some(selector) = &options.field_selector {
        query.append_pair("fieldSelector", selector);
    }
    if let Some(selector) = &options.label_selector {
        query.append_pair("labelSelector", selector);
    }
    query
}

/// `/api/v1/pods`, or `/api/v1/namespaces/{namespace}/pods`.
fn path(collection: &str, namespace: Option<&str>) -> String {
    match (namespace, collection.rsplit_once('/')) {
        (Some(namespace), Some((group, resource))) => format!("{group}/namespaces/{namespace}/{resource}"),
        _ => collection.to_owned(),
    }
}

fn with_query(path: String, query: &str) -> String {
    if query.is_empty() { path } else { format!("{path}?{query}") }
}

/// Sends a GET and waits for the headers of a success.
async fn send(client: Client, uri: String) -> Result<Response<Body>, Failure> {
    let request = Request::get(uri)
        .header(header::ACCEPT, ACCEPT)
        .body(Body::empty())
        .map_err(|error| Failure::Unusable(format!("the request cannot be written: {error}")))?;
    let response = timeout(ANSWER_TIMEOUT, client.send(request))
        .await
        .map_err(|_| Failure::Connection(format!("no answer within {} s", ANSWER_TIMEOUT.as_secs())))?
        .map_err(|error| cut(&error))?;
    if response.status().is_success() {
        return Ok(response);
    }
    let (head, mut body) = response.into_parts();
    let mut said = Vec::new();
    // What did arrive of the error's words is enough.
    while let Ok(Some(chunk)) = next_chunk(&mut body, CHUNK_TIMEOUT).await {
        let room = ERROR_BYTES_MAX - said.len();
        said.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if said.len() == ERROR_BYTES_MAX {
            break;
        }
    }
    Err(Failure::from_answer(head.status, &head.headers, &said))
}

async fn next_chunk(body: &mut Body, patience: Duration) -> Result<Option<Bytes>, Failure> {
    match timeout(patience, next_bytes(body)).await {
        Ok(Err(Failure::Silent)) | Err(_) => {
            Err(Failure::Connection(format!("the answer paused for {} s", patience.as_secs())))
        }
        Ok(chunk) => chunk,
    }
}

/// Decodes one object of a list, or says whose it is.
fn decode_item<V: Object>(item: Item<'_>) -> Result<V, Box<Meta>> {
    #[derive(Deserialize)]
    struct OnlyMeta {
        metadata: Meta,
    }

    let Item::Whole(json) = item else { return Err(Box::default()) };
    serde_json::from_slice(json).map_err(|_| {
        let meta = serde_json::from_slice::<OnlyMeta>(json).map(|object| object.metadata);
        Box::new(meta.unwrap_or_default())
    })
}

/// The connection failed; the innermost cause says most.
fn cut(error: &(dyn Error + 'static)) -> Failure {
    Failure::Connection(one_line(&causes(error).last().map(ToString::to_string).unwrap_or_default()))
}

fn timed_out(error: &(dyn Error + 'static)) -> bool {
    let kind = |cause: &(dyn Error + 'static)| cause.downcast_ref::<io::Error>().map(io::Error::kind);
    causes(error).any(|cause| kind(cause) == Some(io::ErrorKind::TimedOut))
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body_util::StreamBody;
    use hyper::body::Frame;
    use kube::client::ClientBuilder;

    use super::*;

    const PODS: &str = "/api/v1/pods";

    fn list(options: &Options, version: ListVersion, continue_token: Option<&str>) -> String {
        list_uri(PODS, options, &ListQuery { version, continue_token: continue_token.map(Into::into) })
    }

    #[test]
    fn a_list_says_which_versions_will_do_and_is_whole_unless_pages_are_asked_for() {
        let agent = Options { field_selector: Some("spec.nodeName=node-1".into()), ..Options::default() };
        assert_eq!(
            list(&agent, ListVersion::Any, None),
            "/api/v1/pods?fieldSelector=spec.nodeName%3Dnode-1&resourceVersion=0"
        );
        assert_eq!(
            list(&agent, ListVersion::NotOlderThan("17".into()), None),
            "/api/v1/pods?fieldSelector=spec.nodeName%3Dnode-1&resourceVersion=17&resourceVersionMatch=NotOlderThan"
        );
        let all = Options::default();
        assert_eq!(list(&all, ListVersion::Newest, None), "/api/v1/pods");
        let paged = Options { page_size: Some(500), namespace: Some("a".into()), ..Options::default() };
        assert_eq!(list(&paged, ListVersion::Any, Some("t/=")), "/api/v1/namespaces/a/pods?limit=500&continue=t%2F%3D");
    }

    #[test]
    fn a_watch_asks_for_bookmarks_and_a_long_life() {
        let watch = WatchQuery { version: "17".into(), timeout: Duration::from_secs(2_345) };
        let options = Options { label_selector: Some("app=x,!y".into()), ..Options::default() };
        assert_eq!(
            watch_uri("/apis/apps/v1/deployments", &options, &watch),
            "/apis/apps/v1/deployments?labelSelector=app%3Dx%2C%21y&watch=1&resourceVersion=17\
             &allowWatchBookmarks=true&timeoutSeconds=2345"
        );
    }

    #[tokio::test]
    async fn a_read_timeout_is_silence_and_any_other_end_of_a_connection_a_failure() {
        for (kind, label) in [(io::ErrorKind::TimedOut, "silent"), (io::ErrorKind::ConnectionReset, "connection")] {
            let broken = move |_: Request<Body>| async move {
                let frames = futures::stream::iter([Err::<Frame<Bytes>, _>(io::Error::from(kind))]);
                Ok::<_, Infallible>(Response::new(StreamBody::new(frames)))
            };
            let client = ClientBuilder::new(tower::service_fn(broken), "default").build();
            let mut body = super::watch(client, "/".into()).await.expect("answered");
            assert_eq!(next_bytes(&mut body).await.expect_err("broken").label(), label);
        }
    }
}
