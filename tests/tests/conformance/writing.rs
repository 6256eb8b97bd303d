//! Writes by version.

use anyhow::{Result, ensure};
use http::Method;
use k8s_openapi::ByteString;
use process::objects::{Annotations, ConfigMap, Data, Failure, Lease, LeaseMetadata, LeaseSpec, Objects, Secret};
use serde_json::json;

use crate::server::{CONFIG_MAPS, NAMESPACE, SOON, Server, config_map, version};

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/default/leases";

pub(crate) async fn an_old_version_is_a_conflict(server: &Server) -> Result<()> {
    let path = format!("{CONFIG_MAPS}/conflict");
    let mut first = server.create(CONFIG_MAPS, &config_map("conflict", "conflict", "1")).await?;
    let mut second = first.clone();
    first["data"]["key"] = json!("first");
    second["data"]["key"] = json!("second");
    let written = server.put(&path, &first).await?;
    ensure!(written.status == 200 && written.version()? > version(&first)?, "{written:?}");
    let late = server.put(&path, &second).await?;
    ensure!(late.reason() == (409, "Conflict"), "{late:?}");
    ensure!(late.json["details"] == json!({"name": "conflict", "kind": "configmaps"}), "{late:?}");
    let message = late.json["message"].as_str().unwrap_or_default();
    ensure!(
        message.contains("the object has been modified; please apply your changes to the latest version"),
        "{message}"
    );
    ensure!(server.get(&path).await?.json["data"]["key"] == "first", "who was late has written");
    // Who names no version does not care.
    ensure!(server.put(&path, &config_map("conflict", "conflict", "third")).await?.status == 200, "a careless write");
    Ok(())
}

/// A patch that names no version is for whoever comes last; one that does is for the object as it was read.
pub(crate) async fn a_patch_may_name_its_version(server: &Server) -> Result<()> {
    let read = server.create(CONFIG_MAPS, &config_map("patched", "patched", "1")).await?;
    let objects = Objects::new(server.client.clone(), "default", SOON);
    let map = objects.get::<ConfigMap>("patched").await?;
    let change =
        |value: &str| Data { data: [("key".to_owned(), None), ("new".to_owned(), Some(value.to_owned()))].into() };
    let written = objects.patch::<ConfigMap>(&map.metadata, &change("first")).await?;
    ensure!(written.content.data == [("new".to_owned(), "first".to_owned())].into(), "{written:?}");
    ensure!(
        written.metadata.uid == map.metadata.uid && written.metadata.resource_version != map.metadata.resource_version
    );
    let late = objects.patch::<ConfigMap>(&map.metadata, &change("second")).await;
    ensure!(late.as_ref().is_err_and(|late| *late == Failure::Conflict), "{late:?}");
    let now = server.get(&format!("{CONFIG_MAPS}/patched")).await?.json;
    ensure!(now["metadata"]["labels"] == read["metadata"]["labels"], "labels are not ours: {now}");
    ensure!(now["data"] == json!({"new": "first"}), "{now}");
    let same = objects.patch::<ConfigMap>(&written.metadata, &change("first")).await?;
    ensure!(same.metadata.resource_version == written.metadata.resource_version, "{same:?}");
    Ok(())
}

/// A Secret whose data is taken away has none, and takes data again.
pub(crate) async fn a_secret_may_be_empty(server: &Server) -> Result<()> {
    let empty = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "empty"}, "type": "Opaque"});
    server.create(&format!("{NAMESPACE}/secrets"), &empty).await?;
    let objects = Objects::new(server.client.clone(), "default", SOON);
    let secret = objects.get::<Secret>("empty").await?;
    ensure!(secret.content.data.is_empty(), "{secret:?}");
    let key = || "key".to_owned();
    let change = Data { data: [(key(), Some(ByteString(vec![0, 255])))].into() };
    let filled = objects.patch::<Secret>(&secret.metadata, &change).await?;
    ensure!(filled.content.data[&key()].0 == [0, 255], "{filled:?}");
    let wiped = objects.patch::<Secret>(&filled.metadata, &Data { data: [(key(), None)].into() }).await?;
    ensure!(wiped.content.data.is_empty(), "{wiped:?}");
    ensure!(objects.get::<Secret>("absent").await.is_err_and(|failure| failure == Failure::NotFound));
    Ok(())
}

/// Of two that create a Lease one is told that it is there, and of two that renew it one is late.
pub(crate) async fn a_lease_is_made_once_and_renewed_by_version(server: &Server) -> Result<()> {
    let objects = Objects::new(server.client.clone(), "default", SOON);
    let held = |by: &str| Lease {
        metadata: LeaseMetadata { annotations: Annotations { address: Some(format!("{by}:8443")) } },
        spec: LeaseSpec {
            holder_identity: Some(by.to_owned()),
            lease_duration_seconds: Some(15),
            renew_time: Some("2026-01-01T00:00:00.000000Z".to_owned()),
            ..LeaseSpec::default()
        },
    };
    let made = objects.create("once", None, &held("a")).await?;
    ensure!(made.content == held("a"), "{made:?}");
    let again = objects.create("once", None, &held("b")).await;
    ensure!(again.as_ref().is_err_and(|again| *again == Failure::Conflict), "{again:?}");
    let read = objects.get::<Lease>("once").await?;
    ensure!(
        read.metadata.resource_version == made.metadata.resource_version && read.content == made.content,
        "{read:?}"
    );
    let released = objects.patch::<Lease>(&read.metadata, &Lease::default()).await?;
    ensure!(released.content == Lease { metadata: held("a").metadata, ..Lease::default() }, "{released:?}");
    let late = objects.patch::<Lease>(&read.metadata, &held("b")).await;
    ensure!(late.as_ref().is_err_and(|late| *late == Failure::Conflict), "{late:?}");
    Ok(())
}

pub(crate) async fn nothing_changed_is_nothing_written(server: &Server) -> Result<()> {
    let object = server.create(CONFIG_MAPS, &config_map("same", "same", "1")).await?;
    let again = server.put(&format!("{CONFIG_MAPS}/same"), &object).await?;
    ensure!(again.status == 200 && again.version()? == version(&object)?, "{again:?}");
    Ok(())
}

/// Leases alone can be created by a PUT, and are never written blindly.
pub(crate) async fn a_lease_wants_its_version(server: &Server) -> Result<()> {
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "leader"},
        "spec": {"holderIdentity": "a", "leaseDurationSeconds": 15},
    });
    let path = format!("{LEASES}/leader");
    let created = server.put(&path, &lease).await?;
    ensure!(created.status == 201, "{created:?}");
    let blind = server.put(&path, &lease).await?;
    ensure!(blind.reason() == (422, "Invalid"), "{blind:?}");
    let mut renewed = created.json.clone();
    renewed["spec"]["holderIdentity"] = json!("b");
    ensure!(server.put(&path, &renewed).await?.status == 200, "a renewal");
    ensure!(server.put(&path, &created.json).await?.reason() == (409, "Conflict"), "a late renewal");
    let deleted = server.send(Method::DELETE, &path, None).await?;
    ensure!(deleted.status == 200 && deleted.json["status"] == "Success", "{deleted:?}");
    Ok(())
}
