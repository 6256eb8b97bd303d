//! The network's own faults: silence on connections that stay up, and resets.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};

use futures::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;

const OPEN: u8 = 0;
const SILENT: u8 = 1;
const RESET: u8 = 2;

/// The network in front of one listener: all connections go through it.
pub(crate) struct Wire {
    ends: Mutex<Ends>,
    bound: watch::Sender<bool>,
}

/// A TCP connection that can fall silent or be reset.
pub(super) struct Wired {
    stream: TcpStream,
    end: Arc<End>,
}

#[derive(Default)]
struct Ends {
    silent: bool,
    next: u64,
    open: HashMap<u64, Weak<End>>,
}

struct End {
    state: AtomicU8,
    waker: AtomicWaker,
}

impl Default for Wire {
    fn default() -> Self {
        Self { ends: Mutex::default(), bound: watch::Sender::new(false) }
    }
}

impl Wire {
    /// A black hole: connections, also new ones, stay up and carry no byte, until told otherwise.
    pub(crate) fn set_silent(&self, silent: bool) {
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        ends.silent = silent;
        let (from, to) = if silent { (OPEN, SILENT) } else { (SILENT, OPEN) };
        for end in ends.open.values().filter_map(Weak::upgrade) {
            let _ = end.state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire);
            end.waker.wake();
        }
    }

    /// Resets (TCP RST) all connections that are up now.
    pub(crate) fn reset(&self) {
        let ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        for end in ends.open.values().filter_map(Weak::upgrade) {
            end.state.store(RESET, Ordering::Release);
            end.waker.wake();
        }
    }

    /// How many connections are up.
    pub(crate) fn connections(&self) -> usize {
        let ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        ends.open.values().filter(|end| end.strong_count() > 0).count()
    }

    pub(super) fn set_bound(&self, bound: bool) {
        self.bound.send_replace(bound);
    }

    pub(super) async fn until_unbound(&self) {
        // The sender lives in self: it cannot be gone.
        let _ = self.bound.subscribe().wait_for(|bound| !bound).await;
    }
}

impl Wired {
    pub(super) fn new(stream: TcpStream, wire: &Wire) -> Self {
        let mut ends = wire.ends.lock().unwrap_or_else(PoisonError::into_inner);
        let state = AtomicU8::new(if ends.silent { SILENT } else { OPEN });
        let end = Arc::new(End { state, waker: AtomicWaker::new() });
        // Swept when it has doubled since the last sweep: constant work per connection.
        if ends.open.len().is_power_of_two() {
            ends.open.retain(|_, end| end.strong_count() > 0);
        }
        ends.next += 1;
        let number = ends.next;
        ends.open.insert(number, Arc::downgrade(&end));
        Self { stream, end }
    }

    /// Lets I/O through only while the connection is open. Hyper and rustls poll both directions from one task, so one
    /// waker is enough.
    fn gate(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.end.waker.register(context.waker());
        match self.end.state.load(Ordering::Acquire) {
            OPEN => Poll::Ready(Ok(())),
            SILENT => Poll::Pending,
            _ => {
                let _ = self.stream.set_zero_linger();
                Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
            }
        }
    }
}

impl AsyncRead for Wired {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        std::task::ready!(self.gate(context))?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Wired {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        std::task::ready!(self.gate(context))?;
        Pin::new(&mut self.stream).poll_write(context, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        std::task::ready!(self.gate(context))?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        std::task::ready!(self.gate(context))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        std::task::ready!(self.gate(context))?;
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}
