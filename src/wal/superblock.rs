//! The superblock: which node's data directory this is.
//!
//! Two slots of one block each, written in turn: an unfinished write damages one at most. Each names
//! its own slot, so that a misdirected write is not taken for the other slot's.
//!
//! One damaged slot is what an interrupted change leaves behind, and the other one counts. Two damaged
//! slots mean a lost node, never a new one.

use super::field::{put, u16_at, u32_at, u64_at};
use super::{BLOCK, Identity, LogConfig};
use crate::base::checksum::crc32c;
use crate::base::{ClusterId, CoreId, Incarnation, NodeId};

/// What a data directory says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// Grows by one with each write; the slot with the higher one counts.
    pub sequence: u64,
    /// The cluster.
    pub cluster: ClusterId,
    /// The node.
    pub node: NodeId,
    /// This formatting of the node's data directory.
    pub incarnation: Incarnation,
    /// Cores that the directory holds logs of.
    pub smp: u16,
    /// Groups of the cluster at its first start; 0 if the node joined later.
    pub groups: u32,
    /// Bytes of each log segment.
    pub segment_bytes: u64,
    /// Which layout of the cores' directories counts: one more with each change of `smp` or
    /// `segment_bytes`.
    pub layout: u32,
    /// Where the salts of this layout's logs come from; random.
    pub log_seed: u64,
}

/// Why a superblock cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SuperblockError {
    /// Nothing was ever written here: the formatting of the directory did not get this far.
    #[error("the superblock is blank: the data directory was never formatted to the end")]
    Blank,
    /// Neither slot can be read.
    #[error(
        "both slots of the superblock are damaged: this node's data is lost, and it must join the \
         cluster as a new node"
    )]
    Lost,
    /// Written by a version this one does not know.
    #[error("the data directory has format version {found}, this sunstar reads {expected}")]
    Version {
        /// What it says.
        found: u32,
        /// What is known here.
        expected: u32,
    },
    /// The slots tell of two data directories, or of two states under one sequence number.
    #[error("the slots of the superblock contradict each other")]
    Contradiction,
}

/// A slot of a superblock, looked at by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotView {
    /// Nothing was ever written there.
    Blank,
    /// What is there is not what was written, or belongs into the other slot.
    Damaged,
    /// What is there cannot be read by this version.
    Refused(SuperblockError),
    /// What was written.
    Whole(Superblock),
}

impl Superblock {
    /// The block to write into `slot`, 0 or 1: the one that does not hold the newest sequence.
    ///
    /// # Panics
    /// If there is no such slot.
    pub fn encode(&self, slot: u8) -> Vec<u8> {
        assert!(usize::from(slot) < SLOTS, "no slot {slot}");
        let mut bytes = vec![0; BLOCK];
        put(&mut bytes, AT_MAGIC, MAGIC);
        put(&mut bytes, AT_VERSION, &VERSION.to_le_bytes());
        put(&mut bytes, AT_SEQUENCE, &self.sequence.to_le_bytes());
        put(&mut bytes, AT_CLUSTER, &self.cluster.0.to_le_bytes());
        put(&mut bytes, AT_NODE, &self.node.0.to_le_bytes());
        put(&mut bytes, AT_INCARNATION, &self.incarnation.0.to_le_bytes());
        put(&mut bytes, AT_SEGMENT_BYTES, &self.segment_bytes.to_le_bytes());
        put(&mut bytes, AT_GROUPS, &self.groups.to_le_bytes());
        put(&mut bytes, AT_SMP, &self.smp.to_le_bytes());
        put(&mut bytes, AT_LAYOUT, &self.layout.to_le_bytes());
        put(&mut bytes, AT_LOG_SEED, &self.log_seed.to_le_bytes());
        bytes[AT_SLOT] = slot;
        let crc = crc32c(&bytes[CHECKED_FROM..]);
        put(&mut bytes, AT_CRC, &crc.to_le_bytes());
        bytes
    }

    /// The log of one of its cores.
    pub fn log_config(&self, core: CoreId) -> LogConfig {
        let Self { cluster, node, incarnation, segment_bytes, log_seed, .. } = *self;
        let identity = Identity { cluster, node, incarnation, core };
        LogConfig { identity, segment_bytes, seed: log_seed }
    }

    /// Reads both slots (each as found; short or empty counts as damaged). Returns the newest
    /// superblock and the slot it is in.
    ///
    /// # Errors
    /// If neither slot is readable, one is of an unknown version, or they contradict each other.
    pub fn decode(slots: [&[u8]; SLOTS]) -> Result<(Self, u8), SuperblockError> {
        if slots.iter().all(|slot| slot.iter().all(|&byte| byte == 0)) {
            return Err(SuperblockError::Blank);
        }
        match (Self::decode_slot(slots[0], 0)?, Self::decode_slot(slots[1], 1)?) {
            (Some(first), Some(second)) => first.newer(second),
            (Some(first), None) => Ok((first, 0)),
            (None, Some(second)) => Ok((second, 1)),
            (None, None) => Err(SuperblockError::Lost),
        }
    }

    /// Looks at one slot by itself.
    ///
    /// # Panics
    /// If there is no such slot.
    pub fn look_at(bytes: &[u8], slot: u8) -> SlotView {
        assert!(usize::from(slot) < SLOTS, "no slot {slot}");
        if bytes.iter().all(|&byte| byte == 0) {
            return SlotView::Blank;
        }
        match Self::decode_slot(bytes, slot) {
            Ok(Some(superblock)) => SlotView::Whole(superblock),
            Ok(None) => SlotView::Damaged,
            Err(error) => SlotView::Refused(error),
        }
    }

    /// Reads one slot; nothing if it is damaged.
    fn decode_slot(bytes: &[u8], slot: u8) -> Result<Option<Self>, SuperblockError> {
        let whole = bytes.len() == BLOCK
            && bytes.starts_with(MAGIC)
            && crc32c(&bytes[CHECKED_FROM..]) == u32_at(bytes, AT_CRC);
        if !whole || bytes[AT_SLOT] != slot {
            return Ok(None);
        }
        let (found, expected) = (u32_at(bytes, AT_VERSION), VERSION);
        if found != expected {
            return Err(SuperblockError::Version { found, expected });
        }
        Ok(Some(Self {
            sequence: u64_at(bytes, AT_SEQUENCE),
            cluster: ClusterId(u64_at(bytes, AT_CLUSTER)),
            node: NodeId(u64_at(bytes, AT_NODE)),
            incarnation: Incarnation(u64_at(bytes, AT_INCARNATION)),
            segment_bytes: u64_at(bytes, AT_SEGMENT_BYTES),
            groups: u32_at(bytes, AT_GROUPS),
            smp: u16_at(bytes, AT_SMP),
            layout: u32_at(bytes, AT_LAYOUT),
            log_seed: u64_at(bytes, AT_LOG_SEED),
        }))
    }

    /// The newer of what slots 0 and 1 say, and its slot.
    fn newer(self, second: Self) -> Result<(Self, u8), SuperblockError> {
        let identity = |block: &Self| (block.cluster, block.node, block.incarnation);
        if identity(&self) != identity(&second)
            || (self.sequence == second.sequence && self != second)
        {
            return Err(SuperblockError::Contradiction);
        }
        Ok(if self.sequence >= second.sequence { (self, 0) } else { (second, 1) })
    }
}

const SLOTS: usize = 2;
const MAGIC: &[u8; 8] = b"SUNSTSUP";
const VERSION: u32 = 1;

const AT_MAGIC: usize = 0;
const AT_CRC: usize = 8;
/// The checksum covers everything after itself, to the end of the block.
const CHECKED_FROM: usize = 12;
const AT_VERSION: usize = 12;
const AT_SEQUENCE: usize = 16;
const AT_CLUSTER: usize = 24;
const AT_NODE: usize = 32;
const AT_INCARNATION: usize = 40;
const AT_SEGMENT_BYTES: usize = 48;
const AT_GROUPS: usize = 56;
const AT_SMP: usize = 60;
const AT_SLOT: usize = 62;
const AT_LAYOUT: usize = 64;
const AT_LOG_SEED: usize = 72;

#[cfg(test)]
mod tests {
    use super::*;

    fn superblock(sequence: u64) -> Superblock {
        Superblock {
            sequence,
            cluster: ClusterId(7),
            node: NodeId(2),
            incarnation: Incarnation(3),
            smp: 4,
            groups: 12,
            segment_bytes: 64 << 20,
            layout: 5,
            log_seed: 0xA1B2_C3D4_E5F6_0718,
        }
    }

    #[test]
    fn the_newer_slot_counts() {
        let (old, new) = (superblock(8), superblock(9));
        assert_eq!(Superblock::decode([&old.encode(0), &new.encode(1)]), Ok((new, 1)));
        assert_eq!(Superblock::decode([&new.encode(0), &old.encode(1)]), Ok((new, 0)));
    }

    #[test]
    fn a_lost_slot_leaves_the_other() {
        let (old, new) = (superblock(8), superblock(9));
        let mut torn = new.encode(1);
        torn[AT_SEQUENCE] ^= 1;
        assert_eq!(Superblock::decode([&old.encode(0), &torn]), Ok((old, 0)));
        assert_eq!(Superblock::decode([&[], &new.encode(1)]), Ok((new, 1)));
        assert_eq!(Superblock::decode([&[], &torn]), Err(SuperblockError::Lost));
        assert_eq!(Superblock::decode([&[0; 4096], &[]]), Err(SuperblockError::Blank));
    }

    #[test]
    fn a_flipped_bit_anywhere_loses_the_slot() {
        let good = superblock(1).encode(0);
        for position in 0..good.len() {
            let mut bad = good.clone();
            bad[position] ^= 0x10;
            assert_eq!(Superblock::decode([&bad, &[]]), Err(SuperblockError::Lost), "{position}");
        }
    }

    #[test]
    fn a_slot_in_the_wrong_place_is_lost() {
        let block = superblock(1).encode(0);
        assert_eq!(Superblock::decode([&[], &block]), Err(SuperblockError::Lost));
    }

    #[test]
    fn contradicting_slots_are_refused() {
        let other = Superblock { node: NodeId(9), ..superblock(2) };
        let slots = [&superblock(1).encode(0)[..], &other.encode(1)];
        assert_eq!(Superblock::decode(slots), Err(SuperblockError::Contradiction));
        let other = Superblock { smp: 5, ..superblock(1) };
        let slots = [&superblock(1).encode(0)[..], &other.encode(1)];
        assert_eq!(Superblock::decode(slots), Err(SuperblockError::Contradiction));
    }

    #[test]
    fn an_unknown_version_is_refused_by_name() {
        let mut block = superblock(1).encode(0);
        block[AT_VERSION] = 2;
        let crc = crc32c(&block[CHECKED_FROM..]);
        put(&mut block, AT_CRC, &crc.to_le_bytes());
        let refused = Superblock::decode([&block, &[]]);
        assert_eq!(refused, Err(SuperblockError::Version { found: 2, expected: 1 }));
    }
}
