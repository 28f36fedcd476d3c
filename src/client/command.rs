//! Commands as callers say them, and as they travel.

use crate::base::limits::{KEY_MAX, VALUE_MAX};
use crate::wire::client::{EXPECT_ABSENT, OperationKind};

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
            | Self::Increment { key, .. } => key,
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

/// A command on its way to a lane: before the shard map is known, or again because its first lane
/// certainly did not execute it. Off the steady path, so it may own its bytes.
#[derive(Clone, Debug)]
pub(super) struct Stray {
    pub(super) kind: OperationKind,
    pub(super) flags: u8,
    pub(super) key: Vec<u8>,
    pub(super) value: Vec<u8>,
    pub(super) expected: Vec<u8>,
    /// Whose it is.
    pub(super) ticket: u64,
    /// When its caller's patience ends.
    pub(super) deadline: crate::base::Time,
}

impl Stray {
    pub(super) fn new(fields: Fields<'_>, ticket: u64, deadline: crate::base::Time) -> Self {
        Self {
            kind: fields.kind,
            flags: fields.flags,
            key: fields.key.to_vec(),
            value: fields.value.to_vec(),
            expected: fields.expected.to_vec(),
            ticket,
            deadline,
        }
    }

    pub(super) fn fields(&self) -> Fields<'_> {
        Fields {
            kind: self.kind,
            flags: self.flags,
            key: &self.key,
            value: &self.value,
            expected: &self.expected,
        }
    }
}
