//! What can be asked of the machine, and what it answers.

use crate::base::{Index, Sequence};

/// A command's effect on one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation<'a> {
    /// Sets the key to the value.
    Put {
        /// The key.
        key: &'a [u8],
        /// Its new value.
        value: &'a [u8],
    },
    /// Puts bytes behind the key's value; an absent key counts as an empty value.
    Append {
        /// The key.
        key: &'a [u8],
        /// What to append.
        value: &'a [u8],
    },
    /// Removes the key.
    Delete {
        /// The key.
        key: &'a [u8],
    },
    /// Sets the key to the value if it holds what is expected.
    CompareAndSet {
        /// The key.
        key: &'a [u8],
        /// What the key must hold; `None`: the key must be absent.
        expected: Option<&'a [u8]>,
        /// Its new value.
        value: &'a [u8],
    },
    /// Adds to a decimal integer value; an absent key counts as 0.
    Increment {
        /// The key.
        key: &'a [u8],
        /// What to add.
        delta: i64,
    },
    /// Changes nothing; fails unless the key holds what is expected.
    Compare {
        /// The key.
        key: &'a [u8],
        /// What the key must hold; `None`: the key must be absent.
        expected: Option<&'a [u8]>,
    },
}

impl<'a> Operation<'a> {
    /// The key it concerns.
    #[inline]
    pub const fn key(&self) -> &'a [u8] {
        match *self {
            Self::Put { key, .. }
            | Self::Append { key, .. }
            | Self::Delete { key }
            | Self::CompareAndSet { key, .. }
            | Self::Increment { key, .. }
            | Self::Compare { key, .. } => key,
        }
    }
}

/// An operation and its number within the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command<'a> {
    /// From 1, without gaps; a retry carries the number of the first try.
    pub sequence: Sequence,
    /// What to do.
    pub operation: Operation<'a>,
}

/// Where a command stands in its group's order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The log entry.
    pub index: Index,
    /// The place within that entry, from 0.
    pub position: u32,
}

/// The fate of one command. The numbers are those of `Status` in `schema/client.fbs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Status {
    /// Done.
    Ok = 0,
    /// Delete: the key was absent.
    NotFound = 1,
    /// Compare, compare-and-set: the key holds something else; nothing was written.
    CompareFailed = 2,
    /// The group does not serve the key's slot; nothing was done. Remembered: should the slot come
    /// back, a late copy of the command is still not executed.
    WrongSlot = 3,
    /// Increment: the value is not a decimal 64-bit integer.
    NotANumber = 4,
    /// Increment: the sum leaves the 64-bit range.
    Overflow = 5,
    /// The value would exceed `VALUE_MAX`; nothing was written.
    ValueTooLarge = 6,
    /// The sequence lies below what the client still awaits: it was given its result, which is
    /// forgotten; nothing was done this time.
    Forgotten = 7,
    /// The sequence lies `SESSION_WINDOW_MAX` or more above the lowest awaited: not executed and not
    /// remembered, so the same sequence may be tried again once the window has moved.
    WindowExceeded = 8,
    /// A command of this kind is not known here; not executed and not remembered.
    UnknownCommand = 9,
    /// Another command of its atomic batch failed; nothing was done. Remembered, unless that other one
    /// is of an unknown kind.
    Aborted = 11,
}

impl Status {
    /// Whether the command did all that it says: an absent key is as good as deleted.
    pub const fn is_done(self) -> bool {
        matches!(self, Self::Ok | Self::NotFound)
    }

    /// The number that stands for it on the wire and in snapshots.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The status of this number.
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::Ok,
            1 => Self::NotFound,
            2 => Self::CompareFailed,
            3 => Self::WrongSlot,
            4 => Self::NotANumber,
            5 => Self::Overflow,
            6 => Self::ValueTooLarge,
            7 => Self::Forgotten,
            8 => Self::WindowExceeded,
            9 => Self::UnknownCommand,
            11 => Self::Aborted,
            _ => return None,
        })
    }
}

/// What became of one command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its fate.
    pub status: Status,
    /// Append: the new length. Increment: the new value. Delete: 1 if the key existed. Otherwise 0.
    pub number: i64,
    /// Where it was executed first; where it stands now if it was not executed at all.
    pub place: Place,
    /// Whether this comes from the session's memory, the command having been executed before.
    pub repeated: bool,
}

/// Why nothing can be done for a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// It is not, or no longer, open in this group.
    #[error("the session is not, or no longer, open in this group")]
    Expired,
    /// As many sessions are open as may be, and none of them is idle.
    #[error("the group holds as many sessions as it may")]
    Full,
}

/// The group does not serve the key's slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the group does not serve the key's slot")]
pub struct WrongSlot;
