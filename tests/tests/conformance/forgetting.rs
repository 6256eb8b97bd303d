//! What a server that has lost its history says to who remembers it, and how the list/watch loop gets over it.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use process::watch::{self, Event, Failure};
use rules::view::Pod;
use tokio::time::timeout;

use crate::server::{Answer, CONFIG_MAPS, NAMESPACE, Server, config_map, pod, version};

/// The loop backs off while a server is away.
const RECOVERED: Duration = Duration::from_mins(1);

/// What a client remembers.
pub(crate) struct Remembered {
    /// A version of ConfigMaps.
    version: u64,
    /// The path of the second page of a list.
    second_page: String,
    /// The loop over a node's pods.
    pods_loop: watch::Watch<Pod>,
}

impl Remembered {
    /// Looks around while history is there.
    pub(crate) async fn gather(server: &Server) -> Result<Self> {
        for name in ["forget-a", "forget-b", "forget-c"] {
            server.create(CONFIG_MAPS, &config_map(name, "forget", "1")).await?;
        }
        let pages = format!("{CONFIG_MAPS}?labelSelector=group%3Dforget&limit=1");
        let first = server.get(&pages).await?;
        let token = first.json["metadata"]["continue"].as_str().context("no token")?;

        let pods = format!("{NAMESPACE}/pods");
        server.create(&pods, &pod("loop-a", Some("conformance-1"))).await?;
        let options =
            watch::Options { field_selector: Some("spec.nodeName=conformance-1".into()), ..watch::Options::default() };
        let mut pods_loop =
            watch::Watch::new(server.client.clone(), server.clock.clone(), options, fastrand::Rng::new());
        let listed = next(&mut pods_loop).await?;
        ensure!(matches!(&listed, Event::Listed { first: true, restored: false, skipped, .. } if skipped.is_empty()));
        ensure!(next(&mut pods_loop).await? == Event::Live, "a watch follows the list");
        server.create(&pods, &pod("loop-b", Some("conformance-1"))).await?;
        until_applied(&mut pods_loop, "loop-b").await?;
        server.delete(&format!("{pods}/loop-b")).await?;
        until(&mut pods_loop, |event| matches!(event, Event::Deleted(pod) if &*pod.meta.name == "loop-b")).await?;

        let version = first.version()?;
        let second_page = format!("{pages}&continue={token}");
        // Something has to come after what is remembered.
        server.put(&format!("{CONFIG_MAPS}/forget-c"), &config_map("forget-c", "forget", "2")).await?;
        Ok(Self { version, second_page, pods_loop })
    }

    /// Asks for what was, now that it is forgotten.
    pub(crate) async fn is_gone(&mut self, server: &Server) -> Result<()> {
        let mut watch = server.watch(&format!("{CONFIG_MAPS}?resourceVersion={}", self.version)).await?;
        let event = watch.event().await?.context("the end instead of an error")?;
        let status = &event["object"];
        ensure!(event["type"] == "ERROR" && status["kind"] == "Status" && status["code"] == 410, "{event}");
        ensure!(status["reason"] == "Expired", "{event}");
        let message = status["message"].as_str().unwrap_or_default();
        ensure!(message.starts_with(&format!("too old resource version: {} (", self.version)), "{event}");
        watch.ends().await?;

        let page = server.get(&self.second_page).await?;
        expired(&page, "The provided continue parameter is too old")?;
        let exact = format!("{CONFIG_MAPS}?resourceVersion={}&resourceVersionMatch=Exact", self.version);
        expired(&server.get(&exact).await?, "The resourceVersion for the provided list is too old")?;
        // Not older than that is no trouble.
        let newer = format!("{CONFIG_MAPS}?resourceVersion={}&resourceVersionMatch=NotOlderThan", self.version);
        ensure!(server.get(&newer).await?.version()? > self.version, "the present is there");

        let pods = format!("{NAMESPACE}/pods");
        let made = server.create(&pods, &pod("loop-c", Some("conformance-1"))).await?;
        until_applied(&mut self.pods_loop, "loop-c").await?;
        let last = version(&made)?;
        ensure!(last > self.version, "{made}");
        Ok(())
    }
}

/// Compacts etcd up to now, by the JSON form of its API.
#[cfg(feature = "cluster")]
pub(crate) async fn compact_store(cluster: &tocsin_tests::cluster::Cluster, server: &Server) -> Result<()> {
    let revision = server.get(CONFIG_MAPS).await?.version()?;
    let config = kube::Config::new(cluster.etcd_url().parse()?);
    let etcd = process::kube_client::build(config, crate::server::SOON, &process::Clock::system())?;
    let body = serde_json::json!({"revision": revision.to_string(), "physical": true});
    let request = crate::server::request(http::Method::POST, "/v3/kv/compaction", Some(&body))?;
    let answer = crate::server::answer(etcd.send(request).await?).await?;
    ensure!(answer.status == 200, "{answer:?}");
    Ok(())
}

fn expired(answer: &Answer, message: &str) -> Result<()> {
    ensure!(answer.reason() == (410, "Expired"), "{answer:?}");
    ensure!(answer.json["message"].as_str().is_some_and(|said| said.starts_with(message)), "{answer:?}");
    Ok(())
}

/// Shown as listed or as changed, whichever way the loop comes by it.
async fn until_applied(pods_loop: &mut watch::Watch<Pod>, name: &str) -> Result<()> {
    let is = |pod: &Pod| &*pod.meta.name == name;
    until(pods_loop, |event| match event {
        Event::Applied(pod) => is(pod),
        Event::Listed { objects, restored, .. } => !restored && objects.iter().any(is),
        Event::Deleted(_) | Event::Quiet { .. } | Event::Live => false,
    })
    .await
}

async fn until(pods_loop: &mut watch::Watch<Pod>, mut holds: impl FnMut(&Event<Pod>) -> bool) -> Result<()> {
    loop {
        let event = next(pods_loop).await?;
        if let Event::Quiet { reason } = &event {
            // A server that is away for a moment refuses connections, or has not warmed up.
            let passes = matches!(reason, Failure::Connection(_) | Failure::Busy { .. } | Failure::Behind);
            ensure!(passes || matches!(reason, Failure::Status { .. } | Failure::Denied { .. }), "{reason}");
        }
        if holds(&event) {
            return Ok(());
        }
    }
}

async fn next(pods_loop: &mut watch::Watch<Pod>) -> Result<Event<Pod>> {
    match timeout(RECOVERED, pods_loop.next()).await {
        Ok(event) => Ok(event),
        Err(_) => bail!("the loop says nothing for {RECOVERED:?}: {:?}", pods_loop.health()),
    }
}
