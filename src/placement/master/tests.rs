use super::*;
use crate::base::{SLOT_COUNT, SlotSet};

fn node(id: u64) -> NodeInfo {
    NodeInfo {
        id: NodeId(id),
        client_address: format!("host{id}:1"),
        peer_address: format!("host{id}:2"),
    }
}

fn master(nodes: u64, groups: u32) -> Master {
    let nodes = (1..=nodes).map(node).collect();
    Master::new(ShardMap::initial(nodes, groups).expect("valid"))
}

/// What a command does at no time in particular.
fn apply(master: &mut Master, command: &Command) -> Result<u64, Refusal> {
    master.apply(command, WallTime(7))
}

fn owned(master: &Master) -> Vec<u32> {
    let map = master.latest();
    map.groups.iter().map(|group| map.owned(group.id).len()).collect()
}

fn members(master: &Master, node: u64) -> usize {
    let groups = master.latest().groups.iter();
    groups.filter(|group| group.members.contains(&NodeId(node))).count()
}

#[test]
fn groups_come_and_go_and_the_slots_stay_even() {
    let mut master = master(3, 3);
    assert_eq!(apply(&mut master, &Command::Join { groups: 2 }), Ok(2));
    assert_eq!(owned(&master), [3277, 3277, 3277, 3277, 3276]);
    assert_eq!(apply(&mut master, &Command::Leave { groups: vec![GroupId(1), GroupId(4)] }), Ok(3));
    assert_eq!(owned(&master), [0, 5462, 5461, 0, 5461]);
    assert_eq!(master.latest().leaving, [GroupId(1), GroupId(4)].into());
    assert_eq!(apply(&mut master, &Command::Forget(GroupId(4))), Ok(4));
    assert_eq!(apply(&mut master, &Command::Join { groups: 1 }), Ok(5));
    assert_eq!(master.latest().groups.last().map(|group| group.id), Some(GroupId(6)), "a new id");
}

#[test]
fn moved_slots_stay_until_the_next_evening_out() {
    let mut master = master(3, 2);
    let slots: Vec<Slot> = (0..100).filter_map(Slot::new).collect();
    let to = GroupId(2);
    assert_eq!(apply(&mut master, &Command::Move { slots: slots.clone(), to }), Ok(2));
    assert_eq!(owned(&master), [8092, 8292]);
    assert_eq!(apply(&mut master, &Command::Move { slots, to }), Err(Refusal::NoChange));
    apply(&mut master, &Command::Join { groups: 1 }).expect("accepted");
    assert_eq!(owned(&master), [5461, 5462, 5461]);
}

#[test]
fn a_node_comes_another_goes() {
    let mut master = master(3, 4);
    let refusal = apply(&mut master, &Command::Drain(NodeId(1)));
    let expected = Refusal::TooFewNodes { group: GroupId(1), replicas: 3, left: 2 };
    assert_eq!(refusal, Err(expected));
    assert_eq!(master.latest().epoch, 1, "nothing changed");
    apply(&mut master, &Command::AddNode(node(4))).expect("accepted");
    assert_eq!([1, 2, 3, 4].map(|id| members(&master, id)), [3, 3, 3, 3]);
    assert_eq!(
        apply(&mut master, &Command::RemoveNode(NodeId(1))),
        Err(Refusal::NotDrained(NodeId(1)))
    );
    apply(&mut master, &Command::Drain(NodeId(1))).expect("three are left");
    assert_eq!([1, 2, 3, 4].map(|id| members(&master, id)), [0, 4, 4, 4]);
    apply(&mut master, &Command::RemoveNode(NodeId(1))).expect("drained");
    assert_eq!(master.latest().nodes.len(), 3);
}

#[test]
fn a_lone_node_gets_company() {
    let mut master = master(1, 2);
    for id in 2..=3 {
        apply(&mut master, &Command::AddNode(node(id))).expect("accepted");
    }
    let groups = &master.latest().groups;
    assert!(groups.iter().all(|group| group.members == [1, 2, 3].map(NodeId)), "{groups:?}");
}

#[test]
fn refusals_say_why() {
    let mut master = master(3, 2);
    let (g1, g2, g9) = (GroupId(1), GroupId(2), GroupId(9));
    let slot = Slot::new(7).expect("small");
    for (command, refusal) in [
        (Command::Join { groups: 0 }, Refusal::NoChange),
        (Command::Join { groups: 5_000 }, Refusal::TooManyGroups),
        (Command::Leave { groups: vec![g1, g2] }, Refusal::LastGroup),
        (Command::Leave { groups: vec![g9] }, Refusal::UnknownGroup(g9)),
        (Command::Leave { groups: vec![] }, Refusal::NoChange),
        (Command::Leave { groups: vec![META] }, Refusal::MetaGroup),
        (Command::Move { slots: vec![slot], to: META }, Refusal::MetaGroup),
        (Command::Forget(META), Refusal::MetaGroup),
        (Command::Forget(g9), Refusal::UnknownGroup(g9)),
        (Command::Move { slots: vec![slot], to: g9 }, Refusal::UnknownGroup(g9)),
        (Command::Forget(g1), Refusal::NotLeaving(g1)),
        (Command::AddNode(node(0)), Refusal::ZeroNode),
        (
            Command::AddNode(NodeInfo { peer_address: "h".repeat(263), ..node(4) }),
            Refusal::LongAddress { length: 263 },
        ),
        (Command::AddNode(node(3)), Refusal::NoChange),
        (
            Command::AddNode(NodeInfo { peer_address: "host2:1".to_owned(), ..node(4) }),
            Refusal::AddressTaken { node: NodeId(2), address: "host2:1".to_owned() },
        ),
        (Command::Drain(NodeId(8)), Refusal::UnknownNode(NodeId(8))),
        (Command::Undrain(NodeId(1)), Refusal::NoChange),
    ] {
        let before = master.clone();
        assert_eq!(apply(&mut master, &command), Err(refusal), "{command:?}");
        assert_eq!(master, before, "{command:?}");
    }
}

fn random_command(master: &Master, random: &mut fastrand::Rng) -> Command {
    let group =
        |random: &mut fastrand::Rng| random.choice(&master.latest().groups).expect("a group").id;
    match random.u32(0..8) {
        0 => Command::Join { groups: random.u32(1..4) },
        1 => Command::Leave { groups: vec![group(random)] },
        2 => {
            let count = random.usize(0..300);
            let slots = (0..count).filter_map(|_| Slot::new(random.u16(0..SLOT_COUNT))).collect();
            Command::Move { slots, to: group(random) }
        }
        3 => Command::AddNode(node(random.u64(1..9))),
        4 => Command::Drain(NodeId(random.u64(1..9))),
        5 => Command::Undrain(NodeId(random.u64(1..9))),
        6 => Command::RemoveNode(NodeId(random.u64(1..9))),
        _ => Command::Forget(group(random)),
    }
}

fn check(master: &Master) {
    let map = master.latest();
    let hosts: Vec<NodeId> =
        map.nodes.iter().map(|node| node.id).filter(|id| !map.draining.contains(id)).collect();
    let owners: SlotSet = map
        .groups
        .iter()
        .flat_map(|group| map.owned(group.id).iter().collect::<Vec<_>>())
        .collect();
    assert_eq!(owners.len(), u32::from(SLOT_COUNT), "each slot has an owner that is listed");
    for group in map.all_groups() {
        assert!(group.id < master.next_group());
        assert!(group.members.iter().all(|member| hosts.contains(member)), "{group:?}: {hosts:?}");
        assert!(group.members.is_sorted_by(|a, b| a < b), "{group:?}");
        assert_eq!(group.members.len(), hosts.len().min(REPLICAS), "{group:?}");
        assert!(group.members.contains(&group.preferred_leader), "{group:?}");
        let owns = map.owned(group.id).len();
        assert!(owns == 0 || !map.leaving.contains(&group.id), "{group:?} owns {owns}");
    }
    assert_eq!(map.owned(META).len(), 0);
    let replicas: Vec<usize> = hosts.iter().map(|host| members(master, host.0)).collect();
    assert!(replicas.iter().max().expect("a host") - replicas.iter().min().expect("a host") <= 1);
}

#[test]
fn whatever_is_asked_the_map_is_whole_and_every_replica_has_the_same() {
    for seed in 0..20 {
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut first, mut second) = (master(3, 3), master(3, 3));
        let mut maps = vec![first.latest().clone()];
        for _ in 0..60 {
            let command = random_command(&first, &mut random);
            let told = apply(&mut first, &command);
            assert_eq!(told, apply(&mut second, &command));
            check(&first);
            if told.is_ok() {
                maps.push(first.latest().clone());
            }
        }
        assert_eq!(first, second);
        for map in maps {
            assert_eq!(first.query(map.epoch).as_ref(), Some(&map), "past epochs stay readable");
        }
        assert_eq!(first.query(0), None);
        assert_eq!(first.query(first.latest().epoch + 1), None);
    }
}

/// Who never had the answer asks again, and is told that nothing is left to do.
#[test]
fn what_is_done_twice_is_done_once() {
    let mut master = master(4, 3);
    let slots: Vec<Slot> = Slot::all().take(10).collect();
    for command in [
        Command::AddNode(node(5)),
        Command::AddNode(NodeInfo { client_address: "elsewhere:1".to_owned(), ..node(5) }),
        Command::Move { slots, to: GroupId(3) },
        Command::Leave { groups: vec![GroupId(1), GroupId(2), GroupId(1)] },
        Command::Forget(GroupId(1)),
        Command::Leave { groups: vec![GroupId(1)] },
        Command::Drain(NodeId(5)),
        Command::Undrain(NodeId(5)),
        Command::Drain(NodeId(1)),
        Command::RemoveNode(NodeId(1)),
    ] {
        let told = apply(&mut master, &command);
        let so_already = matches!(&command, Command::Leave { groups } if groups.len() == 1);
        assert_eq!(told.is_ok(), !so_already, "{command:?}: {told:?}");
        let before = master.clone();
        assert_eq!(apply(&mut master, &command), Err(Refusal::NoChange), "{command:?}");
        assert_eq!(master, before, "{command:?}");
    }
}

#[test]
fn the_order_in_which_things_are_listed_does_not_matter() {
    let mut random = fastrand::Rng::with_seed(3);
    let mut shuffled = |mut parts: MapParts| {
        random.shuffle(&mut parts.nodes);
        random.shuffle(&mut parts.groups);
        random.shuffle(&mut parts.ranges);
        for group in &mut parts.groups {
            random.shuffle(&mut group.members);
        }
        Master::new(ShardMap::from_parts(parts).expect("the same map"))
    };
    let first = ShardMap::initial((1..=5).map(node).collect(), 7).expect("valid");
    let commands = |reversed: bool| {
        let mut groups = vec![GroupId(2), GroupId(5), GroupId(8)];
        let mut slots: Vec<Slot> = Slot::all().step_by(7).collect();
        if reversed {
            groups.reverse();
            slots.reverse();
        }
        let to = GroupId(4);
        [Command::Join { groups: 3 }, Command::Leave { groups }, Command::Move { slots, to }]
    };
    let mut expected = Master::new(first.clone());
    for command in commands(false) {
        apply(&mut expected, &command).expect("accepted");
    }
    for round in 0..20 {
        let mut master = shuffled(first.parts());
        for command in commands(round % 2 == 1) {
            apply(&mut master, &command).expect("accepted");
        }
        assert_eq!(master.latest(), expected.latest());
    }
}

#[test]
fn the_meta_group_moves_only_when_it_must() {
    let mut master = master(2, 4);
    let meta = |master: &Master| {
        let meta = &master.latest().meta;
        (meta.members.iter().map(|member| member.0).collect::<Vec<_>>(), meta.preferred_leader.0)
    };
    assert_eq!(meta(&master), (vec![1, 2], 2));
    apply(&mut master, &Command::AddNode(node(3))).expect("accepted");
    assert_eq!(meta(&master), (vec![1, 2, 3], 2));
    for command in
        [Command::AddNode(node(4)), Command::AddNode(node(5)), Command::Join { groups: 9 }]
    {
        apply(&mut master, &command).expect("accepted");
        assert_eq!(meta(&master), (vec![1, 2, 3], 2));
    }
    apply(&mut master, &Command::Drain(NodeId(2))).expect("accepted");
    let (members, leader) = meta(&master);
    assert!(
        members.len() == 3 && !members.contains(&2) && members.contains(&leader),
        "{members:?}"
    );
    apply(&mut master, &Command::Undrain(NodeId(2))).expect("accepted");
    assert_eq!(meta(&master), (members, leader), "who came stays");
}

#[test]
fn a_group_remembers_its_founders_and_when_its_members_changed() {
    let mut master = master(3, 2);
    let dates = |master: &Master, group| {
        let info = master.latest().group(GroupId(group)).expect("listed");
        (info.founders.len(), info.born, info.members_epoch)
    };
    assert_eq!(dates(&master, 1), (3, 1, 1));
    apply(&mut master, &Command::AddNode(node(4))).expect("accepted");
    apply(&mut master, &Command::Join { groups: 1 }).expect("accepted");
    assert_eq!(dates(&master, 3), (3, 3, 3), "its members are not those of a change");
    let founders = master.latest().group(GroupId(3)).expect("listed").founders.clone();
    apply(&mut master, &Command::Drain(NodeId(4))).expect("accepted");
    let info = master.latest().group(GroupId(3)).expect("listed");
    assert!(founders.contains(&NodeId(4)) && !info.members.contains(&NodeId(4)), "{info:?}");
    assert_eq!((&info.founders, info.born, info.members_epoch), (&founders, 3, 4));
    for group in master.latest().all_groups() {
        let before = master.query(3).expect("kept");
        let before = before.group(group.id).expect("listed").clone();
        let same = before.members == group.members;
        assert_eq!(group.members_epoch == 4, !same, "{group:?}, {before:?}");
    }
}
