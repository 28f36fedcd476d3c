//! Makes a machine of a snapshot's pieces. They come from a disk or a peer: nothing in them is trusted.

use super::annex::AnnexParts;
use super::command::Status;
use super::machine::{Applied, Machine};
use super::ownership::{Arrival, Ownership, SlotState};
use super::reader::{CutShort, Reader};
use super::session::{Recall, Remembered, Session, Sessions};
use super::slot_tables::SlotTables;
use super::snapshot::{FORMAT, flag, kind};
use crate::base::limits::SESSIONS_MAX;
use crate::base::{GroupId, Index, Sequence, SessionId, Slot, SlotSet, Term, WallTime};

/// Why a snapshot cannot be restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// A record goes on past the end of its piece.
    #[error("the snapshot's state has a record that is cut short")]
    Truncated,
    /// A record of unknown kind.
    #[error("the snapshot's state has a record of unknown kind {0}")]
    UnknownRecord(u8),
    /// A record stands where none of its kind may.
    #[error("the snapshot's state has a record of kind {0} out of place")]
    Misplaced(u8),
    /// The format is another version's.
    #[error("the snapshot's state has format {0}; this version reads format {FORMAT}")]
    Format(u16),
    /// It is another group's.
    #[error("the snapshot's state is of group {found}, not of group {expected}")]
    WrongGroup {
        /// The group it was to be.
        expected: GroupId,
        /// The group it is.
        found: GroupId,
    },
    /// A part of the annex is empty, too long, or follows one that was not full; or the annex is too long.
    #[error(
        "the snapshot's state has {bytes} bytes of an annex from byte {at} on, as none is written"
    )]
    BadAnnex {
        /// Where in the annex it stands.
        at: usize,
        /// How long it is.
        bytes: usize,
    },
    /// A session's id is not above the one before it, there are too many, or it begins at 0.
    #[error(
        "the snapshot's state has session {0} out of order, too many sessions, or one from 0 on"
    )]
    BadSession(SessionId),
    /// A remembered result is not above the one before it, outside the window, or of unknown status.
    #[error("the snapshot's state has a bad result for sequence {sequence} of session {session}")]
    BadResult {
        /// The session.
        session: SessionId,
        /// The sequence.
        sequence: Sequence,
    },
    /// A slot is out of order, has two states, or one that cannot be; or the group has nothing of it.
    #[error("the snapshot's state has slot {0} out of order, twice, or not of this group")]
    BadSlot(u16),
    /// A key is there twice, or its slot is another one.
    #[error("the snapshot's state has a key in slot {0} that is there twice or of another slot")]
    BadKey(Slot),
    /// There are more or fewer sessions or keys than the end record says.
    #[error("the snapshot's state has not as many sessions and keys as its end says")]
    BadCounts,
    /// What was restored is not what was written.
    #[error("the snapshot's state has hash {found:016x}, and its end says {expected:016x}")]
    BadHash {
        /// What the end says.
        expected: u64,
        /// What the state has.
        found: u64,
    },
    /// The end is missing.
    #[error("the snapshot's state ends early")]
    Incomplete,
}

impl From<CutShort> for RestoreError {
    fn from(_: CutShort) -> Self {
        Self::Truncated
    }
}

/// A machine in the making.
pub struct Restore {
    group: GroupId,
    /// From the header, which comes first.
    applied: Option<Applied>,
    /// What there is of the annex, which comes next.
    annex: AnnexParts,
    sessions: Sessions,
    tables: SlotTables,
    /// The last slot of the run of served slots that was read last; ascends.
    served: Option<Slot>,
    /// The frozen or arriving slot that was read last; ascends. Once there is one, no run follows.
    moving: Option<Slot>,
    /// The slot whose entries are being read; ascends. Once there is one, no session follows.
    slot: Option<Slot>,
    /// The state's hash, from the end, which comes last.
    ended: Option<u64>,
}

impl Restore {
    /// An empty machine in the making, of the group `group`.
    pub fn new(group: GroupId) -> Self {
        Self {
            group,
            applied: None,
            annex: AnnexParts::default(),
            sessions: Sessions::default(),
            tables: SlotTables::new(Ownership::new(&SlotSet::new())),
            served: None,
            moving: None,
            slot: None,
            ended: None,
        }
    }

    /// Takes in the next piece, as [`Snapshot::next_chunk`](super::Snapshot::next_chunk) gave it.
    ///
    /// # Errors
    /// If the bytes are not what a snapshot of this group holds there. Then no later piece can
    /// mend it.
    pub fn chunk(&mut self, bytes: &[u8]) -> Result<(), RestoreError> {
        let mut reader = Reader(bytes);
        while !reader.0.is_empty() {
            let kind = u8::from_le_bytes(reader.array()?);
            self.check_place(kind)?;
            self.record(kind, &mut reader)?;
        }
        Ok(())
    }

    /// The machine, once all pieces were taken in.
    ///
    /// # Errors
    /// [`RestoreError::Incomplete`] if pieces are missing, [`RestoreError::BadHash`] if it is not the
    /// state that was written.
    pub fn finish(self) -> Result<Machine, RestoreError> {
        let applied = self.applied.ok_or(RestoreError::Incomplete)?;
        let expected = self.ended.ok_or(RestoreError::Incomplete)?;
        let parts = (self.sessions, self.tables, self.annex.finish());
        let machine = Machine::from_parts(self.group, applied, parts);
        let found = machine.state_hash();
        if found == expected { Ok(machine) } else { Err(RestoreError::BadHash { expected, found }) }
    }

    /// Whether a record of this kind may come now.
    fn check_place(&self, kind: u8) -> Result<(), RestoreError> {
        let begun = self.applied.is_some() && self.ended.is_none();
        let states = begun && self.slot.is_none() && self.sessions.len() == 0;
        let in_place = match kind {
            kind::HEADER => self.applied.is_none(),
            kind::ANNEX => states && self.served.is_none() && self.moving.is_none(),
            kind::SERVED => states && self.moving.is_none(),
            kind::FROZEN | kind::ARRIVING => states,
            kind::SESSION => begun && self.slot.is_none(),
            kind::RESULT => begun && self.slot.is_none() && self.sessions.len() > 0,
            kind::SLOT | kind::END => begun,
            kind::ENTRY => begun && self.slot.is_some(),
            _ => return Err(RestoreError::UnknownRecord(kind)),
        };
        if in_place { Ok(()) } else { Err(RestoreError::Misplaced(kind)) }
    }

    fn record(&mut self, kind: u8, reader: &mut Reader<'_>) -> Result<(), RestoreError> {
        match kind {
            kind::HEADER => self.header(reader),
            kind::ANNEX => self.annex(reader),
            kind::SERVED => self.served(reader),
            kind::FROZEN | kind::ARRIVING => self.moving(kind, reader),
            kind::SESSION => self.session(reader),
            kind::RESULT => self.result(reader),
            kind::SLOT => self.slot(reader),
            kind::ENTRY => self.entry(reader),
            _ => self.end(reader),
        }
    }

    fn header(&mut self, reader: &mut Reader<'_>) -> Result<(), RestoreError> {
        let format = u16::from_le_bytes(reader.array()?);
        if format != FORMAT {
            return Err(RestoreError::Format(format));
        }
        let found = GroupId(u32::from_le_bytes(reader.array()?));
        if found != self.group {
            return Err(RestoreError::WrongGroup { expected: self.group, found });
        }
        let (index, term) = (Index(reader.word()?), Term(reader.word()?));
        let timestamp = WallTime(reader.word()?);
        self.applied = Some(Applied { index, term, timestamp });
        Ok(())
    }

    fn annex(&mut self, reader: &mut Reader<'_>) -> Result<(), RestoreError> {
        let length = u32::from_le_bytes(reader.array()?);
        self.annex.push(reader.take(length as usize)?)
    }

    fn served(&mut self, reader: &mut Reader<'_>) -> Result<(), RestoreError> {
        let first = u16::from_le_bytes(reader.array()?);
        let last = u16::from_le_bytes(reader.array()?);
        // Runs are as long as can be: one that touches the run before it would have been one with it.
        let is_above = self.served.is_none_or(|served| first > served.number() + 1);
        match Slot::new(last) {
            Some(last_slot) if is_above && first <= last => {
                let slots = (first..=last).filter_map(Slot::new);
                slots.for_each(|slot| self.tables.ownership_mut().set(slot, SlotState::Served));
                self.served = Some(last_slot);
                Ok(())
            }
            _ => Err(RestoreError::BadSlot(first)),
        }
    }

    fn moving(&mut self, kind: u8, reader: &mut Reader<'_>) -> Result<(), RestoreError> {
        let number = u16::from_le_bytes(reader.array()?);
        let bad = RestoreError::BadSlot(number);
        let slot = Slot::new(number).ok_or(bad)?;
        let since = Index(reader.word()?);
        let state = if kind == kind::FROZEN {
            SlotState::Frozen { since }
        } else {
            let (next, target) = (reader.word()?, reader.word()?);
            let flags = u8::from_le_bytes(reader.array()?);
            // After that number none could come.
            if flags & !(flag::FINAL | flag::WHOLE) != 0 || next == u64::MAX {
                return Err(bad);
            }
            let (is_final, is_whole) = (flags & flag::FINAL != 0, flags & flag::WHOLE != 0);
            SlotState::Arriving(Arrival { since, next, target, is_final, is_whole })
        };
        let applied = self.applied.map_or(Index(0), |applied| applied.index);
        if Some(slot) <= self.moving || self.tables.serves(slot) || since > applied {
            return Err(bad);
        }
        self.moving = Some(slot);
        self.tables.ownership_mut().set(slot, state);
        Ok(())
    }

    fn session(&mut self, reader: &mut Reader<'_>) -> Result<(), RestoreError> {
        let id = SessionId(reader.word()?);
        if self.sessions.highest() >= Some(id) || self.sessions.len() >= SESSIONS_MAX {
            return Err(RestoreError::BadSession(id));
        }
        let (last_use, lowest) = (WallTime(reader.word()?), Sequence(reader.word()?));
        if lowest < Sequence(1) {
            return Err(RestoreError::BadSession(id));
        }
        self.sessions.push(Session::new(id, last_use, lowest));
        Ok(())
    }

    fn result(&mut self, reader: &mut Reader<'_>) -> Result<(), RestoreError> {
        let sequence = Sequence(reader.word()?);
        let number = i64::from_le_bytes(reader.array()?);
        let index = Index(reader.word()?);
        let position = u32::from_le_bytes(reader.array()?);
        let status = Status::from_code(u8::from_le_bytes(reader.array()?));
        let session = self.sessions.highest().expect("checked by check_place");
        let bad = RestoreError::BadResult { session, sequence };
        let (session, sums) = self.sessions.newest_mut().expect("checked by check_place");
        // Ascending, each above the span so far, and within the window.
        let above = sequence.0.checked_sub(session.lowest().0) >= Some(session.span() as u64);
        if !above || !matches!(session.recall(sequence), Recall::New) {
            return Err(bad);
        }
        let status = status.ok_or(bad)?;
        sums.remember(session, sequence, Remembered { number, index, position, status });
        Ok(())
    }

    fn slot(&mut self, reader: &mut Reader<'_>) -> Result<(), RestoreError> {
        let number = u16::from_le_bytes(reader.array()?);
        match Slot::new(number) {
            Some(slot) if Some(slot) > self.slot && self.is_here(slot) => {
                self.slot = Some(slot);
                Ok(())
            }
            _ => Err(RestoreError::BadSlot(number)),
        }
    }

    fn is_here(&self, slot: Slot) -> bool {
        self.tables.ownership().state(slot) != SlotState::Absent
    }

    fn entry(&mut self, reader: &mut Reader<'_>) -> Result<(), RestoreError> {
        let slot = self.slot.expect("checked by check_place");
        let key_length = u32::from_le_bytes(reader.array()?);
        let value_length = u32::from_le_bytes(reader.array()?);
        let key = reader.take(key_length as usize)?;
        let value = reader.take(value_length as usize)?;
        let mut cursor = self.tables.cursor(slot, key);
        if Slot::of_key(key) != slot || cursor.value().is_some() {
            return Err(RestoreError::BadKey(slot));
        }
        cursor.put(value);
        Ok(())
    }

    fn end(&mut self, reader: &mut Reader<'_>) -> Result<(), RestoreError> {
        let (sessions, keys) = (reader.word()?, reader.word()?);
        if (self.sessions.len() as u64, self.tables.keys()) != (sessions, keys) {
            return Err(RestoreError::BadCounts);
        }
        self.ended = Some(reader.word()?);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
