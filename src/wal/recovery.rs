//! The reading side of a core's log: what is there after a restart, and whether it is all.

use std::collections::{BTreeMap, VecDeque};

use super::batch::{self, Batch};
use super::damage::{Damage, Loss};
use super::ledger::Ledger;
use super::log::Head;
use super::segment::SegmentHeader;
use super::strand::{Bounds, Strand};
use super::{
    BLOCK, BatchNumber, DoubtRecord, EntryRecord, HardStateRecord, LogConfig, LogError, SegmentId,
    SnapshotMark,
};
use crate::base::{GroupId, Mistake, makes};

/// Reads a core's log after a restart.
///
/// 1. [`Self::inspect_head`] with the first block of every segment file;
/// 2. [`Self::feed`] with each whole file, in ascending order of the number that gave; those for which
///    it gave none at any time;
/// 3. if [`Self::second_reading`] gives another recovery, the same again with that one;
/// 4. [`Self::finish`].
///
/// The caller sees to it that files are of full length (one whose creation was cut short is removed
/// first), and syncs each file it has read before anything is done on the strength of its contents:
/// the last batches may have been read from a disk's cache.
#[derive(Debug)]
pub struct Recovery {
    config: LogConfig,
    /// Files without a header.
    blank: Vec<SegmentId>,
    /// Files with one.
    headers: BTreeMap<SegmentId, SegmentHeader>,
    /// Files fed, by ascending order.
    fed: Vec<SegmentId>,
    /// Rows of batches found so far.
    strands: Vec<Strand>,
    /// What the batches found so far say, whatever row they belong to. Each of them told the truth when
    /// it was made, and none of it has become untrue since.
    told: Told,
    /// Bytes of batches found in each fed segment after the end of its row.
    loose: BTreeMap<SegmentId, u64>,
    /// At the second reading: W and S, as the first one found them. All there is is one row then.
    damaged: Option<Told>,
}

/// What batches say of the log.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    /// W: everything up to here was durable.
    durable_upto: BatchNumber,
    /// The first batch of the oldest segment that is wanted.
    start: BatchNumber,
    /// The last life of the process.
    run: u32,
}

/// What a core's log was found to hold.
#[derive(Debug, Default)]
pub struct Recovered {
    /// What it holds of each group.
    pub groups: BTreeMap<GroupId, RecoveredGroup>,
    /// What [`super::Log::resume`] needs.
    pub state: LogState,
    /// Batches replayed.
    pub batches: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Bytes of batches after the end of the log: never acknowledged, and ignored.
    pub torn_bytes: u64,
    /// What of it is lost.
    pub damage: Vec<Damage>,
    /// Whether groups of which the log says nothing may have lost something, too.
    pub lost_any: bool,
}

/// What a log was found to hold of one group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveredGroup {
    /// The last hard state.
    pub hard_state: Option<HardStateRecord>,
    /// The last restart, if there was one: a snapshot that covers this much must exist.
    pub reset: Option<SnapshotMark>,
    /// What its replica may have forgotten, as the log says.
    pub doubt: Option<DoubtRecord>,
    /// Entries are lost: those here are what came before.
    pub entries_lost: bool,
    /// Hard states are lost, after the one here.
    pub votes_lost: bool,
    /// The group left this node: snapshots of it that are still here count no more.
    pub retired: bool,
    /// What is in force of the entries, consecutive by index. Those at the front may be covered by a
    /// snapshot.
    pub entries: Vec<EntryRecord>,
}

/// Where a log goes on. The default is a log without segments.
#[derive(Debug, Default)]
pub struct LogState {
    pub(super) ledger: Ledger,
    pub(super) head: Option<Head>,
    /// The last batch.
    pub(super) end: BatchNumber,
    /// Its header's checksum.
    pub(super) chain: u32,
    /// W: up to here damage is known as such.
    pub(super) told: BatchNumber,
    /// The last batch with records.
    pub(super) last_filled: BatchNumber,
    /// The highest run found.
    pub(super) run: u32,
    /// One more than the highest order found.
    pub(super) next_order: u64,
    /// One more than the highest segment id found.
    pub(super) next_id: u32,
    /// What of it is lost.
    pub(super) losses: Vec<Loss>,
    /// Segments that can be written over.
    pub(super) spares: VecDeque<SegmentId>,
    /// Segments given up, as a batch says that may itself be no part of the log: they can be written
    /// over once a batch that is says so.
    pub(super) released: Vec<SegmentId>,
}

impl Recovered {
    /// The last batch of the log; 0 if there is none.
    pub fn end(&self) -> BatchNumber {
        self.state.end
    }
}

impl RecoveredGroup {
    /// A group of which a log says nothing that may have lost what it said of any: votes, at least.
    /// `here`: it is known from elsewhere to have a replica here; else all that can matter is its votes.
    #[must_use]
    pub fn unrecorded(here: bool) -> Self {
        Self { votes_lost: true, retired: !here, ..Self::default() }
    }

    /// What its replica may have forgotten, noted or found: a kind of `DoubtRecord`.
    pub fn doubt_kind(&self) -> Option<u8> {
        match self.doubt.map(|doubt| doubt.kind) {
            Some(DoubtRecord::EVERYTHING) => Some(DoubtRecord::EVERYTHING),
            _ if self.votes_lost => Some(DoubtRecord::VOTES),
            None => self.entries_lost.then_some(DoubtRecord::ENTRIES),
            noted => noted,
        }
    }
}

impl Recovery {
    /// A recovery of the log that was written with this configuration.
    pub fn new(config: LogConfig) -> Self {
        Self {
            config,
            blank: Vec::new(),
            headers: BTreeMap::new(),
            fed: Vec::new(),
            strands: Vec::new(),
            told: Told::default(),
            loose: BTreeMap::new(),
            damaged: None,
        }
    }

    /// Another reading, if something that was durable is damaged: to go on behind it takes knowing up
    /// to where things were durable. Nothing if the log is whole, or damaged at its very beginning.
    #[must_use]
    pub fn second_reading(&self) -> Option<Self> {
        let first = self.first_segment().filter(|_| self.damaged.is_none())?;
        let strand = self.strands.iter().find(|strand| strand.holds(first))?;
        let damaged = strand.fault.is_none()
            && strand.end < self.told.durable_upto
            && !makes(Mistake::DamageCutOff);
        damaged.then(|| Self {
            damaged: Some(self.told),
            told: self.told,
            ..Self::new(self.config)
        })
    }

    /// The segment that the log begins with. An abandoned one may begin with a batch of the same number;
    /// the newest one is the log's.
    fn first_segment(&self) -> Option<SegmentId> {
        let begins = |segment: &&SegmentId| self.headers[*segment].first_batch == self.told.start;
        self.fed.iter().rfind(begins).copied()
    }

    /// Takes in the first block of a segment file. Returns the segment's place in the order, if its
    /// header says that it was ever used.
    ///
    /// # Errors
    /// If the header is damaged, of an unknown version, of another log, or that of another file too.
    pub fn inspect_head(
        &mut self,
        segment: SegmentId,
        first_block: &[u8],
    ) -> Result<Option<u64>, LogError> {
        let Some(header) = SegmentHeader::decode(segment, first_block, &self.config.identity)?
        else {
            self.blank.push(segment);
            return Ok(None);
        };
        let same = |(other, known): (&SegmentId, &SegmentHeader)| {
            (*other != segment && known.order == header.order).then_some(*other)
        };
        if let Some(other) = self.headers.iter().find_map(same) {
            return Err(LogError::Twice { segment, other });
        }
        self.told.run = self.told.run.max(header.run);
        self.told.durable_upto = self.told.durable_upto.max(header.durable_upto);
        self.headers.insert(segment, header);
        Ok(Some(header.order))
    }

    /// Takes in a whole segment file.
    ///
    /// # Errors
    /// If the file's length is not a segment's.
    ///
    /// # Panics
    /// If its head was not inspected, or a segment of a higher order was fed before.
    pub fn feed(&mut self, segment: SegmentId, bytes: &[u8]) -> Result<(), LogError> {
        let (found, expected) = (bytes.len() as u64, self.config.segment_bytes);
        if found != expected {
            return Err(LogError::Length { segment, found, expected });
        }
        let Some(&header) = self.headers.get(&segment) else {
            assert!(self.blank.contains(&segment), "{segment} fed before its head was inspected");
            self.scan(segment, None, bytes, 0);
            return Ok(());
        };
        let previous = self.fed.last().map(|fed| self.headers[fed].order);
        assert!(previous < Some(header.order), "{segment} fed out of order");
        self.fed.push(segment);
        if let Some(told) = self.damaged {
            self.salvage(segment, &header, bytes, told);
            return Ok(());
        }
        let end = self.replay(segment, &header, bytes);
        self.scan(segment, Some(&header), bytes, end);
        Ok(())
    }

    /// Reads a segment of a damaged log.
    fn salvage(&mut self, segment: SegmentId, header: &SegmentHeader, bytes: &[u8], told: Told) {
        let newest = |first: BatchNumber| {
            let begins = self.headers.values().filter(|header| header.first_batch == first);
            begins.map(|header| header.order).max()
        };
        if Some(header.order) < newest(told.start)
            || Some(header.order) < newest(header.first_batch)
        {
            return;
        }
        if self.strands.is_empty() {
            self.strands.push(Strand::default());
        }
        let strand = &mut self.strands[0];
        let before = strand.ledger.segments.back().map(|last| self.headers[&last.id].order);
        let has_order = |order| self.headers.values().any(|header| header.order == order);
        let gone = before.is_some_and(|before| !(before..header.order).all(has_order));
        let behind =
            header.first_batch > strand.end.next() && header.first_batch <= told.durable_upto;
        if gone && behind {
            strand.fault = Some(LogError::Missing { start: strand.end.next() });
            return;
        }
        let later = self.headers.values().filter(|later| later.order > header.order);
        let later = later.map(|later| (later.first_batch, later.run)).collect();
        strand.suspect(segment, header.salt, bytes, BLOCK);
        strand.salvage(segment, header, bytes, &Bounds { upto: told.durable_upto, later });
    }

    /// Replays the row of batches at the segment's beginning, which goes on with a known row or is a new
    /// one, and returns where it ends.
    fn replay(&mut self, segment: SegmentId, header: &SegmentHeader, bytes: &[u8]) -> usize {
        let first = Batch::parse(&bytes[BLOCK..], header.salt);
        let first = first.filter(|first| first.header.number == header.first_batch);
        let Some(first) = first.filter(Batch::payload_is_whole) else {
            for strand in &mut self.strands {
                strand.suspect(segment, header.salt, bytes, BLOCK);
            }
            return BLOCK;
        };
        let position = self.strands.iter().position(|strand| strand.is_followed_by(&first.header));
        let strand = match position {
            Some(position) => &mut self.strands[position],
            None => self.strands.push_mut(Strand::default()),
        };
        let told = &mut self.told;
        strand.follow(segment, header, bytes, |batch| told.hear(batch));
        let end = strand.head.expect("a strand that followed a segment ends in it").offset;
        usize::try_from(end).expect("an offset within bytes")
    }

    /// Looks for batches anywhere in `bytes` from `offset` on: they are no part of the log as far as it
    /// is known, but what they say counts.
    fn scan(
        &mut self,
        segment: SegmentId,
        header: Option<&SegmentHeader>,
        bytes: &[u8],
        mut offset: usize,
    ) {
        while offset < bytes.len() {
            let Some(batch) = self.loose_batch(header, &bytes[offset..]) else {
                offset += BLOCK;
                continue;
            };
            self.told.hear(&batch);
            // Another batch may lie within one that was half written over.
            let whole = batch.payload_is_whole();
            let extent = if whole { batch.extent() } else { BLOCK };
            *self.loose.entry(segment).or_default() += extent as u64;
            offset += extent;
        }
    }

    /// The batch at the front of `bytes`, if it belongs to this segment; or to one begun later than its
    /// header says, if it has one: the write of the later header, and whatever else is missing of that
    /// segment, went astray.
    fn loose_batch<'a>(
        &self,
        header: Option<&SegmentHeader>,
        bytes: &'a [u8],
    ) -> Option<Batch<'a>> {
        let (salt, run) = batch::claimed_salt(bytes)?;
        let belongs = header.is_some_and(|header| header.salt == salt);
        let later = || {
            let order = self.config.order_of(salt, run);
            order.is_some_and(|order| header.is_none_or(|header| header.order < order))
        };
        if belongs || later() { Batch::parse(bytes, salt) } else { None }
    }

    /// Says what the log holds.
    ///
    /// # Errors
    /// If anything that was durable is damaged or missing.
    pub fn finish(mut self) -> Result<Recovered, LogError> {
        if self.told.start == BatchNumber(0) || self.never_began() {
            return self.finish_empty();
        }
        let mut strand = self.take_log()?;
        self.lose_the_end(&mut strand);
        let (damage, lost_any) = (std::mem::take(&mut strand.damage), strand.lost_any);
        let groups = strand.take_groups();
        let (batches, bytes) = (strand.batches, strand.bytes);
        let losses = damage.iter().map(Damage::loss).collect();
        let torn_bytes = strand.head.and_then(|head| self.loose.get(&head.segment).copied());
        let torn_bytes = torn_bytes.unwrap_or(0);
        let state = LogState { losses, ..self.state(strand) };
        Ok(Recovered { groups, state, batches, bytes, torn_bytes, damage, lost_any })
    }

    /// What is damaged at the end of the log. Nothing is written over it: the log goes on in another
    /// segment, and shows the damage until it says itself who is in doubt.
    fn lose_the_end(&self, strand: &mut Strand) {
        let head = strand.head.filter(|_| !makes(Mistake::DamageCutOff));
        let Some(Head { segment, offset, .. }) = head else { return };
        let upto = self.told.durable_upto;
        if strand.end < upto {
            strand.lose_batches(segment, offset, upto.0);
            strand.end = upto;
            strand.head = None;
        } else if let Some((segment, offset)) = strand.damaged_next {
            strand.lose_batches(segment, offset, strand.end.next().0);
            strand.head = None;
        }
    }

    /// Whether the very first batch was never finished, though later ones, in flight at the same time,
    /// may have been, even in later segments: none of them was ever acknowledged.
    fn never_began(&self) -> bool {
        let first = BatchNumber(1);
        let is_first = |segment: &&SegmentId| self.headers[*segment].first_batch == first;
        let segment = self.fed.iter().rfind(is_first);
        self.told.start == first
            && self.told.durable_upto < first
            && !segment.is_some_and(|&first| self.strands.iter().any(|strand| strand.holds(first)))
    }

    /// No batch was found: the log never got as far as its first, or all of it is gone.
    fn finish_empty(self) -> Result<Recovered, LogError> {
        let start = BatchNumber(1);
        if self.told.durable_upto >= start {
            return Err(LogError::Missing { start });
        }
        Ok(Recovered { state: self.state(Strand::default()), ..Recovered::default() })
    }

    /// The row of batches that is the log, complete as far as can be known.
    fn take_log(&mut self) -> Result<Strand, LogError> {
        let start = self.told.start;
        let first = self.first_segment().ok_or(LogError::Missing { start })?;
        let Some(position) = self.strands.iter().position(|strand| strand.holds(first)) else {
            let (segment, offset) = (first, BLOCK as u64);
            return Err(LogError::Corrupt { segment, offset, batch: start, entries: Vec::new() });
        };
        let mut strand = self.strands.swap_remove(position);
        if let Some(fault) = strand.fault {
            return Err(fault);
        }
        let short = strand.end < self.told.durable_upto && !makes(Mistake::DamageCutOff);
        if short && self.damaged.is_none() {
            return Err(self.corruption(strand));
        }
        strand.ledger.begin_with(first);
        Ok(strand)
    }

    /// Names the batch that `strand` lacks.
    fn corruption(&self, strand: Strand) -> LogError {
        let batch = strand.end.next();
        let head = strand.head.expect("a strand lies in a segment");
        // If a segment begins with that batch, the damage is there.
        let next = self.fed.iter().rfind(|segment| self.headers[*segment].first_batch == batch);
        let (segment, offset) = match next {
            Some(&segment) => (segment, BLOCK as u64),
            None => (head.segment, head.offset),
        };
        LogError::Corrupt { segment, offset, batch, entries: strand.damaged }
    }

    /// How the log goes on after `strand`.
    fn state(self, strand: Strand) -> LogState {
        let start = strand.ledger.segments.front().map(|oldest| self.headers[&oldest.id].order);
        let all = || self.headers.keys().chain(&self.blank).copied();
        let order = |id: &SegmentId| self.headers.get(id).map(|header| header.order);
        let given_up = |id: &SegmentId| order(id).is_some() && order(id) < start;
        let (released, mut spares): (Vec<_>, Vec<_>) =
            all().filter(|&id| !strand.holds(id)).partition(given_up);
        // Abandoned segments before blank ones, so that what is in them vanishes soon.
        spares.sort_by_key(|id| std::cmp::Reverse(order(id)));
        LogState {
            next_id: all().map(|id| id.0 + 1).max().unwrap_or(0),
            next_order: self.headers.values().map(|header| header.order + 1).max().unwrap_or(0),
            spares: spares.into(),
            released,
            run: self.told.run,
            told: self.told.durable_upto,
            losses: Vec::new(),
            end: strand.end,
            chain: strand.chain,
            last_filled: strand.last_filled,
            head: strand.head,
            ledger: strand.ledger,
        }
    }
}

impl Told {
    fn hear(&mut self, batch: &Batch<'_>) {
        self.durable_upto = self.durable_upto.max(batch.header.durable_upto);
        self.start = self.start.max(batch.header.start);
        self.run = self.run.max(batch.header.run);
    }
}
