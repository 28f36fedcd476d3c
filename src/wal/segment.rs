//! A segment's header: whose it is, its place in the order, and the salt of the batches in it.
//!
//! It lies within one 512-byte sector, so that an unfinished write leaves the old one or the new one.

use super::field::{put, u16_at, u32_at, u64_at};
use super::{BLOCK, BatchNumber, Identity, LogError, SegmentId};
use crate::base::checksum::crc32c;
use crate::base::{ClusterId, CoreId, Incarnation, NodeId};

/// What a segment's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    /// Whose log.
    pub(super) identity: Identity,
    /// Its place among the segments of the log's life; never used twice.
    pub(super) order: u64,
    /// What its batches must carry.
    pub(super) salt: u64,
    /// The number of its preamble.
    pub(super) first_batch: BatchNumber,
    /// Which life of the process began it.
    pub(super) run: u32,
    /// When it was begun, all batches up to this one were durable.
    pub(super) durable_upto: BatchNumber,
}

impl SegmentHeader {
    /// Appends the header's block to `out`.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let mut bytes = [0; SECTOR];
        put(&mut bytes, AT_MAGIC, MAGIC);
        put(&mut bytes, AT_VERSION, &VERSION.to_le_bytes());
        put(&mut bytes, AT_CLUSTER, &self.identity.cluster.0.to_le_bytes());
        put(&mut bytes, AT_NODE, &self.identity.node.0.to_le_bytes());
        put(&mut bytes, AT_INCARNATION, &self.identity.incarnation.0.to_le_bytes());
        put(&mut bytes, AT_CORE, &self.identity.core.0.to_le_bytes());
        put(&mut bytes, AT_RUN, &self.run.to_le_bytes());
        put(&mut bytes, AT_ORDER, &self.order.to_le_bytes());
        put(&mut bytes, AT_SALT, &self.salt.to_le_bytes());
        put(&mut bytes, AT_FIRST_BATCH, &self.first_batch.0.to_le_bytes());
        put(&mut bytes, AT_DURABLE_UPTO, &self.durable_upto.0.to_le_bytes());
        let crc = crc32c(&bytes[CHECKED_FROM..]);
        put(&mut bytes, AT_CRC, &crc.to_le_bytes());
        out.extend_from_slice(&bytes);
        out.resize(out.len() + BLOCK - SECTOR, 0);
    }

    /// Reads the header in a segment's first block; nothing if that is blank.
    ///
    /// # Errors
    /// If it is damaged, of an unknown version, or of a log other than `identity`'s.
    pub(super) fn decode(
        segment: SegmentId,
        block: &[u8],
        identity: &Identity,
    ) -> Result<Option<Self>, LogError> {
        let header = Self::decode_any(segment, block)?;
        if let Some(header) = &header {
            header.check_identity(segment, identity)?;
        }
        Ok(header)
    }

    /// The same, whosever log it is.
    ///
    /// # Errors
    /// If it is damaged or of an unknown version.
    pub(super) fn decode_any(segment: SegmentId, block: &[u8]) -> Result<Option<Self>, LogError> {
        let bytes = block.get(..SECTOR).ok_or(LogError::DamagedHeader { segment })?;
        if bytes.iter().all(|&byte| byte == 0) {
            return Ok(None);
        }
        let version = u32_at(bytes, AT_VERSION);
        let whole = crc32c(&bytes[CHECKED_FROM..]) == u32_at(bytes, AT_CRC);
        if !bytes.starts_with(MAGIC) || (version == VERSION && !whole) {
            return Err(LogError::DamagedHeader { segment });
        }
        if version != VERSION {
            return Err(LogError::Version { segment, found: version, expected: VERSION });
        }
        Ok(Some(Self::read(bytes)))
    }

    fn read(bytes: &[u8]) -> Self {
        Self {
            identity: Identity {
                cluster: ClusterId(u64_at(bytes, AT_CLUSTER)),
                node: NodeId(u64_at(bytes, AT_NODE)),
                incarnation: Incarnation(u64_at(bytes, AT_INCARNATION)),
                core: CoreId(u16_at(bytes, AT_CORE)),
            },
            order: u64_at(bytes, AT_ORDER),
            salt: u64_at(bytes, AT_SALT),
            first_batch: BatchNumber(u64_at(bytes, AT_FIRST_BATCH)),
            run: u32_at(bytes, AT_RUN),
            durable_upto: BatchNumber(u64_at(bytes, AT_DURABLE_UPTO)),
        }
    }

    fn check_identity(&self, segment: SegmentId, expected: &Identity) -> Result<(), LogError> {
        let found = &self.identity;
        let parts = [
            ("cluster", found.cluster.0, expected.cluster.0),
            ("node", found.node.0, expected.node.0),
            ("incarnation", found.incarnation.0, expected.incarnation.0),
            ("core", u64::from(found.core.0), u64::from(expected.core.0)),
        ];
        match parts.into_iter().find(|(_, found, expected)| found != expected) {
            Some((what, found, expected)) => {
                Err(LogError::Stranger { segment, what, found, expected })
            }
            None => Ok(()),
        }
    }
}

/// The salt of the segment of this order, begun in this life of the process.
///
/// Two segments of one log have different salts because no order is used twice within one run; the
/// seed keeps the salts of two logs apart, so that a block of one is no batch in the other.
pub(super) fn salt(seed: u64, order: u64, run: u32) -> u64 {
    scramble(scramble(seed ^ scramble(order)) ^ u64::from(run))
}

/// The order of the segment that was given this salt; nothing if none was. Whoever does not know the
/// seed guesses a salt once in 2^32 attempts.
pub(super) fn order_of(seed: u64, salt: u64, run: u32) -> Option<u64> {
    let order = unscramble(unscramble(unscramble(salt) ^ u64::from(run)) ^ seed);
    (order < ORDERS_MAX).then_some(order)
}

/// No log ever has that many segments.
const ORDERS_MAX: u64 = 1 << 32;

/// The finisher of splitmix64: a bijection that spreads each bit over the whole word.
pub(super) fn scramble(value: u64) -> u64 {
    let value = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

/// What `scramble` makes `value` of: its steps backwards, the factors being inverses modulo 2^64.
fn unscramble(value: u64) -> u64 {
    let value = (value ^ (value >> 31) ^ (value >> 62)).wrapping_mul(0x3196_42B2_D24D_8EC3);
    let value = (value ^ (value >> 27) ^ (value >> 54)).wrapping_mul(0x96DE_1B17_3F11_9089);
    let value = value ^ (value >> 30) ^ (value >> 60);
    value.wrapping_sub(0x9E37_79B9_7F4A_7C15)
}

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

const MAGIC: &[u8; 8] = b"SUNSTLOG";
const VERSION: u32 = 1;

const AT_MAGIC: usize = 0;
const AT_VERSION: usize = 8;
const AT_CRC: usize = 12;
/// The checksum covers the rest of the sector.
const CHECKED_FROM: usize = 16;
const AT_CLUSTER: usize = 16;
const AT_NODE: usize = 24;
const AT_INCARNATION: usize = 32;
const AT_CORE: usize = 40;
const AT_RUN: usize = 44;
const AT_ORDER: usize = 48;
const AT_SALT: usize = 56;
const AT_FIRST_BATCH: usize = 64;
const AT_DURABLE_UPTO: usize = 72;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_salt_names_the_order_to_who_knows_the_seed() {
        for order in [0, 1, 77, ORDERS_MAX - 1] {
            let salt = salt(0x5EED, order, 3);
            assert_eq!(order_of(0x5EED, salt, 3), Some(order));
            assert_eq!(order_of(0x5EED, salt, 4), None);
            assert_eq!(order_of(0x5EEE, salt, 3), None);
        }
    }
}
