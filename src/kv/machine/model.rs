//! The specification, said as plainly as possible, and random histories to try it with.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::limits::{SESSION_WINDOW_MAX, VALUE_MAX};
use crate::base::{Index, Sequence, SessionId, Slot, SlotSet, Term, WallTime};
use crate::kv::{
    Answer, Command, Machine, Operation, Place, SESSION_IDLE_MAX, SessionError, Status,
};

/// An operation that owns its bytes; each kind's fields as in `Operation`.
#[derive(Clone, Debug)]
pub(super) enum Owned {
    Put(Vec<u8>, Vec<u8>),
    Append(Vec<u8>, Vec<u8>),
    Delete(Vec<u8>),
    CompareAndSet(Vec<u8>, Option<Vec<u8>>, Vec<u8>),
    Increment(Vec<u8>, i64),
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
    },
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
    Closed,
    Expired,
    Answers(Vec<Answer>),
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
            Told::Closed
        }
        Event::Batch { session, lowest, commands } => {
            let Ok(mut batch) = machine.begin_batch(*session, *lowest) else {
                return Told::Expired;
            };
            let answers = (0..).zip(commands).map(|(position, (sequence, owned))| {
                let command = owned.operation();
                let command = command.map(|operation| Command { sequence: *sequence, operation });
                batch.apply(Place { index: entry.index, position }, command)
            });
            Told::Answers(answers.collect())
        }
    }
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
    pub(super) keys: BTreeMap<Vec<u8>, Vec<u8>>,
    sessions: BTreeMap<SessionId, ModelSession>,
    now: u64,
}

impl Model {
    pub(super) fn new(owned: &SlotSet) -> Self {
        let owned = owned.iter().map(Slot::number).collect();
        Self { owned, keys: BTreeMap::new(), sessions: BTreeMap::new(), now: 0 }
    }

    pub(super) fn owns(&self, key: &[u8]) -> bool {
        self.owned.contains(&Slot::of_key(key).number())
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
        keys as u64 + sessions.sum::<u64>()
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
                Told::Closed
            }
            Event::Batch { session, lowest, commands } => {
                let Some(mut state) = self.sessions.remove(session) else { return Told::Expired };
                state.last_use = self.now;
                state.lowest = state.lowest.max(lowest.0);
                state.answers.retain(|&sequence, _| sequence >= state.lowest);
                let answers = (0..).zip(commands).map(|(position, (sequence, owned))| {
                    let place = Place { index: entry.index, position };
                    self.command(&mut state, place, sequence.0, owned)
                });
                let answers = answers.collect();
                self.sessions.insert(*session, state);
                Told::Answers(answers)
            }
        }
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
            _ => self.batch(),
        }
    }

    fn open(&mut self) -> Event {
        let count = self.rng.u32(1..4);
        let ids = (0..u64::from(count)).map(|ordinal| SessionId((self.index << 16) + ordinal));
        self.sessions.extend(ids.map(|id| (id, 0)));
        Event::Open(count)
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
        Event::Batch { session: id, lowest: Sequence(lowest), commands }
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
            16..19 => {
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
