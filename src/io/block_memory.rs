//! Memory as `O_DIRECT` wants it: whole blocks, beginning at a multiple of their size.

use std::ops::{Index, IndexMut, RangeTo};

use crate::wal::BLOCK;

/// Bytes that begin at a multiple of [`BLOCK`]. Never moved: the storage stays where it is.
#[derive(Default)]
pub(super) struct BlockMemory {
    storage: Vec<u8>,
    /// Where in `storage` the first block begins.
    aligned: usize,
}

impl BlockMemory {
    /// Sees to it that there are `length` bytes, zeros or what was there before.
    pub(super) fn make_room(&mut self, length: usize) {
        if self.storage.len() < self.aligned + length {
            self.storage = vec![0; length + BLOCK];
            self.aligned = self.storage.as_ptr().align_offset(BLOCK);
        }
    }

    /// Bytes there are, about.
    pub(super) fn capacity(&self) -> usize {
        self.storage.len()
    }
}

impl Index<RangeTo<usize>> for BlockMemory {
    type Output = [u8];

    fn index(&self, range: RangeTo<usize>) -> &[u8] {
        &self.storage[self.aligned..][range]
    }
}

impl IndexMut<RangeTo<usize>> for BlockMemory {
    fn index_mut(&mut self, range: RangeTo<usize>) -> &mut [u8] {
        &mut self.storage[self.aligned..][range]
    }
}
