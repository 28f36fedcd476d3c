use super::*;
use crate::base::limits::{ANNEX_MAX, EPOCHS_MAX};
use crate::base::{Slot, WallTime};
use crate::placement::{GROUPS_MAX, HANDOVER_RUNS_KEPT, HANDOVERS_KEPT, META, PIECES_KEPT};

fn node(id: u64) -> NodeInfo {
    let (client_address, peer_address) = (format!("host{id}:1"), format!("host{id}:2"));
    NodeInfo { id: NodeId(id), client_address, peer_address }
}

fn commands() -> Vec<Command> {
    let some = |step| Slot::all().step_by(step).collect::<Vec<Slot>>();
    vec![
        Command::Join { groups: 3 },
        Command::AddNode(node(4)),
        Command::Move { slots: some(3), to: GroupId(2) },
        Command::AddNode(NodeInfo { client_address: "elsewhere:1".to_owned(), ..node(4) }),
        Command::Drain(NodeId(1)),
        Command::Leave { groups: vec![GroupId(5), GroupId(1)] },
        Command::Forget(GroupId(5)),
        Command::Undrain(NodeId(1)),
        Command::Drain(NodeId(2)),
        Command::RemoveNode(NodeId(2)),
        Command::Join { groups: 1 },
        Command::Move { slots: some(100), to: GroupId(7) },
    ]
}

/// One that every command has been given.
fn master() -> Master {
    let nodes = (1..=3).map(node).collect();
    let mut master = Master::new(ShardMap::initial(nodes, 3).expect("valid"));
    for (at, command) in (1..).zip(commands()) {
        let told = master.apply(&command, WallTime(at));
        assert_eq!(told, Ok(at + 1), "{command:?}");
    }
    master
}

#[test]
fn a_master_is_read_as_it_was_written() {
    let master = master();
    let bytes = encode_master(&master);
    let read = decode_master(&bytes).expect("of our own encoding");
    assert_eq!(read, master);
    assert_eq!(encode_master(&read), bytes, "what is equal has equal bytes");
    for epoch in 1..=master.latest().epoch {
        let map = read.query(epoch).expect("remembered");
        assert_eq!(Some(&map), master.query(epoch).as_ref());
        assert_eq!(decode_map(&encode_map(&map)), Ok(map));
    }
}

#[test]
fn commands_and_answers_are_read_as_they_were_written() {
    for command in commands() {
        assert_eq!(decode_command(&encode_command(&command)), Ok(command));
    }
    let (group, node, address) = (GroupId(3), NodeId(4), "host:1".to_owned());
    let refusals = [
        Refusal::NoChange,
        Refusal::MetaGroup,
        Refusal::UnknownGroup(group),
        Refusal::Leaving(group),
        Refusal::NotLeaving(group),
        Refusal::LastGroup,
        Refusal::TooManyGroups,
        Refusal::UnknownNode(node),
        Refusal::TooManyNodes,
        Refusal::ZeroNode,
        Refusal::LongAddress { length: 900 },
        Refusal::AddressTaken { node, address },
        Refusal::TooFewNodes { group, replicas: 3, left: 2 },
        Refusal::NotDrained(node),
    ];
    assert_eq!(refusals.len(), RefusalReason::ALL.len());
    for answer in refusals.map(Err).into_iter().chain([Ok(9)]) {
        assert_eq!(decode_answer(&encode_answer(&answer)), Ok(answer));
    }
}

#[test]
fn bytes_of_what_cannot_be_are_refused_by_name() {
    let parts = master().latest().parts();
    let mut wrong = wire_map(parts.clone());
    wrong.slots[0].group = META;
    let refused = decode_map(&wrong.encode());
    assert_eq!(refused, Err(MapBytesError::Placement(PlacementError::SlotOwners(0))));
    let refused = decode_map(&encode_map(&master().latest().clone())[8..]);
    assert!(matches!(refused, Err(MapBytesError::Wire(_))), "{refused:?}");
}

/// Whatever bits are flipped, what is taken for a master can be asked for every epoch.
#[test]
fn what_is_believed_can_be_used() {
    let bytes = encode_master(&master());
    let mut random = fastrand::Rng::with_seed(4);
    let mut believed = 0;
    for _ in 0..3_000 {
        let mut harmed = bytes.clone();
        for _ in 0..random.u32(1..4) {
            let at = random.usize(..harmed.len());
            harmed[at] ^= 1 << random.u32(..8);
        }
        let Ok(master) = decode_master(&harmed) else { continue };
        believed += 1;
        let oldest = master.history().next().map_or(1, |change| change.epoch - 1);
        for epoch in oldest..=master.latest().epoch {
            assert_eq!(master.query(epoch).map(|map| map.epoch), Some(epoch));
        }
    }
    assert!(believed > 0, "some harm, such as to an address, cannot be seen");
}

/// Whatever is remembered fits into the annex of a replica's state.
#[test]
fn the_largest_state_fits_where_it_is_kept() {
    let address = || "h".repeat(ADDRESS_MAX);
    let old_node = |id| NodeInfo { id, client_address: address(), peer_address: address() };
    let old_group = |id| {
        let members = [1, 2, 3].map(NodeId).to_vec();
        let founders = [4, 5, 6].map(NodeId).to_vec();
        GroupInfo { founders, ..GroupInfo::new(GroupId(id), members, NodeId(1), 1) }
    };
    let changes = EPOCHS_MAX - 1;
    let groups = u32::try_from(PIECES_KEPT / changes).expect("few") - 1;
    let change = |epoch| Change {
        epoch,
        at: WallTime(1),
        reason: Reason::AddNode(NodeId(1)),
        ranges: Vec::new(),
        nodes: Former { new: Vec::new(), old: vec![old_node(NodeId(1))] },
        groups: Former { new: Vec::new(), old: (1..=groups).map(old_group).collect() },
        meta: Some(old_group(0)),
        draining: Vec::new(),
        leaving: Vec::new(),
    };
    let most = u32::try_from(GROUPS_MAX).expect("few");
    let ranges = Slot::all()
        .map(|slot| (slot.number(), slot.number(), GroupId(1 + u32::from(slot.number()) % most)));
    let runs = u16::try_from(HANDOVER_RUNS_KEPT / HANDOVERS_KEPT).expect("few");
    let handover = |epoch: u64| Handover {
        epoch,
        ranges: (0..runs).map(|slot| (slot, slot, GroupId(1 + u32::from(slot)))).collect(),
    };
    let map = MapParts {
        epoch: 1 << 20,
        nodes: (1..=64).map(|id| old_node(NodeId(id))).collect(),
        meta: old_group(0),
        groups: (1..=most).map(old_group).collect(),
        draining: (1..=60).map(NodeId).collect(),
        leaving: (2..=most).map(GroupId).collect(),
        ranges: ranges.collect(),
        handovers: (2..HANDOVERS_KEPT as u64 + 2).map(handover).collect(),
    };
    let history = (0..changes as u64).map(|epoch| wire_change(change(epoch))).collect();
    let bytes =
        wire::Master { map: wire_map(map), history, next_group: GroupId(most + 1) }.encode();
    assert!(bytes.len() < ANNEX_MAX, "{} bytes, and {ANNEX_MAX} fit", bytes.len());
}
