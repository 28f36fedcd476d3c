//! Slots that come and go: what the entries of a group's log do to the set of its slots.
//!
//! The calls that change something are made where entries are applied, like those for commands, and do
//! the same on every replica, also when they refuse. Each may be made again: a leader that cannot know
//! whether its predecessor's call is in the log makes it once more. States and names: `ownership`;
//! pieces: `export`.

use super::export::SlotExport;
use super::machine::Machine;
use super::ownership::{Arrival, SlotCounts, SlotState};
use super::piece::{Change, Header, Piece, PieceError};
use crate::base::{Index, Mistake, Slot, SlotSet, makes};

/// Why a slot stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SlotError {
    /// In its state this cannot be done.
    #[error("slot {slot} is {}: this cannot be done to it", name_of(.state))]
    WrongState {
        /// The slot.
        slot: Slot,
        /// Its state.
        state: SlotState,
    },
    /// Meant was an earlier arrival or freeze.
    #[error("slot {slot}: entry {named} was meant, but it is as it is since entry {since}")]
    Stale {
        /// The slot.
        slot: Slot,
        /// Which one was meant.
        named: Index,
        /// Which one it is.
        since: Index,
    },
    /// The bytes are not a piece.
    #[error("a piece of a slot cannot be read: {0}")]
    BadPiece(#[from] PieceError),
    /// A piece came before those that it follows.
    #[error("slot {slot}: piece {found} came in the place of piece {expected}")]
    Early {
        /// The slot.
        slot: Slot,
        /// The number of the piece to come.
        expected: u64,
        /// The number of the one that came.
        found: u64,
    },
    /// A piece belongs to another round than those before it.
    #[error("slot {slot}: piece {number} is of another round than those before it")]
    OtherRound {
        /// The slot.
        slot: Slot,
        /// The piece's number.
        number: u64,
    },
    /// The content is not the one that the round begins with or leads to: restart the arrival.
    #[error("slot {slot} has content {found:016x}, not {expected:016x}: restart its arrival")]
    WrongContent {
        /// The slot.
        slot: Slot,
        /// The hash of what it was to have.
        expected: u64,
        /// The hash of what it has.
        found: u64,
    },
    /// Pieces are missing, or none came of a frozen source: it may have changed since.
    #[error("slot {slot} has not arrived: the last piece of a frozen source did not come")]
    NotArrived {
        /// The slot.
        slot: Slot,
    },
}

fn name_of(state: &SlotState) -> &'static str {
    match state {
        SlotState::Absent => "not here",
        SlotState::Served => "served",
        SlotState::Frozen { .. } => "frozen",
        SlotState::Arriving(_) => "arriving",
    }
}

/// Slots that come and go.
impl Machine {
    /// What there is of a slot.
    pub fn slot_state(&self, slot: Slot) -> SlotState {
        self.tables().ownership().state(slot)
    }

    /// The slots on their way in or out, ascending: what a new leader has to see to.
    pub fn moving_slots(&self) -> impl Iterator<Item = (Slot, SlotState)> {
        self.tables().ownership().moving_from(Slot::default())
    }

    /// The slots that are served.
    pub const fn served_slots(&self) -> &SlotSet {
        self.tables().ownership().served()
    }

    /// How many slots are in which state.
    pub fn slot_counts(&self) -> SlotCounts {
        self.tables().ownership().counts()
    }

    /// The content of a slot as it is now, to be read out while it goes on changing. Takes no time to
    /// speak of.
    ///
    /// # Errors
    /// [`SlotError::WrongState`] unless it is served or frozen.
    pub fn export(&self, slot: Slot) -> Result<SlotExport, SlotError> {
        let is_final = match self.slot_state(slot) {
            SlotState::Served => makes(Mistake::FinalBeforeFrozen),
            SlotState::Frozen { .. } => true,
            state => return Err(SlotError::WrongState { slot, state }),
        };
        Ok(SlotExport::new(slot, self.tables().share_table(slot), is_final))
    }

    /// Serves a slot that no group ever had: it begins empty. One that is served stays so.
    ///
    /// Whoever decides on this must know that there was no owner, and make the call for nothing but the
    /// entry that says so: a slot that was dropped is not remembered here, and one that is served by another
    /// group by now would have two owners.
    ///
    /// # Errors
    /// [`SlotError::WrongState`] if it is frozen or arriving.
    pub fn create_slot(&mut self, slot: Slot) -> Result<(), SlotError> {
        match self.slot_state(slot) {
            SlotState::Served => Ok(()),
            SlotState::Absent => {
                self.set_slot(slot, SlotState::Served);
                Ok(())
            }
            state => Err(SlotError::WrongState { slot, state }),
        }
    }

    /// Makes place for a slot that is to come; returns the name of the arrival. One that is under way
    /// goes on under its name.
    ///
    /// # Errors
    /// [`SlotError::WrongState`] if the slot is here.
    pub fn begin_arrival(&mut self, slot: Slot) -> Result<Index, SlotError> {
        match self.slot_state(slot) {
            SlotState::Absent => Ok(self.arrive_anew(slot)),
            SlotState::Arriving(arrival) => Ok(arrival.since),
            state => Err(SlotError::WrongState { slot, state }),
        }
    }

    /// Drops what came of an arrival, and begins it anew under the name that is returned.
    ///
    /// # Errors
    /// [`SlotError::Stale`] if another one is under way: this one was restarted before.
    /// [`SlotError::WrongState`] if none is.
    pub fn restart_arrival(&mut self, slot: Slot, arrival: Index) -> Result<Index, SlotError> {
        self.arrival(slot, arrival)?;
        if !makes(Mistake::RestartKeepsContent) {
            self.tables_mut().clear(slot);
        }
        Ok(self.arrive_anew(slot))
    }

    /// Takes in a piece, as [`SlotPieces::next_piece`](super::SlotPieces::next_piece) gave it, and
    /// returns how far its arrival is. One that was taken in before changes nothing.
    ///
    /// # Errors
    /// If the bytes are not a piece, or not the one to come. Nothing was changed then.
    pub fn take_piece(&mut self, bytes: &[u8]) -> Result<Arrival, SlotError> {
        let piece = Piece::parse(bytes)?;
        let header = piece.header;
        let arrival = self.arrival(header.slot, header.arrival)?;
        if header.number < arrival.next {
            return Ok(arrival);
        }
        self.check_place(&header, &arrival)?;
        for change in piece.changes() {
            match change {
                Change::Put { key, value } => {
                    self.tables_mut().cursor(header.slot, key).put(value);
                }
                Change::Remove { key } => {
                    self.tables_mut().cursor(header.slot, key).remove();
                }
            }
        }
        let Header { is_last: is_whole, is_final, to: target, .. } = header;
        let arrival = Arrival { next: arrival.next + 1, target, is_final, is_whole, ..arrival };
        self.set_slot(header.slot, SlotState::Arriving(arrival));
        Ok(arrival)
    }

    /// Serves a slot that has arrived. One that is served stays so.
    ///
    /// # Errors
    /// [`SlotError::NotArrived`] if pieces are missing, [`SlotError::WrongContent`] if what came is not
    /// what the source had; [`SlotError::Stale`] and [`SlotError::WrongState`] if there is no such
    /// arrival.
    pub fn serve_slot(&mut self, slot: Slot, arrival: Index) -> Result<(), SlotError> {
        if self.slot_state(slot) == SlotState::Served {
            return Ok(());
        }
        let arrival = self.arrival(slot, arrival)?;
        if !(arrival.is_whole && arrival.is_final) {
            return Err(SlotError::NotArrived { slot });
        }
        self.check_content(slot, arrival.target)?;
        self.set_slot(slot, SlotState::Served);
        Ok(())
    }

    /// Serves a slot no longer; returns the name of the freeze. One that is frozen stays so.
    ///
    /// # Errors
    /// [`SlotError::WrongState`] if it is not here, or not yet.
    pub fn freeze_slot(&mut self, slot: Slot) -> Result<Index, SlotError> {
        match self.slot_state(slot) {
            SlotState::Served => {
                let since = self.applied().0;
                self.set_slot(slot, SlotState::Frozen { since });
                Ok(since)
            }
            SlotState::Frozen { since } => Ok(since),
            state => Err(SlotError::WrongState { slot, state }),
        }
    }

    /// Drops a frozen slot or an arrival: the one of that name. One that is not here stays so.
    ///
    /// Takes little time however many keys there are: [`Self::reclaim`] gives their memory back.
    ///
    /// # Errors
    /// [`SlotError::WrongState`] if it is served, [`SlotError::Stale`] if it has another name.
    pub fn drop_slot(&mut self, slot: Slot, named: Index) -> Result<(), SlotError> {
        let since = match self.slot_state(slot) {
            SlotState::Absent => return Ok(()),
            SlotState::Frozen { since } | SlotState::Arriving(Arrival { since, .. }) => since,
            state @ SlotState::Served => return Err(SlotError::WrongState { slot, state }),
        };
        if since != named {
            return Err(SlotError::Stale { slot, named, since });
        }
        self.tables_mut().clear(slot);
        self.set_slot(slot, SlotState::Absent);
        Ok(())
    }

    /// Gives back the memory of about `keys_max` keys of slots that were dropped; returns whether there
    /// is more to give back now. To be called between turns until there is not: some 50 ns a key.
    ///
    /// No part of the state, which has lost the keys before; [`Self::bytes`] does not count them.
    pub fn reclaim(&mut self, keys_max: usize) -> bool {
        self.tables_mut().reclaim(keys_max)
    }

    /// Keys of dropped slots whose memory is not given back yet, be it that a snapshot or an export
    /// still holds them.
    pub fn unreclaimed_keys(&self) -> usize {
        self.tables().unreclaimed_keys()
    }

    fn arrive_anew(&mut self, slot: Slot) -> Index {
        let since = self.applied().0;
        self.set_slot(slot, SlotState::Arriving(Arrival::new(since)));
        since
    }

    /// The slot's arrival of the name `named`.
    fn arrival(&self, slot: Slot, named: Index) -> Result<Arrival, SlotError> {
        match self.slot_state(slot) {
            SlotState::Arriving(arrival) if arrival.since == named => Ok(arrival),
            SlotState::Arriving(Arrival { since, .. }) => {
                Err(SlotError::Stale { slot, named, since })
            }
            state => Err(SlotError::WrongState { slot, state }),
        }
    }

    /// Whether a piece goes on where the arrival is.
    fn check_place(&self, header: &Header, arrival: &Arrival) -> Result<(), SlotError> {
        let Header { slot, number, from, to, is_final, .. } = *header;
        if number > arrival.next {
            return Err(SlotError::Early { slot, expected: arrival.next, found: number });
        }
        if arrival.is_whole {
            return self.check_content(slot, from);
        }
        if (to, is_final) == (arrival.target, arrival.is_final) {
            Ok(())
        } else {
            Err(SlotError::OtherRound { slot, number })
        }
    }

    fn check_content(&self, slot: Slot, expected: u64) -> Result<(), SlotError> {
        let found = self.tables().slot_content_hash(slot);
        if found == expected {
            Ok(())
        } else {
            Err(SlotError::WrongContent { slot, expected, found })
        }
    }

    fn set_slot(&mut self, slot: Slot, state: SlotState) {
        self.tables_mut().ownership_mut().set(slot, state);
    }
}

#[cfg(test)]
mod tests;
