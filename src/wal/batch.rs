//! A batch: header, descriptor table, payload section, zeros to the end of the block.
//!
//! Header and payload have checksums of their own, so that a damaged payload still names its entries.

use super::damage::differs_by_one_byte;
use super::field::{put, u32_at, u64_at};
use super::record::{DESCRIPTOR_BYTES, Descriptor, GroupRecord};
use super::{BLOCK, BatchNumber};
use crate::base::Index;
use crate::base::checksum::crc32c;
use crate::base::{GroupId, Mistake, makes};

/// What a batch's header says beside its sizes and checksums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct BatchHeader {
    /// The salt of the segment it was written into.
    pub(super) salt: u64,
    /// Its own number.
    pub(super) number: BatchNumber,
    /// When it was made, all batches up to this one were durable.
    pub(super) durable_upto: BatchNumber,
    /// When it was made, this was the first batch of the oldest segment still wanted.
    pub(super) start: BatchNumber,
    /// Which life of the process wrote it; never decreases along a log.
    pub(super) run: u32,
    /// The header checksum of the batch before it.
    pub(super) chain: u32,
}

/// Bytes that `records` take as one batch, padding included.
pub(super) fn length(records: &[GroupRecord]) -> usize {
    let bytes = HEADER_BYTES + records.iter().map(GroupRecord::length).sum::<usize>();
    bytes.next_multiple_of(BLOCK)
}

/// Appends `records` as one batch to `out`, and returns the header's checksum: the next one's chain.
///
/// `out`: whole blocks, with room reserved for the batch.
pub(super) fn encode(out: &mut Vec<u8>, header: &BatchHeader, records: &[GroupRecord]) -> u32 {
    assert!(out.len().is_multiple_of(BLOCK), "a batch begins a block, not at {}", out.len());
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    for record in records {
        out.extend_from_slice(&record.descriptor());
    }
    let table_end = out.len();
    for record in records {
        out.extend_from_slice(record.payload());
    }
    let payload_crc = crc32c(&out[table_end..]);
    let payload_bytes = u32::try_from(out.len() - table_end).expect("a batch fits a segment");
    let count = u32::try_from(records.len()).expect("a batch fits a segment");
    out.resize(out.len().next_multiple_of(BLOCK), 0);

    let bytes = &mut out[start..table_end];
    put(bytes, AT_MAGIC, &MAGIC.to_le_bytes());
    put(bytes, AT_SALT, &header.salt.to_le_bytes());
    put(bytes, AT_NUMBER, &header.number.0.to_le_bytes());
    put(bytes, AT_DURABLE_UPTO, &header.durable_upto.0.to_le_bytes());
    put(bytes, AT_START, &header.start.0.to_le_bytes());
    put(bytes, AT_RUN, &header.run.to_le_bytes());
    put(bytes, AT_CHAIN, &header.chain.to_le_bytes());
    put(bytes, AT_RECORDS, &count.to_le_bytes());
    put(bytes, AT_PAYLOAD_BYTES, &payload_bytes.to_le_bytes());
    put(bytes, AT_PAYLOAD_CRC, &payload_crc.to_le_bytes());
    let crc = crc32c(&bytes[CHECKED_FROM..]);
    put(bytes, AT_CRC, &crc.to_le_bytes());
    crc
}

/// A batch whose header and descriptor table are whole; its payload may not be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Batch<'a> {
    pub(super) header: BatchHeader,
    /// The header's checksum: what the next batch carries as its chain.
    pub(super) crc: u32,
    table: &'a [u8],
    payload: &'a [u8],
    payload_crc: u32,
}

impl<'a> Batch<'a> {
    /// Reads the batch at the front of `bytes`, or nothing if there is none of this `salt`.
    pub(super) fn parse(bytes: &'a [u8], salt: u64) -> Option<Self> {
        if bytes.len() < HEADER_BYTES
            || u32_at(bytes, AT_MAGIC) != MAGIC
            || u64_at(bytes, AT_SALT) != salt && !makes(Mistake::SaltUnchecked)
        {
            return None;
        }
        let count = u32_at(bytes, AT_RECORDS) as usize;
        let table_end = HEADER_BYTES.checked_add(count.checked_mul(DESCRIPTOR_BYTES)?)?;
        let payload_end = table_end.checked_add(u32_at(bytes, AT_PAYLOAD_BYTES) as usize)?;
        let checked = bytes.get(CHECKED_FROM..table_end)?;
        let payload = bytes.get(table_end..payload_end)?;
        let crc = u32_at(bytes, AT_CRC);
        let whole = crc32c(checked) == crc || makes(Mistake::HeaderUnchecked);
        whole.then(|| Self {
            header: BatchHeader {
                salt,
                number: BatchNumber(u64_at(bytes, AT_NUMBER)),
                durable_upto: BatchNumber(u64_at(bytes, AT_DURABLE_UPTO)),
                start: BatchNumber(u64_at(bytes, AT_START)),
                run: u32_at(bytes, AT_RUN),
                chain: u32_at(bytes, AT_CHAIN),
            },
            crc,
            table: &bytes[HEADER_BYTES..table_end],
            payload,
            payload_crc: u32_at(bytes, AT_PAYLOAD_CRC),
        })
    }

    /// Whether the payload section is what was written.
    pub(super) fn payload_is_whole(&self) -> bool {
        crc32c(self.payload) == self.payload_crc || makes(Mistake::PayloadUnchecked)
    }

    /// Whether it would be, but for one byte.
    pub(super) fn payload_differs_by_one_byte(&self) -> bool {
        differs_by_one_byte(self.payload, self.payload_crc)
    }

    /// Whether it only carries numbers.
    pub(super) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Bytes on disk, padding included.
    pub(super) fn extent(&self) -> usize {
        (HEADER_BYTES + self.table.len() + self.payload.len()).next_multiple_of(BLOCK)
    }

    /// The entries in it, by name; needs no whole payload.
    pub(super) fn entries(&self) -> Vec<(GroupId, Index)> {
        self.descriptors().filter_map(|d| Some((d.group(), d.entry_index()?))).collect()
    }

    /// Its records in order; `Err` tells what about them makes no sense.
    pub(super) fn records(&self) -> impl Iterator<Item = Result<GroupRecord, &'static str>> {
        let mut rest = self.payload;
        self.descriptors().map(move |descriptor| {
            let (payload, tail) = rest
                .split_at_checked(descriptor.payload_length())
                .ok_or("a record reaches past the payload section")?;
            rest = tail;
            descriptor.record(payload).ok_or("a record of unknown kind")
        })
    }

    /// The records of one group in order, as `records` gives those of all.
    pub(super) fn records_of(
        &self,
        group: GroupId,
    ) -> impl Iterator<Item = Result<GroupRecord, &'static str>> {
        let mut at = 0;
        let placed = self.descriptors().map(move |descriptor| {
            let start: usize = at;
            at = start.saturating_add(descriptor.payload_length());
            (descriptor, start..at)
        });
        let ours = placed.filter(move |(descriptor, _)| descriptor.group() == group);
        ours.map(|(descriptor, range)| {
            let payload = self.payload.get(range);
            let payload = payload.ok_or("a record reaches past the payload section")?;
            descriptor.record(payload).ok_or("a record of unknown kind")
        })
    }

    /// The lines of its descriptor table, in order; needs no whole payload.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = Descriptor<'a>> + use<'a> {
        self.table.chunks_exact(DESCRIPTOR_BYTES).map(Descriptor)
    }
}

/// The salt and run of a batch at the front of `bytes`, if there may be one.
pub(super) fn claimed_salt(bytes: &[u8]) -> Option<(u64, u32)> {
    let begins = bytes.len() >= HEADER_BYTES && u32_at(bytes, AT_MAGIC) == MAGIC;
    begins.then(|| (u64_at(bytes, AT_SALT), u32_at(bytes, AT_RUN)))
}

/// Whether what is at the front of `bytes` was meant to be this batch: most of what tells it is there.
pub(super) fn resembles(bytes: &[u8], salt: u64, number: BatchNumber, chain: u32) -> bool {
    if bytes.len() < HEADER_BYTES {
        return false;
    }
    let marks = [
        u32_at(bytes, AT_MAGIC) == MAGIC,
        u64_at(bytes, AT_SALT) == salt,
        u64_at(bytes, AT_NUMBER) == number.0,
        u32_at(bytes, AT_CHAIN) == chain,
    ];
    marks.into_iter().filter(|&mark| mark).count() >= 3
}

/// Where the table of the header at the front of `bytes` ends, as it says itself.
pub(super) fn claimed_table_end(bytes: &[u8]) -> usize {
    let count = u32_at(bytes, AT_RECORDS) as usize;
    HEADER_BYTES.saturating_add(count.saturating_mul(DESCRIPTOR_BYTES))
}

/// What the header's checksum covers, if that is there, and the checksum.
pub(super) fn checked_header(bytes: &[u8]) -> (Option<&[u8]>, u32) {
    (bytes.get(CHECKED_FROM..claimed_table_end(bytes)), u32_at(bytes, AT_CRC))
}

/// Whether header and table have the checksum that the header says.
pub(super) fn header_is_whole(bytes: &[u8]) -> bool {
    let (checked, crc) = checked_header(bytes);
    checked.is_some_and(|checked| crc32c(checked) == crc)
}

/// Bytes of the header without its descriptor table.
pub(super) const HEADER_BYTES: usize = 64;

/// "SBAT" in the order of the bytes.
const MAGIC: u32 = 0x5441_4253;

const AT_MAGIC: usize = 0;
const AT_CRC: usize = 4;
/// The checksum covers everything after itself.
const CHECKED_FROM: usize = 8;
const AT_SALT: usize = 8;
const AT_NUMBER: usize = 16;
const AT_DURABLE_UPTO: usize = 24;
const AT_START: usize = 32;
const AT_RUN: usize = 40;
const AT_CHAIN: usize = 44;
const AT_RECORDS: usize = 48;
/// The bytes of that field.
pub(super) const COUNT_BYTES: std::ops::Range<usize> = AT_RECORDS..AT_RECORDS + 4;
const AT_PAYLOAD_BYTES: usize = 52;
const AT_PAYLOAD_CRC: usize = 56;
