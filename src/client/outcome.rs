//! What became of a command, with certainty stated.

use std::fmt;

use crate::base::{GroupId, Index, Sequence, SessionId};

/// What became of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// It was executed, once.
    Applied(Applied<'a>),
    /// It did not and will not happen: safe to submit again.
    Rejected(Rejection),
    /// It may or may not have happened. Never said of a read.
    Unknown(Doubt),
}

/// The answer to an executed command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied<'a> {
    /// What it found.
    pub effect: Effect,
    /// Append: the new length. Increment: the sum. Delete: 1 if the key existed. Otherwise 0.
    pub number: i64,
    /// Get: the value; empty if the key is absent.
    pub value: &'a [u8],
    /// Where in the order of all commands it stands.
    pub place: Place,
}

/// What an executed command found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It did what it says; a read found its key.
    Done,
    /// Get, delete: the key is absent.
    NotFound,
    /// Compare, compare-and-set: the key holds something else; nothing was written.
    CompareFailed,
}

/// Where a command stands in its group's order: writes by (index, position) of their first
/// execution; a read after every write up to `index`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The group that executed it.
    pub group: GroupId,
    /// The log entry, or for a read the applied index.
    pub index: Index,
    /// The place within the entry, from 0.
    pub position: u32,
}

/// What is known of how a command was decided, beside its outcome: for those who keep records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// The session it travelled in; zero: none, as for reads and what was never sent.
    pub session: SessionId,
    /// Its number in that session; zero with `session`.
    pub sequence: Sequence,
    /// Where the group executed it, refusals for what the key held included; zero if it was not.
    pub place: Place,
    /// Whether it was part of an atomic batch.
    pub atomic: bool,
}

/// Why a command did not and will not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// No node could be reached in time.
    #[error(
        "no connection to the group's nodes in time: are the addresses right, is a majority up?"
    )]
    Unreachable,
    /// The group had no leader in time.
    #[error("the group had no leader in time: is a majority of its nodes up?")]
    NoLeader,
    /// The key's slot was on its way from one group to another all the time.
    #[error("the key's slot was on its way from one group to another all the time")]
    SlotMoving,
    /// A read, or a write that was certainly not taken, had no answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// The servers had more to do than they may hold.
    #[error("the servers are overloaded")]
    Overloaded,
    /// The group holds as many sessions as it may.
    #[error("the group holds as many client sessions as it may: close unused clients")]
    SessionsFull,
    /// The group's leader holds as many bytes as it may.
    #[error(
        "the group's leader holds as much as its --memory allows: delete keys, or give the nodes \
         more; reads and deletes still work"
    )]
    MemoryFull,
    /// The disk of the group's leader is full, and so are those it could hand over to.
    #[error(
        "the disks of the group's nodes are full: make room in their data directories, it is \
         noticed within seconds; reads still work"
    )]
    DiskFull,
    /// Increment: the value is not a decimal 64-bit integer.
    #[error("the value is not a decimal 64-bit integer")]
    NotANumber,
    /// Increment: the sum leaves the 64-bit range.
    #[error("the sum leaves the 64-bit range")]
    Overflow,
    /// The value would exceed the limit.
    #[error("the value would exceed the limit")]
    ValueTooLarge,
    /// Another command of its atomic batch failed.
    #[error("another command of its atomic batch failed")]
    Aborted,
    /// The server does not know this command: it is older than the client.
    #[error("the server does not know this command: it is older than the client")]
    UnknownCommand,
    /// The server could not read the frame: client and server differ in version.
    #[error("the server could not read the request: client and server differ in version")]
    Malformed,
    /// The client was closed first.
    #[error("the client was closed")]
    Closed,
}

/// Why the outcome of a command is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Doubt {
    /// It was sent and not answered in time.
    #[error("sent, but not answered in time")]
    TimedOut,
    /// Its session ended while an attempt was in doubt.
    #[error("the session ended while the outcome was in doubt")]
    SessionExpired,
    /// The group had already forgotten its result.
    #[error("the group had forgotten the result")]
    Forgotten,
    /// The client was closed while it was outstanding.
    #[error("the client was closed while the command was outstanding")]
    Closed,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}.{}", self.group, self.index, self.position)
    }
}
