//! The bytes: a fixed header, then bincode. The only file that knows bincode, which is unmaintained
//! (RUSTSEC-2025-0141) and so must be replaceable here alone.
//!
//! ```text
//! 0      4         6      7          11            19
//! | TCSN | version | type | length   | checksum    | payload …
//!   magic  u16       u8     u32        u64           length bytes
//! ```
//!
//! Integers are little-endian. The checksum is XXH3-64 over version, type, length and payload.

use bincode::config::{self, Configuration as Config, Limit, LittleEndian, Varint};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::report::{Reply, Report};
use crate::session::{Hello, Opening, SessionId, SessionReply};

/// The longest payload, in bytes.
pub const LIMIT: usize = 8 * 1024 * 1024;

/// The most memory that decoding holds at any moment, whatever the bytes claim. More than [`LIMIT`], because in memory
/// things are larger than on the wire, and a text is for a moment there twice.
pub const MEMORY_MAX: usize = 2 * LIMIT + 4 * 1024 * 1024;

/// The length of the header, in bytes.
pub const HEADER: usize = 19;

const MAGIC: [u8; 4] = *b"TCSN";
/// What never changes has one version for ever.
const FROZEN: &[u16] = &[0];
const CONFIG: Config<LittleEndian, Varint, Limit<LIMIT>> = config::standard().with_limit::<LIMIT>();

/// Something that is sent whole, in a frame of its own.
pub trait Message: Serialize + DeserializeOwned {
    /// Tells the messages apart.
    const TYPE: u8;
    /// The versions of the format that it is written and read in, best first; 0 alone for what is frozen.
    const VERSIONS: &'static [u16];
}

impl Message for Hello {
    const TYPE: u8 = 1;
    const VERSIONS: &'static [u16] = FROZEN;
}

impl Message for SessionReply {
    const TYPE: u8 = 2;
    const VERSIONS: &'static [u16] = FROZEN;
}

impl Message for Opening {
    const TYPE: u8 = 3;
    const VERSIONS: &'static [u16] = crate::VERSIONS;
}

impl Message for Report {
    const TYPE: u8 = 4;
    const VERSIONS: &'static [u16] = crate::VERSIONS;
}

impl Message for Reply {
    const TYPE: u8 = 5;
    const VERSIONS: &'static [u16] = crate::VERSIONS;
}

/// Why a message cannot be sent.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum EncodeError {
    /// Its payload is longer than [`LIMIT`].
    #[error("the message is longer than {LIMIT} bytes: send less at once")]
    TooLong,
    /// This version of it is not spoken here.
    #[error("format version {0} is not spoken here")]
    Version(u16),
    /// Its type cannot be written.
    #[error("the message cannot be written: {0}")]
    Unwritable(String),
}

/// Why bytes are no message.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum DecodeError {
    /// Shorter than the header, or than the header says.
    #[error("the message is cut off: {got} bytes of {wanted}")]
    CutOff {
        /// Bytes needed.
        wanted: usize,
        /// Bytes there.
        got: usize,
    },
    /// Bytes after the end.
    #[error("{0} bytes follow the message")]
    Trailing(usize),
    /// Not ours at all.
    #[error("this is no Tocsin message: is the other end a Tocsin of any version?")]
    Foreign,
    /// A version that this build does not speak.
    #[error("format version {0} is not spoken here: upgrade the older of the two ends")]
    Version(u16),
    /// Another message than the one expected.
    #[error("message type {got} came where {wanted} was expected")]
    Type {
        /// The one expected.
        wanted: u8,
        /// The one that came.
        got: u8,
    },
    /// The payload is longer than [`LIMIT`].
    #[error("the message claims {0} bytes, more than {LIMIT}")]
    TooLong(usize),
    /// Damaged on the way.
    #[error("the checksum is wrong: the message was damaged on its way")]
    Checksum,
    /// The payload is not what its type says.
    #[error("the payload is malformed: {0}")]
    Malformed(String),
}

/// What a header says.
struct Header {
    version: u16,
    /// Of the payload, in bytes.
    length: usize,
}

/// Writes `message` as bytes, in the best of its versions.
pub fn encode<M: Message>(message: &M) -> Result<Vec<u8>, EncodeError> {
    encode_in(M::VERSIONS[0], message)
}

/// Writes `message` as bytes, in this one of its versions: that of the session.
pub fn encode_in<M: Message>(version: u16, message: &M) -> Result<Vec<u8>, EncodeError> {
    if !M::VERSIONS.contains(&version) {
        return Err(EncodeError::Version(version));
    }
    let mut bytes = vec![0; HEADER];
    bincode::serde::encode_into_std_write(message, &mut bytes, config::standard())
        .map_err(|error| EncodeError::Unwritable(error.to_string()))?;
    let length = bytes.len() - HEADER;
    let length = u32::try_from(length).ok().filter(|_| length <= LIMIT).ok_or(EncodeError::TooLong)?;
    bytes[..4].copy_from_slice(&MAGIC);
    bytes[4..6].copy_from_slice(&version.to_le_bytes());
    bytes[6] = M::TYPE;
    bytes[7..11].copy_from_slice(&length.to_le_bytes());
    let checksum = checksum(&bytes).to_le_bytes();
    bytes[11..HEADER].copy_from_slice(&checksum);
    Ok(bytes)
}

/// How many bytes [`session_of_report`] needs: the header, and a session's name at its longest.
pub const REPORT_HEAD: usize = HEADER + 17;

/// Which session a report belongs to, by its first [`REPORT_HEAD`] bytes or more. The rest may turn out to be damaged, so that
/// is all that it is good for.
pub fn session_of_report(bytes: &[u8]) -> Result<SessionId, DecodeError> {
    Header::of::<Report>(bytes)?;
    let (session, _) =
        bincode::serde::decode_from_slice(&bytes[HEADER..], CONFIG).map_err(|error| malformed(&error))?;
    Ok(session)
}

/// The version that a report says it is in, spoken here or not, by its first [`HEADER`] bytes or more; `None` when they begin
/// none.
pub fn version_of_report(bytes: &[u8]) -> Option<u16> {
    Header::read::<Report>(bytes).ok().map(|header| header.version)
}

/// Reads the one message that `bytes` are.
pub fn decode<M: Message>(bytes: &[u8]) -> Result<M, DecodeError> {
    let Header { length, .. } = Header::of::<M>(bytes)?;
    let wanted = HEADER + length;
    match bytes.len() {
        got if got < wanted => return Err(DecodeError::CutOff { wanted, got }),
        got if got > wanted => return Err(DecodeError::Trailing(got - wanted)),
        _ => {}
    }
    if bytes[11..HEADER] != checksum(bytes).to_le_bytes() {
        return Err(DecodeError::Checksum);
    }
    let (message, read) =
        bincode::serde::decode_from_slice(&bytes[HEADER..], CONFIG).map_err(|error| malformed(&error))?;
    if read < length {
        return Err(DecodeError::Malformed(format!("{} bytes are left over", length - read)));
    }
    Ok(message)
}

impl Header {
    /// That of what should be an `M`, in a version that is spoken here, and not too long.
    fn of<M: Message>(bytes: &[u8]) -> Result<Self, DecodeError> {
        let header = Self::read::<M>(bytes)?;
        if !M::VERSIONS.contains(&header.version) {
            return Err(DecodeError::Version(header.version));
        }
        if header.length > LIMIT {
            return Err(DecodeError::TooLong(header.length));
        }
        Ok(header)
    }

    /// That of what should be an `M`, as it stands there.
    fn read<M: Message>(bytes: &[u8]) -> Result<Self, DecodeError> {
        let header: &[u8; HEADER] =
            bytes.first_chunk().ok_or(DecodeError::CutOff { wanted: HEADER, got: bytes.len() })?;
        if header[..4] != MAGIC {
            return Err(DecodeError::Foreign);
        }
        if header[6] != M::TYPE {
            return Err(DecodeError::Type { wanted: M::TYPE, got: header[6] });
        }
        let version = u16::from_le_bytes([header[4], header[5]]);
        let length = u32::from_le_bytes([header[7], header[8], header[9], header[10]]) as usize;
        Ok(Self { version, length })
    }
}

fn malformed(error: &bincode::error::DecodeError) -> DecodeError {
    DecodeError::Malformed(error.to_string())
}

/// A hash that is the same wherever the same value is.
pub(crate) fn fingerprint<T: Serialize>(value: &T) -> u64 {
    let bytes = bincode::serde::encode_to_vec(value, config::standard())
        .expect("a value of our own types, in memory, can be written");
    xxh3_64(&bytes)
}

fn checksum(frame: &[u8]) -> u64 {
    let mut hasher = Xxh3::new();
    hasher.update(&frame[4..11]);
    hasher.update(&frame[HEADER..]);
    hasher.digest()
}
