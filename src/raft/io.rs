//! What goes in and what comes out of a replica.

use super::{EntriesRequest, Entry, Forwarded, HardState, Message, Outcome, SnapshotMeta};
use crate::base::{Index, NodeId, Term};

/// What can happen to a replica.
#[derive(Clone, Debug)]
pub enum Input {
    /// Time has passed: the deadline may have been reached.
    Tick,
    /// A message from a peer.
    Message(Message),
    /// Everything up to this entry, and the hard state handed out with or before it, is durable.
    /// Tagged with the term so that a completion for a replaced entry marks nothing (A→B→A).
    /// A leader counts its own copy by it. Harmless when it comes late, twice, or names an entry
    /// of an earlier term.
    Appended {
        /// The last durable entry's term.
        term: Term,
        /// The last durable entry's index.
        index: Index,
    },
    /// The state machine has applied everything up to here. More committed entries are handed out
    /// then, if some were held back (`RaftConfig::apply_bytes_max`). Harmless when it comes late,
    /// twice or out of order.
    Applied {
        /// The last applied entry's index.
        index: Index,
    },
    /// The host took a snapshot at an applied index; entries before `keep_from` may be forgotten.
    Compacted {
        /// What the snapshot covers.
        snapshot: SnapshotMeta,
        /// The first entry to keep in memory for slow followers; at most `snapshot.index + 1`.
        keep_from: Index,
    },
    /// Applied entries before `keep_from` may leave memory: they are durable, and those from
    /// `stored_from` on can be read back (`Output::entries_wanted`). No snapshot need cover them. A
    /// host that reads nothing back never says so.
    Evicted {
        /// The first entry to keep in memory; at most one after the last applied.
        keep_from: Index,
        /// The first entry on the disk.
        stored_from: Index,
    },
    /// Entries that were asked for (`Output::entries_wanted`) were read from the disk, or are gone.
    EntriesRead {
        /// The follower they are for.
        to: NodeId,
        /// As in the request.
        from: Index,
        /// The entry at `from` and those that follow it, any number; none if they are gone.
        entries: Vec<Entry>,
    },
    /// A snapshot received from the leader is durable and loaded: the log restarts after it. Only
    /// if `Raft::wants_snapshot` says so just before. Entries after it that this replica keeps are
    /// handed out again in `Output::entries`, so that the host may begin its log anew. Committed
    /// entries handed out before are part of it: the host applies none of them any more.
    SnapshotInstalled {
        /// Who sent it.
        from: NodeId,
        /// What it covers.
        snapshot: SnapshotMeta,
    },
    /// A snapshot from the leader is not wanted here (`Raft::wants_snapshot`): it is told how far
    /// this replica is, or it would send the same snapshot again.
    SnapshotRefused {
        /// Who sent it.
        from: NodeId,
    },
    /// The sending of a snapshot to a follower ended without success: probe it again.
    SnapshotFailed {
        /// The follower.
        to: NodeId,
    },
    /// Stand for election now, whatever the timeout.
    Campaign,
    /// The failure detector reaches a node, in this life of its process. Tells all that
    /// `PeerReset` tells, too. Said again, it is no news.
    PeerUp {
        /// The node.
        peer: NodeId,
        /// Differs between any two lives of the node's process: one that died and came back leads
        /// nothing any more.
        incarnation: u64,
    },
    /// The failure detector has lost a node; reads on their way to it are given up.
    PeerDown {
        /// The node.
        peer: NodeId,
    },
    /// The link to a peer came up or went down; what was in flight to it may be lost. Reads on
    /// their way between the two are given up: no answer may outlive the link it was asked on.
    PeerReset {
        /// The peer.
        peer: NodeId,
    },
}

/// What a step asks of the host. The host empties it; a step only appends. In which order it is to be
/// performed, the module's documentation says ("Embedding").
#[derive(Debug, Default)]
pub struct Output {
    /// May leave at once.
    pub messages: Vec<Message>,
    /// Leave when everything handed out so far is durable.
    pub messages_after_durable: Vec<Message>,
    /// To be made durable, if changed.
    pub hard_state: Option<HardState>,
    /// This replica has forgotten nothing any more that matters (`Stored::doubt`): to be made durable
    /// with the hard state and behind all entries handed out so far.
    pub doubt_ended: bool,
    /// To be made durable, consecutive; a first index at or below an earlier one replaces the tail.
    pub entries: Vec<Entry>,
    /// To be applied, consecutive.
    pub committed: Vec<Entry>,
    /// Confirmed read rounds.
    pub reads: Vec<ReadState>,
    /// Read contexts that failed (leadership lost): to be asked again by the client.
    pub reads_failed: Vec<u64>,
    /// What members ask this leader to propose.
    pub forwarded: Vec<Forwarded>,
    /// What became of what was submitted here, by its context.
    pub outcomes: Vec<(u64, Outcome)>,
    /// Followers that need a snapshot. Named again now and then until they have it: a host that is
    /// sending already need not begin again.
    pub snapshots: Vec<SnapshotRequest>,
    /// Entries to read back from the disk for followers. Each is answered once.
    pub entries_wanted: Vec<EntriesRequest>,
}

impl Output {
    /// Whether there is nothing to perform.
    pub fn is_empty(&self) -> bool {
        let Self {
            messages,
            messages_after_durable,
            hard_state,
            doubt_ended,
            entries,
            committed,
            reads,
            reads_failed,
            forwarded,
            outcomes,
            snapshots,
            entries_wanted,
        } = self;
        messages.is_empty()
            && messages_after_durable.is_empty()
            && hard_state.is_none()
            && !doubt_ended
            && entries.is_empty()
            && committed.is_empty()
            && reads.is_empty()
            && reads_failed.is_empty()
            && forwarded.is_empty()
            && outcomes.is_empty()
            && snapshots.is_empty()
            && entries_wanted.is_empty()
    }
}

/// A confirmed read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadState {
    /// As given to `Raft::read`.
    pub context: u64,
    /// What must be applied before answering.
    pub index: Index,
}

/// A follower needs entries that are no longer to be had: send it a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotRequest {
    /// The follower.
    pub to: NodeId,
}
