//! What can happen to a core.

use super::{CoreMessage, GroupOperation, PlacementOperation};
use crate::base::{ConnectionId, CoreId, GroupId, Incarnation, NodeId, PeerCore};
use crate::wal::{SegmentId, WriteId};

/// What can happen to a core.
#[derive(Debug)]
pub enum Input<'a> {
    /// A whole, checksummed frame from a client whose handshake is done (`wire::frame::Frame`,
    /// header included, eight-byte aligned, padded). Its bytes are copied before `step` returns.
    ClientFrame {
        /// Where it came from and the reply goes.
        connection: ConnectionId,
        /// The frame with its header.
        frame: &'a [u8],
    },
    /// A client connection is gone; replies to it are dropped.
    ClientClosed {
        /// The connection.
        connection: ConnectionId,
    },
    /// A whole, checksummed `PeerBatch` frame from another node's core.
    PeerFrame {
        /// Who sent it, as its handshake said.
        from: PeerCore,
        /// The frame with its header, eight-byte aligned.
        frame: &'a [u8],
    },
    /// A message from another core of this node.
    CoreMessage {
        /// The sender.
        from: CoreId,
        /// What it says.
        message: CoreMessage,
    },
    /// A client's frame was not sent to the core it was for: too much waits there.
    NotForwarded {
        /// The connection.
        connection: ConnectionId,
        /// The frame, as it was to be sent.
        frame: &'a [u8],
    },
    /// A log write is durable. Completions may come in any order.
    LogWritten {
        /// As given in `LogWrite`.
        write: WriteId,
    },
    /// A read of the log is done. Reads may be done in any order.
    LogReadDone {
        /// As given in `LogRead`.
        read: u64,
        /// What was read; nothing if it could not be.
        bytes: &'a [u8],
    },
    /// A segment file exists at its full length, every block of it written, or allocated at least if it
    /// was hurried.
    SegmentReady {
        /// As given in `PrepareSegment`.
        segment: SegmentId,
    },
    /// A segment could not be prepared: the disk is full. It will be asked for again later; until
    /// then clients' writes are refused, once no spare is left.
    SegmentFailed {
        /// As given in `PrepareSegment`.
        segment: SegmentId,
    },
    /// A piece of a snapshot was handed to the disk; with the last piece: the file is durable under
    /// its final name and older snapshots of the group are gone.
    SnapshotWritten {
        /// As given in `SnapshotWrite`.
        snapshot: u64,
    },
    /// A piece of a snapshot found no room on the disk; nothing is left of the file.
    SnapshotFailed {
        /// As given in `SnapshotWrite`.
        snapshot: u64,
    },
    /// The snapshot files of a group that left are gone (`Effects::snapshot_removals`).
    SnapshotsRemoved {
        /// The group.
        group: GroupId,
    },
    /// An administrator asks something of a group whose home is this core.
    Administer {
        /// Returned with the answer; none if the group's leader does not answer.
        ticket: u64,
        /// The group.
        group: GroupId,
        /// What is asked.
        operation: GroupOperation,
    },
    /// An administrator asks something of the shard master. On core 0 only.
    Govern {
        /// Returned with the answer; none if the meta group's leader does not answer.
        ticket: u64,
        /// What is asked.
        operation: PlacementOperation,
    },
    /// The shard map of an epoch is durable (`Effects::map_write`). On core 0 only.
    MapWritten {
        /// Which.
        epoch: u64,
    },
    /// Another node told the shard map to one that is to join. On core 0 only.
    MapTold {
        /// Which.
        epoch: u64,
        /// The map, encoded.
        bytes: &'a [u8],
    },
    /// The failure detector reached another node.
    NodeUp {
        /// The node.
        node: NodeId,
        /// Its incarnation.
        incarnation: Incarnation,
        /// Whether no other incarnation of it is known to have been before. Else its answers count
        /// only in groups whose members name this one.
        first: bool,
        /// How many cores it runs: its group `g` lives on core `g mod smp`.
        smp: u16,
    },
    /// The failure detector lost another node.
    NodeDown {
        /// The node.
        node: NodeId,
    },
    /// A peer link was opened anew; what was sent before on it may be lost.
    PeerLinkReset {
        /// The other end.
        peer: PeerCore,
    },
    /// The node is about to stop: groups led here are handed to other nodes
    /// (`Reactor::has_handed_over`). Everything else goes on meanwhile.
    HandOver,
    /// The deadline was reached.
    Tick,
}
