//! What each page says.

use std::time::Duration;

use http_body_util::BodyExt as _;
use prometheus_client::metrics::counter::Counter;
use rules::Time;

use super::*;
use crate::clock::Clock;

fn shown() -> (Shown, Clock) {
    let clock = Clock::by_hand(Time::from_millis(0));
    let mut registry = Registry::default();
    let told: Counter = Counter::default();
    told.inc_by(3);
    registry.register("tocsin_issues_told", "Issues told", told);
    let liveness = Liveness::new(clock.clone());
    (Shown { readiness: Readiness::new(), liveness, registry: Arc::new(registry) }, clock)
}

async fn read(response: Response<Full<Bytes>>) -> (u16, String) {
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.expect("it is whole").to_bytes();
    (status, String::from_utf8(body.into()).expect("it is text"))
}

async fn get(shown: &Shown, path: &str) -> (u16, String) {
    read(shown.page(path, &HeaderMap::new()).unwrap_or_else(|| panic!("no page {path}"))).await
}

/// What Prometheus sends.
const PROMETHEUS: &str = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                          text/plain;version=0.0.4;q=0.5,*/*;q=0.1";

#[tokio::test]
async fn metrics_are_open_metrics_for_who_reads_them_and_plain_for_everybody_else() {
    let (shown, _) = shown();
    for (accept, content_type, told) in [
        (PROMETHEUS, "application/openmetrics-text; version=1.0.0; charset=utf-8", "tocsin_issues_told"),
        ("*/*", "text/plain; version=0.0.4; charset=utf-8", "tocsin_issues_told_total"),
        ("text/plain", "text/plain; version=0.0.4; charset=utf-8", "tocsin_issues_told_total"),
    ] {
        let headers = HeaderMap::from_iter([(header::ACCEPT, accept.parse().expect("a value"))]);
        let page = shown.page("/metrics", &headers).expect("a page");
        assert_eq!(page.headers()[header::CONTENT_TYPE], content_type, "{accept}");
        let (status, body) = read(page).await;
        assert_eq!(status, 200);
        let expected = format!("# TYPE {told} counter\ntocsin_issues_told_total 3\n# EOF\n");
        assert!(body.ends_with(&expected), "{accept}: {body}");
    }
}

#[tokio::test]
async fn readiness_and_liveness_answer_under_all_their_names() {
    let (shown, clock) = shown();
    let (list, core) = (shown.readiness.handle("first list"), shown.liveness.pulse("core", Duration::from_secs(30)));
    clock.advance(Duration::from_mins(1));
    for path in ["/readyz", "/ready"] {
        assert_eq!(get(&shown, path).await, (503, "first list: starting\n".into()), "{path}");
    }
    for path in ["/livez", "/healthz", "/health"] {
        assert_eq!(get(&shown, path).await, (503, "core: no turn for 60 s\n".into()), "{path}");
    }
    list.ready();
    core.beat();
    for path in ["/readyz", "/ready", "/livez", "/healthz", "/health"] {
        assert_eq!(get(&shown, path).await, (200, "ok\n".into()), "{path}");
    }
    shown.readiness.shut_down();
    assert_eq!(get(&shown, "/readyz").await, (503, "shutting down\n".into()));
    assert_eq!(get(&shown, "/livez").await.0, 200, "a process that ends is not killed for it");
}

#[test]
fn nothing_else_is_there() {
    let (shown, _) = shown();
    for path in ["/", "/metrics/", "/api/v1/issues", "/debug/pprof"] {
        assert!(shown.page(path, &HeaderMap::new()).is_none(), "{path}");
    }
}
