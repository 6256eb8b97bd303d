//! Objects touched by name, against the simulated API server: who writes at once, who may not, and a server that is away.

use std::time::Duration;

use anyhow::Result;
use process::kube_client::{self, Access};
use process::objects::{ConfigMap, Data, Failure, Objects};
use process::{Clock, tls};
use serde_json::json;
use tocsin_tests::apiserver::{ApiServer, Fault, On, Options};

const NAMESPACE: &str = "tocsin";
const DEADLINE: Duration = Duration::from_secs(10);

/// A server with an empty ConfigMap `told`, and two that have an eye on it.
async fn start() -> Result<(ApiServer, [Objects; 2])> {
    tls::use_ring();
    let server = ApiServer::start(Options::default()).await?;
    server.put(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "told", "namespace": NAMESPACE}}));
    let folder = tempfile::tempdir()?;
    let kubeconfig = folder.path().join("kubeconfig");
    server.write_kubeconfig(&kubeconfig, None)?;
    let access = Access { kubeconfig: Some(kubeconfig), ..Access::default() };
    let client = kube_client::connect(&access, &Clock::system(), "tocsin-test").await?;
    let objects = || Objects::new(client.clone(), NAMESPACE, DEADLINE);
    Ok((server, [objects(), objects()]))
}

fn change(key: &str, value: &str) -> Data<String> {
    Data { data: [(key.to_owned(), Some(value.to_owned()))].into() }
}

#[tokio::test]
async fn of_two_that_write_what_both_have_read_one_has_to_read_again() -> Result<()> {
    let (_server, [a, b]) = start().await?;
    let (of_a, of_b) = (a.get::<ConfigMap>("told").await?, b.get::<ConfigMap>("told").await?);
    let (a_change, b_change) = (change("a", "1"), change("b", "2"));
    let (by_a, by_b) =
        tokio::join!(a.patch::<ConfigMap>(&of_a.metadata, &a_change), b.patch::<ConfigMap>(&of_b.metadata, &b_change));
    let late = [by_a.err(), by_b.err()];
    assert_eq!(late.iter().flatten().collect::<Vec<_>>(), [&Failure::Conflict]);
    let written = b.get::<ConfigMap>("told").await?.content.data;
    assert_eq!(written.len(), 1, "{written:?}");
    Ok(())
}

#[tokio::test]
async fn what_is_not_allowed_is_not_what_cannot_be_had() -> Result<()> {
    let (server, [objects, _]) = start().await?;
    let read = objects.get::<ConfigMap>("told").await?;
    server.deny(On::request("patch", "configmaps"));
    let refused = objects.patch::<ConfigMap>(&read.metadata, &change("a", "1")).await.expect_err("denied");
    assert!(matches!(&refused, Failure::Forbidden(words) if words.contains("cannot patch resource")), "{refused}");
    assert_eq!(objects.get::<ConfigMap>("other").await.expect_err("there is none"), Failure::NotFound);
    server.fault_times(On::request("get", "configmaps"), Fault::too_many_requests(1), 1);
    let busy = objects.get::<ConfigMap>("told").await.expect_err("busy");
    assert!(matches!(&busy, Failure::Unreachable(words) if words.starts_with("429")), "{busy}");
    server.go_down().await;
    let away = objects.get::<ConfigMap>("told").await.expect_err("away");
    assert!(matches!(&away, Failure::Unreachable(words) if words.contains("refused")), "{away}");
    Ok(())
}
