use super::*;
use crate::base::GroupId;

/// Every way to give `items` items to `holders` holders.
fn all_ways(items: usize, holders: &[u8]) -> Vec<Vec<u8>> {
    let mut ways = vec![Vec::new()];
    for _ in 0..items {
        let longer = |way: &Vec<u8>| {
            holders.iter().map(|&holder| [&way[..], &[holder]].concat()).collect::<Vec<_>>()
        };
        ways = ways.iter().flat_map(longer).collect();
    }
    ways
}

fn is_even(owners: &[u8], holders: &[u8]) -> bool {
    let count = |holder: &u8| owners.iter().map(|owner| usize::from(owner == holder)).sum();
    let counts: Vec<usize> = holders.iter().map(count).collect();
    counts.iter().max().expect("some") - counts.iter().min().expect("some") <= 1
}

fn moves(before: &[u8], after: &[u8]) -> usize {
    before.iter().zip(after).filter(|(before, after)| before != after).count()
}

/// Every state of six items with four holders, one of which may be gone, against all ways there are.
#[test]
fn no_way_of_evening_out_moves_less() {
    for holders in [&[1, 2, 3][..], &[1, 2, 3, 4], &[2, 4], &[3]] {
        let even: Vec<Vec<u8>> =
            all_ways(6, holders).into_iter().filter(|way| is_even(way, holders)).collect();
        for before in all_ways(6, &[1, 2, 3, 4]) {
            let mut after = before.clone();
            even_out(&mut after, holders);
            assert!(is_even(&after, holders), "{before:?} to {after:?}");
            let fewest = even.iter().map(|way| moves(&before, way)).min().expect("some way");
            assert_eq!(moves(&before, &after), fewest, "{before:?} to {after:?} of {holders:?}");
            let mut again = after.clone();
            even_out(&mut again, holders);
            assert_eq!(again, after, "what is even stays");
        }
    }
}

fn group(id: u32, members: &[u64], leader: u64) -> GroupInfo {
    let members = members.iter().copied().map(NodeId).collect();
    let founders = Vec::new();
    GroupInfo { founders, ..GroupInfo::new(GroupId(id), members, NodeId(leader), 1) }
}

fn random_groups(random: &mut fastrand::Rng, nodes: u64) -> Vec<GroupInfo> {
    let mut all: Vec<u64> = (1..=nodes).collect();
    let count = random.u32(1..20);
    let one = |id| {
        random.shuffle(&mut all);
        let mut members = all[..all.len().min(3)].to_vec();
        let leader = *random.choice(&members).expect("members");
        members.sort_unstable();
        group(id, &members, leader)
    };
    (1..=count).map(one).collect()
}

#[test]
fn a_group_grows_with_the_cluster() {
    let mut groups = [group(1, &[1], 1), group(2, &[1], 1)];
    spread_replicas(&mut groups, &[1, 2].map(NodeId), 3);
    assert_eq!(groups, [group(1, &[1, 2], 1), group(2, &[1, 2], 1)]);
    spread_replicas(&mut groups, &[1, 2, 3, 4].map(NodeId), 3);
    assert!(groups.iter().all(|group| group.members.len() == 3), "{groups:?}");
}

fn replicas(groups: &[GroupInfo], node: u64) -> usize {
    groups.iter().filter(|group| group.members.contains(&NodeId(node))).count()
}

fn leads(groups: &[GroupInfo], node: u64) -> usize {
    groups.iter().filter(|group| group.preferred_leader == NodeId(node)).count()
}

fn spread(counts: impl Iterator<Item = usize>) -> usize {
    let counts: Vec<usize> = counts.collect();
    counts.iter().max().expect("some") - counts.iter().min().expect("some")
}

#[test]
fn replicas_are_even_and_no_more_move_than_must() {
    let mut random = fastrand::Rng::with_seed(5);
    for round in 0..2_000 {
        let before = random_groups(&mut random, 5);
        // One node comes, and perhaps one goes.
        let gone = round % 3;
        let nodes: Vec<NodeId> = (1..=6).filter(|&node| node != gone).map(NodeId).collect();
        let mut after = before.clone();
        spread_replicas(&mut after, &nodes, 3);
        assert!(spread(nodes.iter().map(|node| replicas(&after, node.0))) <= 1);
        let mut moved = 0;
        for (before, after) in before.iter().zip(&after) {
            assert_eq!(before.members.len(), after.members.len());
            assert!(after.members.is_sorted_by(|a, b| a < b), "{after:?}");
            assert!(after.members.iter().all(|member| nodes.contains(member)), "{after:?}");
            assert!(after.members.contains(&after.preferred_leader), "{after:?}");
            moved += after.members.iter().filter(|it| !before.members.contains(it)).count();
        }
        // What each node has too little of has to come from somewhere: no way moves less than that.
        let total: usize = before.iter().map(|group| group.members.len()).sum();
        let had = |node: &NodeId| replicas(&before, node.0);
        let must = fewest_moves(&nodes.iter().map(had).collect::<Vec<_>>(), total);
        // Unless one node is gone: what it had cannot always go where there is most room.
        let slack = if gone == 0 { 0 } else { replicas(&before, gone) };
        assert!((must..=must + slack).contains(&moved), "{moved}, {must}: {before:?} to {after:?}");
    }
}

/// How many replicas must come to nodes that have so many now, if each is to have its share of `total`.
fn fewest_moves(counts: &[usize], total: usize) -> usize {
    let (each, rest) = (total / counts.len(), total % counts.len());
    let mut sorted = counts.to_vec();
    sorted.sort_unstable_by(|a, b| b.cmp(a));
    let target = |place: usize| each + usize::from(place < rest);
    sorted.iter().enumerate().map(|(place, &count)| target(place).saturating_sub(count)).sum()
}

#[test]
fn a_group_has_no_more_replicas_than_there_are_nodes() {
    let mut groups = [group(1, &[1, 2, 3], 3), group(2, &[1, 2, 3], 1)];
    spread_replicas(&mut groups, &[1, 2].map(NodeId), 3);
    assert_eq!(groups, [group(1, &[1, 2], 1), group(2, &[1, 2], 1)]);
}

#[test]
fn leaders_are_even_wherever_members_allow_it() {
    let mut random = fastrand::Rng::with_seed(6);
    for _ in 0..2_000 {
        let mut groups = random_groups(&mut random, 6);
        let before = groups.clone();
        spread_leaders(&mut groups);
        for (before, after) in before.iter().zip(&groups) {
            assert_eq!(before.members, after.members);
            assert!(after.members.contains(&after.preferred_leader));
        }
        // Where nothing stands in the way: every group on every node.
        for group in &mut groups {
            group.members = (1..=6).map(NodeId).collect();
        }
        spread_leaders(&mut groups);
        assert!(spread((1..=6).map(|node| leads(&groups, node))) <= 1, "{groups:?}");
    }
}

#[test]
fn a_leadership_may_pass_through_a_node_that_leads_as_many_as_before() {
    let mut groups = [
        group(1, &[1, 2], 1),
        group(2, &[1, 2], 1),
        group(3, &[2, 3], 2),
        group(4, &[2, 3], 2),
        group(5, &[1, 2], 1),
    ];
    spread_leaders(&mut groups);
    assert_eq!([1, 2, 3].map(|node| leads(&groups, node)), [2, 2, 1], "{groups:?}");
}

/// Every way to choose `count` of `nodes`.
fn choices(nodes: &[u64], count: usize) -> Vec<Vec<u64>> {
    let Some((&first, rest)) = nodes.split_first() else {
        return if count == 0 { vec![vec![]] } else { vec![] };
    };
    let mut all = choices(rest, count);
    if count > 0 {
        let with_first = |rest: Vec<u64>| [&[first][..], &rest].concat();
        all.extend(choices(rest, count - 1).into_iter().map(with_first));
    }
    all
}

/// Every way to take one of each of `options`.
fn combinations<T: Clone>(options: &[Vec<T>]) -> Vec<Vec<T>> {
    let mut all = vec![Vec::new()];
    for option in options {
        let longer = |way: &Vec<T>| {
            let way = way.clone();
            option.iter().map(move |item| [&way[..], std::slice::from_ref(item)].concat()).collect()
        };
        all = all.iter().flat_map(|way| -> Vec<Vec<T>> { longer(way) }).collect();
    }
    all
}

/// How many replicas must come to a node, at least, for all nodes to hold as many as each other.
fn fewest_replicas_to_move(before: &[GroupInfo], nodes: &[u64], replicas: usize) -> usize {
    let sets = choices(nodes, replicas);
    let holds = |way: &[Vec<u64>], node| way.iter().filter(|set| set.contains(node)).count();
    let is_even = |way: &[Vec<u64>]| spread(nodes.iter().map(|node| holds(way, node))) <= 1;
    let ways = combinations(&vec![sets; before.len()]).into_iter().filter(|way| is_even(way));
    let moved = |way: Vec<Vec<u64>>| {
        let added = way.iter().zip(before).map(|(set, group)| {
            set.iter().filter(|&&node| !group.members.contains(&NodeId(node))).count()
        });
        added.sum::<usize>()
    };
    ways.map(moved).min().expect("some way")
}

#[test]
fn no_way_of_spreading_replicas_moves_less() {
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..40 {
        let sets = choices(&[1, 2, 3, 4], 2);
        let one = |id| {
            let members = random.choice(&sets).expect("some").clone();
            group(id, &members, members[0])
        };
        let before: Vec<GroupInfo> = (1..=4).map(one).collect();
        for nodes in [&[1, 2, 3, 4][..], &[1, 2, 3, 4, 5], &[2, 3, 4], &[1, 3, 4, 5], &[2, 3]] {
            let mut after = before.clone();
            spread_replicas(&mut after, &nodes.iter().copied().map(NodeId).collect::<Vec<_>>(), 2);
            assert!(spread(nodes.iter().map(|&node| replicas(&after, node))) <= 1, "{after:?}");
            let added = after.iter().zip(&before).map(|(after, before)| {
                after.members.iter().filter(|member| !before.members.contains(member)).count()
            });
            let fewest = fewest_replicas_to_move(&before, nodes, 2);
            assert_eq!(added.sum::<usize>(), fewest, "{before:?} on {nodes:?} to {after:?}");
        }
    }
}

/// How uneven the leaders of `groups` are: the smaller, the more even.
fn unevenness(leaders: &[u64], nodes: u64) -> usize {
    let leads = |node| leaders.iter().filter(|&&leader| leader == node).count();
    (1..=nodes).map(|node| leads(node).pow(2)).sum()
}

#[test]
fn no_way_of_choosing_leaders_is_more_even_or_changes_less() {
    let mut random = fastrand::Rng::with_seed(8);
    for round in 0..3_000 {
        let nodes = 3 + round % 4;
        let mut before = random_groups(&mut random, nodes);
        before.truncate(6);
        if round % 2 == 0 {
            for group in &mut before {
                group.members.truncate(2);
                settle(group);
            }
        }
        let members =
            |group: &GroupInfo| group.members.iter().map(|node| node.0).collect::<Vec<_>>();
        let ways = combinations(&before.iter().map(members).collect::<Vec<_>>());
        let leaders = |groups: &[GroupInfo]| -> Vec<u64> {
            groups.iter().map(|group| group.preferred_leader.0).collect()
        };
        let former = leaders(&before);
        let cost = |way: &Vec<u64>| {
            let changed = way.iter().zip(&former).filter(|(a, b)| a != b).count();
            (unevenness(way, nodes), changed)
        };
        let mut after = before.clone();
        spread_leaders(&mut after);
        let least = ways.iter().map(cost).min();
        assert_eq!(Some(cost(&leaders(&after))), least, "{before:?} to {after:?}");
    }
}
