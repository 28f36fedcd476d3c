//! Quiet groups: a group with nothing to do sends nothing, so that a node can hold thousands.
//!
//! ```text
//!   awake ──a tick finds nothing to do──▶ quiet: no heartbeats, no deadline, anywhere
//!     ▲                                     │
//!     └── proposal, read, message, node up, live quorum lost ──┘
//! ```
//!
//! - Nothing to do means: every follower that is up has all entries and knows them all to be
//!   committed, and no read, transfer or change is under way. A follower that is down keeps nobody
//!   awake; when it comes up it is probed.
//! - Only with a shared failure detector (`liveness`): it keeps the followers calm, and it stands
//!   in for check-quorum. A quiet leader that loses its live quorum wakes, and steps down unless
//!   it is answered within an election timeout (tikv#16429: a partitioned leader of a quiet group
//!   must be replaced).
//! - On waking everyone counts as just heard: silence while nothing was asked means nothing.
//! - A silent leader must be findable: a member without one asks everybody, and it answers with a
//!   heartbeat (scylla#10379). So it does where a member that missed it asks for votes.

use super::role::Role;
use super::{MessageBody, Output, Raft, quorum};
use crate::base::{NodeId, Time};

impl Raft {
    /// At a leader's tick: falls silent if there is nothing to do. Returns whether it is silent.
    pub(super) fn maybe_fall_silent(&mut self, now: Time) -> bool {
        let quiet = self.has_nothing_to_do();
        if !quiet {
            self.wake(now);
        } else if let Role::Leader(leader) = &mut self.role {
            leader.quiet = true;
        }
        quiet
    }

    /// Something happens: a quiet leader makes itself heard again, and counts from now on.
    pub(super) fn wake(&mut self, now: Time) {
        if let Role::Leader(leader) = &mut self.role
            && std::mem::take(&mut leader.quiet)
        {
            leader.peers.iter_mut().for_each(|peer| peer.wake(now));
        }
    }

    /// Whether a quorum of each half is up, this replica counted.
    pub(super) fn has_live_quorum(&self) -> bool {
        let up = |node| node == self.config.node || self.liveness.is_up(node);
        quorum::reached(self.membership.current(), up) == Some(true)
    }

    /// Asks a member whether it leads.
    pub(super) fn ask_who_leads(&self, to: NodeId, output: &mut Output) {
        self.answer(to, MessageBody::WhoLeads, output);
    }

    /// A leader is needed and none known: asks every voter, but not again before the next interval.
    pub(super) fn look_for_leader(&mut self, now: Time, output: &mut Output) {
        let interval = self.config.heartbeat_interval;
        let Role::Follower(follower) = &mut self.role else { return };
        let asked_lately = follower.searched_at.is_some_and(|asked| now < asked + interval);
        if !self.config.shared_detector || follower.leader.is_some() || asked_lately {
            return;
        }
        follower.searched_at = Some(now);
        for voter in self.membership.current().other_voters(self.config.node) {
            self.ask_who_leads(voter, output);
        }
    }

    /// Tells one who misses its leader that there is one. Nothing if this replica does not lead, or
    /// need not be looked for.
    pub(super) fn show_leadership(&mut self, now: Time, to: NodeId, output: &mut Output) {
        if !self.config.shared_detector {
            return;
        }
        self.wake(now);
        let Some((leader, sender)) = self.as_leader() else { return };
        let round = leader.reads.round();
        if let Some(peer) = leader.peer_mut(to) {
            sender.send_heartbeat(peer, now, round, output);
        }
    }

    fn has_nothing_to_do(&self) -> bool {
        let Role::Leader(leader) = &self.role else { return false };
        let last = self.log.last_index();
        let settled = |peer: &super::progress::Progress| {
            !self.liveness.is_up(peer.node) || peer.has_all(last) && peer.known_commit == last
        };
        self.config.shared_detector
            && self.log.commit_index() == last
            && !self.membership.current().is_joint()
            && leader.transfer.is_none()
            && leader.reads.awaited_round().is_none()
            && leader.peers.iter().all(settled)
            && self.has_live_quorum()
    }
}
