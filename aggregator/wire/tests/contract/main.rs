//! The report contract as bytes: the same for ever, and harmless whoever wrote them.

mod golden;
mod hostile;
mod messages;
mod round_trip;

use wire::codec::{HEADER, Message};
use wire::{DecodeError, Hello, Opening, Reply, Report, SessionReply};

/// A message of any type, so that one table can hold them all.
#[derive(Clone, Debug, PartialEq)]
enum Any {
    Hello(Hello),
    SessionReply(SessionReply),
    Opening(Opening),
    Report(Report),
    Reply(Reply),
}

/// The type of a message without its content.
#[derive(Clone, Copy, Debug)]
enum Type {
    Hello,
    SessionReply,
    Opening,
    Report,
    Reply,
}

/// Of which the golden files are. What is frozen has none.
const VERSION: u16 = 1;

const TYPES: [Type; 5] = [Type::Hello, Type::SessionReply, Type::Opening, Type::Report, Type::Reply];

impl Any {
    fn message_type(&self) -> Type {
        match self {
            Self::Hello(_) => Type::Hello,
            Self::SessionReply(_) => Type::SessionReply,
            Self::Opening(_) => Type::Opening,
            Self::Report(_) => Type::Report,
            Self::Reply(_) => Type::Reply,
        }
    }

    fn encode(&self) -> Vec<u8> {
        let bytes = match self {
            Self::Hello(message) => wire::encode(message),
            Self::SessionReply(message) => wire::encode(message),
            Self::Opening(message) => wire::encode_in(VERSION, message),
            Self::Report(message) => wire::encode_in(VERSION, message),
            Self::Reply(message) => wire::encode_in(VERSION, message),
        };
        bytes.expect("a message of a test fits into a frame")
    }
}

impl Type {
    fn decode(self, bytes: &[u8]) -> Result<Any, DecodeError> {
        match self {
            Self::Hello => wire::decode(bytes).map(Any::Hello),
            Self::SessionReply => wire::decode(bytes).map(Any::SessionReply),
            Self::Opening => wire::decode(bytes).map(Any::Opening),
            Self::Report => wire::decode(bytes).map(Any::Report),
            Self::Reply => wire::decode(bytes).map(Any::Reply),
        }
    }

    /// The frame of a payload that claims to be of this type: a header with nothing wrong in it.
    fn frame(self, payload: &[u8]) -> Vec<u8> {
        fn header_of<M: Message>() -> (u16, u8) {
            (if M::VERSIONS == wire::VERSIONS { VERSION } else { M::VERSIONS[0] }, M::TYPE)
        }
        let (version, message_type) = match self {
            Self::Hello => header_of::<Hello>(),
            Self::SessionReply => header_of::<SessionReply>(),
            Self::Opening => header_of::<Opening>(),
            Self::Report => header_of::<Report>(),
            Self::Reply => header_of::<Reply>(),
        };
        let mut frame = b"TCSN".to_vec();
        frame.extend(version.to_le_bytes());
        frame.push(message_type);
        frame.extend(u32::try_from(payload.len()).expect("a payload of a test is short").to_le_bytes());
        let summed: Vec<u8> = frame[4..].iter().chain(payload).copied().collect();
        frame.extend(xxhash_rust::xxh3::xxh3_64(&summed).to_le_bytes());
        assert_eq!(frame.len(), HEADER);
        frame.extend(payload);
        frame
    }
}
