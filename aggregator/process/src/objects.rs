//! Objects of the own namespace, touched by name alone: read, changed by version, and, for the Lease, created.
//!
//! Writes are merge patches (RFC 7386) that name the version they were decided from: of two that write at once, one is told
//! so. Labels, annotations and keys that the change does not name stay as whoever manages them left them. The rights that
//! this takes are `get` and `patch` by name, and `create` for what is created.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use kube::Client;
use kube::client::Body;
use rules::view::Meta;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use thiserror::Error;
use tokio::time::timeout;

use crate::watch::one_line;

mod kinds;

pub use kinds::{Annotations, ConfigMap, Data, Deployment, Lease, LeaseMetadata, LeaseSpec, Secret};

/// The objects of one namespace; clones share the client.
#[derive(Clone)]
pub struct Objects {
    client: Client,
    namespace: String,
    deadline: Duration,
}

/// What can be read: the fields of it that are.
pub trait Kind: DeserializeOwned {
    /// Where the API has it: `/api/v1`, `/apis/apps/v1`.
    const ROOT: &'static str;
    /// As paths name it: `configmaps`.
    const PLURAL: &'static str;
    /// As objects name it: `ConfigMap`.
    const KIND: &'static str;
}

/// What can be changed, too.
pub trait Changeable: Kind {
    /// What a patch of it says, beside the version. `null` takes a field away.
    type Change: Serialize;
}

/// An object as the API server had it.
#[derive(Clone, Debug)]
pub struct Stored<T> {
    /// Name, uid, and the version that a write of ours names.
    pub metadata: Meta,
    /// The fields that are read, perhaps some of its metadata among them.
    pub content: T,
}

/// What every object has.
#[derive(Deserialize)]
struct Head {
    metadata: Meta,
}

/// With whom a created object goes: `metadata.ownerReferences`. Its fields are the API's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Owner {
    /// Group and version: `apps/v1`.
    pub api_version: &'static str,
    /// `Deployment`.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// Its uid, or it would be another one.
    pub uid: String,
}

/// Why a call came to nothing. Its text is one line.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Failure {
    /// 409: somebody else has written since the object was read, or created it first. Read it again.
    #[error("somebody else has written it meanwhile")]
    Conflict,
    /// 404.
    #[error("it does not exist")]
    NotFound,
    /// 401 or 403, in the server's words. Repeating it helps no sooner than a change of rights.
    #[error("not allowed: {0}")]
    Forbidden(String),
    /// Any other 4xx, in the server's words: the request is wrong, or too large.
    #[error("refused: {0}")]
    Invalid(String),
    /// No connection, no usable answer in time, 429 or 5xx. A write may have taken place all the same.
    #[error("the API server cannot be used: {0}")]
    Unreachable(String),
}

/// An object has at most 1.5 MiB in etcd; JSON and base64 make it larger.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;

impl Objects {
    /// Those of `namespace`. Each call has the whole of `deadline`, from the request to the end of the answer.
    pub fn new(client: Client, namespace: &str, deadline: Duration) -> Self {
        Self { client, namespace: namespace.to_owned(), deadline }
    }

    /// Reads the object `name`.
    pub async fn get<T: Kind>(&self, name: &str) -> Result<Stored<T>, Failure> {
        self.call::<T>(Method::GET, Some(name), None).await
    }

    /// Changes the object that was read as `read`, unless it was written since: then it is a [`Failure::Conflict`].
    /// Returns it as it is now.
    pub async fn patch<T: Changeable>(&self, read: &Meta, change: &T::Change) -> Result<Stored<T>, Failure> {
        let mut patch = written(change)?;
        patch["metadata"]["resourceVersion"] = json!(read.resource_version);
        self.call::<T>(Method::PATCH, Some(&read.name), Some(&patch)).await
    }

    /// Creates an object; one of that name is a [`Failure::Conflict`].
    pub async fn create<T>(&self, name: &str, owner: Option<Owner>, content: &T) -> Result<Stored<T>, Failure>
    where
        T: Kind + Serialize,
    {
        let mut whole = written(content)?;
        whole["apiVersion"] = json!(api_version::<T>());
        whole["kind"] = json!(T::KIND);
        whole["metadata"]["name"] = json!(name);
        whole["metadata"]["ownerReferences"] = json!(owner.as_slice());
        self.call::<T>(Method::POST, None, Some(&whole)).await
    }

    async fn call<T: Kind>(
        &self,
        method: Method,
        name: Option<&str>,
        body: Option<&Value>,
    ) -> Result<Stored<T>, Failure> {
        let mut path = format!("{}/namespaces/{}/{}", T::ROOT, self.namespace, T::PLURAL);
        if let Some(name) = name {
            path.push('/');
            path.push_str(name);
        }
        let content_type = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
        let body = body.map_or_else(Vec::new, |body| body.to_string().into());
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, content_type)
            .body(Body::from(body))
            .map_err(|error| unwritable(&error))?;
        let (status, answer) = timeout(self.deadline, self.send(request))
            .await
            .map_err(|_| Failure::Unreachable(format!("no answer in {} ms", self.deadline.as_millis())))??;
        if !status.is_success() {
            return Err(Failure::of(status, &answer));
        }
        let Head { metadata } = read::<T, _>(&answer)?;
        Ok(Stored { metadata, content: read::<T, _>(&answer)? })
    }

    async fn send(&self, request: Request<Body>) -> Result<(StatusCode, Bytes), Failure> {
        let response = self.client.send(request).await.map_err(|error| unreachable(&error))?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| unreachable(&*error))?;
        Ok((head.status, body.to_bytes()))
    }
}

impl Owner {
    /// The object itself as an owner.
    pub fn of<T: Kind>(object: &Stored<T>) -> Self {
        let Meta { name, uid, .. } = &object.metadata;
        Self { api_version: api_version::<T>(), kind: T::KIND, name: name.to_string(), uid: uid.to_string() }
    }
}

impl Failure {
    /// Every label.
    pub const LABELS: [&str; 5] = ["conflict", "not_found", "forbidden", "invalid", "unreachable"];

    /// One of few names, for metrics.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Conflict => "conflict",
            Self::NotFound => "not_found",
            Self::Forbidden(_) => "forbidden",
            Self::Invalid(_) => "invalid",
            Self::Unreachable(_) => "unreachable",
        }
    }

    /// From an answer that is no success: a `metav1.Status`, or whatever a proxy wrote.
    fn of(status: StatusCode, body: &[u8]) -> Self {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Said {
            message: Option<String>,
        }
        let said = serde_json::from_slice::<Said>(body).unwrap_or_default().message.unwrap_or_default();
        let words = if said.is_empty() { status.to_string() } else { one_line(&format!("{status}: {said}")) };
        match status {
            StatusCode::CONFLICT => Self::Conflict,
            StatusCode::NOT_FOUND => Self::NotFound,
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Self::Forbidden(words),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => Self::Unreachable(words),
            status if status.is_client_error() => Self::Invalid(words),
            _ => Self::Unreachable(words),
        }
    }
}

/// `v1`, `apps/v1`.
fn api_version<T: Kind>() -> &'static str {
    let root = T::ROOT;
    root.strip_prefix("/apis/").or(root.strip_prefix("/api/")).unwrap_or(root)
}

/// What `content` is in the object that is sent.
fn written(content: &impl Serialize) -> Result<Value, Failure> {
    serde_json::to_value(content).map_err(|error| unwritable(&error))
}

/// Reads what is wanted of an answer that should be a `T`. It may hold a private key: what is wrong with it is said without
/// showing it.
fn read<T: Kind, V: DeserializeOwned>(answer: &[u8]) -> Result<V, Failure> {
    serde_json::from_slice(answer)
        .map_err(|error| Failure::Unreachable(format!("its answer is no {}: {}", T::KIND, place(&error))))
}

fn unwritable(error: &impl ToString) -> Failure {
    Failure::Invalid(format!("the request cannot be written: {}", error.to_string()))
}

/// The innermost cause says most.
fn unreachable(error: &(dyn std::error::Error + 'static)) -> Failure {
    let innermost = std::iter::successors(Some(error), |error| (*error).source()).last();
    Failure::Unreachable(one_line(&innermost.map(ToString::to_string).unwrap_or_default()))
}

fn place(error: &serde_json::Error) -> String {
    format!("{:?} error at byte {} of line {}", error.classify(), error.column(), error.line()).to_lowercase()
}

#[cfg(test)]
mod tests;
