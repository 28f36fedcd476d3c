//! A set of hash slots: what a group owns.

use std::fmt;

use super::slot::{SLOT_COUNT, Slot};

const WORDS: usize = SLOT_COUNT as usize / 64;

/// A set of hash slots, one bit each.
#[derive(Clone, PartialEq, Eq)]
pub struct SlotSet {
    /// Bit `s % 64` of word `s / 64` says whether slot `s` belongs to the set.
    words: Box<[u64; WORDS]>,
}

impl SlotSet {
    /// No slot.
    pub fn new() -> Self {
        Self { words: Box::new([0; WORDS]) }
    }

    /// Every slot.
    pub fn full() -> Self {
        Self { words: Box::new([u64::MAX; WORDS]) }
    }

    /// Adds a slot.
    pub fn insert(&mut self, slot: Slot) {
        self.words[slot.position() / 64] |= 1 << (slot.position() % 64);
    }

    /// Removes a slot.
    pub fn remove(&mut self, slot: Slot) {
        self.words[slot.position() / 64] &= !(1 << (slot.position() % 64));
    }

    /// Whether the slot belongs to the set.
    #[inline]
    pub fn contains(&self, slot: Slot) -> bool {
        self.words[slot.position() / 64] >> (slot.position() % 64) & 1 == 1
    }

    /// How many slots belong to the set.
    pub fn len(&self) -> u32 {
        self.words.iter().map(|word| word.count_ones()).sum()
    }

    /// Whether no slot belongs to the set.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|&word| word == 0)
    }

    /// The slots of the set, ascending.
    pub fn iter(&self) -> impl Iterator<Item = Slot> + '_ {
        Slot::all().filter(|&slot| self.contains(slot))
    }
}

impl Default for SlotSet {
    fn default() -> Self {
        Self::new()
    }
}

impl FromIterator<Slot> for SlotSet {
    fn from_iter<I: IntoIterator<Item = Slot>>(slots: I) -> Self {
        let mut set = Self::new();
        for slot in slots {
            set.insert(slot);
        }
        set
    }
}

impl fmt::Debug for SlotSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SlotSet({} slots)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(number: u16) -> Slot {
        Slot::new(number).expect("in range")
    }

    #[test]
    fn holds_what_was_inserted_and_not_removed() {
        let mut set: SlotSet = [0, 63, 64, 16_383].into_iter().map(slot).collect();
        set.remove(slot(64));
        let numbers: Vec<u16> = set.iter().map(Slot::number).collect();
        assert_eq!(numbers, [0, 63, 16_383]);
        assert_eq!(set.len(), 3);
        assert!(!set.contains(slot(64)) && set.contains(slot(63)));
    }

    #[test]
    fn full_and_empty_are_what_they_say() {
        assert_eq!(SlotSet::full().len(), u32::from(SLOT_COUNT));
        assert!(SlotSet::new().is_empty() && !SlotSet::full().is_empty());
    }
}
