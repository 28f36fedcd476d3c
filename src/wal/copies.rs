//! Copies of one group's entries, as recovery finds them: entries written again, so that the segments
//! they lay in before could be given up (`ledger`).
//!
//! A copy changes nothing of what the log says. It matters only where the original is gone: then it
//! stands in its place, and if it is damaged, the entry is lost.

use std::collections::{BTreeMap, BTreeSet};

use super::EntryRecord;
use crate::base::Index;

/// Copies of one group's entries.
#[derive(Debug, Default)]
pub(super) struct Copies {
    whole: BTreeMap<Index, EntryRecord>,
    /// Entries of which a copy is damaged.
    damaged: BTreeSet<Index>,
}

impl Copies {
    pub(super) fn add(&mut self, copy: EntryRecord) {
        self.whole.insert(copy.index, copy);
    }

    /// A copy of the entry at `index` cannot be read.
    pub(super) fn add_damaged(&mut self, index: Index) {
        self.damaged.insert(index);
    }

    /// The group's entries from `index` on are replaced or dropped.
    pub(super) fn cut_from(&mut self, index: Index) {
        self.whole.split_off(&index);
        self.damaged.split_off(&index);
    }

    /// What was lost is said elsewhere.
    pub(super) fn forget_damage(&mut self) {
        self.damaged.clear();
    }

    /// Puts those whose originals are gone before the `entries` written once; those with a gap behind
    /// them are covered by a snapshot, like what lay in the gap. Returns whether an entry is lost: a copy
    /// of it is damaged, and nothing else holds it.
    pub(super) fn join(mut self, entries: &mut Vec<EntryRecord>) -> bool {
        let mut front = Vec::new();
        let mut next = entries.first().map(|entry| entry.index);
        while let Some((index, entry)) = self.whole.pop_last() {
            self.damaged.remove(&index);
            if next.is_some_and(|next| index >= next) {
                continue;
            }
            if next.is_some_and(|next| index.next() < next) {
                break;
            }
            next = Some(index);
            front.push(entry);
        }
        front.reverse();
        entries.splice(..0, front);
        let is_there = |index: &Index| entries.binary_search_by_key(index, |e| e.index).is_ok();
        !self.damaged.iter().all(is_there)
    }
}
