//! Encoding requests: the client's side.

use super::{Operation, OperationKind};
use crate::base::limits::{CLIENT_FRAME_BODY_MAX, FRAME_COMMANDS_MAX, KEY_MAX, VALUE_MAX};
use crate::base::{GroupId, Sequence, SessionId};
use crate::wire::frame::{FrameEncoder, FrameKind};
use crate::wire::generated::client as schema;

/// Gathers commands and encodes them as one frame; used again and again, it allocates nothing.
#[derive(Default)]
pub struct RequestBuilder {
    encoder: FrameEncoder,
    /// At most `FRAME_COMMANDS_MAX`.
    rows: Vec<schema::Operation>,
    /// The commands' bytes: as many as the rows' lengths add up to.
    data: Vec<u8>,
    /// Whether all of the commands are to happen or none; the next `clear` ends it.
    atomic: bool,
}

impl RequestBuilder {
    /// A builder with no commands.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// All of the commands shall happen or none: their sequences must follow one another, and their
    /// keys share one slot.
    pub const fn make_atomic(&mut self) {
        self.atomic = true;
    }

    /// How many commands it holds.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Bytes of the commands' keys, values and expected values.
    pub fn data_len(&self) -> usize {
        self.data.len()
    }

    /// Whether one more command with this many bytes of key, value and expected value fits the frame.
    pub fn fits(&self, bytes: usize) -> bool {
        Self::holds(self.rows.len() + 1, self.data.len() + bytes)
    }

    /// Whether one frame holds so many commands with so many bytes of keys, values and expected values.
    pub const fn holds(commands: usize, bytes: usize) -> bool {
        let body = BODY_OVERHEAD + commands * size_of::<schema::Operation>() + bytes;
        commands <= FRAME_COMMANDS_MAX && body <= CLIENT_FRAME_BODY_MAX
    }

    /// Adds a command.
    ///
    /// # Panics
    /// If the key, value or expected value breaks a limit, or the frame is full: `fits` tells.
    pub fn push(&mut self, operation: &Operation<'_>) {
        let Operation { sequence, kind, flags, key, value, expected } = *operation;
        let lengths = [key.len(), value.len(), expected.len()];
        assert!((1..=KEY_MAX).contains(&key.len()), "a key of {} bytes", key.len());
        assert!(value.len() <= VALUE_MAX, "a value of {} bytes", value.len());
        assert!(expected.len() <= VALUE_MAX, "an expected value of {} bytes", expected.len());
        assert!(self.fits(lengths.iter().sum()), "{lengths:?} bytes do not fit the frame");
        self.rows.push(schema::Operation::new(
            sequence.0,
            u32::try_from(value.len()).expect("VALUE_MAX is far below"),
            u32::try_from(expected.len()).expect("VALUE_MAX is far below"),
            u16::try_from(key.len()).expect("KEY_MAX is far below"),
            kind.number(),
            flags,
            0,
        ));
        for bytes in [key, value, expected] {
            self.data.extend_from_slice(bytes);
        }
    }

    /// Adds a read of `key`.
    ///
    /// # Panics
    /// As `push`.
    pub fn push_get(&mut self, key: &[u8]) {
        let (sequence, kind) = (Sequence(0), OperationKind::Get);
        self.push(&Operation { sequence, kind, flags: 0, key, value: &[], expected: &[] });
    }

    /// Appends a `Write` frame of the commands to `out`. They stay, to be sent again or cleared.
    pub fn encode_write(
        &mut self,
        request: u64,
        group: GroupId,
        session: SessionId,
        lowest_awaited: Sequence,
        out: &mut Vec<u8>,
    ) {
        let data = self.encoder.bytes(&self.data);
        let body = self.encoder.body();
        let args = schema::WriteArgs {
            request,
            session: session.0,
            lowest_awaited: lowest_awaited.0,
            group: group.0,
            operations: Some(body.create_vector(&self.rows)),
            data: Some(data),
            atomic: self.atomic,
        };
        let root = schema::Write::create(body, &args);
        self.encoder.finish(FrameKind::Write, root, out);
    }

    /// Appends a `Read` frame of the commands to `out`. They stay, to be sent again or cleared.
    pub fn encode_read(&mut self, request: u64, group: GroupId, out: &mut Vec<u8>) {
        let data = self.encoder.bytes(&self.data);
        let body = self.encoder.body();
        let operations = Some(body.create_vector(&self.rows));
        let args = schema::ReadArgs { request, group: group.0, operations, data: Some(data) };
        let root = schema::Read::create(body, &args);
        self.encoder.finish(FrameKind::Read, root, out);
    }

    /// Drops the commands; the storage stays.
    pub fn clear(&mut self) {
        self.rows.clear();
        self.data.clear();
        self.atomic = false;
    }
}

/// Bytes of a `Write` or `Read` body beside its rows and data, at most.
const BODY_OVERHEAD: usize = 128;

const _: () = assert!(
    BODY_OVERHEAD + size_of::<schema::Operation>() + KEY_MAX + 2 * VALUE_MAX
        <= CLIENT_FRAME_BODY_MAX,
    "any command fits a frame"
);

/// Appends an `OpenSession` frame to `out`.
pub fn encode_open_session(request: u64, group: GroupId, out: &mut Vec<u8>) {
    let mut encoder = FrameEncoder::default();
    let args = schema::OpenSessionArgs { request, group: group.0 };
    let root = schema::OpenSession::create(encoder.body(), &args);
    encoder.finish(FrameKind::OpenSession, root, out);
}

/// Appends a `CloseSession` frame to `out`.
pub fn encode_close_session(request: u64, group: GroupId, session: SessionId, out: &mut Vec<u8>) {
    let mut encoder = FrameEncoder::default();
    let args = schema::CloseSessionArgs { request, session: session.0, group: group.0 };
    let root = schema::CloseSession::create(encoder.body(), &args);
    encoder.finish(FrameKind::CloseSession, root, out);
}

/// Appends a `MapRequest` frame to `out`.
pub fn encode_map_request(request: u64, out: &mut Vec<u8>) {
    let mut encoder = FrameEncoder::default();
    let root = schema::MapRequest::create(encoder.body(), &schema::MapRequestArgs { request });
    encoder.finish(FrameKind::MapRequest, root, out);
}
