//! What a replica is, and what it only knows while it is that.

use super::RoleKind;
use super::lease::Hold;
use super::progress::Progress;
use super::read_index::{ForwardedReads, ReadRounds};
use super::transfer::Transfer;
use crate::base::{Index, NodeId, Time};

/// A replica's role in its current term. What a role knows ends with it.
#[derive(Debug)]
pub(super) enum Role {
    Follower(Follower),
    PreCandidate(Candidacy),
    Candidate(Candidacy),
    Leader(Leader),
}

/// Follows a leader, or waits for one.
#[derive(Debug)]
pub(super) struct Follower {
    /// Who leads in this term, once it made itself heard.
    pub(super) leader: Option<NodeId>,
    /// When the leader was last heard; meaningless without one. For a whole election timeout from
    /// then on nobody else gets this replica's vote.
    pub(super) heard_at: Time,
    /// The life the leader was in when it was heard; `None` where the detector did not know it.
    pub(super) leader_life: Option<u64>,
    /// The leader lives, but was asked whether it still leads and has not been heard since.
    pub(super) doubts: bool,
    /// When all were last asked who leads.
    pub(super) searched_at: Option<Time>,
    /// When to stand for election unless something happens first. While the leader is known to be
    /// alive it may lie in the past (`Raft::is_content`).
    pub(super) election_at: Time,
    /// Reads that wait for the leader's answer.
    pub(super) reads: ForwardedReads,
}

/// Stands for election, or asks whether it should.
#[derive(Debug)]
pub(super) struct Candidacy {
    /// Who has answered, and how: one vote each, the first counts.
    pub(super) votes: Vec<(NodeId, bool)>,
    /// When to give up and begin again.
    pub(super) election_at: Time,
    /// The leader asked for it: voters need not wait until they miss it.
    pub(super) transfer: bool,
}

/// Leads the group.
#[derive(Debug)]
pub(super) struct Leader {
    /// Nothing to do and nothing to be said: no heartbeats, no deadline. Set at a tick only;
    /// whatever happens ends it (`Raft::wake`).
    pub(super) quiet: bool,
    /// Every other member, by node id.
    pub(super) peers: Vec<Progress>,
    /// This replica's own log is durable up to here, counting only what was appended in this term;
    /// `durable_index <= last_index`. Advanced by `Input::Appended` with this term. Older entries
    /// need no count: they commit with the first of this term, which comes after them on disk.
    pub(super) durable_index: Index,
    /// A successor being prepared; proposals are refused meanwhile.
    pub(super) transfer: Option<Transfer>,
    /// Until when reads need not be confirmed.
    pub(super) lease: Hold,
    /// Reads that wait for a quorum to confirm the leadership.
    pub(super) reads: ReadRounds,
}

impl Follower {
    /// Without a leader, and due to stand: whoever makes one says when.
    pub(super) fn new(now: Time) -> Self {
        Self {
            leader: None,
            heard_at: now,
            leader_life: None,
            doubts: false,
            searched_at: None,
            election_at: now,
            reads: ForwardedReads::default(),
        }
    }
}

impl Role {
    pub(super) fn kind(&self) -> RoleKind {
        match self {
            Self::Follower(_) => RoleKind::Follower,
            Self::PreCandidate(_) => RoleKind::PreCandidate,
            Self::Candidate(_) => RoleKind::Candidate,
            Self::Leader(_) => RoleKind::Leader,
        }
    }
}

impl Leader {
    pub(super) fn peer(&self, node: NodeId) -> Option<&Progress> {
        self.peers.iter().find(|peer| peer.node == node)
    }

    pub(super) fn peer_mut(&mut self, node: NodeId) -> Option<&mut Progress> {
        self.peers.iter_mut().find(|peer| peer.node == node)
    }
}
