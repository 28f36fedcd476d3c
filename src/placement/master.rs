//! The shard master's state machine: which nodes there are, which groups, and who owns which slot, epoch
//! after epoch.
//!
//! ```text
//!  command ──▶ refused, with the reason and the remedy: nothing changes
//!         └──▶ the next epoch: a whole [`ShardMap`]; the ones before can still be asked for
//! ```
//!
//! It says what *ought to be*. A group takes slots over and gives them up in the order of the epochs, at its own
//! pace, and its members follow those named here. So every command is a pure step from one map to the next, the
//! same on every replica of the meta group; what takes time happens elsewhere.
//!
//! A group that is to leave owns nothing from the next epoch on, but stays listed until it is forgotten:
//! clients ask it what became of commands that they sent before. Ids are never given twice, so a group that
//! was forgotten is known from one that never was.

use super::balance::{even_out, keep_meta, spread_leaders, spread_replicas};
use super::past::Past;
use super::{
    Change, Command, GroupInfo, META, MapParts, NodeInfo, PlacementError, REPLICAS, Reason,
    Refusal, ShardMap,
};
use crate::base::limits::{ADDRESS_MAX, NODES_MAX};
use crate::base::{GroupId, NodeId, Slot, WallTime};

/// Groups that a cluster may have, at most.
pub const GROUPS_MAX: usize = 4_096;

/// The state machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Master {
    /// The latest epoch.
    map: ShardMap,
    /// The epochs before.
    past: Past,
    /// No group ever had this id or a higher one.
    next_group: GroupId,
}

/// What a master is made of, as another node told it: nothing of it is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MasterParts {
    /// See [`Master::latest`].
    pub map: MapParts,
    /// See [`Master::history`].
    pub history: Vec<Change>,
    /// See [`Master::next_group`].
    pub next_group: GroupId,
}

impl Master {
    /// Begins with the map of a first start.
    pub fn new(map: ShardMap) -> Self {
        let next_group = map.groups.last().map_or(GroupId(1), |group| GroupId(group.id.0 + 1));
        Self { map, past: Past::default(), next_group }
    }

    /// A master as another node told it.
    ///
    /// # Errors
    /// If the map is none, the history does not lead to it, or the next group's id was given before.
    pub fn from_parts(parts: MasterParts) -> Result<Self, PlacementError> {
        let MasterParts { map, history, next_group: next } = parts;
        let map = ShardMap::from_parts(map)?;
        if let Some(&GroupInfo { id: group, .. }) = map.groups.last()
            && group >= next
        {
            return Err(PlacementError::NextGroup { next, group });
        }
        let past = Past::leading_to(&map, history)?;
        Ok(Self { map, past, next_group: next })
    }

    /// The latest epoch.
    pub fn latest(&self) -> &ShardMap {
        &self.map
    }

    /// An earlier epoch, or the latest; nothing if it never was, or is too long ago.
    pub fn query(&self, epoch: u64) -> Option<ShardMap> {
        self.past.map(&self.map, epoch)
    }

    /// What began each epoch that is remembered, the oldest first. What was before the first of them can be
    /// asked for, too.
    pub fn history(&self) -> impl DoubleEndedIterator<Item = &Change> + ExactSizeIterator {
        self.past.changes()
    }

    /// No group ever had this id or a higher one.
    pub fn next_group(&self) -> GroupId {
        self.next_group
    }

    /// Applies a command at `at`, the time in the log; returns the epoch that it begins.
    ///
    /// # Errors
    /// If it cannot be, or would change nothing: then nothing changes.
    pub fn apply(&mut self, command: &Command, at: WallTime) -> Result<u64, Refusal> {
        // Made of a copy, so that a refusal half-way leaves no trace.
        let mut draft = Draft { map: self.map.clone(), next_group: self.next_group };
        let reason = draft.apply(command)?;
        draft.map.epoch += 1;
        draft.date_members(&self.map);
        let change = Change::between(&self.map, &draft.map, reason, at);
        draft.map.handovers.push(change.epoch, &change.ranges);
        self.past.push(change);
        Draft { map: self.map, next_group: self.next_group } = draft;
        Ok(self.map.epoch)
    }
}

/// The next epoch, being made.
struct Draft {
    map: ShardMap,
    next_group: GroupId,
}

impl Draft {
    fn apply(&mut self, command: &Command) -> Result<Reason, Refusal> {
        match command {
            Command::Join { groups } => self.join(*groups),
            Command::Leave { groups } => self.leave(groups),
            Command::Move { slots, to } => self.move_slots(slots, *to),
            Command::AddNode(node) => self.add_node(node),
            Command::Drain(node) => self.drain(*node),
            Command::Undrain(node) => self.undrain(*node),
            Command::RemoveNode(node) => self.remove_node(*node),
            Command::Forget(group) => self.forget(*group),
        }
    }

    /// Notes whose members are others than in the epoch before, and with whom new groups begin.
    fn date_members(&mut self, before: &ShardMap) {
        let epoch = self.map.epoch;
        for info in std::iter::once(&mut self.map.meta).chain(&mut self.map.groups) {
            match before.group(info.id) {
                Some(known) if known.members == info.members => {}
                Some(_) => info.members_epoch = epoch,
                None => info.founders.clone_from(&info.members),
            }
        }
    }

    fn join(&mut self, groups: u32) -> Result<Reason, Refusal> {
        if groups == 0 {
            return Err(Refusal::NoChange);
        }
        let after = self.next_group.0.checked_add(groups).ok_or(Refusal::TooManyGroups)?;
        if self.map.groups.len() + groups as usize > GROUPS_MAX {
            return Err(Refusal::TooManyGroups);
        }
        for id in (self.next_group.0..after).map(GroupId) {
            // Its members are chosen below, its leader among them.
            let preferred_leader = NodeId(0);
            let born = self.map.epoch + 1;
            self.map.groups.push(GroupInfo::new(id, Vec::new(), preferred_leader, born));
        }
        self.next_group = GroupId(after);
        self.place_replicas();
        self.even_slots();
        Ok(Reason::Join { groups })
    }

    fn leave(&mut self, groups: &[GroupId]) -> Result<Reason, Refusal> {
        let mut new = Vec::new();
        for &group in groups {
            if self.is_listed(group)? && self.map.leaving.insert(group) {
                new.push(group);
            }
        }
        if new.is_empty() {
            return Err(Refusal::NoChange);
        }
        if self.map.leaving.len() == self.map.groups.len() {
            return Err(Refusal::LastGroup);
        }
        self.even_slots();
        Ok(Reason::Leave { groups: new })
    }

    fn move_slots(&mut self, slots: &[Slot], to: GroupId) -> Result<Reason, Refusal> {
        if !self.is_listed(to)? {
            return Err(Refusal::UnknownGroup(to));
        }
        if self.map.leaving.contains(&to) {
            return Err(Refusal::Leaving(to));
        }
        let mut moved = 0;
        for slot in slots {
            let owner = &mut self.map.owners_mut()[slot.position()];
            moved += u32::from(*owner != to);
            *owner = to;
        }
        if moved == 0 { Err(Refusal::NoChange) } else { Ok(Reason::Move { slots: moved, to }) }
    }

    fn add_node(&mut self, node: &NodeInfo) -> Result<Reason, Refusal> {
        self.check_node(node)?;
        let nodes = &mut self.map.nodes;
        match nodes.binary_search_by_key(&node.id, |known| known.id) {
            Ok(place) if nodes[place] == *node => return Err(Refusal::NoChange),
            Ok(place) => nodes[place] = node.clone(),
            Err(_) if nodes.len() == NODES_MAX => return Err(Refusal::TooManyNodes),
            Err(place) => {
                nodes.insert(place, node.clone());
                self.place_replicas();
            }
        }
        Ok(Reason::AddNode(node.id))
    }

    /// That a node could be one, and that nobody else listens where it does.
    fn check_node(&self, node: &NodeInfo) -> Result<(), Refusal> {
        if node.id == NodeId(0) {
            return Err(Refusal::ZeroNode);
        }
        for address in [&node.client_address, &node.peer_address] {
            if address.len() > ADDRESS_MAX {
                return Err(Refusal::LongAddress { length: address.len() });
            }
            let listens = |other: &&NodeInfo| {
                other.id != node.id
                    && [&other.client_address, &other.peer_address].contains(&address)
            };
            if let Some(other) = self.map.nodes.iter().find(listens) {
                return Err(Refusal::AddressTaken { node: other.id, address: address.clone() });
            }
        }
        Ok(())
    }

    fn drain(&mut self, node: NodeId) -> Result<Reason, Refusal> {
        self.map.node(node).ok_or(Refusal::UnknownNode(node))?;
        if !self.map.draining.insert(node) {
            return Err(Refusal::NoChange);
        }
        let left = self.hosts().len();
        let groups = || self.map.groups.iter().chain([&self.map.meta]);
        if let Some(group) = groups().find(|group| group.members.len() > left) {
            let (group, replicas) = (group.id, group.members.len());
            return Err(Refusal::TooFewNodes { group, replicas, left });
        }
        self.place_replicas();
        Ok(Reason::Drain(node))
    }

    fn undrain(&mut self, node: NodeId) -> Result<Reason, Refusal> {
        self.map.node(node).ok_or(Refusal::UnknownNode(node))?;
        if !self.map.draining.remove(&node) {
            return Err(Refusal::NoChange);
        }
        self.place_replicas();
        Ok(Reason::Undrain(node))
    }

    fn remove_node(&mut self, node: NodeId) -> Result<Reason, Refusal> {
        if self.map.node(node).is_none() {
            return Err(Refusal::NoChange);
        }
        if !self.map.draining.remove(&node) {
            return Err(Refusal::NotDrained(node));
        }
        self.map.nodes.retain(|known| known.id != node);
        Ok(Reason::RemoveNode(node))
    }

    fn forget(&mut self, group: GroupId) -> Result<Reason, Refusal> {
        if !self.is_listed(group)? {
            return Err(Refusal::NoChange);
        }
        if !self.map.leaving.remove(&group) {
            return Err(Refusal::NotLeaving(group));
        }
        self.map.groups.retain(|known| known.id != group);
        self.place_replicas();
        Ok(Reason::Forget(group))
    }

    /// Whether the group, which may own slots, is listed still: it was once.
    fn is_listed(&self, group: GroupId) -> Result<bool, Refusal> {
        if group == META {
            return Err(Refusal::MetaGroup);
        }
        if group >= self.next_group {
            return Err(Refusal::UnknownGroup(group));
        }
        Ok(self.map.group(group).is_some())
    }

    /// Nodes that may hold replicas, ascending.
    fn hosts(&self) -> Vec<NodeId> {
        let nodes = self.map.nodes.iter().map(|node| node.id);
        nodes.filter(|node| !self.map.draining.contains(node)).collect()
    }

    /// Each group is to have its number of replicas, on nodes that may hold some, evenly.
    fn place_replicas(&mut self) {
        let (hosts, map) = (self.hosts(), &mut self.map);
        spread_replicas(&mut map.groups, &hosts, REPLICAS);
        spread_leaders(&mut map.groups);
        keep_meta(&mut map.meta, &map.groups, &hosts, REPLICAS);
    }

    /// The slots are to be even over the groups that may own some.
    fn even_slots(&mut self) {
        let serving = self.map.groups.iter().map(|group| group.id);
        let serving: Vec<GroupId> = serving.filter(|id| !self.map.leaving.contains(id)).collect();
        even_out(self.map.owners_mut(), &serving);
    }
}

#[cfg(test)]
mod tests;
