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
}

impl Trailing {
    pub(super) fn applied(&mut self, index: Index, bytes: usize) {
        let last = self.marks.back().map_or(0, |(_, before)| *before);
        if self.marks.is_empty() || self.applied_bytes - last >= MARK_EVERY {
            self.marks.push_back((index, self.applied_bytes));
        }
        self.applied_bytes += bytes as u64;
    }

    /// The first index to keep so that about `bytes` of payload stay; forgets older marks. Nothing if nothing was applied.
    pub(super) fn keep_from(&mut self, bytes: u64) -> Option<Index> {
        let excess = self.applied_bytes.saturating_sub(bytes);
        while self.marks.len() > 1 && self.marks[1].1 <= excess {
            self.marks.pop_front();
        }
        self.marks.front().map(|(index, _)| *index)
    }
}
