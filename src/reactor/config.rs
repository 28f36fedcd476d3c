//! The settings of one core's reactor, and what it starts from.

use crate::base::{ClusterId, CoreId, GroupId, Incarnation, Micros, NodeId, Time, WallTime};
use crate::placement::ShardMap;
use crate::raft::Lease;
use crate::wal;

use super::snapshots::LoadedSnapshot;

/// The settings of one core's reactor.
#[derive(Clone, Debug)]
pub struct ReactorConfig {
    /// The cluster this node belongs to.
    pub cluster: ClusterId,
    /// This node.
    pub node: NodeId,
    /// This data directory's incarnation of the node.
    pub incarnation: Incarnation,
    /// This core.
    pub core: CoreId,
    /// Cores of this node.
    pub smp: u16,
    /// Who owns what.
    pub shard_map: ShardMap,
    /// Everything random comes from here.
    pub seed: u64,
    /// What to add to `Time` to get the wall clock, µs; fixed for the process's life, so that the
    /// stamps of one leader never run backwards.
    pub wall_offset: u64,
    /// See `raft::RaftConfig`.
    pub election_timeout: Micros,
    /// See `raft::RaftConfig`.
    pub heartbeat_interval: Micros,
    /// See `raft::RaftConfig`.
    pub lease: Option<Lease>,
    /// Bytes of one log segment.
    pub segment_bytes: u64,
    /// Where the log's salts come from: see `wal::LogConfig`.
    pub log_seed: u64,
    /// Log writes in flight at once, at most. More let a slow disk overlap flushes; fewer let
    /// batches grow.
    pub log_writes_in_flight_max: usize,
    /// Live segments past which the groups that hold the oldest are made to take a snapshot.
    pub live_segments_max: usize,
    /// Bytes of applied entries kept in memory for followers a little behind; those further behind
    /// have entries read back from the log.
    pub entries_memory_max: u64,
    /// Bytes of state this core may hold; past it writes are refused.
    pub memory_max: u64,
    /// Bytes of a piece of a slot on its way to another group, about. So much may be sent while the slot is
    /// served by nobody: a larger one is sent while it is served, and what changed meanwhile after it.
    pub piece_bytes: usize,
}

impl ReactorConfig {
    /// The wall clock at `now`.
    pub(super) fn wall(&self, now: Time) -> WallTime {
        WallTime(now.0.saturating_add(self.wall_offset))
    }

    /// Its log.
    pub fn log_config(&self) -> wal::LogConfig {
        wal::LogConfig {
            identity: self.identity(),
            segment_bytes: self.segment_bytes,
            seed: self.log_seed,
        }
    }

    /// Whose log and snapshots these are.
    pub(super) fn identity(&self) -> wal::Identity {
        wal::Identity {
            cluster: self.cluster,
            node: self.node,
            incarnation: self.incarnation,
            core: self.core,
        }
    }
}

/// What this core found on its disk.
#[derive(Debug, Default)]
pub struct Recovered {
    /// What the log holds.
    pub log: wal::Recovered,
    /// Every snapshot of this core that is whole, in any order.
    pub snapshots: Vec<LoadedSnapshot>,
    /// Groups whose newest snapshot is damaged.
    pub snapshots_lost: Vec<GroupId>,
}

/// The disk holds something this reactor cannot start from.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// A snapshot file is damaged.
    #[error("a snapshot cannot be read: {0}")]
    Snapshot(#[from] wal::SnapshotError),
    /// A snapshot's contents are not what this version writes.
    #[error("the snapshot of {group} cannot be restored: {reason}")]
    Contents {
        /// The group.
        group: GroupId,
        /// What is wrong.
        reason: String,
    },
    /// Entries are missing between the snapshot and the log.
    #[error(
        "the log of {group} begins at index {first}, but its newest snapshot ends at {snapshot}: \
         entries are missing; restore the snapshot file or replace this node"
    )]
    Gap {
        /// The group.
        group: GroupId,
        /// The log's first index.
        first: crate::base::Index,
        /// The snapshot's index.
        snapshot: crate::base::Index,
    },
}
