//! Snapshots: the container, and the state inside of it.

use sunstar::base::{GroupId, Index, NodeId, Sequence, SlotSet, Term, WallTime};
use sunstar::kv::{Command, Machine, Operation, Place, Restore};
use sunstar::wal::{SnapshotHeader, SnapshotReader, SnapshotWriter, read_snapshot};

use super::cursor::Cursor;

const GROUP: GroupId = GroupId(1);

/// A whole file, and the same file piece by piece: both readers say the same.
pub(super) fn file(input: &[u8]) {
    let whole = read_snapshot(input);
    let mut reader = SnapshotReader::default();
    let mut chunks = Vec::new();
    let mut result = Ok(());
    for piece in input.chunks(97) {
        reader.feed(piece);
        result = drain(&mut reader, &mut chunks);
        if result.is_err() {
            break;
        }
    }
    let in_pieces = result.and_then(|()| reader.finish());
    match (whole, in_pieces) {
        (Ok((header, whole)), Ok(other)) => {
            assert_eq!(header, other);
            assert_eq!(whole, chunks);
        }
        (Err(_), Err(_)) => {}
        (whole, in_pieces) => panic!("whole {whole:?}, in pieces {in_pieces:?}"),
    }
}

fn drain(
    reader: &mut SnapshotReader,
    chunks: &mut Vec<Vec<u8>>,
) -> Result<(), sunstar::wal::SnapshotError> {
    if reader.header()?.is_none() {
        return Ok(());
    }
    while let Some(chunk) = reader.chunk()? {
        chunks.push(chunk.to_vec());
    }
    Ok(())
}

/// The state in the chunks; the first byte says how long a chunk is.
pub(super) fn state(input: &[u8]) {
    let mut cursor = Cursor(input);
    let length = 1 + usize::from(cursor.byte());
    let mut restore = Restore::new(GROUP);
    // Records do not span chunks in what is written, but may in what is read here: an error then.
    let chunks: Vec<&[u8]> =
        if length == 256 { vec![cursor.0] } else { cursor.0.chunks(length * 16).collect() };
    if chunks.iter().all(|chunk| restore.chunk(chunk).is_ok())
        && let Ok(machine) = restore.finish()
    {
        assert_eq!(machine.state_hash(), machine.recomputed_state_hash());
        let mut again = Restore::new(GROUP);
        for chunk in written(&machine) {
            again.chunk(&chunk).expect("of our own writing");
        }
        let again = again.finish().expect("of our own writing");
        assert_eq!(again.state_hash(), machine.state_hash());
    }
}

fn written(machine: &Machine) -> Vec<Vec<u8>> {
    let mut snapshot = machine.snapshot();
    std::iter::from_fn(|| snapshot.next_chunk(300)).collect()
}

fn machine() -> Machine {
    let mut machine = Machine::new(GROUP, &SlotSet::full());
    machine.begin_entry(Index(1), Term(1), WallTime(5));
    let session = machine.open_session(0).expect("room for one");
    machine.begin_entry(Index(2), Term(1), WallTime(6));
    let mut batch = machine.begin_batch(session, Sequence(1)).expect("it is open");
    for number in 0..20_u8 {
        let key = [b'k', number];
        let operation = Operation::Put { key: &key, value: &[number; 30] };
        let sequence = Sequence(u64::from(number) + 1);
        let place = Place { index: Index(2), position: number.into() };
        batch.apply(place, Some(Command { sequence, operation }));
    }
    machine
}

pub(super) fn file_seeds() -> Vec<Vec<u8>> {
    let voters = vec![NodeId(1), NodeId(2), NodeId(3)];
    let header = SnapshotHeader { group: GROUP, index: Index(2), voters, ..Default::default() };
    let mut writer = SnapshotWriter::new(&header);
    let mut file = writer.header();
    for chunk in written(&machine()) {
        file.extend(writer.chunk(&chunk));
    }
    file.extend(writer.footer());
    vec![file]
}

pub(super) fn state_seeds() -> Vec<Vec<u8>> {
    let mut input = vec![255];
    input.extend(written(&machine()).concat());
    vec![input]
}
