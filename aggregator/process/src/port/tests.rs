//! Byte by byte: over a real socket, and in memory where time is virtual.

use std::sync::atomic::{AtomicBool, Ordering};

use rules::Time;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::*;
use crate::clock::Mark;
use crate::shutdown::Script;
use crate::tasks::Failures;

/// One page, at `/door`: whether it is open.
#[derive(Clone, Default)]
struct Door(Arc<AtomicBool>);

impl Pages for Door {
    const HERE: &'static str = "here is /door";

    fn page(&self, path: &str, _: &HeaderMap) -> Option<Response<Full<Bytes>>> {
        let word = if self.0.load(Ordering::Relaxed) { "open" } else { "shut" };
        (path == "/door").then(|| response(StatusCode::OK, "text/plain", word))
    }

    fn refusal(status: StatusCode, why: &'static str) -> Response<Full<Bytes>> {
        response(status, "text/plain", why)
    }
}

struct Port {
    addr: SocketAddr,
    door: Door,
    // Dropped, the tasks end.
    _script: Script,
    _failures: Failures,
}

const REQUEST: &str = "GET /door HTTP/1.1\r\nhost: x\r\n\r\n";

impl Port {
    async fn open() -> Self {
        let script = Script::new();
        let (tasks, failures) = Tasks::new(script.phases());
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a port");
        let (addr, door) = (listener.local_addr().expect("it is bound"), Door::default());
        let serving = serve(listener, "connection", tasks.clone(), Clock::system(), door.clone());
        tasks.spawn("port", Stage::Background, serving);
        Self { addr, door, _script: script, _failures: failures }
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
}

#[tokio::test]
async fn pages_are_read_and_nothing_else_is_done() {
    let port = Port::open().await;
    let check = async |sent: &str, status: &str, holds: &str| {
        let answer = port.exchange(sent).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{sent:?} is answered with {answer:?}");
        assert!(answer.contains(holds), "{answer:?} does not hold {holds:?}");
    };
    let rest = "HTTP/1.1\r\nhost: x\r\nconnection: close";
    check(&format!("GET /door?verbose {rest}\r\n\r\n"), "200", "\r\n\r\nshut").await;
    check(&format!("GET /door {rest}\r\n\r\n"), "200", "cache-control: no-store\r\n").await;
    check(&format!("HEAD /door {rest}\r\n\r\n"), "200", "\r\n\r\n").await;
    check(&format!("GET / {rest}\r\n\r\n"), "404", "\r\n\r\nhere is /door").await;
    check(&format!("DELETE /door {rest}\r\n\r\n"), "405", "allow: GET, HEAD\r\n").await;
    let rest = "HTTP/1.1\r\nhost: x";
    check(&format!("POST /door {rest}\r\ncontent-length: 5\r\n\r\n12345"), "413", "no request here has a body").await;
    check(&format!("GET /door {rest}\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"), "413", "").await;
    check(&format!("GET /door {rest}\r\nx: {}\r\n\r\n", "x".repeat(HEADER_BYTES_MAX)), "431", "").await;
}

#[tokio::test]
async fn more_connections_than_places_wait() {
    let port = Port::open().await;
    let mut others = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        others.push(port.connect().await);
    }
    let request = REQUEST.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n");
    let one_more = port.exchange(&request);
    let others = async {
        // Each is answered many times, so one more had every chance to be let in beside them.
        for _ in 0..20 {
            for stream in &mut others {
                stream.write_all(REQUEST.as_bytes()).await.expect("sent");
                assert!(stream.read(&mut [0; 4096]).await.expect("answered") > 0);
            }
        }
        port.door.0.store(true, Ordering::Relaxed);
        drop(others);
    };
    let (answer, ()) = futures::join!(one_more, others);
    assert!(answer.ends_with("\r\n\r\nopen"), "it was let in before there was a place: {answer}");
}

/// A connection in memory, which virtual time needs: on a socket, bytes under way do not hold the time up.
fn piped() -> (DuplexStream, impl Future<Output = Mark>) {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let place = Arc::new(Semaphore::new(1)).try_acquire_owned().expect("a place");
    let clock = Clock::starting_at(Time::from_millis(0));
    (near, async move {
        serve_one(far, place, Door::default()).await;
        clock.mark()
    })
}

#[tokio::test(start_paused = true)]
async fn whoever_never_ends_a_request_or_sends_no_other_is_closed() {
    for sent in [&REQUEST[..REQUEST.len() - 4], REQUEST] {
        let (mut near, served) = piped();
        near.write_all(sent.as_bytes()).await.expect("sent");
        let lived = served.await.since_start();
        assert!((HEADER_TIMEOUT..HEADER_TIMEOUT + Duration::from_secs(1)).contains(&lived), "it lived {lived:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_busy_connection_ends_too() {
    let (mut near, served) = piped();
    let ask = async {
        while near.write_all(REQUEST.as_bytes()).await.is_ok() {
            match near.read(&mut [0; 4096]).await {
                Ok(0) | Err(_) => break,
                Ok(_) => tokio::time::sleep(HEADER_TIMEOUT / 2).await,
            }
        }
    };
    let lived = futures::join!(served, ask).0.since_start();
    assert!((CONNECTION_LIFE..=CONNECTION_LIFE + LAST_ANSWER).contains(&lived), "it lived {lived:?}");
}
