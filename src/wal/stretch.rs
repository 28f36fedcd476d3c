//! Entries read back from a log that is being written: which bytes hold them, and what the bytes say.
//!
//! [`super::Log::begin_read`] names a stretch of a segment, whole batches that are durable; whoever has
//! read it asks the stretch for the entries. Nothing is believed that is not proven by header and
//! payload checksum, salt and number: a disk that returns old or foreign bytes is found out.

use std::collections::BTreeMap;

use super::batch::Batch;
use super::places::Run;
use super::record::Record;
use super::{BLOCK, BatchNumber, EntryRecord, LogError, SegmentId};
use crate::base::{GroupId, Index};

/// Bytes of a segment that hold entries. Until it is given back ([`super::Log::end_read`]) its segment
/// is not written over.
#[derive(Debug)]
pub struct Stretch {
    /// The file.
    pub segment: SegmentId,
    /// Where in it; a multiple of [`BLOCK`].
    pub offset: u64,
    /// How many bytes; whole blocks.
    pub length: usize,
    /// The salt of the segment.
    salt: u64,
    /// The entries in it; batches ascend.
    parts: Vec<Part>,
}

/// Entries in one batch of a stretch.
#[derive(Clone, Copy, Debug)]
struct Part {
    /// Where the batch begins, from the stretch's beginning.
    at: usize,
    group: GroupId,
    /// Which entries of it are wanted: others in it may have been replaced.
    run: Run,
}

/// Where a batch lies in its segment: byte offset and length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) offset: u64,
    pub(super) bytes: usize,
}

impl Stretch {
    /// The stretch of one batch.
    pub(super) fn new(
        (segment, salt): (SegmentId, u64),
        extent: Extent,
        (group, run): (GroupId, Run),
    ) -> Self {
        let Extent { offset, bytes: length } = extent;
        Self { segment, offset, length, salt, parts: vec![Part { at: 0, group, run }] }
    }

    /// Takes entries of the last batch, or of one behind it, in, if all stays within `bytes_max`. Returns
    /// whether it did.
    pub(super) fn extend(
        &mut self,
        segment: SegmentId,
        extent: Extent,
        (group, run): (GroupId, Run),
        bytes_max: usize,
    ) -> bool {
        if segment != self.segment || run.batch < self.last_batch() {
            return false;
        }
        let at = usize::try_from(extent.offset - self.offset).expect("a segment fits memory");
        if run.batch > self.last_batch() && at + extent.bytes > bytes_max {
            return false;
        }
        self.length = at + extent.bytes;
        self.parts.push(Part { at, group, run });
        true
    }

    /// The last batch in it.
    pub fn last_batch(&self) -> BatchNumber {
        self.parts.last().expect("at least one").run.batch
    }

    /// The last entry in it.
    pub(super) fn last(&self) -> Index {
        self.parts.last().expect("at least one").run.last()
    }

    /// The entries in it, as read in `bytes`; those of a group in order.
    ///
    /// # Errors
    /// If `bytes` are not what was written.
    pub fn decode(&self, bytes: &[u8]) -> Result<Vec<(GroupId, EntryRecord)>, LogError> {
        let mut entries = Vec::new();
        let mut last: Option<(usize, Batch<'_>)> = None;
        for part in &self.parts {
            // Of a batch with many groups the checksums are looked at once.
            let batch = match last.filter(|(at, _)| *at == part.at) {
                Some((_, batch)) => Some(batch),
                None => self.batch(part, bytes),
            };
            let batch = batch.ok_or_else(|| self.corruption(part))?;
            last = Some((part.at, batch));
            entries.extend(part.entries(&batch).ok_or_else(|| self.corruption(part))?);
        }
        Ok(entries)
    }

    fn batch<'a>(&self, part: &Part, bytes: &'a [u8]) -> Option<Batch<'a>> {
        let batch = Batch::parse(bytes.get(part.at..)?, self.salt)?;
        (batch.header.number == part.run.batch && batch.payload_is_whole()).then_some(batch)
    }

    fn corruption(&self, part: &Part) -> LogError {
        let run = part.run;
        LogError::Corrupt {
            segment: self.segment,
            offset: self.offset + part.at as u64,
            batch: run.batch,
            entries: (run.first.0..=run.last().0).map(|i| (part.group, Index(i))).collect(),
        }
    }
}

impl Part {
    /// The entries wanted of `batch`; nothing if one is not there.
    fn entries(
        &self,
        batch: &Batch<'_>,
    ) -> Option<impl Iterator<Item = (GroupId, EntryRecord)> + use<>> {
        let mut entries = BTreeMap::new();
        for record in batch.records_of(self.group) {
            match record.ok()?.record {
                Record::Entry(entry) => {
                    entries.split_off(&entry.index);
                    entries.insert(entry.index, entry);
                }
                Record::Copy(entry) => {
                    entries.insert(entry.index, entry);
                }
                Record::Reset(_) | Record::Retired => entries.clear(),
                Record::HardState(_)
                | Record::Standing(_)
                | Record::Doubt(..)
                | Record::Certain => {}
            }
        }
        let (group, first, last) = (self.group, self.run.first, self.run.last());
        let wanted = entries.split_off(&first).into_values().take_while(|e| e.index <= last);
        let wanted: Vec<_> = wanted.collect();
        let complete = wanted.len() as u64 == last.0 + 1 - first.0;
        complete.then(|| wanted.into_iter().map(move |entry| (group, entry)))
    }
}

/// Where the batches of a segment that hold entries lie: one line per batch, ascending.
#[derive(Debug, Default)]
pub(super) struct Extents {
    lines: Vec<Line>,
}

/// Twelve bytes per batch.
#[derive(Clone, Copy, Debug)]
struct Line {
    /// Number of the batch, from the segment's first.
    number: u32,
    /// Its first block in the segment.
    block: u32,
    blocks: u32,
}

impl Extents {
    /// A batch was placed behind the others; `first`: the segment's first batch.
    pub(super) fn push(&mut self, first: BatchNumber, number: BatchNumber, extent: Extent) {
        let small = |value: u64| u32::try_from(value).expect("within a segment");
        self.lines.push(Line {
            number: small(number.0 - first.0),
            block: small(extent.offset / BLOCK as u64),
            blocks: small(extent.bytes as u64 / BLOCK as u64),
        });
    }

    /// Where the last batch ends in the segment.
    pub(super) fn end(&self) -> u64 {
        let end = |line: &Line| (u64::from(line.block) + u64::from(line.blocks)) * BLOCK as u64;
        self.lines.last().map_or(0, end)
    }

    /// Where `number` lies.
    pub(super) fn find(&self, first: BatchNumber, number: BatchNumber) -> Option<Extent> {
        let wanted = number.0.checked_sub(first.0)?;
        let at = self.lines.binary_search_by_key(&wanted, |line| u64::from(line.number)).ok()?;
        let Line { block, blocks, .. } = self.lines[at];
        let bytes = blocks as usize * BLOCK;
        Some(Extent { offset: u64::from(block) * BLOCK as u64, bytes })
    }
}
