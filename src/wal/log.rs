//! The writing side of a core's log.

use super::batch::{self, BatchHeader};
use super::damage::Loss;
use super::ledger::{Holder, Ledger};
use super::pool::{Pool, Position};
use super::record::{GroupRecord, Record};
use super::segment::{self, SegmentHeader};
use super::stretch::{Extent, Stretch};
use super::window::Window;
use super::{
    BATCH_BYTES_MAX, BLOCK, BatchNumber, DoubtRecord, EntryRecord, HardStateRecord, Identity,
    LogState, SegmentId, SnapshotMark, WriteId,
};
use crate::base::{GroupId, Index, Mistake, makes};

/// The settings of a log.
#[derive(Clone, Copy, Debug)]
pub struct LogConfig {
    /// Whose log.
    pub identity: Identity,
    /// Bytes of each segment file: whole blocks, at least 8; [`super::SEGMENT_BYTES_MIN`] in service.
    pub segment_bytes: u64,
    /// Where the salts of a node's logs come from: always the same for one log, and known to nobody
    /// else, so that no payload is taken for a batch.
    pub seed: u64,
}

impl LogConfig {
    /// The salt of the segment of this order, begun in this life of the process.
    pub(super) fn salt(&self, order: u64, run: u32) -> u64 {
        let (order, run) = if makes(Mistake::SaltReused) { (0, 0) } else { (order, run) };
        segment::salt(self.seed_of_core(), order, run)
    }

    /// The order of the segment that has this salt; nothing if none of this log has.
    pub(super) fn order_of(&self, salt: u64, run: u32) -> Option<u64> {
        segment::order_of(self.seed_of_core(), salt, run)
    }

    fn seed_of_core(&self) -> u64 {
        self.seed ^ u64::from(self.identity.core.0) << 48
    }
}

/// A write to perform durably.
#[derive(Debug, PartialEq, Eq)]
pub struct Write {
    /// To be given back to [`Log::written`].
    pub write: WriteId,
    /// The file.
    pub segment: SegmentId,
    /// Where in it; a multiple of [`BLOCK`].
    pub offset: u64,
    /// What to write; whole blocks.
    pub bytes: Vec<u8>,
}

/// The writing side of a core's log.
///
/// *In*: `stage_*` (records, in the order of replay), `written`, `segment_ready`, `segment_failed`,
/// `trim`. *Out*: `seal`, `seal_idle` (writes), `segments_wanted` (files). *Back*: `begin_read`,
/// `end_read` (entries). The rest are queries.
/// Once a turn: stage, then `seal` until nothing is staged or it returns nothing, then
/// `segments_wanted`.
#[derive(Debug)]
pub struct Log {
    config: LogConfig,
    /// Which life of the process this is; higher than any found on disk.
    run: u32,
    /// What of it was found lost when it was read.
    losses: Vec<Loss>,
    /// What is in the log, by what was sealed (not by what is staged).
    ledger: Ledger,
    /// Records of the next batches, in order.
    staged: Vec<GroupRecord>,
    /// Bytes these take in a batch.
    staged_bytes: usize,
    /// How many of them are copies.
    staged_copies: usize,
    /// Kept for its storage: the records of a preamble while it is encoded.
    preamble: Vec<GroupRecord>,
    /// Where the next batch goes; nothing before the first segment.
    head: Option<Head>,
    /// The order of the next segment; higher than any found on disk.
    next_order: u64,
    /// The header checksum of the last batch issued.
    chain: u32,
    /// The `durable_upto` of the last batch issued; below its number.
    told: BatchNumber,
    /// The last batch issued that holds records a preamble does not repeat.
    last_filled: BatchNumber,
    /// What is durable and what is on its way.
    window: Window,
    /// Segment files not in use.
    pool: Pool,
}

/// Where the next batch goes, in the ledger's last segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) segment: SegmentId,
    pub(super) salt: u64,
    pub(super) offset: u64,
}

impl Log {
    /// The log of a first start: there are no segments at all.
    ///
    /// # Panics
    /// If the configuration breaks the rules its fields state.
    pub fn new(config: LogConfig) -> Self {
        Self::resume(config, LogState::default())
    }

    /// A log that goes on where [`super::Recovery`] found its end.
    ///
    /// # Panics
    /// If the configuration breaks the rules its fields state.
    pub fn resume(config: LogConfig, recovered: LogState) -> Self {
        assert!(config.segment_bytes >= SEGMENT_BLOCKS_MIN * BLOCK as u64, "{config:?}");
        assert!(config.segment_bytes.is_multiple_of(BLOCK as u64), "{config:?}");
        let mut log = Self {
            config,
            run: recovered.run + u32::from(!makes(Mistake::RunReused)),
            losses: recovered.losses,
            ledger: recovered.ledger,
            staged: Vec::new(),
            staged_bytes: 0,
            staged_copies: 0,
            preamble: Vec::new(),
            head: recovered.head,
            next_order: recovered.next_order,
            chain: recovered.chain,
            told: recovered.told,
            last_filled: recovered.last_filled,
            window: Window::new(recovered.end),
            pool: Pool::new(recovered.spares, recovered.next_id),
        };
        for segment in recovered.released {
            log.pool.release(segment, recovered.end.next());
        }
        log.release();
        log
    }

    /// Stages a group's hard state.
    pub fn stage_hard_state(&mut self, group: GroupId, record: HardStateRecord) {
        self.stage(group, Record::HardState(record));
    }

    /// Stages an entry. One at or below an earlier index replaces everything from there on.
    pub fn stage_entry(&mut self, group: GroupId, record: EntryRecord) {
        self.stage(group, Record::Entry(record));
    }

    /// Stages an entry that is in the log already, so that the segment it lies in is not needed for it
    /// any more. The entry must be the one in force: committed, or not replaced by what is staged.
    pub fn stage_copy(&mut self, group: GroupId, record: EntryRecord) {
        self.stage(group, Record::Copy(record));
    }

    /// Stages the restart of a group's log after an installed snapshot: all its entries are dropped.
    pub fn stage_reset(&mut self, group: GroupId, mark: SnapshotMark) {
        self.stage(group, Record::Reset(mark));
    }

    /// Stages that a group is not held here any more: its entries are dropped, and its snapshots may
    /// be removed once this is durable. Its hard state is kept for ever, lest a node that comes back
    /// vote twice in a term. A reset, be it at index 0, takes the group in again, in doubt of its entries
    /// until [`Self::stage_certainty`].
    pub fn stage_retirement(&mut self, group: GroupId) {
        self.stage(group, Record::Retired);
    }

    /// Stages what the group's replica may have forgotten. Repeated in preambles, until
    /// [`Self::stage_certainty`].
    pub fn stage_doubt(&mut self, group: GroupId, record: DoubtRecord) {
        // It says what was lost before it, so long as nothing else is.
        let knows = DoubtRecord { resume_after: Index(u64::MAX), ..record };
        for loss in self.losses.clone() {
            self.stage(group, Record::Doubt(knows, loss));
        }
        self.stage(group, Record::Doubt(record, Loss::NONE));
    }

    /// Stages that the group's replica is certain again.
    pub fn stage_certainty(&mut self, group: GroupId) {
        self.stage(group, Record::Certain);
    }

    pub(super) fn stage(&mut self, group: GroupId, record: Record) {
        let record = GroupRecord { group, record };
        self.staged_bytes += record.length();
        self.staged_copies += usize::from(record.is_copy());
        self.staged.push(record);
    }

    /// Bytes that what is staged will take, about.
    pub fn staged_bytes(&self) -> usize {
        self.staged_bytes
    }

    /// Whether anything is staged.
    pub fn has_staged(&self) -> bool {
        !self.staged.is_empty()
    }

    /// Whether copies are staged: until they are sealed, the segment they are to free counts as needed.
    pub fn has_staged_copies(&self) -> bool {
        self.staged_copies > 0
    }

    /// Makes one batch of what is staged and appends its write to `writes`; before it that of a new
    /// segment's head, if one is begun. Returns the batch's number.
    ///
    /// A batch is bounded by [`BATCH_BYTES_MAX`]: what does not fit stays staged, in order, so what was
    /// staged is in this batch only if [`Self::has_staged`] is false afterwards. Without a segment to
    /// write to, everything stays staged and nothing is returned (even so, a write may be appended: one
    /// that makes a given-up segment usable).
    ///
    /// # Panics
    /// If entries of a group are not consecutive, or one entry is too large for a segment.
    pub fn seal(&mut self, writes: &mut Vec<Write>) -> Option<BatchNumber> {
        let count = self.batch_count();
        if count == 0 {
            return None;
        }
        let length = batch::length(&self.staged[..count]);
        if !self.make_room(length + RESERVE, writes) {
            self.tell_release(writes);
            return None;
        }
        let mut staged = std::mem::take(&mut self.staged);
        self.note(&staged[..count], length);
        let number = self.issue(Vec::with_capacity(length), &staged[..count], writes);
        self.last_filled = number;
        for record in staged.drain(..count) {
            self.staged_bytes -= record.length();
            self.staged_copies -= usize::from(record.is_copy());
        }
        self.staged = staged;
        Some(number)
    }

    /// Writes a batch without records, which tells that all before it are durable, if no later batch
    /// does. To be called when idle for a while: until then, damage to the last batch cannot be told
    /// from a write that never finished.
    pub fn seal_idle(&mut self, writes: &mut Vec<Write>) -> Option<BatchNumber> {
        if !self.needs_idle_seal() || !self.make_room(BLOCK, writes) {
            return None;
        }
        Some(self.issue(Vec::with_capacity(BLOCK), &[], writes))
    }

    /// Whether [`Self::seal_idle`] has something to tell: nothing is in flight, and no batch tells yet
    /// that the last one with records is durable.
    pub fn needs_idle_seal(&self) -> bool {
        self.window.durable() == self.window.issued()
            && self.told < self.last_filled
            && !makes(Mistake::NoClosingBatch)
    }

    /// A write completed; they may do so in any order. Returns what [`Self::durable`] does.
    ///
    /// # Panics
    /// If no such write is in flight.
    pub fn written(&mut self, write: WriteId) -> BatchNumber {
        let durable = self.window.complete(BatchNumber(write.0));
        self.release();
        if makes(Mistake::AcksOutOfOrder) {
            return durable.max(BatchNumber(write.0));
        }
        durable
    }

    /// The highest batch such that it and all before it are durable.
    pub fn durable(&self) -> BatchNumber {
        self.window.durable()
    }

    /// How many writes have not completed.
    pub fn in_flight(&self) -> usize {
        self.window.in_flight()
    }

    /// Appends the segment files to create, so that spares are ready when the current one is full.
    ///
    /// Each is named once, until it is ready or failed. One that failed is named again by the next
    /// call: the caller sees to it that some time passes.
    pub fn segments_wanted(&mut self, out: &mut Vec<SegmentId>) {
        out.extend(self.pool.want(self.position()));
    }

    /// The segment file on its way that what is staged waits for: nothing can be written before it is
    /// ready, so it had better be soon. None while the log has no segment at all: nobody is served yet.
    pub fn awaited_segment(&self) -> Option<SegmentId> {
        let has_begun = self.next_order > 0;
        let blocked = has_begun && self.has_staged() && !self.has_spare() && {
            let length = batch::length(&self.staged[..self.batch_count()]);
            self.room() < length + RESERVE
        };
        if blocked { self.pool.asked() } else { None }
    }

    /// A segment file exists at its full length, every block of it written.
    ///
    /// # Panics
    /// If it was not asked for.
    pub fn segment_ready(&mut self, segment: SegmentId) {
        let at = self.position();
        self.pool.ready(segment, at);
    }

    /// A segment file could not be made.
    ///
    /// # Panics
    /// If it was not asked for.
    pub fn segment_failed(&mut self, segment: SegmentId) {
        self.pool.failed(segment);
    }

    /// A spare segment that is to be removed for want of room: never the last one.
    pub fn give_back_spare(&mut self) -> Option<SegmentId> {
        self.pool.give_back(1)
    }

    /// A spare segment that is to be removed since there are many and nobody touched it since the last
    /// call.
    pub fn give_back_untouched(&mut self) -> Option<SegmentId> {
        self.pool.give_back_untouched()
    }

    /// Entries of `group` up to `index` are covered by a durable snapshot. Segments that no group
    /// needs any longer are used again.
    pub fn trim(&mut self, group: GroupId, index: Index) {
        let index = if makes(Mistake::TrimsTooFar) { index.next() } else { index };
        self.ledger.trim(group, index);
        self.release();
    }

    /// Bytes that can still be written without another segment file, about.
    pub fn free_bytes(&self) -> u64 {
        self.room() as u64 + self.pool.spares() as u64 * self.config.segment_bytes
    }

    /// Whether a segment is ready for when the current one is full.
    pub fn has_spare(&self) -> bool {
        self.pool.spares() > 0
    }

    /// Bytes of each segment.
    pub fn segment_bytes(&self) -> u64 {
        self.config.segment_bytes
    }

    /// Bytes of the segments in use.
    pub fn live_bytes(&self) -> u64 {
        self.live_segments() as u64 * self.config.segment_bytes
    }

    /// How many segments are in use.
    pub fn live_segments(&self) -> usize {
        self.ledger.segments.len()
    }

    /// Appends the groups whose entries keep the oldest segment in use, in order: a snapshot of each
    /// would free it, and so would writing the entries again.
    pub fn groups_holding_oldest(&self, out: &mut Vec<Holder>) {
        self.ledger.holding_oldest(out);
    }

    /// The oldest segment that is needed, if it is not the one being written.
    pub fn oldest_segment(&self) -> Option<SegmentId> {
        self.ledger.oldest().map(|oldest| oldest.id)
    }

    /// The segment being written.
    #[cfg(test)]
    pub(super) fn head_segment(&self) -> Option<SegmentId> {
        self.head.map(|head| head.segment)
    }

    /// The first entry of `group` that can be read back, if any can.
    pub fn first_stored(&self, group: GroupId) -> Option<Index> {
        self.ledger.first_stored(group)
    }

    /// Bytes of this log, about, that are to be read to send all entries of `group` from `from` on,
    /// whatever groups they are of; nothing if the first is not there any more.
    pub fn span_from(&self, group: GroupId, from: Index) -> Option<u64> {
        self.ledger.span_from(group, from)
    }

    /// Where to read the entries of `group` from `from` on: as many durable ones as lie together in
    /// about `bytes_max`, at least one; nothing if that is not there any more, or not durable yet.
    /// Until [`Self::end_read`] the segment is not used again.
    pub fn begin_read(&mut self, group: GroupId, from: Index, bytes_max: usize) -> Option<Stretch> {
        let stretch = self.ledger.locate(group, from, self.window.durable(), bytes_max)?;
        self.ledger.count_reader(stretch.segment, 1);
        Some(stretch)
    }

    /// Where to read entries that are to be written again ([`Self::stage_copy`]) to free the oldest
    /// segment, from batch `from` on: as many as lie together in about `bytes_max`; nothing if there are
    /// none. Until [`Self::end_read`] the segment is not used again.
    pub fn begin_rewrite(&mut self, from: BatchNumber, bytes_max: usize) -> Option<Stretch> {
        let oldest = self.oldest_segment()?;
        let stretch = self.ledger.locate_needed(from, bytes_max)?;
        // Writes into two segments may be in flight.
        if stretch.last_batch() > self.window.durable() {
            return None;
        }
        self.ledger.count_reader(oldest, 1);
        Some(stretch)
    }

    /// A read is over, whatever came of it.
    pub fn end_read(&mut self, stretch: &Stretch) {
        self.ledger.count_reader(stretch.segment, -1);
        self.release();
    }

    /// How many of the staged records go into the next batch: at least one, if there is any.
    fn batch_count(&self) -> usize {
        let bytes_max = BATCH_BYTES_MAX.min(self.segment_length() / 4);
        if self.staged_bytes <= bytes_max {
            return self.staged.len();
        }
        let mut bytes = 0;
        let fitting = self.staged.iter().take_while(|record| {
            bytes += record.length();
            bytes <= bytes_max
        });
        fitting.count().max(1)
    }

    /// Sees to it that `length` bytes fit at the head, beginning a segment if need be; false if there
    /// is none to begin.
    fn make_room(&mut self, length: usize, writes: &mut Vec<Write>) -> bool {
        self.room() >= length || self.begin_segment(length, writes)
    }

    fn room(&self) -> usize {
        let free = self.head.map_or(0, |head| self.config.segment_bytes - head.offset);
        usize::try_from(free).expect("a segment fits memory")
    }

    fn begin_segment(&mut self, length: usize, writes: &mut Vec<Write>) -> bool {
        let Some(segment) = self.pool.take() else { return false };
        let header = SegmentHeader {
            identity: self.config.identity,
            order: self.next_order,
            salt: self.config.salt(self.next_order, self.run),
            first_batch: self.window.issued().next(),
            run: self.run,
            durable_upto: self.window.durable(),
        };
        self.next_order += 1;
        let mut records = std::mem::take(&mut self.preamble);
        self.ledger.preamble(&mut records);
        self.ledger.begin(segment, header.first_batch, header.salt);
        self.head = Some(Head { segment, salt: header.salt, offset: 0 });

        let mut bytes = Vec::with_capacity(BLOCK + batch::length(&records));
        header.encode(&mut bytes);
        self.issue(bytes, &records, writes);
        records.clear();
        self.preamble = records;
        assert!(length <= self.room(), "{length} bytes do not fit an empty segment");
        true
    }

    /// Enters `records`, the next batch, into the books; it takes `bytes`.
    fn note(&mut self, records: &[GroupRecord], bytes: usize) {
        let number = self.window.issued().next();
        let offset = self.head.expect("room was made").offset;
        self.ledger.place(number, Extent { offset, bytes });
        for record in records {
            self.ledger
                .note(number, record)
                .unwrap_or_else(|gap| panic!("staged out of order: {gap}"));
        }
    }

    /// Appends `records` as a batch to `bytes`, and the whole as a write at the head.
    fn issue(
        &mut self,
        mut bytes: Vec<u8>,
        records: &[GroupRecord],
        writes: &mut Vec<Write>,
    ) -> BatchNumber {
        let early = makes(Mistake::DurableUptoOfIssued);
        let durable_upto = if early { self.window.issued() } else { self.window.durable() };
        let number = self.window.issue();
        let start = self.ledger.start();
        assert!(durable_upto < number && start <= number, "{start} {durable_upto} {number}");
        let head = self.head.as_mut().expect("room was made");
        let (run, chain) = (self.run, self.chain);
        let header = BatchHeader { salt: head.salt, number, durable_upto, start, run, chain };
        self.chain = batch::encode(&mut bytes, &header, records);
        self.told = durable_upto;
        let write =
            Write { write: WriteId(number.0), segment: head.segment, offset: head.offset, bytes };
        head.offset += write.bytes.len() as u64;
        assert!(head.offset <= self.config.segment_bytes, "{write:?} reaches past its segment");
        writes.push(write);
        number
    }

    /// No segment is ready, but one was given up since the last batch: says so, in the block that
    /// every segment keeps for this, lest a full disk be final.
    fn tell_release(&mut self, writes: &mut Vec<Write>) {
        if self.pool.has_untold_release(self.window.issued()) && self.room() >= BLOCK {
            self.issue(Vec::with_capacity(BLOCK), &[], writes);
        }
    }

    /// Gives up segments that nobody needs, and makes usable again those that are known as such.
    fn release(&mut self) {
        let (issued, durable) = (self.window.issued(), self.window.durable());
        while let Some(segment) = self.ledger.take_unneeded(issued, durable) {
            self.pool.release(segment, issued.next());
        }
        self.pool.recycle(durable);
    }

    fn position(&self) -> Position {
        let room = self.head.map_or(0, |head| self.config.segment_bytes - head.offset);
        Position { segment_bytes: self.config.segment_bytes, begun: self.next_order, room }
    }

    fn segment_length(&self) -> usize {
        usize::try_from(self.config.segment_bytes).expect("a segment fits memory")
    }
}

/// The last block of a segment holds no records: see `Log::tell_release`.
const RESERVE: usize = BLOCK;

/// Header, preamble, a batch, the reserve, and as much again.
const SEGMENT_BLOCKS_MIN: u64 = 8;
