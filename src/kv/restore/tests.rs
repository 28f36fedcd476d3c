use super::*;
use crate::kv::{Command, Operation, Place};

const GROUP: GroupId = GroupId(3);

/// A machine with two sessions, twelve results and as many keys in one slot.
fn machine() -> Machine {
    let mut machine = Machine::new(GROUP, &SlotSet::full());
    machine.begin_entry(Index(5), Term(2), WallTime(77));
    let session = machine.open_session(0).expect("there is room");
    machine.open_session(1).expect("there is room");
    let mut batch = machine.begin_batch(session, Sequence(2)).expect("open");
    for step in 1..=12 {
        let key = format!("{{tag}}{step}");
        let operation = Operation::Put { key: key.as_bytes(), value: b"value" };
        let command = Command { sequence: Sequence(step * 3), operation };
        batch.apply(Place { index: Index(5), position: 0 }, Some(command));
    }
    machine
}

/// Its state in one piece.
fn state() -> Vec<u8> {
    machine().snapshot().next_chunk(1 << 16).expect("there is a state")
}

fn restore(pieces: &[&[u8]]) -> Result<Machine, RestoreError> {
    let mut restore = Restore::new(GROUP, &SlotSet::full());
    for piece in pieces {
        restore.chunk(piece)?;
    }
    restore.finish()
}

fn refused(pieces: &[&[u8]]) -> RestoreError {
    restore(pieces).err().expect("not a state")
}

#[test]
fn the_whole_state_is_restored_and_no_part_of_it() {
    let state = state();
    let hash = restore(&[&state]).map(|machine| machine.state_hash());
    assert_eq!(hash, Ok(machine().state_hash()));
    for cut in 0..state.len() {
        let error = refused(&[&state[..cut]]);
        assert!(matches!(error, RestoreError::Incomplete | RestoreError::Truncated), "{cut}");
    }
}

/// The container's checksums find flipped bits too; here it is the state's hash.
#[test]
fn a_flipped_bit_anywhere_is_found() {
    let state = state();
    for bit in 0..state.len() * 8 {
        let mut flipped = state.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(restore(&[&flipped]).is_err(), "bit {bit}");
    }
}

fn record(kind: u8, words: &[u64]) -> Vec<u8> {
    let words = words.iter().flat_map(|word| word.to_le_bytes());
    [kind].into_iter().chain(words).collect()
}

fn header() -> Vec<u8> {
    state()[..31].to_vec()
}

fn result(sequence: u64, status: u8) -> Vec<u8> {
    let mut bytes = record(kind::RESULT, &[sequence, 0, 5]);
    bytes.extend_from_slice(&[0, 0, 0, 0, status]);
    bytes
}

fn slot(number: u16) -> Vec<u8> {
    [&[kind::SLOT][..], &number.to_le_bytes()].concat()
}

/// With an empty value.
fn entry(key: &[u8]) -> Vec<u8> {
    let length = u8::try_from(key.len()).expect("short");
    [&[kind::ENTRY, length, 0, 0, 0, 0, 0, 0, 0][..], key].concat()
}

/// The end of a state with so many sessions and keys; its hash is hardly right.
fn end(sessions: u64, keys: u64) -> Vec<u8> {
    record(kind::END, &[sessions, keys, 0])
}

/// That nothing but the hash is wrong.
fn fits(pieces: &[&[u8]]) {
    assert!(matches!(refused(pieces), RestoreError::BadHash { expected: 0, .. }));
}

#[test]
fn records_stand_in_their_places() {
    let (header, end) = (header(), end(0, 0));
    let session = record(kind::SESSION, &[8, 0, 1]);
    fits(&[&header, &end]);
    let misplaced = |pieces: &[&[u8]], kind| {
        assert_eq!(refused(pieces), RestoreError::Misplaced(kind));
    };
    misplaced(&[&session], kind::SESSION);
    misplaced(&[&header, &header], kind::HEADER);
    misplaced(&[&header, &result(1, 0)], kind::RESULT);
    misplaced(&[&header, &entry(b"")], kind::ENTRY);
    misplaced(&[&header, &slot(0), &session], kind::SESSION);
    misplaced(&[&header, &session, &slot(0), &result(1, 0)], kind::RESULT);
    misplaced(&[&header, &end, &end], kind::END);
    assert_eq!(refused(&[&header, &[7]]), RestoreError::UnknownRecord(7));
}

#[test]
fn content_that_no_machine_holds_is_refused_by_name() {
    let (header, session) = (header(), record(kind::SESSION, &[8, 0, 10]));
    let mut later = header.clone();
    later[1] = 2;
    assert_eq!(refused(&[&later]), RestoreError::Format(2));
    let mut foreign = header.clone();
    foreign[3] = 4;
    let wrong = RestoreError::WrongGroup { expected: GROUP, found: GroupId(4) };
    assert_eq!(refused(&[&foreign]), wrong);
    let again = RestoreError::BadSession(SessionId(8));
    assert_eq!(refused(&[&header, &session, &session]), again);
    for (sequence, status) in [(9, 0), (10 + (1 << 16), 0), (u64::MAX, 0), (10, 10)] {
        let bad = RestoreError::BadResult { session: SessionId(8), sequence: Sequence(sequence) };
        assert_eq!(refused(&[&header, &session, &result(sequence, status)]), bad);
    }
    let twice = [&header[..], &session, &result(11, 0), &result(11, 0)];
    assert!(matches!(refused(&twice), RestoreError::BadResult { .. }));
    assert_eq!(refused(&[&header, &slot(5), &slot(5)]), RestoreError::BadSlot(5));
    assert_eq!(refused(&[&header, &slot(16_384)]), RestoreError::BadSlot(16_384));
    let home = Slot::of_key(b"k").number();
    let (bad, key) = (RestoreError::BadKey, entry(b"k"));
    assert_eq!(refused(&[&header, &slot(1), &key]), bad(Slot::new(1).expect("in range")));
    assert_eq!(refused(&[&header, &slot(home), &key, &key]), bad(Slot::of_key(b"k")));
    let end = end(0, 1);
    assert_eq!(refused(&[&header, &end]), RestoreError::BadCounts);
    fits(&[&header, &slot(home), &key, &end]);
}

#[test]
fn a_slot_of_another_group_is_refused() {
    let home = Slot::of_key(b"{tag}");
    let owned = SlotSet::full().iter().filter(|&slot| slot != home).collect();
    let mut restore = Restore::new(GROUP, &owned);
    assert_eq!(restore.chunk(&state()), Err(RestoreError::BadSlot(home.number())));
}
