use std::collections::BTreeMap;

use super::*;

fn nodes(count: u64) -> Vec<NodeInfo> {
    (1..=count).map(|id| node(id * 7 % 257)).collect()
}

fn node(id: u64) -> NodeInfo {
    NodeInfo {
        id: NodeId(id),
        client_address: format!("10.0.0.{id}:7001"),
        peer_address: format!("10.0.0.{id}:7002"),
    }
}

/// Largest minus smallest.
fn spread<K>(counts: &BTreeMap<K, usize>) -> usize {
    let values = counts.values();
    values.clone().max().expect("counted something") - values.min().expect("counted something")
}

#[test]
fn every_layout_is_even() {
    for count in 1..=9 {
        for groups in (1..=40).chain([97, 1_000, 16_384]) {
            let map = ShardMap::initial(nodes(count), groups).expect("a valid list");
            check_slots(&map, groups);
            check_members_even(&map);
            for smp in [1, 2, 3, 4, 7, 16] {
                check_leaders_even(&map, smp);
            }
        }
    }
}

fn check_slots(map: &ShardMap, groups: u32) {
    let ranges = map.ranges();
    assert_eq!(ranges.len(), groups as usize, "one run a group");
    let sizes: BTreeMap<_, _> =
        ranges.iter().map(|&(first, last, group)| (group, usize::from(last - first))).collect();
    assert!(spread(&sizes) <= 1, "{sizes:?}");
    assert_eq!((ranges[0].0, ranges[ranges.len() - 1].1), (0, SLOT_COUNT - 1));
    assert!(ranges.windows(2).all(|pair| pair[0].1 + 1 == pair[1].0));
}

fn check_members_even(map: &ShardMap) {
    let replicas = map.nodes.len().min(3);
    let mut held: BTreeMap<NodeId, usize> = map.nodes.iter().map(|node| (node.id, 0)).collect();
    for group in &map.groups {
        assert_eq!(group.members.len(), replicas);
        assert!(group.members.is_sorted_by(|a, b| a < b), "{group:?}");
        assert!(group.members.contains(&group.preferred_leader), "{group:?}");
        for member in &group.members {
            *held.get_mut(member).expect("a listed node") += 1;
        }
    }
    let divides = map.groups.len().is_multiple_of(map.nodes.len());
    assert!(spread(&held) <= if divides { 0 } else { replicas }, "{held:?}");
}

fn check_leaders_even(map: &ShardMap, smp: u16) {
    let mut on_node: BTreeMap<NodeId, usize> = map.nodes.iter().map(|n| (n.id, 0)).collect();
    let mut on_core: BTreeMap<NodeId, BTreeMap<CoreId, usize>> = BTreeMap::new();
    for node in &map.nodes {
        on_core.insert(node.id, (0..smp).map(|core| (CoreId(core), 0)).collect());
    }
    for group in &map.groups {
        let (leader, core) = (group.preferred_leader, ShardMap::home_core(group.id, smp));
        *on_node.get_mut(&leader).expect("a listed node") += 1;
        let cores = on_core.get_mut(&leader).expect("a listed node");
        *cores.get_mut(&core).expect("one of its cores") += 1;
    }
    assert!(spread(&on_node) <= 1, "{on_node:?}");
    for cores in on_core.values() {
        assert!(spread(cores) <= 1, "{cores:?}");
    }
}

#[test]
fn as_many_groups_as_cores_gives_each_core_one_leader_and_equal_replicas() {
    for count in 3..=9_u16 {
        for smp in 1..=8 {
            let map = ShardMap::initial(nodes(u64::from(count)), u32::from(count * smp));
            let map = map.expect("a valid list");
            for node in &map.nodes {
                for core in (0..smp).map(CoreId) {
                    let here: Vec<_> = map.groups_on(node.id, core, smp).collect();
                    let led = here.iter().filter(|group| group.preferred_leader == node.id);
                    assert_eq!((here.len(), led.count()), (3, 1), "{count}×{smp} {}", node.id);
                }
            }
        }
    }
}

#[test]
fn the_order_of_the_list_does_not_matter() {
    let mut rng = fastrand::Rng::with_seed(1);
    let expected = ShardMap::initial(nodes(7), 23);
    for _ in 0..20 {
        let mut shuffled = nodes(7);
        rng.shuffle(&mut shuffled);
        assert_eq!(ShardMap::initial(shuffled, 23), expected);
    }
}

#[test]
fn what_a_map_says_of_itself_makes_the_same_map() {
    let map = ShardMap::initial(nodes(5), 12).expect("a valid list");
    assert_eq!(ShardMap::from_parts(map.parts()).as_ref(), Ok(&map));
    for group in &map.groups {
        let owned = map.owned(group.id);
        assert!(owned.iter().all(|slot| map.group_of(slot) == group.id));
        assert_eq!(map.group(group.id), Some(group));
    }
    let owned: u32 = map.groups.iter().map(|group| map.owned(group.id).len()).sum();
    assert_eq!(owned, u32::from(SLOT_COUNT));
    assert_eq!(map.node(NodeId(14)), Some(&node(14)));
    assert_eq!((map.node(NodeId(1)), map.group(GroupId(13))), (None, None));
    assert_eq!(map.group(META), Some(&map.meta));
    let ids: Vec<u32> = map.all_groups().map(|group| group.id.0).collect();
    assert_eq!(ids, (0..=12).collect::<Vec<u32>>());
}

#[test]
fn a_bad_list_is_refused_by_name() {
    let refused = |nodes, groups| ShardMap::initial(nodes, groups).expect_err("a bad list");
    assert_eq!(refused(vec![], 1), PlacementError::NoNodes);
    assert_eq!(refused(vec![node(1), node(0)], 1), PlacementError::ZeroNode);
    assert_eq!(
        refused(vec![node(2), node(1), node(2)], 1),
        PlacementError::DuplicateNode(NodeId(2))
    );
    assert_eq!(refused((1..=65).map(node).collect(), 1), PlacementError::TooManyNodes(65));
    assert_eq!(refused(vec![node(1)], 0), PlacementError::NoGroups);
    assert_eq!(
        refused(vec![node(1)], 16_385).to_string(),
        "16385 groups, but there are only 16384 slots to own"
    );
}

#[test]
fn parts_that_do_not_fit_are_refused_by_name() {
    let group = |id, members: &[u64], leader| {
        let members = members.iter().copied().map(NodeId).collect();
        GroupInfo::new(GroupId(id), members, NodeId(leader), 1)
    };
    let all = [(0, SLOT_COUNT - 1, GroupId(1))];
    let parts = |groups, ranges: &[SlotRange]| MapParts {
        epoch: 2,
        nodes: vec![node(1), node(2)],
        meta: group(0, &[2], 2),
        groups,
        draining: vec![],
        leaving: vec![],
        ranges: ranges.to_vec(),
        handovers: vec![],
    };
    let refused =
        |groups, ranges: &[_]| ShardMap::from_parts(parts(groups, ranges)).expect_err("bad parts");
    let (g1, n3) = (GroupId(1), NodeId(3));
    assert_eq!(refused(vec![], &all), PlacementError::NoGroups);
    assert_eq!(refused(vec![group(0, &[1], 1)], &all), PlacementError::ZeroGroup);
    let twice = vec![group(1, &[1], 1), group(1, &[2], 2)];
    assert_eq!(refused(twice, &all), PlacementError::DuplicateGroup(g1));
    assert_eq!(refused(vec![group(1, &[], 1)], &all), PlacementError::NoMembers(g1));
    let unknown = PlacementError::UnknownNode { group: g1, node: n3 };
    assert_eq!(refused(vec![group(1, &[1, 3], 1)], &all), unknown);
    let outsider = PlacementError::LeaderNotMember { group: g1, node: NodeId(2) };
    assert_eq!(refused(vec![group(1, &[1], 2)], &all), outsider);
    for (ranges, slot) in [
        (vec![(1, SLOT_COUNT - 1, g1)], 0),
        (vec![(0, SLOT_COUNT, g1)], SLOT_COUNT),
        (vec![(0, SLOT_COUNT - 1, g1), (5, 5, g1)], 5),
        (vec![(0, SLOT_COUNT - 1, GroupId(2))], 0),
    ] {
        assert_eq!(refused(vec![group(1, &[1], 1)], &ranges), PlacementError::SlotOwners(slot));
    }
    let whole = parts(vec![group(1, &[1], 1)], &all);
    let refused = |parts| ShardMap::from_parts(parts).expect_err("bad parts");
    for (parts, refusal) in [
        (MapParts { epoch: 0, ..whole.clone() }, PlacementError::Epoch(0)),
        (MapParts { meta: group(1, &[1], 1), ..whole.clone() }, PlacementError::NotMeta(g1)),
        (MapParts { meta: group(0, &[], 1), ..whole.clone() }, PlacementError::NoMembers(META)),
        (MapParts { draining: vec![n3], ..whole.clone() }, PlacementError::UnknownDraining(n3)),
        (MapParts { leaving: vec![META], ..whole.clone() }, PlacementError::UnknownLeaving(META)),
    ] {
        assert_eq!(refused(parts), refusal);
    }
    assert!(ShardMap::from_parts(whole).is_ok());
    let long = NodeInfo { peer_address: "h".repeat(263), ..node(1) };
    let refusal = PlacementError::LongAddress { node: NodeId(1), length: 263 };
    assert_eq!(ShardMap::initial(vec![long], 1), Err(refusal));
}

/// Over all numbers of groups the meta group's leader is never the one node that leads most others.
#[test]
fn the_meta_group_is_on_the_first_nodes_and_led_by_one_that_leads_least() {
    for count in 1..=5 {
        for groups in 1..=20 {
            let map = ShardMap::initial(nodes(count), groups).expect("a valid list");
            let first: Vec<NodeId> = map.nodes.iter().map(|node| node.id).take(3).collect();
            assert_eq!(map.meta.members, first);
            let leads = |node: NodeId| {
                map.groups.iter().filter(|group| group.preferred_leader == node).count()
            };
            let fewest = first.iter().map(|&node| leads(node)).min();
            assert_eq!(Some(leads(map.meta.preferred_leader)), fewest);
        }
    }
}
