//! A group's leader fetches the slots that an epoch gives its group.
//!
//! ```text
//!  Arriving ── Pull(next) ──▶ old owner's leader
//!           ◀── piece ────── through our log ── next + 1 … ── the last of a frozen source ──▶ Served ── Taken ──▶
//! ```
//!
//! What is asked for next is what the state says is missing, so nothing here need outlive a leader: the next
//! one asks again. So does this one, if there is no answer for a while.

use std::collections::BTreeMap;

use super::doings::Doings;
use super::state::{GroupState, runs_of};
use crate::base::{GroupId, Index, Micros, Slot, Time};
use crate::kv::{Arrival, Machine, PiecePlace, SlotState};
use crate::wire::movement::{Message, Order};

/// Slots fetched at a time.
pub(in crate::reactor) const SLOTS_MAX: usize = 32;

/// After so long without an answer, or without it having come through the log, a slot is asked for again.
pub(super) const RETRY_AFTER: Micros = Micros::from_millis(100);

/// Unanswered so often, the old owner's leader may be another one than is known here.
const TRIES_TO_INQUIRE: u32 = 5;

/// Unanswered so often, others may have a slot's turn.
const TRIES_TO_YIELD: u32 = 10;

/// Pieces that were in the log so often and do not fit what is here: then it begins anew.
const MISFITS_MAX: u32 = 5;

/// What a leader knows of the slots on their way in.
#[derive(Debug, Default)]
pub(super) struct Gaining {
    /// The slots being fetched. `SLOTS_MAX` at most.
    pulls: BTreeMap<Slot, Pull>,
    /// Those behind it have their turn next.
    cursor: Slot,
}

/// A slot being fetched.
#[derive(Debug)]
struct Pull {
    from: GroupId,
    /// What was asked for: the arrival's name, and the piece's number. Nothing before the first time.
    place: Option<(Index, u64)>,
    /// When.
    asked_at: Time,
    /// How often, for that piece.
    tries: u32,
    /// Whether it came, and was given to the log.
    came: bool,
    /// How often it came, was in the log, and did not fit.
    misfits: u32,
}

/// What a leader goes by.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub group: GroupId,
    pub machine: &'a Machine,
    pub slots: &'a GroupState,
    /// Whether orders are on their way through the log: what they say is about to be so.
    pub in_flight: bool,
    /// What the core lets it use.
    pub means: Means,
}

/// What movements may use.
#[derive(Clone, Copy)]
pub(super) struct Means {
    /// Whether there is no memory for more keys: no other slot is begun with.
    pub memory_full: bool,
    /// Bytes of a piece, about; and as many may be sent while a slot is served by nobody.
    pub piece_bytes: usize,
}

impl Gaining {
    /// Asks for what is missing, and tells the old owners what has come.
    pub(super) fn go_on(&mut self, view: View<'_>, now: Time, doings: &mut Doings) {
        self.tell_taken(view, doings);
        self.fill_up(view);
        let crowded = view.slots.arriving().len() > self.pulls.len();
        let mut yielding = Vec::new();
        for (&slot, pull) in &mut self.pulls {
            let SlotState::Arriving(arrival) = view.machine.slot_state(slot) else { continue };
            pull.go_on(view, (slot, arrival), now, doings);
            if crowded && pull.tries > TRIES_TO_YIELD {
                yielding.push(slot);
            }
        }
        for slot in yielding {
            self.pulls.remove(&slot);
        }
    }

    /// A piece came. It is given to the log if it is the one that was asked for.
    pub(super) fn piece(&mut self, view: View<'_>, bytes: &[u8], doings: &mut Doings) {
        let Ok(PiecePlace { slot, arrival, number, completes }) = PiecePlace::of(bytes) else {
            tracing::warn!(group = %view.group, "what came is no piece of a slot");
            return;
        };
        let Some(pull) = self.pulls.get_mut(&slot) else { return };
        if pull.place != Some((arrival, number)) || std::mem::replace(&mut pull.came, true) {
            return;
        }
        let epoch = view.slots.epoch();
        doings.order(&Order::Piece { epoch, bytes });
        if completes {
            doings.order(&Order::Serve { epoch, slot, arrival });
        }
    }

    /// The old owner's leader knows nothing of the arrival's beginning: it begins anew.
    pub(super) fn unknown(
        &self,
        view: View<'_>,
        (slot, arrival): (Slot, Index),
        doings: &mut Doings,
    ) {
        let present = match view.machine.slot_state(slot) {
            SlotState::Arriving(present) if present.since == arrival => present,
            _ => return,
        };
        if present.next > 0 && !view.in_flight && self.pulls.contains_key(&slot) {
            let epoch = view.slots.epoch();
            doings.order(&Order::RestartArrival { epoch, slot, arrival });
        }
    }

    fn tell_taken(&mut self, view: View<'_>, doings: &mut Doings) {
        let mut taken: BTreeMap<GroupId, Vec<(Slot, GroupId)>> = BTreeMap::new();
        self.pulls.retain(|slot, pull| {
            let arrives = view.slots.arriving().contains(slot);
            if !arrives {
                taken.entry(pull.from).or_default().push((*slot, view.group));
            }
            arrives
        });
        for (from, slots) in taken {
            let (epoch, slots) = (view.slots.epoch(), runs_of(slots));
            doings.say(from, &Message::Taken { epoch, slots });
        }
    }

    /// Has as many slots fetched as may be, each in its turn.
    fn fill_up(&mut self, view: View<'_>) {
        let arriving = view.slots.arriving();
        while self.pulls.len() < SLOTS_MAX.min(arriving.len()) {
            let behind = arriving.range(self.cursor..).skip_while(|slot| **slot == self.cursor);
            let mut turn = behind.chain(arriving).copied();
            let next = turn.find(|slot| !self.pulls.contains_key(slot));
            let slot = next.expect("there are more than are being fetched");
            let from = view.slots.source_of(slot).expect("what arrives comes from somewhere");
            let pull =
                Pull { from, place: None, asked_at: Time(0), tries: 0, came: false, misfits: 0 };
            self.pulls.insert(slot, pull);
            self.cursor = slot;
        }
    }
}

impl Pull {
    fn go_on(
        &mut self,
        view: View<'_>,
        (slot, arrival): (Slot, Arrival),
        now: Time,
        doings: &mut Doings,
    ) {
        let place = (arrival.since, arrival.next);
        let again = self.asked_at + RETRY_AFTER;
        if self.place != Some(place) {
            (self.place, self.tries, self.misfits) = (Some(place), 0, 0);
        } else if now < again {
            return doings.wake(again);
        } else if view.in_flight {
            return doings.wake(now + RETRY_AFTER);
        } else if self.came {
            self.misfits += 1;
        }
        (self.asked_at, self.came) = (now, false);
        self.tries += 1;
        doings.wake(now + RETRY_AFTER);
        let epoch = view.slots.epoch();
        if view.means.memory_full && arrival.next == 0 {
            // What has begun is to come to its end: its keys are served by nobody before long.
            return;
        }
        if self.misfits >= MISFITS_MAX {
            let (group, arrival) = (view.group, arrival.since);
            tracing::warn!(%group, %slot, "what comes of a slot does not fit what is here: once more");
            doings.order(&Order::RestartArrival { epoch, slot, arrival });
        } else if arrival.is_whole && arrival.is_final {
            self.came = true;
            doings.order(&Order::Serve { epoch, slot, arrival: arrival.since });
        } else {
            let (group, arrival, next) = (view.group, arrival.since, arrival.next);
            doings.say(self.from, &Message::Pull { epoch, group, slot, arrival, next });
        }
        if self.tries.is_multiple_of(TRIES_TO_INQUIRE) {
            doings.inquire(self.from);
        }
    }
}
