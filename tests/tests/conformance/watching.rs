//! WATCH: what it tells, and how it ends.

use anyhow::{Context as _, Result, ensure};
use http::Method;
use serde_json::json;

use crate::server::{CONFIG_MAPS, NAMESPACE, Server, config_map, pod, version};

pub(crate) async fn a_watch_tells_what_follows(server: &Server) -> Result<()> {
    let before = version(&server.create(CONFIG_MAPS, &config_map("follow-a", "follow", "1")).await?)?;
    server.create(CONFIG_MAPS, &config_map("follow-b", "follow", "1")).await?;
    let path = format!("{CONFIG_MAPS}?labelSelector=group%3Dfollow&resourceVersion={before}");
    let mut watch = server.watch(&path).await?;
    let mut object = watch.expect("ADDED", "follow-b").await?;
    ensure!(object["kind"] == "ConfigMap" && object["apiVersion"] == "v1", "{object}");
    object["data"]["key"] = json!("2");
    let changed = server.put(&format!("{CONFIG_MAPS}/follow-b"), &object).await?;
    let told = watch.expect("MODIFIED", "follow-b").await?;
    ensure!(version(&told)? == changed.version()? && told["data"]["key"] == "2", "{told}");
    server.delete(&format!("{CONFIG_MAPS}/follow-b")).await?;
    let deleted = watch.expect("DELETED", "follow-b").await?;
    ensure!(version(&deleted)? > changed.version()?, "a deletion has a version of its own: {deleted}");

    // Without a version, or with any, it begins with what there is.
    for any in ["", "&resourceVersion=0"] {
        let path = format!("{CONFIG_MAPS}?labelSelector=group%3Dfollow{any}");
        server.watch(&path).await?.expect("ADDED", "follow-a").await?;
    }
    Ok(())
}

pub(crate) async fn leaving_labels_is_a_deletion(server: &Server) -> Result<()> {
    let before = version(&server.create(CONFIG_MAPS, &config_map("left", "leave-1", "1")).await?)?;
    let path = |group: &str| format!("{CONFIG_MAPS}?labelSelector=group%3D{group}&resourceVersion={before}");
    let (mut first, mut second) = (server.watch(&path("leave-1")).await?, server.watch(&path("leave-2")).await?);
    let moved = server.put(&format!("{CONFIG_MAPS}/left"), &config_map("left", "leave-2", "2")).await?;
    let gone = first.expect("DELETED", "left").await?;
    ensure!(version(&gone)? == moved.version()?, "it has the version of the change: {gone}");
    ensure!(
        gone["data"]["key"] == "1" && gone["metadata"]["labels"]["group"] == "leave-1",
        "it is shown as it was: {gone}"
    );
    let come = second.expect("ADDED", "left").await?;
    ensure!(version(&come)? == moved.version()? && come["data"]["key"] == "2", "{come}");
    Ok(())
}

/// How the aggregator's watch over pods without a node hears that one has got its node.
pub(crate) async fn getting_a_node_is_a_deletion(server: &Server) -> Result<()> {
    let pods = format!("{NAMESPACE}/pods");
    let before = version(&server.create(&pods, &pod("bound", None)).await?)?;
    let path = |node: &str| {
        format!("{pods}?fieldSelector=spec.nodeName%3D{node},metadata.name%3Dbound&resourceVersion={before}")
    };
    let (mut unscheduled, mut of_node) = (server.watch(&path("")).await?, server.watch(&path("conformance-2")).await?);
    let binding = json!({
        "apiVersion": "v1", "kind": "Binding", "metadata": {"name": "bound"},
        "target": {"apiVersion": "v1", "kind": "Node", "name": "conformance-2"},
    });
    let bound = server.send(Method::POST, &format!("{pods}/bound/binding"), Some(&binding)).await?;
    ensure!(bound.status == 201, "{bound:?}");
    let gone = unscheduled.expect("DELETED", "bound").await?;
    ensure!(gone["spec"].get("nodeName").is_none(), "it is shown as it was: {gone}");
    let come = of_node.expect("ADDED", "bound").await?;
    ensure!(come["spec"]["nodeName"] == "conformance-2" && version(&come)? == version(&gone)?, "{come}");
    let scheduled = come["status"]["conditions"].as_array().context("no conditions")?;
    ensure!(scheduled.iter().any(|it| it["type"] == "PodScheduled" && it["status"] == "True"), "{come}");
    let again = server.send(Method::POST, &format!("{pods}/bound/binding"), Some(&binding)).await?;
    ensure!(again.reason() == (409, "Conflict"), "{again:?}");
    Ok(())
}

/// So that who opens the next watch begins there, and not where its own last event was.
pub(crate) async fn a_bookmark_comes_before_the_end(server: &Server) -> Result<()> {
    let before = version(&server.create(CONFIG_MAPS, &config_map("marked-0", "other", "1")).await?)?;
    let path = format!("{CONFIG_MAPS}?labelSelector=group%3Dmarked&resourceVersion={before}&timeoutSeconds=5");
    let mut marked = server.watch(&format!("{path}&allowWatchBookmarks=true")).await?;
    let mut unmarked = server.watch(&path).await?;
    let unseen = version(&server.create(CONFIG_MAPS, &config_map("marked-1", "other", "1")).await?)?;
    let bookmark = marked.event().await?.context("the end instead of a bookmark")?;
    ensure!(bookmark["type"] == "BOOKMARK" && version(&bookmark["object"])? >= unseen, "{bookmark}");
    let object = &bookmark["object"];
    ensure!(object["kind"] == "ConfigMap" && object["metadata"].get("name").is_none(), "{bookmark}");
    // Some more may follow in the last two seconds.
    while let Some(event) = marked.event().await? {
        ensure!(event["type"] == "BOOKMARK" && version(&event["object"])? >= unseen, "{event}");
    }
    unmarked.ends().await
}

pub(crate) async fn a_quiet_watch_ends_cleanly(server: &Server) -> Result<()> {
    let version = server.get(CONFIG_MAPS).await?.version()?;
    let path = format!("{CONFIG_MAPS}?labelSelector=group%3Dquiet&resourceVersion={version}&timeoutSeconds=1");
    server.watch(&path).await?.ends().await
}

/// It is no failure: who has such a version hears nothing, not even that.
pub(crate) async fn a_watch_ahead_of_the_server_is_silent(server: &Server) -> Result<()> {
    let ahead = server.get(CONFIG_MAPS).await?.version()? + 1_000_000;
    let path = format!("{CONFIG_MAPS}?labelSelector=group%3Dahead&resourceVersion={ahead}&timeoutSeconds=3");
    let mut watch = server.watch(&path).await?;
    server.create(CONFIG_MAPS, &config_map("ahead", "ahead", "1")).await?;
    watch.ends().await
}
