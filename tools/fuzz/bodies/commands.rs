//! Commands, retries and snapshots: the state machine beside the plain specification.

use std::collections::BTreeMap;

use sunstar::base::{GroupId, Index, Sequence, SlotSet, Term, WallTime};
use sunstar::history::{self, Specification};
use sunstar::kv::{Answer, Command, Machine, Operation, Place, Restore, Status};

use super::cursor::Cursor;

const GROUP: GroupId = GroupId(1);

/// One session's commands; some are sent again, and now and then the state goes through a snapshot.
pub(super) fn execute(input: &[u8]) {
    let mut cursor = Cursor(input);
    let mut machine = Machine::new(GROUP, &SlotSet::full());
    let mut store = Specification::default();
    machine.begin_entry(Index(1), Term(1), WallTime(1));
    let session = machine.open_session(0).expect("room for one");
    let mut first_answers: BTreeMap<u64, (Vec<u8>, history::Operation, Answer)> = BTreeMap::new();
    let mut index = 1;
    while !cursor.is_empty() {
        index += 1;
        machine.begin_entry(Index(index), Term(1), WallTime(index));
        let place = Place { index: Index(index), position: 0 };
        match cursor.below(8) {
            0 => machine = through_snapshot(&machine),
            1 if !first_answers.is_empty() => {
                let sequence = 1 + u64::from(cursor.byte()) % first_answers.len() as u64;
                let (key, operation, first) = &first_answers[&sequence];
                let command =
                    Command { sequence: Sequence(sequence), operation: of(key, operation) };
                let mut batch = machine.begin_batch(session, Sequence(1)).expect("it is open");
                let answer = batch.apply(place, Some(command));
                assert_eq!(answer, Answer { repeated: true, ..*first });
            }
            _ => {
                let key = vec![b'k', cursor.below(5)];
                let operation = operation(&mut cursor);
                let sequence = first_answers.len() as u64 + 1;
                let command =
                    Command { sequence: Sequence(sequence), operation: of(&key, &operation) };
                let mut batch = machine.begin_batch(session, Sequence(1)).expect("it is open");
                let answer = batch.apply(place, Some(command));
                let (status, number, _) = store.execute(&key, &operation);
                assert_eq!((name(answer.status), answer.number), (Some(status), number));
                assert_eq!((answer.place, answer.repeated), (place, false));
                first_answers.insert(sequence, (key, operation, answer));
            }
        }
    }
    assert_eq!(machine.keys(), store.keys.len() as u64);
    for (key, value) in &store.keys {
        assert_eq!(machine.get(key).expect("owned"), Some(value.as_slice()));
    }
    assert_eq!(machine.state_hash(), machine.recomputed_state_hash());
}

fn through_snapshot(machine: &Machine) -> Machine {
    let mut snapshot = machine.snapshot();
    let mut restore = Restore::new(GROUP);
    while let Some(chunk) = snapshot.next_chunk(64) {
        restore.chunk(&chunk).expect("of our own writing");
    }
    let restored = restore.finish().expect("of our own writing");
    assert_eq!(restored.state_hash(), machine.state_hash());
    restored
}

fn operation(cursor: &mut Cursor<'_>) -> history::Operation {
    match cursor.below(6) {
        0 => history::Operation::Put { value: value(cursor) },
        1 => history::Operation::Append { value: value(cursor) },
        2 => history::Operation::Delete,
        3 => {
            let expected = cursor.flag().then(|| value(cursor));
            history::Operation::CompareAndSet { expected, value: value(cursor) }
        }
        4 => history::Operation::Compare { expected: cursor.flag().then(|| value(cursor)) },
        _ => history::Operation::Increment { delta: cursor.number().cast_signed() },
    }
}

/// Often a number, so that increments find one.
fn value(cursor: &mut Cursor<'_>) -> Vec<u8> {
    match cursor.below(3) {
        0 => cursor.number().cast_signed().to_string().into_bytes(),
        _ => cursor.bytes(20).to_vec(),
    }
}

fn of<'a>(key: &'a [u8], operation: &'a history::Operation) -> Operation<'a> {
    match operation {
        history::Operation::Get => unreachable!("reads are no commands of the log"),
        history::Operation::Put { value } => Operation::Put { key, value },
        history::Operation::Append { value } => Operation::Append { key, value },
        history::Operation::Delete => Operation::Delete { key },
        history::Operation::CompareAndSet { expected, value } => {
            Operation::CompareAndSet { key, expected: expected.as_deref(), value }
        }
        history::Operation::Increment { delta } => Operation::Increment { key, delta: *delta },
        history::Operation::Compare { expected } => {
            Operation::Compare { key, expected: expected.as_deref() }
        }
    }
}

fn name(status: Status) -> Option<history::Status> {
    Some(match status {
        Status::Ok => history::Status::Done,
        Status::NotFound => history::Status::NotFound,
        Status::CompareFailed => history::Status::CompareFailed,
        Status::NotANumber => history::Status::NotANumber,
        Status::Overflow => history::Status::Overflow,
        Status::ValueTooLarge => history::Status::ValueTooLarge,
        _ => return None,
    })
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let long = (0..200_u8).map(|at| at.wrapping_mul(37)).collect();
    vec![long, vec![2, 0, 0, 1, 3, b'a', b'b', 1, 0, 0, 3, 0, 4, 1]]
}
