//! A row of batches that hang together by their chain, replayed.
//!
//! Recovery may find several: the log itself; rows that an earlier process left behind a write that
//! never finished; remains of segments that were being written over. Each is replayed by itself, and
//! in the end it is known which one is the log.

use std::collections::BTreeMap;

use super::batch::{Batch, BatchHeader};
use super::ledger::Ledger;
use super::log::Head;
use super::record::{GroupRecord, Record};
use super::segment::SegmentHeader;
use super::stretch::Extent;
use super::{BLOCK, BatchNumber, EntryRecord, LogError, RecoveredGroup, SegmentId};
use crate::base::{GroupId, Index};

/// A row of batches that hang together.
#[derive(Debug, Default)]
pub(super) struct Strand {
    /// The segments in it and who needs them.
    pub(super) ledger: Ledger,
    /// What its records add up to, but for copies.
    groups: BTreeMap<GroupId, RecoveredGroup>,
    /// Entries that were written again.
    copies: BTreeMap<GroupId, BTreeMap<Index, EntryRecord>>,
    /// Its last batch.
    pub(super) end: BatchNumber,
    /// That batch's header checksum.
    pub(super) chain: u32,
    /// That batch's run.
    run: u32,
    /// Its last batch with records.
    pub(super) last_filled: BatchNumber,
    /// Where it ends.
    pub(super) head: Option<Head>,
    /// The entries of the damaged batch it ends before, as far as known.
    pub(super) damaged: Vec<(GroupId, Index)>,
    /// Sums for the progress line.
    pub(super) batches: u64,
    /// See above.
    pub(super) bytes: u64,
    /// Why it cannot be the log, though its checksums are right.
    pub(super) fault: Option<LogError>,
}

impl Strand {
    /// Whether a batch with this header comes next.
    pub(super) fn is_followed_by(&self, header: &BatchHeader) -> bool {
        header.number == self.end.next() && header.chain == self.chain && header.run >= self.run
    }

    /// Whether `segment` is part of it.
    pub(super) fn holds(&self, segment: SegmentId) -> bool {
        self.ledger.segments.iter().any(|held| held.id == segment)
    }

    /// Goes on with a segment, whose first batch is known to be whole and to come next (or to be the
    /// first of all), and replays it as far as the chain goes. Calls `seen` for each batch.
    pub(super) fn follow(
        &mut self,
        segment: SegmentId,
        header: &SegmentHeader,
        bytes: &[u8],
        mut seen: impl FnMut(&Batch<'_>),
    ) {
        self.ledger.begin(segment, header.first_batch, header.salt);
        let salt = header.salt;
        let mut offset = BLOCK;
        loop {
            self.head = Some(Head { segment, salt, offset: offset as u64 });
            self.damaged.clear();
            let Some(batch) = Batch::parse(&bytes[offset..], salt) else { break };
            if self.batches > 0 && !self.is_followed_by(&batch.header) {
                break;
            }
            if !batch.payload_is_whole() {
                self.damaged = batch.entries();
                break;
            }
            if let Err(reason) = self.take(offset as u64, &batch) {
                let batch = batch.header.number;
                self.fault = Some(LogError::Nonsense { segment, batch, reason });
                break;
            }
            seen(&batch);
            offset += batch.extent();
        }
    }

    fn take(&mut self, offset: u64, batch: &Batch<'_>) -> Result<(), String> {
        let number = batch.header.number;
        self.ledger.place(number, Extent { offset, bytes: batch.extent() });
        for record in batch.records() {
            let record = record?;
            if self.ledger.note(number, &record).map_err(|gap| gap.to_string())? {
                self.replay(record);
            }
        }
        self.end = number;
        self.chain = batch.crc;
        self.run = batch.header.run;
        if !batch.is_empty() {
            self.last_filled = self.end;
        }
        self.batches += 1;
        self.bytes += batch.extent() as u64;
        Ok(())
    }

    fn replay(&mut self, record: GroupRecord) {
        let group = self.groups.entry(record.group).or_default();
        let copies = self.copies.entry(record.group).or_default();
        match record.record {
            Record::Entry(entry) => {
                copies.split_off(&entry.index);
                append(&mut group.entries, entry);
            }
            Record::Copy(entry) => _ = copies.insert(entry.index, entry),
            Record::HardState(state) => group.hard_state = Some(state),
            Record::Standing(mark) => group.reset = Some(mark),
            Record::Reset(mark) => {
                group.reset = Some(mark);
                group.retired = false;
                group.entries.clear();
                copies.clear();
            }
            Record::Retired => {
                group.reset = None;
                group.retired = true;
                group.entries.clear();
                copies.clear();
            }
        }
    }

    /// What its records add up to. Copies whose originals are gone come before the entries written
    /// once; those with a gap behind them are covered by a snapshot, like what lay in the gap.
    pub(super) fn take_groups(&mut self) -> BTreeMap<GroupId, RecoveredGroup> {
        for (group, mut copies) in std::mem::take(&mut self.copies) {
            let entries = &mut self.groups.entry(group).or_default().entries;
            let mut front = Vec::new();
            let mut next = entries.first().map(|entry| entry.index);
            while let Some((index, entry)) = copies.pop_last() {
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
        }
        std::mem::take(&mut self.groups)
    }
}

/// Appends `entry`, in the place of everything from its index on.
fn append(entries: &mut Vec<EntryRecord>, entry: EntryRecord) {
    let first = entries.first().map_or(entry.index, |first| first.index);
    let keep = entry.index.0.saturating_sub(first.0);
    entries.truncate(usize::try_from(keep).expect("an index within memory"));
    entries.push(entry);
}
