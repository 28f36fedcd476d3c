//! What the cores of different nodes say to each other. Format: `schema/peer.fbs`.
//!
//! One frame carries all that one core has to say to one other in a turn: messages of many groups,
//! read in place. The types mirror Raft's messages but are not Raft's: `wire` and `raft` do not know
//! each other.

mod batch_builder;
mod batch_view;

pub use batch_builder::{AppendHead, PeerBatchBuilder};
pub use batch_view::{Entries, Messages, PeerBatchView, parse_peer_batch};

use crate::base::{GroupId, Index, Micros, NodeId, Term, Time};

/// One group's message.
#[derive(Clone, Debug)]
pub struct PeerMessage<'a> {
    /// The group.
    pub group: GroupId,
    /// The sender's term; for a pre-vote request the term it would stand in.
    pub term: Term,
    /// What is said.
    pub body: PeerBody<'a>,
}

/// One entry of a Raft log; its index follows from its place in the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerEntry<'a> {
    /// The term of the leader that appended it.
    pub term: Term,
    /// Microseconds since the Unix epoch, on that leader's clock.
    pub timestamp: u64,
    /// 0: command, 1: no-op, 2: configuration; from a newer node perhaps others.
    pub kind: u8,
    /// Opaque.
    pub payload: &'a [u8],
}

/// What is said.
#[derive(Clone, Debug)]
pub enum PeerBody<'a> {
    /// Would you vote for me?
    PreVote {
        /// The candidate's last entry.
        last_index: Index,
        /// That entry's term.
        last_term: Term,
    },
    /// Answer to `PreVote`.
    PreVoteResponse {
        /// Whether the vote would be given.
        granted: bool,
    },
    /// Vote for me.
    Vote {
        /// The candidate's last entry.
        last_index: Index,
        /// That entry's term.
        last_term: Term,
        /// The leader itself asked for this election (`TimeoutNow`).
        transfer: bool,
    },
    /// Answer to `Vote`.
    VoteResponse {
        /// Whether the vote is given.
        granted: bool,
    },
    /// Entries to append, none to probe.
    Append {
        /// The entry before the first.
        previous_index: Index,
        /// That entry's term.
        previous_term: Term,
        /// The leader's commit index.
        commit_index: Index,
        /// Consecutive, the first at `previous_index + 1`.
        entries: Entries<'a>,
    },
    /// Everything up to `match_index` is durable here and equal to the leader's log.
    AppendResponse {
        /// See above.
        match_index: Index,
        /// It counts nowhere.
        provisional: bool,
    },
    /// The append at `rejected_index` did not fit.
    AppendReject {
        /// The refused `previous_index`.
        rejected_index: Index,
        /// Where the leader had better try.
        hint_index: Index,
        /// The term of the entry there.
        hint_term: Term,
        /// The sender may lack what it acknowledged.
        provisional: bool,
    },
    /// I lead; and, by its answer, I still do.
    Heartbeat {
        /// What the follower may commit.
        commit_index: Index,
        /// The leader's read round, 0 if none.
        round: u64,
    },
    /// Answer to `Heartbeat`.
    HeartbeatResponse {
        /// The heartbeat's round.
        round: u64,
        /// What the sender knows to be committed.
        commit_index: Index,
        /// For how long a leader's lease may rest on this answer.
        promised: Micros,
        /// What the sender's clock shows.
        clock: Time,
        /// It counts nowhere.
        provisional: bool,
    },
    /// A follower asks its leader for a read index.
    ReadIndex {
        /// The follower's own counter, returned as is.
        request: u64,
    },
    /// Answer to `ReadIndex`.
    ReadIndexResponse {
        /// The follower's counter.
        request: u64,
        /// What must be applied before reading; nothing if the leader could not say.
        index: Option<Index>,
    },
    /// Stand for election at once.
    TimeoutNow,
    /// A member looks for its leader.
    WhoLeads,
    /// A member forwards a command or a configuration to its leader.
    Propose {
        /// The member's own counter, returned as is.
        request: u64,
        /// As in `PeerEntry`.
        kind: u8,
        /// Opaque.
        payload: &'a [u8],
    },
    /// Answer to `Propose`.
    ProposeResponse {
        /// The member's counter.
        request: u64,
        /// Where the entry stands, or why there is none.
        result: Result<(Term, Index), PeerRefusal>,
    },
    /// A voter asks what it may have forgotten.
    Survey {
        /// The asker's own number, returned as is.
        request: u64,
    },
    /// Answer to `Survey`.
    SurveyResponse {
        /// The asker's number.
        request: u64,
        /// The sender has forgotten no term.
        certain: bool,
        /// It was never in a term, or would not know.
        blank: bool,
        /// The last entry's term and index, if it leads.
        last: Option<(Term, Index)>,
    },
    /// A piece of a snapshot of the group's state. Pieces come in order.
    SnapshotChunk {
        /// Names this sending; a new one begins again at offset 0.
        transfer: u64,
        /// The last entry the snapshot covers.
        index: Index,
        /// That entry's term.
        term: Term,
        /// Where the piece belongs in the snapshot.
        offset: u64,
        /// Whether it is the last piece.
        last: bool,
        /// The piece.
        data: &'a [u8],
    },
    /// Everything below `next_offset` arrived.
    SnapshotAck {
        /// The sending.
        transfer: u64,
        /// See above.
        next_offset: u64,
        /// The snapshot is of no use: begin again.
        failed: bool,
    },
    /// Where a group is, as its leader says.
    Whereabouts {
        /// The last entry that was known to be committed, by term and index.
        committed: (Term, Index),
        /// Who leads.
        leader: NodeId,
        /// The configuration, encoded.
        configuration: &'a [u8],
    },
    /// An administrator's request to the leader of the group.
    AdminRequest {
        /// The asking core's own number, returned as is.
        request: u64,
        /// What is asked for, as JSON.
        body: &'a [u8],
    },
    /// Answer to `AdminRequest`.
    AdminReply {
        /// The asking core's number.
        request: u64,
        /// The answer, as JSON.
        body: &'a [u8],
    },
    /// Members of a group compare their states.
    State(StateMessage),
    /// The shard map of an epoch.
    Map {
        /// Which.
        epoch: u64,
        /// The map, encoded.
        body: &'a [u8],
    },
    /// What the leader of another group says to this one's.
    Movement {
        /// A frame: see [`parse_message`](crate::wire::movement::parse_message).
        body: &'a [u8],
    },
    /// From a newer node: to be ignored, as if it were lost.
    Unknown {
        /// Its number.
        kind: u8,
    },
}

/// What replicas say of their states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateMessage {
    /// The leader asks for the hash of the state after an entry.
    Ask {
        /// The entry.
        index: Index,
    },
    /// The answer.
    Answer {
        /// The entry.
        index: Index,
        /// The hash after it.
        hash: u64,
    },
    /// The answer of one whose state is known to be wrong.
    Quarantined {
        /// The entry.
        index: Index,
    },
    /// What a majority of the voters has, said to one that has something else.
    Verdict {
        /// The entry.
        index: Index,
        /// The majority's hash after it.
        hash: u64,
    },
    /// Hashes differ, and none has a majority.
    Undecided {
        /// The entry.
        index: Index,
        /// The leader's hash after it.
        hash: u64,
    },
    /// A member whose state is wrong asks its leader for a snapshot.
    Wants,
}

/// Why a forwarded proposal was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerRefusal {
    /// The numbers of `Refusal` in `schema/peer.fbs`; never 0; from a newer node perhaps others.
    pub reason: u8,
    /// Who leads instead, if that is the reason and it is known.
    pub leader: Option<NodeId>,
}

#[cfg(test)]
mod tests;
