//! Where each group is, as far as this core knows: its members, and who leads.
//!
//! A core answers for groups it has no replica of: clients ask any node for the shard map, and are
//! sent on when they ask the wrong one. The map of the first start says who the members were then;
//! what became of them, the groups themselves tell:
//!
//! ```text
//!  group's leader ──Whereabouts──▶ home core of every other node that is up ─┐
//!  any replica ──────────────────▶ the other cores of its node ◀─────────────┘
//! ```
//!
//! Only what is committed is told, and of two stories the newer one counts: of the members the one
//! with the higher index, of the leader the one of the later term. So stories may come late, twice
//! and in any order. One that is lost is asked for by whoever suffers from it: a replica that stands
//! for election tells all nodes its own, and is answered with a newer one.

use std::collections::BTreeMap;

use crate::base::{GroupId, Index, NodeId, Term};
use crate::placement::ShardMap;
use crate::raft::Configuration;

/// Where a group is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whereabouts {
    /// Where `configuration` stands in the group's log; committed.
    pub index: Index,
    /// Who belongs to the group.
    pub configuration: Configuration,
    /// The term in which `leader` leads.
    pub term: Term,
    /// Who leads, or last led as far as is known.
    pub leader: NodeId,
}

/// All groups.
#[derive(Debug)]
pub(super) struct Directory(BTreeMap<GroupId, Whereabouts>);

impl Directory {
    /// What the map of the first start says.
    pub(super) fn new(map: &ShardMap) -> Self {
        let first = |members: &[NodeId], leader| Whereabouts {
            index: Index::ZERO,
            configuration: Configuration::new(members.iter().copied()),
            term: Term(0),
            leader,
        };
        let groups = map.groups.iter();
        Self(groups.map(|info| (info.id, first(&info.members, info.preferred_leader))).collect())
    }

    /// Takes a story in; returns whether it tells anything new of a group of the map.
    pub(super) fn learn(&mut self, group: GroupId, told: &Whereabouts) -> bool {
        let Some(known) = self.0.get_mut(&group) else { return false };
        let (moved, elected) = (told.index > known.index, told.term > known.term);
        if moved {
            (known.index, known.configuration) = (told.index, told.configuration.clone());
        }
        if elected {
            (known.term, known.leader) = (told.term, told.leader);
        }
        moved || elected
    }

    /// Where `group` is, if there is such a group.
    pub(super) fn find(&self, group: GroupId) -> Option<&Whereabouts> {
        self.0.get(&group)
    }

    /// Whether `node` is out of `group` for all that is known of configurations from `index` on: what
    /// stands there in a replica's log need not be committed, what is known here is.
    pub(super) fn excludes(&self, group: GroupId, node: NodeId, index: Index) -> bool {
        let known = self.0.get(&group).filter(|known| known.index >= index);
        known.is_some_and(|known| !known.configuration.is_member(node))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::NodeInfo;

    const GROUP: GroupId = GroupId(1);

    fn told(index: u64, voter: u64, term: u64, leader: u64) -> Whereabouts {
        Whereabouts {
            index: Index(index),
            configuration: Configuration::new([NodeId(voter)]),
            term: Term(term),
            leader: NodeId(leader),
        }
    }

    #[test]
    fn the_newer_story_counts_of_members_and_of_the_leader() {
        let info = |id| NodeInfo {
            id: NodeId(id),
            client_address: format!("c:{id}"),
            peer_address: format!("p:{id}"),
        };
        let map = ShardMap::initial(vec![info(1), info(2)], 1).expect("valid");
        let mut directory = Directory::new(&map);
        assert!(!directory.excludes(GROUP, NodeId(1), Index::ZERO), "a member at first");
        assert!(directory.learn(GROUP, &told(9, 2, 3, 2)));
        assert!(!directory.learn(GROUP, &told(9, 2, 3, 2)), "nothing new");
        assert!(directory.learn(GROUP, &told(4, 1, 5, 1)), "an older place, a later leader");
        assert_eq!(directory.find(GROUP), Some(&told(9, 2, 5, 1)));
        assert!(directory.excludes(GROUP, NodeId(1), Index(8)));
        assert!(directory.excludes(GROUP, NodeId(1), Index(9)), "whatever stands there");
        assert!(!directory.excludes(GROUP, NodeId(1), Index(10)), "that is known better there");
        assert!(!directory.learn(GroupId(7), &told(9, 2, 3, 2)), "no such group");
    }
}
