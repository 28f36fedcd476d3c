use super::*;
use crate::placement::{Command, Master, MasterParts};

fn master(groups: u32) -> Master {
    let node = |id| {
        let (client_address, peer_address) = (format!("host{id}:1"), format!("host{id}:2"));
        NodeInfo { id: NodeId(id), client_address, peer_address }
    };
    Master::new(ShardMap::initial((1..=4).map(node).collect(), groups).expect("valid"))
}

#[test]
fn scattered_moves_take_little_room_and_the_oldest_go_first() {
    let mut master = master(2);
    // Every second slot: as many runs as there can be.
    let slots: Vec<Slot> = Slot::all().filter(|slot| slot.number() % 2 == 0).collect();
    for turn in 0..100 {
        let to = GroupId(1 + turn % 2);
        master.apply(&Command::Move { slots: slots.clone(), to }, WallTime(0)).expect("accepted");
    }
    let ranges: usize = master.history().map(|change| change.ranges.len()).sum();
    assert!((PIECES_KEPT - slots.len()..=PIECES_KEPT).contains(&ranges), "{ranges}");
    let oldest = master.history().next().expect("some").epoch - 1;
    assert_eq!(master.query(oldest).map(|map| map.epoch), Some(oldest));
    assert_eq!(master.query(oldest - 1), None);
}

#[test]
fn so_many_epochs_are_remembered() {
    let mut master = master(1);
    for turn in 0..EPOCHS_MAX as u64 {
        let node = NodeId(1);
        let command = if turn % 2 == 0 { Command::Drain(node) } else { Command::Undrain(node) };
        master.apply(&command, WallTime(turn)).expect("accepted");
    }
    let latest = EPOCHS_MAX as u64 + 1;
    assert_eq!(master.latest().epoch, latest);
    assert_eq!(master.history().len(), EPOCHS_MAX - 1);
    assert_eq!(master.query(1), None);
    assert_eq!(master.query(2).map(|map| map.epoch), Some(2));
}

#[test]
fn what_happened_is_told() {
    let mut master = master(2);
    let first = master.latest().clone();
    master.apply(&Command::Join { groups: 1 }, WallTime(5)).expect("accepted");
    master.apply(&Command::Leave { groups: vec![GroupId(1)] }, WallTime(7)).expect("accepted");
    master.apply(&Command::Drain(NodeId(2)), WallTime(9)).expect("accepted");
    let told: Vec<_> = master
        .history()
        .map(|change| (change.epoch, change.at.0, change.reason.to_string(), change.slots()))
        .collect();
    let expected = [
        (2, 5, "join 1".to_owned(), 5461),
        (3, 7, "leave g1".to_owned(), 5462),
        (4, 9, "drain n2".to_owned(), 0),
    ];
    assert_eq!(told, expected);
    assert_eq!(master.query(1), Some(first));
}

/// What another node tells is undone once before it is believed.
#[test]
fn a_history_that_does_not_lead_to_the_map_is_refused() {
    let mut master = master(2);
    master.apply(&Command::Join { groups: 1 }, WallTime(5)).expect("accepted");
    master.apply(&Command::Drain(NodeId(2)), WallTime(9)).expect("accepted");
    let parts = MasterParts {
        map: master.latest().parts(),
        history: master.history().cloned().collect(),
        next_group: master.next_group(),
    };
    assert_eq!(Master::from_parts(parts.clone()).as_ref(), Ok(&master));
    let harms: [fn(&mut Vec<Change>); 9] = [
        |history| history[0].epoch += 1,
        |history| drop(history.pop()),
        |history| history[0].ranges[0].2 = GroupId(9),
        |history| history[0].ranges[0].2 = META,
        |history| history[0].ranges[0] = (7, 3, GroupId(1)),
        |history| history[0].ranges[0] = (7, u16::MAX, GroupId(1)),
        |history| history[0].ranges.clear(),
        |history| history[0].groups.new.push(GroupId(8)),
        |history| history[1].draining.push(NodeId(8)),
    ];
    for (place, harm) in harms.into_iter().enumerate() {
        let mut parts = parts.clone();
        harm(&mut parts.history);
        let refused = Master::from_parts(parts);
        assert!(matches!(refused, Err(PlacementError::Past(_))), "{place}: {refused:?}");
    }
    let next = GroupId(3);
    let refused = Master::from_parts(MasterParts { next_group: next, ..parts });
    assert_eq!(refused, Err(PlacementError::NextGroup { next, group: GroupId(3) }));
}
