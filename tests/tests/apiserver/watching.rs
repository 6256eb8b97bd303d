//! WATCH.

use std::time::Duration;

use serde_json::json;
use tocsin_tests::apiserver::{ApiServer, Cut, On, Options};

use crate::client::{CONFIG_MAPS, SOON, config_map, get, passes, server, template, watch};

#[tokio::test]
async fn a_watch_tells_what_happens_after_its_version() {
    let server = server().await;
    server.put(config_map("a", "1"));
    let version = server.version();
    server.put(config_map("b", "1"));
    let mut watch = watch(&server, &format!("{CONFIG_MAPS}?resourceVersion={version}")).await;
    watch.expects("ADDED", "b").await;
    server.put(config_map("b", "2"));
    watch.expects("MODIFIED", "b").await;
    server.remove(&format!("{CONFIG_MAPS}/b"));
    assert_eq!(watch.expects("DELETED", "b").await, server.version());
}

#[tokio::test]
async fn a_watch_without_a_version_begins_with_the_state() {
    let server = server().await;
    server.put(config_map("a", "1"));
    server.put(config_map("b", "1"));
    for path in [CONFIG_MAPS.to_string(), format!("{CONFIG_MAPS}?resourceVersion=0")] {
        let mut watch = watch(&server, &path).await;
        watch.expects("ADDED", "a").await;
        watch.expects("ADDED", "b").await;
    }
}

#[tokio::test]
async fn a_streaming_list_ends_with_its_bookmark() {
    let server = server().await;
    server.put(config_map("a", "1"));
    let path =
        format!("{CONFIG_MAPS}?sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true");
    let mut watch = watch(&server, &path).await;
    watch.expects("ADDED", "a").await;
    let bookmark = watch.event().await.expect("no break").expect("no end");
    assert_eq!(bookmark["type"], "BOOKMARK");
    assert_eq!(bookmark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
}

#[tokio::test]
async fn without_initial_events_a_watch_begins_now() {
    let server = server().await;
    server.put(config_map("before", "1"));
    let mut watch =
        watch(&server, &format!("{CONFIG_MAPS}?sendInitialEvents=false&resourceVersionMatch=NotOlderThan")).await;
    server.put(config_map("after", "1"));
    watch.expects("ADDED", "after").await;
}

#[tokio::test]
async fn an_object_that_leaves_the_selection_is_deleted_to_its_watcher() {
    let server = server().await;
    let path = |selector: &str| format!("/api/v1/pods?resourceVersion={}&fieldSelector={selector}", server.version());
    let mut unscheduled = watch(&server, &path("spec.nodeName%3D")).await;
    let mut of_node = watch(&server, &path("spec.nodeName%3Dn1")).await;
    let mut of_other = watch(&server, &path("spec.nodeName%3Dn2")).await;
    let mut pending = watch(&server, &path("status.phase%3DPending")).await;
    let pod = server.add_pod("shop", "a", &template(), None);
    unscheduled.expects("ADDED", "a").await;
    pending.expects("ADDED", "a").await;
    server.schedule(&pod, "n1");
    let scheduled = unscheduled.expects("DELETED", "a").await;
    assert_eq!(scheduled, server.version());
    of_node.expects("ADDED", "a").await;
    pending.expects("MODIFIED", "a").await;
    server.run(&pod);
    of_node.expects("MODIFIED", "a").await;
    pending.expects("DELETED", "a").await;
    // Each watch is told each change once.
    server.remove(&pod.path());
    of_node.expects("DELETED", "a").await;
    server.add_pod("shop", "b", &template(), Some("n2"));
    // The other node's watch saw nothing of all that.
    of_other.expects("ADDED", "b").await;
}

#[tokio::test]
async fn what_leaves_the_selection_is_shown_as_it_was() {
    let server = server().await;
    let mut watch = watch(&server, "/api/v1/pods?fieldSelector=spec.nodeName%3D").await;
    let pod = server.add_pod("shop", "a", &template(), None);
    watch.expects("ADDED", "a").await;
    server.schedule(&pod, "n1");
    let event = watch.event().await.expect("no break").expect("no end");
    assert_eq!(event["type"], "DELETED");
    assert!(event["object"]["spec"].get("nodeName").is_none());
}

#[tokio::test]
async fn a_watch_too_far_back_gets_an_error_event_and_ends() {
    let server = server().await;
    get(&server, "/api/v1/nodes").await;
    let version = server.version();
    server.put(config_map("a", "1"));
    server.compact();
    // A resource that nothing happened to is no exception.
    for path in [CONFIG_MAPS, "/api/v1/nodes"] {
        let mut watch = watch(&server, &format!("{path}?resourceVersion={version}")).await;
        let event = watch.event().await.expect("no break").expect("no end");
        assert_eq!((event["type"].as_str(), event["object"]["code"].as_u64()), (Some("ERROR"), Some(410)));
        assert_eq!(event["object"]["reason"], "Expired");
        watch.ends().await;
    }
}

#[tokio::test]
async fn a_watch_too_far_back_can_be_refused_by_http() {
    let server = server().await;
    server.expire_by_http(true);
    server.put(config_map("a", "1"));
    server.compact();
    let answer = get(&server, &format!("{CONFIG_MAPS}?watch=true&resourceVersion=1")).await;
    assert_eq!((answer.status, answer.json["reason"].as_str()), (410, Some("Expired")));
}

#[tokio::test]
async fn a_small_history_expires_by_itself() {
    let options = Options { history_max: 2, ..Options::default() };
    let server = ApiServer::start(options).await.expect("the server starts");
    let version = server.version();
    for value in ["1", "2", "3"] {
        server.put(config_map("a", value));
    }
    let mut late = watch(&server, &format!("{CONFIG_MAPS}?resourceVersion={version}")).await;
    assert_eq!(late.next().await.0, "ERROR");
    let mut in_time = watch(&server, &format!("{CONFIG_MAPS}?resourceVersion={}", version + 1)).await;
    in_time.expects("MODIFIED", "a").await;
}

#[tokio::test]
async fn a_watch_ahead_of_the_server_is_silent_until_the_server_gets_there() {
    let server = server().await;
    let mut watch = watch(&server, &format!("{CONFIG_MAPS}?resourceVersion={}", server.version() + 1)).await;
    server.put(config_map("unseen", "1"));
    server.put(config_map("seen", "1"));
    watch.expects("ADDED", "seen").await;
}

#[tokio::test]
async fn a_watch_ends_at_its_timeout() {
    let server = server().await;
    let mut watch = watch(&server, &format!("{CONFIG_MAPS}?timeoutSeconds=600")).await;
    passes(Duration::from_mins(9)).await;
    server.put(config_map("a", "1"));
    watch.expects("ADDED", "a").await;
    passes(Duration::from_mins(1)).await;
    watch.ends().await;
    assert_eq!(server.watches(&On::anything()), 0);
}

#[tokio::test]
async fn bookmarks_come_by_the_clock_but_not_while_the_version_stands_still() {
    let server = server().await;
    let path = format!("{CONFIG_MAPS}?timeoutSeconds=600&resourceVersion={}", server.version());
    let mut idle = watch(&server, &format!("{path}&allowWatchBookmarks=true")).await;
    passes(Duration::from_mins(10)).await;
    // No bookmark before the end: nothing happened.
    idle.ends().await;
    let mut asked_for = watch(&server, &format!("{path}&allowWatchBookmarks=true")).await;
    let mut not_asked_for = watch(&server, &path).await;
    server.add_node("n1");
    passes(Options::default().bookmark_period).await;
    assert_eq!(asked_for.next().await, ("BOOKMARK".to_string(), String::new(), server.version()));
    passes(Duration::from_mins(10)).await;
    not_asked_for.ends().await;
}

#[tokio::test]
async fn a_bookmark_comes_after_all_events_up_to_its_version() {
    let server = server().await;
    let mut watch = watch(&server, &format!("{CONFIG_MAPS}?allowWatchBookmarks=true")).await;
    server.put(config_map("a", "1"));
    server.send_bookmarks(&On::anything());
    let version = watch.expects("ADDED", "a").await;
    assert_eq!(watch.expects("BOOKMARK", "").await, version);
}

#[tokio::test]
async fn silenced_bookmarks_and_those_of_events_do_not_come() {
    let server = server().await;
    let mut config_maps = watch(&server, &format!("{CONFIG_MAPS}?allowWatchBookmarks=true")).await;
    let mut events = watch(&server, "/api/v1/events?allowWatchBookmarks=true").await;
    server.silence_bookmarks(true);
    server.put(config_map("a", "1"));
    server.send_bookmarks(&On::anything());
    server.silence_bookmarks(false);
    server.put(config_map("b", "1"));
    let pod = server.add_pod("shop", "a", &template(), None);
    server.send_bookmarks(&On::anything());
    server.warn(&pod, "Unhealthy", "probe failed");
    config_maps.expects("ADDED", "a").await;
    config_maps.expects("ADDED", "b").await;
    config_maps.expects("BOOKMARK", "").await;
    assert_eq!(events.next().await.0, "ADDED");
}

#[tokio::test]
async fn watches_are_cut_as_asked() {
    let server = server().await;
    for (cut, is_broken, code) in [
        (Cut::End, false, None),
        (Cut::Reset, true, None),
        (Cut::Gone, false, Some(410)),
        (Cut::Error(500), false, Some(500)),
    ] {
        let mut watch = watch(&server, CONFIG_MAPS).await;
        assert_eq!(server.cut(&On::watch("configmaps"), cut), 1);
        let mut last = watch.event().await;
        if let Some(code) = code {
            assert_eq!(last.expect("no break").expect("an event")["object"]["code"], code);
            last = watch.event().await;
        }
        assert_eq!(last.is_err(), is_broken, "{cut:?}: {last:?}");
        assert_eq!(server.watches(&On::anything()), 0);
    }
}

#[tokio::test]
async fn only_the_watches_that_a_script_means_are_cut() {
    let server = server().await;
    let mut first = watch(&server, "/api/v1/pods?fieldSelector=spec.nodeName%3Dn1").await;
    let mut second = watch(&server, "/api/v1/pods?fieldSelector=spec.nodeName%3Dn2").await;
    assert_eq!(server.cut(&On::watch("pods").selector("spec.nodeName=n1"), Cut::End), 1);
    first.ends().await;
    server.add_pod("shop", "a", &template(), Some("n2"));
    second.expects("ADDED", "a").await;
}

#[tokio::test]
async fn a_held_watch_stays_up_and_sends_nothing_until_released() {
    let server = server().await;
    let mut held = watch(&server, &format!("{CONFIG_MAPS}?allowWatchBookmarks=true")).await;
    let mut free = watch(&server, "/api/v1/namespaces/other/configmaps").await;
    assert_eq!(server.hold(&On::watch("configmaps")), 2);
    server.put(config_map("a", "1"));
    server.send_bookmarks(&On::anything());
    assert_eq!(server.release(&On::watch("configmaps")), 2);
    held.expects("ADDED", "a").await;
    held.expects("BOOKMARK", "").await;
    server.put(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "b", "namespace": "other"}}));
    free.expects("ADDED", "b").await;
}

#[tokio::test]
async fn a_rewind_cuts_all_watches() {
    let server = server().await;
    let then = server.version();
    server.put(config_map("a", "1"));
    let mut watch = watch(&server, &format!("{CONFIG_MAPS}?resourceVersion={}", server.version())).await;
    server.rewind(then).expect("the history reaches back");
    assert!(watch.event().await.is_err());
}

#[tokio::test]
async fn a_client_that_leaves_is_forgotten() {
    let server = server().await;
    let watch = watch(&server, CONFIG_MAPS).await;
    server.until_watched(&On::watch("configmaps"), SOON).await.expect("a watch");
    drop(watch);
    server.until("the watch is gone", SOON, |server| server.watches(&On::anything()) == 0).await.expect("forgotten");
}

#[tokio::test]
async fn a_write_that_changes_nothing_is_no_event() {
    let server = server().await;
    server.put(config_map("a", "1"));
    let version = server.version();
    let mut watch = watch(&server, &format!("{CONFIG_MAPS}?resourceVersion={version}")).await;
    server.put(config_map("a", "1"));
    assert_eq!(server.version(), version);
    server.put(config_map("a", "2"));
    assert_eq!(watch.expects("MODIFIED", "a").await, version + 1);
}

#[tokio::test]
async fn hundreds_of_watches_share_one_server_and_each_sees_its_node_alone() {
    let server = server().await;
    let mut watches = Vec::new();
    for number in 0..300 {
        watches.push(watch(&server, &format!("/api/v1/pods?fieldSelector=spec.nodeName%3Dn{number}")).await);
    }
    assert_eq!(server.watches(&On::watch("pods")), 300);
    for number in [1, 299] {
        server.add_pod("shop", &format!("on-{number}"), &template(), Some(&format!("n{number}")));
    }
    for (number, watch) in watches.iter_mut().enumerate() {
        server.cut(&On::watch("pods").selector(&format!("spec.nodeName=n{number}")), Cut::End);
        if [1, 299].contains(&number) {
            watch.expects("ADDED", &format!("on-{number}")).await;
        }
        watch.ends().await;
    }
}
