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
