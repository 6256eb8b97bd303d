//! LIST: versions, selectors, pages, and what every answer has.

use anyhow::{Context as _, Result, ensure};
use http::Method;
use http::header::{ACCEPT, DATE, HeaderValue, RETRY_AFTER};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use serde_json::json;
use tokio::time::timeout;

use crate::server::{CONFIG_MAPS, NAMESPACE, SOON, Server, answer, config_map, pod, request, version};

/// Far above what a clock that both sides share can be off.
const CLOCK_OFF_MAX_S: f64 = 5.0;

/// The only clock that Tocsin goes by.
#[allow(clippy::disallowed_methods, reason = "a test is a client with a clock of its own")]
pub(crate) async fn every_answer_has_a_date(server: &Server) -> Result<()> {
    for path in [CONFIG_MAPS, "/api/v1/namespaces/default/configmaps/none", "/api/v1/configmaps?resourceVersion=x"] {
        let answer = server.get(path).await?;
        let date = answer.headers.get(DATE).with_context(|| format!("{path}: no date: {answer:?}"))?;
        let date = DateTimeParser::new().parse_timestamp(date.to_str()?)?;
        let off = Timestamp::now().duration_since(date).as_secs_f64();
        ensure!(off.abs() < CLOCK_OFF_MAX_S, "{path}: {date} is off by {off} s");
    }
    Ok(())
}

/// An agent's first request, and the only one that the watch cache serves by its index.
pub(crate) async fn a_first_list_takes_any_version(server: &Server) -> Result<()> {
    for (name, node) in [("first-a", "conformance-1"), ("first-b", "conformance-2"), ("first-c", "conformance-1")] {
        server.create(&format!("{NAMESPACE}/pods"), &pod(name, Some(node))).await?;
    }
    let unscheduled = server.create(&format!("{NAMESPACE}/pods"), &pod("first-d", None)).await?;
    let written = version(&unscheduled)?;
    let mine = |names: Vec<&str>| -> Vec<String> {
        names.into_iter().filter(|name| name.starts_with("first-")).map(str::to_owned).collect()
    };
    // Any version may be an old one; once a newer one was shown it is not.
    let selected = "fieldSelector=spec.nodeName%3Dconformance-1";
    let path = format!("/api/v1/pods?{selected}&resourceVersion={written}&resourceVersionMatch=NotOlderThan");
    let newer = server.get(&path).await?;
    ensure!(mine(newer.names()?) == ["first-a", "first-c"], "{newer:?}");

    // The cache serves any version whole, whatever the limit.
    for limit in ["", "&limit=1"] {
        let any = server.get(&format!("/api/v1/pods?{selected}&resourceVersion=0{limit}")).await?;
        ensure!(any.status == 200 && any.json["kind"] == "PodList" && any.json["apiVersion"] == "v1", "{any:?}");
        ensure!(mine(any.names()?) == ["first-a", "first-c"], "{limit}: {any:?}");
        ensure!(any.version()? >= written && any.json["metadata"].get("continue").is_none(), "{limit}: {any:?}");
        let item = &any.json["items"][0];
        ensure!(item.get("kind").is_none() && item["spec"]["nodeName"] == "conformance-1", "{item}");
    }
    let unscheduled = server.get("/api/v1/pods?fieldSelector=spec.nodeName%3D&resourceVersion=0").await?;
    ensure!(mine(unscheduled.names()?) == ["first-d"], "{unscheduled:?}");
    let elsewhere = server.get("/api/v1/pods?fieldSelector=spec.nodeName%3Dnowhere&resourceVersion=0").await?;
    ensure!(elsewhere.names()?.is_empty() && elsewhere.version()? >= written, "{elsewhere:?}");
    let unknown = server.get("/api/v1/pods?fieldSelector=spec.color%3Dred").await?;
    ensure!(unknown.reason() == (400, "BadRequest"), "{unknown:?}");
    ensure!(unknown.json["message"] == "field label not supported: spec.color", "{unknown:?}");
    Ok(())
}

pub(crate) async fn a_later_list_has_what_was_seen(server: &Server) -> Result<()> {
    for number in 0..10 {
        let name = format!("later-{number}");
        let written = version(&server.create(CONFIG_MAPS, &config_map(&name, "later", "1")).await?)?;
        let list = server
            .get(&format!(
                "{CONFIG_MAPS}?labelSelector=group%3Dlater&resourceVersion={written}&resourceVersionMatch=NotOlderThan"
            ))
            .await?;
        ensure!(list.status == 200 && list.version()? >= written, "{list:?}");
        ensure!(list.names()?.contains(&name.as_str()), "{name} was written at {written}: {list:?}");
    }
    Ok(())
}

/// As after a restore of the store from a backup.
pub(crate) async fn a_list_ahead_of_the_server_is_behind(server: &Server) -> Result<()> {
    let ahead = server.get(CONFIG_MAPS).await?.version()? + 1_000_000;
    for resource in [CONFIG_MAPS, "/api/v1/pods"] {
        let path = format!("{resource}?resourceVersion={ahead}&resourceVersionMatch=NotOlderThan");
        let answer = server.get(&path).await?;
        ensure!(answer.reason() == (504, "Timeout"), "{answer:?}");
        let details = &answer.json["details"];
        ensure!(details["causes"][0]["reason"] == "ResourceVersionTooLarge", "{answer:?}");
        ensure!(details["causes"][0]["message"] == "Too large resource version", "{answer:?}");
        ensure!(details["retryAfterSeconds"] == 1, "{answer:?}");
        ensure!(answer.headers.get(RETRY_AFTER) == Some(&HeaderValue::from_static("1")), "{answer:?}");
        let message = answer.json["message"].as_str().unwrap_or_default();
        ensure!(message.starts_with(&format!("Timeout: Too large resource version: {ahead}, current: ")), "{message}");
    }
    Ok(())
}

pub(crate) async fn pages_show_one_version(server: &Server) -> Result<()> {
    for name in ["page-a", "page-b", "page-c", "page-d", "page-e"] {
        server.create(CONFIG_MAPS, &config_map(name, "page", "1")).await?;
    }
    let pages = format!("{CONFIG_MAPS}?labelSelector=group%3Dpage&limit=2");
    let first = server.get(&pages).await?;
    ensure!(first.names()? == ["page-a", "page-b"], "{first:?}");
    // With a selector nobody counts the rest.
    ensure!(first.json["metadata"].get("remainingItemCount").is_none(), "{first:?}");
    server.create(CONFIG_MAPS, &config_map("page-bb", "page", "later")).await?;
    server.delete(&format!("{CONFIG_MAPS}/page-d")).await?;

    let token = |page: &crate::server::Answer| page.json["metadata"]["continue"].as_str().map(str::to_owned);
    let next = |token: &str| format!("{pages}&continue={token}");
    let second = server.get(&next(&token(&first).context("no token")?)).await?;
    ensure!(second.names()? == ["page-c", "page-d"] && second.version()? == first.version()?, "{second:?}");
    let third = server.get(&next(&token(&second).context("no token")?)).await?;
    ensure!(third.names()? == ["page-e"] && token(&third).is_none(), "{third:?}");

    let both = format!("{}&resourceVersion={}", next(&token(&first).context("no token")?), first.version()?);
    let both = server.get(&both).await?;
    ensure!(both.reason() == (400, "BadRequest"), "a token carries its version: {both:?}");
    ensure!(both.json["message"] == "specifying resource version is not allowed when using continue", "{both:?}");
    let strange = server.get(&next("strange")).await?;
    ensure!(strange.reason() == (400, "BadRequest"), "{strange:?}");
    Ok(())
}

/// Servers that do not know how to leave `managedFields` out send them.
pub(crate) async fn an_unknown_form_is_passed_over(server: &Server) -> Result<()> {
    let name = "form";
    let mut object = config_map(name, "form", "1");
    object["metadata"]["managedFields"] = json!([{
        "manager": "conformance", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1",
        "fieldsV1": {"f:data": {"f:key": {}}}, "time": "2026-01-01T00:00:00Z",
    }]);
    server.create(CONFIG_MAPS, &object).await?;
    let mut request = request(Method::GET, &format!("{CONFIG_MAPS}?labelSelector=group%3Dform"), None)?;
    let lean = HeaderValue::from_static("application/json;drop=metadata.managedFields,application/json");
    request.headers_mut().insert(ACCEPT, lean);
    let answer = answer(timeout(SOON, server.client.send(request)).await??).await?;
    ensure!(answer.status == 200 && answer.names()? == [name], "{answer:?}");
    ensure!(answer.json["items"][0]["metadata"]["managedFields"].is_array(), "it is known by now: {answer:?}");
    Ok(())
}

pub(crate) async fn a_failure_is_a_status(server: &Server) -> Result<()> {
    let missing = server.get(&format!("{CONFIG_MAPS}/none")).await?;
    ensure!(missing.reason() == (404, "NotFound") && missing.json["kind"] == "Status", "{missing:?}");
    ensure!(missing.json["message"] == "configmaps \"none\" not found", "{missing:?}");
    ensure!(missing.json["details"] == json!({"name": "none", "kind": "configmaps"}), "{missing:?}");
    ensure!(missing.json["status"] == "Failure" && missing.json["code"] == 404, "{missing:?}");

    server.create(CONFIG_MAPS, &config_map("twice", "twice", "1")).await?;
    let twice = server.send(Method::POST, CONFIG_MAPS, Some(&config_map("twice", "twice", "1"))).await?;
    ensure!(twice.reason() == (409, "AlreadyExists"), "{twice:?}");
    Ok(())
}
