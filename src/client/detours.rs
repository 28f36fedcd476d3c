//! Slots on the move: whom to ask where groups know better than the shard map.
//!
//! A group that is asked for a slot it does not serve names the group to ask instead. The client
//! follows at once, and remembers that until a map of a higher epoch comes:
//!
//! ```text
//! map says A ──WrongSlot, ask B──▶ B            at once: the slot has moved
//!              ◀─WrongSlot, ask A── B           a circle: the slot is on its way from A to B and
//!        pause, ask again                       served by neither just now; pauses grow
//! ```
//!
//! An answer from a group that is not asked for the slot any more turns nobody: of many commands
//! that come back together, the first turns the slot and the others follow.

use std::collections::BTreeMap;

use super::command::Stray;
use crate::base::{Micros, Slot, Time};

/// The slots for which groups named another group than the map, or each other.
#[derive(Debug, Default)]
pub(super) struct Detours {
    /// Emptied by each newer map. At most one per slot.
    by_slot: BTreeMap<u16, Detour>,
    /// When the first pause ends; may be too early, never too late. `None`: nothing waits.
    release_at: Option<Time>,
}

/// Whom to ask for one slot.
#[derive(Debug)]
struct Detour {
    /// The lane of the group named last.
    lane: usize,
    /// The lane of the group that named it.
    named_by: usize,
    /// When it was named.
    named_at: Time,
    /// How often the slot was turned in a row, each less than `CALM` after the last.
    turns: u32,
    /// How many of these were pauses.
    pauses: u32,
    /// Nobody is asked before this.
    resume_at: Time,
    /// Commands that wait for it, in the order they came.
    waiting: Vec<Stray>,
}

/// One group's answer that another is to be asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    /// The lane that answered.
    pub(super) asked: usize,
    /// The lane of the group that it named.
    pub(super) named: usize,
}

/// A slot that was not turned for this long stands still: what comes next is another movement.
const CALM: Micros = Micros::from_millis(100);

/// A slot turned this often in a row goes round in a circle of more than two.
const TURNS_MAX: u32 = 4;

/// The shortest pause between two groups that name each other, and the longest.
const PAUSE_MIN: Micros = Micros::from_millis(1);
const PAUSE_MAX: Micros = Micros::from_millis(5);

impl Detours {
    /// The lane to ask for `slot`, if it is another matter than the map's.
    pub(super) fn lane_of(&self, slot: Slot) -> Option<usize> {
        self.by_slot.get(&slot.number()).map(|detour| detour.lane)
    }

    /// Whether nobody is to be asked for `slot` just now.
    pub(super) fn is_paused(&self, slot: Slot, now: Time) -> bool {
        self.by_slot.get(&slot.number()).is_some_and(|detour| now < detour.resume_at)
    }

    /// The lane that was asked for `slot`, as it should have been, named another one.
    pub(super) fn turn(&mut self, slot: Slot, turn: Turn, now: Time, random: &mut fastrand::Rng) {
        let Turn { asked, named } = turn;
        let detour = self.by_slot.entry(slot.number()).or_insert_with(|| Detour {
            lane: asked,
            named_by: asked,
            named_at: now,
            turns: 0,
            pauses: 0,
            resume_at: now,
            waiting: Vec::new(),
        });
        if detour.named_at + CALM <= now {
            (detour.turns, detour.pauses) = (0, 0);
        }
        let back = detour.turns > 0 && named == detour.named_by;
        detour.turns = detour.turns.saturating_add(1);
        if named == asked || back || detour.turns > TURNS_MAX {
            detour.pauses = detour.pauses.saturating_add(1);
            detour.resume_at = now + pause(detour.pauses, random);
        }
        (detour.lane, detour.named_by, detour.named_at) = (named, asked, now);
    }

    /// The group asked for `slot` names none: what the map says holds again.
    pub(super) fn forget(&mut self, slot: Slot) -> Vec<Stray> {
        self.by_slot.remove(&slot.number()).map_or_else(Vec::new, |detour| detour.waiting)
    }

    /// Keeps a command until the pause of its slot is over; when that is.
    ///
    /// # Panics
    /// If the slot is not paused: a bug of ours.
    pub(super) fn hold(&mut self, slot: Slot, stray: Stray) -> Time {
        let detour = self.by_slot.get_mut(&slot.number()).expect("only a detour is paused");
        detour.waiting.push(stray);
        let resume_at = detour.resume_at;
        self.release_at = Some(self.release_at.map_or(resume_at, |at| at.min(resume_at)));
        resume_at
    }

    /// The commands whose pause is over, and when the next one is.
    pub(super) fn release(&mut self, now: Time, strays: &mut Vec<Stray>) -> Option<Time> {
        if self.release_at.is_some_and(|at| at <= now) {
            self.release_at = None;
            for detour in self.by_slot.values_mut().filter(|detour| !detour.waiting.is_empty()) {
                if detour.resume_at <= now {
                    strays.append(&mut detour.waiting);
                } else {
                    let next =
                        self.release_at.map_or(detour.resume_at, |at| at.min(detour.resume_at));
                    self.release_at = Some(next);
                }
            }
        }
        self.release_at
    }

    /// A newer map came: what the groups said before is forgotten. The commands that waited.
    pub(super) fn clear(&mut self) -> Vec<Stray> {
        self.release_at = None;
        std::mem::take(&mut self.by_slot).into_values().flat_map(|detour| detour.waiting).collect()
    }

    /// Takes out the waiting commands whose callers' patience is over, and says when the next one's
    /// is.
    pub(super) fn expire(&mut self, now: Time, late: &mut Vec<Stray>) -> Option<Time> {
        self.release_at?;
        let waiting = self.by_slot.values_mut().map(|detour| &mut detour.waiting);
        waiting.filter_map(|waiting| take_late(waiting, now, late)).min()
    }
}

/// Moves the commands whose callers' patience is over out of `strays`; when the next one's is.
pub(super) fn take_late(strays: &mut Vec<Stray>, now: Time, late: &mut Vec<Stray>) -> Option<Time> {
    late.extend(strays.extract_if(.., |stray| stray.caller.deadline <= now));
    strays.iter().map(|stray| stray.caller.deadline).min()
}

/// The pause for the `pauses`th time in a row: its longest grows by a millisecond each time.
fn pause(pauses: u32, random: &mut fastrand::Rng) -> Micros {
    let longest = PAUSE_MIN.0.saturating_mul(u64::from(pauses) + 1).min(PAUSE_MAX.0);
    Micros(random.u64(PAUSE_MIN.0..=longest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOT: Slot = Slot::new(7).expect("below SLOT_COUNT");

    /// Turns the slot at each of `moments` (ms) from one lane to another; the lane to ask then, and
    /// whether that has to wait.
    fn turned(moments: &[(u64, usize, usize)]) -> (Option<usize>, bool) {
        let mut detours = Detours::default();
        let mut random = fastrand::Rng::with_seed(1);
        let mut now = Time(0);
        for &(at, asked, named) in moments {
            now = Time(0) + Micros::from_millis(at);
            detours.turn(SLOT, Turn { asked, named }, now, &mut random);
        }
        (detours.lane_of(SLOT), detours.is_paused(SLOT, now))
    }

    #[test]
    fn a_hint_is_followed_at_once_and_a_circle_pauses() {
        assert_eq!(turned(&[]), (None, false));
        assert_eq!(turned(&[(0, 1, 2)]), (Some(2), false));
        assert_eq!(turned(&[(0, 1, 2), (1, 2, 3)]), (Some(3), false), "moved twice");
        assert_eq!(turned(&[(0, 1, 2), (1, 2, 1)]), (Some(1), true), "two name each other");
        assert_eq!(turned(&[(0, 1, 1)]), (Some(1), true), "one names itself");
        let round = [(0, 1, 2), (1, 2, 3), (2, 3, 1), (3, 1, 2)];
        assert_eq!(turned(&round), (Some(2), false));
        let again = [round.as_slice(), &[(4, 2, 3)]].concat();
        assert_eq!(turned(&again), (Some(3), true), "three in a circle");
    }

    #[test]
    fn a_slot_that_stood_still_is_followed_at_once_again() {
        assert_eq!(turned(&[(0, 1, 2), (99, 2, 1)]), (Some(1), true));
        assert_eq!(turned(&[(0, 1, 2), (100, 2, 1)]), (Some(1), false));
    }

    #[test]
    fn pauses_grow_from_one_millisecond_to_five() {
        let mut random = fastrand::Rng::with_seed(1);
        let mut longest = |pauses| (0..1_000).map(|_| pause(pauses, &mut random).0).max();
        for (pauses, millis) in [(1, 2), (2, 3), (4, 5), (5, 5), (u32::MAX, 5)] {
            let longest = longest(pauses).expect("of a thousand");
            assert!((millis * 990..=millis * 1_000).contains(&longest), "{pauses}: {longest}");
        }
        let shortest = (0..1_000).map(|_| pause(9, &mut random).0).min();
        assert!(shortest >= Some(1_000), "{shortest:?}");
    }
}
