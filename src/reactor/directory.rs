//! Where each group is, as far as this core knows: its members, and who leads.
//!
//! A core answers for groups it has no replica of: clients ask any node for the shard map, and are
//! sent on when they ask the wrong one. The shard map says who founded a group; what became of its
//! members, the groups themselves tell:
//!
//! ```text
//!  group's leader ──Whereabouts──▶ home core of every other node that is up ─┐
//!  any replica ──────────────────▶ the other cores of its node ◀─────────────┘
//! ```
//!
//! Only what is committed is told, and of two stories the newer one counts: of the members the one told
//! when more was committed, of the leader the one of the later term. So stories may come late, twice
//! and in any order. One that is lost is asked for by whoever suffers from it: a replica that stands
//! for election tells all nodes its own, and is answered with a newer one.
//!
//! A story settles what stands in a replica's log up to the entry that was committed when it was told, and
//! also what was begun after that place in an earlier term: terms never fall along a log, so that can be
//! committed no more. A node that was added by such an entry learns from it that it is no member.

use std::collections::BTreeMap;

use crate::base::{GroupId, Index, NodeId, Term};
use crate::placement::ShardMap;
use crate::raft::Configuration;

/// Where a group is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whereabouts {
    /// The last entry that was known to be committed when this was told: its term and index.
    pub committed: (Term, Index),
    /// Who belongs to the group as of that entry.
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
    /// What a map says: of each group its founders.
    pub(super) fn new(map: &ShardMap) -> Self {
        let mut directory = Self(BTreeMap::new());
        directory.follow(map);
        directory
    }

    /// A newer map: groups have been founded, or forgotten.
    pub(super) fn follow(&mut self, map: &ShardMap) {
        self.0.retain(|&group, _| map.group(group).is_some());
        for info in map.all_groups() {
            self.0.entry(info.id).or_insert_with(|| Whereabouts {
                committed: (Term(0), Index::ZERO),
                configuration: Configuration::new(info.founders.iter().copied()),
                term: Term(0),
                leader: info.preferred_leader,
            });
        }
    }

    /// Takes a story in; returns whether it tells anything new of a group that there is.
    pub(super) fn learn(&mut self, group: GroupId, told: &Whereabouts) -> bool {
        let Some(known) = self.0.get_mut(&group) else { return false };
        let (moved, elected) = (told.committed > known.committed, told.term > known.term);
        if moved {
            (known.committed, known.configuration) = (told.committed, told.configuration.clone());
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

    /// Whether `node` is out of `group`, whatever the configuration says that stands at `place` in its
    /// replica's log, by term and index: that need not be committed, what is known here is.
    pub(super) fn excludes(&self, group: GroupId, node: NodeId, place: (Term, Index)) -> bool {
        let known = self.0.get(&group).filter(|known| known.committed >= place);
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
            committed: (Term(2), Index(index)),
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
        let excludes = |directory: &Directory, term, index| {
            directory.excludes(GROUP, NodeId(1), (Term(term), Index(index)))
        };
        assert!(!excludes(&directory, 0, 0), "a member at first");
        assert!(directory.learn(GROUP, &told(9, 2, 3, 2)));
        assert!(!directory.learn(GROUP, &told(9, 2, 3, 2)), "nothing new");
        assert!(directory.learn(GROUP, &told(4, 1, 5, 1)), "an older place, a later leader");
        assert_eq!(directory.find(GROUP), Some(&told(9, 2, 5, 1)));
        assert!(excludes(&directory, 2, 8));
        assert!(excludes(&directory, 2, 9), "whatever stands there");
        assert!(excludes(&directory, 1, 12), "begun in an earlier term, and lost");
        assert!(!excludes(&directory, 2, 10), "that is known better there");
        assert!(!excludes(&directory, 3, 7), "in a later term too");
        assert!(!directory.learn(GroupId(7), &told(9, 2, 3, 2)), "no such group");
    }
}
