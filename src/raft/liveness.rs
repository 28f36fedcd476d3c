//! Who is alive, as told by a failure detector that all groups of a host share.
//!
//! Without one a follower guesses: a leader not heard from for an election timeout is taken for
//! dead. With one (`RaftConfig::shared_detector`) it is told, and need not hear anything:
//!
//! ```text
//!   PeerUp(leader, life) ── heard in that life ──▶ alive: no election, however long it is silent
//!                                                    │
//!        PeerDown, another life ─────────────────────┼──▶ lost: forget it, stand after a moment
//!        it asks for votes itself ───────────────────┤
//!        asked whether it leads, and no answer ──────┘
//! ```
//!
//! - *Alive* means up, a voter in this replica's configuration, and in the life in which it was
//!   heard as leader: a process that died and came back leads nothing. Should it have been bound
//!   to the wrong life by a message that was late, the process itself tells: who asks for votes
//!   in a later term does not lead.
//! - Silence is no evidence against a leader that is up, but a question without an answer is. The
//!   detector watches nodes; the group's own link, or the thread that serves it, may hang alone.
//!   A follower with reason to doubt asks (`WhoLeads`), and from then on waits no longer than one
//!   without a detector. It doubts when another member misses the leader too, when its own
//!   question was not answered, or when it has entries of which it was not told whether they are
//!   committed.
//! - A leader that is not up, or whose life is not known, is followed as without a detector.
//!
//! The detector may be late, and wrong for a while. That costs elections or time, never safety:
//! what was promised to a leader that reads by its lease stays promised (`lease`).
//!
//! Source: Scylla's `raft::failure_detector`; scylla#10379 and tikv#16429 for what goes wrong.

use super::planted::Bug;
use super::role::Role;
use super::{Message, MessageBody, Output, Raft};
use crate::base::{Micros, NodeId, Time};

/// What the failure detector said last of each node.
#[derive(Debug, Default)]
pub(super) struct Liveness {
    /// By node: the life it is in, or nothing while it is down. A node of which nothing was said
    /// is absent. Changed by `Input::PeerUp` and `Input::PeerDown` only.
    nodes: Vec<(NodeId, Option<u64>)>,
}

impl Liveness {
    /// The life a node is in, if it is known to be up.
    pub(super) fn life(&self, node: NodeId) -> Option<u64> {
        let at = self.position(node).ok()?;
        self.nodes[at].1
    }

    pub(super) fn is_up(&self, node: NodeId) -> bool {
        self.life(node).is_some()
    }

    /// Whether the detector has said so: of a node it has not spoken of yet, nothing is known.
    pub(super) fn is_down(&self, node: NodeId) -> bool {
        self.position(node).is_ok_and(|at| self.nodes[at].1.is_none())
    }

    /// Returns whether that is news.
    fn note(&mut self, node: NodeId, life: Option<u64>) -> bool {
        match self.position(node) {
            Ok(at) => std::mem::replace(&mut self.nodes[at].1, life) != life,
            Err(at) => {
                self.nodes.insert(at, (node, life));
                true
            }
        }
    }

    fn position(&self, node: NodeId) -> Result<usize, usize> {
        self.nodes.binary_search_by_key(&node, |known| known.0)
    }
}

impl Raft {
    /// A node can be reached, in this life. Its link is new, too.
    pub(super) fn peer_up(&mut self, now: Time, peer: NodeId, life: u64, output: &mut Output) {
        if !self.liveness.note(peer, Some(life)) {
            return;
        }
        self.peer_reset(now, peer, output);
        if !self.config.shared_detector {
            return;
        }
        let Role::Follower(follower) = &self.role else { return };
        match follower.leader {
            Some(leader) if leader != peer => {}
            Some(_) if self.config.has(Bug::AnotherLifeLeads) => {}
            Some(_) if follower.leader_life.is_some_and(|heard_in| heard_in != life) => {
                self.leader_lost(now, output);
            }
            // A leader in a quiet group says nothing by itself (scylla#10379).
            _ if self.may_address(now, peer) => self.ask_who_leads(peer, output),
            _ => {}
        }
    }

    /// A node cannot be reached any more.
    pub(super) fn peer_down(&mut self, now: Time, peer: NodeId, output: &mut Output) {
        if !self.liveness.note(peer, None) {
            return;
        }
        self.forwarding.reset(peer, output);
        match &mut self.role {
            Role::Follower(follower) if follower.leader == Some(peer) => {
                follower.reads.fail_all(output);
                if self.config.shared_detector && !self.config.has(Bug::QuietLeaderStays) {
                    self.leader_lost(now, output);
                }
            }
            Role::Leader(leader) => {
                leader.reads.forget(peer);
                if !self.has_live_quorum() {
                    self.wake(now);
                }
            }
            _ => {}
        }
    }

    /// Whether the leader is known to be alive, in the life it was heard in.
    pub(super) fn leader_is_alive(&self) -> bool {
        let Role::Follower(follower) = &self.role else { return false };
        let Some(leader) = follower.leader else { return false };
        self.config.shared_detector
            && follower.leader_life.is_some()
            && (follower.leader_life == self.liveness.life(leader)
                || self.config.has(Bug::QuietLeaderStays)
                || (self.liveness.is_up(leader) && self.config.has(Bug::AnotherLifeLeads)))
            && self.membership.current().is_voter(leader)
    }

    /// Whether nothing but news can make this follower stand: its leader lives, and what is here
    /// is known to be committed.
    pub(super) fn is_content(&self) -> bool {
        let Role::Follower(follower) = &self.role else { return false };
        !follower.doubts
            && self.log.commit_index() == self.log.last_index()
            && self.leader_is_alive()
    }

    /// The election timeout is over: a leader that lives is asked first.
    pub(super) fn miss_leader(&mut self, now: Time, output: &mut Output) {
        let doubts = matches!(&self.role, Role::Follower(follower) if follower.doubts);
        if !doubts && self.leader_is_alive() {
            self.doubt_leader(now, output);
        } else {
            self.campaign(now, output);
        }
    }

    /// There is reason to ask a leader that lives whether it still leads. Unless it answers within
    /// an election timeout, it is not waited for.
    pub(super) fn doubt_leader(&mut self, now: Time, output: &mut Output) {
        if !self.leader_is_alive() {
            return;
        }
        let election_at = now + self.random_election_timeout();
        let Role::Follower(follower) = &mut self.role else { return };
        let Some(leader) = follower.leader.filter(|_| !follower.doubts) else { return };
        follower.doubts = true;
        follower.election_at = election_at;
        self.ask_who_leads(leader, output);
    }

    /// Another member asks for votes, although this replica has a leader that lives: perhaps that
    /// one is not heard by anybody.
    pub(super) fn hear_of_missed_leader(&mut self, now: Time, output: &mut Output) {
        let Role::Follower(follower) = &self.role else { return };
        if now >= follower.heard_at + self.config.election_timeout {
            self.doubt_leader(now, output);
        }
    }

    /// Whether the sender, by asking for a leader or for votes, says that it leads no more.
    pub(super) fn is_abdication(&self, message: &Message) -> bool {
        let from_leader = self.leader() == Some(message.from);
        let term = self.hard_state.term;
        let says_so = match message.body {
            MessageBody::PreVote { .. } | MessageBody::Vote { .. } => message.term > term,
            // It may have asked before it was elected, but not in this term.
            MessageBody::WhoLeads => message.term >= term,
            _ => false,
        };
        from_leader && says_so
    }

    /// The leader is certainly gone. There is nothing to wait for but that others know it too;
    /// they should not all stand in the same moment.
    pub(super) fn leader_lost(&mut self, now: Time, output: &mut Output) {
        self.become_follower(now, None, output);
        let election_at = self.promised_until(now).unwrap_or(now) + self.moment();
        let Role::Follower(follower) = &mut self.role else { return };
        follower.election_at = election_at;
    }

    /// How long to wait before standing where the others know of the loss too: they take turns, a
    /// heartbeat interval each, so that they do not split the votes. None for whoever is preferred.
    pub(super) fn moment(&mut self) -> Micros {
        if self.config.preferred_leader == Some(self.config.node) {
            return Micros(0);
        }
        let interval = self.config.heartbeat_interval.0;
        let random = self.random.u64(0..(interval / 4).max(1));
        Micros(interval * self.place_in_line() + random + self.deference(None).0)
    }

    /// How many voters that may be alive stand before this one: each group has an order of its own,
    /// so that the groups of a lost node come to be led by all the others.
    fn place_in_line(&self) -> u64 {
        let group = u64::from(self.config.group.0);
        let turn = |node: NodeId| (node.0 ^ group).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let own = self.config.node;
        let others = self.membership.current().other_voters(own);
        let before = |&node: &NodeId| !self.liveness.is_down(node) && turn(node) < turn(own);
        others.filter(before).count() as u64
    }

    /// How much longer to wait for the sake of the node that ought to lead, `leader` having led:
    /// an election timeout, unless that node is down, or is the one being missed.
    pub(super) fn deference(&self, leader: Option<NodeId>) -> Micros {
        let electable = |&node: &NodeId| {
            node != self.config.node
                && Some(node) != leader
                && self.membership.current().is_voter(node)
                && !self.liveness.is_down(node)
        };
        let preferred = self.config.preferred_leader.filter(electable);
        preferred.map_or(Micros(0), |_| self.config.election_timeout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_node_never_spoken_of_nothing_is_known() {
        let mut liveness = Liveness::default();
        let (one, two) = (NodeId(1), NodeId(2));
        assert!(!liveness.is_up(one) && !liveness.is_down(one));
        assert!(liveness.note(two, Some(7)));
        assert!(!liveness.note(two, Some(7)), "no news");
        assert_eq!((liveness.life(two), liveness.life(one)), (Some(7), None));
        assert!(liveness.note(two, Some(8)), "another life");
        assert!(liveness.note(two, None) && liveness.is_down(two));
        assert!(liveness.note(one, None) && liveness.is_down(one));
    }
}
