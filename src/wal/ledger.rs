//! What the log holds of each group, and which segments are wanted for it.
//!
//! The writer and recovery keep the same books, by the same code: what is found after a restart is
//! what was there before it.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use super::damage::Loss;
use super::places::Places;
use super::record::{GroupRecord, Record};
use super::stretch::{Extent, Extents, Stretch};
use super::{BatchNumber, DoubtRecord, HardStateRecord, SegmentId, SnapshotMark};
use crate::base::{GroupId, Index, Mistake, makes};

/// The books of a log.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Segments in use, oldest first. The last is the one being written.
    pub(super) segments: VecDeque<Segment>,
    /// Every group ever seen in the log.
    pub(super) groups: BTreeMap<GroupId, GroupBook>,
    /// Where each group's entries lie: all that are in a segment in use, were not replaced and not
    /// dropped, needed or not.
    places: BTreeMap<GroupId, Places>,
}

/// A segment in use.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) id: SegmentId,
    /// The number of its preamble.
    pub(super) first_batch: BatchNumber,
    /// Its preamble was found damaged: the log cannot begin with it, so it is given up together with the
    /// one before it.
    beheaded: bool,
    /// What its batches carry.
    salt: u64,
    /// Where those with entries lie.
    extents: Extents,
    /// Who needs it. Grows only in the last segment.
    held: BTreeMap<GroupId, Holding>,
    /// The last batch issued when it was first seen to be held by nobody: what freed it may be in
    /// that batch, so it stays until that is durable.
    empty_since: Option<BatchNumber>,
    /// Reads of it under way: it stays until they are done.
    readers: u32,
}

/// What a group needs a segment for.
#[derive(Clone, Copy, Debug, Default)]
struct Holding {
    /// Its last entry that lies there, was not replaced or written again since, and is not covered by
    /// a snapshot.
    last: Index,
    /// Bytes of its entries there that were needed when they were written: what it takes to write
    /// them again, at most.
    bytes: usize,
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
    /// What the group's replica may have forgotten.
    pub(super) doubt: Option<DoubtRecord>,
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

/// A group that needs the oldest segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The group.
    pub group: GroupId,
    /// Its last entry there that is needed.
    pub last: Index,
    /// What it takes to write its entries there again, at most.
    pub bytes: usize,
}

impl GroupBook {
    /// Whether this is the latest restart, and known to be.
    fn restarted_at(&self, mark: SnapshotMark) -> bool {
        !self.retired && self.mark == Some(mark)
    }

    /// Whether the group has gone on without an entry at `index` before what is written next.
    fn is_past(&self, index: Index) -> bool {
        self.retired
            || self.mark.is_some_and(|mark| index <= mark.index)
            || self.last_index.is_some_and(|last| index > last)
    }
}

impl Ledger {
    /// A new segment is being written.
    pub(super) fn begin(&mut self, id: SegmentId, first_batch: BatchNumber, salt: u64) {
        self.segments.push_back(Segment {
            id,
            first_batch,
            beheaded: false,
            salt,
            extents: Extents::default(),
            held: BTreeMap::new(),
            empty_since: None,
            readers: 0,
        });
    }

    /// The preamble of the last segment is damaged.
    pub(super) fn lose_preamble(&mut self) {
        self.segments.back_mut().expect("a preamble lies in a segment").beheaded = true;
    }

    /// The batch whose records are being noted lies there, in the last segment.
    pub(super) fn place(&mut self, batch: BatchNumber, extent: Extent) {
        let current = self.segments.back_mut().expect("a batch lies in a segment");
        current.extents.push(current.first_batch, batch, extent);
    }

    /// Whether a batch of this number can lie in the last segment, which has no more than 32 bits of them.
    pub(super) fn may_hold(&self, batch: BatchNumber) -> bool {
        let first = self.segments.back().map_or(0, |segment| segment.first_batch.0);
        batch.0.checked_sub(first).is_some_and(|offset| u32::try_from(offset).is_ok())
    }

    /// The first batch that is wanted; what lies before it may be gone.
    pub(super) fn start(&self) -> BatchNumber {
        self.segments.front().expect("a batch lies in a segment").first_batch
    }

    /// A record is being written in `batch`, into the last segment. Returns whether it counts: a copy
    /// does not if the group has gone on without the entry since it was asked for, nor does a standing
    /// restart if the restart itself was noted.
    ///
    /// # Errors
    /// If entries are missing before it.
    pub(super) fn note(&mut self, batch: BatchNumber, written: &GroupRecord) -> Result<bool, Gap> {
        let group = written.group;
        let book = self.groups.entry(group).or_default();
        match &written.record {
            Record::Entry(entry) => {
                self.check_entry(group, entry.index)?;
                self.note_entry(group, batch, entry.index, written.length());
            }
            Record::Copy(entry) if book.is_past(entry.index) => return Ok(false),
            Record::Copy(entry) => self.note_copy(group, batch, entry.index, written.length()),
            Record::HardState(state) => book.hard_state = Some(*state),
            Record::Standing(mark) if book.restarted_at(*mark) => return Ok(false),
            Record::Standing(mark) => {
                // The log begins here, or that restart is lost, with whatever came after it.
                *book = GroupBook { mark: Some(*mark), last_index: None, retired: false, ..*book };
                self.drop_entries(group);
            }
            Record::Reset(mark) => {
                book.mark = Some(*mark);
                book.last_index = Some(mark.index);
                book.retired = false;
                self.drop_entries(group);
            }
            Record::Retired => {
                let (hard_state, doubt) = (book.hard_state, DoubtRecord::of_retired(book.doubt));
                *book = GroupBook { hard_state, doubt, retired: true, ..GroupBook::default() };
                self.drop_entries(group);
            }
            Record::Doubt(doubt, _) => {
                book.doubt = Some(*doubt);
                book.mark.take_if(|mark| mark.index > doubt.resume_after);
                self.cut(group, doubt.resume_after);
            }
            Record::Certain => book.doubt = None,
        }
        Ok(true)
    }

    /// Whether a copy of the entry at `index` would not count if it were written next.
    pub(super) fn is_past(&self, group: GroupId, index: Index) -> bool {
        self.groups.get(&group).is_some_and(|book| book.is_past(index))
    }

    /// The group's entries after `index` do not count.
    pub(super) fn cut(&mut self, group: GroupId, index: Index) {
        let book = self.groups.entry(group).or_default();
        if book.last_index.is_none_or(|last| last <= index) {
            return;
        }
        book.last_index = Some(index);
        if let Some(places) = self.places.get_mut(&group) {
            places.cut(index);
        }
        (0..self.segments.len()).for_each(|at| self.look_again(at, group, index.next()));
    }

    fn check_entry(&self, group: GroupId, index: Index) -> Result<(), Gap> {
        match self.groups.get(&group).and_then(|book| book.last_index) {
            Some(last) if index > last.next() => Err(Gap { group, index, last }),
            _ => Ok(()),
        }
    }

    fn note_entry(&mut self, group: GroupId, batch: BatchNumber, index: Index, bytes: usize) {
        let book = self.groups.entry(group).or_default();
        let replaces = book.last_index.replace(index).is_some_and(|last| index <= last);
        self.places.entry(group).or_default().append(index, batch);
        if replaces {
            (0..self.segments.len()).for_each(|at| self.look_again(at, group, index));
        }
        self.hold(group, index, bytes);
    }

    fn note_copy(&mut self, group: GroupId, batch: BatchNumber, index: Index, bytes: usize) {
        let before = self.places.entry(group).or_default().rewrite(index, batch);
        self.hold(group, index, bytes);
        if let Some(before) = before {
            self.look_again(self.segment_of(before), group, index);
        }
    }

    /// The entry of `group` at `index` lies in the last segment.
    fn hold(&mut self, group: GroupId, index: Index, bytes: usize) {
        if index > self.trimmed(group) {
            let current = self.segments.back_mut().expect("an entry lies in a segment");
            let holding = current.held.entry(group).or_default();
            holding.last = holding.last.max(index);
            holding.bytes += bytes;
        }
    }

    /// Entries of `group` from `from` on may not lie in a segment any more.
    fn look_again(&mut self, at: usize, group: GroupId, from: Index) {
        let (batches, trimmed) = (self.batches_of(at), self.trimmed(group));
        let held = &mut self.segments[at].held;
        let Some(holding) = held.get_mut(&group).filter(|holding| holding.last >= from) else {
            return;
        };
        match self.places.get(&group).and_then(|places| places.last_within(batches, trimmed)) {
            Some(last) => holding.last = last,
            None => _ = held.remove(&group),
        }
    }

    fn trimmed(&self, group: GroupId) -> Index {
        self.groups.get(&group).map_or(Index::ZERO, |book| book.trimmed)
    }

    /// The segment in use that `batch` lies in.
    fn segment_of(&self, batch: BatchNumber) -> usize {
        self.segments.partition_point(|segment| segment.first_batch <= batch) - 1
    }

    fn batches_of(&self, at: usize) -> Range<BatchNumber> {
        let next = self.segments.get(at + 1).map(|next| next.first_batch);
        self.segments[at].first_batch..next.unwrap_or(BatchNumber(u64::MAX))
    }

    /// Entries of `group` up to `index` are covered by a durable snapshot.
    pub(super) fn trim(&mut self, group: GroupId, index: Index) {
        let book = self.groups.entry(group).or_default();
        if index > book.trimmed {
            book.trimmed = index;
            self.let_go(group, |last| last <= index);
        }
    }

    fn drop_entries(&mut self, group: GroupId) {
        self.let_go(group, |_| true);
        self.places.remove(&group);
    }

    /// `group` does not need the segments any more of which `is_free` says so, by the last entry there.
    fn let_go(&mut self, group: GroupId, is_free: impl Fn(Index) -> bool) {
        for segment in &mut self.segments {
            if segment.held.get(&group).is_some_and(|holding| is_free(holding.last)) {
                segment.held.remove(&group);
            }
        }
    }

    /// How many segments the log gives up at once: the oldest, and those behind it that it cannot begin
    /// with.
    fn given_up_together(&self) -> usize {
        1 + self.segments.iter().skip(1).take_while(|segment| segment.beheaded).count()
    }

    /// The oldest segment that somebody needs, of those that are to be given up next; the oldest of all
    /// if nobody needs them. Not the one being written.
    pub(super) fn oldest(&self) -> Option<&Segment> {
        self.position_of_oldest().map(|at| &self.segments[at])
    }

    fn position_of_oldest(&self) -> Option<usize> {
        let mut next = self.segments.iter().take(self.given_up_together());
        let at = next.position(|segment| !segment.held.is_empty()).unwrap_or_default();
        (at + 1 < self.segments.len()).then_some(at)
    }

    /// Takes the oldest segment out of use if nobody needs it and what made it so is durable.
    pub(super) fn take_unneeded(
        &mut self,
        issued: BatchNumber,
        durable: BatchNumber,
    ) -> Option<SegmentId> {
        let together = self.given_up_together();
        if self.segments.len() <= together {
            return None;
        }
        for segment in self.segments.iter_mut().take(together) {
            if !segment.held.is_empty() || segment.readers > 0 {
                return None;
            }
            let since = *segment.empty_since.get_or_insert(issued);
            if since > durable && !makes(Mistake::GivenUpTooSoon) {
                return None;
            }
        }
        let given_up = self.segments.pop_front().map(|oldest| oldest.id);
        self.forget_places();
        given_up
    }

    /// Takes the segments before `first` out of use: the log was found to begin there.
    pub(super) fn begin_with(&mut self, first: SegmentId) {
        while self.segments.pop_front_if(|oldest| oldest.id != first).is_some() {}
        self.forget_places();
    }

    /// Forgets where entries lay in segments that are not in use.
    fn forget_places(&mut self) {
        let Some(start) = self.segments.front().map(|oldest| oldest.first_batch) else { return };
        self.places.values_mut().for_each(|places| places.forget_before(start));
    }

    /// The first entry of `group` that is still in a segment.
    pub(super) fn first_stored(&self, group: GroupId) -> Option<Index> {
        self.places.get(&group)?.first()
    }

    /// Where the entries of `group` from `from` on lie, as many as lie together in batches up to
    /// `durable` and in `bytes_max`, but at least one batch; nothing if the first is not there.
    pub(super) fn locate(
        &self,
        group: GroupId,
        from: Index,
        durable: BatchNumber,
        bytes_max: usize,
    ) -> Option<Stretch> {
        let mut runs = self.places.get(&group)?.from(from).take_while(|run| run.batch <= durable);
        let first = runs.next().filter(|run| run.first == from)?;
        let (segment, extent) = self.extent(first.batch);
        let mut stretch = Stretch::new((segment.id, segment.salt), extent, (group, first));
        for run in runs {
            let (segment, extent) = self.extent(run.batch);
            let follows = run.first == stretch.last().next();
            if !follows || !stretch.extend(segment.id, extent, (group, run), bytes_max) {
                break;
            }
        }
        Some(stretch)
    }

    /// Bytes of the log from the batch on that holds the entry of `group` at `from`, about; nothing if
    /// that is not there.
    pub(super) fn span_from(&self, group: GroupId, from: Index) -> Option<u64> {
        let first = self.places.get(&group)?.from(from).next()?;
        let (_, extent) = self.extent(first.batch);
        let segments = self.segments.range(self.segment_of(first.batch)..);
        let ends: u64 = segments.map(|segment| segment.extents.end()).sum();
        Some(ends.saturating_sub(extent.offset))
    }

    /// Where a batch with entries lies.
    fn extent(&self, batch: BatchNumber) -> (&Segment, Extent) {
        let segment = &self.segments[self.segment_of(batch)];
        let extent = segment.extents.find(segment.first_batch, batch);
        (segment, extent.unwrap_or_else(|| panic!("batch {batch} was not placed")))
    }

    /// A read of a segment begins, or ends.
    ///
    /// # Panics
    /// If the segment is not in use.
    pub(super) fn count_reader(&mut self, segment: SegmentId, change: i32) {
        let found = self.segments.iter_mut().find(|found| found.id == segment);
        let readers = &mut found.expect("a segment that is read stays in use").readers;
        *readers = readers.checked_add_signed(change).expect("as many ends as beginnings");
    }

    /// Appends who needs the oldest segment, in order of the groups.
    pub(super) fn holding_oldest(&self, out: &mut Vec<Holder>) {
        let held = self.oldest().into_iter().flat_map(|oldest| &oldest.held);
        out.extend(held.map(|(&group, &Holding { last, bytes })| Holder { group, last, bytes }));
    }

    /// Where entries for which the oldest segment is needed lie, from batch `from` on: as many as lie
    /// together in `bytes_max`, but at least one batch; nothing if there are none.
    pub(super) fn locate_needed(&self, from: BatchNumber, bytes_max: usize) -> Option<Stretch> {
        let at = self.position_of_oldest()?;
        let oldest = &self.segments[at];
        let mut batches = self.batches_of(at);
        batches.start = batches.start.max(from);
        let mut needed = BTreeMap::new();
        for &group in oldest.held.keys() {
            let Some(places) = self.places.get(&group) else { continue };
            let runs = places.from(self.trimmed(group).next());
            let there = runs.filter(|run| batches.contains(&run.batch));
            needed.extend(there.map(|run| ((run.batch, group, run.first), run)));
        }
        let extent = |batch| oldest.extents.find(oldest.first_batch, batch).expect("was placed");
        let mut needed = needed.into_iter().map(|((batch, group, _), run)| (batch, (group, run)));
        let (batch, first) = needed.next()?;
        let mut stretch = Stretch::new((oldest.id, oldest.salt), extent(batch), first);
        for (batch, more) in needed {
            if !stretch.extend(oldest.id, extent(batch), more, bytes_max) {
                break;
            }
        }
        Some(stretch)
    }

    /// Appends what the preamble of a new segment repeats.
    pub(super) fn preamble(&self, out: &mut Vec<GroupRecord>) {
        for (&group, book) in &self.groups {
            let standing = book.mark.filter(|_| !makes(Mistake::PreambleWithoutResets));
            let standing = standing.map(Record::Standing);
            let retired = book.retired.then_some(Record::Retired);
            let hard_state = book.hard_state.filter(|_| !makes(Mistake::PreambleWithoutVotes));
            let hard_state = hard_state.map(Record::HardState);
            let standing_doubt = |doubt| {
                let doubt = DoubtRecord { resume_after: Index(u64::MAX), ..doubt };
                Record::Doubt(doubt, Loss::NONE)
            };
            let doubt = book.doubt.filter(|_| !makes(Mistake::PreambleWithoutDoubts));
            let doubt = doubt.map(standing_doubt);
            let records = hard_state.into_iter().chain(standing).chain(retired).chain(doubt);
            out.extend(records.map(|record| GroupRecord { group, record }));
        }
    }
}
