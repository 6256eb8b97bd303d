//! What the `kube` client makes of it, over HTTPS and from a kubeconfig.

use futures::{StreamExt as _, TryStreamExt as _, pin_mut};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::json;
use tocsin_tests::apiserver::{ApiServer, Cut, Identity, On, Options};

use crate::client::template;

/// A strict server, and a client that knows its CA and a token from a kubeconfig.
async fn connected() -> (ApiServer, Client) {
    let options = Options { authenticate: true, ..Options::default() };
    let server = ApiServer::start(options).await.expect("the server starts");
    let token = server.issue_token(Identity::service_account("tocsin", "aggregator"));
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("kubeconfig");
    server.write_kubeconfig(&path, Some(&token)).expect("written");
    let kubeconfig = Kubeconfig::read_from(&path).expect("a kubeconfig");
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.expect("a config");
    (server, Client::try_from(config).expect("a client"))
}

#[tokio::test]
async fn typed_lists_read_pods_nodes_and_the_version() {
    let (server, client) = connected().await;
    server.add_node("n1");
    let pod = server.add_pod("shop", "api-0", &template(), Some("n1"));
    server.crash_loop(&pod, 3);
    let pods: Api<Pod> = Api::all(client.clone());
    let list = pods.list(&ListParams::default().fields("spec.nodeName=n1").match_any()).await.expect("a list");
    assert_eq!(list.metadata.resource_version, Some(server.version().to_string()));
    let status = list.items[0].status.as_ref().and_then(|status| status.container_statuses.as_ref()).expect("statuses");
    let waiting = status[0].state.as_ref().and_then(|state| state.waiting.as_ref()).expect("waiting");
    assert_eq!((waiting.reason.as_deref(), status[0].restart_count), (Some("CrashLoopBackOff"), 3));
    let nodes: Api<Node> = Api::all(client.clone());
    assert_eq!(nodes.get("n1").await.expect("the node").metadata.name.as_deref(), Some("n1"));
    assert_eq!(client.apiserver_version().await.expect("a version").minor, "36");
}

#[tokio::test]
async fn typed_watches_read_events_bookmarks_and_errors() {
    let (server, client) = connected().await;
    let pods: Api<Pod> = Api::all(client);
    let params = WatchParams::default().fields("spec.nodeName=n1");
    let version = server.version().to_string();
    let stream = pods.watch(&params, &version).await.expect("a watch");
    pin_mut!(stream);
    let pod = server.add_pod("shop", "api-0", &template(), Some("n1"));
    server.send_bookmarks(&On::anything());
    server.remove(&pod.path());
    server.cut(&On::watch("pods"), Cut::Gone);
    let mut seen = Vec::new();
    while let Some(event) = stream.try_next().await.expect("no break") {
        seen.push(match event {
            WatchEvent::Added(_) => "added".to_string(),
            WatchEvent::Modified(_) => "modified".to_string(),
            WatchEvent::Deleted(_) => "deleted".to_string(),
            WatchEvent::Bookmark(bookmark) => format!("bookmark {}", bookmark.metadata.resource_version),
            WatchEvent::Error(status) => format!("error {}", status.code),
        });
    }
    // Created unscheduled, then bound: it enters the selection by an ADDED.
    let bound = server.version() - 1;
    assert_eq!(
        seen,
        ["added".to_string(), format!("bookmark {bound}"), "deleted".to_string(), "error 410".to_string()]
    );
}

#[tokio::test]
async fn a_watch_by_an_expired_version_is_an_error_event() {
    let (server, client) = connected().await;
    server.add_pod("shop", "api-0", &template(), Some("n1"));
    server.compact();
    let pods: Api<Pod> = Api::all(client);
    let stream = pods.watch(&WatchParams::default(), "1").await.expect("a watch");
    pin_mut!(stream);
    match stream.next().await {
        Some(Ok(WatchEvent::Error(status))) => assert_eq!((status.code, status.reason.as_str()), (410, "Expired")),
        other => panic!("no error event: {other:?}"),
    }
}

#[tokio::test]
async fn a_lease_is_fought_over_by_version() {
    let (_server, client) = connected().await;
    let leases: Api<Lease> = Api::namespaced(client, "tocsin");
    let lease = |holder: &str| -> Lease {
        serde_json::from_value(json!({"metadata": {"name": "leader"}, "spec": {"holderIdentity": holder}}))
            .expect("a lease")
    };
    let mut first = leases.create(&PostParams::default(), &lease("a")).await.expect("created");
    let mut second = first.clone();
    first.spec.as_mut().expect("a spec").holder_identity = Some("b".into());
    leases.replace("leader", &PostParams::default(), &first).await.expect("in time");
    second.spec.as_mut().expect("a spec").holder_identity = Some("c".into());
    match leases.replace("leader", &PostParams::default(), &second).await {
        Err(kube::Error::Api(status)) => assert_eq!((status.code, status.reason.as_str()), (409, "Conflict")),
        other => panic!("no conflict: {other:?}"),
    }
}

#[tokio::test]
async fn config_maps_are_patched_and_deleted() {
    let (_server, client) = connected().await;
    let maps: Api<ConfigMap> = Api::namespaced(client, "tocsin");
    let map: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "told"}})).expect("a map");
    maps.create(&PostParams::default(), &map).await.expect("created");
    let patch = Patch::Merge(json!({"data": {"journal": "1"}}));
    let patched = maps.patch("told", &PatchParams::default(), &patch).await.expect("patched");
    assert_eq!(patched.data.expect("data")["journal"], "1");
    maps.delete("told", &DeleteParams::default()).await.expect("deleted");
    assert!(maps.get_opt("told").await.expect("an answer").is_none());
}

#[tokio::test]
async fn a_typed_token_review_reads_the_node() {
    let (server, client) = connected().await;
    let pod = server.add_pod("tocsin", "agent-x", &template(), Some("n1"));
    let token = server.issue_pod_token(&pod, "agent", "tocsin");
    let reviews: Api<TokenReview> = Api::all(client);
    let spec = TokenReviewSpec { token: Some(token), audiences: Some(vec!["tocsin".into()]) };
    let review = TokenReview { spec, ..TokenReview::default() };
    let status = reviews.create(&PostParams::default(), &review).await.expect("a review").status.expect("a status");
    assert_eq!(status.authenticated, Some(true));
    let extra = status.user.and_then(|user| user.extra).expect("extra claims");
    assert_eq!(extra["authentication.kubernetes.io/node-name"], ["n1"]);
}

#[tokio::test]
async fn an_unknown_token_is_unauthorized() {
    let (server, _client) = connected().await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("kubeconfig");
    server.write_kubeconfig(&path, Some("unknown")).expect("written");
    let kubeconfig = Kubeconfig::read_from(&path).expect("a kubeconfig");
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.expect("a config");
    let pods: Api<Pod> = Api::all(Client::try_from(config).expect("a client"));
    match pods.list(&ListParams::default()).await {
        Err(kube::Error::Api(status)) => assert_eq!(status.code, 401),
        other => panic!("not refused: {:?}", other.map(|list| list.items.len())),
    }
}
