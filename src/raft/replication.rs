//! The leader's side of replication: proposing, sending, counting what came back.
//!
//! The leader sends an entry while its own disk still writes it; its own copy counts, like any
//! follower's, once it is durable (thesis, section 10.2.1). Commitment is not announced by a
//! message of its own: the next append or heartbeat carries it.
//!
//! Source: Raft, sections 5.3 and 5.4.2.

use super::log::Log;
use super::pace::Answer;
use super::planted::Bug;
use super::progress::{Progress, Resume};
use super::role::Role;
use super::{Entry, EntryKind, Message, MessageBody, Output, ProposeError, Raft, RaftConfig};
use super::{SnapshotRequest, quorum};
use crate::base::{Bytes, Index, Micros, NodeId, Term, Time, WallTime};

/// What a leader reads while it sends; its progresses are borrowed apart.
pub(super) struct Sender<'a> {
    pub(super) config: &'a RaftConfig,
    pub(super) log: &'a Log,
    pub(super) term: Term,
}

/// What a heartbeat's answer says.
pub(super) struct Heard {
    pub(super) round: u64,
    pub(super) commit_index: Index,
    pub(super) promised: Micros,
    pub(super) clock: Time,
    pub(super) provisional: bool,
}

/// What a follower says that refuses an append.
pub(super) struct Rejection {
    pub(super) rejected_index: Index,
    pub(super) hint_index: Index,
    pub(super) hint_term: Term,
    pub(super) provisional: bool,
}

impl Raft {
    /// Leader only: appends one command to the log, to be sent and made durable, stamped
    /// `wall` or the last entry's stamp if that is later. Returns its place.
    ///
    /// # Errors
    /// If this replica does not lead, or too many uncommitted bytes wait for a quorum already.
    /// The command is then not in the log and never will be.
    pub fn propose(
        &mut self,
        now: Time,
        wall: WallTime,
        payload: Bytes,
        output: &mut Output,
    ) -> Result<(Term, Index), ProposeError> {
        let Role::Leader(leader) = &self.role else {
            return Err(ProposeError::NotLeader { leader: self.leader() });
        };
        if let Some(transfer) = &leader.transfer {
            return Err(ProposeError::NotLeader { leader: Some(transfer.to) });
        }
        let waiting = self.log.uncommitted_bytes();
        // A payload larger than the limit passes alone: it could never pass otherwise.
        if waiting > 0 && waiting + payload.len() > self.config.uncommitted_bytes_max {
            return Err(ProposeError::Overloaded);
        }
        let (term, index) = (self.hard_state.term, self.log.last_index().next());
        let timestamp = wall.max(self.log.last_timestamp());
        let kind = EntryKind::Command;
        self.append_own(Entry { term, index, timestamp, kind, payload }, output);
        self.send_appends_to_all(now, output);
        Ok((term, index))
    }

    /// Appends an entry of this leader's own.
    pub(super) fn append_own(&mut self, entry: Entry, output: &mut Output) {
        let Role::Leader(leader) = &mut self.role else { unreachable!("only a leader appends") };
        self.membership.append(&entry);
        if self.config.has(Bug::LeaderCountsUnwritten) {
            leader.durable_index = entry.index;
        }
        hand_out(&entry, output);
        self.log.append(entry);
    }

    /// A log write is durable. On a leader it acknowledges the leader's own entries.
    ///
    /// The tag's term must be this leader's: within its own term it only appends, so that no
    /// completion can speak of an entry since replaced (A→B→A). A follower's acknowledgements
    /// travel in `messages_after_durable` and need no count here.
    pub(super) fn appended(&mut self, now: Time, term: Term, index: Index, output: &mut Output) {
        let last = self.log.last_index();
        if term != self.hard_state.term && !self.config.has(Bug::CompletionOfAnyTerm) {
            return;
        }
        let Role::Leader(leader) = &mut self.role else { return };
        assert!(index <= last, "durable up to {index}, but the log ends at {last}");
        leader.durable_index = leader.durable_index.max(index);
        if self.config.has(Bug::LateCompletionTakesBack) {
            leader.durable_index = index;
        }
        self.maybe_commit(now, output);
    }

    /// Commits what a quorum of each half has made durable, if it is of this term: earlier terms'
    /// entries never commit by counting.
    pub(super) fn maybe_commit(&mut self, now: Time, output: &mut Output) {
        let Role::Leader(leader) = &self.role else { return };
        let own = self.config.node;
        let matched = |node| {
            if node == own {
                return leader.durable_index;
            }
            leader.peer(node).map_or(Index::ZERO, |peer| peer.vouched_index)
        };
        let members = self.config.keepers(self.membership.current());
        let Some(index) = quorum::reached(&members, matched) else { return };
        let before = self.log.commit_index();
        let any_term = self.config.has(Bug::OldTermsCommitByCounting);
        if index > before && (any_term || self.log.matches(index, self.hard_state.term)) {
            self.commit_to(index, output);
            self.continue_reconfiguration(now, before, output);
        }
    }

    pub(super) fn handle_append_response(
        &mut self,
        now: Time,
        from: NodeId,
        match_index: Index,
        provisional: bool,
        output: &mut Output,
    ) {
        let Some((leader, sender)) = self.as_leader() else { return };
        let Some(peer) = leader.peer_mut(from) else { return };
        // Nobody can have what was never sent; believing it would commit it.
        if match_index > sender.log.last_index() {
            return;
        }
        let counts = !provisional || sender.config.has(Bug::ProvisionalAcksCount);
        peer.heard(now, !counts);
        let advanced = counts && peer.vouch(match_index);
        peer.acknowledge(now, match_index, sender.log.reach());
        sender.send_appends(peer, now, output);
        if advanced {
            self.maybe_commit(now, output);
            self.advance_transfer(from, output);
        }
        self.promote_if_caught_up(now, output);
    }

    pub(super) fn handle_append_reject(
        &mut self,
        now: Time,
        from: NodeId,
        Rejection { rejected_index, hint_index, hint_term, provisional }: Rejection,
        output: &mut Output,
    ) {
        let Some((leader, sender)) = self.as_leader() else { return };
        let Some(peer) = leader.peer_mut(from) else { return };
        peer.heard(now, provisional);
        let resume_after = sender.log.last_place_within(hint_index, hint_term);
        if sender.config.has(Bug::RefusalBelowMatch) {
            peer.next_index = resume_after.next();
        }
        if provisional {
            peer.forget_after(resume_after);
        }
        if peer.awaits_snapshot() && !sender.config.has(Bug::LostSnapshotStaysLost) {
            // It answers, and still lacks what only a snapshot has. Should the host believe that
            // it has sent one, that was lost.
            output.snapshots.push(SnapshotRequest { to: from });
        } else if peer.reject(rejected_index, resume_after) {
            sender.send_appends(peer, now, output);
        }
    }

    pub(super) fn handle_heartbeat_response(
        &mut self,
        now: Time,
        from: NodeId,
        Heard { round, commit_index, promised, clock, provisional }: Heard,
        output: &mut Output,
    ) {
        let Some((leader, sender)) = self.as_leader() else { return };
        let current_round = leader.reads.round();
        let begun_at = leader.reads.begun_at(round);
        let any = sender.config.has(Bug::AnyAnswerConfirmsReads);
        let round = if any { current_round } else { round };
        let Some(peer) = leader.peer_mut(from) else { return };
        peer.heard(now, provisional);
        peer.known_commit = commit_index;
        let keeps_pace = sender.config.lease.is_some_and(|lease| {
            let answer = Answer { heard_at: now, clock };
            peer.pace.compare(answer, begun_at, lease, sender.config.election_timeout)
                || sender.config.has(Bug::ClocksNotCompared)
        });
        let interval = sender.config.heartbeat_interval;
        let lost = sender.config.has(Bug::LostAppendsStayLost);
        if !lost && peer.heartbeat_answered(now, interval) == Resume::Ask {
            sender.ask(peer, now, output);
        }
        sender.send_appends(peer, now, output);
        if !provisional && round <= current_round && round > peer.round_acknowledged {
            peer.round_acknowledged = round;
            if keeps_pace && promised >= sender.config.election_timeout {
                peer.round_promised = round;
            }
            self.confirm_reads(output);
            if self.config.has(Bug::LeaseFromReceipt) {
                self.renew_lease(now);
            }
        }
    }

    pub(super) fn send_appends_to_all(&mut self, now: Time, output: &mut Output) {
        self.wake(now);
        let Some((leader, sender)) = self.as_leader() else { return };
        for peer in &mut leader.peers {
            sender.send_appends(peer, now, output);
        }
    }

    pub(super) fn send_due_heartbeats(&mut self, now: Time, output: &mut Output) {
        let Some((leader, sender)) = self.as_leader() else { return };
        let (round, awaited) = (leader.reads.round(), leader.reads.awaited_round());
        let asked = leader.successor_asked();
        for peer in &mut leader.peers {
            if now >= peer.heartbeat_due(sender.config.heartbeat_interval, awaited) {
                sender.send_heartbeat(peer, now, round, output);
                // A change of the members may have been appended since it was asked.
                let has_everything = peer.has_all(sender.log.last_index());
                let repeats = !sender.config.has(Bug::LostTransferHangs);
                if asked == Some(peer.node) && has_everything && repeats {
                    output.messages.push(sender.message(peer.node, MessageBody::TimeoutNow));
                }
            }
        }
    }

    /// The link to a follower was reset: what was on its way is to be asked for again, and a read
    /// it had forwarded was answered into the void.
    pub(super) fn reset_peer(&mut self, now: Time, node: NodeId, output: &mut Output) {
        if let Role::Leader(leader) = &mut self.role {
            leader.reads.forget(node);
            if leader.peer(node).is_none() {
                return;
            }
        }
        self.wake(now);
        let Some((leader, sender)) = self.as_leader() else { return };
        if let Some(peer) = leader.peer_mut(node) {
            peer.reset(sender.log.range());
            sender.send_appends(peer, now, output);
        }
    }
}

impl Sender<'_> {
    /// Sends what a follower lacks, as far as its window allows.
    pub(super) fn send_appends(&self, peer: &mut Progress, now: Time, output: &mut Output) {
        self.join_last(peer, output);
        while peer.may_send(self.config) {
            let previous_index = peer.next_index.previous();
            let Some(previous_term) = self.log.term_at(previous_index) else {
                if self.config.has(Bug::ForgottenEntriesNeedNoSnapshot) {
                    return;
                }
                return self.fetch(peer, now, output);
            };
            if previous_index == self.log.last_index() && !peer.is_probing() {
                return;
            }
            let (bytes_max, entries_max) =
                (self.config.message_bytes_max, self.config.message_entries_max);
            let mut entries = Vec::new();
            let bytes = self.log.read(peer.next_index, bytes_max, entries_max, &mut entries);
            let last_index = previous_index.plus(entries.len() as u64);
            peer.append_sent(now, last_index, bytes);
            let append = self.append(previous_index, previous_term, entries);
            output.messages.push(self.message(peer.node, append));
        }
    }

    /// Asks what became of the appends on their way: the answer to an empty one tells. While a
    /// snapshot is on its way, asks whether it has arrived.
    fn ask(&self, peer: &mut Progress, now: Time, output: &mut Output) {
        let next = peer.next_index;
        if next > self.log.base_index() || self.log.is_stored(next) && !peer.awaits_snapshot() {
            self.announce_commit(peer, output);
        } else if peer.awaits_snapshot() {
            output.messages.push(self.empty_append_at_base(peer.node));
        } else {
            Self::request_snapshot(peer, now, output);
        }
    }

    /// Says by an empty append how far the log is committed.
    pub(super) fn announce_commit(&self, peer: &Progress, output: &mut Output) {
        let previous_index = peer.next_index.previous();
        let append = match self.term_known(peer, previous_index) {
            Some(term) => self.empty_append(peer.node, (previous_index, term)),
            None => self.empty_append_at_base(peer.node),
        };
        output.messages.push(append);
    }

    fn empty_append_at_base(&self, to: NodeId) -> Message {
        let index = self.log.base_index();
        let term = self.log.term_at(index).expect("the base's is known");
        self.empty_append(to, (index, term))
    }

    fn empty_append(&self, to: NodeId, (previous_index, previous_term): (Index, Term)) -> Message {
        self.message(to, self.append(previous_index, previous_term, Vec::new()))
    }

    /// Sends a heartbeat. It commits no more than the follower is known to have: what else is in
    /// its log, this message proves nothing of (scylla#10578).
    pub(super) fn send_heartbeat(
        &self,
        peer: &mut Progress,
        now: Time,
        round: u64,
        output: &mut Output,
    ) {
        peer.heartbeat_sent(now);
        let unproven = self.config.has(Bug::HeartbeatCommitsUnproven);
        let proven = if unproven { self.log.last_index() } else { peer.match_index };
        let commit_index = self.log.commit_index().min(proven);
        let body = MessageBody::Heartbeat { commit_index, round };
        output.messages.push(self.message(peer.node, body));
    }

    pub(super) fn append(
        &self,
        previous_index: Index,
        previous_term: Term,
        entries: Vec<Entry>,
    ) -> MessageBody {
        let commit_index = self.log.commit_index();
        MessageBody::Append { previous_index, previous_term, commit_index, entries }
    }

    pub(super) fn request_snapshot(peer: &mut Progress, now: Time, output: &mut Output) {
        peer.become_snapshot(now);
        output.snapshots.push(SnapshotRequest { to: peer.node });
    }

    pub(super) fn message(&self, to: NodeId, body: MessageBody) -> Message {
        Message { from: self.config.node, to, term: self.term, body }
    }
}

/// Hands an entry to the host to be made durable. What it replaces, in this output, is taken back.
pub(super) fn hand_out(entry: &Entry, output: &mut Output) {
    while output.entries.pop_if(|waiting| waiting.index >= entry.index).is_some() {}
    output.entries.push(entry.clone());
}
