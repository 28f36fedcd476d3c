//! The fault atlas: which nodes' disks may be harmed now, so that what is promised can be kept.
//!
//! Repair takes a majority that remembers. So of the voters of each group, in each configuration that may
//! be in force, at most a minority is *ill* at any time: its disk was harmed, emptied or taken away, and
//! the others have not made up for it yet. Who is ill already may be harmed again. Crashes and power
//! losses take nothing away that was promised, and are not asked about here.
//!
//! ```text
//!             harmed                    certain, and a start would be
//!   sound ──────────────▶ harmed ──────────────────────────────────────▶ sound
//!     │                     │ a start is refused by name
//!     │ the disk is lost    ▼                       every group counts it again
//!     └──────────────────▶ lost ───────────────────────────────────────▶ sound
//! ```
//!
//! It only keeps the books: the caller looks at disks and replicas, and tells.
//!
//! Source: the fault atlas of `TigerBeetle`'s simulator (`storage.zig`, `ClusterFaultAtlas`).

use std::collections::BTreeMap;

use crate::base::NodeId;

/// What is wrong with a node's disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Illness {
    /// Something on it is not what was written, or is gone.
    Harmed,
    /// All of it is gone, with the node's identity: an administrator has to let the node in again.
    Lost,
}

/// Who is ill.
#[derive(Clone, Debug, Default)]
pub struct Atlas {
    ill: BTreeMap<NodeId, Illness>,
}

/// What is known of a node that is ill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition {
    /// It runs, and none of its replicas doubts anything.
    pub certain: bool,
    /// Nor would they, were it started from what is on its disk now; and no harm is pending there.
    pub would_be_certain: bool,
    /// In the configuration of each group that it is to vote in, its disk is named and it votes.
    pub votes: bool,
}

impl Atlas {
    /// Whether a node's disk may be harmed. `voters`: the voters of every configuration of every group
    /// that some node goes by, or may yet.
    pub fn may_harm<'a>(
        &self,
        node: NodeId,
        voters: impl IntoIterator<Item = &'a [NodeId]>,
    ) -> bool {
        let ill = |voter: &&NodeId| **voter == node || self.ill.contains_key(voter);
        voters.into_iter().all(|voters| {
            !voters.contains(&node) || 2 * voters.iter().filter(ill).count() < voters.len()
        })
    }

    /// A node's disk was harmed.
    pub fn harmed(&mut self, node: NodeId) {
        self.ill.entry(node).or_insert(Illness::Harmed);
    }

    /// A node's disk was lost.
    pub fn lost(&mut self, node: NodeId) {
        self.ill.insert(node, Illness::Lost);
    }

    /// What is wrong with a node.
    pub fn illness(&self, node: NodeId) -> Option<Illness> {
        self.ill.get(&node).copied()
    }

    /// Who is ill, ascending.
    pub fn ill(&self) -> impl Iterator<Item = (NodeId, Illness)> {
        self.ill.iter().map(|(&node, &illness)| (node, illness))
    }

    /// Takes in how an ill node does; whether it is sound again.
    pub fn examine(&mut self, node: NodeId, condition: Condition) -> bool {
        let Condition { certain, would_be_certain, votes } = condition;
        let sound = match self.illness(node) {
            None => false,
            Some(Illness::Harmed) => certain && would_be_certain,
            Some(Illness::Lost) => certain && would_be_certain && votes,
        };
        if sound {
            self.ill.remove(&node);
        }
        sound
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: Condition = Condition { certain: true, would_be_certain: true, votes: true };

    fn nodes(ids: &[u64]) -> Vec<NodeId> {
        ids.iter().copied().map(NodeId).collect()
    }

    #[test]
    fn a_minority_of_each_configuration_is_ill_at_most() {
        let three = [nodes(&[1, 2, 3]), nodes(&[3, 4, 5])];
        let may = |atlas: &Atlas, id, sets: &[Vec<NodeId>]| {
            atlas.may_harm(NodeId(id), sets.iter().map(Vec::as_slice))
        };
        let mut atlas = Atlas::default();
        assert!((1..=6).all(|id| may(&atlas, id, &three)));
        atlas.harmed(NodeId(1));
        let allowed: Vec<u64> = (1..=6).filter(|&id| may(&atlas, id, &three)).collect();
        assert_eq!(allowed, [1, 4, 5, 6], "two and three vote with one; six votes nowhere");
        let five = [nodes(&[1, 2, 3, 4, 5])];
        assert!(may(&atlas, 2, &five));
        atlas.lost(NodeId(2));
        assert!(!may(&atlas, 3, &five) && may(&atlas, 2, &five));
        let alone = [nodes(&[7]), nodes(&[8, 9])];
        assert!(!may(&atlas, 7, &alone) && !may(&atlas, 8, &alone));
    }

    #[test]
    fn who_is_ill_is_sound_again_once_all_was_made_up_for() {
        let (mut atlas, node) = (Atlas::default(), NodeId(1));
        atlas.harmed(node);
        assert!(!atlas.examine(node, Condition { would_be_certain: false, ..SOUND }));
        assert!(!atlas.examine(node, Condition { certain: false, ..SOUND }));
        atlas.lost(node);
        atlas.harmed(node);
        assert_eq!(atlas.ill().collect::<Vec<_>>(), [(node, Illness::Lost)]);
        assert!(!atlas.examine(node, Condition { votes: false, ..SOUND }));
        assert!(atlas.examine(node, SOUND));
        assert_eq!(atlas.illness(node), None);
    }
}
