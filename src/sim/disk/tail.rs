//! The end of a log, where a disk that breaks its promises cannot be caught at it.
//!
//! What is damaged at or below W, the last batch that the log itself says was durable, is found
//! (`schema/log.md`). Above W it may look like a write that never finished. So it is promised for whole
//! writes only that go missing, or are written over, at or below W; for a single byte anywhere. A disk
//! that does worse is not simulated: harm that nobody could have found is undone when the process ends.

use super::volume::FileName;
use super::{CoreFiles, Disk, Operation, Place, WriteHarm};
use crate::base::CoreId;
use crate::reactor::LogWrite;
use crate::wal::{BLOCK, BatchNumber, LogView, SegmentId, SegmentView};

/// What is known of the end of a core's log.
#[derive(Debug)]
pub(super) struct Tail {
    /// W.
    durable_upto: BatchNumber,
    /// Where batches above it lie, with the heads of the segments that begin with one.
    places: Vec<(SegmentId, u64, u64)>,
}

impl Tail {
    /// Whether any of these bytes of a segment belongs to a batch above W.
    pub(super) fn holds(&self, segment: SegmentId, from: u64, to: u64) -> bool {
        self.places.iter().any(|&(its, begin, end)| its == segment && begin < to && from < end)
    }
}

impl CoreFiles {
    /// The end of this core's log. What tells that a batch was durable must be on the medium: a power
    /// loss takes what is in the cache, and then nobody knows.
    pub(super) fn tail(&self) -> Tail {
        let (mut view, mut medium) = (LogView::default(), LogView::default());
        for (name, file) in self.volume.list() {
            if let FileName::Segment(segment) = name {
                let file = self.volume.file(file);
                let mut bytes = file.read_all().unwrap_or_default();
                view.push(SegmentView::of(segment, &bytes));
                file.forget_cache(&mut bytes);
                medium.push(SegmentView::of(segment, &bytes));
            }
        }
        let durable_upto = medium.durable_upto();
        let above = view.batches().filter(|(_, batch)| batch.number > durable_upto);
        let place = |(segment, batch): (SegmentId, &crate::wal::BatchView)| {
            let head = if batch.offset == BLOCK as u64 { 0 } else { batch.offset };
            (segment, head, batch.offset + batch.bytes)
        };
        Tail { durable_upto, places: above.map(place).collect() }
    }

    /// Forgets the harm done to writes that the log's own words make known as such by now.
    fn settle_harm(&mut self) {
        if self.owed.is_empty() && self.rotten_tail.is_none() {
            return;
        }
        let tail = self.tail();
        self.owed.retain(|write| BatchNumber(write.write.0) > tail.durable_upto);
        self.rotten_tail =
            self.rotten_tail.filter(|&(segment, at)| tail.holds(segment, at, at + 1));
    }

    /// Writes that went missing, and that nobody could miss, are there after all.
    pub(super) fn deliver_owed(&mut self) {
        self.settle_harm();
        for LogWrite { segment, offset, bytes, .. } in std::mem::take(&mut self.owed) {
            let file = self.volume.open(FileName::Segment(segment)).expect("it was written to");
            self.volume.file_mut(file).write_durably(offset, &bytes);
        }
    }
}

impl Disk {
    /// Whether harm is to come, or has come of which a start would not find a trace yet. A write that fails
    /// is none: it ends the process.
    pub fn is_harm_pending(&mut self) -> bool {
        let harmed = |operation: &Operation| match operation {
            Operation::Write(_, harm) => harm.is_some_and(WriteHarm::comes_silently),
            _ => false,
        };
        self.under_way.values().any(|(_, operation)| harmed(operation))
            || self.cores_mut().iter_mut().any(|core| {
                core.settle_harm();
                core.harms.iter().any(|harm| harm.comes_silently()) || !core.owed.is_empty()
            })
    }

    /// Whether a byte may go bad without that the damage is more than can be told from a write that
    /// never finished; takes note of it.
    pub(super) fn may_rot(&mut self, place: Place) -> bool {
        let (Some(core), FileName::Segment(segment)) = (place.core, place.file) else {
            return true;
        };
        let files = self.core_mut(core);
        if !files.owed.is_empty() {
            return false;
        }
        if !files.tail().holds(segment, place.at, place.at + 1) {
            return true;
        }
        files.settle_harm();
        let first = files.rotten_tail.is_none();
        files.rotten_tail.get_or_insert((segment, place.at));
        first
    }

    /// A write was acknowledged that is not where it should be.
    pub(super) fn owe(&mut self, core: CoreId, write: &LogWrite) {
        let LogWrite { write, segment, offset, ref bytes } = *write;
        let write = LogWrite { write, segment, offset, bytes: bytes.clone() };
        self.core_mut(core).owed.push(write);
    }
}
