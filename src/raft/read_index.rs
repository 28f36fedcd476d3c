//! Linearizable reads without a log entry.
//!
//! A read may be answered from any state at least as new as what was committed when it came. The
//! leader knows that index, if it still leads: a round of heartbeats to a quorum tells.
//!
//! ```text
//!  follower ──ReadIndex──▶ leader: index := commit, round := next
//!                          ──Heartbeat(round)──▶ quorum
//!                          ◀─HeartbeatResponse(round)──
//!  follower ◀─index─────── and its own reads: confirmed
//! ```
//!
//! - No index before the leader has committed in its own term: until then it may not know of what
//!   its predecessor committed (Raft, section 8; etcd#7331).
//! - Rounds are numbered by the leader, within its term. Answers are matched by that number, never
//!   by anything a client chose: an answer to an old round must not confirm a new one (etcd#20418).
//! - While the leader holds a lease, nobody need be asked (`lease`).
//! - One answer confirms all rounds up to its own: the follower gave it later than it got those.
//!
//! Source: thesis, section 6.4.

use std::collections::VecDeque;

use super::planted::Bug;
use super::progress::Progress;
use super::role::Role;
use super::{MessageBody, Output, Raft, ReadError, ReadState, quorum};
use crate::base::{Index, NodeId, Time};

/// A leader's reads that wait for a quorum.
#[derive(Debug, Default)]
pub(super) struct ReadRounds {
    /// The latest round begun; 0 before the first. Never falls within a term.
    round: u64,
    /// Reads by rising round, each the only one of a round begun.
    pending: VecDeque<PendingRead>,
}

#[derive(Debug)]
struct PendingRead {
    round: u64,
    /// When the round began: before any of its heartbeats left.
    begun_at: Time,
    /// The commit index when the read came.
    index: Index,
    origin: Origin,
}

/// Who asked.
#[derive(Clone, Copy, Debug)]
enum Origin {
    /// The host, with its context.
    Host(u64),
    /// A follower, with its request's number.
    Follower(NodeId, u64),
}

/// A follower's reads that wait for its leader.
#[derive(Debug, Default)]
pub(super) struct ForwardedReads {
    /// By rising request and deadline.
    pending: VecDeque<ForwardedRead>,
}

#[derive(Debug)]
struct ForwardedRead {
    request: u64,
    context: u64,
    /// Question or answer must be lost by then.
    deadline: Time,
}

impl Raft {
    /// Starts a linearizable read: `Output::reads` will carry `context` and the index to wait for,
    /// or `Output::reads_failed` will carry it. A follower asks its leader.
    ///
    /// # Errors
    /// If no leader is known, or this leader has not committed in its term yet. Nothing was
    /// started then.
    pub fn read(&mut self, now: Time, context: u64, output: &mut Output) -> Result<(), ReadError> {
        match &self.role {
            Role::Leader(_) if self.holds_lease(now) => {
                let index = self.log.commit_index();
                output.reads.push(ReadState { context, index });
                Ok(())
            }
            Role::Leader(_) if self.knows_what_to_read() => {
                self.begin_round(now, Origin::Host(context), output);
                Ok(())
            }
            Role::Leader(_) => Err(ReadError::NotReady),
            Role::Follower(_) => self.forward_read(now, context, output),
            Role::PreCandidate(_) | Role::Candidate(_) => Err(ReadError::NoLeader),
        }
    }

    /// Whether an entry of this term is committed.
    pub(super) fn has_committed_in_term(&self) -> bool {
        self.log.matches(self.log.commit_index(), self.hard_state.term)
    }

    fn knows_what_to_read(&self) -> bool {
        self.has_committed_in_term() || self.config.has(Bug::ReadsBeforeCommitInTerm)
    }

    fn begin_round(&mut self, now: Time, origin: Origin, output: &mut Output) {
        self.wake(now);
        let index = self.log.commit_index();
        let Some((leader, sender)) = self.as_leader() else { return };
        let round = leader.reads.begin(now, index, origin);
        for peer in &mut leader.peers {
            sender.send_heartbeat(peer, now, round, output);
        }
        self.confirm_reads(output);
    }

    /// Repeats the latest round, if a read waits: there are new voters to answer it.
    pub(super) fn ask_again_for_reads(&mut self, now: Time, output: &mut Output) {
        let Some((leader, sender)) = self.as_leader() else { return };
        if let Some(awaited) = leader.reads.awaited_round() {
            let round = leader.reads.round;
            for peer in leader.peers.iter_mut().filter(|p| p.round_acknowledged < awaited) {
                sender.send_heartbeat(peer, now, round, output);
            }
        }
    }

    /// Answers every read whose round a quorum has answered. A group of one is its own quorum.
    pub(super) fn confirm_reads(&mut self, output: &mut Output) {
        let Role::Leader(leader) = &mut self.role else { return };
        let (own, current) = (self.config.node, leader.reads.round);
        let reached = |round: fn(&Progress) -> u64| {
            let of = |node| match leader.peer(node) {
                Some(peer) => round(peer),
                None if node == own => current,
                None => 0,
            };
            quorum::reached(&self.config.witnesses(self.membership.current()), of)
        };
        let Some(confirmed) = reached(|peer| peer.round_acknowledged) else { return };
        let promised = reached(|peer| peer.round_promised);
        while let Some(read) = self.take_read(|read| read.round <= confirmed) {
            if promised.is_some_and(|promised| read.round <= promised) {
                self.renew_lease(read.begun_at);
            }
            self.finish_read(&read, true, output);
        }
    }

    /// The leadership ends: every read that waits fails, while the term is still this leader's.
    pub(super) fn fail_read_rounds(&mut self, output: &mut Output) {
        while let Some(read) = self.take_read(|_| true) {
            self.finish_read(&read, false, output);
        }
    }

    fn take_read(&mut self, wanted: impl Fn(&PendingRead) -> bool) -> Option<PendingRead> {
        let Role::Leader(leader) = &mut self.role else { return None };
        leader.reads.pending.pop_front_if(|read| wanted(read))
    }

    fn finish_read(&self, read: &PendingRead, confirmed: bool, output: &mut Output) {
        let index = confirmed.then_some(read.index);
        match (read.origin, index) {
            (Origin::Host(context), Some(index)) => output.reads.push(ReadState { context, index }),
            (Origin::Host(context), None) => output.reads_failed.push(context),
            (Origin::Follower(node, request), index) => {
                self.answer(node, MessageBody::ReadIndexResponse { request, index }, output);
            }
        }
    }

    fn forward_read(
        &mut self,
        now: Time,
        context: u64,
        output: &mut Output,
    ) -> Result<(), ReadError> {
        let Some(leader) = self.leader().filter(|&leader| self.may_address(now, leader)) else {
            self.look_for_leader(now, output);
            return Err(ReadError::NoLeader);
        };
        let Role::Follower(follower) = &mut self.role else { return Err(ReadError::NoLeader) };
        self.read_requests += 1;
        let request = self.read_requests;
        follower.reads.push(request, context, now + self.config.election_timeout);
        self.answer(leader, MessageBody::ReadIndex { request }, output);
        Ok(())
    }

    pub(super) fn handle_read_index(
        &mut self,
        now: Time,
        from: NodeId,
        request: u64,
        output: &mut Output,
    ) {
        if self.holds_lease(now) {
            let index = Some(self.log.commit_index());
            self.answer(from, MessageBody::ReadIndexResponse { request, index }, output);
        } else if matches!(self.role, Role::Leader(_)) && self.knows_what_to_read() {
            self.begin_round(now, Origin::Follower(from, request), output);
        } else {
            let body = MessageBody::ReadIndexResponse { request, index: None };
            self.answer(from, body, output);
        }
    }

    pub(super) fn handle_read_index_response(
        &mut self,
        from: NodeId,
        request: u64,
        index: Option<Index>,
        output: &mut Output,
    ) {
        let Role::Follower(follower) = &mut self.role else { return };
        if follower.leader != Some(from) {
            return;
        }
        let Some(context) = follower.reads.take(request) else { return };
        match index {
            Some(index) => output.reads.push(ReadState { context, index }),
            None => output.reads_failed.push(context),
        }
    }
}

impl ReadRounds {
    /// The latest round begun; 0 before the first.
    pub(super) fn round(&self) -> u64 {
        self.round
    }

    /// The oldest round that a read waits for.
    pub(super) fn awaited_round(&self) -> Option<u64> {
        self.pending.front().map(|read| read.round)
    }

    /// When a round began for which a read still waits.
    pub(super) fn begun_at(&self, round: u64) -> Option<Time> {
        let at = self.pending.binary_search_by_key(&round, |read| read.round).ok()?;
        Some(self.pending[at].begun_at)
    }

    /// Forgets what a follower asked: it has given up by itself.
    pub(super) fn forget(&mut self, node: NodeId) {
        self.pending
            .retain(|read| !matches!(read.origin, Origin::Follower(from, _) if from == node));
    }

    fn begin(&mut self, begun_at: Time, index: Index, origin: Origin) -> u64 {
        self.round += 1;
        self.pending.push_back(PendingRead { round: self.round, begun_at, index, origin });
        self.round
    }
}

impl ForwardedReads {
    /// When the oldest is to be given up.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.pending.front().map(|read| read.deadline)
    }

    /// Gives up those whose time is over. Returns whether there were any.
    pub(super) fn expire(&mut self, now: Time, output: &mut Output) -> bool {
        let before = self.pending.len();
        while let Some(read) = self.pending.pop_front_if(|read| read.deadline <= now) {
            output.reads_failed.push(read.context);
        }
        self.pending.len() < before
    }

    /// Gives up all.
    pub(super) fn fail_all(&mut self, output: &mut Output) {
        output.reads_failed.extend(self.pending.drain(..).map(|read| read.context));
    }

    fn push(&mut self, request: u64, context: u64, deadline: Time) {
        self.pending.push_back(ForwardedRead { request, context, deadline });
    }

    /// Answers may come in any order, and twice.
    fn take(&mut self, request: u64) -> Option<u64> {
        let position = self.pending.iter().position(|read| read.request == request)?;
        self.pending.remove(position).map(|read| read.context)
    }
}
