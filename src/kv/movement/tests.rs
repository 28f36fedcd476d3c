use std::collections::BTreeMap;

use super::*;
use crate::base::{GroupId, Sequence, SessionId, SlotSet, Term, WallTime};
use crate::kv::{Answer, Command, Operation, Place, Restore, SlotPieces, Status, WrongSlot};

/// A group with a session.
struct Group {
    id: GroupId,
    machine: Machine,
    session: SessionId,
    sequence: u64,
}

impl Group {
    fn new(id: u32, served: &SlotSet) -> Self {
        let mut machine = Machine::new(GroupId(id), served);
        machine.begin_entry(Index(1), Term(1), WallTime(1));
        let session = machine.open_session(0).expect("there is room");
        Self { id: GroupId(id), machine, session, sequence: 0 }
    }

    /// Begins the next entry.
    fn entry(&mut self) -> &mut Machine {
        let index = self.machine.applied().0.0 + 1;
        self.machine.begin_entry(Index(index), Term(1), WallTime(1));
        &mut self.machine
    }

    fn execute(&mut self, operation: Operation<'_>) -> Answer {
        self.sequence += 1;
        let sequence = Sequence(self.sequence);
        self.repeat(sequence, operation)
    }

    fn repeat(&mut self, sequence: Sequence, operation: Operation<'_>) -> Answer {
        let session = self.session;
        let place = Place { index: self.entry().applied().0, position: 0 };
        let mut batch = self.machine.begin_batch(session, Sequence(1)).expect("open");
        batch.apply(place, Some(Command { sequence, operation }))
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Status {
        self.execute(Operation::Put { key, value }).status
    }

    /// What a replica would be that starts from a snapshot.
    fn restored(&self) -> Machine {
        let mut snapshot = self.machine.snapshot();
        let mut restore = Restore::new(self.id);
        while let Some(chunk) = snapshot.next_chunk(200) {
            restore.chunk(&chunk).expect("as it was written");
        }
        restore.finish().expect("all of it")
    }

    /// That the sums kept are those of what is held, also after a snapshot.
    fn check(&self) {
        let hash = self.machine.state_hash();
        assert_eq!(hash, self.machine.recomputed_state_hash());
        let restored = self.restored();
        assert_eq!((restored.state_hash(), restored.recomputed_state_hash()), (hash, hash));
        assert_eq!(restored.bytes(), self.machine.bytes());
        assert_eq!(restored.slot_counts(), self.machine.slot_counts());
        assert!(restored.moving_slots().eq(self.machine.moving_slots()));
    }
}

fn slot() -> Slot {
    Slot::of_key(b"{tag}")
}

fn pair() -> (Group, Group) {
    (Group::new(1, &[slot()].into_iter().collect()), Group::new(2, &SlotSet::new()))
}

fn state(error: SlotError) -> SlotState {
    match error {
        SlotError::WrongState { state, .. } => state,
        error => panic!("{error}"),
    }
}

/// Takes in all pieces.
fn take_all(group: &mut Group, pieces: &mut SlotPieces, about_bytes: usize) {
    while let Some(piece) = pieces.next_piece(about_bytes) {
        group.entry().take_piece(&piece).expect("the next one");
    }
}

type Content = BTreeMap<Vec<u8>, Vec<u8>>;

/// A slot that changes and moves at random, beside what it should hold.
struct Random {
    rng: fastrand::Rng,
    source: Group,
    target: Group,
    model: Content,
    /// How many different keys there may be.
    keys: u32,
    /// The arrival's name, and the newest export that it has or is taking in.
    arrival: Option<(Index, SlotExport)>,
    /// What is being taken in.
    round: Option<SlotPieces>,
    /// Whether all of it was taken in.
    is_taken: bool,
    /// A piece that was taken in already.
    earlier: Vec<u8>,
}

impl Random {
    fn new(seed: u64) -> Self {
        let (source, target) = pair();
        let mut rng = fastrand::Rng::with_seed(seed);
        let keys = [3, 12, 60, 400][rng.usize(..4)];
        let (model, earlier) = (Content::new(), Vec::new());
        Self {
            rng,
            source,
            target,
            model,
            keys,
            arrival: None,
            round: None,
            is_taken: false,
            earlier,
        }
    }

    fn write(&mut self) {
        let key = format!("{{tag}}{}", self.rng.u32(..self.keys)).into_bytes();
        let value = vec![self.rng.u8(..); self.rng.usize(..60)];
        match self.rng.u32(..4) {
            0 => {
                self.source.execute(Operation::Delete { key: &key });
                self.model.remove(&key);
            }
            1 => {
                self.source.execute(Operation::Append { key: &key, value: &value });
                self.model.entry(key).or_default().extend(&value);
            }
            _ => {
                self.source.put(&key, &value);
                self.model.insert(key, value);
            }
        }
    }

    /// Begins or restarts the arrival.
    fn begin(&mut self) {
        let target = self.target.entry();
        let since = match &self.arrival {
            None => target.begin_arrival(slot()),
            Some((since, _)) => target.restart_arrival(slot(), *since),
        };
        let since = since.expect("the slot is not here");
        let export = self.source.machine.export(slot()).expect("served or frozen");
        assert_eq!(export.keys(), self.model.len() as u64);
        (self.round, self.is_taken) = (Some(export.contents(since)), false);
        self.arrival = Some((since, export));
    }

    /// Takes in the next piece, or begins the next round.
    fn advance(&mut self) {
        let Some((since, newest)) = &mut self.arrival else { return self.begin() };
        let about_bytes = self.rng.usize(..900);
        let piece = self.round.as_mut().and_then(|round| round.next_piece(about_bytes));
        self.is_taken = piece.is_none();
        if let Some(piece) = piece {
            let arrival = self.target.entry().take_piece(&piece).expect("the next one");
            self.earlier = piece;
            let again = self.target.entry().take_piece(&self.earlier);
            assert_eq!(again, Ok(arrival), "a piece that is there already");
            return;
        }
        if newest.is_final() {
            return;
        }
        let SlotState::Arriving(arrival) = self.target.machine.slot_state(slot()) else {
            panic!("{:?}", self.target.machine.slot_state(slot()))
        };
        assert!(arrival.is_whole);
        assert_eq!(arrival.target, newest.content_hash());
        let export = self.source.machine.export(slot()).expect("served or frozen");
        let round = export.changes_since(newest, *since, arrival.next);
        (self.round, self.is_taken) = (Some(round), false);
        *newest = export;
    }

    /// Brings the move to its end and the slot's content to the test.
    fn finish(&mut self) {
        let frozen = self.source.entry().freeze_slot(slot()).expect("served");
        let is_final =
            |random: &Self| random.arrival.as_ref().is_some_and(|(_, export)| export.is_final());
        while !(is_final(self) && self.is_taken) {
            self.advance();
        }
        let (since, export) = self.arrival.take().expect("it has come");
        self.source.check();
        self.target.check();
        self.target.entry().serve_slot(slot(), since).expect("all of it has come");
        self.source.entry().drop_slot(slot(), frozen).expect("frozen");
        let here = self.target.machine.export(slot()).expect("served");
        assert_eq!(here.content_hash(), export.content_hash());
        assert_eq!((here.keys(), here.bytes()), (export.keys(), export.bytes()));
        for (key, value) in &self.model {
            assert_eq!(self.target.machine.get(key), Ok(Some(value.as_slice())));
        }
        assert_eq!(self.target.machine.keys(), self.model.len() as u64);
        assert_eq!(self.source.machine.keys(), 0);
        self.source.check();
        self.target.check();
    }
}

#[test]
fn a_slot_arrives_as_it_left_whatever_happened_meanwhile() {
    for seed in 0..60 {
        let mut random = Random::new(seed);
        let steps = random.rng.u32(1..400);
        for step in 0..steps {
            match random.rng.u32(..40) {
                0..30 => random.write(),
                30 if random.rng.u32(..4) == 0 => random.begin(),
                31 => random.target.check(),
                _ => random.advance(),
            }
            if step % 64 == 0 {
                // Another replica takes over from a snapshot.
                random.target.machine = random.target.restored();
            }
        }
        random.finish();
        // And back again, by way of a group that was empty all the while in between.
        std::mem::swap(&mut random.source, &mut random.target);
        (0..20).for_each(|_| random.write());
        random.finish();
    }
}

#[test]
fn a_round_of_changes_costs_what_changed() {
    let (mut source, _) = pair();
    for key in 0..5_000 {
        source.put(format!("{{tag}}{key}").as_bytes(), b"a value of some length");
    }
    let earlier = source.machine.export(slot()).expect("served");
    let none = earlier.changes_since(&earlier, Index(1), 0).next_piece(1 << 20);
    assert_eq!(none.expect("one without records").len(), 37);
    source.put(b"{tag}7", b"changed");
    source.put(b"{tag}8", b"a value of some length");
    source.execute(Operation::Delete { key: b"{tag}9" });
    source.put(b"{tag}new", b"new");
    let later = source.machine.export(slot()).expect("served");
    let mut round = later.changes_since(&earlier, Index(1), 4);
    let piece = round.next_piece(1 << 20).expect("the changes");
    assert_eq!(round.next_piece(1 << 20), None);
    let piece = Piece::parse(&piece).expect("a piece");
    assert_eq!((piece.header.number, piece.header.is_last), (4, true));
    let changes: Vec<Change<'_>> = piece.changes().collect();
    let expected = [
        Change::Put { key: b"{tag}7", value: b"changed" },
        Change::Remove { key: b"{tag}9" },
        Change::Put { key: b"{tag}new", value: b"new" },
    ];
    assert_eq!(changes.len(), expected.len(), "{changes:?}");
    assert!(expected.iter().all(|change| changes.contains(change)), "{changes:?}");
}

#[test]
fn each_step_is_refused_out_of_its_place_and_may_be_made_again() {
    let (mut source, mut target) = pair();
    source.put(b"{tag}1", b"one");
    let absent = SlotState::Absent;
    let slot = slot();
    assert_eq!(target.machine.export(slot).err().map(state), Some(absent));
    assert_eq!(target.entry().freeze_slot(slot).map_err(state), Err(absent));
    assert_eq!(target.entry().serve_slot(slot, Index(1)).map_err(state), Err(absent));
    assert_eq!(target.entry().restart_arrival(slot, Index(1)).map_err(state), Err(absent));
    assert_eq!(target.entry().drop_slot(slot, Index(1)), Ok(()));
    assert_eq!(source.entry().begin_arrival(slot).map_err(state), Err(SlotState::Served));
    assert_eq!(source.entry().drop_slot(slot, Index(1)).map_err(state), Err(SlotState::Served));

    let first = target.entry().begin_arrival(slot).expect("absent");
    assert_eq!(target.entry().begin_arrival(slot), Ok(first));
    let since = target.entry().restart_arrival(slot, first).expect("under way");
    let stale = Err(SlotError::Stale { slot, named: first, since });
    assert_eq!(target.entry().restart_arrival(slot, first).map(|_| ()), stale);
    assert_eq!(target.entry().drop_slot(slot, first), stale);
    assert_eq!(target.entry().serve_slot(slot, first), stale);
    let missing = Err(SlotError::NotArrived { slot });
    assert_eq!(target.entry().serve_slot(slot, since), missing);

    // All pieces of a source that still serves are not enough.
    let open = source.machine.export(slot).expect("served");
    take_all(&mut target, &mut open.contents(since), 1);
    assert_eq!(target.entry().serve_slot(slot, since), missing);
    assert_eq!(target.machine.get(b"{tag}1"), Err(WrongSlot), "nothing is read yet");
    let refused = target.machine.export(slot).err().map(state);
    assert!(matches!(refused, Some(SlotState::Arriving(_))), "{refused:?}");

    let frozen = source.entry().freeze_slot(slot).expect("served");
    assert_eq!(source.entry().freeze_slot(slot), Ok(frozen));
    assert_eq!(source.put(b"{tag}1", b"two"), Status::WrongSlot);
    assert_eq!(source.machine.get(b"{tag}1"), Err(WrongSlot));
    let last = source.machine.export(slot).expect("frozen");
    let SlotState::Arriving(arrival) = target.machine.slot_state(slot) else { panic!("arriving") };
    take_all(&mut target, &mut last.changes_since(&open, since, arrival.next), 1);
    target.entry().serve_slot(slot, since).expect("it has arrived");
    assert_eq!(target.entry().serve_slot(slot, since), Ok(()));
    assert_eq!(target.machine.get(b"{tag}1"), Ok(Some(&b"one"[..])));
    assert_eq!(target.put(b"{tag}1", b"two"), Status::Ok);

    let stale = Err(SlotError::Stale { slot, named: Index(1), since: frozen });
    assert_eq!(source.entry().drop_slot(slot, Index(1)), stale);
    assert_eq!(source.entry().drop_slot(slot, frozen), Ok(()));
    assert_eq!(source.entry().drop_slot(slot, frozen), Ok(()));
    assert_eq!((source.machine.keys(), source.machine.slots()), (0, 0));
    source.check();
    target.check();
}

#[test]
fn only_the_piece_to_come_is_taken_in() {
    let (mut source, mut target) = pair();
    for key in 0..30 {
        source.put(format!("{{tag}}{key}").as_bytes(), b"some value");
    }
    let slot = slot();
    let since = target.entry().begin_arrival(slot).expect("absent");
    let earlier = source.machine.export(slot).expect("served");
    let mut pieces = earlier.contents(since);
    let pieces: Vec<Vec<u8>> = std::iter::from_fn(|| pieces.next_piece(200)).collect();
    let early = SlotError::Early { slot, expected: 0, found: 1 };
    assert_eq!(target.entry().take_piece(&pieces[1]), Err(early));
    target.entry().take_piece(&pieces[0]).expect("the next one");

    // Of another round, for another arrival, for a slot that does not arrive, cut short.
    source.put(b"{tag}1", b"changed");
    let later = source.machine.export(slot).expect("served");
    let of_later = later.changes_since(&earlier, since, 1).next_piece(200).expect("a piece");
    let other = SlotError::OtherRound { slot, number: 1 };
    assert_eq!(target.entry().take_piece(&of_later), Err(other));
    let elsewhere = later.contents(Index(99)).next_piece(200).expect("a piece");
    let stale = SlotError::Stale { slot, named: Index(99), since };
    assert_eq!(target.entry().take_piece(&elsewhere), Err(stale));
    assert_eq!(source.entry().take_piece(&pieces[1]).map_err(state), Err(SlotState::Served));
    let cut = target.entry().take_piece(&pieces[1][..50]);
    assert_eq!(cut, Err(SlotError::BadPiece(PieceError::Truncated)));

    // A piece that lost a record: the next round does not fit, and nothing but a restart helps.
    for piece in &pieces[1..pieces.len() - 1] {
        target.entry().take_piece(piece).expect("the next one");
    }
    let last = &pieces[pieces.len() - 1];
    let arrival = target.entry().take_piece(&last[..37]).expect("the next one");
    assert!(arrival.is_whole);
    let mut changes = later.changes_since(&earlier, since, arrival.next);
    let refused = target.entry().take_piece(&changes.next_piece(200).expect("a piece"));
    assert!(matches!(refused, Err(SlotError::WrongContent { .. })), "{refused:?}");
    let since = target.entry().restart_arrival(slot, since).expect("under way");
    assert_eq!(target.machine.keys(), 0);
    take_all(&mut target, &mut later.contents(since), 200);
    target.check();

    // Content that is not the source's is not served, be it said of a frozen source.
    source.entry().freeze_slot(slot).expect("served");
    let since = target.entry().restart_arrival(slot, since).expect("under way");
    let mut whole = source.machine.export(slot).expect("frozen").contents(since);
    let whole = whole.next_piece(1 << 20).expect("all of it");
    let arrival = target.entry().take_piece(&whole[..37]).expect("a shorter one");
    assert!(arrival.is_whole && arrival.is_final);
    let refused = target.entry().serve_slot(slot, since);
    assert!(matches!(refused, Err(SlotError::WrongContent { .. })), "{refused:?}");
}

#[test]
fn a_command_refused_by_a_frozen_slot_is_not_executed_when_the_slot_is_back() {
    let (mut source, mut target) = pair();
    let slot = slot();
    let frozen = source.entry().freeze_slot(slot).expect("served");
    let put = Operation::Put { key: b"{tag}", value: b"v" };
    let refused = source.execute(put);
    assert_eq!(refused.status, Status::WrongSlot);
    let carry = |from: &mut Group, to: &mut Group, frozen: Index| {
        let since = to.entry().begin_arrival(slot).expect("absent");
        let export = from.machine.export(slot).expect("frozen");
        take_all(to, &mut export.contents(since), 100);
        to.entry().serve_slot(slot, since).expect("it has arrived");
        from.entry().drop_slot(slot, frozen).expect("frozen");
    };
    carry(&mut source, &mut target, frozen);
    assert_eq!(target.put(b"{tag}other", b"v"), Status::Ok);
    let frozen = target.entry().freeze_slot(slot).expect("served");
    carry(&mut target, &mut source, frozen);
    let late = source.repeat(Sequence(1), put);
    assert_eq!(late, Answer { repeated: true, ..refused });
    assert_eq!(source.machine.get(b"{tag}"), Ok(None));
    assert_eq!(source.machine.get(b"{tag}other"), Ok(Some(&b"v"[..])));
}

#[test]
fn a_dropped_slot_goes_on_in_snapshots_and_its_memory_is_given_back_in_steps() {
    let (mut source, _) = pair();
    for key in 0..4_000 {
        source.put(format!("{{tag}}{key}").as_bytes(), b"v");
    }
    let before = source.machine.bytes();
    let frozen = source.entry().freeze_slot(slot()).expect("served");
    let hash = source.machine.state_hash();
    let mut snapshot = source.machine.snapshot();
    let chunk = snapshot.next_chunk(500).expect("the first of many");
    source.entry().drop_slot(slot(), frozen).expect("frozen");
    assert_eq!(source.machine.bytes(), before - 4_000 * 64 - source_bytes(4_000));
    assert!(!source.machine.reclaim(1_000), "the snapshot has it still");
    assert_eq!(source.machine.unreclaimed_keys(), 4_000);

    let mut restore = Restore::new(GroupId(1));
    restore.chunk(&chunk).expect("as it was written");
    while let Some(chunk) = snapshot.next_chunk(5_000) {
        restore.chunk(&chunk).expect("as it was written");
    }
    let restored = restore.finish().expect("all of it");
    assert_eq!((restored.state_hash(), restored.bytes()), (hash, before));
    assert!(source.machine.reclaim(1_000));
    assert_eq!(source.machine.unreclaimed_keys(), 3_000);
    while source.machine.reclaim(1_000) {}
    assert_eq!(source.machine.unreclaimed_keys(), 0);
    source.check();
}

/// Bytes of so many keys `{tag}N` with a value of one byte.
fn source_bytes(keys: u64) -> u64 {
    (0..keys).map(|key| format!("{{tag}}{key}").len() as u64 + 1).sum()
}

#[test]
fn a_slot_that_nobody_had_is_served_without_an_arrival() {
    let (mut source, mut target) = pair();
    let slot = slot();
    source.put(b"{tag}", b"v");
    assert_eq!(source.entry().create_slot(slot), Ok(()), "it is served");
    assert_eq!(source.machine.get(b"{tag}"), Ok(Some(&b"v"[..])));
    let frozen = source.entry().freeze_slot(slot).expect("served");
    let refused = source.entry().create_slot(slot).map_err(state);
    assert_eq!(refused, Err(SlotState::Frozen { since: frozen }));
    let since = target.entry().begin_arrival(slot).expect("absent");
    let refused = target.entry().create_slot(slot).map_err(state);
    assert!(matches!(refused, Err(SlotState::Arriving(_))), "{refused:?}");
    target.entry().drop_slot(slot, since).expect("arriving");
    assert_eq!(target.entry().create_slot(slot), Ok(()));
    assert_eq!(target.machine.get(b"{tag}"), Ok(None));
    assert_eq!(target.put(b"{tag}", b"v"), Status::Ok);
    assert_eq!(target.machine.slot_counts(), SlotCounts { served: 1, ..SlotCounts::default() });
    target.check();
}

#[test]
fn a_group_without_slots_works() {
    let mut empty = Group::new(2, &SlotSet::new());
    assert_eq!(empty.put(b"k", b"v"), Status::WrongSlot);
    assert_eq!(empty.machine.get(b"k"), Err(WrongSlot));
    assert_eq!(empty.machine.slot_counts(), SlotCounts::default());
    empty.check();
}
