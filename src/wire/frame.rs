//! Frames: a checksummed header, a body, and zeros up to a multiple of eight bytes.
//!
//! ```text
//!  0        4      5        6         8          12            16
//!  | length | kind | version| 0 0     | body CRC | header CRC  | body … | zeros |
//! ```
//!
//! The header has a checksum of its own, so that a length is believed before the body is there; the
//! body's covers the padding too, so that no byte of a frame goes unchecked. A frame's length is a
//! multiple of eight: frames laid end to end in an aligned buffer are all aligned.

mod encoder;

pub(super) use encoder::FrameEncoder;
pub use encoder::append_frame;

use super::WireError;
use crate::base::checksum::crc32c;

/// Bytes of a header.
pub const HEADER: usize = 16;

/// What both sides of a handshake must speak.
pub const PROTOCOL_VERSION: u32 = 1;

/// The `version` byte of every header.
const FRAME_VERSION: u8 = 1;

/// Frames begin and end at multiples of this many bytes.
const ALIGNMENT: usize = 8;

/// What a frame's body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum FrameKind {
    /// First from a client.
    ClientHello = 1,
    /// First to a client.
    ClientHelloReply = 2,
    /// A client asks for the shard map.
    MapRequest = 3,
    /// The shard map.
    MapReply = 4,
    /// Commands to be executed exactly once.
    Write = 5,
    /// Linearizable reads.
    Read = 6,
    /// The fate of a `Write`, `Read`, `OpenSession` or `CloseSession`.
    Reply = 7,
    /// Opens a session.
    OpenSession = 8,
    /// Closes a session.
    CloseSession = 9,
    /// First from the node that connects.
    PeerHello = 32,
    /// First from the node that accepts.
    PeerHelloReply = 33,
    /// One turn's messages of one core to one other.
    PeerBatch = 34,
    /// The failure detector's question.
    Ping = 35,
    /// And its answer.
    Pong = 36,
    /// In an entry: what the host of a replica, and no client, has its group do.
    Order = 64,
    /// Between the leaders of two groups.
    Movement = 65,
}

impl FrameKind {
    /// The kind numbered `number`, if there is one.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::ClientHello,
            2 => Self::ClientHelloReply,
            3 => Self::MapRequest,
            4 => Self::MapReply,
            5 => Self::Write,
            6 => Self::Read,
            7 => Self::Reply,
            8 => Self::OpenSession,
            9 => Self::CloseSession,
            32 => Self::PeerHello,
            33 => Self::PeerHelloReply,
            34 => Self::PeerBatch,
            35 => Self::Ping,
            36 => Self::Pong,
            64 => Self::Order,
            65 => Self::Movement,
            _ => return None,
        })
    }
}

/// A whole frame in somebody's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What the body is.
    pub kind: FrameKind,
    /// The body, without padding.
    pub body: &'a [u8],
    /// Header, body and padding: what to copy to pass the frame on.
    pub bytes: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The body, if it is a `wanted`.
    pub(super) fn body_of(&self, wanted: FrameKind) -> Result<&'a [u8], WireError> {
        if self.kind == wanted { Ok(self.body) } else { Err(WireError::UnexpectedKind(self.kind)) }
    }
}

/// What a buffer begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scan<'a> {
    /// A part of a frame.
    Incomplete {
        /// Bytes the buffer must hold for the next scan to get further: those of the whole frame, or
        /// of its header.
        needed: usize,
    },
    /// A frame; the next begins `bytes.len()` further on.
    Frame(Frame<'a>),
}

/// Why bytes are not a frame. What follows them in the stream cannot be trusted: close it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Not a header of ours.
    #[error("these bytes are not a frame header (another protocol, or damage on the way)")]
    BadHeader,
    /// From a program that speaks another version.
    #[error("frame version {0}; this program speaks version {FRAME_VERSION}")]
    UnknownVersion(u8),
    /// From a newer program.
    #[error("frame kind {0} is not known here")]
    UnknownKind(u8),
    /// Longer than this connection may send.
    #[error("a frame body of {length} bytes; at most {max} are accepted here")]
    TooLarge {
        /// What the header says.
        length: usize,
        /// The limit.
        max: usize,
    },
    /// Damaged on the way.
    #[error("the frame's body does not match its checksum")]
    BadChecksum,
    /// The caller's buffer cannot hold frames.
    #[error("frames must lie at a multiple of {ALIGNMENT} bytes in memory")]
    Misaligned,
}

/// What the front of `buffer` holds. Each body byte is read once, when the whole frame is there.
///
/// `buffer`: begins where a frame begins, aligned to eight bytes.
/// `body_max`: bytes of a body, at most.
///
/// # Errors
/// If the buffer cannot begin with an intact frame of at most `body_max` bytes.
pub fn scan(buffer: &[u8], body_max: usize) -> Result<Scan<'_>, FrameError> {
    if buffer.as_ptr().align_offset(ALIGNMENT) != 0 {
        return Err(FrameError::Misaligned);
    }
    let Some(bytes) = buffer.first_chunk::<HEADER>() else {
        return Ok(Scan::Incomplete { needed: HEADER });
    };
    let header = Header::read(bytes);
    let kind = header.check(bytes, body_max)?;
    let Some(frame) = header.frame(kind, buffer) else {
        return Ok(Scan::Incomplete { needed: header.frame_length() });
    };
    if crc32c(&frame.bytes[HEADER..]) == header.body_crc {
        Ok(Scan::Frame(frame))
    } else {
        Err(FrameError::BadChecksum)
    }
}

/// The frame at the front of `bytes`, whose checksums were verified before: inside a log entry.
///
/// Nothing at the end of `bytes`, and if what follows is not a frame.
pub fn scan_trusted(bytes: &[u8]) -> Option<Frame<'_>> {
    let header = Header::read(bytes.first_chunk()?);
    header.frame(FrameKind::from_number(header.kind)?, bytes)
}

/// The frames of `bytes`, laid end to end, whose checksums were verified before.
pub fn trusted_frames(bytes: &[u8]) -> impl Iterator<Item = Frame<'_>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let frame = scan_trusted(rest)?;
        rest = &rest[frame.bytes.len()..];
        Some(frame)
    })
}

/// A header's fields as read, nothing of them checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    /// Bytes of the body without padding.
    length: u32,
    kind: u8,
    version: u8,
    /// Zero.
    reserved: u16,
    /// Of the body with its padding.
    body_crc: u32,
    /// Of the header's bytes before it.
    own_crc: u32,
}

/// Bytes of a header that its own checksum covers.
const HEADER_CHECKED: usize = 12;

impl Header {
    fn read(bytes: &[u8; HEADER]) -> Self {
        let word = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        Self {
            length: word(0),
            kind: bytes[4],
            version: bytes[5],
            reserved: u16::from_le_bytes([bytes[6], bytes[7]]),
            body_crc: word(8),
            own_crc: word(HEADER_CHECKED),
        }
    }

    /// The header of a frame whose padded body is `padded` and whose body has `length` bytes.
    fn of(kind: FrameKind, length: usize, padded: &[u8]) -> [u8; HEADER] {
        let length = u32::try_from(length).expect("bodies are limited to megabytes");
        let mut bytes = [0; HEADER];
        bytes[..4].copy_from_slice(&length.to_le_bytes());
        bytes[4] = kind as u8;
        bytes[5] = FRAME_VERSION;
        bytes[8..HEADER_CHECKED].copy_from_slice(&crc32c(padded).to_le_bytes());
        let own_crc = crc32c(&bytes[..HEADER_CHECKED]);
        bytes[HEADER_CHECKED..].copy_from_slice(&own_crc.to_le_bytes());
        bytes
    }

    /// The kind of a header that can be believed. `bytes` are what it was read from.
    fn check(&self, bytes: &[u8; HEADER], body_max: usize) -> Result<FrameKind, FrameError> {
        if crc32c(&bytes[..HEADER_CHECKED]) != self.own_crc {
            return Err(FrameError::BadHeader);
        }
        if self.version != FRAME_VERSION {
            return Err(FrameError::UnknownVersion(self.version));
        }
        if self.reserved != 0 {
            return Err(FrameError::BadHeader);
        }
        let kind = FrameKind::from_number(self.kind).ok_or(FrameError::UnknownKind(self.kind))?;
        if self.body_length() > body_max {
            return Err(FrameError::TooLarge { length: self.body_length(), max: body_max });
        }
        Ok(kind)
    }

    fn body_length(&self) -> usize {
        self.length as usize
    }

    /// Bytes of the whole frame.
    fn frame_length(&self) -> usize {
        HEADER + self.body_length().next_multiple_of(ALIGNMENT)
    }

    /// The frame of this header at the front of `buffer`, if it is there to its end.
    fn frame<'a>(&self, kind: FrameKind, buffer: &'a [u8]) -> Option<Frame<'a>> {
        let bytes = buffer.get(..self.frame_length())?;
        Some(Frame { kind, body: &bytes[HEADER..HEADER + self.body_length()], bytes })
    }
}

#[cfg(test)]
mod tests;
