//! The specification, said as plainly as possible, and random histories to try it with.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::limits::{SESSION_WINDOW_MAX, VALUE_MAX};
use crate::base::{Bytes, GroupId, Index, Sequence, SessionId, Slot, SlotSet, Term, WallTime};
use crate::kv::{
    Answer, Arrival, Command, Machine, Operation, Place, SESSION_IDLE_MAX, SessionError,
    SlotCounts, SlotState, Status,
};

/// An operation that owns its bytes; each kind's fields as in `Operation`.
#[derive(Clone, Debug)]
pub(super) enum Owned {
    Put(Vec<u8>, Vec<u8>),
    Append(Vec<u8>, Vec<u8>),
    Delete(Vec<u8>),
    CompareAndSet(Vec<u8>, Option<Vec<u8>>, Vec<u8>),
    Increment(Vec<u8>, i64),
    Compare(Vec<u8>, Option<Vec<u8>>),
    Unknown,
}

impl Owned {
    pub(super) fn operation(&self) -> Option<Operation<'_>> {
        Some(match self {
            Self::Put(key, value) => Operation::Put { key, value },
            Self::Append(key, value) => Operation::Append { key, value },
            Self::Delete(key) => Operation::Delete { key },
            Self::CompareAndSet(key, expected, value) => {
                Operation::CompareAndSet { key, expected: expected.as_deref(), value }
            }
            Self::Increment(key, delta) => Operation::Increment { key, delta: *delta },
            Self::Compare(key, expected) => {
                Operation::Compare { key, expected: expected.as_deref() }
            }
            Self::Unknown => return None,
        })
    }
}

/// What one entry holds.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// Open so many sessions.
    Open(u32),
    Close(SessionId),
    Batch {
        session: SessionId,
        lowest: Sequence,
        commands: Vec<(Sequence, Owned)>,
        /// All or none of them.
        atomic: bool,
    },
    /// Serve the slot no longer.
    Freeze(Slot),
    /// Serve the slot, which nobody had.
    Create(Slot),
    /// Drop the slot, whatever it is called.
    Drop(Slot),
    /// Begin its arrival.
    Begin(Slot),
    /// All of its content comes, and it is served.
    Receive(Slot, BTreeMap<Vec<u8>, Vec<u8>>),
    /// Keep these bytes of the host's.
    Annex(Bytes),
}

/// An entry of the log.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) index: Index,
    pub(super) term: Term,
    pub(super) timestamp: WallTime,
    pub(super) event: Event,
}

/// Everything that an entry made known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Opened(Vec<Result<SessionId, SessionError>>),
    Done,
    Expired,
    Answers(Vec<Answer>),
    /// Whether what was asked for a slot was done.
    Slot(bool),
}

/// Applies an entry to a machine.
pub(super) fn apply(machine: &mut Machine, entry: &Entry) -> Told {
    machine.begin_entry(entry.index, entry.term, entry.timestamp);
    match &entry.event {
        Event::Open(count) => {
            Told::Opened((0..*count).map(|ordinal| machine.open_session(ordinal)).collect())
        }
        Event::Close(session) => {
            machine.close_session(*session);
            Told::Done
        }
        Event::Batch { session, lowest, commands, atomic } => {
            let Ok(mut batch) = machine.begin_batch(*session, *lowest) else {
                return Told::Expired;
            };
            let commands = commands.iter().map(|(sequence, owned)| {
                let command = owned.operation();
                command.map(|operation| Command { sequence: *sequence, operation })
            });
            let place = |position| Place { index: entry.index, position };
            if *atomic {
                let commands: Vec<_> = commands.collect();
                return Told::Answers(batch.apply_atomic(place(0), &commands));
            }
            let answers = (0..)
                .zip(commands)
                .map(|(position, command)| batch.apply(place(position), command));
            Told::Answers(answers.collect())
        }
        Event::Create(slot) => Told::Slot(machine.create_slot(*slot).is_ok()),
        Event::Freeze(slot) => Told::Slot(machine.freeze_slot(*slot).is_ok()),
        Event::Drop(slot) => {
            let named = match machine.slot_state(*slot) {
                SlotState::Frozen { since } | SlotState::Arriving(Arrival { since, .. }) => since,
                SlotState::Absent | SlotState::Served => entry.index,
            };
            Told::Slot(machine.drop_slot(*slot, named).is_ok())
        }
        Event::Begin(slot) => Told::Slot(machine.begin_arrival(*slot).is_ok()),
        Event::Receive(slot, content) => Told::Slot(receive(machine, *slot, content)),
        Event::Annex(bytes) => {
            machine.set_annex(bytes.clone());
            Told::Done
        }
    }
}

/// Gives an arriving slot to the machine, as from a group that had this `content`.
fn receive(machine: &mut Machine, slot: Slot, content: &BTreeMap<Vec<u8>, Vec<u8>>) -> bool {
    let SlotState::Arriving(Arrival { since, .. }) = machine.slot_state(slot) else { return false };
    let mut source = Machine::new(GroupId(9), &SlotSet::full());
    source.begin_entry(Index(1), Term(1), WallTime(1));
    let session = source.open_session(0).expect("there is room");
    let mut batch = source.begin_batch(session, Sequence(1)).expect("open");
    for (sequence, (key, value)) in (1..).map(Sequence).zip(content) {
        let command = Command { sequence, operation: Operation::Put { key, value } };
        batch.apply(Place { index: Index(1), position: 0 }, Some(command));
    }
    source.freeze_slot(slot).expect("served");
    let mut pieces = source.export(slot).expect("frozen").contents(since);
    while let Some(piece) = pieces.next_piece(50) {
        machine.take_piece(&piece).expect("the next one");
    }
    machine.serve_slot(slot, since).is_ok()
}

#[derive(Default)]
struct ModelSession {
    last_use: u64,
    lowest: u64,
    answers: BTreeMap<u64, Answer>,
}

/// The specification.
pub(super) struct Model {
    owned: BTreeSet<u16>,
    frozen: BTreeSet<u16>,
    arriving: BTreeSet<u16>,
    pub(super) annex: Bytes,
    pub(super) keys: BTreeMap<Vec<u8>, Vec<u8>>,
    sessions: BTreeMap<SessionId, ModelSession>,
    now: u64,
}

impl Model {
    pub(super) fn new(owned: &SlotSet) -> Self {
        let owned = owned.iter().map(Slot::number).collect();
        let (frozen, arriving) = (BTreeSet::new(), BTreeSet::new());
        let (keys, sessions) = (BTreeMap::new(), BTreeMap::new());
        Self { owned, frozen, arriving, annex: Bytes::new(), keys, sessions, now: 0 }
    }

    pub(super) fn owns(&self, key: &[u8]) -> bool {
        self.owned.contains(&Slot::of_key(key).number())
    }

    pub(super) fn slot_counts(&self) -> SlotCounts {
        let [served, frozen, arriving] = [&self.owned, &self.frozen, &self.arriving]
            .map(|set| u32::try_from(set.len()).expect("few"));
        SlotCounts { served, frozen, arriving }
    }

    pub(super) fn open_sessions(&self) -> usize {
        self.sessions.len()
    }

    pub(super) const fn now(&self) -> WallTime {
        WallTime(self.now)
    }

    /// As documented: 64 bytes a key, 128 a session, 24 for each sequence in its window.
    pub(super) fn bytes(&self) -> u64 {
        let keys: usize = self.keys.iter().map(|(key, value)| 64 + key.len() + value.len()).sum();
        let sessions = self.sessions.values().map(|session| {
            let highest = session.answers.keys().last();
            128 + 24 * highest.map_or(0, |highest| highest + 1 - session.lowest)
        });
        (keys + self.annex.len()) as u64 + sessions.sum::<u64>()
    }

    pub(super) fn apply(&mut self, entry: &Entry) -> Told {
        self.now = self.now.max(entry.timestamp.0);
        match &entry.event {
            Event::Open(count) => {
                let ids = (0..u64::from(*count)).map(|at| SessionId((entry.index.0 << 16) + at));
                Told::Opened(ids.map(|id| Ok(self.open(id))).collect())
            }
            Event::Close(session) => {
                self.sessions.remove(session);
                Told::Done
            }
            Event::Batch { session, lowest, commands, atomic } => {
                let Some(mut state) = self.sessions.remove(session) else { return Told::Expired };
                state.last_use = self.now;
                state.lowest = state.lowest.max(lowest.0);
                state.answers.retain(|&sequence, _| sequence >= state.lowest);
                let place = |position| Place { index: entry.index, position };
                let answers = if *atomic {
                    self.atomic(&mut state, place(0), commands)
                } else {
                    let rows = (0..).zip(commands).map(|(position, (sequence, owned))| {
                        self.command(&mut state, place(position), sequence.0, owned)
                    });
                    rows.collect()
                };
                self.sessions.insert(*session, state);
                Told::Answers(answers)
            }
            Event::Create(slot) => {
                let slot = slot.number();
                let is_moving = self.frozen.contains(&slot) || self.arriving.contains(&slot);
                if !is_moving {
                    self.owned.insert(slot);
                }
                Told::Slot(!is_moving)
            }
            Event::Annex(bytes) => {
                self.annex = bytes.clone();
                Told::Done
            }
            Event::Freeze(slot) => {
                let slot = slot.number();
                Told::Slot(self.frozen.contains(&slot) || self.freeze(slot))
            }
            Event::Drop(slot) => Told::Slot(self.drop_slot(slot.number())),
            Event::Begin(slot) => {
                let slot = slot.number();
                let is_here = self.owned.contains(&slot) || self.frozen.contains(&slot);
                if !is_here {
                    self.arriving.insert(slot);
                }
                Told::Slot(!is_here)
            }
            Event::Receive(slot, content) => {
                let was_arriving = self.arriving.remove(&slot.number());
                if was_arriving {
                    self.owned.insert(slot.number());
                    self.keys.extend(content.clone());
                }
                Told::Slot(was_arriving)
            }
        }
    }

    fn freeze(&mut self, slot: u16) -> bool {
        self.owned.remove(&slot) && self.frozen.insert(slot)
    }

    fn drop_slot(&mut self, slot: u16) -> bool {
        if self.owned.contains(&slot) {
            return false;
        }
        self.frozen.remove(&slot);
        self.arriving.remove(&slot);
        self.keys.retain(|key, _| Slot::of_key(key).number() != slot);
        true
    }

    fn open(&mut self, id: SessionId) -> SessionId {
        let now = self.now;
        self.sessions.retain(|_, session| now - session.last_use <= SESSION_IDLE_MAX.0);
        let session = ModelSession { last_use: now, lowest: 1, answers: BTreeMap::new() };
        self.sessions.insert(id, session);
        id
    }

    fn command(
        &mut self,
        session: &mut ModelSession,
        place: Place,
        sequence: u64,
        owned: &Owned,
    ) -> Answer {
        let answer = |status, number| Answer { status, number, place, repeated: false };
        let Some(operation) = owned.operation() else { return answer(Status::UnknownCommand, 0) };
        if sequence < session.lowest {
            return answer(Status::Forgotten, 0);
        }
        if sequence - session.lowest >= SESSION_WINDOW_MAX {
            return answer(Status::WindowExceeded, 0);
        }
        if let Some(first) = session.answers.get(&sequence) {
            return Answer { repeated: true, ..*first };
        }
        let (status, number) = self.operation(operation);
        session.answers.insert(sequence, answer(status, number));
        answer(status, number)
    }

    fn atomic(
        &mut self,
        session: &mut ModelSession,
        first: Place,
        commands: &[(Sequence, Owned)],
    ) -> Vec<Answer> {
        let is_new = |sequence: u64| {
            (session.lowest..session.lowest + SESSION_WINDOW_MAX).contains(&sequence)
                && !session.answers.contains_key(&sequence)
        };
        let all_new = commands.iter().all(|(sequence, _)| is_new(sequence.0));
        let all_known = commands.iter().all(|(_, owned)| owned.operation().is_some());
        let outcomes = if all_new && all_known {
            self.all_or_none(commands)
        } else {
            vec![(Status::Aborted, 0); commands.len()]
        };
        let rows = (first.position..).zip(commands).zip(outcomes);
        let answers = rows.map(|((position, (sequence, owned)), (status, number))| {
            let place = Place { position, ..first };
            let answer = |status, number| Answer { status, number, place, repeated: false };
            if !all_known {
                let known = owned.operation().is_some();
                return answer(if known { Status::Aborted } else { Status::UnknownCommand }, 0);
            }
            if sequence.0 < session.lowest {
                return answer(Status::Forgotten, 0);
            }
            if sequence.0 - session.lowest >= SESSION_WINDOW_MAX {
                return answer(Status::WindowExceeded, 0);
            }
            if let Some(first) = session.answers.get(&sequence.0) {
                return Answer { repeated: true, ..*first };
            }
            session.answers.insert(sequence.0, answer(status, number));
            answer(status, number)
        });
        answers.collect()
    }

    /// Executes the commands; if one fails, everything is as before.
    fn all_or_none(&mut self, commands: &[(Sequence, Owned)]) -> Vec<(Status, i64)> {
        let before = self.keys.clone();
        let execute = |(_, owned): &(_, Owned)| self.operation(owned.operation().expect("known"));
        let mut outcomes: Vec<_> = commands.iter().map(execute).collect();
        let is_done = |&(status, _): &_| matches!(status, Status::Ok | Status::NotFound);
        if let Some(failed) = outcomes.iter().position(|outcome| !is_done(outcome)) {
            self.keys = before;
            for (at, outcome) in outcomes.iter_mut().enumerate() {
                if at != failed && outcome.0 != Status::WrongSlot {
                    *outcome = (Status::Aborted, 0);
                }
            }
        }
        outcomes
    }

    fn operation(&mut self, operation: Operation<'_>) -> (Status, i64) {
        let key = operation.key().to_vec();
        if !self.owns(&key) {
            return (Status::WrongSlot, 0);
        }
        let old = self.keys.get(&key).cloned();
        let (new, number) = match operation {
            Operation::Put { value, .. } => (value.to_vec(), 0),
            Operation::Append { value, .. } => {
                let new = [old.unwrap_or_default().as_slice(), value].concat();
                let length = i64::try_from(new.len()).expect("small");
                (new, length)
            }
            Operation::Delete { .. } => {
                self.keys.remove(&key);
                return if old.is_some() { (Status::Ok, 1) } else { (Status::NotFound, 0) };
            }
            Operation::Compare { expected, .. } => {
                let holds = old.as_deref() == expected;
                return (if holds { Status::Ok } else { Status::CompareFailed }, 0);
            }
            Operation::CompareAndSet { expected, value, .. } => {
                if old.as_deref() != expected {
                    return (Status::CompareFailed, 0);
                }
                (value.to_vec(), 0)
            }
            Operation::Increment { delta, .. } => {
                let text = String::from_utf8(old.unwrap_or_else(|| b"0".to_vec()));
                let Some(number) = text.ok().and_then(|text| text.parse::<i64>().ok()) else {
                    return (Status::NotANumber, 0);
                };
                let Some(sum) = number.checked_add(delta) else { return (Status::Overflow, 0) };
                (sum.to_string().into_bytes(), sum)
            }
        };
        if new.len() > VALUE_MAX {
            return (Status::ValueTooLarge, 0);
        }
        self.keys.insert(key, new);
        (Status::Ok, number)
    }
}

/// Random entries: few keys and few sessions, so that everything meets everything.
pub(super) struct Histories {
    rng: fastrand::Rng,
    index: u64,
    now: u64,
    /// Ids given so far with the highest sequence used in each.
    sessions: Vec<(SessionId, u64)>,
}

impl Histories {
    pub(super) fn new(seed: u64) -> Self {
        Self { rng: fastrand::Rng::with_seed(seed), index: 0, now: 1, sessions: Vec::new() }
    }

    pub(super) fn next_entry(&mut self) -> Entry {
        self.index += self.rng.u64(1..3);
        self.now += match self.rng.u32(..200) {
            0 => SESSION_IDLE_MAX.0 / 2,
            1 => SESSION_IDLE_MAX.0 + 1,
            _ => self.rng.u64(..1_000_000),
        };
        // Some stamps lie before earlier ones.
        let timestamp = WallTime(self.now - self.rng.u64(..self.now.min(1_000_000)));
        let (index, term) = (Index(self.index), Term(self.index / 100));
        Entry { index, term, timestamp, event: self.event() }
    }

    fn event(&mut self) -> Event {
        match self.rng.u32(..40) {
            _ if self.sessions.is_empty() => self.open(),
            0 => self.open(),
            1 => Event::Close(self.session().0),
            2..5 => self.slot_event(),
            5 => Event::Annex(Bytes::copy_of(&self.value())),
            6..12 => self.atomic_batch(),
            _ => self.batch(),
        }
    }

    fn open(&mut self) -> Event {
        let count = self.rng.u32(1..4);
        let ids = (0..u64::from(count)).map(|ordinal| SessionId((self.index << 16) + ordinal));
        self.sessions.extend(ids.map(|id| (id, 0)));
        Event::Open(count)
    }

    fn slot_event(&mut self) -> Event {
        let key = self.key();
        let slot = Slot::of_key(&key);
        match self.rng.u32(..10) {
            0..2 => Event::Freeze(slot),
            2..4 => Event::Drop(slot),
            4..6 => Event::Begin(slot),
            6 => Event::Create(slot),
            _ => {
                let others = std::iter::repeat_with(|| self.key()).take(9).collect::<Vec<_>>();
                let of_slot = others.into_iter().filter(|key| Slot::of_key(key) == slot);
                let keys: Vec<_> = of_slot.chain([key]).collect();
                Event::Receive(slot, keys.into_iter().map(|key| (key, self.value())).collect())
            }
        }
    }

    /// A session opened lately, or now and then any.
    fn session(&mut self) -> &mut (SessionId, u64) {
        let recent =
            if self.rng.u32(..10) == 0 { 0 } else { self.sessions.len().saturating_sub(6) };
        let at = self.rng.usize(recent..self.sessions.len());
        &mut self.sessions[at]
    }

    fn batch(&mut self) -> Event {
        let count = self.rng.u64(1..20);
        let session = self.session();
        let (id, highest) = *session;
        session.1 += count;
        let lowest = highest.saturating_sub(self.rng.u64(..40));
        let commands = (1..=count).map(|step| (self.sequence(highest + step), self.command()));
        let commands = commands.collect();
        Event::Batch { session: id, lowest: Sequence(lowest), commands, atomic: false }
    }

    /// A few commands for the keys of one slot, mostly new ones.
    fn atomic_batch(&mut self) -> Event {
        let count = self.rng.u64(1..6);
        let first = self.key();
        let session = self.session();
        let (id, highest) = *session;
        session.1 += count;
        let (before, lowest) = match self.rng.u32(..10) {
            0..2 => (highest.saturating_sub(self.rng.u64(..9)), highest.saturating_sub(9)),
            2 => (highest, highest + self.rng.u64(..3)),
            3 if self.rng.u32(..20) == 0 => (highest + SESSION_WINDOW_MAX - 2, highest),
            _ => (highest, highest.saturating_sub(self.rng.u64(..9))),
        };
        let commands = (1..=count).map(|step| {
            let mut command = self.command();
            while command
                .operation()
                .is_some_and(|it| Slot::of_key(it.key()) != Slot::of_key(&first))
            {
                command = self.command();
            }
            (Sequence(before + step), command)
        });
        let commands = commands.collect();
        Event::Batch { session: id, lowest: Sequence(lowest), commands, atomic: true }
    }

    /// The next sequence, an earlier one, or one ahead.
    fn sequence(&mut self, next: u64) -> Sequence {
        Sequence(match self.rng.u32(..10) {
            0..3 => next.saturating_sub(self.rng.u64(..50)),
            3 => next + self.rng.u64(..100),
            4 if self.rng.u32(..20) == 0 => next + SESSION_WINDOW_MAX,
            _ => next,
        })
    }

    fn command(&mut self) -> Owned {
        let key = self.key();
        match self.rng.u32(..20) {
            0..6 => Owned::Put(key, self.value()),
            6..10 => Owned::Append(key, self.value()),
            10..14 => Owned::Delete(key),
            14..16 => {
                let expected = self.rng.bool().then(|| self.value());
                Owned::CompareAndSet(key, expected, self.value())
            }
            16 => Owned::Compare(key, self.rng.bool().then(|| self.value())),
            17..19 => {
                let deltas = [1, 1, 1, -7, i64::MAX];
                Owned::Increment(key, deltas[self.rng.usize(..deltas.len())])
            }
            _ => Owned::Unknown,
        }
    }

    /// One of some keys in slots of their own, or one of many in a single slot.
    pub(super) fn key(&mut self) -> Vec<u8> {
        match self.rng.u32(..3) {
            0 => format!("{{tag}}{}", self.rng.u32(..60)).into_bytes(),
            1 => format!("key-{}", self.rng.u32(..40)).into_bytes(),
            _ => format!("a key that is too long for its place {}", self.rng.u32(..9)).into_bytes(),
        }
    }

    /// Short ones are often the same, so that comparing succeeds now and then.
    fn value(&mut self) -> Vec<u8> {
        match self.rng.u32(..10) {
            0..5 => vec![b'0'; self.rng.usize(..2)],
            5..9 => (0..self.rng.usize(..30)).map(|_| self.rng.u8(..)).collect(),
            _ => vec![b'v'; self.rng.usize(..3_000)],
        }
    }
}
