//! The follower's side of replication: taking entries in, and saying how far the logs agree.
//!
//! Every answer about the log waits for the disk. Entries are removed only where a term really
//! conflicts: a delayed append that ends early must not take away what came after it.
//!
//! Source: Raft, section 5.3 and figure 2, "`AppendEntries` RPC".

use super::planted::Bug;
use super::replication::hand_out;
use super::role::Role;
use super::{Configuration, Entry, EntryKind, MessageBody, Output, Raft};
use crate::base::{Index, NodeId, Term, Time};

impl Raft {
    pub(super) fn handle_append(
        &mut self,
        now: Time,
        from: NodeId,
        (previous_index, previous_term): (Index, Term),
        commit_index: Index,
        entries: Vec<Entry>,
        output: &mut Output,
    ) {
        if !self.is_well_formed(previous_index, previous_term, &entries) {
            return;
        }
        if !self.follow(now, from, output) {
            return;
        }
        let committed = self.log.commit_index();
        if previous_index < committed {
            if self.config.has(Bug::RefusesBelowCommit) {
                return self.reject(
                    from,
                    previous_index.max(self.log.base_index()),
                    previous_term,
                    output,
                );
            }
            // What is committed is in the leader's log too. A refusal here, where terms may be
            // forgotten, would send the leader back for ever (scylla#9552).
            return self.acknowledge(from, committed, output);
        }
        if !self.log.matches(previous_index, previous_term) {
            return self.reject(from, previous_index, previous_term, output);
        }
        let proven_index = previous_index.plus(entries.len() as u64);
        if !self.append_new(entries, output) {
            return;
        }
        // Not up to the log's end: beyond what this message proves, the rest of the log may be
        // another leader's (scylla#9965).
        let tail = self.config.has(Bug::FollowerCommitsItsTail);
        let provable = if tail { self.log.last_index() } else { proven_index };
        self.commit_to(commit_index.min(provable), output);
        let whole = self.config.has(Bug::AckOfWholeLog);
        let matching = if whole { self.log.last_index() } else { proven_index };
        self.acknowledge(from, matching, output);
    }

    pub(super) fn handle_heartbeat(
        &mut self,
        now: Time,
        from: NodeId,
        commit_index: Index,
        round: u64,
        output: &mut Output,
    ) {
        if !self.follow(now, from, output) {
            return;
        }
        // The leader commits only what this replica has acknowledged; were that gone, nothing
        // that is here instead may take its place. Nor while it may be gone.
        if commit_index <= self.log.last_index() && !self.is_provisional() {
            self.commit_to(commit_index, output);
        }
        let commit_index = self.log.commit_index();
        let promised = self.promised_span();
        let provisional = self.is_provisional();
        let clock = now;
        let body =
            MessageBody::HeartbeatResponse { round, commit_index, promised, clock, provisional };
        self.answer(from, body, output);
    }

    /// Follows the sender, who says it leads this term. Returns whether it can be so: a second
    /// leader in one term is nothing to believe in.
    fn follow(&mut self, now: Time, from: NodeId, output: &mut Output) -> bool {
        let election_at = now + self.election_timeout_after(Some(from));
        let life = self.liveness.life(from);
        self.waiters.postpone(now + self.patience());
        match &mut self.role {
            Role::Follower(follower) if follower.leader == Some(from) => {
                follower.heard_at = now;
                follower.election_at = election_at;
                follower.leader_life = follower.leader_life.or(life);
                follower.doubts = false;
            }
            Role::Follower(follower) if follower.leader.is_some() => return false,
            Role::Leader(_) => return false,
            _ => self.become_follower(now, Some(from), output),
        }
        self.promise(now, from);
        true
    }

    /// Appends what is not here yet, replacing from the first entry on whose term conflicts. Returns
    /// whether it can be so: stamps that fall are no leader's.
    fn append_new(&mut self, entries: Vec<Entry>, output: &mut Output) -> bool {
        let always = self.config.has(Bug::TruncatesWithoutConflict);
        let known = |entry: &Entry| !always && self.log.matches(entry.index, entry.term);
        let new_from = entries.iter().position(|entry| !known(entry));
        let Some(new_from) = new_from else { return true };
        let stamp_before = self.log.timestamp_at(entries[new_from].index.previous());
        if stamp_before.is_some_and(|before| entries[new_from].timestamp < before) {
            return false;
        }
        self.log.truncate_from(entries[new_from].index);
        if !self.config.has(Bug::ConfigurationNotRolledBack) {
            self.membership.truncate_from(entries[new_from].index);
        }
        for entry in entries.into_iter().skip(new_from) {
            hand_out(&entry, output);
            self.membership.append(&entry);
            self.log.append(entry);
        }
        true
    }

    pub(super) fn acknowledge(&self, to: NodeId, match_index: Index, output: &mut Output) {
        let provisional = self.is_provisional();
        let response = self.message(to, MessageBody::AppendResponse { match_index, provisional });
        if self.config.has(Bug::AckBeforeDurable) {
            return output.messages.push(response);
        }
        output.messages_after_durable.push(response);
    }

    /// Refuses an append, naming the last place here that could match: not past the entry asked
    /// for, and of no later term.
    fn reject(&self, to: NodeId, rejected_index: Index, term: Term, output: &mut Output) {
        let hint_index = rejected_index.min(self.log.last_index());
        let hint_index = self.log.last_place_within(hint_index, term);
        let hint_term = self.log.term_at(hint_index).expect("at the base or after it");
        let provisional = self.is_provisional();
        let body = MessageBody::AppendReject { rejected_index, hint_index, hint_term, provisional };
        if self.config.has(Bug::RejectBeforeDurable) {
            return output.messages.push(self.message(to, body));
        }
        output.messages_after_durable.push(self.message(to, body));
    }

    /// Whether entries can have come from a leader of this term's log. They come from outside:
    /// what is wrong with them must not become an assertion here.
    fn is_well_formed(
        &self,
        previous_index: Index,
        previous_term: Term,
        entries: &[Entry],
    ) -> bool {
        let mut index = previous_index;
        let mut term = previous_term;
        let mut timestamp = None;
        for entry in entries {
            let follows = index.0.checked_add(1) == Some(entry.index.0)
                && entry.term >= term
                && timestamp.is_none_or(|earlier| entry.timestamp >= earlier)
                && (entry.kind != EntryKind::Configuration
                    || Configuration::decode(&entry.payload).is_ok());
            if !follows {
                return false;
            }
            (index, term, timestamp) = (entry.index, entry.term, Some(entry.timestamp));
        }
        term <= self.hard_state.term
    }
}
