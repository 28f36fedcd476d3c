//! One replica's state and how entries change it.

use super::command::{Answer, Command, Place, SessionError, Status, WrongSlot};
use super::content_hash;
use super::execute::execute;
use super::session::{Recall, Remembered, Session, SessionView, Sessions, Sums};
use super::slot_tables::SlotTables;
use super::snapshot::Snapshot;
use crate::base::{
    GroupId, Index, Mistake, Sequence, SessionId, Slot, SlotSet, Term, WallTime, makes,
};

/// Bits of a session id that tell sessions opened by one entry apart.
const ORDINAL_BITS: u32 = 16;

/// The deterministic state machine of one group's replica.
///
/// Inputs, in the order of the log: [`begin_entry`](Self::begin_entry) for each entry, then for what
/// it holds [`open_session`](Self::open_session), [`close_session`](Self::close_session) or
/// [`begin_batch`](Self::begin_batch) and [`Batch::apply`]. Everything else is a query.
pub struct Machine {
    group: GroupId,
    /// Place and time of the last entry begun.
    applied: Applied,
    sessions: Sessions,
    tables: SlotTables,
}

/// The last entry that is part of a state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Applied {
    /// Its index. Increases.
    pub(super) index: Index,
    /// Its term. Never decreases.
    pub(super) term: Term,
    /// The latest time stamp so far. Never decreases.
    pub(super) timestamp: WallTime,
}

impl Machine {
    /// The state before the first entry, of a group that owns the slots `owned`.
    pub fn new(group: GroupId, owned: &SlotSet) -> Self {
        let (applied, sessions) = (Applied::default(), Sessions::default());
        Self::from_parts(group, applied, sessions, SlotTables::new(owned))
    }

    pub(super) const fn from_parts(
        group: GroupId,
        applied: Applied,
        sessions: Sessions,
        tables: SlotTables,
    ) -> Self {
        Self { group, applied, sessions, tables }
    }

    /// Begins an entry of the log: what follows belongs to it. `timestamp` is the leader's; should it
    /// lie before an earlier one, the earlier one stands.
    ///
    /// # Panics
    /// If the index does not increase or the term decreases: a bug of the caller's.
    pub fn begin_entry(&mut self, index: Index, term: Term, timestamp: WallTime) {
        let applied = self.applied;
        assert!(index > applied.index, "entry {index} begun after {}", applied.index);
        assert!(term >= applied.term, "entry of term {term} begun after {}", applied.term);
        self.applied = Applied { index, term, timestamp: timestamp.max(applied.timestamp) };
    }

    /// Opens a session: the `ordinal`-th, from 0, of the entry. Its id is never given again.
    ///
    /// Sessions not used for [`SESSION_IDLE_MAX`](super::SESSION_IDLE_MAX) of log time are closed first.
    ///
    /// # Errors
    /// [`SessionError::Full`] if `SESSIONS_MAX` are open, none of them idle.
    ///
    /// # Panics
    /// If the ordinal does not fit 16 bits or does not increase within the entry.
    pub fn open_session(&mut self, ordinal: u32) -> Result<SessionId, SessionError> {
        assert!(ordinal >> ORDINAL_BITS == 0, "ordinal {ordinal} in entry {}", self.applied.index);
        let id = SessionId(self.applied.index.0 << ORDINAL_BITS | u64::from(ordinal));
        self.sessions.open(id, self.applied.timestamp)?;
        Ok(id)
    }

    /// Closes a session and forgets its results; one that is not open stays so.
    pub fn close_session(&mut self, session: SessionId) {
        self.sessions.close(session);
    }

    /// Begins a batch of commands of one session, all of whose results below `lowest_awaited` are
    /// forgotten.
    ///
    /// # Errors
    /// [`SessionError::Expired`] if the session is not, or no longer, open.
    pub fn begin_batch(
        &mut self,
        session: SessionId,
        lowest_awaited: Sequence,
    ) -> Result<Batch<'_>, SessionError> {
        let Applied { index, timestamp, .. } = self.applied;
        let (session, sums) = self.sessions.begin_batch(session, lowest_awaited, timestamp)?;
        Ok(Batch { tables: &mut self.tables, session, sums, index })
    }

    /// The value of `key`.
    ///
    /// # Errors
    /// [`WrongSlot`] if the key's slot belongs to another group.
    pub fn get(&self, key: &[u8]) -> Result<Option<&[u8]>, WrongSlot> {
        let slot = Slot::of_key(key);
        if self.tables.owns(slot) { Ok(self.tables.get(slot, key)) } else { Err(WrongSlot) }
    }

    /// Index and term of the last entry begun, and the latest time stamp so far.
    pub const fn applied(&self) -> (Index, Term, WallTime) {
        (self.applied.index, self.applied.term, self.applied.timestamp)
    }

    /// Keys held.
    pub const fn keys(&self) -> u64 {
        self.tables.keys()
    }

    /// Bytes of keys, values and sessions, with a fixed overhead for each: about the memory they
    /// take, the same on every replica.
    pub const fn bytes(&self) -> u64 {
        self.tables.bytes() + self.sessions.bytes()
    }

    /// Sessions open.
    pub const fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// The sessions open, by id.
    pub fn session_views(&self) -> impl Iterator<Item = SessionView> {
        self.sessions.views()
    }

    /// Slots owned.
    pub fn slots(&self) -> u32 {
        self.tables.owned_count()
    }

    /// A hash of keys, values, sessions with their remembered results, and the applied entry: equal on
    /// all replicas that have applied the same entries. Kept up to date with every change, at the cost
    /// of what the change touches.
    pub fn state_hash(&self) -> u64 {
        self.hash_of(self.tables.content_hash(), self.sessions.content_hash())
    }

    /// The same hash, made by looking at everything that is held: it differs from
    /// [`Self::state_hash`] only if memory changed by itself, or by our bug.
    pub fn recomputed_state_hash(&self) -> u64 {
        let (tables, sessions) = (&self.tables, &self.sessions);
        self.hash_of(tables.recomputed_content_hash(), sessions.recomputed_content_hash())
    }

    fn hash_of(&self, content: u64, sessions: u64) -> u64 {
        let Applied { index, term, timestamp } = self.applied;
        let place = [u64::from(self.group.0), index.0, term.0, timestamp.0];
        let counts = [self.keys(), self.sessions() as u64, content, sessions];
        content_hash::of_words(content_hash::of_words(0, &place), &counts)
    }

    /// The state as it is now, for writing it out while it goes on changing. Takes time in
    /// proportion to the number of sessions, not of keys.
    pub fn snapshot(&self) -> Snapshot {
        let (pages, sessions) = (self.tables.share(), self.sessions.share());
        let content = self.tables.content_hash().wrapping_add(self.sessions.content_hash());
        let hashes = (self.state_hash(), content);
        Snapshot::new(self.group, self.applied, self.keys(), (pages, sessions), hashes)
    }
}

/// Commands of one session within one entry.
pub struct Batch<'a> {
    tables: &'a mut SlotTables,
    session: &'a mut Session,
    /// Of all sessions, kept up to date.
    sums: &'a mut Sums,
    /// The entry.
    index: Index,
}

impl Batch<'_> {
    /// Executes a command, unless the session has seen its sequence: then the answer is what the
    /// session remembers. `None` stands for a command of unknown kind.
    ///
    /// # Panics
    /// If `place` is not in the entry that was begun.
    pub fn apply(&mut self, place: Place, command: Option<Command<'_>>) -> Answer {
        assert!(place.index == self.index, "{place:?} applied in entry {}", self.index);
        let refused = |status| Answer { status, number: 0, place, repeated: false };
        let Some(command) = command else { return refused(Status::UnknownCommand) };
        match self.session.recall(command.sequence) {
            Recall::New => self.execute(place, &command),
            Recall::Known(_) if makes(Mistake::RetryExecuted) => {
                let (status, number) = execute(self.tables, &command.operation);
                Answer { status, number, place, repeated: false }
            }
            Recall::Known(result) if makes(Mistake::RepeatedElsewhere) => {
                Answer { place, ..result.answer(true) }
            }
            Recall::Known(result) => result.answer(true),
            Recall::Forgotten if makes(Mistake::ForgottenExecuted) => {
                let (status, number) = execute(self.tables, &command.operation);
                Answer { status, number, place, repeated: false }
            }
            Recall::Forgotten => refused(Status::Forgotten),
            Recall::WindowExceeded => refused(Status::WindowExceeded),
        }
    }

    fn execute(&mut self, place: Place, command: &Command<'_>) -> Answer {
        let (status, number) = execute(self.tables, &command.operation);
        let Place { index, position } = place;
        let result = Remembered { number, index, position, status };
        self.sums.remember(self.session, command.sequence, result);
        result.answer(false)
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
