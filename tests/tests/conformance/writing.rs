//! Writes by version.

use anyhow::{Result, ensure};
use http::Method;
use serde_json::json;

use crate::server::{CONFIG_MAPS, Server, config_map, version};

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
