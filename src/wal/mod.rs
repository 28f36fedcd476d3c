//! One core's log, and the superblock and snapshot formats: bytes in, bytes out, no files.
//!
//! # The problem
//! All Raft groups of a core share one log, so that a turn costs one durable write whatever the
//! number of groups. Several writes are in flight, and a power loss keeps any subset of their
//! 512-byte sectors. After it, everything acknowledged must be found again, and what is damaged
//! must be told apart from what was merely never finished.
//!
//! # The model
//! ```text
//! segment 7 (order 12)                       segment 2 (order 13)
//! ┌────────┬──────────┬─────┬─────┬───────┐  ┌────────┬──────────┬─────┬── ─ ─
//! │ header │ preamble │ 801 │ 802 │ unused│  │ header │ preamble │ 804 │ ...
//! │  salt  │ = b. 800 │     │     │       │  │  salt  │ = b. 803 │     │
//! └────────┴──────────┴─────┴─────┴───────┘  └────────┴──────────┴─────┴── ─ ─
//!               ◀─chain──◀──chain──◀────────────chain─────┘ ◀─chain─┘
//! ```
//! - A *batch* holds the records of one turn: entries, hard states, restarts of groups. Batches are
//!   numbered from 1 over the log's whole life, and each carries the checksum of the header before
//!   it (the chain), the number up to which all batches were durable when it was made
//!   (`durable_upto`), and the number of the oldest batch still wanted (`start`).
//! - A *segment* is a preallocated file. It begins with a header and a preamble: a batch that repeats
//!   the hard state of every group, so that every older segment can be given up as soon as its
//!   entries are covered by snapshots. Segments are given up oldest first, and used again.
//! - A group that is written rarely would keep old segments for a few entries: these are written again
//!   at the head, as *copies*. [`Log`] knows where each entry lies, so that those no longer in memory can
//!   be read back ([`Stretch`]), for a copy or for a follower that is behind.
//! - [`Log`] writes, [`Recovery`] reads. Let W be the highest `durable_upto` found anywhere: a bad
//!   batch with a number up to W is damaged. It is never cut off: reading goes on behind it, and says
//!   which groups have lost what ([`Damage`], [`RecoveredGroup`]). Above W it is a write that never
//!   finished, and the log ends before it, unless it shows that it was finished.
//! - A group that lost something is in doubt, in the log's own words too ([`DoubtRecord`]), until its
//!   peers have repaired it: what is repaired is written at the head, like anything else.
//!
//! A stale batch is never taken for a new one: one of a recycled segment has another salt; one that
//! an earlier process left behind its own unfinished write hangs on a batch that is no more, and its
//! `run` is lower than that of the batches before it.
//!
//! The byte tables are in `schema/log.md`, `schema/snapshot.md`, `schema/superblock.md` and
//! `schema/map-file.md`.
//!
//! Deliberately absent: files, syncing and repair from peers; whoever performs the writes stops the
//! process when one fails.
//!
//! Sources: "Protocol-Aware Recovery for Consensus-Based Storage" (FAST '18) for telling damage from
//! unfinished writes; "Can Applications Recover from fsync Failures?" (ATC '20).

mod batch;
mod copies;
mod damage;
mod error;
mod field;
mod inspect;
mod ledger;
mod log;
mod map_file;
mod places;
mod pool;
mod record;
mod recovery;
mod segment;
mod snapshot;
mod strand;
mod stretch;
mod superblock;
mod transcript;
mod window;

#[cfg(test)]
mod tests;

pub use damage::Damage;
pub use error::LogError;
pub use inspect::{BatchView, HeaderView, LogView, RecordView, SegmentView};
pub use ledger::Holder;
pub use log::{Log, LogConfig, Write};
pub use map_file::{MapFile, MapFileError};
pub use record::{DoubtRecord, EntryRecord, HardStateRecord, SnapshotMark};
pub use recovery::{LogState, Recovered, RecoveredGroup, Recovery};
pub use snapshot::{SnapshotError, SnapshotHeader, SnapshotReader, SnapshotWriter, read_snapshot};
pub use stretch::Stretch;
pub use superblock::{SlotView, Superblock, SuperblockError};
pub use transcript::{Transcript, TranscriptStep};

use std::fmt;

use crate::base::limits::PEER_FRAME_BODY_MAX;
use crate::base::{ClusterId, CoreId, Incarnation, NodeId};

/// Every write's offset and length are multiples of this, and no block is written twice while it
/// holds acknowledged bytes.
pub const BLOCK: usize = 4096;

/// Bytes of a batch, about at most, unless its one record is larger.
pub const BATCH_BYTES_MAX: usize = 4 << 20;

/// Bytes a segment should have at least in service: any entry that a frame from a peer can carry
/// fits an empty segment beside its preamble. [`Log`] itself takes less, for tests.
pub const SEGMENT_BYTES_MIN: u64 = 2 * PEER_FRAME_BODY_MAX as u64;

/// One segment file of one core's log: `segment-<id>.log`; the number is the file's, not the order's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId(pub u32);

/// One log write, in order of issue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriteId(pub u64);

/// A batch's place in the log: from 1, consecutive over the log's life. Zero is before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchNumber(pub u64);

impl BatchNumber {
    /// The number after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for BatchNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "segment-{}", self.0)
    }
}

/// Whose log or snapshot it is: written into every segment and snapshot, checked when read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node.
    pub node: NodeId,
    /// The formatting of the node's data directory.
    pub incarnation: Incarnation,
    /// The core.
    pub core: CoreId,
}
