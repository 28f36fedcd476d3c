use std::collections::BTreeSet;
use std::rc::Rc;

use super::model::{Histories, Model, Told, apply};
use super::*;
use crate::base::limits::SESSIONS_MAX;
use crate::kv::{Operation, Restore, SESSION_IDLE_MAX};

const GROUP: GroupId = GroupId(3);

/// All slots but every fifth.
fn owned() -> SlotSet {
    SlotSet::full().iter().filter(|slot| slot.number() % 5 != 0).collect()
}

fn chunks(snapshot: &mut Snapshot, about_bytes: usize) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| snapshot.next_chunk(about_bytes)).collect()
}

fn restore(chunks: &[Vec<u8>]) -> Machine {
    let mut restore = Restore::new(GROUP);
    for chunk in chunks {
        restore.chunk(chunk).expect("as it was written");
    }
    restore.finish().expect("all of it")
}

#[test]
fn agrees_with_the_specification() {
    let mut seen = BTreeSet::new();
    for seed in 0..30 {
        let (mut machine, mut model) = (Machine::new(GROUP, &owned()), Model::new(&owned()));
        let mut histories = Histories::new(seed);
        for _ in 0..600 {
            let entry = histories.next_entry();
            let told = apply(&mut machine, &entry);
            assert_eq!(told, model.apply(&entry), "seed {seed}: {entry:?}");
            if let Told::Answers(answers) = told {
                seen.extend(answers.iter().map(|answer| (answer.status, answer.repeated)));
            }
            assert_eq!(machine.slot_counts(), model.slot_counts(), "seed {seed}: {entry:?}");
            assert_eq!(machine.keys(), model.keys.len() as u64, "seed {seed}: {entry:?}");
            assert_eq!(machine.sessions(), model.open_sessions(), "seed {seed}: {entry:?}");
            assert_eq!(machine.annex(), &model.annex, "seed {seed}: {entry:?}");
            assert_eq!(machine.bytes(), model.bytes(), "seed {seed}: {entry:?}");
            assert_eq!(machine.applied(), (entry.index, entry.term, model.now()));
            if entry.index.0.is_multiple_of(4) {
                let recomputed = machine.recomputed_state_hash();
                assert_eq!(machine.state_hash(), recomputed, "seed {seed}: {entry:?}");
            }
            let key = histories.key();
            let expected = model.owns(&key).then(|| model.keys.get(&key).map(Vec::as_slice));
            assert_eq!(machine.get(&key), expected.ok_or(WrongSlot), "seed {seed}: {entry:?}");
        }
    }
    // Seven statuses come of an execution and are repeated; the largest value has a test of its own.
    let never_executed = [Status::Forgotten, Status::WindowExceeded, Status::UnknownCommand];
    assert_eq!(seen.len(), 7 * 2 + never_executed.len(), "{seen:?}");
    assert!(never_executed.iter().all(|&status| seen.contains(&(status, false))), "{seen:?}");
}

/// One replica goes on while its snapshot is written out between its entries; another starts from the
/// snapshot. They must not be told apart: by hash, by what they answer, by their own snapshots.
#[test]
fn a_replica_that_starts_from_a_snapshot_cannot_be_told_apart() {
    for seed in 0..20 {
        let mut machine = Machine::new(GROUP, &owned());
        let mut histories = Histories::new(seed);
        for _ in 0..300 {
            apply(&mut machine, &histories.next_entry());
        }
        let frozen = (machine.applied(), machine.state_hash(), machine.bytes());
        let mut snapshot = machine.snapshot();
        assert_eq!(snapshot.applied(), frozen.0);
        let (mut pieces, mut missed) = (Vec::new(), Vec::new());
        while let Some(piece) = snapshot.next_chunk(300) {
            pieces.push(piece);
            missed.push(histories.next_entry());
            apply(&mut machine, missed.last().expect("just pushed"));
        }

        let mut other = restore(&pieces);
        assert_eq!(other.state_hash(), other.recomputed_state_hash(), "seed {seed}");
        let restored = (other.applied(), other.state_hash(), other.bytes());
        assert_eq!(restored, frozen, "seed {seed}");
        assert_ne!(machine.state_hash(), frozen.1, "seed {seed}");
        for entry in &missed {
            apply(&mut other, entry);
        }
        for _ in 0..200 {
            let entry = histories.next_entry();
            assert_eq!(apply(&mut other, &entry), apply(&mut machine, &entry), "seed {seed}");
        }
        assert_eq!(other.state_hash(), machine.state_hash(), "seed {seed}");
        let written = |machine: &Machine| chunks(&mut machine.snapshot(), 1 << 20).concat();
        assert_eq!(written(&other), written(&machine), "seed {seed}");
    }
}

#[test]
fn the_hash_sees_every_part_of_the_state() {
    let mut machine = Machine::new(GROUP, &owned());
    let mut seen = vec![machine.state_hash(), Machine::new(GroupId(4), &owned()).state_hash()];
    let mut changed = |machine: &Machine, what: &str| {
        let hash = machine.state_hash();
        assert!(!seen.contains(&hash), "{what}");
        seen.push(hash);
    };
    machine.begin_entry(Index(1), Term(1), WallTime(5));
    changed(&machine, "index");
    let session = machine.open_session(0).expect("there is room");
    changed(&machine, "session");
    let put = |machine: &mut Machine, sequence: u64, key: &[u8], value: &[u8]| {
        let mut batch = machine.begin_batch(session, Sequence(1)).expect("open");
        let place = Place { index: batch.index, position: 0 };
        let operation = Operation::Put { key, value };
        batch.apply(place, Some(Command { sequence: Sequence(sequence), operation }))
    };
    put(&mut machine, 1, b"k", b"ab");
    changed(&machine, "key");
    put(&mut machine, 2, b"k", b"ab");
    changed(&machine, "a result alone");
    put(&mut machine, 3, b"ka", b"b");
    changed(&machine, "another key");
    machine.begin_batch(session, Sequence(2)).map(|_| ()).expect("open");
    changed(&machine, "a result forgotten");
    machine.close_session(session);
    changed(&machine, "session closed");
    machine.freeze_slot(Slot::of_key(b"k")).expect("served");
    changed(&machine, "slot frozen");
    machine.create_slot(Slot::of_key(b"")).expect("absent");
    changed(&machine, "slot created");
    for annex in [&b"a"[..], b"b", b"a\0"] {
        machine.set_annex(Bytes::copy_of(annex));
        changed(&machine, "annex");
        assert_eq!(machine.state_hash(), machine.recomputed_state_hash());
    }
}

#[test]
fn a_command_for_another_groups_slot_is_refused_for_good() {
    let mut machine = Machine::new(GROUP, &owned());
    machine.begin_entry(Index(1), Term(1), WallTime(5));
    let session = machine.open_session(0).expect("there is room");
    let key = &b""[..];
    assert_eq!((Slot::of_key(key).number(), machine.get(key)), (0, Err(WrongSlot)));
    let mut batch = machine.begin_batch(session, Sequence(1)).expect("open");
    let operation = Operation::Put { key, value: b"v" };
    let command = Some(Command { sequence: Sequence(1), operation });
    let first = batch.apply(Place { index: Index(1), position: 0 }, command);
    let again = batch.apply(Place { index: Index(1), position: 1 }, command);
    assert_eq!((first.status, first.repeated), (Status::WrongSlot, false));
    assert_eq!(again, Answer { repeated: true, ..first });
    assert_eq!(machine.slots(), owned().len());
}

#[test]
fn many_idle_sessions_make_room_on_every_replica_alike() {
    let mut machines = [Machine::new(GROUP, &owned()), Machine::new(GROUP, &owned())];
    for machine in &mut machines {
        machine.begin_entry(Index(1), Term(1), WallTime(5));
        for ordinal in 0..u32::try_from(SESSIONS_MAX).expect("small") {
            machine.open_session(ordinal).expect("there is room");
        }
        machine.begin_entry(Index(2), Term(1), WallTime(9));
        assert_eq!(machine.open_session(0), Err(SessionError::Full));
    }
    machines[1] = restore(&chunks(&mut machines[1].snapshot(), 4_096));
    for machine in &mut machines {
        machine.begin_entry(Index(3), Term(1), WallTime(SESSION_IDLE_MAX.0 + 6));
        machine.open_session(0).expect("all others are idle");
        assert_eq!(machine.sessions(), 1);
    }
    assert_eq!(machines[0].state_hash(), machines[1].state_hash());
}

#[test]
fn a_snapshot_has_the_annex_of_its_entry_and_shares_it() {
    let mut machine = Machine::new(GROUP, &owned());
    machine.begin_entry(Index(1), Term(1), WallTime(5));
    assert_eq!(machine.annex(), &Bytes::new());
    let bytes = vec![9; 200_000];
    machine.set_annex(Bytes::copy_of(&bytes));
    let (hash, at) = (machine.state_hash(), machine.annex().as_ptr());
    let mut snapshot = machine.snapshot();
    assert_eq!(machine.annex().as_ptr(), at, "nothing was copied");
    machine.set_annex(Bytes::copy_of(b"later"));
    let pieces = chunks(&mut snapshot, 1_000);
    assert!(pieces.iter().all(|piece| piece.len() < 70_000), "written in parts");
    let restored = restore(&pieces);
    assert_eq!((restored.state_hash(), &restored.annex()[..]), (hash, &bytes[..]));
    assert_eq!(machine.state_hash(), machine.recomputed_state_hash());
}

#[test]
#[should_panic(expected = "an annex of 8388609 bytes")]
fn an_annex_has_a_bound() {
    let bytes = vec![0; crate::base::limits::ANNEX_MAX + 1];
    Machine::new(GROUP, &owned()).set_annex(Bytes::copy_of(&bytes));
}

#[test]
fn writing_out_lets_go_of_what_is_shared() {
    let mut machine = Machine::new(GROUP, &owned());
    machine.begin_entry(Index(1), Term(1), WallTime(5));
    let session = machine.open_session(0).expect("there is room");
    let mut batch = machine.begin_batch(session, Sequence(1)).expect("open");
    for sequence in 1..=500 {
        let key = format!("key-{sequence}");
        let operation = Operation::Put { key: key.as_bytes(), value: b"v" };
        let command = Some(Command { sequence: Sequence(sequence), operation });
        batch.apply(Place { index: Index(1), position: 0 }, command);
    }
    let mut snapshot = machine.snapshot();
    let shared = |machine: &Machine| {
        let pages = machine.tables.share();
        pages.iter().flatten().filter(|page| Rc::strong_count(page) > 2).count()
    };
    let all = shared(&machine);
    assert!(all > 100, "{all} pages");
    snapshot.next_chunk(36_000);
    assert!((1..all).contains(&shared(&machine)), "{} of {all} pages", shared(&machine));
    chunks(&mut snapshot, 1_000);
    assert_eq!(shared(&machine), 0);
}

#[test]
#[should_panic(expected = "entry 4 begun after 4")]
fn an_entry_applied_twice_is_a_bug() {
    let mut machine = Machine::new(GROUP, &owned());
    machine.begin_entry(Index(4), Term(1), WallTime(5));
    machine.begin_entry(Index(4), Term(1), WallTime(5));
}
