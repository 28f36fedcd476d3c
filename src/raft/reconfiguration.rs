//! Changing who belongs to the group: always through a joint configuration, any number of nodes at
//! once.
//!
//! ```text
//!   C_old ──joint (C_new, C_old) appended──▶ both must agree ──committed──▶ C_new appended ──▶ C_new
//! ```
//!
//! - Each is in force from the moment it is appended (`membership`).
//! - One change at a time, and none before the leader has committed in its term: an older change
//!   that it does not know to be committed could still be undone.
//! - The leader leaves the joint configuration by itself; a new leader that finds one does so too.
//! - Whoever is not in `C_new` receives the log until that is committed, and so learns of it.
//! - A leader that is not in `C_new` leads until that is committed, does not count itself, and
//!   then hands over.
//!
//! New voters count at once; `staging` lets them catch up first.
//!
//! Source: thesis, section 4.3, and Raft, section 6.

use super::planted::Bug;
use super::progress::Progress;
use super::role::Role;
use super::{Configuration, ConfigurationError, Entry, EntryKind, Output, Raft, ReconfigureError};
use crate::base::{Index, NodeId, Term, Time, WallTime};

impl Raft {
    /// Leader only: makes `target` the group's configuration, whether or not its new voters have
    /// caught up. Returns the place of the first of the two entries; the change is done when the
    /// second, which this replica appends when the first is committed, is committed too.
    ///
    /// A staged change gives way to one that keeps the voters, and is so undone, or that makes its
    /// voters to be the voters at once.
    ///
    /// # Errors
    /// If this replica does not lead, has not committed in its term, hands its leadership over, or
    /// another change is under way; or if `target` is no configuration or the one in force. Nothing
    /// was started then.
    pub fn reconfigure(
        &mut self,
        now: Time,
        wall: WallTime,
        target: &Configuration,
        output: &mut Output,
    ) -> Result<(Term, Index), ReconfigureError> {
        self.check_target(target)?;
        Ok(self.change_jointly(now, wall, target, output))
    }

    /// Appends the joint configuration that leads to `target`.
    pub(super) fn change_jointly(
        &mut self,
        now: Time,
        wall: WallTime,
        target: &Configuration,
        output: &mut Output,
    ) -> (Term, Index) {
        let current = self.configuration();
        let joint = Configuration { outgoing: current.voters.clone(), ..target.clone() };
        let joint = joint.with_incarnations_of(current);
        self.change_to(now, wall, &joint, output)
    }

    /// Appends a configuration, in force from now on.
    pub(super) fn change_to(
        &mut self,
        now: Time,
        wall: WallTime,
        configuration: &Configuration,
        output: &mut Output,
    ) -> (Term, Index) {
        let timestamp = wall.max(self.log.last_timestamp());
        let index = self.append_configuration(configuration, timestamp, output);
        self.configuration_changed(now, output);
        (self.hard_state.term, index)
    }

    /// Leader only: up to where a member's log is known to equal this one's, durably.
    pub fn match_index(&self, node: NodeId) -> Option<Index> {
        let Role::Leader(leader) = &self.role else { return None };
        leader.peer(node).map(|peer| peer.match_index)
    }

    pub(super) fn check_target(&self, target: &Configuration) -> Result<(), ReconfigureError> {
        self.check_may_change(|current| {
            current.is_staged()
                && target.voters != current.voters
                && target.voters != current.voters_next
        })?;
        target.check()?;
        if target.is_joint() || target.is_staged() {
            return Err(ConfigurationError::Joint.into());
        }
        let current = self.configuration();
        current.check_incarnations_kept(target)?;
        if target == current {
            return Err(ReconfigureError::NoChange);
        }
        Ok(())
    }

    /// Whether a change may begin here and now; `staged_other`: whether one that is staged stands in
    /// its way.
    pub(super) fn check_may_change(
        &self,
        staged_other: impl Fn(&Configuration) -> bool,
    ) -> Result<(), ReconfigureError> {
        let Role::Leader(leader) = &self.role else {
            return Err(ReconfigureError::NotLeader { leader: self.leader() });
        };
        if let Some(transfer) = &leader.transfer {
            return Err(ReconfigureError::NotLeader { leader: Some(transfer.to) });
        }
        if !self.has_committed_in_term() && !self.config.has(Bug::ChangeBeforeCommitInTerm) {
            return Err(ReconfigureError::NotReady);
        }
        let current = self.configuration();
        let under_way =
            !self.is_configuration_committed() || current.is_joint() || staged_other(current);
        if under_way && !self.config.has(Bug::TwoChangesAtOnce) {
            return Err(ReconfigureError::UnderWay);
        }
        Ok(())
    }

    /// The leader's commit index rose from `before`: a change may go on.
    pub(super) fn continue_reconfiguration(
        &mut self,
        now: Time,
        before: Index,
        output: &mut Output,
    ) {
        if !self.is_configuration_committed() {
            return;
        }
        if self.configuration().is_joint() {
            let joint = self.configuration();
            let target = Configuration { outgoing: Vec::new(), ..joint.clone() };
            let target = target.with_incarnations_of(joint);
            self.change_to(now, self.log.last_timestamp(), &target, output);
            return;
        }
        if self.membership.current_index() > before {
            self.say_goodbye(output);
            self.update_peers(now);
            self.hand_over_if_removed(now, output);
        }
        self.promote_if_caught_up(now, output);
    }

    /// Tells those who are out that it is final: who knows it never stands again. An append tells,
    /// since it proves what it commits; acknowledgements may be on their way still.
    fn say_goodbye(&mut self, output: &mut Output) {
        let members: Vec<NodeId> = self.configuration().members().collect();
        let Some((leader, sender)) = self.as_leader() else { return };
        for peer in leader.peers.iter().filter(|peer| !members.contains(&peer.node)) {
            sender.announce_commit(peer, output);
        }
    }

    fn append_configuration(
        &mut self,
        configuration: &Configuration,
        timestamp: WallTime,
        output: &mut Output,
    ) -> Index {
        let (term, index) = (self.hard_state.term, self.log.last_index().next());
        let payload = configuration.encode();
        let kind = EntryKind::Configuration;
        self.append_own(Entry { term, index, timestamp, kind, payload }, output);
        index
    }

    /// Another configuration is in force on this leader. What waits for a quorum may have one now,
    /// or must ask others.
    fn configuration_changed(&mut self, now: Time, output: &mut Output) {
        if let Role::Leader(leader) = &mut self.role {
            leader.lease.end();
        }
        self.update_peers(now);
        self.send_appends_to_all(now, output);
        self.ask_again_for_reads(now, output);
        self.confirm_reads(output);
        self.maybe_commit(now, output);
    }

    /// Keeps one progress for each member; and for each of those before, until the configuration in
    /// force is committed: they are to learn that they are out.
    fn update_peers(&mut self, now: Time) {
        let wanted = self.wanted_peers();
        let last_index = self.log.last_index();
        let members = self.membership.current();
        let Role::Leader(leader) = &mut self.role else { return };
        leader.peers.retain(|peer| {
            // Another incarnation has nothing of what the one before had.
            let replaced = members.incarnation_of(peer.node) != peer.incarnation;
            wanted.contains(&peer.node) && !(replaced && members.is_member(peer.node))
        });
        for node in wanted {
            if let Err(at) = leader.peers.binary_search_by_key(&node, |peer| peer.node) {
                let incarnation = members.incarnation_of(node);
                let peer = Progress::new(node, last_index, now).of(incarnation);
                leader.peers.insert(at, peer);
            }
        }
    }

    /// All to whom this replica sends its log as leader, in order.
    pub(super) fn wanted_peers(&self) -> Vec<NodeId> {
        let own = self.config.node;
        let mut nodes: Vec<NodeId> = self.configuration().others(own).collect();
        if !self.is_configuration_committed()
            && let Some(previous) = self.membership.previous()
        {
            nodes.extend(previous.others(own));
            nodes.sort_unstable();
            nodes.dedup();
        }
        nodes
    }

    /// A leader that is out hands over, and steps down where nobody can take over.
    fn hand_over_if_removed(&mut self, now: Time, output: &mut Output) {
        let stays = self.config.has(Bug::RemovedLeaderStays);
        if stays || self.configuration().is_voter(self.config.node) {
            return;
        }
        let successor = self.successor(|_| true);
        let started = successor.is_some_and(|to| self.transfer(now, to, output).is_ok());
        if !started {
            self.become_follower(now, None, output);
        }
    }
}
