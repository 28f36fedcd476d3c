//! How a first start lays out its groups: a pure function of the node ids and the number of groups.
//!
//! With `n` nodes, node `k` (counted from 0 in the order of ids) leads the `k`-th of `n` contiguous
//! runs of groups. A group's home core is `group mod smp`, and consecutive numbers fall on all cores
//! in turn: so each node's leaderships differ by at most one between its cores, whatever `smp` is.
//!
//! The followers of the `j`-th group of each run stand `1 + j mod (n - 1)` places further on in the
//! ring of nodes and just after that. Each place in a run thus gives every node one replica as first
//! and one as second follower, and when a node fails, its leaderships go to all the others.

use super::balance::keep_meta;
use super::{FIRST_EPOCH, GroupInfo, META, REPLICAS};
use crate::base::{GroupId, NodeId, SLOT_COUNT};

/// The owner of each slot: contiguous runs whose lengths differ by at most one.
pub(super) fn slots(groups: u32) -> Vec<GroupId> {
    let count = u32::from(SLOT_COUNT);
    (0..count).map(|slot| GroupId(slot * groups / count + 1)).collect()
}

/// The groups `1..=groups` on `nodes`, which are ascending and not empty.
pub(super) fn groups(nodes: &[NodeId], groups: u32) -> Vec<GroupInfo> {
    let mut infos = Vec::with_capacity(groups as usize);
    let runs = runs(nodes.len(), groups);
    for (leader, run) in runs.enumerate() {
        for place in 0..run {
            let id = GroupId(u32::try_from(infos.len()).expect("bounded by groups") + 1);
            infos.push(group(nodes, id, leader, place));
        }
    }
    infos
}

/// The meta group: on the first of `nodes`, led by the one of them that leads least of `groups`.
pub(super) fn meta(nodes: &[NodeId], groups: &[GroupInfo]) -> GroupInfo {
    let members: Vec<NodeId> = nodes.iter().copied().take(REPLICAS).collect();
    let mut meta = GroupInfo::new(META, members, NodeId(0), FIRST_EPOCH);
    keep_meta(&mut meta, groups, nodes, REPLICAS);
    meta
}

/// The lengths of `nodes` runs of groups; the first ones are longer by one where it does not divide.
fn runs(nodes: usize, groups: u32) -> impl Iterator<Item = usize> {
    let groups = groups as usize;
    (0..nodes).map(move |node| groups / nodes + usize::from(node < groups % nodes))
}

/// The group `id`, the `place`-th of those that `nodes[leader]` leads.
fn group(nodes: &[NodeId], id: GroupId, leader: usize, place: usize) -> GroupInfo {
    let others = nodes.len() - 1;
    let followers = (0..others.min(REPLICAS - 1))
        .map(|follower| leader + 1 + (place + follower) % others)
        .map(|position| nodes[position % nodes.len()]);
    let mut members: Vec<NodeId> = followers.chain([nodes[leader]]).collect();
    members.sort_unstable();
    GroupInfo::new(id, members, nodes[leader], FIRST_EPOCH)
}
