//! Log entries.

use crate::base::{Bytes, Index, Term, WallTime};

/// What an entry is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// Commands for the state machine; the payload is opaque to Raft.
    Command,
    /// The entry a new leader appends to learn what is committed. Empty payload.
    Noop,
    /// A configuration, effective from the moment it is appended; the payload is its encoding.
    Configuration,
}

/// One entry of a Raft log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The term of the leader that appended it.
    pub term: Term,
    /// Its position.
    pub index: Index,
    /// The leader's wall clock when it appended it; never decreases along a log.
    pub timestamp: WallTime,
    /// What it is for.
    pub kind: EntryKind,
    /// The same bytes go to the log, to the followers and to apply.
    pub payload: Bytes,
}

impl Entry {
    /// Bytes that it costs in a message, in memory, or to apply, about: an entry without payload is
    /// not free.
    pub fn cost(&self) -> usize {
        self.payload.len() + ENTRY_OVERHEAD_BYTES
    }
}

/// What one entry costs besides its payload, about: a log of empty entries must not make a message
/// without end.
pub(super) const ENTRY_OVERHEAD_BYTES: usize = 64;
