//! CREATE, PUT, PATCH and DELETE.

use http::Method;
use serde_json::json;
use tocsin_tests::apiserver::ApiServer;

use crate::client::{CONFIG_MAPS, ask, config_map, get, server, template, watch};

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/tocsin/leases";

#[tokio::test]
async fn a_create_gives_identity_and_refuses_a_second() {
    let server = server().await;
    let created = ask(&server, Method::POST, CONFIG_MAPS, Some(&config_map("a", "1"))).await;
    assert_eq!(created.status, 201);
    let metadata = &created.json["metadata"];
    assert_eq!(metadata["uid"].as_str().map(str::len), Some(36));
    assert!(metadata["creationTimestamp"].is_string() && metadata["resourceVersion"].is_string());
    let again = ask(&server, Method::POST, CONFIG_MAPS, Some(&config_map("a", "1"))).await;
    assert_eq!((again.status, again.json["reason"].as_str()), (409, Some("AlreadyExists")));
}

#[tokio::test]
async fn a_generated_name_is_the_servers() {
    let server = server().await;
    let body = json!({"metadata": {"generateName": "job-"}});
    let created = ask(&server, Method::POST, CONFIG_MAPS, Some(&body)).await;
    let name = created.json["metadata"]["name"].as_str().expect("a name");
    assert!(name.starts_with("job-") && name.len() == 9, "{name}");
}

#[tokio::test]
async fn a_put_by_an_old_version_conflicts() {
    let server = server().await;
    let old = server.put(config_map("a", "1"));
    let path = format!("{CONFIG_MAPS}/a");
    let mut first = old.clone();
    first["data"]["key"] = json!("2");
    let written = ask(&server, Method::PUT, &path, Some(&first)).await;
    assert_eq!((written.status, written.json["data"]["key"].as_str()), (200, Some("2")));
    let conflict = ask(&server, Method::PUT, &path, Some(&old)).await;
    assert_eq!((conflict.status, conflict.json["reason"].as_str()), (409, Some("Conflict")));
    // Without a version the last writer wins.
    assert_eq!(ask(&server, Method::PUT, &path, Some(&config_map("a", "3"))).await.status, 200);
    assert_eq!(
        ask(&server, Method::PUT, &format!("{CONFIG_MAPS}/none"), Some(&config_map("none", "1"))).await.status,
        404
    );
}

#[tokio::test]
async fn a_lease_is_created_by_put_and_never_updated_without_a_version() {
    let server = server().await;
    let lease = json!({"metadata": {"name": "leader"}, "spec": {"holderIdentity": "a"}});
    let path = format!("{LEASES}/leader");
    assert_eq!(ask(&server, Method::PUT, &path, Some(&lease)).await.status, 201);
    let blind = ask(&server, Method::PUT, &path, Some(&lease)).await;
    assert_eq!((blind.status, blind.json["reason"].as_str()), (422, Some("Invalid")));
}

#[tokio::test]
async fn a_merge_patch_changes_what_it_names_and_removes_what_is_null() {
    let server = server().await;
    let old = server.put(config_map("a", "1"));
    let path = format!("{CONFIG_MAPS}/a");
    let patched = ask(&server, Method::PATCH, &path, Some(&json!({"data": {"key": null, "other": "2"}}))).await;
    assert_eq!((patched.status, &patched.json["data"]), (200, &json!({"other": "2"})));
    let by_version = json!({"metadata": {"resourceVersion": old["metadata"]["resourceVersion"]}, "data": {"key": "3"}});
    assert_eq!(ask(&server, Method::PATCH, &path, Some(&by_version)).await.status, 409);
}

#[tokio::test]
async fn status_and_the_rest_are_written_apart() {
    let server = server().await;
    let pod = server.add_pod("shop", "a", &template(), Some("n1"));
    let status = json!({"status": {"phase": "Running"}, "spec": {"nodeName": "elsewhere"}});
    let patched = ask(&server, Method::PATCH, &format!("{}/status", pod.path()), Some(&status)).await;
    assert_eq!(
        (&patched.json["status"]["phase"], &patched.json["spec"]["nodeName"]),
        (&json!("Running"), &json!("n1"))
    );
    let main = json!({"status": {"phase": "Failed"}, "metadata": {"labels": {"x": "y"}}});
    let patched = ask(&server, Method::PATCH, &pod.path(), Some(&main)).await;
    assert_eq!(
        (&patched.json["status"]["phase"], &patched.json["metadata"]["labels"]["x"]),
        (&json!("Running"), &json!("y"))
    );
}

#[tokio::test]
async fn a_delete_is_at_once_and_checks_its_preconditions() {
    let server = server().await;
    server.put(config_map("a", "1"));
    let path = format!("{CONFIG_MAPS}/a");
    let options = json!({"preconditions": {"uid": "another"}});
    assert_eq!(ask(&server, Method::DELETE, &path, Some(&options)).await.status, 409);
    let deleted = ask(&server, Method::DELETE, &path, None).await;
    assert_eq!((deleted.status, deleted.json["status"].as_str()), (200, Some("Success")));
    assert_eq!(get(&server, &path).await.status, 404);
    assert_eq!(ask(&server, Method::DELETE, &path, None).await.status, 404);
}

#[tokio::test]
async fn a_graceful_delete_marks_the_pod_and_a_second_without_grace_ends_it() {
    let server = server().await;
    server.set_graceful_deletion(true);
    let pod = server.add_pod("shop", "a", &template(), Some("n1"));
    let mut watch = watch(&server, &format!("/api/v1/pods?resourceVersion={}", server.version())).await;
    let marked = ask(&server, Method::DELETE, &pod.path(), None).await;
    assert_eq!(marked.json["metadata"]["deletionGracePeriodSeconds"], 30);
    let ends: jiff::Timestamp =
        marked.json["metadata"]["deletionTimestamp"].as_str().expect("text").parse().expect("a time");
    assert!((25..=31).contains(&ends.duration_since(server.now()).as_secs()));
    watch.expects("MODIFIED", "a").await;
    ask(&server, Method::DELETE, &format!("{}?gracePeriodSeconds=0", pod.path()), None).await;
    watch.expects("DELETED", "a").await;
}

#[tokio::test]
async fn a_finalizer_holds_a_deleted_object_until_it_is_removed() {
    let server = server().await;
    let mut object = config_map("a", "1");
    object["metadata"]["finalizers"] = json!(["example.org/hold"]);
    server.put(object);
    let path = format!("{CONFIG_MAPS}/a");
    ask(&server, Method::DELETE, &path, None).await;
    assert!(get(&server, &path).await.json["metadata"]["deletionTimestamp"].is_string());
    ask(&server, Method::PATCH, &path, Some(&json!({"metadata": {"finalizers": null}}))).await;
    assert_eq!(get(&server, &path).await.status, 404);
}

#[tokio::test]
async fn a_collection_is_deleted_by_selector() {
    let server = server().await;
    for (name, app) in [("a", "x"), ("b", "y"), ("c", "x")] {
        let mut object = config_map(name, "1");
        object["metadata"]["labels"] = json!({"app": app});
        server.put(object);
    }
    assert_eq!(ask(&server, Method::DELETE, &format!("{CONFIG_MAPS}?labelSelector=app%3Dx"), None).await.status, 200);
    assert_eq!(get(&server, CONFIG_MAPS).await.names(), ["b"]);
}

#[tokio::test]
async fn what_is_not_understood_is_refused_with_a_reason() {
    let server = server().await;
    server.put(config_map("a", "1"));
    let path = format!("{CONFIG_MAPS}/a");
    let wrong_name = ask(&server, Method::PUT, &path, Some(&config_map("b", "1"))).await;
    assert_eq!((wrong_name.status, wrong_name.json["reason"].as_str()), (400, Some("BadRequest")));
    let nameless = ask(&server, Method::POST, CONFIG_MAPS, Some(&json!({"data": {}}))).await;
    assert_eq!((nameless.status, nameless.json["reason"].as_str()), (422, Some("Invalid")));
    let huge = json!({"metadata": {"name": "huge"}, "data": {"key": "x".repeat(4 * 1024 * 1024)}});
    assert_eq!(ask(&server, Method::POST, CONFIG_MAPS, Some(&huge)).await.status, 413);
}

#[tokio::test]
async fn an_eviction_by_the_api_deletes() {
    let server: ApiServer = server().await;
    let pod = server.add_pod("shop", "a", &template(), Some("n1"));
    let body = json!({"metadata": {"name": "a"}});
    assert_eq!(ask(&server, Method::POST, &format!("{}/eviction", pod.path()), Some(&body)).await.status, 201);
    assert_eq!(get(&server, &pod.path()).await.status, 404);
}
