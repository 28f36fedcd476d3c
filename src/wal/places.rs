//! Where one group's entries lie in the log: which batch holds which of them.
//!
//! Kept for every group, so it must be small: a batch holds entries of a group in runs, and a run costs
//! 24 bytes however many entries are in it. Where in its segment a batch lies, the segment knows once
//! for all groups (`ledger`); where in the batch an entry lies, the batch says itself.

use std::collections::VecDeque;
use std::ops::Range;

use super::BatchNumber;
use crate::base::Index;

/// The entries of one group that are in the log.
///
/// Indices ascend along the runs, batches need not: entries that were rewritten lie in later batches
/// than those that follow them. Between runs there may be gaps, where a snapshot covers what is gone.
#[derive(Debug, Default)]
pub(super) struct Places {
    runs: VecDeque<Run>,
}

/// Consecutive entries in one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) first: Index,
    /// At least one.
    count: u32,
    pub(super) batch: BatchNumber,
}

impl Run {
    pub(super) fn last(&self) -> Index {
        Index(self.first.0 + u64::from(self.count) - 1)
    }

    fn new(first: Index, last: Index, batch: BatchNumber) -> Self {
        let count = u32::try_from(last.0 + 1 - first.0).expect("a batch holds fewer entries");
        Self { first, count, batch }
    }

    /// What of it lies within `first..=last`, if anything does.
    fn within(&self, first: Index, last: Index) -> Option<Self> {
        let (first, last) = (self.first.max(first), self.last().min(last));
        (first <= last).then(|| Self::new(first, last, self.batch))
    }

    /// Whether an entry at `index` in `batch` would be one more of it.
    fn goes_on_with(&self, index: Index, batch: BatchNumber) -> bool {
        self.batch == batch && self.last().next() == index
    }
}

impl Places {
    /// An entry is in `batch`; what was at its index and behind it is replaced.
    pub(super) fn append(&mut self, index: Index, batch: BatchNumber) {
        while self.runs.pop_back_if(|run| run.first >= index).is_some() {}
        if let Some(last) = self.runs.back_mut() {
            if last.last() >= index {
                *last = Run::new(last.first, index.previous(), last.batch);
            }
            if last.goes_on_with(index, batch) {
                last.count += 1;
                return;
            }
        }
        self.runs.push_back(Run { first: index, count: 1, batch });
    }

    /// What comes after `index` is dropped.
    pub(super) fn cut(&mut self, index: Index) {
        while self.runs.pop_back_if(|run| run.first > index).is_some() {}
        if let Some(last) = self.runs.back_mut().filter(|last| last.last() > index) {
            *last = Run::new(last.first, index, last.batch);
        }
    }

    /// An entry is in `batch` too, and is to be found there from now on. Returns where it was.
    pub(super) fn rewrite(&mut self, index: Index, batch: BatchNumber) -> Option<BatchNumber> {
        let mut at = self.runs.partition_point(|run| run.last() < index);
        let before = self.runs.get(at).copied().filter(|run| run.first <= index);
        if let Some(run) = before {
            self.runs.remove(at);
            let rest = run.within(index.next(), run.last());
            let front = run.within(run.first, index.previous());
            for part in rest.into_iter().chain(front) {
                self.runs.insert(at, part);
            }
            at += usize::from(front.is_some());
        }
        match at.checked_sub(1).and_then(|previous| self.runs.get_mut(previous)) {
            Some(previous) if previous.goes_on_with(index, batch) => previous.count += 1,
            _ => self.runs.insert(at, Run { first: index, count: 1, batch }),
        }
        before.map(|run| run.batch)
    }

    /// The batches before `start` are given up.
    pub(super) fn forget_before(&mut self, start: BatchNumber) {
        self.runs.retain(|run| run.batch >= start);
    }

    /// The first entry.
    pub(super) fn first(&self) -> Option<Index> {
        self.runs.front().map(|run| run.first)
    }

    /// The last entry that lies in one of `batches` and comes after `index`.
    pub(super) fn last_within(&self, batches: Range<BatchNumber>, index: Index) -> Option<Index> {
        let there = self.runs.iter().rev().take_while(|run| run.last() > index);
        there.into_iter().find(|run| batches.contains(&run.batch)).map(Run::last)
    }

    /// The runs, or parts of runs, from `index` on.
    pub(super) fn from(&self, index: Index) -> impl Iterator<Item = Run> {
        let at = self.runs.partition_point(|run| run.last() < index);
        self.runs.range(at..).filter_map(move |run| run.within(index, run.last()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const NEVER: Index = Index(u64::MAX);

    /// (first, last, batch) of each run.
    fn runs(places: &Places) -> Vec<(u64, u64, u64)> {
        places.runs.iter().map(|run| (run.first.0, run.last().0, run.batch.0)).collect()
    }

    fn places(entries: &[(u64, u64)]) -> Places {
        let mut places = Places::default();
        for &(index, batch) in entries {
            places.append(Index(index), BatchNumber(batch));
        }
        places
    }

    #[test]
    fn consecutive_entries_of_a_batch_are_one_run() {
        let places = places(&[(1, 7), (2, 7), (3, 8), (4, 8)]);
        assert_eq!(runs(&places), [(1, 2, 7), (3, 4, 8)]);
    }

    #[test]
    fn an_entry_replaces_what_follows() {
        let mut places = places(&[(1, 7), (2, 7), (3, 7), (4, 8)]);
        places.append(Index(2), BatchNumber(9));
        assert_eq!(runs(&places), [(1, 1, 7), (2, 2, 9)]);
    }

    #[test]
    fn a_rewritten_entry_leaves_its_neighbours_where_they_are() {
        let mut places = places(&[(1, 7), (2, 7), (3, 7), (4, 8)]);
        assert_eq!(places.rewrite(Index(2), BatchNumber(9)), Some(BatchNumber(7)));
        assert_eq!(runs(&places), [(1, 1, 7), (2, 2, 9), (3, 3, 7), (4, 4, 8)]);
        assert_eq!(places.rewrite(Index(3), BatchNumber(9)), Some(BatchNumber(7)));
        assert_eq!(runs(&places), [(1, 1, 7), (2, 3, 9), (4, 4, 8)]);
        places.forget_before(BatchNumber(8));
        assert_eq!(runs(&places), [(2, 3, 9), (4, 4, 8)]);
    }

    #[test]
    fn random_lives_agree_with_a_map() {
        let mut random = fastrand::Rng::with_seed(1);
        let (mut places, mut map) = (Places::default(), BTreeMap::<Index, BatchNumber>::new());
        for step in 0..20_000_u64 {
            let batch = BatchNumber(step / 4);
            let last = map.last_key_value().map_or(10, |(index, _)| index.0);
            let any = Index(random.u64(last.saturating_sub(30).max(1)..=last));
            match random.u32(0..20) {
                0 => {
                    map.split_off(&any);
                    map.insert(any, batch);
                    places.append(any, batch);
                }
                1..8 => assert_eq!(places.rewrite(any, batch), map.insert(any, batch)),
                8 => {
                    let start = BatchNumber(batch.0.saturating_sub(10));
                    map.retain(|_, at| *at >= start);
                    places.forget_before(start);
                }
                _ => {
                    map.insert(Index(last + 1), batch);
                    places.append(Index(last + 1), batch);
                }
            }
            let listed = places.from(Index(0)).flat_map(|run| {
                (run.first.0..=run.last().0).map(move |index| (Index(index), run.batch))
            });
            assert!(listed.eq(map.iter().map(|(&index, &at)| (index, at))), "step {step}");
            let batches = BatchNumber(batch.0.saturating_sub(5))..BatchNumber(batch.0);
            let mut after = map.range(any.next()..).filter(|(_, at)| batches.contains(*at));
            let last = after.next_back().map(|(&index, _)| index);
            assert_eq!(places.last_within(batches, any), last, "step {step}");
            assert_eq!(places.from(NEVER).count(), 0);
        }
    }
}
