//! A member comes back with an empty disk: another *incarnation* of the same node.
//!
//! What the old disk held is gone: entries it acknowledged, votes it gave. So the new incarnation may
//! not count where the old one counts, until a quorum that needs neither has the whole log:
//!
//! ```text
//!   {1 2 3}          ──▶ {1 3} + learner 2!N, voters to be {1 2 3} ──caught up──▶ {1 2 3}  2!N
//!   2 lost its disk       committed by 1 and 3: the old 2 is out                  the new one votes
//! ```
//!
//! The first change is a joint one like any other, and staged at once: leaders to come go on with it,
//! and nobody else needs to remember that the node voted. A member that does not vote, counting
//! nowhere, is replaced by one change without a second half. Where a change is staged already, that is the
//! one that goes on.
//!
//! **Why no vote or acknowledgement of the old incarnation counts together with one of the new.** A
//! server, in Raft's sense, is a node in one incarnation. The configuration says which one counts, and
//! the host gives a replica no answer (vote, acknowledgement) of another ([`Configuration::counts`]).
//! So old and new are two servers, and this is a change that takes one out and later another in, as
//! safe as any.
//!
//! What is left is what the new incarnation believes of itself. With an empty disk it may take itself
//! for the old one, which the first configuration named, and stand by a configuration older than R,
//! the one without it. It needs a majority of that: ⌊n/2⌋ others of the n voters there were. R was
//! committed by ⌊(n−1)/2⌋+1 of the n−1 others; together n, so one of them is asked, and refuses: its
//! log has R. So the host lets an incarnation in that it did not know when R is committed, and not
//! before. And where a host starts what is blank in doubt, it neither stands nor votes until R tells it
//! by its name that it is another (`doubt`): then no host needs to remember whom it has met.
//!
//! Where R finds no quorum, nothing is left to replace a member with; see `lost_quorum`.
//!
//! Source: thesis, section 4.1 and 4.2.1; that a server may not come back without its disk is Raft,
//! section 5.1 ("persistent state on all servers"), the way out of it is ours.

use super::{Configuration, ConfigurationError, Output, Raft, ReconfigureError};
use crate::base::{Incarnation, Index, NodeId, Term, Time, WallTime};

impl Raft {
    /// Leader only: puts another incarnation in the place of a member, which receives the log from
    /// its beginning and, if it voted, votes again once it has caught up. Returns the place of the
    /// first entry of the change.
    ///
    /// # Errors
    /// As for `change_members`; `NoChange` if that incarnation is the one that counts already, or if
    /// the node is no member.
    pub fn replace_member(
        &mut self,
        now: Time,
        wall: WallTime,
        (node, incarnation): (NodeId, Incarnation),
        output: &mut Output,
    ) -> Result<(Term, Index), ReconfigureError> {
        // A change that waits goes on after this one. It may wait for this very node.
        self.check_may_change(|_| false)?;
        let current = self.configuration();
        if !current.is_member(node) || current.incarnation_of(node) == Some(incarnation) {
            return Err(ReconfigureError::NoChange);
        }
        let voted = current.is_incoming(node);
        let target = current.replaced(node, incarnation);
        target.check()?;
        if voted {
            return Ok(self.change_jointly(now, wall, &target, output));
        }
        Ok(self.change_to(now, wall, &target, output))
    }
}

impl Configuration {
    /// Whether answers of `node` in this incarnation count. `first`: it is the only one of that node
    /// which the host ever knew; where the configuration names none, that is the one meant.
    ///
    /// During the joint change that puts the old one out neither counts: the old voters' half means
    /// the old one, and the name is the new one's already.
    pub fn counts(&self, node: NodeId, incarnation: Incarnation, first: bool) -> bool {
        let replaced = self.is_joint() && self.is_staged() && !self.is_incoming(node);
        match self.incarnation_of(node) {
            Some(known) => known == incarnation && !(replaced && self.is_voter(node)),
            None => first,
        }
    }

    /// This configuration with another incarnation of a member; one that votes becomes a learner
    /// that is to vote, unless a change that waits has other plans.
    fn replaced(&self, node: NodeId, incarnation: Incarnation) -> Self {
        let mut target = self.clone();
        if self.is_incoming(node) {
            if !self.is_staged() {
                target.voters_next.clone_from(&self.voters);
            }
            target.voters.retain(|&voter| voter != node);
            if let Err(at) = target.learners.binary_search(&node) {
                target.learners.insert(at, node);
            }
        }
        target.incarnations.retain(|known| known.0 != node);
        let at = target.incarnations.partition_point(|known| known.0 < node);
        target.incarnations.insert(at, (node, incarnation));
        target
    }

    /// Whether nobody who belongs to this configuration votes in `target` as another incarnation.
    pub(super) fn check_incarnations_kept(&self, target: &Self) -> Result<(), ConfigurationError> {
        let other = |&&node: &&NodeId| {
            self.is_member(node) && self.incarnation_of(node) != target.incarnation_of(node)
        };
        match target.voters.iter().find(other) {
            Some(&node) => Err(ConfigurationError::OtherIncarnation(node)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(ids: &[u64]) -> Vec<NodeId> {
        ids.iter().copied().map(NodeId).collect()
    }

    #[test]
    fn who_voted_is_to_vote_again_and_who_did_not_is_not() {
        let (voters, learners) = (nodes(&[1, 2, 3]), nodes(&[4]));
        let current = Configuration { voters, learners, ..Configuration::default() };
        let voter = current.replaced(NodeId(2), Incarnation(7));
        assert_eq!(voter.check(), Ok(()));
        let lists = (&voter.voters, &voter.learners, &voter.voters_next);
        assert_eq!(lists, (&nodes(&[1, 3]), &nodes(&[2, 4]), &nodes(&[1, 2, 3])));
        let again = voter.replaced(NodeId(2), Incarnation(8));
        assert_eq!(again, Configuration { incarnations: again.incarnations.clone(), ..voter });
        assert_eq!(again.incarnation_of(NodeId(2)), Some(Incarnation(8)));
        let learner = current.replaced(NodeId(4), Incarnation(9));
        assert_eq!((&learner.voters, learner.is_staged()), (&current.voters, false));
    }

    #[test]
    fn a_change_that_waits_goes_on() {
        let lists = |waits: &[u64], learners: &[u64]| {
            let (voters, learners) = (nodes(&[1, 2, 3]), nodes(learners));
            let voters_next = nodes(waits);
            let staged = Configuration { voters, learners, voters_next, ..Default::default() };
            assert_eq!(staged.check(), Ok(()));
            let replaced = staged.replaced(NodeId(2), Incarnation(7));
            assert_eq!(replaced.check(), Ok(()));
            (replaced.voters, replaced.learners, replaced.voters_next)
        };
        let replaced =
            |learners: &[u64], next: &[u64]| (nodes(&[1, 3]), nodes(learners), nodes(next));
        assert_eq!(lists(&[2], &[]), replaced(&[2], &[2]));
        assert_eq!(lists(&[1, 2, 4], &[4]), replaced(&[2, 4], &[1, 2, 4]));
        assert_eq!(lists(&[1, 3], &[2]), replaced(&[2], &[1, 3]));
        assert_eq!(lists(&[3, 4], &[4]), replaced(&[2, 4], &[3, 4]));
    }

    #[test]
    fn the_incarnation_that_is_named_counts_and_else_the_first() {
        let n2 = NodeId(2);
        let three = Configuration::new([1, 2, 3].map(NodeId));
        assert!(three.counts(n2, Incarnation(5), true) && !three.counts(n2, Incarnation(7), false));
        let staged = three.replaced(n2, Incarnation(7));
        assert!(
            staged.counts(n2, Incarnation(7), false) && !staged.counts(n2, Incarnation(5), true)
        );
        let joint = Configuration { outgoing: three.voters.clone(), ..staged };
        assert!(
            !joint.counts(n2, Incarnation(7), false) && !joint.counts(n2, Incarnation(5), true)
        );
        assert!(joint.counts(NodeId(3), Incarnation(1), true));
    }

    #[test]
    fn the_only_voter_cannot_be_replaced() {
        let alone = Configuration::new([NodeId(1)]).replaced(NodeId(1), Incarnation(7));
        assert_eq!(alone.check(), Err(ConfigurationError::NoVoters));
    }

    #[test]
    fn a_voter_does_not_turn_into_another_incarnation() {
        let three = Configuration::new([1, 2, 3].map(NodeId));
        let known = |incarnation| Configuration {
            incarnations: vec![(NodeId(2), Incarnation(incarnation))],
            ..three.clone()
        };
        let error = Err(ConfigurationError::OtherIncarnation(NodeId(2)));
        assert_eq!(three.check_incarnations_kept(&known(7)), error);
        assert_eq!(known(7).check_incarnations_kept(&known(8)), error);
        assert_eq!(
            known(7).check_incarnations_kept(&three),
            error,
            "nor does it forget which it is"
        );
        assert_eq!(known(7).check_incarnations_kept(&known(7)), Ok(()));
        let other = Configuration::new([1, 3].map(NodeId));
        assert_eq!(other.check_incarnations_kept(&known(7)), Ok(()), "it comes as that");
    }
}
