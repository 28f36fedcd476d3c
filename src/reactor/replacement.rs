//! Nodes that came back with another disk: which answers count, and how one takes another's place.
//!
//! The argument is `raft::replacement`'s. Here is the host's part: of a message that its receiver
//! counts (a vote, an acknowledgement) the sender must be the incarnation that the group's members
//! name, or, where they name none, the only one that was ever known of its node.

use super::Reactor;
use super::admin::{GroupReason, GroupRefusal, not_changed, refusal};
use crate::base::{Incarnation, Mistake, NodeId, Time, makes};
use crate::raft::{Configuration, Message};

impl Reactor {
    /// Whether a message is to reach a replica.
    pub(super) fn counts(&self, i: usize, message: &Message) -> bool {
        let configuration = self.replicas[i].raft.configuration();
        !message.body.is_counted()
            || makes(Mistake::AnyIncarnationCounts)
            || self.core.peers.identity(message.from).is_some_and(|(incarnation, first)| {
                configuration.counts(message.from, incarnation, first)
            })
    }

    /// Puts another incarnation of a node in the place of the one that is a member.
    pub(super) fn replace_member(
        &mut self,
        now: Time,
        i: usize,
        node: NodeId,
        incarnation: Incarnation,
    ) -> Result<(), GroupRefusal> {
        self.check_replaceable(i, node, incarnation)?;
        let wall = self.core.config.wall(now);
        let replica = self.touch(i);
        let output = &mut replica.output;
        let replaced = replica.raft.replace_member(now, wall, (node, incarnation), output);
        replaced.map(|_| ()).map_err(|error| not_changed(&error))
    }

    fn check_replaceable(
        &self,
        i: usize,
        node: NodeId,
        incarnation: Incarnation,
    ) -> Result<(), GroupRefusal> {
        let group = self.replicas[i].group;
        if self.core.map.node(node).is_none() {
            return Err(refusal(GroupReason::UnknownNode, format!("there is no {node}")));
        }
        if node == self.core.config.node {
            let message = format!("{node} leads {group}, with the disk it has");
            return Err(refusal(GroupReason::NodeUp, message));
        }
        if !self.replicas[i].raft.configuration().is_member(node) {
            let message = format!("{node} does not belong to {group}");
            return Err(refusal(GroupReason::NotAMember, message));
        }
        let known = self.core.peers.identity(node).filter(|_| self.core.peers.is_up(node));
        match known {
            Some((old, _)) if old != incarnation => {
                let message = format!("{node} is up as incarnation {old}");
                Err(refusal(GroupReason::NodeUp, message))
            }
            _ => Ok(()),
        }
    }

    /// Notes which incarnation each new member is: that one is taken in, and no other.
    pub(super) fn name_incarnations(&self, i: usize, target: &mut Configuration) {
        let (present, config) = (self.replicas[i].raft.configuration(), &self.core.config);
        let of = |node| {
            if present.is_member(node) {
                return present.incarnation_of(node);
            }
            let reached = self.core.peers.identity(node).map(|identity| identity.0);
            if node == config.node { Some(config.incarnation) } else { reached }
        };
        let named = target.members().filter_map(|node| Some((node, of(node)?)));
        target.incarnations = named.collect();
    }
}
