//! Faults of requests, connections and of the whole server.

use std::pin::pin;
use std::time::Duration;

use tocsin_tests::apiserver::{Fault, On};
use tokio::time::{Instant, timeout};

use crate::client::{CONFIG_MAPS, SOON, answer, config_map, get, open, request, server, silent_during, watch};

#[tokio::test]
async fn a_fault_meets_so_many_requests_of_its_kind() {
    let server = server().await;
    server.fault_times(On::list("configmaps"), Fault::too_many_requests(7), 2);
    for _ in 0..2 {
        let refused = get(&server, CONFIG_MAPS).await;
        assert_eq!((refused.status, refused.json["reason"].as_str()), (429, Some("TooManyRequests")));
        assert_eq!(refused.headers["retry-after"], "7");
    }
    assert_eq!(get(&server, CONFIG_MAPS).await.status, 200);
}

#[tokio::test]
async fn a_fault_stays_until_it_is_lifted_and_spares_other_selectors() {
    let server = server().await;
    let fault = server.fault(On::list("pods").selector("spec.nodeName=n1"), Fault::status(503));
    assert_eq!(get(&server, "/api/v1/pods?fieldSelector=spec.nodeName%3Dn1").await.status, 503);
    assert_eq!(get(&server, "/api/v1/pods?fieldSelector=spec.nodeName%3Dn2").await.status, 200);
    assert_eq!(get(&server, CONFIG_MAPS).await.status, 200);
    server.lift(fault);
    assert_eq!(get(&server, "/api/v1/pods?fieldSelector=spec.nodeName%3Dn1").await.status, 200);
}

#[tokio::test]
async fn a_request_into_a_black_hole_is_answered_when_it_is_lifted() {
    let server = server().await;
    let fault = server.fault(On::list("configmaps"), Fault::BlackHole);
    let mut asked = pin!(get(&server, CONFIG_MAPS));
    let later = async {
        server.until("it was asked", SOON, |server| server.asked().of("list", "configmaps") == 1).await.expect("asked");
        // Who comes later is answered.
        get(&server, "/api/v1/pods").await
    };
    silent_during(&mut asked, later).await;
    server.lift(fault);
    assert_eq!(asked.await.status, 200);
}

#[tokio::test]
async fn a_reset_has_no_answer_and_a_delay_has_a_late_one() {
    let server = server().await;
    server.fault_times(On::anything(), Fault::Reset, 1);
    let broken = open(&server, request(http::Method::GET, CONFIG_MAPS, None, None)).await;
    assert!(broken.is_err());
    let late = Duration::from_hours(1);
    server.fault_times(On::anything(), Fault::Delay(late), 1);
    let started = Instant::now();
    let (delayed, ()) = tokio::join!(get(&server, CONFIG_MAPS), async {
        server.until("it was asked", SOON, |server| server.asked().of("list", "configmaps") == 2).await.expect("asked");
        // From here on only time can pass.
        tokio::time::pause();
    });
    assert_eq!(delayed.status, 200);
    assert!(started.elapsed() >= late);
    tokio::time::resume();
    server.fault_times(On::anything(), Fault::Garbage("<html>".into()), 1);
    let garbage = open(&server, request(http::Method::GET, CONFIG_MAPS, None, None)).await.expect("an answer");
    assert_eq!(answer(garbage).await.json, serde_json::Value::Null);
}

#[tokio::test]
async fn in_a_black_hole_connections_stay_up_and_carry_nothing() {
    let server = server().await;
    let mut open = watch(&server, CONFIG_MAPS).await;
    server.black_hole(true);
    server.put(config_map("a", "1"));
    let mut fresh = pin!(get(&server, CONFIG_MAPS));
    // Nothing comes from it for as long as others take to answer.
    let elsewhere = crate::client::server().await;
    silent_during(pin!(open.event()), get(&elsewhere, CONFIG_MAPS)).await;
    silent_during(&mut fresh, get(&elsewhere, CONFIG_MAPS)).await;
    assert_eq!(server.connections(), 2);
    server.black_hole(false);
    open.expects("ADDED", "a").await;
    assert_eq!(fresh.await.names(), ["a"]);
}

#[tokio::test]
async fn reset_connections_break_off_in_mid_stream() {
    let server = server().await;
    let mut open = watch(&server, CONFIG_MAPS).await;
    server.reset_connections();
    assert!(open.event().await.is_err());
    assert_eq!(get(&server, CONFIG_MAPS).await.status, 200);
}

#[tokio::test]
async fn a_server_that_is_down_refuses_and_comes_up_with_its_objects() {
    let server = server().await;
    server.put(config_map("a", "1"));
    let mut open = watch(&server, &format!("{CONFIG_MAPS}?resourceVersion={}", server.version())).await;
    server.go_down().await;
    assert!(open.event().await.is_err());
    let address = server.http_url().trim_start_matches("http://").to_string();
    let refused = timeout(SOON, tokio::net::TcpStream::connect(&address)).await.expect("at once");
    assert_eq!(refused.expect_err("refused").kind(), std::io::ErrorKind::ConnectionRefused);
    server.come_up().await.expect("the port is free");
    assert_eq!(get(&server, CONFIG_MAPS).await.names(), ["a"]);
}
