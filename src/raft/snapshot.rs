//! Snapshots, as far as Raft is concerned: where they stand in the log. Taking, moving and loading
//! them is the host's.
//!
//! A follower whose next entry is neither in memory nor on the disk (`old_entries`) is named in `Output::snapshots`. Until the host reports
//! failure, or the follower acknowledges a place that can be gone on from, nothing else is sent to
//! it but heartbeats and, once in an interval, the question how far it is; while the answer is
//! "not there", it is named again. So neither a lost snapshot nor a lost acknowledgement is final.

use super::membership::Membership;
use super::planted::Bug;
use super::role::Role;
use super::{Output, Raft, SnapshotMeta};
use crate::base::{Index, NodeId, Time};

impl Raft {
    /// Whether installing a snapshot that covers `index` would bring this replica forward. To be
    /// asked before the state machine is replaced: the log may have caught up meanwhile.
    pub fn wants_snapshot(&self, index: Index) -> bool {
        let leads = matches!(self.role, Role::Leader(_));
        let any = self.config.has(Bug::OldSnapshotInstalled);
        !leads && (any || index > self.log.commit_index())
    }

    /// The host has a snapshot of its own: what lies before `keep_from` is forgotten.
    pub(super) fn compacted(&mut self, snapshot: SnapshotMeta, keep_from: Index) {
        self.log.compact(snapshot, keep_from);
        self.membership.forget_before(self.log.base_index());
    }

    /// The host has replaced its state by a snapshot from the leader.
    ///
    /// # Panics
    /// If this replica does not want it (`wants_snapshot`): its state would go back in time.
    pub(super) fn snapshot_installed(
        &mut self,
        now: Time,
        from: NodeId,
        snapshot: SnapshotMeta,
        output: &mut Output,
    ) {
        let index = snapshot.index;
        assert!(self.wants_snapshot(index), "{:?} with {index}", self.role());
        if snapshot.term > self.hard_state.term {
            // It came from a leader of that term, whose messages this replica has not seen, or
            // forgot in a crash.
            self.adopt_term(now, snapshot.term, None, output);
        }
        self.settle_waiters_by_snapshot(&snapshot, output);
        if !self.config.has(Bug::SnapshotWithoutConfiguration) {
            self.membership = Membership::new(index, snapshot.configuration.clone());
        }
        if self.config.has(Bug::SnapshotKeepsTheLog) {
            self.log.begin_after(snapshot, true);
        } else {
            self.log.restore(snapshot);
        }
        self.log.after(index).for_each(|entry| self.membership.append(entry));
        // Entries given out before are no longer wanted; those that stay are given out again,
        // so that a host may simply begin its log anew.
        output.entries.clear();
        output.entries.extend(self.log.after(index).cloned());
        // What was to be applied is part of the new state.
        output.committed.clear();
        self.abandon_waiters_if_removed(output);
        let leader = self.leader().unwrap_or(from);
        self.keep_calm(now);
        self.acknowledge(leader, index, output);
    }

    /// The leader knows less of this replica than it sends: what is committed here is in its log.
    pub(super) fn snapshot_refused(&self, from: NodeId, output: &mut Output) {
        if self.leader() == Some(from) && from != self.config.node {
            self.acknowledge(from, self.log.commit_index(), output);
        }
    }

    /// Loading took its time, in which the leader's messages may have waited; or this replica could not
    /// stand until now.
    pub(super) fn keep_calm(&mut self, now: Time) {
        let election_at = now + self.random_election_timeout();
        if let Role::Follower(follower) = &mut self.role {
            follower.election_at = follower.election_at.max(election_at);
        }
    }

    pub(super) fn snapshot_failed(&mut self, now: Time, to: NodeId) {
        let Some((leader, sender)) = self.as_leader() else { return };
        let lost = sender.config.has(Bug::LostSnapshotStaysLost);
        if let Some(peer) = leader.peer_mut(to).filter(|_| !lost) {
            peer.snapshot_failed(now, sender.log.range());
        }
    }
}
