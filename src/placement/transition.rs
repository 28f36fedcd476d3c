//! What one group gains and loses from one epoch to the next.

use super::ShardMap;
use crate::base::{GroupId, Slot};

/// The slots of one group that change hands between two maps, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transition {
    /// What becomes the group's, and whose it was.
    pub gained: Vec<(Slot, GroupId)>,
    /// What was the group's, and whose it becomes.
    pub lost: Vec<(Slot, GroupId)>,
}

impl Transition {
    /// From `before` to `after`, for `group`, which need not be listed in either.
    pub fn between(before: &ShardMap, after: &ShardMap, group: GroupId) -> Self {
        let mut transition = Self::default();
        for slot in Slot::all() {
            match (before.group_of(slot), after.group_of(slot)) {
                (was, is) if was == is => {}
                (was, is) if is == group => transition.gained.push((slot, was)),
                (was, is) if was == group => transition.lost.push((slot, is)),
                _ => {}
            }
        }
        transition
    }

    /// Whether nothing changes hands.
    pub fn is_empty(&self) -> bool {
        self.gained.is_empty() && self.lost.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{NodeId, WallTime};
    use crate::placement::{Command, Master, NodeInfo};

    #[test]
    fn what_one_group_gains_another_loses() {
        let (client_address, peer_address) = ("host:1".to_owned(), "host:2".to_owned());
        let node = NodeInfo { id: NodeId(1), client_address, peer_address };
        let mut master = Master::new(ShardMap::initial(vec![node], 3).expect("valid"));
        let before = master.latest().clone();
        master.apply(&Command::Join { groups: 1 }, WallTime(0)).expect("accepted");
        let after = master.latest();
        let of = |group| Transition::between(&before, after, GroupId(group));
        assert_eq!(of(4).gained.len(), 4096);
        assert_eq!(of(4).lost, []);
        for group in 1..=3 {
            let transition = of(group);
            assert_eq!(transition.gained, []);
            assert!(transition.lost.iter().all(|&(_, to)| to == GroupId(4)));
            let (from, lost) = (GroupId(group), transition.lost);
            let taken = of(4).gained.into_iter().filter(|&(_, was)| was == from);
            assert!(taken.map(|(slot, _)| slot).eq(lost.into_iter().map(|(slot, _)| slot)));
        }
        assert!(Transition::between(after, after, GroupId(1)).is_empty());
        assert!(of(0).is_empty(), "the meta group owns no slots");
    }
}
