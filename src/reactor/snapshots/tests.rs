use expect_test::expect_file;

use super::*;
use crate::base::hex_dump;
use crate::base::{
    Bytes, ClusterId, CoreId, Incarnation, Index, Sequence, SlotSet, Term, WallTime,
};
use crate::kv::{Command, Operation, Place};
use crate::reactor::movement::GroupState;

const GROUP: GroupId = GroupId(5);

fn identity() -> wal::Identity {
    wal::Identity {
        cluster: ClusterId(0x0102_0304_0506_0708),
        node: NodeId(2),
        incarnation: Incarnation(0x1112_1314_1516_1718),
        core: CoreId(1),
    }
}

/// A group in its first epoch.
fn annex() -> Bytes {
    GroupState::settled(1).encode()
}

/// Two keys in one slot and one in another, a session with three results and an idle one, an annex.
fn machine() -> Machine {
    let mut machine = Machine::new(GROUP, &SlotSet::full());
    machine.begin_entry(Index(0x41), Term(6), WallTime(0x0001_0203_0405_0607));
    let session = machine.open_session(0).expect("there is room");
    machine.open_session(1).expect("there is room");
    machine.begin_entry(Index(0x42), Term(7), WallTime(0x0001_0203_0405_0608));
    let mut batch = machine.begin_batch(session, Sequence(3)).expect("open");
    let operations = [
        Operation::Put { key: b"{a}one", value: b"first value" },
        Operation::Increment { key: b"{a}two", delta: -5 },
        Operation::Append { key: b"b", value: b"" },
    ];
    for (position, operation) in (0..).zip(operations) {
        let sequence = Sequence(3 + 2 * u64::from(position));
        let place = Place { index: Index(0x42), position };
        batch.apply(place, Some(Command { sequence, operation }));
    }
    machine.set_annex(annex());
    machine
}

#[test]
fn the_format_is_the_one_written_down() {
    let configuration = Configuration {
        voters: [1, 2, 3].map(NodeId).to_vec(),
        learners: vec![NodeId(4)],
        ..Configuration::default()
    };
    let machine = machine();
    let mut stream = SnapshotStream::new(identity(), GROUP, &machine, &configuration);
    let (mut written, mut last) = (Vec::new(), false);
    while !last {
        let piece;
        (piece, last) = stream.next_piece();
        written.extend(piece);
    }
    expect_file!["../../../schema/snapshot.hex"].assert_eq(&hex_dump::of(&written));

    let file = hex_dump::bytes(include_str!("../../../schema/snapshot.hex"), written.len());
    let loaded = load(&file).expect("undamaged");
    assert_eq!(loaded.group, GROUP);
    assert_eq!((loaded.meta.index, loaded.meta.term), (Index(0x42), Term(7)));
    assert_eq!(loaded.meta.configuration, configuration);
    assert_eq!(loaded.machine.get(b"{a}two"), Ok(Some(&b"-5"[..])));
    assert_eq!(loaded.machine.annex()[..], annex()[..]);
    assert_eq!(loaded.machine.state_hash(), machine.state_hash());
}
