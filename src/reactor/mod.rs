//! One core's whole machine, without I/O.

mod effects;
mod input;
mod status;

pub use effects::{
    Close, CoreMessage, CoreSend, Effects, LogWrite, PeerSend, PrepareSegment, Reply, SnapshotWrite,
};
pub use input::Input;
pub use status::{CoreStatus, GroupStatus};

use crate::base::{ClusterId, CoreId, Incarnation, Micros, NodeId, Time};
use crate::placement::ShardMap;

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
    /// What to add to `Time` to get the wall clock, µs; fixed for the process's life.
    pub wall_offset: u64,
    /// See `raft::RaftConfig`.
    pub election_timeout: Micros,
    /// See `raft::RaftConfig`.
    pub heartbeat_interval: Micros,
    /// Bytes of one log segment.
    pub segment_bytes: u64,
    /// Log writes in flight at once, at most.
    pub log_writes_in_flight_max: usize,
    /// Bytes of state this core may hold; past it writes are refused.
    pub memory_max: u64,
}

/// What this core found on its disk.
#[derive(Debug, Default)]
pub struct Recovered {
    /// What the log holds.
    pub log: crate::wal::Recovered,
    /// The newest valid snapshot of each group, whole files as read.
    pub snapshots: Vec<Vec<u8>>,
}

/// One core's replicas, log, sessions and routing, as one deterministic state machine.
pub struct Reactor {}

#[expect(missing_docs, unused, clippy::pedantic, reason = "signatures only, so far")]
impl Reactor {
    pub fn new(
        now: Time,
        config: ReactorConfig,
        recovered: Recovered,
    ) -> Result<Self, RecoverError> {
        todo!()
    }
    /// Takes one input in. Cheap: the work of a turn is done in `finish_turn`.
    pub fn step(&mut self, now: Time, input: Input<'_>) {
        todo!()
    }
    /// Ends the turn: proposes, replicates, applies, and fills `effects` (empty on entry) with all that is to be performed.
    pub fn finish_turn(&mut self, now: Time, effects: &mut Effects) {
        todo!()
    }
    /// When a turn is wanted next even if nothing arrives.
    pub fn deadline(&self) -> Time {
        todo!()
    }
    /// Whether nothing is in flight: no staged or unwritten log bytes, no command awaiting its outcome.
    pub fn is_quiescent(&self) -> bool {
        todo!()
    }
    /// A summary for the administration port; `with_hash` computes state hashes, O(state).
    pub fn status(&self, with_hash: bool) -> CoreStatus {
        todo!()
    }
}

/// The disk holds something this reactor cannot start from.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct RecoverError(pub String);
