//! One replica's state and how entries change it.

use super::annex::Annex;
use super::command::{Answer, Command, Place, SessionError, Status, WrongSlot};
use super::content_hash;
use super::execute::execute;
use super::ownership::{Ownership, SlotState};
use super::session::{Recall, Remembered, Session, SessionView, Sessions, Sums};
use super::slot_tables::SlotTables;
use super::snapshot::Snapshot;
use crate::base::{
    Bytes, GroupId, Index, Mistake, Sequence, SessionId, Slot, SlotSet, Term, WallTime, makes,
};

/// Bits of a session id that tell sessions opened by one entry apart.
const ORDINAL_BITS: u32 = 16;

/// The deterministic state machine of one group's replica.
///
/// Inputs, in the order of the log: [`begin_entry`](Self::begin_entry) for each entry, then for what
/// it holds [`open_session`](Self::open_session), [`close_session`](Self::close_session),
/// [`begin_batch`](Self::begin_batch) and [`Batch::apply`] or [`Batch::apply_atomic`],
/// [`set_annex`](Self::set_annex), or for slots that come and go
/// [`create_slot`](Self::create_slot), [`begin_arrival`](Self::begin_arrival), [`take_piece`](Self::take_piece),
/// [`restart_arrival`](Self::restart_arrival), [`serve_slot`](Self::serve_slot),
/// [`freeze_slot`](Self::freeze_slot), [`drop_slot`](Self::drop_slot). Between turns, whatever the log:
/// [`reclaim`](Self::reclaim). Everything else is a query.
pub struct Machine {
    group: GroupId,
    /// Place and time of the last entry begun.
    applied: Applied,
    sessions: Sessions,
    tables: SlotTables,
    /// What the host keeps in the state.
    annex: Annex,
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
    /// The state before the first entry, of a group that serves the slots `served`, all of them empty.
    ///
    /// Every replica that begins with the log's first entry must be given the same ones, whenever that is.
    pub fn new(group: GroupId, served: &SlotSet) -> Self {
        let (applied, sessions) = (Applied::default(), Sessions::default());
        let tables = SlotTables::new(Ownership::new(served));
        Self::from_parts(group, applied, (sessions, tables, Annex::default()))
    }

    pub(super) fn from_parts(
        group: GroupId,
        applied: Applied,
        (sessions, tables, annex): (Sessions, SlotTables, Annex),
    ) -> Self {
        Self { group, applied, sessions, tables, annex }
    }

    /// Whose state it is.
    pub const fn group(&self) -> GroupId {
        self.group
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

    /// Keeps other bytes of the host's than those before. Costs a look at all of them.
    ///
    /// # Panics
    /// If there are more than [`ANNEX_MAX`](crate::base::limits::ANNEX_MAX): a bug of the caller's.
    pub fn set_annex(&mut self, annex: Bytes) {
        self.annex = Annex::new(annex);
    }

    /// What the host keeps in the state; no bytes at first.
    pub const fn annex(&self) -> &Bytes {
        self.annex.bytes()
    }

    /// The value of `key`.
    ///
    /// # Errors
    /// [`WrongSlot`] if the group does not serve the key's slot.
    pub fn get(&self, key: &[u8]) -> Result<Option<&[u8]>, WrongSlot> {
        let slot = Slot::of_key(key);
        let frozen = || matches!(self.slot_state(slot), SlotState::Frozen { .. });
        let read = self.tables.serves(slot) || makes(Mistake::FrozenRead) && frozen();
        if read { Ok(self.tables.get(slot, key)) } else { Err(WrongSlot) }
    }

    /// Index and term of the last entry begun, and the latest time stamp so far.
    pub const fn applied(&self) -> (Index, Term, WallTime) {
        (self.applied.index, self.applied.term, self.applied.timestamp)
    }

    pub(super) const fn tables(&self) -> &SlotTables {
        &self.tables
    }

    pub(super) const fn tables_mut(&mut self) -> &mut SlotTables {
        &mut self.tables
    }

    /// Keys held, those of frozen and arriving slots too.
    pub const fn keys(&self) -> u64 {
        self.tables.keys()
    }

    /// Bytes of keys, values and sessions, with a fixed overhead for each, and of the annex: about the
    /// memory they take, the same on every replica.
    pub fn bytes(&self) -> u64 {
        self.tables.bytes() + self.sessions.bytes() + self.annex().len() as u64
    }

    /// Sessions open.
    pub const fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// The sessions open, by id.
    pub fn session_views(&self) -> impl Iterator<Item = SessionView> {
        self.sessions.views()
    }

    /// Slots served.
    pub fn slots(&self) -> u32 {
        self.tables.ownership().served_count()
    }

    /// A hash of slots, keys, values, sessions with their remembered results, the annex, and the applied
    /// entry: equal on all replicas that have applied the same entries. Kept up to date with every
    /// change, at the cost of what the change touches.
    pub fn state_hash(&self) -> u64 {
        let Self { tables, sessions, annex, .. } = self;
        let (content, slots) = (tables.content_hash(), tables.ownership().hash());
        self.hash_of([content, sessions.content_hash(), slots, annex.hash()])
    }

    /// The same hash, made by looking at everything that is held: it differs from
    /// [`Self::state_hash`] only if memory changed by itself, or by our bug.
    pub fn recomputed_state_hash(&self) -> u64 {
        let Self { tables, sessions, annex, .. } = self;
        let (content, slots) =
            (tables.recomputed_content_hash(), tables.ownership().recomputed_hash());
        let (sessions, annex) = (sessions.recomputed_content_hash(), annex.recomputed_hash());
        self.hash_of([content, sessions, slots, annex])
    }

    /// `parts`: of keys and values, sessions, slots and the annex.
    fn hash_of(&self, parts: [u64; 4]) -> u64 {
        let Applied { index, term, timestamp } = self.applied;
        let place = [u64::from(self.group.0), index.0, term.0, timestamp.0];
        let counts = [self.keys(), self.sessions() as u64];
        let seed = content_hash::of_words(content_hash::of_words(0, &place), &counts);
        content_hash::of_words(seed, &parts)
    }

    /// The state as it is now, for writing it out while it goes on changing. Takes time in
    /// proportion to the number of sessions, not of keys.
    pub fn snapshot(&self) -> Snapshot {
        let (pages, sessions) = (self.tables.share(), self.sessions.share());
        let (ownership, annex) = (self.tables.ownership().clone(), self.annex.clone());
        let parts = [self.tables.content_hash(), self.sessions.content_hash()];
        let parts = parts.into_iter().chain([ownership.hash(), annex.hash()]);
        let hashes = (self.state_hash(), parts.fold(0, u64::wrapping_add));
        let contents = (annex, ownership, sessions, pages);
        Snapshot::new(self.group, self.applied, self.keys(), contents, hashes)
    }
}

/// Commands of one session within one entry.
pub struct Batch<'a> {
    pub(super) tables: &'a mut SlotTables,
    pub(super) session: &'a mut Session,
    /// Of all sessions, kept up to date.
    pub(super) sums: &'a mut Sums,
    /// The entry.
    pub(super) index: Index,
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
