//! An administrator who lets nodes in again that lost their disks, as `sunstar ctl member replace` does.
//!
//! ```text
//!   each group: the old incarnation is out, the new one a learner that is to vote     (committed)
//!   any other node: the new incarnation is let in, which the others are told by its failure detector
//!   each group: it has caught up and votes
//! ```
//! The order is the safety: `io::replacement` says why.

use std::collections::BTreeMap;

use super::letter::Letter;
use super::world::World;
use crate::base::{GroupId, Incarnation, NodeId};
use crate::placement::ShardMap;
use crate::reactor::{AdminOutcome, GroupMembers, GroupOperation, Input};

/// In every ticket of an administrator who replaces nodes.
const TICKET: u64 = 1 << 63;

/// What an administrator was told who replaces nodes.
#[derive(Debug, Default)]
pub(super) struct Replacements {
    /// Of each group, what it said with the most entries committed.
    members: BTreeMap<GroupId, GroupMembers>,
}

impl Replacements {
    fn hear(&mut self, told: GroupMembers) {
        let known = self.members.get(&told.group);
        let place = |members: &GroupMembers| (members.term, members.commit_index);
        if known.is_none_or(|known| place(known) <= place(&told)) {
            self.members.insert(told.group, told);
        }
    }

    /// Whether a group has committed that this incarnation is the one that counts.
    fn names(&self, group: GroupId, node: NodeId, incarnation: Incarnation) -> bool {
        self.members.get(&group).is_some_and(|members| {
            let named = members.incarnations.get(&node) == Some(&incarnation);
            named && members.committed && members.outgoing.is_empty()
        })
    }

    fn votes(&self, group: GroupId, node: NodeId) -> bool {
        self.members.get(&group).is_some_and(|members| members.voters.contains(&node))
    }
}

impl World {
    /// Takes the replacement of a node a step further. Returns whether all is done.
    pub(super) fn replace(&mut self, node: NodeId) -> bool {
        let process = self.nodes.get(&node).and_then(|node| node.process.as_ref());
        let Some(incarnation) = process.map(|process| process.incarnation) else { return false };
        let groups = self.out.map.all_groups().filter(|group| group.members.contains(&node));
        let groups: Vec<GroupId> = groups.map(|group| group.id).collect();
        for &group in &groups {
            self.ask(group, GroupOperation::Replace { node, incarnation });
            self.ask(group, GroupOperation::Members {});
        }
        let replacements = &self.ward.replacements;
        if !groups.iter().all(|&group| replacements.names(group, node, incarnation)) {
            return false;
        }
        if !self.let_in_somewhere(node, incarnation) {
            return false;
        }
        // Were the only one lost that knows it, the others would refuse it, though it votes.
        let mut others = self.nodes.values().filter(|other| other.id != node);
        others.all(|other| other.counts(node, incarnation))
            && groups.iter().all(|&group| self.ward.replacements.votes(group, node))
    }

    /// Any other node lets a new disk in: the others hear of it from there. Returns whether it counts there.
    fn let_in_somewhere(&mut self, node: NodeId, incarnation: Incarnation) -> bool {
        let others: Vec<NodeId> =
            self.nodes.keys().copied().filter(|&other| other != node).collect();
        let Some(by) = self.ward.random.choice(others) else { return false };
        let Self { nodes, out, .. } = self;
        nodes.get_mut(&by).is_some_and(|by| by.let_in(out, node, incarnation))
    }

    /// Takes in what groups answered.
    pub(super) fn take_answers(&mut self) {
        for node in self.nodes.values_mut() {
            for answer in node.answers.extract_if(.., |answer| answer.ticket & TICKET != 0) {
                if let AdminOutcome::Group(Ok(members)) = answer.answer {
                    self.ward.replacements.hear(members);
                }
            }
        }
    }

    /// Asks something of a group at any node that runs.
    fn ask(&mut self, group: GroupId, operation: GroupOperation) {
        let running: Vec<NodeId> =
            self.nodes.values().filter(|node| node.process.is_some()).map(|node| node.id).collect();
        let Some(asked) = self.ward.random.choice(running) else { return };
        let Self { nodes, out, .. } = self;
        let process = nodes.get_mut(&asked).and_then(|node| node.process.as_mut());
        let Some(process) = process else { return };
        let core = ShardMap::home_core(group, process.smp());
        let ticket = TICKET | u64::from(group.0);
        process.give(out, core, Letter::Input(Input::Administer { ticket, group, operation }));
    }
}
