//! The Raft library: pure and deterministic, usable alone.

mod config;
mod entry;
mod error;
mod io;
mod message;

pub use config::{Configuration, RaftConfig};
pub use entry::{Entry, EntryKind};
pub use error::{ProposeError, ReadError};
pub use io::{Input, Output, ReadState, SnapshotRequest};
pub use message::{Message, MessageBody};

use crate::base::{Bytes, Index, NodeId, Term, Time, WallTime};

/// What must survive a crash besides the entries: one atomic record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    /// The latest term seen.
    pub term: Term,
    /// Who got this replica's vote in that term.
    pub vote: Option<NodeId>,
}

/// Where a snapshot stands in the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotMeta {
    /// The last entry the snapshot covers.
    pub index: Index,
    /// That entry's term.
    pub term: Term,
    /// That entry's time stamp: stamps never decrease along a log, across a snapshot too.
    pub timestamp: WallTime,
    /// The configuration at that entry.
    pub configuration: Configuration,
}

/// What a replica finds on its disk when it starts.
#[derive(Clone, Debug, Default)]
pub struct Stored {
    /// The hard state; default on first start.
    pub hard_state: HardState,
    /// The snapshot the state machine was restored from; on first start index 0 and the initial configuration.
    pub snapshot: SnapshotMeta,
    /// The entries after the snapshot, without gaps.
    pub entries: Vec<Entry>,
}

/// What this replica is in its current term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleKind {
    /// Follows a leader, or waits for one.
    Follower,
    /// Asks whether an election could be won, without disturbing anyone.
    PreCandidate,
    /// Stands for election.
    Candidate,
    /// Leads the group.
    Leader,
}

/// One replica of one Raft group.
pub struct Raft {}

#[expect(missing_docs, unused, clippy::pedantic, reason = "signatures only, so far")]
impl Raft {
    pub fn new(now: Time, config: RaftConfig, stored: Stored) -> Self {
        todo!()
    }
    /// The only way in. Appends to `output`, never clears it.
    pub fn step(&mut self, now: Time, input: Input, output: &mut Output) {
        todo!()
    }
    /// Leader only: appends one command entry to the log (stamped `max(wall, last stamp)`), to be sent and made durable.
    /// Returns its place. Shorthand for the input, since a host wants the answer at once.
    pub fn propose(
        &mut self,
        now: Time,
        wall: WallTime,
        payload: Bytes,
        output: &mut Output,
    ) -> Result<(Term, Index), ProposeError> {
        todo!()
    }
    /// Starts a linearizable read round; `Output::reads` will carry `context` once confirmed.
    /// On a follower the request is forwarded to the leader (same result surface).
    pub fn read(&mut self, now: Time, context: u64, output: &mut Output) -> Result<(), ReadError> {
        todo!()
    }
    /// When `Input::Tick` is wanted next.
    pub fn deadline(&self) -> Time {
        todo!()
    }
    pub fn role(&self) -> RoleKind {
        todo!()
    }
    pub fn term(&self) -> Term {
        todo!()
    }
    pub fn hard_state(&self) -> HardState {
        todo!()
    }
    pub fn leader(&self) -> Option<NodeId> {
        todo!()
    }
    pub fn commit_index(&self) -> Index {
        todo!()
    }
    pub fn last_index(&self) -> Index {
        todo!()
    }
    /// First entry still held in memory (snapshot index + 1 - trailing).
    pub fn first_index(&self) -> Index {
        todo!()
    }
    pub fn term_at(&self, index: Index) -> Option<Term> {
        todo!()
    }
    pub fn configuration(&self) -> &Configuration {
        todo!()
    }
    pub fn check_invariants(&self) {
        todo!()
    }
}
