//! Byte by byte: over a real socket, and in memory where time is virtual.

use prometheus_client::metrics::counter::Counter;
use rules::Time;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::net::TcpStream;

use super::*;
use crate::clock::{Clock, Mark};
use crate::shutdown::Script;
use crate::tasks::Failures;

struct Port {
    addr: SocketAddr,
    readiness: Readiness,
    liveness: Liveness,
    clock: Clock,
    shown: Shown,
    // Dropped, the tasks end.
    _script: Script,
    _failures: Failures,
}

impl Port {
    async fn open() -> Self {
        let script = Script::new();
        let (tasks, failures) = Tasks::new(script.phases());
        let clock = Clock::by_hand(Time::from_millis(0));
        let (readiness, liveness) = (Readiness::new(), Liveness::new(clock.clone()));
        let mut registry = Registry::default();
        let told: Counter = Counter::default();
        told.inc_by(3);
        registry.register("tocsin_issues_told", "Issues told", told);
        let shown = Shown { readiness: readiness.clone(), liveness: liveness.clone(), registry: Arc::new(registry) };
        let admin = Admin::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a port");
        let addr = admin.addr();
        tasks.spawn("admin", Stage::Background, admin.serve(tasks.clone(), shown.clone()));
        Self { addr, readiness, liveness, clock, shown, _script: script, _failures: failures }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addr).await.expect("it accepts")
    }

    /// Sends bytes and reads until the server closes.
    async fn exchange(&self, sent: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(sent.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("answered");
        answer
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let answer = self.exchange(&format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")).await;
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        (head[9..12].parse().expect("a status"), body.to_owned())
    }
}

#[tokio::test]
async fn metrics_are_open_metrics() {
    let port = Port::open().await;
    let answer = port.exchange("GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(
        answer.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n"),
        "{answer}"
    );
    assert!(answer.contains("\ntocsin_issues_told_total 3\n") && answer.ends_with("# EOF\n"), "{answer}");
}

#[tokio::test]
async fn readiness_and_liveness_answer_under_all_their_names() {
    let port = Port::open().await;
    let (list, core) = (port.readiness.handle("first list"), port.liveness.pulse("core", Duration::from_secs(30)));
    port.clock.advance(Duration::from_mins(1));
    for path in ["/readyz", "/ready", "/readyz?verbose"] {
        assert_eq!(port.get(path).await, (503, "first list: starting\n".into()), "{path}");
    }
    for path in ["/livez", "/healthz", "/health"] {
        assert_eq!(port.get(path).await, (503, "core: no turn for 60 s\n".into()), "{path}");
    }
    list.ready();
    core.beat();
    for path in ["/readyz", "/ready", "/livez", "/healthz", "/health"] {
        assert_eq!(port.get(path).await, (200, "ok\n".into()), "{path}");
    }
    port.readiness.shut_down();
    assert_eq!(port.get("/readyz").await, (503, "shutting down\n".into()));
    assert_eq!(port.get("/livez").await.0, 200, "a process that ends is not killed for it");
}

#[tokio::test]
async fn nothing_else_is_there() {
    let port = Port::open().await;
    for path in ["/", "/metrics/", "/api/v1/issues", "/debug/pprof"] {
        assert_eq!(port.get(path).await.0, 404, "{path}");
    }
    let check = async |sent: &str, status: &str| {
        let answer = port.exchange(sent).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{sent:?} is answered with {answer:?}");
        answer
    };
    let refused = check("DELETE /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", "405").await;
    assert!(refused.contains("allow: GET, HEAD\r\n"), "{refused}");
    check("POST /livez HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n12345", "413").await;
    check("GET /livez HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", "413").await;
    let large = format!("GET /livez HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "x".repeat(HEADER_BYTES_MAX));
    check(&large, "431").await;
    let head = check("HEAD /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", "200").await;
    assert!(head.ends_with("\r\n\r\n"), "{head}");
}

#[tokio::test]
async fn more_connections_than_places_wait() {
    let port = Port::open().await;
    let waiting = port.readiness.handle("places");
    let mut probed = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        probed.push(port.connect().await);
    }
    let probe = "GET /livez HTTP/1.1\r\nhost: x\r\n\r\n";
    let one_more = port.get("/readyz");
    let others = async {
        // Each is answered many times, so one more had every chance to be let in beside them.
        for _ in 0..20 {
            for stream in &mut probed {
                stream.write_all(probe.as_bytes()).await.expect("sent");
                assert!(stream.read(&mut [0; 4096]).await.expect("answered") > 0);
            }
        }
        waiting.ready();
        drop(probed);
    };
    assert_eq!(futures::join!(one_more, others).0.0, 200, "it was let in before there was a place");
}

/// A connection in memory, which virtual time needs: on a socket, bytes under way do not hold the time up.
fn piped(port: &Port) -> (DuplexStream, impl Future<Output = Mark>) {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let place = Arc::new(Semaphore::new(1)).try_acquire_owned().expect("a place");
    let shown = port.shown.clone();
    let clock = Clock::starting_at(Time::from_millis(0));
    (near, async move {
        serve(far, place, shown).await;
        clock.mark()
    })
}

#[tokio::test(start_paused = true)]
async fn whoever_never_ends_its_headers_is_closed() {
    let port = Port::open().await;
    let (mut near, served) = piped(&port);
    near.write_all(b"GET /livez HTTP/1.1\r\nhost: ").await.expect("sent");
    let lived = served.await.since_start();
    assert!((HEADER_TIMEOUT..HEADER_TIMEOUT + Duration::from_secs(1)).contains(&lived), "it lived {lived:?}");
}

#[tokio::test(start_paused = true)]
async fn whoever_stays_idle_between_requests_is_closed() {
    let port = Port::open().await;
    let (mut near, served) = piped(&port);
    near.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sent");
    let lived = served.await.since_start();
    assert!((HEADER_TIMEOUT..HEADER_TIMEOUT + Duration::from_secs(1)).contains(&lived), "it lived {lived:?}");
}

#[tokio::test(start_paused = true)]
async fn a_busy_connection_ends_too() {
    let port = Port::open().await;
    let (mut near, served) = piped(&port);
    let ask = async {
        while near.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await.is_ok() {
            match near.read(&mut [0; 4096]).await {
                Ok(0) | Err(_) => break,
                Ok(_) => tokio::time::sleep(HEADER_TIMEOUT / 2).await,
            }
        }
    };
    let lived = futures::join!(served, ask).0.since_start();
    assert!((CONNECTION_LIFE..=CONNECTION_LIFE + LAST_ANSWER).contains(&lived), "it lived {lived:?}");
}
