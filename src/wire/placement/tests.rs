use super::*;
use crate::base::{Slot, WallTime};

fn node(id: u64) -> Node {
    Node {
        id: NodeId(id),
        client_address: format!("höst{id}:1"),
        peer_address: format!("höst{id}:2"),
    }
}

fn group(id: u32) -> Group {
    let (members, leader) = ([1, 2].map(NodeId).to_vec(), NodeId(2));
    // Some have had other members at first.
    let founders = if id.is_multiple_of(2) { members.clone() } else { vec![] };
    Group { id: GroupId(id), members, leader, founders, born: 3, members_epoch: 5 }
}

fn map() -> Map {
    let run = |first, last, group| SlotRun { first, last, group: GroupId(group) };
    Map {
        epoch: 7,
        nodes: vec![node(1), node(2)],
        meta: group(0),
        groups: vec![group(1), group(4)],
        slots: vec![run(0, 99, 4), run(100, SLOT_COUNT - 1, 1)],
        draining: vec![NodeId(2)],
        leaving: vec![GroupId(4)],
        handovers: vec![
            Handover { epoch: 3, slots: vec![run(7, 9, 5), run(20, 20, 4)] },
            Handover { epoch: 7, slots: vec![run(0, 50, 1)] },
        ],
    }
}

fn change(kind: ReasonKind) -> Change {
    let left = vec![GroupId(4)];
    Change {
        epoch: 7,
        at: WallTime(1 << 50),
        reason: Reason { kind, count: 3, group: GroupId(4), node: NodeId(2), left },
        slots: map().slots,
        new_nodes: vec![NodeId(2)],
        old_nodes: vec![node(1), node(3)],
        new_groups: vec![GroupId(4)],
        old_groups: vec![group(1), group(2)],
        meta: Some(group(0)),
        draining: vec![NodeId(1)],
        leaving: vec![GroupId(1)],
    }
}

fn empty_change() -> Change {
    let reason = Reason {
        kind: ReasonKind::Drain,
        count: 0,
        group: GroupId(0),
        node: NodeId(0),
        left: vec![],
    };
    Change {
        epoch: 2,
        at: WallTime(0),
        reason,
        slots: vec![],
        new_nodes: vec![],
        old_nodes: vec![],
        new_groups: vec![],
        old_groups: vec![],
        meta: None,
        draining: vec![],
        leaving: vec![],
    }
}

fn master() -> Master {
    let mut history = vec![empty_change()];
    history.extend(ReasonKind::ALL.map(change));
    Master { map: map(), history, next_group: GroupId(9) }
}

fn commands() -> Vec<Command> {
    let slots = [3, 4, 5, 9, SLOT_COUNT - 1].into_iter().filter_map(Slot::new).collect();
    vec![
        Command::Join { groups: 3 },
        Command::Leave { groups: vec![GroupId(2), GroupId(1)] },
        Command::Move { slots, to: GroupId(2) },
        Command::Move { slots: Slot::all().collect(), to: GroupId(2) },
        Command::Move { slots: vec![], to: GroupId(2) },
        Command::AddNode(node(1)),
        Command::Drain(NodeId(1)),
        Command::Undrain(NodeId(2)),
        Command::RemoveNode(NodeId(3)),
        Command::Forget(GroupId(4)),
    ]
}

fn refusal(reason: RefusalReason) -> Answer {
    let (group, node, address) = (GroupId(1), NodeId(2), "host:1".to_owned());
    Answer::Refused(Refusal { reason, group, node, count: 3, left: 2, address })
}

fn answers() -> Vec<Answer> {
    RefusalReason::ALL.into_iter().map(refusal).chain([Answer::Epoch(8)]).collect()
}

#[test]
fn what_is_written_is_read_wherever_it_lies() {
    let shifted = |bytes: Vec<u8>| [&[0][..], &bytes].concat();
    assert_eq!(Map::decode(&map().encode()), Ok(map()));
    assert_eq!(Master::decode(&master().encode()), Ok(master()));
    assert_eq!(Master::decode(&shifted(master().encode())[1..]), Ok(master()));
    for command in commands() {
        assert_eq!(Command::decode(&command.encode()), Ok(command));
    }
    for answer in answers() {
        assert_eq!(Answer::decode(&answer.encode()), Ok(answer));
    }
}

#[test]
fn slots_are_asked_for_once_each_and_in_order() {
    let slots: Vec<Slot> = [9, 2, 3, 9].into_iter().filter_map(Slot::new).collect();
    let (ascending, to) = ([2, 3, 9].into_iter().filter_map(Slot::new).collect(), GroupId(1));
    let read = Command::decode(&Command::Move { slots, to }.encode());
    assert_eq!(read, Ok(Command::Move { slots: ascending, to }));
}

#[test]
fn runs_of_slots_that_cannot_be_are_refused() {
    for runs in [&[(5, 4)][..], &[(0, SLOT_COUNT)], &[(0, 3), (3, 5)], &[(0, u16::MAX)]] {
        let mut body = Body::new();
        let slots: Vec<_> =
            runs.iter().map(|&(first, last)| schema::Slots::new(first, last)).collect();
        let slots = Some(body.create_vector(&slots));
        let order = schema::Move::create(&mut body, &schema::MoveArgs { slots, to: 1 });
        let (order_type, order) = (schema::Order::Move, Some(order.as_union_value()));
        let args = schema::CommandArgs { order_type, order };
        let root = schema::Command::create(&mut body, &args);
        let refused = Command::decode(&finish(body, root));
        assert!(matches!(refused, Err(WireError::SlotRange { .. })), "{runs:?}: {refused:?}");
    }
}

#[test]
fn more_than_can_be_is_refused_by_name() {
    let too_many = |what, count, max| WireError::TooMany { what, count, max };
    let long = Node { client_address: "h".repeat(263), ..node(1) };
    assert_eq!(
        Command::decode(&Command::AddNode(long).encode()),
        Err(WireError::LongAddress { length: 263 })
    );
    let crowded = Map { nodes: vec![node(1); 65], ..map() };
    assert_eq!(Map::decode(&crowded.encode()), Err(too_many("nodes", 65, 64)));
    let split = Map { groups: vec![group(1); 16_385], ..map() };
    assert_eq!(Map::decode(&split.encode()), Err(too_many("groups", 16_385, 16_384)));
    let old = Master { history: vec![empty_change(); 4_097], ..master() };
    assert_eq!(Master::decode(&old.encode()), Err(too_many("epochs", 4_097, 4_096)));
}

#[test]
fn what_is_not_known_here_is_refused_by_name() {
    let mut body = Body::new();
    let order = schema::Join::create(&mut body, &schema::JoinArgs { groups: 1 });
    let (order_type, order) = (schema::Order(77), Some(order.as_union_value()));
    let root = schema::Command::create(&mut body, &schema::CommandArgs { order_type, order });
    let what = "the shard master's command";
    assert_eq!(Command::decode(&finish(body, root)), Err(WireError::Unknown { what, number: 77 }));
    let mut body = Body::new();
    let args = schema::AnswerArgs { refusal: schema::Refusal(78), ..Default::default() };
    let root = schema::Answer::create(&mut body, &args);
    let what = "the shard master's refusal";
    assert_eq!(Answer::decode(&finish(body, root)), Err(WireError::Unknown { what, number: 78 }));
}

#[test]
fn no_part_of_a_state_is_taken_for_one() {
    let bytes = master().encode();
    // The last few may be padding.
    for length in 0..bytes.len() - 8 {
        let read = Master::decode(&bytes[..length]);
        assert!(read != Ok(master()), "{length} of {} bytes", bytes.len());
    }
    assert!(Map::decode(&[]).is_err() && Command::decode(&[]).is_err());
}

/// The largest state there can be: verified as any other.
#[test]
fn many_epochs_are_read() {
    let change = Change { slots: vec![map().slots[0]; 8_192], ..change(ReasonKind::Move) };
    let scattered = Master { history: vec![change; 32], ..master() };
    assert_eq!(Master::decode(&scattered.encode()), Ok(scattered));
    let many = Master { history: vec![empty_change(); 4_095], ..master() };
    assert_eq!(Master::decode(&many.encode()), Ok(many));
}
