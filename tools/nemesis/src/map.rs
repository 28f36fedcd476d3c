//! The shard map, as the shard master tells it.

use std::collections::BTreeMap;

use serde::Deserialize;
use sunstar::base::Slot;

/// The map of one epoch.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Map {
    pub(crate) epoch: u64,
    nodes: Vec<MapNode>,
    /// The shard master's group: it owns no slots.
    meta: MapGroup,
    groups: Vec<MapGroup>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct MapNode {
    node: u64,
    draining: bool,
}

/// A group.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct MapGroup {
    pub(crate) group: u32,
    /// The nodes that are to hold it.
    pub(crate) members: Vec<u64>,
    /// Whether it is to own nothing.
    pub(crate) leaving: bool,
    /// How many slots it is to own.
    pub(crate) slot_count: usize,
    /// Which: runs, both ends included.
    #[serde(default)]
    slots: Vec<(u16, u16)>,
    /// None: its leader has not said yet.
    progress: Option<Progress>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Progress {}

impl Map {
    /// The groups that may own slots.
    pub(crate) fn groups(&self) -> &[MapGroup] {
        &self.groups
    }

    /// These, and the shard master's.
    pub(crate) fn all_groups(&self) -> impl Iterator<Item = &MapGroup> {
        std::iter::once(&self.meta).chain(&self.groups)
    }

    /// The groups that are to own slots.
    pub(crate) fn serving(&self) -> Vec<&MapGroup> {
        self.groups.iter().filter(|group| !group.leaving).collect()
    }

    /// Who is to hold a group.
    pub(crate) fn members(&self, group: u32) -> Option<&[u64]> {
        let found = self.groups.iter().find(|info| info.group == group);
        found.map(|info| &info.members[..])
    }

    /// Whether a node is listed, and if so, whether it is to hold nothing.
    pub(crate) fn draining(&self, node: u64) -> Option<bool> {
        self.nodes.iter().find(|listed| listed.node == node).map(|listed| listed.draining)
    }

    /// Whether a group may wait for its founders still: nobody has heard of a leader.
    pub(crate) fn has_births(&self) -> bool {
        self.groups.iter().any(|group| group.progress.is_none())
    }

    /// The owner of each slot; 0 of none.
    pub(crate) fn owners(&self) -> Vec<u32> {
        let mut owners = vec![0; Slot::all().count()];
        for group in &self.groups {
            for &(first, last) in &group.slots {
                owners[usize::from(first)..=usize::from(last)].fill(group.group);
            }
        }
        owners
    }

    /// A key of each group that owns slots.
    pub(crate) fn keys(&self) -> BTreeMap<u32, String> {
        let owners = self.owners();
        let wanted = self.groups.iter().filter(|group| !group.slots.is_empty()).count();
        let mut keys = BTreeMap::new();
        for number in 0..KEYS_TRIED {
            let key = format!("probe-{number}");
            keys.entry(owners[Slot::of_key(key.as_bytes()).position()]).or_insert(key);
            if keys.len() == wanted {
                break;
            }
        }
        keys
    }
}

/// In so many keys there is one of every slot, but for bad luck.
const KEYS_TRIED: u32 = 300_000;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A group, its members, its slots.
    type Placed<'a> = (u32, &'a [u64], &'a [(u16, u16)]);

    /// A map with these groups.
    pub(crate) fn map(epoch: u64, groups: &[Placed<'_>]) -> Map {
        let group = |&(group, members, slots): &Placed<'_>| MapGroup {
            group,
            members: members.to_vec(),
            leaving: false,
            slot_count: slots.iter().map(|run| usize::from(run.1 - run.0) + 1).sum(),
            slots: slots.to_vec(),
            progress: Some(Progress {}),
        };
        let groups: Vec<_> = groups.iter().map(group).collect();
        let mut nodes: Vec<u64> = groups.iter().flat_map(|group| group.members.clone()).collect();
        nodes.sort_unstable();
        nodes.dedup();
        let nodes = nodes.into_iter().map(|node| MapNode { node, draining: false }).collect();
        let meta = MapGroup { group: 0, members: vec![1, 2, 3], ..MapGroup::default() };
        Map { epoch, nodes, meta, groups }
    }

    #[test]
    fn every_group_with_slots_has_a_key() {
        let all = [1, 2, 3];
        let map = map(
            3,
            &[(1, &all, &[(0, 99), (101, 16_383)]), (2, &all, &[(100, 100)]), (5, &all, &[])],
        );
        let keys = map.keys();
        assert_eq!(keys.keys().copied().collect::<Vec<_>>(), [1, 2]);
        assert_eq!(Slot::of_key(keys[&2].as_bytes()).number(), 100);
    }

    #[test]
    fn what_is_printed_is_read() {
        let said = r#"{"epoch":7,"nodes":[{"node":1,"client_address":"a:1","peer_address":"a:2",
            "draining":true}],"meta":{"group":0,"members":[1],"preferred_leader":1,"leaving":false,
            "slot_count":0,"slots":[],"progress":null},"groups":[{"group":1,"members":[1],
            "preferred_leader":1,"leaving":false,"slot_count":16384,"slots":[[0,16383]],"progress":
            {"epoch":7,"members_epoch":1,"arriving":0,"leaving":0}}],"history":[]}"#;
        let map: Map = serde_json::from_str(said).expect("as `sunstar ctl groups` prints it");
        assert_eq!((map.epoch, map.draining(1), map.draining(2)), (7, Some(true), None));
        assert!(!map.has_births() && map.owners().iter().all(|owner| *owner == 1));
    }
}
