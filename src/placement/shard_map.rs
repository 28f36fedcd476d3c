//! The shard map of one epoch, and the questions asked of it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::initial;
use crate::base::limits::NODES_MAX;
use crate::base::{CoreId, GroupId, NodeId, SLOT_COUNT, Slot, SlotSet};

/// A node and where it listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeInfo {
    /// The node.
    pub id: NodeId,
    /// Where clients reach it, `host:port`.
    pub client_address: String,
    /// Where other nodes reach it, `host:port`.
    pub peer_address: String,
}

/// A group and who holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupInfo {
    /// The group.
    pub id: GroupId,
    /// The nodes with a replica, ascending.
    pub members: Vec<NodeId>,
    /// The member that should lead while all is well, so that leaders are spread.
    pub preferred_leader: NodeId,
}

/// Slot → group and group → members, numbered by epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardMap {
    /// Which map this is: a later one has a higher epoch; the first is 1.
    pub epoch: u64,
    /// The nodes, ascending by id.
    pub nodes: Vec<NodeInfo>,
    /// The groups that own slots, ascending by id; the meta group is not among them.
    pub groups: Vec<GroupInfo>,
    /// The owner of each slot, `SLOT_COUNT` of them; each is in `groups`.
    slots: Vec<GroupId>,
}

/// Why a shard map cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlacementError {
    /// The list of nodes is empty.
    #[error("no nodes: a cluster needs at least one")]
    NoNodes,
    /// Zero is never a node.
    #[error("node id 0 is reserved: number nodes from 1")]
    ZeroNode,
    /// Two nodes share an id.
    #[error("node {0} is listed twice")]
    DuplicateNode(NodeId),
    /// More nodes than a cluster may have.
    #[error("{0} nodes, but a cluster has at most {NODES_MAX}")]
    TooManyNodes(usize),
    /// No group would own the slots.
    #[error("no groups: at least one must own the slots")]
    NoGroups,
    /// More groups than slots.
    #[error("{0} groups, but there are only {SLOT_COUNT} slots to own")]
    TooManyGroups(u32),
    /// Group 0 is the meta group's.
    #[error("group 0 is reserved for the shard master: number groups from 1")]
    ZeroGroup,
    /// Two groups share an id.
    #[error("group {0} is listed twice")]
    DuplicateGroup(GroupId),
    /// A group without members.
    #[error("group {0} has no members")]
    NoMembers(GroupId),
    /// A group names a node that is not listed.
    #[error("group {group} names node {node}, which is not listed")]
    UnknownNode {
        /// The group.
        group: GroupId,
        /// The node that is not listed.
        node: NodeId,
    },
    /// The preferred leader holds no replica.
    #[error("group {group} is to be led by node {node}, which is not among its members")]
    LeaderNotMember {
        /// The group.
        group: GroupId,
        /// The preferred leader.
        node: NodeId,
    },
    /// A slot belongs to no listed group, or to several.
    #[error("slot {0} does not belong to exactly one listed group")]
    SlotOwners(u16),
}

impl ShardMap {
    /// The map of a first start: groups `1..=groups`, slots split evenly in contiguous runs, each
    /// group on `min(3, nodes)` nodes, leaders spread over nodes and cores.
    ///
    /// The same on every node, whatever the order of `nodes`.
    ///
    /// # Errors
    /// If there is no node or group, a node is listed twice or numbered 0, or there are more nodes
    /// or groups than allowed.
    pub fn initial(nodes: Vec<NodeInfo>, groups: u32) -> Result<Self, PlacementError> {
        let nodes = checked_nodes(nodes)?;
        if groups == 0 {
            return Err(PlacementError::NoGroups);
        }
        if groups > u32::from(SLOT_COUNT) {
            return Err(PlacementError::TooManyGroups(groups));
        }
        let ids: Vec<NodeId> = nodes.iter().map(|node| node.id).collect();
        let slots = initial::slots(groups);
        Ok(Self { epoch: 1, groups: initial::groups(&ids, groups), nodes, slots })
    }

    /// A map as another node told it: `ranges` as [`ShardMap::ranges`] gives them, both ends included.
    ///
    /// # Errors
    /// As for [`ShardMap::initial`]; also if a group names nodes that are not listed, or the ranges
    /// do not give each slot to exactly one listed group.
    pub fn from_parts(
        epoch: u64,
        nodes: Vec<NodeInfo>,
        groups: Vec<GroupInfo>,
        ranges: &[(u16, u16, GroupId)],
    ) -> Result<Self, PlacementError> {
        let nodes = checked_nodes(nodes)?;
        let groups = checked_groups(groups, &nodes)?;
        let slots = checked_slots(ranges, &groups)?;
        Ok(Self { epoch, nodes, groups, slots })
    }

    /// The group that owns `slot`.
    #[inline]
    pub fn group_of(&self, slot: Slot) -> GroupId {
        self.slots[slot.position()]
    }

    /// The group with this id.
    pub fn group(&self, id: GroupId) -> Option<&GroupInfo> {
        let position = self.groups.binary_search_by_key(&id, |group| group.id).ok()?;
        Some(&self.groups[position])
    }

    /// The node with this id.
    pub fn node(&self, id: NodeId) -> Option<&NodeInfo> {
        let position = self.nodes.binary_search_by_key(&id, |node| node.id).ok()?;
        Some(&self.nodes[position])
    }

    /// The slots that `group` owns.
    pub fn owned(&self, group: GroupId) -> SlotSet {
        all_slots().filter(|&slot| self.group_of(slot) == group).collect()
    }

    /// The slots as runs of one owner each, ascending: first slot, last slot (included), owner.
    pub fn ranges(&self) -> Vec<(u16, u16, GroupId)> {
        let mut ranges: Vec<(u16, u16, GroupId)> = Vec::new();
        for slot in all_slots() {
            let owner = self.group_of(slot);
            match ranges.last_mut() {
                Some(range) if range.2 == owner => range.1 = slot.number(),
                _ => ranges.push((slot.number(), slot.number(), owner)),
            }
        }
        ranges
    }

    /// The groups with a replica on `node` whose home is `core` when the node runs `smp` cores,
    /// ascending by id.
    pub fn groups_on(
        &self,
        node: NodeId,
        core: CoreId,
        smp: u16,
    ) -> impl Iterator<Item = &GroupInfo> {
        self.groups.iter().filter(move |group| {
            Self::home_core(group.id, smp) == core && group.members.contains(&node)
        })
    }

    /// The core on which a node with `smp` cores runs its replica of `group`: `group mod smp`.
    ///
    /// # Panics
    /// If `smp` is 0: every node has a core.
    pub fn home_core(group: GroupId, smp: u16) -> CoreId {
        assert!(smp > 0, "a node without cores");
        let core = group.0 % u32::from(smp);
        CoreId(u16::try_from(core).expect("less than smp, which is a u16"))
    }
}

fn all_slots() -> impl Iterator<Item = Slot> {
    (0..SLOT_COUNT).filter_map(Slot::new)
}

/// The nodes, ascending.
fn checked_nodes(mut nodes: Vec<NodeInfo>) -> Result<Vec<NodeInfo>, PlacementError> {
    if nodes.len() > NODES_MAX {
        return Err(PlacementError::TooManyNodes(nodes.len()));
    }
    nodes.sort_by_key(|node| node.id);
    if nodes.first().ok_or(PlacementError::NoNodes)?.id == NodeId(0) {
        return Err(PlacementError::ZeroNode);
    }
    match nodes.windows(2).find(|pair| pair[0].id == pair[1].id) {
        Some(pair) => Err(PlacementError::DuplicateNode(pair[0].id)),
        None => Ok(nodes),
    }
}

/// The groups and their members, ascending.
fn checked_groups(
    mut groups: Vec<GroupInfo>,
    nodes: &[NodeInfo],
) -> Result<Vec<GroupInfo>, PlacementError> {
    groups.sort_by_key(|group| group.id);
    if groups.first().ok_or(PlacementError::NoGroups)?.id == GroupId(0) {
        return Err(PlacementError::ZeroGroup);
    }
    if let Some(pair) = groups.windows(2).find(|pair| pair[0].id == pair[1].id) {
        return Err(PlacementError::DuplicateGroup(pair[0].id));
    }
    let known: BTreeSet<NodeId> = nodes.iter().map(|node| node.id).collect();
    for group in &mut groups {
        check_members(group, &known)?;
    }
    Ok(groups)
}

/// Checks one group's members and puts them in order.
fn check_members(group: &mut GroupInfo, known: &BTreeSet<NodeId>) -> Result<(), PlacementError> {
    group.members.sort_unstable();
    group.members.dedup();
    if group.members.is_empty() {
        return Err(PlacementError::NoMembers(group.id));
    }
    if let Some(&node) = group.members.iter().find(|&node| !known.contains(node)) {
        return Err(PlacementError::UnknownNode { group: group.id, node });
    }
    if !group.members.contains(&group.preferred_leader) {
        let node = group.preferred_leader;
        return Err(PlacementError::LeaderNotMember { group: group.id, node });
    }
    Ok(())
}

/// The owner of each slot.
fn checked_slots(
    ranges: &[(u16, u16, GroupId)],
    groups: &[GroupInfo],
) -> Result<Vec<GroupId>, PlacementError> {
    let mut owners: Vec<Option<GroupId>> = vec![None; usize::from(SLOT_COUNT)];
    for &(first, last, group) in ranges {
        let listed = groups.binary_search_by_key(&group, |group| group.id).is_ok();
        for slot in first..=last {
            match owners.get_mut(usize::from(slot)) {
                Some(owner @ None) if listed => *owner = Some(group),
                _ => return Err(PlacementError::SlotOwners(slot)),
            }
        }
    }
    (0..SLOT_COUNT)
        .zip(owners)
        .map(|(slot, owner)| owner.ok_or(PlacementError::SlotOwners(slot)))
        .collect()
}

#[cfg(test)]
mod tests;
