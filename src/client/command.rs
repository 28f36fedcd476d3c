//! Commands as callers say them, and as they travel.

use crate::base::limits::{CLIENT_FRAME_BODY_MAX, FRAME_COMMANDS_MAX, KEY_MAX, VALUE_MAX};
use crate::base::{Slot, Time};
use crate::wire::client::{EXPECT_ABSENT, OperationKind, RequestBuilder};

/// One command on one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// Reads the value, linearizably.
    Get {
        /// The key.
        key: &'a [u8],
    },
    /// Sets the value.
    Put {
        /// The key.
        key: &'a [u8],
        /// The value.
        value: &'a [u8],
    },
    /// Adds to the value's end; an absent key counts as empty. Answers with the new length.
    Append {
        /// The key.
        key: &'a [u8],
        /// What to add.
        value: &'a [u8],
    },
    /// Removes the key.
    Delete {
        /// The key.
        key: &'a [u8],
    },
    /// Sets the value if the key holds `expected`.
    CompareAndSet {
        /// The key.
        key: &'a [u8],
        /// What the key must hold; `None`: the key must be absent.
        expected: Option<&'a [u8]>,
        /// The value to set.
        value: &'a [u8],
    },
    /// Adds to a decimal integer value; an absent key counts as zero. Answers with the sum.
    Increment {
        /// The key.
        key: &'a [u8],
        /// What to add.
        delta: i64,
    },
    /// Changes nothing, and fails unless the key holds `expected`: a condition of the other commands of
    /// a [`Multi`](super::Multi).
    Compare {
        /// The key.
        key: &'a [u8],
        /// What the key must hold; `None`: the key must be absent.
        expected: Option<&'a [u8]>,
    },
}

/// A command that no server would accept; nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The key is empty.
    #[error("the key is empty: a key has 1 to {KEY_MAX} bytes")]
    EmptyKey,
    /// The key is too long.
    #[error("the key has {0} bytes: a key has 1 to {KEY_MAX} bytes")]
    KeyTooLong(usize),
    /// The value, or the value expected, is too long.
    #[error("the value has {0} bytes: a value has at most {VALUE_MAX} bytes")]
    ValueTooLong(usize),
    /// An atomic batch has no command, or one that reads.
    #[error("an atomic batch is made of one command or more, none of them a get")]
    NotABatch,
    /// An atomic batch concerns keys of different slots.
    #[error(
        "command {0} of the batch has a key of another slot than the first: give the keys a common \
         {{tag}}"
    )]
    CrossSlot(usize),
    /// An atomic batch does not fit one frame.
    #[error(
        "the batch has {commands} commands and {bytes} bytes of keys and values: it must fit one \
         frame, of {FRAME_COMMANDS_MAX} commands and about {CLIENT_FRAME_BODY_MAX} bytes at most"
    )]
    BatchTooLarge {
        /// How many commands.
        commands: usize,
        /// How many bytes of keys, values and expected values.
        bytes: usize,
    },
}

/// A command's fields as they travel: kind, flags and three runs of bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a> {
    pub(super) kind: OperationKind,
    pub(super) flags: u8,
    pub(super) key: &'a [u8],
    pub(super) value: &'a [u8],
    pub(super) expected: &'a [u8],
}

impl<'a> Command<'a> {
    /// The command's key.
    pub const fn key(&self) -> &'a [u8] {
        match *self {
            Self::Get { key }
            | Self::Put { key, .. }
            | Self::Append { key, .. }
            | Self::Delete { key }
            | Self::CompareAndSet { key, .. }
            | Self::Increment { key, .. }
            | Self::Compare { key, .. } => key,
        }
    }

    /// The fields as they travel. `delta` is where an increment's bytes are put.
    pub(super) fn fields(self, delta: &'a mut [u8; 8]) -> Fields<'a> {
        let plain = |kind, key, value| Fields { kind, flags: 0, key, value, expected: &[] };
        match self {
            Self::Get { key } => plain(OperationKind::Get, key, &[]),
            Self::Put { key, value } => plain(OperationKind::Put, key, value),
            Self::Append { key, value } => plain(OperationKind::Append, key, value),
            Self::Delete { key } => plain(OperationKind::Delete, key, &[]),
            Self::CompareAndSet { key, expected, value } => Fields {
                kind: OperationKind::CompareAndSet,
                flags: if expected.is_none() { EXPECT_ABSENT } else { 0 },
                key,
                value,
                expected: expected.unwrap_or(&[]),
            },
            Self::Increment { key, delta: by } => {
                *delta = by.to_le_bytes();
                plain(OperationKind::Increment, key, delta)
            }
            Self::Compare { key, expected } => Fields {
                kind: OperationKind::Compare,
                flags: if expected.is_none() { EXPECT_ABSENT } else { 0 },
                key,
                value: &[],
                expected: expected.unwrap_or(&[]),
            },
        }
    }
}

impl Fields<'_> {
    /// Refuses what exceeds the limits of key and value.
    pub(super) fn check(&self) -> Result<(), CommandError> {
        match self.key.len() {
            0 => return Err(CommandError::EmptyKey),
            length if length > KEY_MAX => return Err(CommandError::KeyTooLong(length)),
            _ => {}
        }
        let longest = self.value.len().max(self.expected.len());
        if longest > VALUE_MAX { Err(CommandError::ValueTooLong(longest)) } else { Ok(()) }
    }

    /// Bytes of key, value and expected value.
    pub(super) const fn size(&self) -> usize {
        self.key.len() + self.value.len() + self.expected.len()
    }

    pub(super) fn is_read(&self) -> bool {
        self.kind == OperationKind::Get
    }
}

/// Refuses what cannot be an atomic batch.
pub(super) fn check_batch(commands: &[Fields<'_>]) -> Result<(), CommandError> {
    if commands.is_empty() || commands.iter().any(Fields::is_read) {
        return Err(CommandError::NotABatch);
    }
    let slot = Slot::of_key(commands[0].key);
    for (position, command) in commands.iter().enumerate() {
        command.check()?;
        if Slot::of_key(command.key) != slot {
            return Err(CommandError::CrossSlot(position));
        }
    }
    let bytes = commands.iter().map(Fields::size).sum();
    if RequestBuilder::holds(commands.len(), bytes) {
        return Ok(());
    }
    Err(CommandError::BatchTooLarge { commands: commands.len(), bytes })
}

/// One command, or several that happen all or not at all, on the way to a lane: before the shard map is
/// known, or again because their first lane certainly did not execute them. Off the steady path, so they
/// may own their bytes.
#[derive(Clone, Debug)]
pub(super) struct Stray {
    /// Not empty; of keys in one slot.
    commands: Vec<Owned>,
    /// Of the first command.
    pub(super) caller: Caller,
}

/// Fields that own their bytes.
#[derive(Clone, Debug)]
struct Owned {
    kind: OperationKind,
    flags: u8,
    key: Vec<u8>,
    value: Vec<u8>,
    expected: Vec<u8>,
}

/// Who waits for a command's outcome. The commands of an atomic batch have tickets that follow one
/// another and a common deadline.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller {
    /// As given to `submit`.
    pub(super) ticket: u64,
    /// When patience ends; the same on whatever way the command takes.
    pub(super) deadline: Time,
}

impl Caller {
    /// Of this and the following commands of an atomic batch.
    pub(super) fn and_following(self) -> impl Iterator<Item = Self> {
        (self.ticket..).map(move |ticket| Self { ticket, ..self })
    }
}

impl Stray {
    pub(super) fn new(commands: &[Fields<'_>], caller: Caller) -> Self {
        let owned = |fields: &Fields<'_>| Owned {
            kind: fields.kind,
            flags: fields.flags,
            key: fields.key.to_vec(),
            value: fields.value.to_vec(),
            expected: fields.expected.to_vec(),
        };
        Self { commands: commands.iter().map(owned).collect(), caller }
    }

    pub(super) fn slot(&self) -> Slot {
        Slot::of_key(&self.commands[0].key)
    }

    pub(super) fn fields(&self) -> Vec<Fields<'_>> {
        self.commands.iter().map(Owned::fields).collect()
    }

    /// How many commands.
    pub(super) const fn len(&self) -> usize {
        self.commands.len()
    }

    /// One for each command.
    pub(super) fn callers(&self) -> impl Iterator<Item = Caller> {
        self.caller.and_following().take(self.commands.len())
    }
}

impl Owned {
    fn fields(&self) -> Fields<'_> {
        let Self { kind, flags, key, value, expected } = self;
        Fields { kind: *kind, flags: *flags, key, value, expected }
    }
}
