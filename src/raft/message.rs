//! What replicas say to each other.

use super::{Entry, EntryKind, Refusal, Standing};
use crate::base::{Bytes, Index, Micros, NodeId, Term, Time};

/// A message between two replicas of one group (the group is the envelope's business).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The sender.
    pub from: NodeId,
    /// The receiver.
    pub to: NodeId,
    /// The sender's term; for a pre-vote request the term it would stand in.
    pub term: Term,
    /// What is said.
    pub body: MessageBody,
}

impl MessageBody {
    /// Whether whoever gets it counts its sender: a vote, what a follower answers its leader, what a
    /// replica in doubt is told.
    pub fn is_counted(&self) -> bool {
        match self {
            Self::PreVoteResponse { .. }
            | Self::VoteResponse { .. }
            | Self::AppendResponse { .. }
            | Self::AppendReject { .. }
            | Self::HeartbeatResponse { .. }
            | Self::SurveyResponse { .. } => true,
            Self::PreVote { .. }
            | Self::Vote { .. }
            | Self::Append { .. }
            | Self::Heartbeat { .. }
            | Self::ReadIndex { .. }
            | Self::ReadIndexResponse { .. }
            | Self::TimeoutNow
            | Self::WhoLeads
            | Self::Propose { .. }
            | Self::ProposeResponse { .. }
            | Self::Survey { .. } => false,
        }
    }

    /// Whether a later term in such a message is one to adopt. A pre-vote request only asks about
    /// a term, and its grant only answers: adopting it would raise terms without an election. So does
    /// a survey.
    pub(super) fn moves_term(&self) -> bool {
        !matches!(
            self,
            Self::PreVote { .. } | Self::PreVoteResponse { granted: true } | Self::Survey { .. }
        )
    }

    /// Whether it is to be heard in any term. Where a proposal stands, and that there is none,
    /// stays true; and who asks in an earlier term is answered by whoever knows the request. Who is
    /// in doubt asks for terms.
    pub(super) fn outlives_its_term(&self) -> bool {
        matches!(
            self,
            Self::Propose { .. }
                | Self::ProposeResponse { .. }
                | Self::Survey { .. }
                | Self::SurveyResponse { .. }
        )
    }

    /// Whether only the leader of the message's term says so.
    pub(super) fn is_from_leader(&self) -> bool {
        matches!(self, Self::Append { .. } | Self::Heartbeat { .. })
    }
}

/// What is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MessageBody {
    /// Would you vote for me?
    PreVote {
        /// The candidate's last entry.
        last_index: Index,
        /// That entry's term.
        last_term: Term,
    },
    /// Answer to `PreVote`; a grant carries the request's term, a refusal the responder's.
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
        /// The leader itself asked for this election (`TimeoutNow`): a voter that still hears from
        /// the leader answers all the same.
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
        entries: Vec<Entry>,
    },
    /// Everything up to `match_index` is durable here and equal to the leader's log.
    AppendResponse {
        /// See above.
        match_index: Index,
        /// The sender is in doubt (`doubt`): this counts nowhere.
        provisional: bool,
    },
    /// The append at `previous_index` did not fit.
    AppendReject {
        /// The refused `previous_index`.
        rejected_index: Index,
        /// Where the leader had better try: the last entry here that could match.
        hint_index: Index,
        /// The term of the entry at `hint_index`, so that the leader can skip a whole term.
        hint_term: Term,
        /// The sender is in doubt: it may lack what it acknowledged before.
        provisional: bool,
    },
    /// I lead; and, by its answer, I still do.
    Heartbeat {
        /// min(the leader's commit index, what it knows the follower to have).
        commit_index: Index,
        /// The leader's read round, 0 if none: unique within its term.
        round: u64,
    },
    /// Answer to `Heartbeat`.
    HeartbeatResponse {
        /// The heartbeat's round.
        round: u64,
        /// What this replica knows to be committed.
        commit_index: Index,
        /// For so long nobody else gets this replica's vote, come what may (`lease`); 0 if it
        /// promises nothing.
        promised: Micros,
        /// What the sender's clock shows: how fast it runs is compared with the leader's (`pace`).
        clock: Time,
        /// The sender is in doubt: this counts nowhere.
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
    /// Stand for election at once (leadership transfer; thesis, section 3.10).
    TimeoutNow,
    /// A member looks for its leader: the leader answers with a heartbeat.
    WhoLeads,
    /// A member asks its leader to propose for it. Sent once: a repeat could happen twice.
    Propose {
        /// The member's own counter, returned as is.
        request: u64,
        /// `Command` or `Configuration`.
        kind: EntryKind,
        /// The command, or the encoded configuration asked for.
        payload: Bytes,
    },
    /// Answer to `Propose`.
    ProposeResponse {
        /// The member's counter.
        request: u64,
        /// Where the entry stands in the leader's log: not committed yet, perhaps never.
        result: Result<(Term, Index), Refusal>,
    },
    /// A voter in doubt asks what it may have forgotten (`doubt`).
    Survey {
        /// The number of its question, returned as is.
        request: u64,
    },
    /// Answer to `Survey`; the term is the sender's.
    SurveyResponse {
        /// The question's number; 0 from one that was not asked, but has become certain at a first start.
        request: u64,
        /// The rest of what it says of itself.
        standing: Standing,
    },
}
