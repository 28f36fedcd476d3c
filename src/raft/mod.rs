//! The Raft library: replicates a log, pure and deterministic, usable alone.
//!
//! # Problem
//! Several replicas must agree on one sequence of commands and keep it, while messages are lost,
//! reordered and repeated, and replicas stop and return with nothing but what their disks hold.
//!
//! # Model
//! [`Raft`] is one replica of one group: a state machine without clock, disk, network or
//! randomness of its own. The same inputs give the same outputs, byte for byte.
//!
//! ```text
//!               messages, ticks, completions
//!                           │
//!     propose ──▶ ┌─────────▼─────────┐ ──▶ messages
//!     read    ──▶ │  Raft  (term,     │ ──▶ hard state, entries: to be made durable
//!                 │  vote, log, role) │ ──▶ messages after that
//!    deadline ◀── └───────────────────┘ ──▶ committed entries, confirmed reads
//! ```
//!
//! - *Inputs*: [`Raft::step`] takes an [`Input`]; [`Raft::propose`] and [`Raft::read`] are inputs
//!   with an answer.
//! - *Outputs*: each appends to an [`Output`], whose documentation numbers the host's duties.
//! - *Queries*: [`Raft::deadline`] says when a tick is wanted; the others look without changing.
//!
//! The host brings transport, disk, clock and state machine. Appending is asynchronous: any number
//! of writes may be under way, completed in order or reported late. What must be durable before a
//! message leaves is in `messages_after_durable`; a leader sends entries while its own disk still
//! writes them, and counts itself only when that is done.
//!
//! # Example
//! A group of one, whose disk is always as fast as it is asked:
//!
//! ```
//! use sunstar::base::{Bytes, GroupId, Micros, NodeId, Time, WallTime};
//! use sunstar::raft::{Configuration, Input, Output, Raft, RaftConfig, Stored};
//!
//! let node = NodeId(1);
//! let config = RaftConfig { seed: 7, ..RaftConfig::new(GroupId(1), node) };
//! let mut stored = Stored::default();
//! stored.snapshot.configuration = Configuration::new([node]);
//! let mut raft = Raft::new(Time(0), config, stored);
//! let (mut output, mut applied) = (Output::default(), Vec::new());
//!
//! let mut settle = |raft: &mut Raft, output: &mut Output, now| loop {
//!     // 1. Messages leave (a group of one has nobody to talk to). 2. Log and hard state are
//!     // written. 3. Then what waited for the disk leaves; messages to oneself come back in.
//!     let written = output.entries.drain(..).last();
//!     output.hard_state = None;
//!     for message in std::mem::take(&mut output.messages_after_durable) {
//!         raft.step(now, Input::Message(message), output);
//!     }
//!     if let Some(entry) = written {
//!         raft.step(now, Input::Appended { term: entry.term, index: entry.index }, output);
//!     }
//!     // 4. Committed entries are applied.
//!     if let Some(last) = output.committed.last().map(|entry| entry.index) {
//!         applied.extend(output.committed.drain(..).map(|entry| entry.payload));
//!         raft.step(now, Input::Applied { index: last }, output);
//!     }
//!     if output.entries.is_empty() && output.messages_after_durable.is_empty() {
//!         break;
//!     }
//! };
//!
//! let now = raft.deadline();
//! raft.step(now, Input::Tick, &mut output);
//! settle(&mut raft, &mut output, now);
//! raft.propose(now, WallTime(1), Bytes::copy_of(b"hello"), &mut output)?;
//! settle(&mut raft, &mut output, now);
//! assert_eq!(applied.last().map(|payload| &payload[..]), Some(&b"hello"[..]));
//! # Ok::<(), sunstar::raft::ProposeError>(())
//! ```
//!
//! # Sources
//! Ongaro and Ousterhout, *In Search of an Understandable Consensus Algorithm* (extended version):
//! "Raft". Ongaro, *Consensus: Bridging Theory and Practice*: "thesis". Numbers such as etcd#7331
//! name public issues of implementations whose mistakes are avoided here; "raft#" is etcd-io/raft.
//!
//! # Deliberately absent
//! Bytes: how messages and entries are encoded is the host's. Threads, retries, connections. More
//! than one group: a host runs as many replicas as it likes and merges their outputs.

mod append;
mod apply;
mod config;
mod configuration_bytes;
mod election;
mod entry;
mod error;
mod forwarding;
mod io;
mod joining;
mod log;
mod membership;
mod message;
mod progress;
mod quorum;
mod read_index;
mod reconfiguration;
mod replica;
mod replication;
mod role;
mod snapshot;
mod staging;
mod transfer;
mod waiters;

pub use config::{Configuration, RaftConfig};
pub use configuration_bytes::ConfigurationError;
pub use entry::{Entry, EntryKind};
pub use error::{ProposeError, ReadError, ReconfigureError, Refusal, TransferError};
pub use forwarding::Forwarded;
pub use io::{Input, Output, ReadState, SnapshotRequest};
pub use message::{Message, MessageBody};
pub use replica::Raft;
pub use waiters::{Outcome, WaitFor};

use crate::base::{Index, NodeId, Term, WallTime};

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
    /// The entries after the snapshot, without gaps. None if the log's own entry at the snapshot's
    /// index is missing or of another term: that log is older than the snapshot, which may have
    /// been taken before the log's last writes were durable.
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
