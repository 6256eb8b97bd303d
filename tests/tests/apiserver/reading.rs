//! GET and LIST.

use http::{Method, Request};
use http_body_util::Full;
use tocsin_tests::apiserver::{On, Options};

use crate::client::{CONFIG_MAPS, SOON, ask, config_map, get, open, server, template};

#[tokio::test]
async fn a_list_has_a_version_and_items_without_kind() {
    let server = server().await;
    server.put(config_map("a", "1"));
    let list = get(&server, CONFIG_MAPS).await;
    assert_eq!((list.json["kind"].as_str(), list.json["apiVersion"].as_str()), (Some("ConfigMapList"), Some("v1")));
    assert_eq!(list.version(), server.version());
    assert_eq!(list.names(), ["a"]);
    assert!(list.json["items"][0].get("kind").is_none());
    let single = get(&server, &format!("{CONFIG_MAPS}/a")).await;
    assert_eq!(single.json["kind"], "ConfigMap");
}

#[tokio::test]
async fn versions_grow_over_all_resources() {
    let server = server().await;
    let before = server.version();
    server.put(config_map("a", "1"));
    server.add_node("n1");
    let node = server.object("/api/v1/nodes/n1").expect("the node");
    assert!(
        node["metadata"]["resourceVersion"].as_str().expect("a version").parse::<u64>().expect("a number") > before + 1
    );
}

#[tokio::test]
async fn a_missing_object_is_not_found_by_a_status() {
    let server = server().await;
    let answer = get(&server, &format!("{CONFIG_MAPS}/none")).await;
    assert_eq!((answer.status, answer.json["reason"].as_str()), (404, Some("NotFound")));
    assert_eq!(answer.json["kind"], "Status");
    assert_eq!(get(&server, "/apis").await.status, 404);
}

#[tokio::test]
async fn a_list_selects_by_fields_labels_and_namespace() {
    let server = server().await;
    for (namespace, name, node) in
        [("shop", "a", Some("n1")), ("shop", "b", Some("n2")), ("other", "c", Some("n1")), ("shop", "d", None)]
    {
        server.add_pod(namespace, name, &template(), node);
    }
    for (path, expected) in [
        ("/api/v1/pods", vec!["c", "a", "b", "d"]),
        ("/api/v1/pods?fieldSelector=spec.nodeName%3Dn1", vec!["c", "a"]),
        ("/api/v1/pods?fieldSelector=spec.nodeName%3D", vec!["d"]),
        ("/api/v1/pods?fieldSelector=spec.nodeName%21%3Dn1,metadata.namespace%3Dshop", vec!["b", "d"]),
        ("/api/v1/namespaces/shop/pods?fieldSelector=spec.nodeName%3Dn1", vec!["a"]),
        ("/api/v1/pods?fieldSelector=metadata.name%3Db", vec!["b"]),
        ("/api/v1/pods?labelSelector=app%20in%20(api)&fieldSelector=spec.nodeName%3Dn2", vec!["b"]),
        ("/api/v1/pods?labelSelector=!app", vec![]),
    ] {
        assert_eq!(get(&server, path).await.names(), expected, "{path}");
    }
    let refused = get(&server, "/api/v1/pods?fieldSelector=spec.color%3Dred").await;
    assert_eq!(
        (refused.status, refused.json["message"].as_str()),
        (400, Some("field label not supported: spec.color"))
    );
}

#[tokio::test]
async fn pages_show_one_version_until_it_is_compacted() {
    let server = server().await;
    for name in ["a", "b", "c", "d", "e"] {
        server.put(config_map(name, "1"));
    }
    let first = get(&server, &format!("{CONFIG_MAPS}?limit=2")).await;
    assert_eq!(first.names(), ["a", "b"]);
    assert_eq!(first.json["metadata"]["remainingItemCount"], 3);
    let selected = get(&server, &format!("{CONFIG_MAPS}?limit=2&labelSelector=!app")).await;
    assert!(selected.json["metadata"]["continue"].is_string());
    assert!(selected.json["metadata"].get("remainingItemCount").is_none());
    server.put(config_map("bb", "later"));
    server.remove(&format!("{CONFIG_MAPS}/d"));

    let token = first.json["metadata"]["continue"].as_str().expect("a token").to_string();
    let second = get(&server, &format!("{CONFIG_MAPS}?limit=2&continue={token}")).await;
    assert_eq!((second.names(), second.version()), (vec!["c", "d"], first.version()));
    let token = second.json["metadata"]["continue"].as_str().expect("a token").to_string();
    let third = get(&server, &format!("{CONFIG_MAPS}?limit=2&continue={token}")).await;
    assert_eq!(third.names(), ["e"]);
    assert!(third.json["metadata"].get("continue").is_none());

    server.compact();
    let expired = get(&server, &format!("{CONFIG_MAPS}?limit=2&continue={token}")).await;
    assert_eq!((expired.status, expired.json["reason"].as_str()), (410, Some("Expired")));
}

#[tokio::test]
async fn any_version_ignores_the_limit() {
    let server = server().await;
    for name in ["a", "b", "c"] {
        server.put(config_map(name, "1"));
    }
    assert_eq!(get(&server, &format!("{CONFIG_MAPS}?limit=1&resourceVersion=0")).await.names(), ["a", "b", "c"]);
}

#[tokio::test]
async fn an_exact_list_shows_the_past() {
    let server = server().await;
    server.put(config_map("a", "1"));
    let then = server.version();
    server.put(config_map("b", "1"));
    server.remove(&format!("{CONFIG_MAPS}/a"));
    let path = format!("{CONFIG_MAPS}?resourceVersion={then}&resourceVersionMatch=Exact");
    let list = get(&server, &path).await;
    assert_eq!((list.names(), list.version()), (vec!["a"], then));
    assert_eq!(get(&server, CONFIG_MAPS).await.names(), ["b"]);
    server.compact();
    assert_eq!(get(&server, &path).await.status, 410);
}

#[tokio::test]
async fn a_list_not_older_than_now_is_current() {
    let server = server().await;
    server.put(config_map("a", "1"));
    let then = server.version();
    server.put(config_map("b", "1"));
    let list = get(&server, &format!("{CONFIG_MAPS}?resourceVersion={then}&resourceVersionMatch=NotOlderThan")).await;
    assert_eq!((list.names(), list.version()), (vec!["a", "b"], server.version()));
}

#[tokio::test]
async fn a_version_ahead_of_the_server_times_out_with_its_cause() {
    let options = Options { fresh_wait: std::time::Duration::ZERO, ..Options::default() };
    let server = tocsin_tests::apiserver::ApiServer::start(options).await.expect("the server starts");
    let ahead = server.version() + 1000;
    let answer =
        get(&server, &format!("{CONFIG_MAPS}?resourceVersion={ahead}&resourceVersionMatch=NotOlderThan")).await;
    assert_eq!((answer.status, answer.json["reason"].as_str()), (504, Some("Timeout")));
    assert_eq!(answer.json["details"]["causes"][0]["reason"], "ResourceVersionTooLarge");
    let message = format!("Timeout: Too large resource version: {ahead}, current: {}", server.version());
    assert_eq!(answer.json["message"], message);
    assert_eq!(answer.headers["retry-after"], "1");
}

#[tokio::test]
async fn a_list_waits_for_a_version_that_is_about_to_come() {
    let server = server().await;
    let next = server.version() + 1;
    let path = format!("{CONFIG_MAPS}?resourceVersion={next}&resourceVersionMatch=NotOlderThan");
    let write = async {
        server
            .until("the list was asked for", SOON, |server| server.asked().of("list", "configmaps") > 0)
            .await
            .expect("asked");
        server.put(config_map("a", "1"));
    };
    let (list, ()) = tokio::join!(get(&server, &path), write);
    assert_eq!(list.names(), ["a"]);
}

#[tokio::test]
async fn a_lagging_cache_shows_an_older_state_to_lists_of_any_version_only() {
    let options = Options { fresh_wait: std::time::Duration::ZERO, ..Options::default() };
    let server = tocsin_tests::apiserver::ApiServer::start(options).await.expect("the server starts");
    server.put(config_map("a", "1"));
    let then = server.version();
    server.put(config_map("b", "1"));
    let now = server.version();
    server.lag(then);
    let any = get(&server, &format!("{CONFIG_MAPS}?resourceVersion=0")).await;
    assert_eq!((any.names(), any.version()), (vec!["a"], then));
    assert_eq!(get(&server, CONFIG_MAPS).await.names(), ["a", "b"]);
    let newer = format!("{CONFIG_MAPS}?resourceVersion={now}&resourceVersionMatch=NotOlderThan");
    assert_eq!(get(&server, &newer).await.status, 504);
    // Events are not cached.
    let pod = server.add_pod("shop", "a", &template(), None);
    server.warn(&pod, "Unhealthy", "probe failed");
    assert_eq!(get(&server, "/api/v1/events?resourceVersion=0").await.names().len(), 1);
    server.catch_up();
    assert_eq!(get(&server, &newer).await.names(), ["a", "b"]);
}

#[tokio::test]
async fn after_a_rewind_the_past_is_the_present() {
    let server = server().await;
    server.put(config_map("a", "1"));
    let then = server.version();
    server.put(config_map("a", "2"));
    server.put(config_map("b", "1"));
    server.rewind(then).expect("the history reaches back");
    assert_eq!(server.version(), then);
    let list = get(&server, CONFIG_MAPS).await;
    assert_eq!((list.names(), list.json["items"][0]["data"]["key"].as_str()), (vec!["a"], Some("1")));
    server.put(config_map("c", "1"));
    assert_eq!(server.version(), then + 1);
    assert!(server.rewind(1).is_err());
}

#[tokio::test]
async fn an_accept_header_chooses_the_form() {
    let options = Options { drop_managed_fields: true, ..Options::default() };
    let server = tocsin_tests::apiserver::ApiServer::start(options).await.expect("the server starts");
    let mut template = template();
    template.managed_fields = true;
    server.add_pod("shop", "a", &template, None);
    let ask = async |accept: &str| {
        let request = Request::get("/api/v1/pods").header("accept", accept).body(Full::default()).expect("a request");
        crate::client::answer(open(&server, request).await.expect("an answer")).await.json
    };
    let full = ask("application/json").await;
    assert!(full["items"][0]["metadata"]["managedFields"].is_array());
    let lean = ask("application/json;drop=metadata.managedFields").await;
    assert!(lean["items"][0]["metadata"].get("managedFields").is_none());
    assert!(lean["items"][0]["spec"].is_object());
    let metadata = ask("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1").await;
    assert_eq!(metadata["kind"], "PartialObjectMetadataList");
    assert!(metadata["items"][0].get("spec").is_none());
}

#[tokio::test]
async fn every_answer_has_the_servers_date() {
    let server = server().await;
    server.set_skew(jiff::SignedDuration::from_hours(-48));
    for path in ["/version", "/api/v1/pods", "/api/v1/namespaces/shop/pods/none"] {
        let answer = get(&server, path).await;
        let date = answer.headers["date"].to_str().expect("text");
        let date = jiff::fmt::rfc2822::parse(date).expect("an HTTP date").timestamp();
        let off = date.duration_since(jiff::Timestamp::now()).as_secs() + 48 * 3600;
        assert!((-60..=60).contains(&off), "{path}: {date}");
    }
}

#[tokio::test]
async fn requests_are_counted_by_verb_resource_and_selector() {
    let server = server().await;
    for _ in 0..2 {
        get(&server, "/api/v1/pods?fieldSelector=spec.nodeName%3Dn1&resourceVersion=0").await;
    }
    get(&server, "/api/v1/pods").await;
    ask(&server, Method::DELETE, &format!("{CONFIG_MAPS}/none"), None).await;
    let asked = server.asked();
    assert_eq!(asked.with("list", "pods", "spec.nodeName=n1"), 2);
    assert_eq!((asked.of("list", "pods"), asked.of("delete", "configmaps"), asked.total()), (3, 1, 4));
    server.forget_requests();
    assert_eq!(server.asked().total(), 0);
    assert!(server.until_watched(&On::watch("pods"), std::time::Duration::ZERO).await.is_err());
}
