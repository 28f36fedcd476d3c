//! Pieces of a slot that come from another node: taken in or refused, never anything in between.

use sunstar::base::{GroupId, Index, Sequence, Slot, SlotSet, Term, WallTime};
use sunstar::kv::{Command, Machine, Operation, Place, Restore, SlotState};

use super::cursor::Cursor;

/// The group that gets the slot.
const GROUP: GroupId = GroupId(2);

/// About how long a piece is.
const PIECE_BYTES: usize = 120;

fn slot() -> Slot {
    Slot::of_key(b"{a}")
}

/// The slot's pieces, as its owner gives them to the arrival begun by entry 1: some before it was frozen,
/// and what differs since.
fn pieces() -> Vec<Vec<u8>> {
    let mut source = Machine::new(GroupId(1), &SlotSet::full());
    source.begin_entry(Index(1), Term(1), WallTime(5));
    let session = source.open_session(0).expect("room for one");
    let put = |source: &mut Machine, keys: std::ops::Range<u8>, sequence: u8, value: &[u8]| {
        let index = Index(u64::from(sequence) + 1);
        source.begin_entry(index, Term(1), WallTime(6));
        let mut batch = source.begin_batch(session, Sequence(1)).expect("it is open");
        for (number, sequence) in keys.zip(sequence..) {
            let key = [b'{', b'a', b'}', number];
            let operation = Operation::Put { key: &key, value };
            let command = Command { sequence: Sequence(sequence.into()), operation };
            batch.apply(Place { index, position: 0 }, Some(command));
        }
    };
    put(&mut source, 0..20, 1, b"a value");
    let open = source.export(slot()).expect("it is served");
    put(&mut source, 10..25, 30, b"another");
    source.freeze_slot(slot()).expect("it is served");
    let last = source.export(slot()).expect("it is frozen");
    let mut rounds = open.contents(Index(1));
    let mut pieces: Vec<_> = std::iter::from_fn(|| rounds.next_piece(PIECE_BYTES)).collect();
    let mut rounds = last.changes_since(&open, Index(1), pieces.len() as u64);
    pieces.extend(std::iter::from_fn(|| rounds.next_piece(PIECE_BYTES)));
    pieces
}

/// A group that took in so many of the pieces.
fn group(taken: usize) -> Machine {
    let mut machine = Machine::new(GROUP, &SlotSet::new());
    machine.begin_entry(Index(1), Term(1), WallTime(5));
    machine.begin_arrival(slot()).expect("the slot is not here");
    for piece in pieces().iter().take(taken) {
        machine.take_piece(piece).expect("the next one");
    }
    machine
}

/// The first byte says how many pieces came before; the rest is the next one.
pub(super) fn take(input: &[u8]) {
    let mut cursor = Cursor(input);
    let mut machine = group(cursor.byte().into());
    let before = machine.state_hash();
    let Ok(arrival) = machine.take_piece(cursor.0) else {
        assert_eq!(machine.state_hash(), before, "refused, and yet something changed");
        return;
    };
    let after = machine.state_hash();
    assert_eq!(after, machine.recomputed_state_hash());
    assert_eq!(machine.take_piece(cursor.0), Ok(arrival), "again");
    assert_eq!(machine.state_hash(), after, "taken in twice");
    let mut snapshot = machine.snapshot();
    let mut restore = Restore::new(GROUP);
    while let Some(chunk) = snapshot.next_chunk(64) {
        restore.chunk(&chunk).expect("of our own writing");
    }
    assert_eq!(restore.finish().expect("of our own writing").state_hash(), after);
    if machine.serve_slot(slot(), arrival.since).is_ok() {
        assert_eq!(machine.slot_state(slot()), SlotState::Served);
        assert!(arrival.is_whole && arrival.is_final, "{arrival:?}");
        let content = machine.export(slot()).expect("it is served").content_hash();
        assert_eq!(content, arrival.target, "not what the source had");
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let pieces = pieces();
    assert!(pieces.len() > 5, "rounds of several pieces");
    let taken = 0..u8::try_from(pieces.len()).expect("a few");
    taken.zip(&pieces).map(|(taken, piece)| [&[taken][..], piece].concat()).collect()
}
