//! What a turn asks of the outside.

use std::rc::Rc;

use super::admin::AdminAnswer;
use super::directory::Whereabouts;
use crate::base::{AlignedBuf, ConnectionId, CoreId, GroupId, Index, PeerCore};
use crate::placement::ShardMap;
use crate::wal::{SegmentId, WriteId};

/// All that one turn asks of the outside. The order between kinds does not matter: a reply or
/// message that depends on a write is only handed out once that write's completion came in.
#[derive(Debug, Default)]
pub struct Effects {
    /// One batch, unless the turn was huge; before it the head of a new segment when one is begun.
    pub log_writes: Vec<LogWrite>,
    /// Bytes of segments to read back.
    pub log_reads: Vec<LogRead>,
    /// Segment files to create.
    pub prepare_segments: Vec<PrepareSegment>,
    /// One of the segments being created that the log waits for: it may do with fewer blocks
    /// written, so long as all are allocated. What is written there first costs more for it.
    pub hurried_segment: Option<SegmentId>,
    /// Segment files to remove, when there is time: there are too many of them. Nothing waits for it, and
    /// one that is still there after a crash does no harm.
    pub segment_removals: Vec<SegmentId>,
    /// At most one frame per peer core, unless it would exceed the frame limit.
    pub peer_sends: Vec<PeerSend>,
    /// Messages to other cores of this node, in order per core.
    pub core_sends: Vec<CoreSend>,
    /// One buffer per connection, any number of whole frames.
    pub replies: Vec<Reply>,
    /// Connections to close, after their reply if any.
    pub closes: Vec<Close>,
    /// Pieces of snapshots to write.
    pub snapshot_writes: Vec<SnapshotWrite>,
    /// Answers to administrators.
    pub admin_answers: Vec<AdminAnswer>,
    /// The shard map to keep, in the place of the one kept before; of several not written yet only the
    /// last matters. From core 0 only.
    pub map_write: Option<MapWrite>,
    /// The core goes by this shard map from now on: nodes may have come, gone, or moved elsewhere.
    pub map_adopted: Option<Rc<ShardMap>>,
    /// Groups whose snapshot files are to be removed, durably, finished or not: they left this node.
    /// `Input::SnapshotsRemoved` tells when it is done.
    pub snapshot_removals: Vec<GroupId>,
}

impl Effects {
    /// Whether there is nothing to perform.
    pub fn is_empty(&self) -> bool {
        self.log_writes.is_empty()
            && self.log_reads.is_empty()
            && self.prepare_segments.is_empty()
            && self.hurried_segment.is_none()
            && self.segment_removals.is_empty()
            && self.peer_sends.is_empty()
            && self.core_sends.is_empty()
            && self.replies.is_empty()
            && self.closes.is_empty()
            && self.snapshot_writes.is_empty()
            && self.admin_answers.is_empty()
            && self.map_write.is_none()
            && self.map_adopted.is_none()
            && self.snapshot_removals.is_empty()
    }
}

/// A durable write into a segment of this core's log. Offset and length are multiples of 4096.
#[derive(Debug)]
pub struct LogWrite {
    /// Returned in `Input::LogWritten`.
    pub write: WriteId,
    /// Which segment file.
    pub segment: SegmentId,
    /// Byte offset in it.
    pub offset: u64,
    /// What to write.
    pub bytes: Vec<u8>,
}

/// A read of a segment of this core's log, durable bytes that no write touches until it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogRead {
    /// Returned in `Input::LogReadDone`.
    pub read: u64,
    /// Which segment file.
    pub segment: SegmentId,
    /// Byte offset in it; a multiple of 4096.
    pub offset: u64,
    /// How many bytes; a multiple of 4096.
    pub length: usize,
}

/// A shard map to keep: `Input::MapWritten` once it is durable and takes the place of the one before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapWrite {
    /// Which one; given back in `Input::MapWritten`.
    pub epoch: u64,
    /// What to write.
    pub bytes: Vec<u8>,
}

/// Create a segment file at its full length with every block written (zeros), durably, directory entry included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrepareSegment {
    /// Which.
    pub segment: SegmentId,
}

/// Bytes for another node's core.
#[derive(Debug)]
pub struct PeerSend {
    /// Where to.
    pub to: PeerCore,
    /// Whole frames.
    pub bytes: Vec<u8>,
}

/// A message for another core of this node.
#[derive(Debug)]
pub struct CoreSend {
    /// Where to.
    pub to: CoreId,
    /// What to say.
    pub message: CoreMessage,
}

/// What cores of one node say to each other. Owns its bytes.
#[derive(Debug)]
pub enum CoreMessage {
    /// A client's frame for a group that lives on the receiving core.
    Request {
        /// The connection on the sending core that awaits the reply.
        connection: ConnectionId,
        /// The frame with its header.
        frame: AlignedBuf,
    },
    /// The reply to such a request.
    Reply {
        /// As in the request.
        connection: ConnectionId,
        /// Whole frames.
        bytes: Vec<u8>,
    },
    /// Where a group is.
    Whereabouts {
        /// The group.
        group: GroupId,
        /// What the sender learnt.
        told: Whereabouts,
    },
    /// The shard map to go by.
    Map {
        /// The map, encoded.
        bytes: Vec<u8>,
    },
    /// From the leader of one group to that of another.
    Movement {
        /// The group that it is for.
        group: GroupId,
        /// A frame of kind `Movement`.
        bytes: AlignedBuf,
    },
}

/// Bytes for a client.
#[derive(Debug)]
pub struct Reply {
    /// Where to.
    pub connection: ConnectionId,
    /// Whole frames.
    pub bytes: Vec<u8>,
}

/// A connection to close because of what its client sent.
#[derive(Debug)]
pub struct Close {
    /// Which.
    pub connection: ConnectionId,
    /// Why, for the log.
    pub reason: String,
}

/// A piece of a snapshot file: `<group>-<index>.snap`, built under a temporary name.
#[derive(Debug)]
pub struct SnapshotWrite {
    /// Returned in `Input::SnapshotWritten` or `Input::SnapshotFailed`; names one snapshot in the making on this core.
    pub snapshot: u64,
    /// The group.
    pub group: GroupId,
    /// The index it covers.
    pub index: Index,
    /// Where the piece goes: the pieces' lengths so far.
    pub offset: u64,
    /// The piece; any length.
    pub bytes: Vec<u8>,
    /// Whether it is the last: then sync, rename, sync the directory, and remove older snapshots of the group.
    pub last: bool,
}
