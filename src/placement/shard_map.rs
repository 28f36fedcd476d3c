//! The shard map of one epoch, and the questions asked of it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::handovers::{Handover, Handovers};
use super::{FIRST_EPOCH, META, initial};
use crate::base::limits::{ADDRESS_MAX, NODES_MAX};
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
    /// The members with which it began; ascending. Some may be no nodes of the cluster any more.
    pub founders: Vec<NodeId>,
    /// The epoch in which it began.
    pub born: u64,
    /// The epoch in which the map named other members last, or in which it began.
    pub members_epoch: u64,
}

impl GroupInfo {
    /// A group that begins in the epoch `born` with these members, ascending.
    pub fn new(id: GroupId, members: Vec<NodeId>, preferred_leader: NodeId, born: u64) -> Self {
        let founders = members.clone();
        Self { id, members, preferred_leader, founders, born, members_epoch: born }
    }
}

/// Slot → group and group → members, numbered by epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardMap {
    /// Which map this is: a later one has a higher epoch; the first is 1.
    pub epoch: u64,
    /// The nodes, ascending by id.
    pub nodes: Vec<NodeInfo>,
    /// The group [`META`](super::META), which keeps the map and owns no slot.
    pub meta: GroupInfo,
    /// The groups that may own slots, ascending by id; the meta group is not among them.
    pub groups: Vec<GroupInfo>,
    /// The nodes that are to hold nothing; each is in `nodes`.
    pub draining: BTreeSet<NodeId>,
    /// The groups that are to own nothing; each is in `groups`.
    pub leaving: BTreeSet<GroupId>,
    /// The owner of each slot, `SLOT_COUNT` of them; each is in `groups`.
    slots: Vec<GroupId>,
    /// What changed hands in the latest epochs, this one included.
    pub(super) handovers: Handovers,
}

/// What a map is made of, as another node told it: nothing of it is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapParts {
    /// See [`ShardMap::epoch`].
    pub epoch: u64,
    /// In any order.
    pub nodes: Vec<NodeInfo>,
    /// See [`ShardMap::meta`].
    pub meta: GroupInfo,
    /// In any order.
    pub groups: Vec<GroupInfo>,
    /// In any order.
    pub draining: Vec<NodeId>,
    /// In any order.
    pub leaving: Vec<GroupId>,
    /// As [`ShardMap::ranges`] gives them, in any order.
    pub ranges: Vec<SlotRange>,
    /// See [`ShardMap::handovers`].
    pub handovers: Vec<Handover>,
}

/// A run of slots: the first, the last (included), whose they are.
pub type SlotRange = (u16, u16, GroupId);

/// Far more epochs than there will be, and far from what an integer holds.
const EPOCH_MAX: u64 = 1 << 62;

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
    /// An address longer than any that can be looked up.
    #[error("an address of node {node} has {length} bytes; {ADDRESS_MAX} are accepted")]
    LongAddress {
        /// The node.
        node: NodeId,
        /// Bytes of the address.
        length: usize,
    },
    /// No group would own the slots.
    #[error("no groups: at least one must own the slots")]
    NoGroups,
    /// More groups than slots.
    #[error("{0} groups, but there are only {SLOT_COUNT} slots to own")]
    TooManyGroups(u32),
    /// Group 0 is the meta group's.
    #[error("group 0 is reserved for the shard master: number groups from 1")]
    ZeroGroup,
    /// The shard master's group has another id.
    #[error("the shard master's group is group 0, not {0}")]
    NotMeta(GroupId),
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
    /// A node is to hold nothing that is not listed.
    #[error("node {0} is draining, but it is not listed")]
    UnknownDraining(NodeId),
    /// A group is to own nothing that is not listed.
    #[error("group {0} is leaving, but it is not listed")]
    UnknownLeaving(GroupId),
    /// A slot belongs to no listed group, or to several.
    #[error("slot {0} does not belong to exactly one listed group")]
    SlotOwners(u16),
    /// Epochs are counted from 1, and never so far.
    #[error("no map has the epoch {0}")]
    Epoch(u64),
    /// What a map says of who had what before is nothing that can have been.
    #[error("what is said to have changed hands in epoch {0} cannot be")]
    Handover(u64),
    /// The epochs that a master remembers are not consecutive, or do not lead to its latest.
    #[error("what is remembered of epoch {0} does not fit the epoch after it")]
    Past(u64),
    /// A group has an id that was never given.
    #[error("the next group would be {next}, but there is a group {group} already")]
    NextGroup {
        /// The id to be given next.
        next: GroupId,
        /// The highest there is.
        group: GroupId,
    },
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
        let groups = initial::groups(&ids, groups);
        let (meta, draining, leaving) =
            (initial::meta(&ids, &groups), BTreeSet::new(), BTreeSet::new());
        let (epoch, handovers) = (FIRST_EPOCH, Handovers::default());
        Ok(Self { epoch, nodes, meta, groups, draining, leaving, slots, handovers })
    }

    /// A map as another node told it.
    ///
    /// # Errors
    /// As for [`ShardMap::initial`]; also if something names a node or a group that is not listed, or
    /// the ranges do not give each slot to exactly one listed group.
    pub fn from_parts(parts: MapParts) -> Result<Self, PlacementError> {
        let MapParts { epoch, nodes, mut meta, groups, draining, leaving, ranges, handovers } =
            parts;
        if !(1..=EPOCH_MAX).contains(&epoch) {
            return Err(PlacementError::Epoch(epoch));
        }
        let nodes = checked_nodes(nodes)?;
        let groups = checked_groups(groups, &nodes)?;
        if meta.id != META {
            return Err(PlacementError::NotMeta(meta.id));
        }
        check_members(&mut meta, &ids_of(&nodes))?;
        let slots = checked_slots(&ranges, &groups)?;
        let (draining, leaving) = (draining.into_iter().collect(), leaving.into_iter().collect());
        let handovers = Handovers::leading_to(epoch, handovers)?;
        let map = Self { epoch, nodes, meta, groups, draining, leaving, slots, handovers };
        map.check_on_the_way_out()?;
        Ok(map)
    }

    /// What [`ShardMap::from_parts`] makes the same map of.
    pub fn parts(&self) -> MapParts {
        let Self { epoch, nodes, meta, groups, draining, leaving, .. } = self.clone();
        let (draining, leaving) = (draining.into_iter().collect(), leaving.into_iter().collect());
        let (ranges, handovers) = (self.ranges(), self.handovers().cloned().collect());
        MapParts { epoch, nodes, meta, groups, draining, leaving, ranges, handovers }
    }

    /// That whoever is to go is there.
    pub(super) fn check_on_the_way_out(&self) -> Result<(), PlacementError> {
        if let Some(&node) = self.draining.iter().find(|&&node| self.node(node).is_none()) {
            return Err(PlacementError::UnknownDraining(node));
        }
        let listed = |group: GroupId| group != META && self.group(group).is_some();
        match self.leaving.iter().find(|&&group| !listed(group)) {
            Some(&group) => Err(PlacementError::UnknownLeaving(group)),
            None => Ok(()),
        }
    }

    /// The group that owns `slot`.
    #[inline]
    pub fn group_of(&self, slot: Slot) -> GroupId {
        self.slots[slot.position()]
    }

    /// What changed hands in the latest epochs in which something did, the oldest first.
    pub fn handovers(&self) -> impl DoubleEndedIterator<Item = &Handover> {
        self.handovers.list()
    }

    /// The owner of each slot, by number.
    pub(super) fn owners(&self) -> &[GroupId] {
        &self.slots
    }

    /// The same, to be changed.
    pub(super) fn owners_mut(&mut self) -> &mut [GroupId] {
        &mut self.slots
    }

    /// The group with this id, the meta group included.
    pub fn group(&self, id: GroupId) -> Option<&GroupInfo> {
        if id == META {
            return Some(&self.meta);
        }
        let position = self.groups.binary_search_by_key(&id, |group| group.id).ok()?;
        Some(&self.groups[position])
    }

    /// All groups, ascending by id: the meta group first.
    pub fn all_groups(&self) -> impl Iterator<Item = &GroupInfo> {
        std::iter::once(&self.meta).chain(&self.groups)
    }

    /// The node with this id.
    pub fn node(&self, id: NodeId) -> Option<&NodeInfo> {
        let position = self.nodes.binary_search_by_key(&id, |node| node.id).ok()?;
        Some(&self.nodes[position])
    }

    /// The slots that `group` owns.
    pub fn owned(&self, group: GroupId) -> SlotSet {
        Slot::all().filter(|&slot| self.group_of(slot) == group).collect()
    }

    /// The slots as runs of one owner each, ascending: first slot, last slot (included), owner.
    pub fn ranges(&self) -> Vec<SlotRange> {
        let mut ranges: Vec<SlotRange> = Vec::new();
        for slot in Slot::all() {
            let owner = self.group_of(slot);
            match ranges.last_mut() {
                Some(range) if range.2 == owner => range.1 = slot.number(),
                _ => ranges.push((slot.number(), slot.number(), owner)),
            }
        }
        ranges
    }

    /// The groups that may own slots with a replica on `node` whose home is `core` when the node runs
    /// `smp` cores, ascending by id.
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

/// The nodes, ascending.
pub(super) fn checked_nodes(mut nodes: Vec<NodeInfo>) -> Result<Vec<NodeInfo>, PlacementError> {
    if nodes.len() > NODES_MAX {
        return Err(PlacementError::TooManyNodes(nodes.len()));
    }
    nodes.sort_by_key(|node| node.id);
    if nodes.first().ok_or(PlacementError::NoNodes)?.id == NodeId(0) {
        return Err(PlacementError::ZeroNode);
    }
    if let Some(pair) = nodes.windows(2).find(|pair| pair[0].id == pair[1].id) {
        return Err(PlacementError::DuplicateNode(pair[0].id));
    }
    nodes.iter().try_for_each(check_addresses)?;
    Ok(nodes)
}

/// That a node's addresses are no longer than what others accept.
pub(super) fn check_addresses(node: &NodeInfo) -> Result<(), PlacementError> {
    let length = node.client_address.len().max(node.peer_address.len());
    if length <= ADDRESS_MAX {
        return Ok(());
    }
    Err(PlacementError::LongAddress { node: node.id, length })
}

pub(super) fn ids_of(nodes: &[NodeInfo]) -> BTreeSet<NodeId> {
    nodes.iter().map(|node| node.id).collect()
}

/// The groups and their members, ascending.
pub(super) fn checked_groups(
    mut groups: Vec<GroupInfo>,
    nodes: &[NodeInfo],
) -> Result<Vec<GroupInfo>, PlacementError> {
    groups.sort_by_key(|group| group.id);
    if groups.first().ok_or(PlacementError::NoGroups)?.id == META {
        return Err(PlacementError::ZeroGroup);
    }
    if groups.len() > usize::from(SLOT_COUNT) {
        return Err(PlacementError::TooManyGroups(u32::try_from(groups.len()).unwrap_or(u32::MAX)));
    }
    if let Some(pair) = groups.windows(2).find(|pair| pair[0].id == pair[1].id) {
        return Err(PlacementError::DuplicateGroup(pair[0].id));
    }
    let known = ids_of(nodes);
    for group in &mut groups {
        check_members(group, &known)?;
    }
    Ok(groups)
}

/// Checks one group's members and puts them in order.
pub(super) fn check_members(
    group: &mut GroupInfo,
    known: &BTreeSet<NodeId>,
) -> Result<(), PlacementError> {
    for list in [&mut group.members, &mut group.founders] {
        list.sort_unstable();
        list.dedup();
    }
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
    ranges: &[SlotRange],
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
