use super::*;
use crate::base::Bytes;
use crate::base::limits::ANNEX_MAX;
use crate::kv::annex::PART_BYTES;
use crate::kv::{Command, Operation, Place};

const GROUP: GroupId = GroupId(3);

/// A machine with two sessions, twelve results and as many keys in one slot.
fn machine() -> Machine {
    let served = [Slot::of_key(b"{tag}")].into_iter().collect();
    let mut machine = Machine::new(GROUP, &served);
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
    machine.set_annex(Bytes::copy_of(b"an annex"));
    machine
}

/// Its state in one piece.
fn state() -> Vec<u8> {
    machine().snapshot().next_chunk(1 << 16).expect("there is a state")
}

fn restore(pieces: &[&[u8]]) -> Result<Machine, RestoreError> {
    let mut restore = Restore::new(GROUP);
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

/// The header alone.
fn bare_header() -> Vec<u8> {
    state()[..31].to_vec()
}

/// The header and that all slots are served.
fn header() -> Vec<u8> {
    [bare_header(), served(0, 16_383)].concat()
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
    assert_eq!(refused(&[&header, &[11]]), RestoreError::UnknownRecord(11));
}

#[test]
fn content_that_no_machine_holds_is_refused_by_name() {
    let (header, session) = (header(), record(kind::SESSION, &[8, 0, 10]));
    let mut later = header.clone();
    later[1] = 4;
    assert_eq!(refused(&[&later]), RestoreError::Format(4));
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

fn annex(bytes: usize) -> Vec<u8> {
    let length = u32::try_from(bytes).expect("short").to_le_bytes();
    [&[kind::ANNEX][..], &length, &vec![7; bytes]].concat()
}

#[test]
fn an_annex_is_cut_in_one_way() {
    let (header, end) = (bare_header(), end(0, 0));
    let (full, part) = (annex(PART_BYTES), annex(5));
    fits(&[&header, &part, &end]);
    fits(&[&header, &full, &full, &part, &served(1, 2), &end]);
    let bad = |at, bytes| RestoreError::BadAnnex { at, bytes };
    assert_eq!(refused(&[&header, &annex(0)]), bad(0, 0));
    assert_eq!(refused(&[&header, &part, &part]), bad(5, 5));
    assert_eq!(refused(&[&header, &annex(PART_BYTES + 1)]), bad(0, PART_BYTES + 1));
    let most = vec![&full[..]; ANNEX_MAX / PART_BYTES];
    fits(&[&[&header[..]], &most[..], &[&end]].concat());
    let more = [&[&header[..]], &most[..], &[&part]].concat();
    assert_eq!(refused(&more), bad(ANNEX_MAX, 5));
    assert_eq!(refused(&[&header, &part[..8]]), RestoreError::Truncated);
    let misplaced = RestoreError::Misplaced(kind::ANNEX);
    assert_eq!(refused(&[&part]), misplaced);
    for before in [served(1, 2), frozen(2, 5), record(kind::SESSION, &[8, 0, 1]), end] {
        assert_eq!(refused(&[&header, &before, &part]), misplaced);
    }
}

fn served(first: u16, last: u16) -> Vec<u8> {
    [&[kind::SERVED][..], &first.to_le_bytes(), &last.to_le_bytes()].concat()
}

fn frozen(number: u16, since: u64) -> Vec<u8> {
    [&[kind::FROZEN][..], &number.to_le_bytes(), &since.to_le_bytes()].concat()
}

fn arriving(number: u16, flags: u8) -> Vec<u8> {
    arriving_at(number, 0, flags)
}

fn arriving_at(number: u16, next: u64, flags: u8) -> Vec<u8> {
    let (number, next) = (number.to_le_bytes(), next.to_le_bytes());
    [&[kind::ARRIVING][..], &number, &[0; 8], &next, &[0; 8], &[flags]].concat()
}

#[test]
fn each_slot_has_one_state() {
    let (header, end) = (bare_header(), end(0, 0));
    fits(&[&header, &served(1, 2), &served(4, 9), &frozen(3, 5), &arriving(16_383, 3), &end]);
    let bad = RestoreError::BadSlot;
    assert_eq!(refused(&[&header, &served(1, 2), &served(3, 3)]), bad(3), "a run cut in two");
    assert_eq!(refused(&[&header, &served(2, 1)]), bad(2));
    assert_eq!(refused(&[&header, &served(2, 16_384)]), bad(2));
    assert_eq!(refused(&[&header, &served(1, 2), &frozen(2, 5)]), bad(2), "served too");
    assert_eq!(refused(&[&header, &frozen(2, 5), &arriving(2, 0)]), bad(2), "twice");
    assert_eq!(refused(&[&header, &frozen(2, 6)]), bad(2), "frozen by an entry to come");
    assert_eq!(refused(&[&header, &arriving(2, 4)]), bad(2), "an unknown flag");
    assert_eq!(refused(&[&header, &arriving(16_384, 0)]), bad(16_384));
    assert_eq!(refused(&[&header, &arriving_at(2, u64::MAX, 2)]), bad(2), "no piece could follow");
    let misplaced = RestoreError::Misplaced;
    assert_eq!(refused(&[&header, &frozen(2, 5), &served(4, 9)]), misplaced(kind::SERVED));
    let session = record(kind::SESSION, &[8, 0, 1]);
    assert_eq!(refused(&[&header, &session, &frozen(2, 5)]), misplaced(kind::FROZEN));
    let home = Slot::of_key(b"k").number();
    assert_eq!(refused(&[&header, &slot(home)]), bad(home), "a slot that is not here");
    let key = self::end(0, 1);
    fits(&[&header, &frozen(home, 5), &slot(home), &entry(b"k"), &key]);
    fits(&[&header, &arriving(home, 2), &slot(home), &entry(b"k"), &key]);
}

#[test]
fn an_earlier_format_is_refused_by_name() {
    let mut header = header();
    header[1] = 1;
    assert_eq!(refused(&[&header]), RestoreError::Format(1));
    let text = RestoreError::Format(1).to_string();
    assert_eq!(text, "the snapshot's state has format 1; this version reads format 3");
}
