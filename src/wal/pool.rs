//! Segment files that are not in use: ready, given up, or asked for.
//!
//! A log that reaches the end of its segment before the next file is there stands still, and all
//! its groups with it. How long a file takes to make depends on a disk that others use too, so it is
//! measured, in the one unit that matters: by how far the log went on meanwhile. Files are asked
//! for early enough that twice that much could still be written.
//!
//! ```text
//!          room in the current segment     spares
//! ├───written───┼──────────────────────┼─────────────┼─ ─ ─
//!               │◀──────────────── ahead ───────────▶│
//!               │◀─ 1½ segments + 2 · what was written while the last file was made ─▶ asks for one
//! ```
//!
//! A log that once grew, since no snapshot could be written, has many spares when it is cut at last. Of
//! those, what nobody touched from one snapshot to the next goes back to the disk; and where a snapshot
//! finds no room, as many as it takes, but for one: when it is durable, more are free than that.

use crate::base::{Mistake, makes};
use std::collections::VecDeque;

use super::{BatchNumber, SegmentId};

/// How far the log has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    /// Bytes of a segment.
    pub(super) segment_bytes: u64,
    /// Segments begun over the log's life.
    pub(super) begun: u64,
    /// Bytes left in the last of them.
    pub(super) room: u64,
}

impl Position {
    /// Bytes that the log went on since `earlier`.
    fn since(self, earlier: Self) -> u64 {
        (self.begun - earlier.begun) * self.segment_bytes + earlier.room - self.room
    }
}

/// Segment files that are not in use.
#[derive(Debug, Default)]
pub(super) struct Pool {
    /// Ready to be written over; taken from the front.
    spares: VecDeque<SegmentId>,
    /// Given up, and the first batch that says so. Until that is durable a crash would send recovery
    /// to such a segment, so it may not be written over.
    released: VecDeque<(SegmentId, BatchNumber)>,
    /// The file being created, and how far the log was when it was asked for.
    asked: Option<(SegmentId, Position)>,
    /// Bytes that the log wrote while a file was made: the last one, or half of what it was for the
    /// one before if that is more.
    written_meanwhile: u64,
    /// No file has this id or a higher one, but for `asked`.
    next_id: u32,
    /// The fewest spares there were since it was last looked: so many were not touched.
    untouched: usize,
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
        let taken = self.spares.pop_front();
        self.untouched = self.untouched.min(self.spares.len());
        taken
    }

    /// Gives a spare back to the disk, unless that would leave fewer than `kept`. Its file is to be
    /// removed; whether it is there after a crash makes no difference.
    pub(super) fn give_back(&mut self, kept: usize) -> Option<SegmentId> {
        let given = if self.spares.len() > kept { self.spares.pop_back() } else { None };
        self.untouched = self.untouched.min(self.spares.len());
        given
    }

    /// Gives a spare back that nobody touched since this was last asked, if there are many of them.
    pub(super) fn give_back_untouched(&mut self) -> Option<SegmentId> {
        let untouched = std::mem::replace(&mut self.untouched, self.spares.len());
        if untouched as u64 > SPARES_MAX { self.give_back(0) } else { None }
    }

    /// `segment` was given up; `told_by` is the first batch that says so.
    pub(super) fn release(&mut self, segment: SegmentId, told_by: BatchNumber) {
        self.released.push_back((segment, told_by));
    }

    /// Everything up to `durable` is: what these batches gave up can be written over.
    pub(super) fn recycle(&mut self, durable: BatchNumber) {
        let told = |by: BatchNumber| by <= durable || makes(Mistake::RecycledTooSoon);
        while let Some((segment, _)) = self.released.pop_front_if(|(_, by)| told(*by)) {
            self.spares.push_back(segment);
        }
    }

    /// Whether a segment was given up and no batch up to `issued` says so.
    pub(super) fn has_untold_release(&self, issued: BatchNumber) -> bool {
        self.released.back().is_some_and(|(_, told_by)| *told_by > issued)
    }

    /// The file to create, if there is too little to be written over and none is on its way.
    pub(super) fn want(&mut self, at: Position) -> Option<SegmentId> {
        if self.asked.is_some() || !self.is_short(at) {
            return None;
        }
        let segment = SegmentId(self.next_id);
        self.asked = Some((segment, at));
        Some(segment)
    }

    /// Whether the log might come to its end before another file is made.
    fn is_short(&self, at: Position) -> bool {
        let spares = (self.spares.len() + self.released.len()) as u64;
        let ahead = at.room + spares * at.segment_bytes;
        let wanted = at.segment_bytes + at.segment_bytes / 2 + 2 * self.written_meanwhile;
        self.spares.is_empty() || (spares < SPARES_MAX && ahead < wanted)
    }

    /// The file being created.
    pub(super) fn asked(&self) -> Option<SegmentId> {
        self.asked.map(|(segment, _)| segment)
    }

    /// The file asked for is there.
    pub(super) fn ready(&mut self, segment: SegmentId, at: Position) {
        let since = self.take_asked(segment);
        self.written_meanwhile = at.since(since).max(self.written_meanwhile / 2);
        self.next_id += 1;
        self.spares.push_back(segment);
    }

    /// The file asked for could not be made; it will be asked for again.
    pub(super) fn failed(&mut self, segment: SegmentId) {
        self.take_asked(segment);
    }

    fn take_asked(&mut self, segment: SegmentId) -> Position {
        let asked = self.asked.take().filter(|&(asked, _)| asked == segment);
        let (_, since) = asked.unwrap_or_else(|| panic!("{segment} was not asked for"));
        since
    }
}

/// Files in waiting at most, unless segments given up make them more.
const SPARES_MAX: u64 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    const SEGMENT: u64 = 64;

    fn at(begun: u64, room: u64) -> Position {
        Position { segment_bytes: SEGMENT, begun, room }
    }

    #[test]
    fn the_next_segment_is_wanted_when_one_is_begun_and_another_when_it_is_half_full() {
        let mut pool = Pool::new(VecDeque::new(), 5);
        assert_eq!(pool.want(at(1, SEGMENT)), Some(SegmentId(5)));
        assert_eq!(pool.want(at(1, 1)), None, "one is on its way");
        pool.ready(SegmentId(5), at(1, SEGMENT));
        assert_eq!(pool.want(at(1, SEGMENT / 2)), None);
        assert_eq!(pool.want(at(1, SEGMENT / 2 - 1)), Some(SegmentId(6)));
        pool.ready(SegmentId(6), at(1, SEGMENT / 2 - 1));
        assert_eq!(pool.want(at(1, 0)), None, "two are enough");
    }

    #[test]
    fn the_slower_files_are_made_the_earlier_they_are_wanted() {
        let mut pool = Pool::new(VecDeque::new(), 0);
        assert_eq!(pool.want(at(1, SEGMENT)), Some(SegmentId(0)));
        // Half a segment was written meanwhile: two and a half are wanted ahead.
        pool.ready(SegmentId(0), at(1, SEGMENT / 2));
        assert_eq!(pool.want(at(1, SEGMENT / 2)), Some(SegmentId(1)));
        pool.ready(SegmentId(1), at(1, SEGMENT / 2));
        // The next one took no time; half of what was seen before is remembered.
        assert_eq!(pool.want(at(1, SEGMENT / 2)), None);
        assert_eq!(pool.want(at(1, 0)), None);
        assert_eq!(pool.take(), Some(SegmentId(0)));
        assert_eq!(pool.want(at(2, SEGMENT)), None);
        assert_eq!(pool.want(at(2, SEGMENT - 1)), Some(SegmentId(2)));
    }

    #[test]
    fn there_are_never_many_files_in_waiting() {
        let mut pool = Pool::new(VecDeque::new(), 0);
        assert_eq!(pool.want(at(1, SEGMENT)), Some(SegmentId(0)));
        pool.ready(SegmentId(0), at(90, 0));
        for file in 1..3 {
            assert_eq!(pool.want(at(90, 0)), Some(SegmentId(file)));
            pool.ready(SegmentId(file), at(90, 0));
        }
        assert_eq!(pool.want(at(90, 0)), None);
    }

    #[test]
    fn a_segment_given_up_counts_beside_a_spare_but_not_alone() {
        let mut pool = Pool::new([SegmentId(3)].into(), 9);
        pool.release(SegmentId(1), BatchNumber(7));
        assert_eq!(pool.want(at(4, 0)), None);
        assert_eq!(pool.take(), Some(SegmentId(3)));
        assert!(pool.spares() == 0);
        assert_eq!(pool.want(at(5, SEGMENT)), Some(SegmentId(9)), "until it is known to be free");
        pool.recycle(BatchNumber(7));
        assert_eq!(pool.take(), Some(SegmentId(1)));
    }

    #[test]
    fn what_nobody_touches_goes_back_one_at_a_time() {
        let mut pool = Pool::new((0..6).map(SegmentId).collect(), 6);
        assert_eq!(pool.give_back_untouched(), None, "nothing is known yet");
        assert_eq!(pool.take(), Some(SegmentId(0)));
        assert_eq!(pool.give_back_untouched(), Some(SegmentId(5)), "five were not touched");
        pool.release(SegmentId(0), BatchNumber(1));
        pool.recycle(BatchNumber(1));
        assert_eq!(pool.give_back_untouched(), Some(SegmentId(0)), "the one given up last");
        assert_eq!(pool.take(), Some(SegmentId(1)));
        assert_eq!((pool.give_back_untouched(), pool.spares()), (None, 3), "three were not");
    }

    #[test]
    fn where_room_is_scarce_all_but_one_go_back() {
        let mut pool = Pool::new((0..3).map(SegmentId).collect(), 3);
        assert_eq!(pool.give_back(1), Some(SegmentId(2)));
        assert_eq!(pool.give_back(1), Some(SegmentId(1)));
        assert_eq!(pool.give_back(1), None, "or the log could not go on");
        assert_eq!(pool.take(), Some(SegmentId(0)));
    }

    #[test]
    fn a_file_that_could_not_be_made_is_asked_for_again() {
        let mut pool = Pool::new(VecDeque::new(), 0);
        assert_eq!(pool.want(at(0, 0)), Some(SegmentId(0)));
        pool.failed(SegmentId(0));
        assert_eq!(pool.asked(), None);
        assert_eq!(pool.want(at(0, 0)), Some(SegmentId(0)));
    }
}
