//! The shard master's words: the first byte says of which kind the others are.

use sunstar::base::{GroupId, NodeId, Slot, WallTime};
use sunstar::placement::{Command, Master, NodeInfo, Refusal, ShardMap};
use sunstar::reactor::map_bytes::{
    decode_answer, decode_command, decode_map, decode_master, encode_answer, encode_command,
    encode_map, encode_master,
};

/// What is taken for something can be used, and is the same when written and read again.
pub(super) fn read(input: &[u8]) {
    let Some((&kind, bytes)) = input.split_first() else { return };
    match kind % 4 {
        0 => {
            let Ok(map) = decode_map(bytes) else { return };
            assert_eq!(decode_map(&encode_map(&map)), Ok(map));
        }
        1 => {
            let Ok(command) = decode_command(bytes) else { return };
            let _ = master().apply(&command, WallTime(9));
            assert_eq!(decode_command(&encode_command(&command)), Ok(command));
        }
        2 => {
            let Ok(answer) = decode_answer(bytes) else { return };
            assert_eq!(decode_answer(&encode_answer(&answer)), Ok(answer));
        }
        _ => {
            let Ok(mut master) = decode_master(bytes) else { return };
            assert_eq!(decode_master(&encode_master(&master)).as_ref(), Ok(&master));
            use_all(&mut master);
        }
    }
}

/// Asks for every epoch, and for one more.
fn use_all(master: &mut Master) {
    let epochs: Vec<u64> = master.history().map(|change| change.epoch).collect();
    for epoch in epochs {
        assert!(master.query(epoch).is_some() && master.query(epoch - 1).is_some(), "{epoch}");
    }
    let _ = master.apply(&Command::Join { groups: 1 }, WallTime(9));
}

fn commands() -> Vec<Command> {
    let to = GroupId(2);
    vec![
        Command::Join { groups: 2 },
        Command::AddNode(node(4)),
        Command::Drain(NodeId(1)),
        Command::Move { slots: Slot::all().step_by(900).collect(), to },
        Command::Leave { groups: vec![GroupId(1), GroupId(4)] },
        Command::Forget(GroupId(4)),
        Command::RemoveNode(NodeId(1)),
        Command::AddNode(node(1)),
        Command::Undrain(NodeId(1)),
    ]
}

fn node(id: u64) -> NodeInfo {
    let (client_address, peer_address) = (format!("host{id}:1"), format!("host{id}:2"));
    NodeInfo { id: NodeId(id), client_address, peer_address }
}

/// One with a past.
fn master() -> Master {
    let map = ShardMap::initial((1..=3).map(node).collect(), 3).expect("valid");
    let mut master = Master::new(map);
    for command in &commands()[..6] {
        let _ = master.apply(command, WallTime(7));
    }
    master
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let of_kind = |kind: u8, bytes: Vec<u8>| [&[kind][..], &bytes].concat();
    let mut seeds: Vec<Vec<u8>> =
        commands().iter().map(|command| of_kind(1, encode_command(command))).collect();
    seeds.push(of_kind(0, encode_map(master().latest())));
    seeds.push(of_kind(2, encode_answer(&Ok(7))));
    let (node, address) = (NodeId(1), "host1:1".to_owned());
    seeds.push(of_kind(2, encode_answer(&Err(Refusal::AddressTaken { node, address }))));
    seeds.push(of_kind(3, encode_master(&master())));
    seeds
}
