//! Segment files that are not in use: ready, given up, or asked for.

use std::collections::VecDeque;

use super::{BatchNumber, SegmentId};

/// Segment files that are not in use.
#[derive(Debug, Default)]
pub(super) struct Pool {
    /// Ready to be written over; taken from the front.
    spares: VecDeque<SegmentId>,
    /// Given up, and the first batch that says so. Until that is durable a crash would send recovery
    /// to such a segment, so it may not be written over.
    released: VecDeque<(SegmentId, BatchNumber)>,
    /// The file being created.
    asked: Option<SegmentId>,
    /// No file has this id or a higher one, but for `asked`.
    next_id: u32,
}

impl Pool {
    /// A pool of `spares`; new files get ids from `next_id` on.
    pub(super) fn new(spares: VecDeque<SegmentId>, next_id: u32) -> Self {
        Self { spares, next_id, ..Self::default() }
    }

    /// How many segments are ready to be written over.
    pub(super) fn spares(&self) -> usize {
        self.spares.len()
    }

    /// Takes a segment to write over, if one is ready.
    pub(super) fn take(&mut self) -> Option<SegmentId> {
        self.spares.pop_front()
    }

    /// `segment` was given up; `told_by` is the first batch that says so.
    pub(super) fn release(&mut self, segment: SegmentId, told_by: BatchNumber) {
        self.released.push_back((segment, told_by));
    }

    /// Everything up to `durable` is: what these batches gave up can be written over.
    pub(super) fn recycle(&mut self, durable: BatchNumber) {
        while let Some((segment, _)) = self.released.pop_front_if(|(_, by)| *by <= durable) {
            self.spares.push_back(segment);
        }
    }

    /// Whether a segment was given up and no batch up to `issued` says so.
    pub(super) fn has_untold_release(&self, issued: BatchNumber) -> bool {
        self.released.back().is_some_and(|(_, told_by)| *told_by > issued)
    }

    /// The file to create, if no spare is left and none is on its way.
    pub(super) fn want(&mut self) -> Option<SegmentId> {
        if !self.spares.is_empty() || self.asked.is_some() {
            return None;
        }
        self.asked = Some(SegmentId(self.next_id));
        self.asked
    }

    /// The file asked for is there.
    pub(super) fn ready(&mut self, segment: SegmentId) {
        assert_eq!(self.asked, Some(segment), "no such segment was asked for");
        self.asked = None;
        self.next_id += 1;
        self.spares.push_back(segment);
    }

    /// The file asked for could not be made; it will be asked for again.
    pub(super) fn failed(&mut self, segment: SegmentId) {
        assert_eq!(self.asked, Some(segment), "no such segment was asked for");
        self.asked = None;
    }
}
