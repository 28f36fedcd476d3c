//! When a cluster has come to rest: every replica is as far as every other, and all is as the newest map has it.

use std::collections::BTreeMap;

use super::node::Standing;
use super::world::World;
use crate::base::{GroupId, Index, NodeId, SlotSet};
use crate::placement::{GroupInfo, META, ShardMap};
use crate::reactor::ReplicaView;

impl World {
    /// What every replica looks like, one a line.
    pub fn describe(&self) -> String {
        use std::fmt::Write;

        let mut text = String::new();
        for wish in self.describe_wishes() {
            _ = writeln!(text, "{wish}");
        }
        for info in self.map().all_groups() {
            _ = writeln!(text, "in epoch {}: {info:?}", self.map().epoch);
        }
        for (id, node) in &self.nodes {
            let Some(process) = &node.process else {
                _ = writeln!(text, "{id} does not run: {:?}", node.standing);
                continue;
            };
            for status in process.cores().map(|core| core.reactor.status(false)) {
                for group in status.groups {
                    _ = writeln!(text, "{id} {group:?}");
                }
            }
            for view in process.cores().flat_map(|core| core.reactor.replicas()) {
                let ReplicaView { group, members_epoch, .. } = view;
                _ = writeln!(text, "{id} {group} has the members of epoch {members_epoch}");
            }
        }
        text
    }

    /// What a group serves.
    pub(super) fn serves(&self, group: GroupId) -> SlotSet {
        self.invariants.owners.served(group).cloned().unwrap_or_default()
    }

    /// Whether every node runs, and in each group all replicas know the same leader, doubt nothing, and
    /// have applied all there is; and the newest map is known to all and followed.
    pub fn is_steady(&self) -> bool {
        let members = self.nodes.values().filter(|node| node.standing == Standing::Member);
        let map = self.map();
        let mut groups: BTreeMap<GroupId, (Option<NodeId>, Index)> = BTreeMap::new();
        for node in members {
            let Some(process) = &node.process else { return false };
            for core in process.cores() {
                if core.reactor.map_epoch() != map.epoch {
                    return false;
                }
                for replica in core.reactor.replicas() {
                    let settled = replica.certain && replica.applied_index == replica.last_index;
                    let seen = (replica.leader, replica.applied_index);
                    let first = *groups.entry(replica.group).or_insert(seen);
                    if !follows(&replica, map)
                        || !settled
                        || replica.leader.is_none()
                        || first != seen
                    {
                        return false;
                    }
                }
            }
        }
        let owned = |info: &GroupInfo| self.serves(info.id) == map.owned(info.id);
        groups.keys().copied().eq(map.all_groups().map(|info| info.id))
            && map.groups.iter().all(owned)
            && self.ward.nobody_is_lost()
            && self.governor.is_content(map.epoch)
    }
}

/// Whether a replica's group is where the map has it: nothing of any epoch is left to do.
fn follows(replica: &ReplicaView, map: &ShardMap) -> bool {
    let Some(info) = map.group(replica.group) else { return false };
    let settled = replica.arriving + replica.leaving == 0 && replica.epoch == map.epoch;
    info.id == META || settled && replica.members_epoch >= info.members_epoch
}
