//! Bodies: read whole, within a size and a share of memory. Time is the caller's.

use bytes::Bytes;
use http::StatusCode;
use http_body_util::BodyExt as _;
use hyper::body::Body;
use thiserror::Error;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Room for large bodies, which agents alone send. Small ones need none.
#[derive(Debug)]
pub(super) struct Room(Semaphore);

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
/// Large bodies at once: with the longest, 256 MiB.
const LARGE_MAX: usize = 32;

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
        Self(Semaphore::new(LARGE_MAX))
    }

    /// Reads the rest of `body`, of which `begun` was read before, to its end: at most `bytes_max` bytes in all.
    pub(super) async fn read<B: Body<Data = Bytes> + Unpin>(
        &self,
        mut body: B,
        begun: Vec<u8>,
        bytes_max: usize,
    ) -> Result<Whole<'_>, Unread> {
        let claimed = begun.len().saturating_add(usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX));
        if claimed > bytes_max {
            return Err(Unread::TooLong);
        }
        let mut bytes = begun;
        bytes.reserve(claimed.min(SMALL_BYTES_MAX).saturating_sub(bytes.len()));
        let mut taken = None;
        while let Some(data) = next(&mut body).await? {
            let length = bytes.len() + data.len();
            if length > bytes_max {
                return Err(Unread::TooLong);
            }
            if length > SMALL_BYTES_MAX && taken.is_none() {
                taken = Some(self.0.acquire().await.expect("it is never closed"));
            }
            bytes.extend_from_slice(&data);
        }
        Ok(Whole { bytes, _room: taken })
    }
}

/// Reads the beginning of `body`: that many bytes, and what came with the last of them; fewer when there are no more.
pub(super) async fn begin<B: Body<Data = Bytes> + Unpin>(body: &mut B, bytes: usize) -> Result<Vec<u8>, Unread> {
    let mut begun = Vec::new();
    while begun.len() < bytes
        && let Some(data) = next(body).await?
    {
        begun.extend_from_slice(&data);
    }
    Ok(begun)
}

async fn next<B: Body<Data = Bytes> + Unpin>(body: &mut B) -> Result<Option<Bytes>, Unread> {
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(|_| Unread::CutOff)?.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll};

    use futures::stream;
    use http_body_util::StreamBody;
    use hyper::body::{Frame, SizeHint};

    use super::*;

    fn chunks(count: usize, bytes: usize) -> impl Body<Data = Bytes, Error = std::io::Error> + Unpin {
        let chunk = Bytes::from(vec![7; bytes]);
        StreamBody::new(stream::iter((0..count).map(move |_| Ok(Frame::data(chunk.clone())))))
    }

    async fn unread(read: impl Future<Output = Result<Whole<'_>, Unread>>) -> Unread {
        read.await.map(|whole| whole.bytes.len()).expect_err("it is not read")
    }

    #[tokio::test]
    async fn a_body_is_read_up_to_its_longest() {
        let room = Room::new();
        let whole = room.read(chunks(10, 100), Vec::new(), 1_000).await.expect("it fits");
        assert_eq!(whole.bytes.len(), 1_000);
        assert_eq!(unread(room.read(chunks(11, 100), Vec::new(), 1_000)).await, Unread::TooLong);
    }

    #[tokio::test]
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
        assert!(futures::poll!(pin!(room.read(Claimed(1_000), Vec::new(), 1_000))).is_pending());
        assert_eq!(unread(room.read(Claimed(1_001), Vec::new(), 1_000)).await, Unread::TooLong);
        assert_eq!(unread(room.read(Claimed(991), vec![7; 10], 1_000)).await, Unread::TooLong);
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_none() {
        let broken = stream::iter([Ok(Frame::data(Bytes::from("x"))), Err(std::io::Error::other("gone"))]);
        let room = Room::new();
        assert_eq!(unread(room.read(StreamBody::new(broken), Vec::new(), 10)).await, Unread::CutOff);
    }

    #[tokio::test]
    async fn a_large_body_holds_its_room_until_it_is_dropped_and_a_small_one_needs_none() {
        let room = Room::new();
        let read = |count| room.read(chunks(count, SMALL_BYTES_MAX), Vec::new(), 2 * SMALL_BYTES_MAX);
        let mut held = Vec::new();
        for _ in 0..LARGE_MAX {
            held.push(read(2).await.expect("there is room"));
        }
        assert!(futures::poll!(pin!(read(2))).is_pending());
        assert!(read(1).await.is_ok());
        held.pop();
        assert!(read(2).await.is_ok());
    }

    #[tokio::test]
    async fn the_beginning_is_read_alone_and_belongs_to_the_whole() {
        let mut body = chunks(3, 10);
        let begun = begin(&mut body, 15).await.expect("it comes");
        assert_eq!(begun.len(), 20);
        let room = Room::new();
        assert_eq!(room.read(body, begun, 30).await.expect("it fits").bytes.len(), 30);
        assert_eq!(begin(&mut chunks(1, 10), 15).await.expect("it ends").len(), 10);
    }
}
