//! A forward proxy as companies have them: it tunnels (CONNECT, RFC 9110 §9.3.6), wants credentials if it is told to, and
//! finds names that nobody else does.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// In this domain nothing has an address (RFC 6761 §6.4); the proxy takes all of it for this machine.
pub const BEHIND: &str = "outside.invalid";
/// A longer head is none.
const HEAD_LINES_MAX: usize = 100;

/// A running proxy; it ends with its value.
#[derive(Debug)]
pub struct ForwardProxy {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct State {
    /// What `Proxy-Authorization` must be.
    wanted: Option<String>,
    /// Where it was asked to tunnel to, and what it answered. At most one entry per connection of a test: nothing to bound.
    asked: Vec<(String, u16)>,
}

impl ForwardProxy {
    /// One at a free port of 127.0.0.1 that wants no credentials.
    pub async fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let state = Arc::<Mutex<State>>::default();
        let task = tokio::spawn(accept(listener, Arc::clone(&state)));
        Ok(Self { address, state, task })
    }

    /// Where it is: HOST:PORT.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on it answers 407 to whoever does not give these: `name:password` as base64.
    pub fn require(&self, credentials: &str) {
        lock(&self.state).wanted = Some(format!("Basic {credentials}"));
    }

    /// Where it was asked to tunnel to, in order, and what it answered.
    pub fn asked(&self) -> Vec<(String, u16)> {
        lock(&self.state).asked.clone()
    }
}

impl Drop for ForwardProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, state: Arc<Mutex<State>>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                connections.spawn(serve(stream, Arc::clone(&state)));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// One connection; whatever goes wrong ends it.
async fn serve(stream: TcpStream, state: Arc<Mutex<State>>) -> std::io::Result<()> {
    let mut client = BufReader::new(stream);
    let mut head = Vec::new();
    while head.len() < HEAD_LINES_MAX {
        let mut line = String::new();
        if client.read_line(&mut line).await? == 0 || line == "\r\n" {
            break;
        }
        head.push(line.trim_end().to_owned());
    }
    if head.is_empty() {
        // Somebody looks whether it listens.
        return Ok(());
    }
    let to = head.first().and_then(|line| line.strip_prefix("CONNECT ")?.split(' ').next()).map(str::to_owned);
    let given = head.iter().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("proxy-authorization").then(|| value.to_owned())
    });
    let status = {
        let mut state = lock(&state);
        let status = match (&to, &state.wanted) {
            (None, _) => 405,
            (Some(_), Some(wanted)) if given.as_ref() != Some(wanted) => 407,
            _ => 200,
        };
        state.asked.push((to.clone().unwrap_or_default(), status));
        status
    };
    let Some(to) = to.filter(|_| status == 200) else {
        let answer = format!("HTTP/1.1 {status} No\r\nproxy-authenticate: Basic\r\ncontent-length: 0\r\n\r\n");
        return client.write_all(answer.as_bytes()).await;
    };
    let mut server = TcpStream::connect(to.replace(BEHIND, "127.0.0.1")).await?;
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
    copy_bidirectional(&mut client, &mut server).await.map(drop)
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
