//! Requests, read in place.

use flatbuffers::{Vector, VectorIter};

use crate::base::limits::{FRAME_COMMANDS_MAX, KEY_MAX, VALUE_MAX};
use crate::base::{GroupId, Sequence, SessionId, Slot};
use crate::wire::WireError;
use crate::wire::error::verified_root;
use crate::wire::frame::{Frame, FrameKind};
use crate::wire::generated::client as schema;

/// In an operation's flags: `Compare` and `CompareAndSet` want the key to be absent.
pub const EXPECT_ABSENT: u8 = 1;

/// A client's frame after its handshake.
#[derive(Clone, Copy, Debug)]
pub enum Request<'a> {
    /// Commands to be executed exactly once.
    Write(WriteBatch<'a>),
    /// Linearizable reads.
    Read(ReadBatch<'a>),
    /// Opens a session in a group.
    OpenSession {
        /// The client's own number, returned in the reply.
        request: u64,
        /// The group.
        group: GroupId,
    },
    /// Closes a session of a group.
    CloseSession {
        /// The client's own number, returned in the reply.
        request: u64,
        /// The group.
        group: GroupId,
        /// The session.
        session: SessionId,
    },
    /// Asks for the shard map.
    Map {
        /// The client's own number, returned in the reply.
        request: u64,
    },
}

/// Commands of one session for one group.
#[derive(Clone, Copy, Debug)]
pub struct WriteBatch<'a> {
    /// The client's own number, returned in the reply.
    pub request: u64,
    /// Whose commands these are.
    pub group: GroupId,
    /// The session they belong to.
    pub session: SessionId,
    /// Every sequence below it has had its result.
    pub lowest_awaited: Sequence,
    /// Whether all of the commands happen or none. Then their sequences follow one another and their
    /// keys share one slot.
    pub atomic: bool,
    batch: Batch<'a>,
}

impl<'a> WriteBatch<'a> {
    /// How many commands.
    pub fn len(&self) -> usize {
        self.batch.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The commands in order.
    pub fn operations(&self) -> Operations<'a> {
        self.batch.operations()
    }
}

/// Reads of one group. No operation of it is known to be anything but a `Get`.
#[derive(Clone, Copy, Debug)]
pub struct ReadBatch<'a> {
    /// The client's own number, returned in the reply.
    pub request: u64,
    /// Whose keys these are.
    pub group: GroupId,
    batch: Batch<'a>,
}

impl<'a> ReadBatch<'a> {
    /// How many reads.
    pub fn len(&self) -> usize {
        self.batch.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The reads in order.
    pub fn operations(&self) -> Operations<'a> {
        self.batch.operations()
    }
}

/// What a command does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OperationKind {
    /// Reads the value.
    Get,
    /// Writes the value.
    Put,
    /// Appends to the value.
    Append,
    /// Removes the key.
    Delete,
    /// Writes the value if the key holds `expected`, or is absent with `EXPECT_ABSENT`.
    CompareAndSet,
    /// Adds a signed 64-bit little-endian delta (the 8 value bytes) to a decimal integer value.
    Increment,
    /// Changes nothing; fails unless the key holds `expected`, or is absent with `EXPECT_ABSENT`.
    Compare,
    /// From a newer client.
    Unknown(u8),
}

impl OperationKind {
    /// As the wire has it.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Get => schema::OperationKind::Get.0,
            Self::Put => schema::OperationKind::Put.0,
            Self::Append => schema::OperationKind::Append.0,
            Self::Delete => schema::OperationKind::Delete.0,
            Self::CompareAndSet => schema::OperationKind::CompareAndSet.0,
            Self::Increment => schema::OperationKind::Increment.0,
            Self::Compare => schema::OperationKind::Compare.0,
            Self::Unknown(number) => number,
        }
    }

    /// From the wire.
    #[must_use]
    pub const fn from_number(number: u8) -> Self {
        match schema::OperationKind(number) {
            schema::OperationKind::Get => Self::Get,
            schema::OperationKind::Put => Self::Put,
            schema::OperationKind::Append => Self::Append,
            schema::OperationKind::Delete => Self::Delete,
            schema::OperationKind::CompareAndSet => Self::CompareAndSet,
            schema::OperationKind::Increment => Self::Increment,
            schema::OperationKind::Compare => Self::Compare,
            _ => Self::Unknown(number),
        }
    }
}

/// One command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation<'a> {
    /// Its number within the session; 0 for reads.
    pub sequence: Sequence,
    /// What it does.
    pub kind: OperationKind,
    /// `EXPECT_ABSENT` or 0.
    pub flags: u8,
    /// The key, `1..=KEY_MAX` bytes.
    pub key: &'a [u8],
    /// The value, at most `VALUE_MAX` bytes; empty where the kind has none.
    pub value: &'a [u8],
    /// What `Compare` or `CompareAndSet` expects, at most `VALUE_MAX` bytes; empty for the other kinds.
    pub expected: &'a [u8],
}

/// The commands of a batch, in order.
#[derive(Clone, Debug)]
pub struct Operations<'a> {
    /// Those to come.
    rows: VectorIter<'a, schema::Operation>,
    /// Their bytes, one command's after another's: as many as the rows' lengths add up to.
    data: &'a [u8],
}

impl<'a> Iterator for Operations<'a> {
    type Item = Operation<'a>;

    #[inline]
    fn next(&mut self) -> Option<Operation<'a>> {
        let row = self.rows.next()?;
        Some(Operation {
            sequence: Sequence(row.sequence()),
            kind: OperationKind::from_number(row.kind()),
            flags: row.flags(),
            key: self.take(usize::from(row.key_length())),
            value: self.take(row.value_length() as usize),
            expected: self.take(row.expected_length() as usize),
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.rows.len(), Some(self.rows.len()))
    }
}

impl ExactSizeIterator for Operations<'_> {}

impl<'a> Operations<'a> {
    #[inline]
    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.data.split_at(length);
        self.data = rest;
        taken
    }
}

/// Rows and data that fit together.
#[derive(Clone, Copy, Debug)]
struct Batch<'a> {
    /// At most `FRAME_COMMANDS_MAX`, each within the limits.
    rows: Vector<'a, schema::Operation>,
    /// As many bytes as the rows' lengths add up to.
    data: &'a [u8],
}

impl<'a> Batch<'a> {
    fn of(
        rows: Vector<'a, schema::Operation>,
        data: Vector<'a, u8>,
        check: impl Fn(usize, &schema::Operation) -> Result<(), WireError>,
    ) -> Result<Self, WireError> {
        let (count, max) = (rows.len(), FRAME_COMMANDS_MAX);
        if count > max {
            return Err(WireError::TooMany { what: "commands", count, max });
        }
        let mut claimed = 0;
        for (position, row) in rows.iter().enumerate() {
            check(position, row)?;
            claimed += checked_length(position, row)?;
        }
        let data = data.bytes();
        if claimed != data.len() {
            return Err(WireError::DataLength { claimed, present: data.len() });
        }
        Ok(Self { rows, data })
    }

    fn operations(&self) -> Operations<'a> {
        Operations { rows: self.rows.iter(), data: self.data }
    }
}

/// The bytes of a command in `data`, if its lengths are within the limits.
fn checked_length(position: usize, row: &schema::Operation) -> Result<usize, WireError> {
    let key = usize::from(row.key_length());
    let (value, expected) = (row.value_length() as usize, row.expected_length() as usize);
    let limited = |what, length, min, max| {
        if (min..=max).contains(&length) {
            return Ok(());
        }
        Err(WireError::Length { position, what, length, min, max })
    };
    limited("key", key, 1, KEY_MAX)?;
    limited("value", value, 0, VALUE_MAX)?;
    limited("expected value", expected, 0, VALUE_MAX)?;
    Ok(key + value + expected)
}

/// What shall happen as one has one place where it is decided, and one memory of having been.
fn check_is_one(mut operations: Operations<'_>) -> Result<(), WireError> {
    let Some(first) = operations.next() else { return Ok(()) };
    let slot = Slot::of_key(first.key);
    let mut before = first.sequence;
    for (position, operation) in (1..).zip(operations) {
        if Slot::of_key(operation.key) != slot {
            return Err(WireError::CrossSlot { position });
        }
        if before.0.checked_add(1) != Some(operation.sequence.0) {
            return Err(WireError::SequenceGap { position });
        }
        before = operation.sequence;
    }
    Ok(())
}

/// A frame of reads is not replicated: executing a write out of it would split the replicas.
fn check_is_read(position: usize, row: &schema::Operation) -> Result<(), WireError> {
    match OperationKind::from_number(row.kind()) {
        OperationKind::Get | OperationKind::Unknown(_) => Ok(()),
        _ => Err(WireError::NotARead { position }),
    }
}

/// Reads a client's frame: its structure, lengths and limits are those of the schema.
///
/// # Errors
/// If the frame is no request, or breaks the schema or a limit.
pub fn parse_request<'a>(frame: &Frame<'a>) -> Result<Request<'a>, WireError> {
    match frame.kind {
        FrameKind::Write => write_batch(frame.body).map(Request::Write),
        FrameKind::Read => read_batch(frame.body).map(Request::Read),
        FrameKind::OpenSession => {
            let open = verified_root::<schema::OpenSession<'_>>(frame.body)?;
            Ok(Request::OpenSession { request: open.request(), group: GroupId(open.group()) })
        }
        FrameKind::CloseSession => {
            let close = verified_root::<schema::CloseSession<'_>>(frame.body)?;
            Ok(Request::CloseSession {
                request: close.request(),
                group: GroupId(close.group()),
                session: SessionId(close.session()),
            })
        }
        FrameKind::MapRequest => {
            let map = verified_root::<schema::MapRequest<'_>>(frame.body)?;
            Ok(Request::Map { request: map.request() })
        }
        other => Err(WireError::UnexpectedKind(other)),
    }
}

fn write_batch(body: &[u8]) -> Result<WriteBatch<'_>, WireError> {
    let write = verified_root::<schema::Write<'_>>(body)?;
    let (atomic, batch) =
        (write.atomic(), Batch::of(write.operations(), write.data(), |_, _| Ok(()))?);
    if atomic {
        check_is_one(batch.operations())?;
    }
    Ok(WriteBatch {
        request: write.request(),
        group: GroupId(write.group()),
        session: SessionId(write.session()),
        lowest_awaited: Sequence(write.lowest_awaited()),
        atomic,
        batch,
    })
}

fn read_batch(body: &[u8]) -> Result<ReadBatch<'_>, WireError> {
    let read = verified_root::<schema::Read<'_>>(body)?;
    Ok(ReadBatch {
        request: read.request(),
        group: GroupId(read.group()),
        batch: Batch::of(read.operations(), read.data(), check_is_read)?,
    })
}

/// The request's number and the group it is for, without a look at its commands.
///
/// A map request is for no group and any core can answer it: it has group 0 here.
///
/// # Errors
/// If the frame is no request or its structure is broken; `parse_request` may still fail where this
/// succeeds.
pub fn route(frame: &Frame<'_>) -> Result<(u64, GroupId), WireError> {
    let (request, group) = match frame.kind {
        FrameKind::Write => {
            let write = verified_root::<schema::Write<'_>>(frame.body)?;
            (write.request(), write.group())
        }
        FrameKind::Read => {
            let read = verified_root::<schema::Read<'_>>(frame.body)?;
            (read.request(), read.group())
        }
        FrameKind::OpenSession => {
            let open = verified_root::<schema::OpenSession<'_>>(frame.body)?;
            (open.request(), open.group())
        }
        FrameKind::CloseSession => {
            let close = verified_root::<schema::CloseSession<'_>>(frame.body)?;
            (close.request(), close.group())
        }
        FrameKind::MapRequest => {
            (verified_root::<schema::MapRequest<'_>>(frame.body)?.request(), 0)
        }
        other => return Err(WireError::UnexpectedKind(other)),
    };
    Ok((request, GroupId(group)))
}
