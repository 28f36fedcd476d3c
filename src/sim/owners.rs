//! Never two groups serve one slot.
//!
//! What a group serves is a function of how far its log is applied, and what one replica has applied is
//! committed for good. So of each group the newest state counts that any replica of it ever had: after every
//! turn, no slot may be in the newest states of two groups.
//!
//! This is sound, whatever becomes of replicas: a group serves a slot only by an entry that its leader made of
//! the last piece of a frozen slot, and that piece was made by a replica of the old owner that had *applied*
//! the freeze. So the old owner's newest state froze the slot before the new owner's could serve it. And it is
//! strong: no leader, no clock and no message has a part in it, only what is committed. What replicas that lag
//! behind answer is for the history to judge.

use std::collections::BTreeMap;

use crate::base::{GroupId, Index, SLOT_COUNT, Slot, SlotSet};

/// Who serves what, in the newest state of each group.
#[derive(Debug)]
pub(super) struct Owners {
    /// How far each group was seen to be, and what it served then.
    newest: BTreeMap<GroupId, (Index, SlotSet)>,
    /// Of each slot: who serves it, if anybody does.
    by_slot: Vec<Option<GroupId>>,
    /// How often a slot was served by another group than before.
    moved: u64,
    /// Of each slot: who served it last.
    last: Vec<Option<GroupId>>,
}

impl Default for Owners {
    fn default() -> Self {
        let nobody = vec![None; usize::from(SLOT_COUNT)];
        Self { newest: BTreeMap::new(), by_slot: nobody.clone(), moved: 0, last: nobody }
    }
}

impl Owners {
    /// A replica of `group` has applied the log up to `applied`, and serves these.
    ///
    /// # Panics
    /// If another group serves one of them.
    pub(super) fn observe(&mut self, group: GroupId, applied: Index, served: &SlotSet) {
        let known = self.newest.entry(group).or_default();
        if applied <= known.0 {
            return;
        }
        known.0 = applied;
        if known.1 == *served {
            return;
        }
        let before = std::mem::replace(&mut known.1, served.clone());
        for slot in Slot::all() {
            let owner = &mut self.by_slot[slot.position()];
            match (before.contains(slot), served.contains(slot)) {
                (true, false) => *owner = None,
                (false, true) => {
                    let other = owner.replace(group);
                    let last = self.last[slot.position()].replace(group);
                    self.moved += u64::from(last.is_some_and(|last| last != group));
                    assert!(other.is_none(), "{slot:?} is served by {group} and by {other:?}");
                }
                _ => {}
            }
        }
    }

    /// What a group serves.
    pub(super) fn served(&self, group: GroupId) -> Option<&SlotSet> {
        self.newest.get(&group).map(|(_, served)| served)
    }

    /// How often a slot was served by another group than before.
    pub(super) const fn moved(&self) -> u64 {
        self.moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(numbers: &[u16]) -> SlotSet {
        numbers.iter().filter_map(|&number| Slot::new(number)).collect()
    }

    #[test]
    fn a_slot_goes_from_one_group_to_another_only_by_way_of_nobody() {
        let (one, other) = (GroupId(1), GroupId(2));
        let mut owners = Owners::default();
        owners.observe(one, Index(1), &slots(&[1, 2]));
        owners.observe(one, Index(5), &slots(&[1]));
        owners.observe(other, Index(1), &slots(&[2]));
        // A replica that lags behind changes nothing.
        owners.observe(one, Index(3), &slots(&[1, 2]));
        assert_eq!((owners.moved(), owners.served(one)), (1, Some(&slots(&[1]))));
        let both =
            std::panic::catch_unwind(move || owners.observe(other, Index(2), &slots(&[1, 2])));
        assert!(both.is_err());
    }
}
