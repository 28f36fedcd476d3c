//! Which slots a group has, and how far each one is on its way in or out.
//!
//! ```text
//!              begin_arrival            serve_slot          freeze_slot
//!     Absent ───────────────▶ Arriving ────────────▶ Served ────────────▶ Frozen
//!      │ ▲                       │ restart_arrival    ▲                      │
//!      │ └───────────────────────┴──────────────── drop_slot ────────────────┘
//!      └──────────────────── create_slot ─────────────┘
//! ```
//!
//! A slot is executed on and read while it is `Served`, never else: so if the old owner freezes before
//! the new one serves, there are not two owners at any moment. A freeze or an arrival is named by the
//! entry that began it, and whoever ends it says which one is meant: a command that comes late, from a
//! leader of the past or for an earlier stay of the slot, ends nothing.

use std::collections::BTreeMap;

use super::content_hash;
use crate::base::{Index, Slot, SlotSet};

/// Seed of the hashes of slots' states.
const SEED: u64 = 0x0f3a_94c1_57d2_6be8;

/// What a group has of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotState {
    /// Nothing.
    Absent,
    /// All of it; commands are executed and reads answered.
    Served,
    /// All of it, and it does not change any more: it was given away.
    Frozen {
        /// The entry that froze it: the name of this freeze.
        since: Index,
    },
    /// What came so far.
    Arriving(Arrival),
}

/// A slot on its way in: see [`SlotPieces`](super::SlotPieces) for the pieces and their rounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The entry that began it: its name. Pieces made for another arrival are refused.
    pub since: Index,
    /// The number of the piece that comes next. Counts on from round to round.
    pub next: u64,
    /// The hash of the content that the round leads to.
    pub target: u64,
    /// Whether the source was frozen at the export that the round leads to.
    pub is_final: bool,
    /// Whether the round's last piece came; true before the first round too.
    pub is_whole: bool,
}

impl Arrival {
    /// An arrival of which nothing came yet.
    pub(super) const fn new(since: Index) -> Self {
        Self { since, next: 0, target: 0, is_final: false, is_whole: true }
    }
}

/// How many slots are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotCounts {
    /// Executed on and read.
    pub served: u32,
    /// Given away and not dropped yet.
    pub frozen: u32,
    /// On their way in.
    pub arriving: u32,
}

/// The states of all slots.
#[derive(Clone)]
pub(super) struct Ownership {
    /// One bit a slot: what every command and every read looks at.
    served: SlotSet,
    /// The slots that are frozen or arriving. None of them is in `served`.
    moving: BTreeMap<Slot, SlotState>,
    /// The sum of the hashes of all states; that of an absent slot is 0.
    hash: u64,
}

impl Ownership {
    /// Those `served`, and no others.
    pub(super) fn new(served: &SlotSet) -> Self {
        let (served, moving) = (served.clone(), BTreeMap::new());
        let hash = served.iter().map(|slot| hash_of(slot, SlotState::Served));
        let hash = hash.fold(0, u64::wrapping_add);
        Self { served, moving, hash }
    }

    /// Whether commands for the slot are executed here.
    #[inline]
    pub(super) fn serves(&self, slot: Slot) -> bool {
        self.served.contains(slot)
    }

    /// The slot's state.
    pub(super) fn state(&self, slot: Slot) -> SlotState {
        if self.serves(slot) {
            return SlotState::Served;
        }
        self.moving.get(&slot).copied().unwrap_or(SlotState::Absent)
    }

    /// Gives the slot another state.
    pub(super) fn set(&mut self, slot: Slot, state: SlotState) {
        let old = hash_of(slot, self.state(slot));
        self.hash = self.hash.wrapping_sub(old).wrapping_add(hash_of(slot, state));
        self.served.remove(slot);
        self.moving.remove(&slot);
        match state {
            SlotState::Absent => {}
            SlotState::Served => self.served.insert(slot),
            SlotState::Frozen { .. } | SlotState::Arriving(_) => {
                self.moving.insert(slot, state);
            }
        }
    }

    /// How many slots are in which state.
    pub(super) fn counts(&self) -> SlotCounts {
        let frozen = self.moving.values().filter(|state| matches!(state, SlotState::Frozen { .. }));
        let frozen = u32::try_from(frozen.count()).expect("there are SLOT_COUNT slots");
        let moving = u32::try_from(self.moving.len()).expect("there are SLOT_COUNT slots");
        SlotCounts { served: self.served_count(), frozen, arriving: moving - frozen }
    }

    /// The slots that are served.
    pub(super) const fn served(&self) -> &SlotSet {
        &self.served
    }

    /// How many slots are served.
    pub(super) fn served_count(&self) -> u32 {
        self.served.len()
    }

    /// The first run of neighbouring served slots at or after `from`: its first and its last.
    pub(super) fn served_run(&self, from: Slot) -> Option<(Slot, Slot)> {
        let slots = |from: Slot| (from.number()..).map_while(Slot::new);
        let first = slots(from).find(|&slot| self.serves(slot))?;
        let last = slots(first).take_while(|&slot| self.serves(slot)).last()?;
        Some((first, last))
    }

    /// The slots at or after `from` that are frozen or arriving, ascending.
    pub(super) fn moving_from(&self, from: Slot) -> impl Iterator<Item = (Slot, SlotState)> {
        self.moving.range(from..).map(|(&slot, &state)| (slot, state))
    }

    /// A hash of all states.
    pub(super) const fn hash(&self) -> u64 {
        self.hash
    }

    /// The same, by looking at every one of them.
    pub(super) fn recomputed_hash(&self) -> u64 {
        let served = self.served.iter().map(|slot| (slot, SlotState::Served));
        let all = served.chain(self.moving_from(Slot::default()));
        all.map(|(slot, state)| hash_of(slot, state)).fold(0, u64::wrapping_add)
    }
}

/// The part of a slot's state in the sum over all slots.
pub(super) fn hash_of(slot: Slot, state: SlotState) -> u64 {
    let words = match state {
        SlotState::Absent => return 0,
        SlotState::Served => [1, 0, 0, 0],
        SlotState::Frozen { since } => [2, since.0, 0, 0],
        SlotState::Arriving(Arrival { since, next, target, is_final, is_whole }) => {
            let code = 3 | u64::from(is_final) << 8 | u64::from(is_whole) << 9;
            [code, since.0, next, target]
        }
    };
    content_hash::of_words(SEED ^ u64::from(slot.number()), &words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(number: u16) -> Slot {
        Slot::new(number).expect("in range")
    }

    #[test]
    fn each_slot_has_one_state_and_the_hash_sees_them_all() {
        let mut ownership = Ownership::new(&[slot(0), slot(9)].into_iter().collect());
        let arrival = Arrival::new(Index(4));
        let states = [
            SlotState::Absent,
            SlotState::Served,
            SlotState::Frozen { since: Index(4) },
            SlotState::Frozen { since: Index(5) },
            SlotState::Arriving(arrival),
            SlotState::Arriving(Arrival { since: Index(5), ..arrival }),
            SlotState::Arriving(Arrival { next: 1, ..arrival }),
            SlotState::Arriving(Arrival { target: 1, ..arrival }),
            SlotState::Arriving(Arrival { is_final: true, ..arrival }),
            SlotState::Arriving(Arrival { is_whole: false, ..arrival }),
        ];
        let mut seen = std::collections::BTreeSet::new();
        for number in [7, 16_383] {
            for state in states {
                ownership.set(slot(number), state);
                assert_eq!(ownership.state(slot(number)), state);
                assert_eq!(ownership.serves(slot(number)), state == SlotState::Served);
                assert_eq!(ownership.hash(), ownership.recomputed_hash(), "{state:?}");
                seen.insert(ownership.hash());
                let SlotCounts { served, frozen, arriving } = ownership.counts();
                let here = u32::from(state != SlotState::Absent);
                assert_eq!(served + frozen + arriving, 2 + here);
            }
            ownership.set(slot(number), SlotState::Absent);
        }
        assert_eq!(seen.len(), 2 * states.len() - 1, "absent is the same twice");
    }

    #[test]
    fn runs_are_as_long_as_can_be() {
        let full = Ownership::new(&SlotSet::full());
        assert_eq!(full.served_run(slot(5)), Some((slot(5), slot(16_383))));
        let some = Ownership::new(&[3, 4, 5, 8].map(slot).into_iter().collect());
        assert_eq!(some.served_run(slot(0)), Some((slot(3), slot(5))));
        assert_eq!(some.served_run(slot(6)), Some((slot(8), slot(8))));
        assert_eq!(some.served_run(slot(9)), None);
        assert_eq!(Ownership::new(&SlotSet::new()).hash(), 0);
    }
}
