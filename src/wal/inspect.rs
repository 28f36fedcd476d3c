//! A look at segments as they lie on a disk, for people: nothing is replayed, everything is shown.
//!
//! [`super::Recovery`] says what a log *means*. Here is what is *there*: each header, each batch that can
//! be told to be one, part of the log or left behind, and what is wrong with it. Whether a bad batch is
//! damage or an unfinished write takes knowledge of all segments ([`LogView::durable_upto`]).

use super::batch::Batch;
use super::record::Descriptor;
use super::segment::SegmentHeader;
use super::{BLOCK, BatchNumber, Identity, LogError, SegmentId};
use crate::base::{GroupId, Index, Term, WallTime};

/// What a segment's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderView {
    /// Whose log.
    pub identity: Identity,
    /// Its place among the segments of the log's life.
    pub order: u64,
    /// What its batches must carry.
    pub salt: u64,
    /// The number of its preamble.
    pub first_batch: BatchNumber,
    /// Which life of the process began it.
    pub run: u32,
}

/// A batch whose header and descriptor table are whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchView {
    /// Where it begins in its segment.
    pub offset: u64,
    /// Its number.
    pub number: BatchNumber,
    /// All batches up to this one were durable when it was made.
    pub durable_upto: BatchNumber,
    /// The first batch wanted when it was made.
    pub start: BatchNumber,
    /// Which life of the process wrote it.
    pub run: u32,
    /// Its header's checksum.
    pub crc: u32,
    /// The header checksum of the batch it follows.
    pub chain: u32,
    /// Bytes on disk, padding included.
    pub bytes: u64,
    /// Whether its payload is what was written.
    pub payload_is_whole: bool,
    /// What it holds, by the descriptor table: right even where the payload is not.
    pub records: Vec<RecordView>,
}

/// A record, by its line of the descriptor table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordView {
    /// The group.
    pub group: GroupId,
    /// What it is: `entry`, `hard state` and so on.
    pub kind: &'static str,
    /// What the entry is for, if it is one; opaque here.
    pub entry_kind: Option<u8>,
    /// What may be forgotten, if it is a doubt: a kind of `DoubtRecord`.
    pub doubt_kind: Option<u8>,
    /// The term.
    pub term: Term,
    /// The index; of a hard state the node voted for, 0 for none; of a doubt the entry after which the
    /// group's log goes on.
    pub index: Index,
    /// The leader's time stamp, if it is an entry.
    pub timestamp: Option<WallTime>,
    /// Bytes of payload.
    pub bytes: u64,
}

/// A segment file, looked at by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentView {
    /// Which.
    pub id: SegmentId,
    /// Its header; nothing if the file was never used. Without a header nothing behind it can be read.
    pub header: Result<Option<HeaderView>, LogError>,
    /// Its batches, as they lie.
    pub batches: Vec<BatchView>,
}

impl SegmentView {
    /// Looks at a whole segment file, or at its first block alone.
    pub fn of(id: SegmentId, bytes: &[u8]) -> Self {
        let header = SegmentHeader::decode_any(id, bytes);
        let batches = match &header {
            Ok(Some(header)) => batches(bytes, header.salt),
            _ => Vec::new(),
        };
        Self { id, header: header.map(|header| header.as_ref().map(view)), batches }
    }
}

/// All of a core's segments together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogView {
    /// The segments, in their order, those never used at the end.
    pub segments: Vec<SegmentView>,
}

impl LogView {
    /// Takes in a segment.
    pub fn push(&mut self, segment: SegmentView) {
        self.segments.push(segment);
        self.segments.sort_by_key(|segment| match &segment.header {
            Ok(Some(header)) => (0, header.order, segment.id),
            Err(_) => (1, 0, segment.id),
            Ok(None) => (2, 0, segment.id),
        });
    }

    /// W: everything up to this batch was durable, as the batches themselves say.
    pub fn durable_upto(&self) -> BatchNumber {
        self.batches().map(|(_, batch)| batch.durable_upto).max().unwrap_or_default()
    }

    /// S: the first batch that is wanted.
    pub fn start(&self) -> BatchNumber {
        self.batches().map(|(_, batch)| batch.start).max().unwrap_or_default()
    }

    /// Whether the batch before `batch` is there, and is the one that it follows.
    pub fn is_chained(&self, batch: &BatchView) -> bool {
        let before = |other: &BatchView| {
            other.number.next() == batch.number
                && other.crc == batch.chain
                && other.run <= batch.run
        };
        batch.number <= BatchNumber(1) || self.batches().any(|(_, other)| before(other))
    }

    /// Every batch with its segment.
    pub fn batches(&self) -> impl Iterator<Item = (SegmentId, &BatchView)> {
        self.segments.iter().flat_map(|segment| segment.batches.iter().map(|b| (segment.id, b)))
    }
}

/// Looks for batches at every block: behind a damaged one there may be others.
fn batches(bytes: &[u8], salt: u64) -> Vec<BatchView> {
    let (mut found, mut offset) = (Vec::new(), BLOCK);
    while offset < bytes.len() {
        let Some(batch) = Batch::parse(&bytes[offset..], salt) else {
            offset += BLOCK;
            continue;
        };
        let whole = batch.payload_is_whole();
        found.push(batch_view(&batch, offset as u64, whole));
        offset += if whole { batch.extent() } else { BLOCK };
    }
    found
}

fn batch_view(batch: &Batch<'_>, offset: u64, payload_is_whole: bool) -> BatchView {
    let header = batch.header;
    BatchView {
        offset,
        number: header.number,
        durable_upto: header.durable_upto,
        start: header.start,
        run: header.run,
        crc: batch.crc,
        chain: header.chain,
        bytes: batch.extent() as u64,
        payload_is_whole,
        records: batch.descriptors().map(record_view).collect(),
    }
}

fn record_view(descriptor: Descriptor<'_>) -> RecordView {
    let is_entry = descriptor.entry_index().is_some();
    RecordView {
        group: descriptor.group(),
        kind: descriptor.kind_name(),
        entry_kind: is_entry.then(|| descriptor.entry_kind()),
        doubt_kind: descriptor.is_doubt().then(|| descriptor.entry_kind()),
        term: descriptor.term(),
        index: descriptor.index(),
        timestamp: is_entry.then(|| descriptor.timestamp()),
        bytes: descriptor.payload_length() as u64,
    }
}

fn view(header: &SegmentHeader) -> HeaderView {
    let SegmentHeader { identity, order, salt, first_batch, run, .. } = *header;
    HeaderView { identity, order, salt, first_batch, run }
}
