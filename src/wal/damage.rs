//! Damage: what of a log is lost, and how a damaged write is told from one that never finished.
//!
//! Up to W, whatever cannot be read is damaged. Above W it may be the end of a write that a power loss cut
//! short: some of its sectors are there, the others hold what they held before. Such a write was never
//! acknowledged, and is cut off. But the last writes before a crash may also have been finished,
//! acknowledged, and damaged afterwards; so what looks *finished but wrong* counts as damaged too:
//!
//! | found behind the last whole batch | it is |
//! |---|---|
//! | nothing of the batch that comes next: another salt, other numbers, zeros | a write that never finished |
//! | its header within one sector, the checksum wrong: a disk writes a sector whole or not at all | damaged |
//! | its header over several sectors, or its payload: wrong by no more than one byte | damaged |
//! | the same, wrong by more: a sector or more of something else | a write that never finished |
//!
//! Whether one byte makes the difference is read off the checksum: the difference of two checksums
//! depends on nothing but the difference of the bytes and its place, and can be followed backwards.

use std::fmt;

use super::batch::{self, Batch};
use super::segment::scramble;
use super::{BatchNumber, SegmentId};
use crate::base::checksum::crc32c;
use crate::base::{GroupId, Index};

/// Batches of a log that are lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Where.
    pub segment: SegmentId,
    /// Where in it the damage begins.
    pub offset: u64,
    /// The first batch that is lost.
    pub first: BatchNumber,
    /// The last one.
    pub last: BatchNumber,
    /// The entries in it, if its header could be read: then nothing else is lost.
    pub entries: Option<Vec<(GroupId, Index)>>,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { segment, offset, first, last, .. } = self;
        write!(f, "{segment}, offset {offset}: batches {first} to {last} are damaged; ")?;
        let Some(entries) = &self.entries else {
            return write!(f, "what they held of any group is not known");
        };
        write!(f, "entries lost:")?;
        entries.iter().try_for_each(|(group, index)| write!(f, " {group}/{index}"))
    }
}

/// One damage, as a number, by which a doubt says that it knows of it. 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Loss(pub(super) u64);

impl Loss {
    pub(super) const NONE: Self = Self(0);
}

impl Damage {
    pub(super) fn loss(&self) -> Loss {
        let last = self.last.0 << 1 | u64::from(self.entries.is_some());
        Loss(scramble(scramble(self.first.0) ^ last).max(1))
    }

    /// Whether anything of `group` may be lost by it.
    pub(super) fn concerns(&self, group: GroupId) -> bool {
        let named = self.entries.as_ref();
        named.is_none_or(|entries| entries.iter().any(|&(its, _)| its == group))
    }
}

/// Whether what is at the front of `bytes`, where the batch `number` would follow with this `chain`, is
/// that batch, written to the end and damaged since.
pub(super) fn is_damaged(bytes: &[u8], salt: u64, number: BatchNumber, chain: u32) -> bool {
    match Batch::parse(bytes, salt) {
        Some(batch) => {
            let header = batch.header;
            (header.number, header.chain) == (number, chain) && batch.payload_differs_by_one_byte()
        }
        None => batch::resembles(bytes, salt, number, chain) && is_header_damaged(bytes),
    }
}

fn is_header_damaged(bytes: &[u8]) -> bool {
    let table_end = batch::claimed_table_end(bytes);
    if table_end <= SECTOR {
        return true;
    }
    let right = |bytes: &[u8]| batch::header_is_whole(bytes);
    // The byte that is wrong may be of the number of records: then the table ends elsewhere.
    let miscounted = batch::COUNT_BYTES.into_iter().any(|at| {
        let mut head = bytes.to_vec();
        (0..=u8::MAX).any(|value| {
            head[at] = value;
            right(&head)
        })
    });
    let (checked, crc) = batch::checked_header(bytes);
    miscounted || checked.is_some_and(|checked| differs_by_one_byte(checked, crc))
}

/// Whether `bytes` differ in exactly one byte from some that have this checksum; or the checksum does.
pub(super) fn differs_by_one_byte(bytes: &[u8], expected: u32) -> bool {
    let mut difference = crc32c(bytes) ^ expected;
    if difference == 0 {
        return false;
    }
    if difference.to_le_bytes().iter().filter(|&&byte| byte != 0).count() == 1 {
        return true;
    }
    // The checksum register before the last byte, before the one before that, and so on.
    bytes.iter().any(|_| {
        let byte = TOP_BYTES[(difference >> 24) as usize];
        difference = (difference ^ TABLE[byte as usize]) << 8 | u32::from(byte);
        difference < 256
    })
}

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

/// How one byte changes the register of CRC32C (RFC 3720, B.4: reflected, polynomial 0x1EDC6F41).
const TABLE: [u32; 256] = table();

/// Which byte it was, by the register's highest byte afterwards.
const TOP_BYTES: [u8; 256] = top_bytes();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte: u32 = 0;
    while byte < 256 {
        let mut register = byte;
        let mut bit = 0;
        while bit < 8 {
            let polynomial = if register & 1 == 1 { 0x82F6_3B78 } else { 0 };
            register = register >> 1 ^ polynomial;
            bit += 1;
        }
        table[byte as usize] = register;
        byte += 1;
    }
    table
}

const fn top_bytes() -> [u8; 256] {
    let mut bytes = [0; 256];
    let mut byte: u8 = 0;
    loop {
        bytes[(TABLE[byte as usize] >> 24) as usize] = byte;
        if byte == u8::MAX {
            return bytes;
        }
        byte += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wrong_byte_is_told_from_a_wrong_sector() {
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..200 {
            let mut bytes: Vec<u8> = (0..random.usize(1..9_000)).map(|_| random.u8(..)).collect();
            let crc = crc32c(&bytes);
            let at = random.usize(..bytes.len());
            bytes[at] ^= random.u8(1..);
            assert!(differs_by_one_byte(&bytes, crc), "byte {at} of {}", bytes.len());
            bytes[at..].iter_mut().take(SECTOR).for_each(|byte| *byte = byte.wrapping_add(77));
            assert!(bytes.len() - at < 2 || !differs_by_one_byte(&bytes, crc));
        }
        assert!(!differs_by_one_byte(b"abc", crc32c(b"abc")), "nothing is wrong");
    }
}
