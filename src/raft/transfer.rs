//! Leadership transfer: the leader brings one voter up to date and tells it to stand at once.
//!
//! ```text
//!   transfer(to) ─▶ holds proposals ─▶ `to` has everything ─▶ TimeoutNow ─▶ `to` wins, or
//!                        └───────────── an election timeout passes ───────▶ goes on leading
//! ```
//!
//! The request is repeated with every heartbeat, since it can be lost; and the whole is given up
//! after an election timeout, since the one asked may never answer: held proposals must not hang
//! (openraft#1747). Proposals meanwhile are refused with the successor's name.
//!
//! Source: thesis, section 3.10.

use super::planted::Bug;
use super::replica::NEVER;
use super::role::{Leader, Role};
use super::{MessageBody, Output, Raft, TransferError};
use crate::base::{NodeId, Time};

/// A transfer under way. Lives in the leader's role: it ends with it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Transfer {
    /// Who is to lead.
    pub(super) to: NodeId,
    /// When to give up.
    pub(super) deadline: Time,
    /// Whether it was told to stand; not before it has every entry.
    asked: bool,
}

impl Raft {
    /// Leader only: hands the leadership to another voter. Whether it worked shows in `role`; after
    /// an election timeout without success this replica takes proposals again.
    ///
    /// # Errors
    /// If this replica does not lead, `to` is no voter or in doubt, or another transfer is under way. Nothing
    /// was started then.
    pub fn transfer(
        &mut self,
        now: Time,
        to: NodeId,
        output: &mut Output,
    ) -> Result<(), TransferError> {
        let leader = self.leader();
        let voter = self.configuration().is_incoming(to);
        let hangs = self.config.has(Bug::LostTransferHangs);
        let deadline = if hangs { NEVER } else { now + self.config.election_timeout };
        let Role::Leader(role) = &mut self.role else {
            return Err(TransferError::NotLeader { leader });
        };
        if let Some(transfer) = role.transfer {
            return Err(TransferError::UnderWay { to: transfer.to });
        }
        let in_doubt = role.peer(to).is_some_and(|peer| peer.in_doubt);
        if !voter || to == self.config.node || in_doubt {
            return Err(TransferError::NotAnotherVoter);
        }
        role.transfer = Some(Transfer { to, deadline, asked: false });
        self.wake(now);
        self.advance_transfer(to, output);
        Ok(())
    }

    /// Leader only: who is being made ready to lead, while a transfer is under way.
    pub fn transfer_target(&self) -> Option<NodeId> {
        let Role::Leader(leader) = &self.role else { return None };
        leader.transfer.map(|transfer| transfer.to)
    }

    /// Leader only: how many entries `node` is not known to have; nothing if it is no member.
    pub fn lag(&self, node: NodeId) -> Option<u64> {
        self.match_index(node).map(|matched| self.log.last_index().0 - matched.0)
    }

    /// Leader only: of the other voters that `is_live`, as far as the host knows, the one that
    /// lacks least: whom to hand the leadership to before shutting down.
    pub fn successor(&self, is_live: impl Fn(NodeId) -> bool) -> Option<NodeId> {
        let Role::Leader(leader) = &self.role else { return None };
        let may = |node| self.configuration().is_incoming(node) && is_live(node);
        let voters = leader.peers.iter().filter(|peer| may(peer.node) && !peer.in_doubt);
        // Of equals the first, so that the choice is the same in every run.
        voters.rev().max_by_key(|peer| peer.vouched_index).map(|peer| peer.node)
    }

    /// The successor has everything now, perhaps: then it may stand.
    pub(super) fn advance_transfer(&mut self, peer: NodeId, output: &mut Output) {
        let Some((leader, sender)) = self.as_leader() else { return };
        let Leader { transfer: Some(transfer), peers, .. } = leader else { return };
        let caught_up = |last| {
            sender.config.has(Bug::TransferToLaggingVoter)
                || peers.iter().any(|p| p.node == peer && p.has_all(last))
        };
        if transfer.to == peer && !transfer.asked && caught_up(sender.log.last_index()) {
            transfer.asked = true;
            leader.lease.revoke();
            output.messages.push(sender.message(peer, MessageBody::TimeoutNow));
        }
    }

    /// Gives up a transfer that took too long. One who is out of the group does not lead on.
    pub(super) fn expire_transfer(&mut self, now: Time, output: &mut Output) {
        let Role::Leader(leader) = &mut self.role else { return };
        let expired = leader.transfer.take_if(|transfer| transfer.deadline <= now);
        if expired.is_none() {
            return;
        }
        if self.may_stand() {
            self.promote_if_caught_up(now, output);
        } else {
            self.become_follower(now, None, output);
        }
    }
}

impl Leader {
    /// Who was told to stand, and is to be told again while nothing comes of it.
    pub(super) fn successor_asked(&self) -> Option<NodeId> {
        self.transfer.filter(|transfer| transfer.asked).map(|transfer| transfer.to)
    }
}
