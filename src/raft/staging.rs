//! Changes that let new voters catch up first.
//!
//! A voter that has nothing yet counts, and can acknowledge nothing for as long as it takes to send
//! it everything: three empty nodes in the place of three full ones would stop the group. So the
//! new nodes begin as learners, and the configuration itself notes what they are to be:
//!
//! ```text
//!   {1 2 3} ──▶ {1 2 3} + learners 4 5 6, voters to be {4 5 6}      staged; {1 2 3} decide alone
//!                    │ 4, 5 and 6 follow closely
//!                    ▼
//!               {1 2 3}→{4 5 6} ──▶ {4 5 6}                         one joint change, as always
//! ```
//!
//! - The note is in the log: a new leader goes on with the change.
//! - All new voters are to catch up; of those that stay, as many as make a majority of the voters to be.
//!   Were the others waited for, a lost node could not be replaced beside another that is down. But where
//!   most of the voters to be are down, or in doubt of what they have (`doubt`), the change would take the
//!   decision to those who cannot decide; and for good, if the leader is lost then: nobody is elected
//!   without their votes, and they doubt them until there is a leader.
//! - Learners follow closely when they answer appends and lack few entries. A load that never
//!   pauses must not hold a change up for ever, so that "few" is not "none". But they have the
//!   configuration that names them: one that does not know that it belongs to the group may leave it
//!   (a host's affair) just when it is to vote, and would be missed for good.
//! - A change of learners only needs no second half: the same voters decide before and after it.
//!
//! Source: thesis, section 4.2.1, which adds servers as non-voting members first; etcd's
//! `LearnersNext` is its opposite, voters that become learners when a joint change ends.

use super::progress::Progress;
use super::role::Role;
use super::{Configuration, Output, Raft, ReconfigureError, quorum};
use crate::base::{Index, NodeId, Term, Time, WallTime};

impl Raft {
    /// Leader only: makes `target` the group's configuration once its new voters have caught up.
    /// Returns the place of the first entry of the change; how far it is shows in `configuration`,
    /// which is `target` in the end.
    ///
    /// While the new voters catch up, only a change that keeps the voters is possible: it undoes
    /// this one; or `reconfigure` to the voters to be, which waits for them no longer.
    ///
    /// # Errors
    /// As for `reconfigure`.
    pub fn change_members(
        &mut self,
        now: Time,
        wall: WallTime,
        target: &Configuration,
        output: &mut Output,
    ) -> Result<(Term, Index), ReconfigureError> {
        self.check_target(target)?;
        let current = self.configuration();
        if current.is_staged() && target.voters != current.voters {
            return Err(ReconfigureError::UnderWay);
        }
        if target.voters == current.voters {
            return Ok(self.change_to(now, wall, target, output));
        }
        if self.could_decide(&target.voters) {
            return Ok(self.change_jointly(now, wall, target, output));
        }
        let staged = current.staged(target);
        staged.check()?;
        Ok(self.change_to(now, wall, &staged, output))
    }

    /// Carries a staged change out if everyone it waits for has caught up.
    pub(super) fn promote_if_caught_up(&mut self, now: Time, output: &mut Output) {
        let staged = self.configuration();
        if !staged.is_staged() || !self.may_promote() || !self.could_decide(&staged.voters_next) {
            return;
        }
        let target = staged.promoted();
        self.change_jointly(now, self.log.last_timestamp(), &target, output);
    }

    /// Whether this leader may begin a change of its own. Not while a successor waits for the last
    /// entry: that one will see to it.
    fn may_promote(&self) -> bool {
        let Role::Leader(leader) = &self.role else { return false };
        self.config.promote_learners
            && self.is_configuration_committed()
            && leader.transfer.is_none()
            && self.has_committed_in_term()
    }

    /// Whether these nodes could decide as well as those who do now: each that does not vote yet has
    /// caught up, and a majority of all.
    fn could_decide(&self, nodes: &[NodeId]) -> bool {
        let Role::Leader(leader) = &self.role else { return false };
        let (last_index, lag_max) = (self.log.last_index(), self.config.promotion_lag_max);
        let named_at = self.configuration_index();
        let follows = |node| {
            let closely = |peer: &Progress| {
                peer.follows_closely(last_index, lag_max) && peer.vouched_index >= named_at
            };
            let answers = leader.peer(node).is_some_and(closely) && !self.liveness.is_down(node);
            node == self.config.node || answers
        };
        let decide = quorum::reached(&Configuration::new(nodes.iter().copied()), follows);
        let new = nodes.iter().filter(|&&node| !self.configuration().is_incoming(node));
        decide == Some(true) && new.into_iter().all(|&node| follows(node))
    }
}

impl Configuration {
    /// This configuration while it prepares for `target`.
    fn staged(&self, target: &Self) -> Self {
        let new = target.voters.iter().filter(|&&node| !self.is_incoming(node));
        let mut learners: Vec<NodeId> = target.learners.iter().chain(new).copied().collect();
        learners.sort_unstable();
        let (voters, voters_next) = (self.voters.clone(), target.voters.clone());
        let incarnations = target.incarnations.clone();
        let staged = Self { voters, learners, voters_next, incarnations, ..Self::default() };
        staged.with_incarnations_of(self)
    }

    /// What is left of this configuration when the change under way is undone. Nodes that were to
    /// vote stay learners.
    #[must_use]
    pub fn without_staging(&self) -> Self {
        let stays = |node: &&NodeId| !self.is_incoming(**node);
        let learners = self.learners.iter().filter(stays).copied().collect();
        let voters = self.voters.clone();
        Self { voters, learners, ..Self::default() }.with_incarnations_of(self)
    }

    /// What a staged configuration prepares for.
    fn promoted(&self) -> Self {
        let voters = self.voters_next.clone();
        let stays = |node: &&NodeId| voters.binary_search(node).is_err();
        let learners = self.learners.iter().filter(stays).copied().collect();
        Self { voters, learners, ..Self::default() }.with_incarnations_of(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(ids: &[u64]) -> Vec<NodeId> {
        ids.iter().copied().map(NodeId).collect()
    }

    #[test]
    fn what_is_staged_is_what_was_asked_for() {
        let current = Configuration::new([1, 2, 3].map(NodeId));
        for (voters, learners) in
            [(&[4, 5, 6][..], &[][..]), (&[1, 2, 4], &[]), (&[2, 3, 4], &[1]), (&[3, 7], &[1, 9])]
        {
            let (voters, learners) = (nodes(voters), nodes(learners));
            let target = Configuration { voters, learners, ..Configuration::default() };
            let staged = current.staged(&target);
            assert_eq!(staged.check(), Ok(()), "{staged:?}");
            assert_eq!((&staged.voters, staged.is_joint()), (&current.voters, false));
            assert_eq!(staged.promoted(), target);
            let undone = staged.without_staging();
            assert_eq!((undone.check(), &undone.voters), (Ok(()), &current.voters));
        }
    }
}
