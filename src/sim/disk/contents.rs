//! What one simulated file holds: sparse, since most of a log's segments are zeros, and in two versions
//! where what was written is not durable yet.
//!
//! ```text
//!   sectors     0      1      2      3      4   …
//!   read        new    new    old    new    -      what the running system sees
//!   unsynced    old    -      -      old           what the medium still has; the others are the same there
//! ```
//! A power loss puts any part of the unsynced sectors back. What was written into one sector twice since
//! the last sync is there as it was before both, or as it was after both.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::wal::BLOCK;

/// What a disk writes as a whole.
pub(super) const SECTOR: usize = 512;

const ZEROES: [u8; BLOCK] = [0; BLOCK];

/// One file's bytes.
#[derive(Clone, Debug, Default)]
pub(super) struct Contents {
    /// As the running system sees it.
    length: u64,
    /// As the medium has it.
    durable_length: u64,
    /// By number, as the running system sees them; what is missing is zeros.
    blocks: BTreeMap<u64, Box<[u8; BLOCK]>>,
    /// By number, what the medium has in place of what was written; nothing for zeros.
    unsynced: BTreeMap<u64, Option<Box<[u8; SECTOR]>>>,
    /// Blocks that the medium cannot read, until they are written again.
    unreadable: BTreeSet<u64>,
}

/// The medium cannot read a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unreadable;

impl Contents {
    /// A durable file of zeros.
    pub(super) fn zeroes(length: u64) -> Self {
        Self { length, durable_length: length, ..Self::default() }
    }

    /// As the running system sees it.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Writes into the cache: durable with the next `sync`.
    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        for (at, piece) in pieces(offset, bytes, SECTOR) {
            let sector = at / SECTOR as u64;
            if !self.unsynced.contains_key(&sector) {
                let before = self.sector(sector).copied().map(Box::new);
                self.unsynced.insert(sector, before);
            }
            self.put(at, piece);
        }
    }

    /// Writes durably.
    pub(super) fn write_durably(&mut self, offset: u64, bytes: &[u8]) {
        for (at, piece) in pieces(offset, bytes, SECTOR) {
            self.unsynced.remove(&(at / SECTOR as u64));
            self.put(at, piece);
        }
        self.durable_length = self.durable_length.max(offset + bytes.len() as u64);
    }

    /// Makes all of it durable, the length included.
    pub(super) fn sync(&mut self) {
        self.unsynced.clear();
        self.durable_length = self.length;
    }

    /// Bytes that the running system sees.
    ///
    /// # Errors
    /// If the medium cannot read one of the blocks.
    ///
    /// # Panics
    /// If it ends before them.
    pub(super) fn read(&self, range: Range<u64>) -> Result<Vec<u8>, Unreadable> {
        assert!(range.end <= self.length, "{range:?} of {} bytes", self.length);
        let blocks = range.start / BLOCK as u64..range.end.div_ceil(BLOCK as u64);
        if self.unreadable.range(blocks.clone()).next().is_some() {
            return Err(Unreadable);
        }
        let mut bytes = Vec::with_capacity(usize_of(range.end - range.start));
        for number in blocks {
            let begin = number * BLOCK as u64;
            let from = usize_of(range.start.saturating_sub(begin));
            let to = usize_of((range.end - begin).min(BLOCK as u64));
            let block = self.blocks.get(&number).map_or(&ZEROES, |block| block);
            bytes.extend_from_slice(&block[from..to]);
        }
        Ok(bytes)
    }

    /// All of it.
    ///
    /// # Errors
    /// If the medium cannot read it.
    pub(super) fn read_all(&self) -> Result<Vec<u8>, Unreadable> {
        self.read(0..self.length)
    }

    /// Makes of all its bytes what a power loss might leave: takes back what was not synced.
    pub(super) fn forget_cache(&self, bytes: &mut [u8]) {
        for (&sector, before) in &self.unsynced {
            let at = usize_of(sector) * SECTOR;
            let before = before.as_ref().map_or(&[0; SECTOR], |before| &**before);
            if let Some(place) = bytes.get_mut(at..at + SECTOR) {
                place.copy_from_slice(before);
            }
        }
    }

    /// How many blocks hold something, or did.
    pub(super) fn blocks_written(&self) -> usize {
        self.blocks.len()
    }

    /// One of those blocks, by its place among them, and what it holds.
    pub(super) fn block_written(&self, place: usize) -> Option<(u64, &[u8; BLOCK])> {
        self.blocks.iter().nth(place).map(|(&number, block)| (number, &**block))
    }

    /// The power fails: of what was not synced some comes true, and some never was. Returns how many
    /// sectors are as they were before.
    pub(super) fn lose_power(&mut self, random: &mut fastrand::Rng) -> usize {
        let mut lost = 0;
        if self.length != self.durable_length && random.bool() {
            self.length = self.durable_length;
        }
        let odds = random.u32(0..=100);
        for (sector, before) in std::mem::take(&mut self.unsynced) {
            if random.u32(0..100) < odds {
                let before = before.map_or([0; SECTOR], |before| *before);
                self.put(sector * SECTOR as u64, &before);
                lost += 1;
            }
        }
        self.truncate(self.length);
        self.durable_length = self.length;
        lost
    }

    /// Flips bits of one byte, on the medium and in what is read of it.
    ///
    /// # Panics
    /// If the file ends before it.
    pub(super) fn rot(&mut self, at: u64, mask: u8) {
        assert!(at < self.length, "byte {at} of {}", self.length);
        self.block_mut(at / BLOCK as u64)[usize_of(at % BLOCK as u64)] ^= mask;
    }

    /// From now on a block cannot be read, until it is written.
    pub(super) fn make_unreadable(&mut self, block: u64) {
        self.unreadable.insert(block);
    }

    /// Drops what lies behind `length`.
    fn truncate(&mut self, length: u64) {
        self.length = length;
        self.blocks.split_off(&length.div_ceil(BLOCK as u64));
        self.unsynced.split_off(&length.div_ceil(SECTOR as u64));
    }

    /// A sector as the running system sees it; nothing if its block is all zeros.
    fn sector(&self, number: u64) -> Option<&[u8; SECTOR]> {
        let at = number * SECTOR as u64;
        let block = self.blocks.get(&(at / BLOCK as u64))?;
        let sectors = block.as_chunks::<SECTOR>().0;
        sectors.get(usize_of(at % BLOCK as u64) / SECTOR)
    }

    /// Puts bytes into one sector.
    fn put(&mut self, at: u64, bytes: &[u8]) {
        let (block, from) = (at / BLOCK as u64, usize_of(at % BLOCK as u64));
        self.unreadable.remove(&block);
        self.length = self.length.max(at + bytes.len() as u64);
        if !self.blocks.contains_key(&block) && bytes.iter().all(|&byte| byte == 0) {
            return;
        }
        self.block_mut(block)[from..from + bytes.len()].copy_from_slice(bytes);
    }

    fn block_mut(&mut self, number: u64) -> &mut [u8; BLOCK] {
        self.blocks.entry(number).or_insert_with(|| Box::new(ZEROES))
    }
}

/// Parts of `bytes`, none of which lies on both sides of a multiple of `size`, and where they go.
pub(super) fn pieces(offset: u64, bytes: &[u8], size: usize) -> impl Iterator<Item = (u64, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let at = offset + (bytes.len() - rest.len()) as u64;
        let room = size - usize_of(at % size as u64);
        let (piece, after) = rest.split_at(room.min(rest.len()));
        rest = after;
        (!piece.is_empty()).then_some((at, piece))
    })
}

fn usize_of(bytes: u64) -> usize {
    usize::try_from(bytes).expect("a simulated file fits memory")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARK: [u8; 3 * SECTOR] = [7; 3 * SECTOR];

    #[test]
    fn what_was_written_is_read_and_the_rest_is_zeros() {
        let mut file = Contents::zeroes(4 * BLOCK as u64);
        let at = 2 * BLOCK as u64 - 100;
        file.write(at, &MARK);
        let read = file.read(at - 1..at + 1 + MARK.len() as u64).expect("readable");
        assert_eq!(read, [&[0], &MARK[..], &[0]].concat());
        assert_eq!(file.read_all().expect("readable").len(), 4 * BLOCK);
        assert_eq!(file.blocks.len(), 2, "only what was written takes room");
    }

    #[test]
    fn a_power_loss_takes_any_sectors_that_were_not_synced_and_no_other() {
        let (mut survived, mut lost) = ([0; 3], 0);
        for seed in 0..200 {
            let mut file = Contents::default();
            file.write(0, &[1; 512]);
            file.write_durably(512, &[2; 512]);
            file.write(1024, &[3; 512]);
            file.sync();
            file.write(512, &MARK);
            lost += file.lose_power(&mut fastrand::Rng::with_seed(seed));
            let bytes = file.read_all().expect("readable");
            assert!(bytes[..512].iter().all(|&byte| byte == 1), "{seed}");
            for (sector, before) in [(1, 2), (2, 3), (3, 0)] {
                // The file may also end where it did.
                let Some(found) = bytes.get(sector * 512) else { continue };
                assert!([7, before].contains(found), "{seed}: {found}");
                survived[sector - 1] += usize::from(*found == 7);
            }
            file.lose_power(&mut fastrand::Rng::with_seed(seed));
            assert_eq!(file.read_all().expect("readable"), bytes, "what is left is durable");
        }
        assert!(survived.iter().all(|&count| (40..160).contains(&count)), "{survived:?}");
        assert!((200..400).contains(&lost), "{lost}");
    }

    #[test]
    fn an_unreadable_block_is_readable_once_it_was_written() {
        let mut file = Contents::zeroes(2 * BLOCK as u64);
        file.make_unreadable(1);
        file.read(0..BLOCK as u64).expect("the other one");
        assert_eq!(file.read_all(), Err(Unreadable));
        file.write_durably(BLOCK as u64, &[1; BLOCK]);
        file.read_all().expect("written anew");
    }
}
