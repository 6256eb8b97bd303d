//! Bodies: read whole, within a time, a size and a share of memory.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body_util::BodyExt as _;
use hyper::body::Body;
use thiserror::Error;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Room for large bodies. Small ones need none.
#[derive(Debug)]
pub(super) struct Room {
    agents: Semaphore,
    strangers: Semaphore,
}

/// A body, with the room that it takes.
#[derive(Debug)]
pub(super) struct Whole<'a> {
    pub(super) bytes: Vec<u8>,
    _room: Option<SemaphorePermit<'a>>,
}

/// Why a body was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum Unread {
    /// It is longer than it may be.
    #[error("the body is too long: send less at once")]
    TooLong,
    /// It did not come in time, or there was no room for it in time.
    #[error("the body did not come in time")]
    Late,
    /// The peer broke it off.
    #[error("the body was broken off")]
    CutOff,
}

/// A longer body is large.
const SMALL_BYTES_MAX: usize = 64 * 1024;
/// Large bodies of agents at once: with the longest, 256 MiB.
const AGENTS_MAX: usize = 32;
/// Large bodies of strangers at once.
const STRANGERS_MAX: usize = 8;

impl Unread {
    /// The status that says so.
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Late => StatusCode::SERVICE_UNAVAILABLE,
            Self::CutOff => StatusCode::BAD_REQUEST,
        }
    }
}

impl Room {
    pub(super) fn new() -> Self {
        Self { agents: Semaphore::new(AGENTS_MAX), strangers: Semaphore::new(STRANGERS_MAX) }
    }

    /// Reads `body`, of at most `bytes_max` bytes, within `timeout`.
    pub(super) async fn read<B: Body<Data = Bytes> + Unpin>(
        &self,
        body: B,
        bytes_max: usize,
        timeout: Duration,
        is_stranger: bool,
    ) -> Result<Whole<'_>, Unread> {
        let room = if is_stranger { &self.strangers } else { &self.agents };
        tokio::time::timeout(timeout, read(body, bytes_max, room)).await.unwrap_or(Err(Unread::Late))
    }
}

async fn read<B: Body<Data = Bytes> + Unpin>(
    mut body: B,
    bytes_max: usize,
    room: &Semaphore,
) -> Result<Whole<'_>, Unread> {
    let claimed = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if claimed > bytes_max {
        return Err(Unread::TooLong);
    }
    let mut bytes = Vec::with_capacity(claimed.min(SMALL_BYTES_MAX));
    let mut taken = None;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Unread::CutOff)?.into_data() else { continue };
        let length = bytes.len() + data.len();
        if length > bytes_max {
            return Err(Unread::TooLong);
        }
        if length > SMALL_BYTES_MAX && taken.is_none() {
            taken = Some(room.acquire().await.expect("it is never closed"));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(Whole { bytes, _room: taken })
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use futures::{StreamExt as _, stream};
    use http_body_util::StreamBody;
    use hyper::body::{Frame, SizeHint};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn chunks(count: usize, bytes: usize) -> impl Body<Data = Bytes, Error = std::io::Error> + Unpin {
        let chunk = Bytes::from(vec![7; bytes]);
        StreamBody::new(stream::iter((0..count).map(move |_| Ok(Frame::data(chunk.clone())))))
    }

    fn endless() -> impl Body<Data = Bytes, Error = std::io::Error> + Unpin {
        let begin = stream::iter([Ok(Frame::data(Bytes::from(vec![7; SMALL_BYTES_MAX + 1])))]);
        StreamBody::new(begin.chain(stream::pending()))
    }

    async fn unread(read: impl Future<Output = Result<Whole<'_>, Unread>>) -> Unread {
        read.await.map(|whole| whole.bytes.len()).expect_err("it is not read")
    }

    #[tokio::test]
    async fn a_body_is_read_up_to_its_longest() {
        let room = Room::new();
        let whole = room.read(chunks(10, 100), 1_000, SECOND, true).await.expect("it fits");
        assert_eq!(whole.bytes.len(), 1_000);
        assert_eq!(unread(room.read(chunks(11, 100), 1_000, SECOND, true)).await, Unread::TooLong);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_says_that_it_is_too_long_is_not_waited_for() {
        /// Says how long it is, and never comes.
        struct Claimed(u64);

        impl Body for Claimed {
            type Data = Bytes;
            type Error = std::io::Error;

            fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<std::io::Result<Frame<Bytes>>>> {
                Poll::Pending
            }

            fn size_hint(&self) -> SizeHint {
                SizeHint::with_exact(self.0)
            }
        }

        let room = Room::new();
        assert_eq!(unread(room.read(Claimed(1_000), 1_000, SECOND, true)).await, Unread::Late);
        assert_eq!(unread(room.read(Claimed(1_001), 1_000, SECOND, true)).await, Unread::TooLong);
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_none() {
        let broken = stream::iter([Ok(Frame::data(Bytes::from("x"))), Err(std::io::Error::other("gone"))]);
        let room = Room::new();
        assert_eq!(unread(room.read(StreamBody::new(broken), 10, SECOND, true)).await, Unread::CutOff);
    }

    #[tokio::test(start_paused = true)]
    async fn strangers_that_never_end_take_no_room_from_agents_and_lose_theirs() {
        let room = Room::new();
        let large = 2 * SMALL_BYTES_MAX;
        let strangers = (0..=STRANGERS_MAX).map(|_| unread(room.read(endless(), large, SECOND, true)));
        let agent = async { room.read(chunks(2, SMALL_BYTES_MAX), large, SECOND / 2, false).await.map(|_| ()) };
        let (ends, agent) = futures::join!(futures::future::join_all(strangers), agent);
        assert_eq!(agent, Ok(()));
        assert!(ends.into_iter().all(|end| end == Unread::Late));
        assert_eq!(room.strangers.available_permits(), STRANGERS_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_body_holds_its_room_until_it_is_dropped_and_a_small_one_needs_none() {
        let room = Room::new();
        let large = 2 * SMALL_BYTES_MAX;
        let mut held = Vec::new();
        for _ in 0..STRANGERS_MAX {
            held.push(room.read(chunks(2, SMALL_BYTES_MAX), large, SECOND, true).await.expect("there is room"));
        }
        assert_eq!(unread(room.read(chunks(2, SMALL_BYTES_MAX), large, SECOND, true)).await, Unread::Late);
        assert!(room.read(chunks(1, SMALL_BYTES_MAX), large, SECOND, true).await.is_ok());
        held.pop();
        assert!(room.read(chunks(2, SMALL_BYTES_MAX), large, SECOND, true).await.is_ok());
    }
}
