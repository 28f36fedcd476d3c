//! Evens things out with few moves, and the same moves on every replica.
//!
//! - **Slots over groups**: counts differ by one at most. Which groups get the one more is free, so those
//!   that have most already do: no choice moves fewer slots.
//! - **Replicas over nodes**: even, too, no group twice on a node. While the fullest node has two more than
//!   the emptiest, some group is on the one and not on the other: one replica of it moves.
//! - **Leaders over nodes**: only who leads changes, among members, as even as those allow. The surplus of a
//!   node may have to pass through others, which lead as many afterwards as before.
//!
//! Nothing is drawn by chance and nothing depends on the order of arrival: ties go to the lower id.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::GroupInfo;
use crate::base::NodeId;

/// Gives each item to one of `holders`, which are ascending and not empty, so that their counts differ by
/// one at most. Items whose holder is not listed all move; of the others, as few as possible, those at the end
/// of a holder's first.
///
/// # Panics
/// If there is no holder: a bug of the caller's.
pub(super) fn even_out<T: Copy + Ord>(owners: &mut [T], holders: &[T]) {
    assert!(!holders.is_empty(), "{} items, and nobody to hold them", owners.len());
    let mut missing = targets(owners, holders);
    let mut given_up = Vec::new();
    for (position, owner) in owners.iter().enumerate() {
        match missing.get_mut(owner) {
            // Kept, as long as there is room for it.
            Some(rest) if *rest > 0 => *rest -= 1,
            _ => given_up.push(position),
        }
    }
    let mut given_up = given_up.into_iter();
    for (holder, rest) in missing {
        for position in given_up.by_ref().take(rest) {
            owners[position] = holder;
        }
    }
    assert!(given_up.next().is_none(), "the targets add up to the number of items");
}

/// How many items each holder is to have.
fn targets<T: Copy + Ord>(owners: &[T], holders: &[T]) -> BTreeMap<T, usize> {
    let mut counts: BTreeMap<T, usize> = holders.iter().map(|&holder| (holder, 0)).collect();
    for owner in owners {
        if let Some(count) = counts.get_mut(owner) {
            *count += 1;
        }
    }
    let mut by_count: Vec<(T, usize)> = counts.into_iter().collect();
    by_count.sort_by_key(|&(holder, count)| (Reverse(count), holder));
    let (each, rest) = (owners.len() / holders.len(), owners.len() % holders.len());
    let target =
        |(place, (holder, _)): (usize, (T, usize))| (holder, each + usize::from(place < rest));
    by_count.into_iter().enumerate().map(target).collect()
}

/// Has `nodes`, ascending, hold `replicas` of each of `groups`, or one on each if there are fewer nodes.
/// What is elsewhere goes, what is missing is added where there is least, and then so many move that the
/// nodes' counts differ by one at most. Who is to lead is a member in the end.
pub(super) fn spread_replicas(groups: &mut [GroupInfo], nodes: &[NodeId], replicas: usize) {
    let mut counts: BTreeMap<NodeId, usize> = nodes.iter().map(|&node| (node, 0)).collect();
    for member in groups.iter().flat_map(|group| &group.members) {
        if let Some(count) = counts.get_mut(member) {
            *count += 1;
        }
    }
    for group in groups.iter_mut() {
        group.members.retain(|member| counts.contains_key(member));
        for _ in group.members.len()..replicas {
            let free = counts.iter().filter(|(node, _)| !group.members.contains(node));
            let Some((&node, _)) = free.min_by_key(|&(&node, &count)| (count, node)) else { break };
            *counts.get_mut(&node).expect("just found") += 1;
            group.members.push(node);
        }
        settle(group);
    }
    while let Some((from, to)) = widest_gap(&counts) {
        let here_only =
            |group: &&mut GroupInfo| group.members.contains(&from) && !group.members.contains(&to);
        let group = groups.iter_mut().find(here_only);
        let group = group.expect("two more replicas here than there: one group is here only");
        group.members.retain(|&member| member != from);
        group.members.push(to);
        settle(group);
        *counts.get_mut(&from).expect("a node") -= 1;
        *counts.get_mut(&to).expect("a node") += 1;
    }
}

/// The fullest and the emptiest node, if they differ by two or more.
fn widest_gap(counts: &BTreeMap<NodeId, usize>) -> Option<(NodeId, NodeId)> {
    let (&from, &most) = counts.iter().max_by_key(|&(&node, &count)| (count, Reverse(node)))?;
    let (&to, &least) = counts.iter().min_by_key(|&(&node, &count)| (count, node))?;
    (most > least + 1).then_some((from, to))
}

/// Members in order, one of whom is to lead.
fn settle(group: &mut GroupInfo) {
    group.members.sort_unstable();
    if !group.members.contains(&group.preferred_leader)
        && let Some(&first) = group.members.first()
    {
        group.preferred_leader = first;
    }
}

/// Has `nodes` hold `replicas` of the meta group, or one on each if there are fewer nodes. Who holds one goes
/// on doing so unless it is not among `nodes`; who is to lead, too. Else those come who hold or lead least of
/// the other `groups`.
pub(super) fn keep_meta(
    meta: &mut GroupInfo,
    groups: &[GroupInfo],
    nodes: &[NodeId],
    replicas: usize,
) {
    meta.members.retain(|member| nodes.contains(member));
    let holds = |node: NodeId| groups.iter().filter(|group| group.members.contains(&node)).count();
    let mut free: Vec<NodeId> =
        nodes.iter().copied().filter(|node| !meta.members.contains(node)).collect();
    free.sort_by_key(|&node| (holds(node), node));
    free.truncate(replicas.saturating_sub(meta.members.len()));
    meta.members.append(&mut free);
    meta.members.sort_unstable();
    if !meta.members.contains(&meta.preferred_leader) {
        let leads =
            |node: NodeId| groups.iter().filter(|group| group.preferred_leader == node).count();
        let fewest = meta.members.iter().min_by_key(|&&node| (leads(node), Reverse(node)));
        meta.preferred_leader = *fewest.expect("a cluster has a node that may hold replicas");
    }
}

/// Chooses who is to lead among each group's members, so that the numbers of groups led are as even as members
/// allow: the sum of their squares is the least there is. Of such choices it takes one with the fewest
/// changes of a leader.
pub(super) fn spread_leaders(groups: &mut [GroupInfo]) {
    let mut leaders = Leaders::of(groups);
    for group in 0..groups.len() {
        leaders.add(group);
    }
    for (group, &leader) in groups.iter_mut().zip(&leaders.chosen) {
        group.preferred_leader = leaders.nodes[leader];
    }
}

/// Who leads, group after group: the cheapest flow from groups to nodes, by successive shortest paths. What was
/// chosen for those before is the best for them alone, and stays the best with each that is added. (Ahuja,
/// Magnanti, Orlin, "Network Flows", section 9.7.)
struct Leaders {
    /// All members, ascending; below, a node is its place here.
    nodes: Vec<NodeId>,
    /// Of each group.
    members: Vec<Vec<usize>>,
    /// Who was to lead each group.
    before: Vec<usize>,
    /// Who is to lead; of those groups only that were added.
    chosen: Vec<usize>,
    /// How many of those each node leads.
    leads: Vec<usize>,
}

impl Leaders {
    fn of(groups: &[GroupInfo]) -> Self {
        let nodes: BTreeSet<NodeId> =
            groups.iter().flat_map(|group| &group.members).copied().collect();
        let nodes: Vec<NodeId> = nodes.into_iter().collect();
        let place = |node: &NodeId| nodes.binary_search(node).expect("a member of some group");
        let members = groups.iter().map(|group| group.members.iter().map(place).collect());
        let before = groups.iter().map(|group| place(&group.preferred_leader)).collect();
        let (members, leads) = (members.collect(), vec![0; nodes.len()]);
        Self { members, before, chosen: Vec::with_capacity(groups.len()), leads, nodes }
    }

    /// One more group is to have a leader: of all nodes that can lead one more, if others hand on what they
    /// lead, one that leads least; of those, the one at which the fewest leaders change.
    fn add(&mut self, group: usize) {
        let ways = self.ways_for(group);
        let reached = |node: &usize| ways[*node].is_some();
        let nodes = (0..self.nodes.len()).filter(reached);
        let cost = |&node: &usize| (self.leads[node], ways[node].map(|way| way.changes), node);
        let mut node = nodes.min_by_key(cost).expect("a group has members");
        self.leads[node] += 1;
        self.chosen.push(node);
        while let Some(way) = ways[node] {
            let from = std::mem::replace(&mut self.chosen[way.group], node);
            if way.group == group {
                return;
            }
            node = from;
        }
    }

    /// The cheapest way for each node to come to lead one more, by Bellman and Ford.
    fn ways_for(&self, group: usize) -> Vec<Option<Way>> {
        let mut ways = vec![None; self.nodes.len()];
        for &node in &self.members[group] {
            ways[node] = Some(Way { group, changes: self.change(group, node) });
        }
        let mut is_new = true;
        while is_new {
            is_new = false;
            for (group, &leader) in self.chosen.iter().enumerate() {
                let Some(to_leader) = ways[leader] else { continue };
                let handed_on = to_leader.changes - self.change(group, leader);
                for &node in &self.members[group] {
                    let changes = handed_on + self.change(group, node);
                    if ways[node].is_none_or(|way| changes < way.changes) {
                        ways[node] = Some(Way { group, changes });
                        is_new = true;
                    }
                }
            }
        }
        ways
    }

    /// 1 if `node` would be a new leader of `group`.
    fn change(&self, group: usize, node: usize) -> i64 {
        i64::from(self.before[group] != node)
    }
}

/// How a node comes to lead one more group.
#[derive(Clone, Copy, Debug)]
struct Way {
    /// Which: the one that is added, or one that its leader hands on because it gets another, and so on.
    group: usize,
    /// By how much this changes the number of groups whose leader changes.
    changes: i64,
}

#[cfg(test)]
mod tests;
