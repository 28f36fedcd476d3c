//! A row of batches that hang together by their chain, replayed.
//!
//! Recovery may find several: the log itself; rows that an earlier process left behind a write that
//! never finished; remains of segments that were being written over. Each is replayed by itself, and
//! in the end it is known which one is the log.

use std::collections::{BTreeMap, BTreeSet};

use super::batch::{Batch, BatchHeader};
use super::copies::Copies;
use super::damage::{self, Damage, Loss};
use super::ledger::Ledger;
use super::log::Head;
use super::record::{GroupRecord, Record};
use super::segment::SegmentHeader;
use super::stretch::Extent;
use super::{BLOCK, BatchNumber, DoubtRecord, EntryRecord, LogError, RecoveredGroup, SegmentId};
use crate::base::{GroupId, Index, Mistake, makes};

/// A row of batches that hang together.
#[derive(Debug, Default)]
pub(super) struct Strand {
    /// The segments in it and who needs them.
    pub(super) ledger: Ledger,
    /// What its records add up to, but for copies.
    groups: BTreeMap<GroupId, RecoveredGroup>,
    /// Groups whose entries do not count at present, since some are lost before them.
    holes: BTreeMap<GroupId, Hole>,
    /// Losses that doubts of the groups know of.
    known: BTreeMap<GroupId, BTreeSet<Loss>>,
    /// What is lost.
    pub(super) damage: Vec<Damage>,
    /// Whether batches are lost of which nothing is known: any group may have lost something.
    pub(super) lost_any: bool,
    /// Where the batch after its end lies, if that was finished and is damaged.
    pub(super) damaged_next: Option<(SegmentId, u64)>,
    /// Entries that were written again.
    copies: BTreeMap<GroupId, Copies>,
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

/// What is known of a damaged log before it is read again.
pub(super) struct Bounds {
    /// Everything up to here was durable.
    pub(super) upto: BatchNumber,
    /// The first batch and the run of each segment begun later than the one being read.
    pub(super) later: Vec<(BatchNumber, u32)>,
}

impl Bounds {
    /// Whether a later life of the process began a segment with the number of this batch, or a lower one:
    /// to that life the log ended before it, since its write never finished, or was damaged.
    fn gave_up(&self, header: &BatchHeader) -> bool {
        self.later.iter().any(|&(first, run)| first <= header.number && run > header.run)
    }
}

/// Why a group's entries do not count.
#[derive(Clone, Copy, Debug)]
enum Hole {
    /// The entry at this index is lost; one there or before it takes its place.
    At(Index),
    /// Nobody knows: entries may have been replaced before what was read since. Until the log is
    /// said to go on somewhere.
    Unknown,
}

impl Strand {
    /// Whether a batch with this header comes next.
    pub(super) fn is_followed_by(&self, header: &BatchHeader) -> bool {
        header.number == self.end.next()
            && (header.chain == self.chain || makes(Mistake::ChainUnchecked))
            && header.run >= self.run
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
            if let Err(reason) = self.take(offset as u64, &batch, true) {
                let batch = batch.header.number;
                self.fault = Some(LogError::Nonsense { segment, batch, reason });
                break;
            }
            seen(&batch);
            offset += batch.extent();
        }
        self.damaged_next = None;
        self.suspect(segment, salt, bytes, offset);
    }

    /// Looks whether the batch that comes next lies at `offset` of a segment, finished and damaged since.
    pub(super) fn suspect(&mut self, segment: SegmentId, salt: u64, bytes: &[u8], offset: usize) {
        let rest = bytes.get(offset..).unwrap_or_default();
        if self.batches > 0 && damage::is_damaged(rest, salt, self.end.next(), self.chain) {
            self.damaged_next = Some((segment, offset as u64));
        }
    }

    /// Goes on with a segment of a damaged log: what cannot be read of what was durable is lost, and what
    /// comes behind it counts.
    pub(super) fn salvage(
        &mut self,
        segment: SegmentId,
        header: &SegmentHeader,
        bytes: &[u8],
        bounds: &Bounds,
    ) {
        let (salt, upto) = (header.salt, bounds.upto);
        let (mut offset, mut suspect) = (BLOCK, None);
        let mut begun = false;
        while offset < bytes.len() && self.fault.is_none() {
            let batch = Batch::parse(&bytes[offset..], salt);
            let Some(batch) = batch.filter(|batch| self.goes_on_with(batch, bounds)) else {
                suspect.get_or_insert(offset);
                offset += BLOCK;
                continue;
            };
            if !std::mem::replace(&mut begun, true) {
                self.ledger.begin(segment, header.first_batch, salt);
                if batch.header.number != header.first_batch || !batch.payload_is_whole() {
                    self.ledger.lose_preamble();
                }
            }
            let (number, before) = (batch.header.number, suspect.take().unwrap_or(offset));
            if self.batches > 0 && number > self.end.next() {
                self.lose_batches(segment, before as u64, number.0 - 1);
            }
            if let Err(reason) = self.take_what_is_there(segment, offset, &batch, upto) {
                self.fault = Some(LogError::Nonsense { segment, batch: number, reason });
            }
            offset += batch.extent();
            self.head = Some(Head { segment, salt, offset: offset as u64 });
            self.damaged_next = None;
            self.suspect(segment, salt, bytes, offset);
        }
    }

    /// Whether a batch comes next in a damaged log: either right behind, or behind batches that are lost.
    fn goes_on_with(&self, batch: &Batch<'_>, bounds: &Bounds) -> bool {
        let (header, upto) = (&batch.header, bounds.upto);
        let follows = self.batches == 0 || self.is_followed_by(header);
        let behind = header.number > self.end.next() && header.number <= upto.next();
        let readable = header.number <= upto || batch.payload_is_whole();
        let counts = readable && !bounds.gave_up(header);
        counts && (follows || behind && header.run >= self.run)
    }

    fn take_what_is_there(
        &mut self,
        segment: SegmentId,
        offset: usize,
        batch: &Batch<'_>,
        upto: BatchNumber,
    ) -> Result<(), String> {
        let at = offset as u64;
        if batch.payload_is_whole() {
            return self.take(at, batch, batch.header.number <= upto);
        }
        let number = batch.header.number;
        let entries = Some(batch.entries());
        self.damage.push(Damage { segment, offset: at, first: number, last: number, entries });
        self.place(at, batch)?;
        for descriptor in batch.descriptors() {
            if let Some(index) = descriptor.entry_index() {
                self.lose(descriptor.group(), index, descriptor.is_copy());
                continue;
            }
            let record = descriptor.record(&[]).ok_or("a record of unknown kind")?;
            self.take_record(number, record, true)?;
        }
        self.count(batch);
        Ok(())
    }

    /// The batches up to `last` are lost, with whatever they held of any group.
    pub(super) fn lose_batches(&mut self, segment: SegmentId, offset: u64, last: u64) {
        let (first, last) = (self.end.next(), BatchNumber(last));
        self.damage.push(Damage { segment, offset, first, last, entries: None });
        self.lost_any = true;
        for (&group, recovered) in &mut self.groups {
            self.holes.insert(group, Hole::Unknown);
            recovered.entries_lost = true;
            recovered.votes_lost = true;
        }
    }

    /// One entry is lost.
    fn lose(&mut self, group: GroupId, index: Index, copy: bool) {
        if copy {
            self.group(group);
            if !self.ledger.is_past(group, index) {
                self.copies.entry(group).or_default().add_damaged(index);
            }
            return;
        }
        self.group(group).entries_lost = true;
        match self.holes.get(&group) {
            Some(Hole::Unknown) => return,
            Some(Hole::At(first)) if *first <= index => return,
            _ => _ = self.holes.insert(group, Hole::At(index)),
        }
        self.cut(group, index.previous());
    }

    /// The group's entries after `index` do not count.
    fn cut(&mut self, group: GroupId, index: Index) {
        self.ledger.cut(group, index);
        self.copies.entry(group).or_default().cut_from(index.next());
        let entries = &mut self.group(group).entries;
        entries.truncate(entries.partition_point(|entry| entry.index <= index));
    }

    fn group(&mut self, group: GroupId) -> &mut RecoveredGroup {
        let lost = self.lost_any;
        if lost && !self.groups.contains_key(&group) {
            self.holes.insert(group, Hole::Unknown);
        }
        self.groups.entry(group).or_insert_with(|| RecoveredGroup {
            entries_lost: lost,
            votes_lost: lost,
            ..RecoveredGroup::default()
        })
    }

    fn take(&mut self, offset: u64, batch: &Batch<'_>, durable: bool) -> Result<(), String> {
        let number = batch.header.number;
        self.place(offset, batch)?;
        for record in batch.records() {
            self.take_record(number, record?, durable)?;
        }
        self.count(batch);
        Ok(())
    }

    /// Notes where the batch lies. Its number comes from the disk, so it need not be one of its segment.
    fn place(&mut self, offset: u64, batch: &Batch<'_>) -> Result<(), String> {
        let number = batch.header.number;
        if !self.ledger.may_hold(number) {
            return Err("its number is none of its segment".to_owned());
        }
        self.ledger.place(number, Extent { offset, bytes: batch.extent() });
        Ok(())
    }

    /// `durable`: whether the record was, for certain.
    fn take_record(
        &mut self,
        batch: BatchNumber,
        record: GroupRecord,
        durable: bool,
    ) -> Result<(), String> {
        self.group(record.group);
        if let Record::Doubt(_, loss) = &record.record {
            self.known.entry(record.group).or_default().insert(*loss);
        }
        if !self.counts(&record) {
            return Ok(());
        }
        if self.ledger.note(batch, &record).map_err(|gap| gap.to_string())? {
            self.replay(record, durable);
        }
        Ok(())
    }

    /// Whether doubts of the group know of all that is lost of it so far.
    fn losses_are_known(&self, group: GroupId) -> bool {
        let known = |damage: &Damage| {
            self.known.get(&group).is_some_and(|known| known.contains(&damage.loss()))
        };
        self.damage.iter().filter(|damage| damage.concerns(group)).all(known)
    }

    /// Whether a record counts in spite of what is lost before it; and closes the hole, if it does.
    fn counts(&mut self, written: &GroupRecord) -> bool {
        let group = written.group;
        let hole = self.holes.get(&group).filter(|_| !makes(Mistake::HolesIgnored));
        let Some(&hole) = hole else { return true };
        let closes = match (&written.record, hole) {
            (Record::Entry(entry), Hole::At(index)) if entry.index <= index => true,
            (Record::Copy(entry), Hole::At(index)) if entry.index < index => false,
            (Record::Entry(_) | Record::Copy(_), _) => return false,
            (Record::Doubt(doubt, _), Hole::At(index)) => doubt.resume_after < index,
            (Record::Doubt(doubt, _), Hole::Unknown) => {
                doubt.resume_after < Index(u64::MAX) && self.losses_are_known(group)
            }
            (Record::Reset(_) | Record::Retired, _) => true,
            (Record::HardState(_) | Record::Standing(_) | Record::Certain, _) => false,
        };
        if closes {
            self.holes.remove(&group);
            self.group(group).entries_lost = false;
        }
        true
    }

    fn count(&mut self, batch: &Batch<'_>) {
        let number = batch.header.number;
        self.end = number;
        self.chain = batch.crc;
        self.run = batch.header.run;
        if !batch.is_empty() {
            self.last_filled = self.end;
        }
        self.batches += 1;
        self.bytes += batch.extent() as u64;
    }

    fn replay(&mut self, record: GroupRecord, durable: bool) {
        let known =
            matches!(record.record, Record::Doubt(..)) && self.losses_are_known(record.group);
        let group = self.groups.entry(record.group).or_default();
        let copies = self.copies.entry(record.group).or_default();
        match record.record {
            Record::Entry(entry) => {
                copies.cut_from(entry.index);
                append(&mut group.entries, entry);
            }
            Record::Copy(entry) if makes(Mistake::CopyReplaces) => {
                append(&mut group.entries, entry);
            }
            Record::Copy(entry) => copies.add(entry),
            Record::HardState(state) => {
                group.hard_state = Some(state);
                group.votes_lost &= !durable;
            }
            // A standing one only if the restart itself is not there.
            Record::Standing(mark) | Record::Reset(mark) => {
                group.reset = Some(mark);
                group.retired = false;
                if !makes(Mistake::ResetForgotten) {
                    group.entries.clear();
                }
                *copies = Copies::default();
            }
            Record::Retired => {
                group.reset = None;
                group.retired = true;
                group.doubt = DoubtRecord::of_retired(group.doubt);
                group.entries.clear();
                *copies = Copies::default();
            }
            Record::Doubt(doubt, _) => {
                group.doubt = Some(doubt);
                if doubt.resume_after < Index(u64::MAX) {
                    if known {
                        // It says all that was lost before it.
                        (group.entries_lost, group.votes_lost) = (false, false);
                        copies.forget_damage();
                    }
                    group.reset.take_if(|mark| mark.index > doubt.resume_after);
                    let kept = |entry: &EntryRecord| entry.index <= doubt.resume_after;
                    group.entries.truncate(group.entries.partition_point(kept));
                    copies.cut_from(doubt.resume_after.next());
                }
            }
            Record::Certain => group.doubt = None,
        }
    }

    /// What its records add up to.
    pub(super) fn take_groups(&mut self) -> BTreeMap<GroupId, RecoveredGroup> {
        let copies = std::mem::take(&mut self.copies).into_iter();
        for (group, copies) in copies.filter(|_| !makes(Mistake::CopiesForgotten)) {
            let recovered = self.groups.entry(group).or_default();
            recovered.entries_lost |= copies.join(&mut recovered.entries);
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
