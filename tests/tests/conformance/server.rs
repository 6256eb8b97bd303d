//! A client that hides nothing, the same for both servers, and the objects that the assertions are made with.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, Method, Request, Response};
use http_body_util::BodyExt as _;
use kube::Client;
use kube::client::Body;
use process::Clock;
use process::kube_client::{self, Access};
use serde_json::{Value, json};
use tokio::time::timeout;

/// How long an assertion waits for what must come.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Where the objects of the assertions live: the namespace that both servers have, with a ServiceAccount.
pub(crate) const NAMESPACE: &str = "/api/v1/namespaces/default";

/// Where their ConfigMaps live.
pub(crate) const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// The server under test.
pub(crate) struct Server {
    pub(crate) client: Client,
    pub(crate) clock: Clock,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) json: Value,
}

/// An open watch.
pub(crate) struct Watch {
    body: Body,
    buffer: Vec<u8>,
}

impl Server {
    pub(crate) async fn connect(kubeconfig: &Path) -> Result<Self> {
        let clock = Clock::system();
        let access = Access { kubeconfig: Some(kubeconfig.to_owned()), ..Access::default() };
        let client = kube_client::connect(&access, &clock, "tocsin-conformance").await?;
        let server = Self { client, clock };
        // The simulated server has no controllers.
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
        let made = server.send(Method::POST, &format!("{NAMESPACE}/serviceaccounts"), Some(&account)).await?;
        ensure!([201, 409].contains(&made.status), "{made:?}");
        for node in ["conformance-1", "conformance-2"] {
            let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}});
            server.create("/api/v1/nodes", &node).await?;
        }
        Ok(server)
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Answer> {
        self.send(Method::GET, path, None).await
    }

    /// Creates an object, which must succeed, and returns it.
    pub(crate) async fn create(&self, collection: &str, object: &Value) -> Result<Value> {
        let answer = self.send(Method::POST, collection, Some(object)).await?;
        ensure!(answer.status == 201, "creating below {collection}: {answer:?}");
        Ok(answer.json)
    }

    pub(crate) async fn put(&self, path: &str, object: &Value) -> Result<Answer> {
        self.send(Method::PUT, path, Some(object)).await
    }

    /// Deletes at once.
    pub(crate) async fn delete(&self, path: &str) -> Result<()> {
        let answer = self.send(Method::DELETE, &format!("{path}?gracePeriodSeconds=0"), None).await?;
        ensure!(answer.status == 200, "deleting {path}: {answer:?}");
        Ok(())
    }

    /// Opens a watch, which must succeed.
    pub(crate) async fn watch(&self, path: &str) -> Result<Watch> {
        let separator = if path.contains('?') { '&' } else { '?' };
        let request = request(Method::GET, &format!("{path}{separator}watch=1"), None)?;
        let response = timeout(SOON, self.client.send(request)).await??;
        ensure!(response.status() == 200, "watching {path}: {:?}", answer(response).await?);
        Ok(Watch { body: response.into_body(), buffer: Vec::new() })
    }

    pub(crate) async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer> {
        let request = request(method, path, body)?;
        answer(timeout(SOON, self.client.send(request)).await??).await
    }
}

impl Answer {
    /// The names of a list's items.
    pub(crate) fn names(&self) -> Result<Vec<&str>> {
        let items = self.json["items"].as_array().with_context(|| format!("no list: {self:?}"))?;
        Ok(items.iter().filter_map(|item| item["metadata"]["name"].as_str()).collect())
    }

    /// The version of an object or a list.
    pub(crate) fn version(&self) -> Result<u64> {
        version(&self.json)
    }

    pub(crate) fn reason(&self) -> (u16, &str) {
        (self.status, self.json["reason"].as_str().unwrap_or_default())
    }
}

impl Watch {
    /// The next event; `None` at a clean end, an error when it breaks off or nothing comes.
    pub(crate) async fn event(&mut self) -> Result<Option<Value>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return serde_json::from_slice(&line).context("each line is JSON").map(Some);
            }
            let frame = timeout(SOON, self.body.frame()).await.context("nothing comes from the watch")?;
            let Some(frame) = frame else { return Ok(None) };
            let frame = frame.map_err(|error| anyhow::anyhow!("the watch breaks off: {error}"))?;
            self.buffer.extend_from_slice(&frame.into_data().unwrap_or_default());
        }
    }

    /// The next event, which must be this one.
    pub(crate) async fn expect(&mut self, kind: &str, name: &str) -> Result<Value> {
        let event = self.event().await?.with_context(|| format!("the end instead of {kind} {name}"))?;
        ensure!(event["type"] == kind && event["object"]["metadata"]["name"] == name, "not {kind} {name}: {event}");
        Ok(event["object"].clone())
    }

    /// The next thing must be a clean end.
    pub(crate) async fn ends(&mut self) -> Result<()> {
        match self.event().await? {
            None => Ok(()),
            Some(event) => bail!("no end, but {event}"),
        }
    }
}

/// `metadata.resourceVersion` as the number that it is.
pub(crate) fn version(object: &Value) -> Result<u64> {
    let version = object["metadata"]["resourceVersion"].as_str();
    version.and_then(|text| text.parse().ok()).with_context(|| format!("no version: {object}"))
}

/// A ConfigMap with a label and a value.
pub(crate) fn config_map(name: &str, group: &str, value: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "labels": {"group": group}},
        "data": {"key": value},
    })
}

/// A pod that nothing but an assertion puts on a node, or that is on one from the start.
pub(crate) fn pod(name: &str, node: Option<&str>) -> Value {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": {"group": "conformance"}},
        "spec": {
            "schedulerName": "nobody",
            "containers": [{"name": "main", "image": "localhost/absent:1"}],
        },
    });
    if let Some(node) = node {
        pod["spec"]["nodeName"] = json!(node);
    }
    pod
}

pub(crate) fn request(method: Method, path: &str, body: Option<&Value>) -> Result<Request<Body>> {
    let body = body.map(Value::to_string).unwrap_or_default();
    let request = Request::builder().method(method).uri(path).header(CONTENT_TYPE, "application/json");
    Ok(request.header(ACCEPT, "application/json").body(Body::from(body.into_bytes()))?)
}

pub(crate) async fn answer(response: Response<Body>) -> Result<Answer> {
    let (parts, body) = response.into_parts();
    let body = timeout(SOON, body.collect_bytes()).await??;
    let json = serde_json::from_slice(&body).unwrap_or_default();
    Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, json })
}
