//! Where trailing entries begin: how far back the log is kept in memory for slow followers.

use std::collections::VecDeque;

use crate::base::Index;

/// Bytes of applied payload between two marks.
const MARK_EVERY: u64 = 1 << 20;

/// Finds the entry from which on about a wanted number of bytes was applied.
///
/// Keeps a mark about every mebibyte of applied payload.
#[derive(Debug, Default)]
pub(super) struct Trailing {
    /// (first index of a stretch, bytes applied before it), ascending.
    marks: VecDeque<(Index, u64)>,
    /// Bytes applied since start.
    applied_bytes: u64,
    /// The last entry applied.
    applied_index: Index,
}

/// What is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keep {
    /// Payload bytes, at most, give or take a mebibyte.
    pub bytes: u64,
    /// Entries, at most: each costs some memory whatever its payload.
    pub entries: u64,
}

impl Trailing {
    pub(super) fn applied(&mut self, index: Index, bytes: usize) {
        let last = self.marks.back().map_or(0, |(_, before)| *before);
        if self.marks.is_empty() || self.applied_bytes - last >= MARK_EVERY {
            self.marks.push_back((index, self.applied_bytes));
        }
        self.applied_bytes += bytes as u64;
        self.applied_index = index;
    }

    /// The first index to keep; forgets older marks. Nothing if nothing was applied.
    pub(super) fn keep_from(&mut self, keep: Keep) -> Option<Index> {
        let excess = self.applied_bytes.saturating_sub(keep.bytes);
        while self.marks.len() > 1 && self.marks[1].1 <= excess {
            self.marks.pop_front();
        }
        let by_entries = Index((self.applied_index.0 + 1).saturating_sub(keep.entries));
        self.marks.front().map(|(by_bytes, _)| by_entries.max(*by_bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Keep = Keep { bytes: u64::MAX, entries: u64::MAX };

    /// Entries 1 to `count` of `bytes` each.
    fn applied(count: u64, bytes: usize) -> Trailing {
        let mut trailing = Trailing::default();
        (1..=count).for_each(|index| trailing.applied(Index(index), bytes));
        trailing
    }

    #[test]
    fn nothing_applied_nothing_to_keep() {
        assert_eq!(Trailing::default().keep_from(ALL), None);
    }

    #[test]
    fn large_entries_are_bounded_by_bytes() {
        let mut trailing = applied(10, 1 << 20);
        assert_eq!(trailing.keep_from(ALL), Some(Index(1)));
        assert_eq!(trailing.keep_from(Keep { bytes: 3 << 20, ..ALL }), Some(Index(8)));
        assert_eq!(trailing.keep_from(ALL), Some(Index(8)), "older marks are forgotten");
    }

    #[test]
    fn small_entries_are_bounded_by_number() {
        let mut trailing = applied(1_000, 8);
        assert_eq!(trailing.keep_from(Keep { entries: 100, ..ALL }), Some(Index(901)));
        assert_eq!(trailing.keep_from(Keep { entries: 0, ..ALL }), Some(Index(1_001)));
    }
}
