//! The segment files that one core has open, and those it is making.

use std::collections::{BTreeMap, BTreeSet};

use super::contents::Contents;
use super::volume::{FileId, FileName, Volume};
use crate::wal::SegmentId;

/// The segment files that one core has open, and those it is making.
#[derive(Debug, Default)]
pub(super) struct Segments {
    /// Segments ready to be written.
    open: BTreeMap<SegmentId, FileId>,
    /// Those whose blocks are allocated and were not written when they became ready: the first write into
    /// a block costs more.
    unwritten: BTreeSet<SegmentId>,
    /// The segment being created that the log waits for.
    hurried: Option<SegmentId>,
}

impl Segments {
    /// The file of a segment.
    ///
    /// # Panics
    /// If it was never ready.
    pub(super) fn file(&self, segment: SegmentId) -> FileId {
        *self.open.get(&segment).expect("only segments that are ready are written and read")
    }

    /// Those that are ready, ascending.
    pub(super) fn list(&self) -> Vec<SegmentId> {
        self.open.keys().copied().collect()
    }

    /// The log waits for this one.
    pub(super) fn hurry(&mut self, segment: SegmentId) {
        self.hurried = Some(segment);
    }

    /// Whether the log waits for it.
    pub(super) fn is_hurried(&self, segment: SegmentId) -> bool {
        self.hurried == Some(segment)
    }

    /// Whether it became ready in a hurry.
    pub(super) fn is_unwritten(&self, segment: SegmentId) -> bool {
        self.unwritten.contains(&segment)
    }

    /// Begins to make a segment.
    pub(super) fn create(&self, volume: &mut Volume, segment: SegmentId, bytes: u64) {
        assert!(!self.open.contains_key(&segment), "{segment} is there");
        volume.create(FileName::Segment(segment).temporary(), Contents::zeroes(bytes));
    }

    /// Gives it its name, now that all of it is durable.
    pub(super) fn name(&mut self, volume: &mut Volume, segment: SegmentId) {
        let name = FileName::Segment(segment);
        volume.rename(name.temporary(), name.entry());
        if self.is_hurried(segment) {
            self.unwritten.insert(segment);
        }
    }

    /// Removes one that is ready.
    ///
    /// # Panics
    /// If it is not.
    pub(super) fn remove(&mut self, volume: &mut Volume, segment: SegmentId) {
        let file = self.open.remove(&segment);
        assert!(file.is_some(), "only segments that are ready are removed");
        self.unwritten.remove(&segment);
        volume.remove(FileName::Segment(segment).entry());
    }

    /// Opens one that is there.
    ///
    /// # Panics
    /// If it is not.
    pub(super) fn open(&mut self, volume: &Volume, segment: SegmentId) {
        let file = volume.open(FileName::Segment(segment)).expect("it has its name");
        self.open.insert(segment, file);
    }
}
