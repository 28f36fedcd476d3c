//! The epochs that are over: of each what the next one changed.
//!
//! ```text
//!  oldest ◀─change─ … ◀─change─ latest map
//! ```
//!
//! A whole map has 16,384 owners; a change mostly touches few of them. So only the latest map is kept whole,
//! and an earlier one is made of it by undoing change after change. Both the number of changes and what they
//! are made of, together, are bounded: a thousand epochs of slots moved one here, one there, would else take
//! hundreds of megabytes. The oldest are forgotten first.

use std::collections::{BTreeSet, VecDeque};
use std::mem::take;

use super::shard_map::{check_members, checked_groups, checked_nodes, ids_of};
use super::{GroupInfo, META, NodeInfo, PlacementError, Reason, ShardMap, SlotRange};
use crate::base::limits::EPOCHS_MAX;
use crate::base::{GroupId, NodeId, Slot, WallTime};

/// Runs of slots, groups and nodes in all changes that are remembered, at most.
pub const PIECES_KEPT: usize = 1 << 15;

/// How one epoch became another: when, why, and what was otherwise before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The epoch that began.
    pub epoch: u64,
    /// When, by the log.
    pub at: WallTime,
    /// By which command.
    pub reason: Reason,
    /// The slots that changed hands, and whose they were; ascending.
    pub ranges: Vec<SlotRange>,
    /// The nodes that are new, went, or listened elsewhere.
    pub nodes: Former<NodeInfo, NodeId>,
    /// The groups that may own slots, and are new, went, or had other members.
    pub groups: Former<GroupInfo, GroupId>,
    /// The meta group, if it had other members.
    pub meta: Option<GroupInfo>,
    /// The nodes that were draining and no longer are, or the other way round.
    pub draining: Vec<NodeId>,
    /// The groups that were leaving and no longer are, or the other way round.
    pub leaving: Vec<GroupId>,
}

/// How a list, ascending by id, was before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Former<T, K> {
    /// Who was not in it; ascending.
    pub new: Vec<K>,
    /// Who was in it and is not, or was otherwise; ascending.
    pub old: Vec<T>,
}

impl Change {
    pub(super) fn between(
        before: &ShardMap,
        after: &ShardMap,
        reason: Reason,
        at: WallTime,
    ) -> Self {
        Self {
            epoch: after.epoch,
            at,
            reason,
            ranges: former_owners(before, after),
            nodes: Former::between(&before.nodes, &after.nodes, |node| node.id),
            groups: Former::between(&before.groups, &after.groups, |group| group.id),
            meta: (before.meta != after.meta).then(|| before.meta.clone()),
            draining: before.draining.symmetric_difference(&after.draining).copied().collect(),
            leaving: before.leaving.symmetric_difference(&after.leaving).copied().collect(),
        }
    }

    /// How many slots changed hands.
    pub fn slots(&self) -> u32 {
        self.ranges.iter().map(|&(first, last, _)| u32::from(last - first) + 1).sum()
    }

    /// What counts towards `PIECES_KEPT`.
    fn pieces(&self) -> usize {
        let in_reason = if let Reason::Leave { groups } = &self.reason { groups.len() } else { 0 };
        let slots = self.ranges.len() + self.leaving.len() + in_reason;
        slots + self.nodes.pieces() + self.groups.pieces() + self.draining.len()
    }

    /// Makes of the epoch that began the one before. What is wrong with a change that another node told of
    /// is found here; the map is of no use then.
    fn undo(&self, map: &mut ShardMap) -> Result<(), PlacementError> {
        if self.epoch != map.epoch || self.epoch < 2 {
            return Err(PlacementError::Past(self.epoch));
        }
        map.handovers.undo(map.epoch);
        map.epoch -= 1;
        toggle(&mut map.draining, &self.draining);
        toggle(&mut map.leaving, &self.leaving);
        if let Some(meta) = &self.meta {
            map.meta = meta.clone();
        }
        let done = self.restore_lists(map).and_then(|()| self.give_back(map));
        done.ok_or(PlacementError::Past(self.epoch))
    }

    /// Nodes and groups, and that they fit together. Nothing if they do not.
    fn restore_lists(&self, map: &mut ShardMap) -> Option<()> {
        if !self.nodes.is_empty() {
            self.nodes.restore(&mut map.nodes, |node| node.id)?;
            map.nodes = checked_nodes(take(&mut map.nodes)).ok()?;
        }
        if !self.nodes.is_empty() || !self.groups.is_empty() {
            self.groups.restore(&mut map.groups, |group| group.id)?;
            map.groups = checked_groups(take(&mut map.groups), &map.nodes).ok()?;
        }
        if !self.nodes.is_empty() || self.meta.is_some() {
            check_members(&mut map.meta, &ids_of(&map.nodes)).ok()?;
        }
        (map.meta.id == META && map.check_on_the_way_out().is_ok()).then_some(())
    }

    /// The slots to their former owners. Nothing if those are not listed, or a slot is no slot.
    fn give_back(&self, map: &mut ShardMap) -> Option<()> {
        for &(first, last, owner) in &self.ranges {
            if owner == META || map.group(owner).is_none() || first > last {
                return None;
            }
            map.owners_mut().get_mut(usize::from(first)..=usize::from(last))?.fill(owner);
        }
        let is_gone = |owner| self.groups.new.binary_search(owner).is_ok();
        (self.groups.new.is_empty() || !map.owners().iter().any(is_gone)).then_some(())
    }
}

/// The slots whose owners differ, with those before, in runs of one owner each.
fn former_owners(before: &ShardMap, after: &ShardMap) -> Vec<SlotRange> {
    let mut ranges: Vec<SlotRange> = Vec::new();
    for slot in Slot::all() {
        let (number, was) = (slot.number(), before.group_of(slot));
        if was == after.group_of(slot) {
            continue;
        }
        match ranges.last_mut() {
            Some((_, last, owner)) if *owner == was && *last + 1 == number => *last = number,
            _ => ranges.push((number, number, was)),
        }
    }
    ranges
}

fn toggle<K: Copy + Ord>(set: &mut BTreeSet<K>, changed: &[K]) {
    for &key in changed {
        if !set.remove(&key) {
            set.insert(key);
        }
    }
}

impl<T: Clone + PartialEq, K: Copy + Ord> Former<T, K> {
    fn between(before: &[T], after: &[T], id: impl Fn(&T) -> K) -> Self {
        let find = |list: &[T], key: K| list.binary_search_by_key(&key, &id).ok();
        let is_new = |key: &K| find(before, *key).is_none();
        let is_otherwise =
            |item: &&T| find(after, id(item)).is_none_or(|place| after[place] != **item);
        Self {
            new: after.iter().map(&id).filter(is_new).collect(),
            old: before.iter().filter(is_otherwise).cloned().collect(),
        }
    }

    fn is_empty(&self) -> bool {
        self.new.is_empty() && self.old.is_empty()
    }

    fn pieces(&self) -> usize {
        self.new.len() + self.old.len()
    }

    /// Makes the list what it was. Nothing if who is called new is not in it.
    fn restore(&self, list: &mut Vec<T>, id: impl Fn(&T) -> K) -> Option<()> {
        let length = list.len();
        list.retain(|item| self.new.binary_search(&id(item)).is_err());
        if length - list.len() != self.new.len() {
            return None;
        }
        for item in &self.old {
            match list.binary_search_by_key(&id(item), &id) {
                Ok(place) => list[place] = item.clone(),
                Err(place) => list.insert(place, item.clone()),
            }
        }
        Some(())
    }
}

impl<T, K> Default for Former<T, K> {
    fn default() -> Self {
        Self { new: Vec::new(), old: Vec::new() }
    }
}

/// All changes that are remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Past {
    /// The oldest first, without gaps; `EPOCHS_MAX` at most with the latest map.
    changes: VecDeque<Change>,
    /// What they are made of; `PIECES_KEPT` at most.
    pieces: usize,
}

impl Past {
    /// The changes, the oldest first, that led to `latest`.
    pub(super) fn leading_to(
        latest: &ShardMap,
        changes: Vec<Change>,
    ) -> Result<Self, PlacementError> {
        let mut map = latest.clone();
        changes.iter().rev().try_for_each(|change| change.undo(&mut map))?;
        let mut past = Self::default();
        for change in changes {
            past.push(change);
        }
        Ok(past)
    }

    pub(super) fn push(&mut self, change: Change) {
        self.pieces += change.pieces();
        self.changes.push_back(change);
        while self.changes.len() >= EPOCHS_MAX || self.pieces > PIECES_KEPT {
            let Some(oldest) = self.changes.pop_front() else { break };
            self.pieces -= oldest.pieces();
        }
    }

    pub(super) fn changes(&self) -> impl DoubleEndedIterator<Item = &Change> + ExactSizeIterator {
        self.changes.iter()
    }

    /// The map of `epoch`, if it is remembered.
    pub(super) fn map(&self, latest: &ShardMap, epoch: u64) -> Option<ShardMap> {
        let back = usize::try_from(latest.epoch.checked_sub(epoch)?).ok()?;
        if back > self.changes.len() {
            return None;
        }
        let mut map = latest.clone();
        for change in self.changes.iter().rev().take(back) {
            change.undo(&mut map).expect("it was made here, or undone once before");
        }
        Some(map)
    }
}

#[cfg(test)]
mod tests;
