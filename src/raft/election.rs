//! Elections: asking whether to stand, standing, and voting.
//!
//! ```text
//!  Follower ──timeout──▶ PreCandidate ──quorum would──▶ Candidate ──quorum does──▶ Leader
//!      ▲                      │                             │
//!      └── leader, term ──────┴─────────────────────────────┘
//! ```
//!
//! - A pre-vote changes nothing anywhere: a replica that was cut off returns without raising the
//!   group's term (thesis, section 9.6).
//! - A voter that hears from a leader ignores requests for an election timeout (section 4.2.3);
//!   only with check-quorum, where a leader that cannot hear its voters is sure to stand down.
//! - A replica that may have forgotten something neither stands nor votes (`doubt`).
//! - A request for votes and every answer leave when term, vote and log are durable. A candidate's
//!   own vote is such an answer too, sent to itself: it counts once its disk has it.
//!
//! Source: Raft, sections 5.2 and 5.4.1.

use super::lease::Hold;
use super::planted::Bug;
use super::progress::Progress;
use super::quorum::{self, Tally};
use super::read_index::ReadRounds;
use super::role::{Candidacy, Leader, Role};
use super::{Entry, EntryKind, HardState, Message, MessageBody, Output, Raft, RoleKind};
use crate::base::{Bytes, Index, NodeId, Term, Time};

impl Raft {
    /// Stands for election, or first asks whether it could be won.
    pub(super) fn campaign(&mut self, now: Time, output: &mut Output) {
        match self.role {
            Role::Leader(_) => return,
            _ if self.may_stand() => {
                if let Some(until) = self.promised_until(now) {
                    return self.postpone_election(until);
                }
            }
            Role::Follower(_) => return,
            // No longer: whoever stood keeps quiet from now on.
            _ => return self.become_follower(now, None, output),
        }
        if self.config.pre_vote {
            self.become_pre_candidate(now, output);
        } else {
            self.become_candidate(now, false, output);
        }
    }

    /// This vote is promised: it may not even be this replica's own.
    fn postpone_election(&mut self, until: Time) {
        let at = until + self.moment();
        match &mut self.role {
            Role::Follower(follower) => follower.election_at = at,
            Role::PreCandidate(candidacy) | Role::Candidate(candidacy) => {
                candidacy.election_at = at;
            }
            Role::Leader(_) => {}
        }
    }

    /// The leader asks this replica to take over: no pre-vote, it is known to be alive.
    pub(super) fn handle_timeout_now(&mut self, now: Time, from: NodeId, output: &mut Output) {
        if self.leader() == Some(from) && self.may_stand() {
            self.become_candidate(now, true, output);
        }
    }

    fn become_pre_candidate(&mut self, now: Time, output: &mut Output) {
        self.leave_role(now, output);
        let own = self.config.node;
        let candidacy = Candidacy {
            votes: vec![(own, true)],
            election_at: now + self.random_election_timeout(),
            transfer: false,
        };
        self.role = Role::PreCandidate(candidacy);
        if quorum::tally(self.membership.current(), &[(own, true)]) == Tally::Won {
            self.become_candidate(now, false, output);
        } else {
            self.ask_for_votes(output);
        }
    }

    fn become_candidate(&mut self, now: Time, transfer: bool, output: &mut Output) {
        self.leave_role(now, output);
        let own = self.config.node;
        self.hard_state = HardState { term: self.hard_state.term.next(), vote: Some(own) };
        output.hard_state = Some(self.hard_state);
        let election_at = now + self.random_election_timeout();
        self.role = Role::Candidate(Candidacy { votes: Vec::new(), election_at, transfer });
        let vote = self.message(own, MessageBody::VoteResponse { granted: true });
        output.messages_after_durable.push(vote);
        self.ask_for_votes(output);
    }

    fn ask_for_votes(&self, output: &mut Output) {
        for voter in self.membership.current().other_voters(self.config.node) {
            self.ask_for_vote(voter, output);
        }
    }

    /// Asks a voter that may not have got the request because its link was down.
    pub(super) fn ask_for_vote_again(&self, peer: NodeId, output: &mut Output) {
        let (Role::PreCandidate(candidacy) | Role::Candidate(candidacy)) = &self.role else {
            return;
        };
        if !candidacy.has_voted(peer) && self.membership.current().is_voter(peer) {
            self.ask_for_vote(peer, output);
        }
    }

    fn ask_for_vote(&self, to: NodeId, output: &mut Output) {
        let (last_index, last_term) = (self.log.last_index(), self.log.last_term());
        match &self.role {
            Role::PreCandidate(_) => output.messages.push(Message {
                from: self.config.node,
                to,
                term: self.hard_state.term.next(),
                body: MessageBody::PreVote { last_index, last_term },
            }),
            Role::Candidate(candidacy) => {
                let transfer = candidacy.transfer;
                let body = MessageBody::Vote { last_index, last_term, transfer };
                if self.config.has(Bug::RequestBeforeDurable) {
                    return output.messages.push(self.message(to, body));
                }
                output.messages_after_durable.push(self.message(to, body));
            }
            Role::Follower(_) | Role::Leader(_) => unreachable!("only candidates ask"),
        }
    }

    /// Whether a request for votes in a later term is to be ignored, because a leader is alive.
    pub(super) fn is_undisturbed_by(&self, now: Time, message: &Message) -> bool {
        if self.is_promised_to_another(now, message) {
            return true;
        }
        let request = match message.body {
            MessageBody::PreVote { .. } => true,
            MessageBody::Vote { transfer, .. } => !transfer,
            _ => false,
        };
        if !request || !self.config.check_quorum {
            return false;
        }
        match &self.role {
            Role::Follower(follower) => {
                let lately = now < follower.heard_at + self.config.election_timeout;
                follower.leader.is_some() && (lately || self.leader_is_alive())
            }
            Role::PreCandidate(_) => self.config.has(Bug::PreCandidateAnswersNobody),
            Role::Candidate(_) => false,
            Role::Leader(_) => true,
        }
    }

    /// Someone misses a leader that is alive as far as is known here.
    pub(super) fn answer_disturber(&mut self, now: Time, from: NodeId, output: &mut Output) {
        self.show_leadership(now, from, output);
        self.hear_of_missed_leader(now, output);
    }

    pub(super) fn handle_pre_vote(
        &mut self,
        from: NodeId,
        term: Term,
        (last_index, last_term): (Index, Term),
        output: &mut Output,
    ) {
        let free = term > self.hard_state.term || self.may_vote_for(from);
        let granted = free && self.may_vote() && self.log.is_covered_by(last_index, last_term);
        let mut response = self.message(from, MessageBody::PreVoteResponse { granted });
        if granted {
            response.term = term;
        }
        output.messages_after_durable.push(response);
    }

    pub(super) fn handle_vote(
        &mut self,
        now: Time,
        from: NodeId,
        (last_index, last_term): (Index, Term),
        output: &mut Output,
    ) {
        let shorter = self.config.has(Bug::VotesForShorterLogs);
        let covered = shorter || self.log.is_covered_by(last_index, last_term);
        let granted = self.may_vote() && self.may_vote_for(from) && covered;
        if granted && self.hard_state.vote.is_none() {
            self.hard_state.vote = Some(from);
            if !self.config.has(Bug::VoteNotStored) {
                output.hard_state = Some(self.hard_state);
            }
        }
        if granted {
            let election_at = now + self.random_election_timeout();
            match &mut self.role {
                Role::Follower(follower) => follower.election_at = election_at,
                Role::PreCandidate(candidacy) => candidacy.election_at = election_at,
                Role::Candidate(_) | Role::Leader(_) => {
                    unreachable!("has given its vote to itself")
                }
            }
        }
        let response = self.message(from, MessageBody::VoteResponse { granted });
        if self.config.has(Bug::VoteBeforeDurable) {
            return output.messages.push(response);
        }
        output.messages_after_durable.push(response);
    }

    /// Whether this replica votes at all: it must know whom it voted for.
    fn may_vote(&self) -> bool {
        !self.is_provisional() || self.config.has(Bug::VotesInDoubt)
    }

    /// Whether this term's vote is still free, or `candidate`'s already. Where a leader is known,
    /// the election is over.
    fn may_vote_for(&self, candidate: NodeId) -> bool {
        let twice = self.config.has(Bug::VotesTwice) && self.role() == RoleKind::Follower;
        twice || self.hard_state.vote.map_or(self.leader().is_none(), |vote| vote == candidate)
    }

    /// A grant speaks of the term after this one; one of an earlier question says as much.
    pub(super) fn handle_pre_vote_response(
        &mut self,
        now: Time,
        from: NodeId,
        term: Term,
        granted: bool,
        output: &mut Output,
    ) {
        let current = self.hard_state.term;
        let expected = if granted { current.next() } else { current };
        let stranger = !self.membership.current().is_voter(from);
        if self.config.has(Bug::PreVotesCountAsVotes) && granted && term == current {
            return self.handle_vote_response(now, from, granted, output);
        }
        let Role::PreCandidate(candidacy) = &mut self.role else { return };
        if stranger || term != expected {
            return;
        }
        candidacy.count(from, granted);
        match quorum::tally(&self.config.electors(self.membership.current()), &candidacy.votes) {
            Tally::Won => self.become_candidate(now, false, output),
            Tally::Lost => self.become_follower(now, None, output),
            Tally::Pending => {}
        }
    }

    pub(super) fn handle_vote_response(
        &mut self,
        now: Time,
        from: NodeId,
        granted: bool,
        output: &mut Output,
    ) {
        let stranger = !self.config.electors(self.membership.current()).is_voter(from);
        let Role::Candidate(candidacy) = &mut self.role else { return };
        if stranger {
            return;
        }
        if self.config.has(Bug::DuplicateVotesCount) && granted && candidacy.has_voted(from) {
            return self.become_leader(now, output);
        }
        candidacy.count(from, granted);
        match quorum::tally(&self.config.electors(self.membership.current()), &candidacy.votes) {
            Tally::Won => self.become_leader(now, output),
            Tally::Lost => self.become_follower(now, None, output),
            Tally::Pending => {}
        }
    }

    /// Takes office. The empty entry commits what earlier terms left, which counting may not do
    /// (Raft, section 5.4.2), and tells how far the log is committed (section 8).
    fn become_leader(&mut self, now: Time, output: &mut Output) {
        let last_index = self.log.last_index();
        let members = self.membership.current();
        let peer = |node| {
            let incarnation = members.incarnation_of(node);
            Progress::new(node, last_index, now).of(incarnation)
        };
        let peers = self.wanted_peers().into_iter().map(peer).collect();
        self.role = Role::Leader(Leader {
            peers,
            durable_index: Index::ZERO,
            transfer: None,
            quiet: false,
            lease: Hold::default(),
            reads: ReadRounds::default(),
        });
        let noop = Entry {
            term: self.hard_state.term,
            index: last_index.next(),
            timestamp: self.log.last_timestamp(),
            kind: EntryKind::Noop,
            payload: Bytes::new(),
        };
        if !self.config.has(Bug::NoEntryOnTakingOffice) {
            self.append_own(noop, output);
        }
        self.send_appends_to_all(now, output);
    }
}

impl Candidacy {
    /// Counts a vote; of a voter's answers the first.
    fn count(&mut self, from: NodeId, granted: bool) {
        if !self.has_voted(from) {
            self.votes.push((from, granted));
        }
    }

    fn has_voted(&self, voter: NodeId) -> bool {
        self.votes.iter().any(|vote| vote.0 == voter)
    }
}
