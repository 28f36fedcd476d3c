//! What the log holds of each group, and which segments are wanted for it.
//!
//! The writer and recovery keep the same books, by the same code: what is found after a restart is
//! what was there before it.

use std::collections::{BTreeMap, VecDeque};

use super::record::{GroupRecord, Record};
use super::{BatchNumber, HardStateRecord, SegmentId, SnapshotMark};
use crate::base::{GroupId, Index};

/// The books of a log.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Segments in use, oldest first. The last is the one being written.
    pub(super) segments: VecDeque<Segment>,
    /// Every group ever seen in the log.
    pub(super) groups: BTreeMap<GroupId, GroupBook>,
}

/// A segment in use.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) id: SegmentId,
    /// The number of its preamble.
    pub(super) first_batch: BatchNumber,
    /// Who needs it: the last entry of each group that lies in it, was not replaced since, and is
    /// not covered by a snapshot. Grows only in the last segment.
    held: BTreeMap<GroupId, Index>,
    /// The last batch issued when it was first seen to be held by nobody: what freed it may be in
    /// that batch, so it stays until that is durable.
    empty_since: Option<BatchNumber>,
}

/// What the log knows of one group.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct GroupBook {
    /// The latest hard state.
    pub(super) hard_state: Option<HardStateRecord>,
    /// The latest restart.
    pub(super) mark: Option<SnapshotMark>,
    /// Whether the group left this node and has not come back: nothing but its hard state counts.
    retired: bool,
    /// The last entry, if known: the next one may follow it or replace an earlier one.
    last_index: Option<Index>,
    /// Covered by a durable snapshot up to here; advanced by `trim`. A group that retires takes its
    /// snapshots with it: should it come back, its entries begin anew.
    trimmed: Index,
}

/// An entry that neither follows the group's last one nor replaces one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("entry {index} of {group} comes after entry {last}")]
pub(super) struct Gap {
    group: GroupId,
    index: Index,
    last: Index,
}

impl Ledger {
    /// A new segment is being written.
    pub(super) fn begin(&mut self, id: SegmentId, first_batch: BatchNumber) {
        let held = BTreeMap::new();
        self.segments.push_back(Segment { id, first_batch, held, empty_since: None });
    }

    /// The first batch that is wanted; what lies before it may be gone.
    pub(super) fn start(&self) -> BatchNumber {
        self.segments.front().expect("a batch lies in a segment").first_batch
    }

    /// A record is being written into the last segment.
    ///
    /// # Errors
    /// If entries are missing before it.
    pub(super) fn note(&mut self, written: &GroupRecord) -> Result<(), Gap> {
        let group = written.group;
        let book = self.groups.entry(group).or_default();
        match &written.record {
            Record::Entry(entry) => return self.note_entry(group, entry.index),
            Record::HardState(state) => book.hard_state = Some(*state),
            Record::Standing(mark) => book.mark = Some(*mark),
            Record::Reset(mark) => {
                book.mark = Some(*mark);
                book.last_index = Some(mark.index);
                book.retired = false;
                self.let_go(group, |_| None);
            }
            Record::Retired => {
                let hard_state = book.hard_state;
                *book = GroupBook { hard_state, retired: true, ..GroupBook::default() };
                self.let_go(group, |_| None);
            }
        }
        Ok(())
    }

    fn note_entry(&mut self, group: GroupId, index: Index) -> Result<(), Gap> {
        let book = self.groups.entry(group).or_default();
        let last = book.last_index.replace(index);
        let trimmed = book.trimmed;
        if let Some(last) = last {
            if index > last.next() {
                return Err(Gap { group, index, last });
            }
            if index <= last {
                self.let_go(group, |held| Some(held.min(index.previous())));
            }
        }
        if index > trimmed {
            let current = self.segments.back_mut().expect("an entry lies in a segment");
            current.held.insert(group, index);
        }
        Ok(())
    }

    /// Entries of `group` up to `index` are covered by a durable snapshot.
    pub(super) fn trim(&mut self, group: GroupId, index: Index) {
        let book = self.groups.entry(group).or_default();
        if index > book.trimmed {
            book.trimmed = index;
            self.let_go(group, Some);
        }
    }

    /// Changes what `group` holds of each segment, dropping what is trimmed anyway.
    fn let_go(&mut self, group: GroupId, change: impl Fn(Index) -> Option<Index>) {
        let trimmed = self.groups.get(&group).map_or(Index::ZERO, |book| book.trimmed);
        for segment in &mut self.segments {
            let Some(held) = segment.held.remove(&group) else { continue };
            if let Some(index) = change(held).filter(|&index| index > trimmed) {
                segment.held.insert(group, index);
            }
        }
    }

    /// Takes the oldest segment out of use if nobody needs it and what made it so is durable.
    pub(super) fn take_unneeded(
        &mut self,
        issued: BatchNumber,
        durable: BatchNumber,
    ) -> Option<SegmentId> {
        if self.segments.len() < 2 {
            return None;
        }
        let oldest = self.segments.front_mut().filter(|oldest| oldest.held.is_empty())?;
        let since = *oldest.empty_since.get_or_insert(issued);
        if since > durable {
            return None;
        }
        self.segments.pop_front().map(|oldest| oldest.id)
    }

    /// Appends the groups that need the oldest segment, in order.
    pub(super) fn holding_oldest(&self, out: &mut Vec<GroupId>) {
        out.extend(self.segments.front().into_iter().flat_map(|oldest| oldest.held.keys()));
    }

    /// Appends what the preamble of a new segment repeats.
    pub(super) fn preamble(&self, out: &mut Vec<GroupRecord>) {
        for (&group, book) in &self.groups {
            let standing = book.mark.map(Record::Standing);
            let retired = book.retired.then_some(Record::Retired);
            let hard_state = book.hard_state.map(Record::HardState);
            let records = hard_state.into_iter().chain(standing).chain(retired);
            out.extend(records.map(|record| GroupRecord { group, record }));
        }
    }
}
