//! What orders in a group's log do to its state.
//!
//! The same on every replica, whenever it is done: an order that does not fit the state changes nothing. That
//! is how it ought to be, too: a leader says again what it cannot know to have been done, and one that was
//! deposed may have said something that has become wrong.

use super::super::governance::Governed;
use super::state::{GroupState, NOBODY, slots_of};
use crate::base::{GroupId, Slot};
use crate::kv::{Machine, SlotError, SlotState};
use crate::placement::{META, Master, ShardMap};
use crate::wire::WireError;
use crate::wire::frame::Frame;
use crate::wire::map::SlotRun;
use crate::wire::movement::{Order, parse_order};

/// What the entries of a group's log change.
pub(in crate::reactor) struct Hosted<'a> {
    /// Whose it is.
    pub group: GroupId,
    /// Keys, sessions, and the states of slots.
    pub machine: &'a mut Machine,
    /// How far the group is; the machine's annex says the same.
    pub slots: &'a mut GroupState,
    /// Of the meta group: the shard master; the machine's annex says the same.
    pub master: &'a mut Option<Box<Master>>,
    /// What became of requests to it.
    pub governed: &'a mut Vec<Governed>,
    /// The newest map known here. For answers; the state must not depend on it.
    pub map: &'a ShardMap,
}

/// Why an order changes nothing.
#[derive(Debug, thiserror::Error)]
enum Unfit {
    #[error("it is for epoch {ordered}, but the group is in epoch {present}")]
    OtherEpoch { ordered: u64, present: u64 },
    #[error("epoch {0} has more to do")]
    Pending(u64),
    #[error("slot {0} does not change hands in this epoch")]
    NotMoving(Slot),
    #[error("it is said already")]
    Known,
    #[error("it is of a kind not known here, or not for this group")]
    Unknown,
    #[error(transparent)]
    Slot(#[from] SlotError),
    #[error(transparent)]
    Wire(#[from] WireError),
}

impl Hosted<'_> {
    /// Does what an order says, if it fits.
    pub(in crate::reactor) fn obey(&mut self, frame: &Frame<'_>) {
        let order = parse_order(frame).map_err(Unfit::from);
        let order = order.and_then(|order| order.ok_or(Unfit::Unknown));
        if let Err(error) = order.and_then(|order| self.apply(order)) {
            let (group, index) = (self.group, self.machine.applied().0);
            tracing::debug!(%group, %index, %error, "an order in the log changes nothing");
        }
    }

    fn apply(&mut self, order: Order<'_>) -> Result<(), Unfit> {
        match order {
            Order::BeginEpoch { epoch, gained, lost } => self.begin_epoch(epoch, gained, lost),
            Order::Piece { epoch, bytes } => {
                self.check_epoch(epoch)?;
                self.machine.take_piece(bytes)?;
                // That the slot arrives is no news; that more of it is here, is.
                self.slots.touch();
                Ok(())
            }
            Order::Serve { epoch, slot, arrival } => {
                self.check_epoch(epoch)?;
                self.machine.serve_slot(slot, arrival)?;
                self.slots.look_at(slot, self.machine);
                Ok(())
            }
            Order::RestartArrival { epoch, slot, arrival } => {
                self.check_epoch(epoch)?;
                self.machine.restart_arrival(slot, arrival)?;
                self.slots.look_at(slot, self.machine);
                Ok(())
            }
            Order::Freeze { epoch, slot } => {
                self.check_lost(epoch, slot)?;
                self.machine.freeze_slot(slot)?;
                self.slots.look_at(slot, self.machine);
                Ok(())
            }
            Order::Drop { epoch, slot, freeze } => {
                self.check_lost(epoch, slot)?;
                self.machine.drop_slot(slot, freeze)?;
                self.slots.look_at(slot, self.machine);
                Ok(())
            }
            Order::MembersSettled { epoch } => {
                if !self.slots.settle_members(epoch) {
                    return Err(Unfit::Known);
                }
                self.write_annex();
                Ok(())
            }
            Order::Govern { command } if self.group == META => {
                self.govern(command);
                Ok(())
            }
            Order::FoundMaster { map } if self.group == META => {
                self.found_master(map);
                Ok(())
            }
            Order::Govern { .. } | Order::FoundMaster { .. } => Err(Unfit::Unknown),
        }
    }

    /// All of it or nothing.
    fn begin_epoch(
        &mut self,
        epoch: u64,
        gained: Vec<SlotRun>,
        lost: Vec<SlotRun>,
    ) -> Result<(), Unfit> {
        let present = self.slots.epoch();
        if !self.slots.goes_on_to(epoch) || self.group == META {
            return Err(Unfit::OtherEpoch { ordered: epoch, present });
        }
        if !self.slots.is_done() {
            return Err(Unfit::Pending(present));
        }
        self.check_all(&gained, SlotState::Absent)?;
        self.check_all(&lost, SlotState::Served)?;
        for run in &gained {
            for slot in slots_of(std::slice::from_ref(run)) {
                let begun = if run.group == NOBODY {
                    self.machine.create_slot(slot)
                } else {
                    self.machine.begin_arrival(slot).map(|_| ())
                };
                begun.expect("it is absent: looked at above");
            }
        }
        let concerned: Vec<Slot> = slots_of(&gained).chain(slots_of(&lost)).collect();
        self.slots.begin(epoch, gained, lost);
        for slot in concerned {
            self.slots.look_at(slot, self.machine);
        }
        self.write_annex();
        Ok(())
    }

    fn check_all(&self, runs: &[SlotRun], expected: SlotState) -> Result<(), Unfit> {
        let states = slots_of(runs).map(|slot| (slot, self.machine.slot_state(slot)));
        let odd = states.into_iter().find(|(_, state)| *state != expected);
        odd.map_or(Ok(()), |(slot, state)| Err(SlotError::WrongState { slot, state }.into()))
    }

    fn check_epoch(&self, ordered: u64) -> Result<(), Unfit> {
        let present = self.slots.epoch();
        if ordered == present { Ok(()) } else { Err(Unfit::OtherEpoch { ordered, present }) }
    }

    fn check_lost(&self, epoch: u64, slot: Slot) -> Result<(), Unfit> {
        self.check_epoch(epoch)?;
        self.slots.target_of(slot).map(|_| ()).ok_or(Unfit::NotMoving(slot))
    }

    fn write_annex(&mut self) {
        self.machine.set_annex(self.slots.encode());
    }
}

#[cfg(test)]
mod tests;
