//! Hash slots: the unit of ownership and movement, computed as Redis Cluster does.
//!
//! Source: Redis Cluster specification, "Key distribution model" and "Hash tags".

use std::fmt;

use serde::{Deserialize, Serialize};

/// How many slots there are.
pub const SLOT_COUNT: u16 = 16_384;

/// A hash slot, `0..SLOT_COUNT`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Slot(u16);

impl Slot {
    /// The slot numbered `number`, if there is one.
    #[must_use]
    pub const fn new(number: u16) -> Option<Self> {
        if number < SLOT_COUNT { Some(Self(number)) } else { None }
    }

    /// All slots, ascending.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..SLOT_COUNT).map(Self)
    }

    /// The slot of `key`: CRC16 of the key, or of its first non-empty `{tag}`, modulo 16384.
    pub fn of_key(key: &[u8]) -> Self {
        Self(crc16(hashed_part(key)) % SLOT_COUNT)
    }

    /// The slot's number.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }

    /// The slot's number as a position in a table of `SLOT_COUNT` slots.
    #[must_use]
    pub const fn position(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What lies between the first `{` and the next `}`, if that is not empty; else the whole key.
#[inline]
fn hashed_part(key: &[u8]) -> &[u8] {
    // Without an early exit this is a few vector instructions, and hardly any key has a tag.
    let opens = key.iter().fold(0, |opens, &byte| opens | u8::from(byte == b'{'));
    if opens == 0 { key } else { tag(key) }
}

fn tag(key: &[u8]) -> &[u8] {
    let Some(open) = key.iter().position(|&byte| byte == b'{') else { return key };
    let tail = &key[open + 1..];
    match tail.iter().position(|&byte| byte == b'}') {
        Some(length) if length > 0 => &tail[..length],
        _ => key,
    }
}

/// CRC16-CCITT (XMODEM), polynomial 0x1021, eight bytes a step.
///
/// Source: M. Kounavis, F. Berry, "A Systematic Approach to Building High Performance
/// Software-Based CRC Generators" (slicing).
#[inline]
fn crc16(bytes: &[u8]) -> u16 {
    let (words, tail) = bytes.as_chunks();
    let crc = words.iter().copied().fold(0, crc16_word);
    tail.iter().fold(crc, |crc, &byte| crc << 8 ^ after(0, byte ^ crc.to_be_bytes()[0]))
}

/// The checksum of what `crc` covers followed by eight bytes.
#[inline]
fn crc16_word(crc: u16, mut word: [u8; 8]) -> u16 {
    let [high, low] = crc.to_be_bytes();
    word[0] ^= high;
    word[1] ^= low;
    (0..8).fold(0, |crc, at| crc ^ after(7 - at, word[at]))
}

/// The checksum of `byte` followed by `zeros` zero bytes.
#[inline]
fn after(zeros: usize, byte: u8) -> u16 {
    CRC16_TABLES[zeros][usize::from(byte)]
}

static CRC16_TABLES: [[u16; 256]; 8] = crc16_tables();

const fn crc16_tables() -> [[u16; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte << 8;
        let mut zeros = 0;
        while zeros < 8 {
            crc = crc16_shift(crc);
            tables[zeros][byte as usize] = crc;
            zeros += 1;
        }
        byte += 1;
    }
    tables
}

/// Shifts eight zero bits into the checksum.
const fn crc16_shift(mut crc: u16) -> u16 {
    let mut bit = 0;
    while bit < 8 {
        crc = if crc & 0x8000 != 0 { (crc << 1) ^ 0x1021 } else { crc << 1 };
        bit += 1;
    }
    crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc16_matches_the_specification() {
        // Redis Cluster specification, appendix A.
        assert_eq!(crc16(b"123456789"), 0x31C3);
    }

    #[test]
    fn crc16_by_words_equals_crc16_by_bits() {
        let mut rng = fastrand::Rng::with_seed(1);
        for length in 0..40 {
            let bytes: Vec<u8> = (0..length).map(|_| rng.u8(..)).collect();
            let by_bits =
                bytes.iter().fold(0, |crc, &byte| crc16_shift(crc ^ u16::from(byte) << 8));
            assert_eq!(crc16(&bytes), by_bits, "{bytes:?}");
        }
    }

    #[test]
    fn slots_match_redis() {
        // What `CLUSTER KEYSLOT` answers.
        assert_eq!(Slot::of_key(b"foo").number(), 12_182);
        assert_eq!(Slot::of_key(b"somekey").number(), 11_058);
        assert_eq!(Slot::of_key(b"").number(), 0);
    }

    #[test]
    fn a_tag_decides_alone_unless_it_is_empty() {
        let of = |key: &str| Slot::of_key(key.as_bytes());
        assert_eq!(of("{user1000}.following"), of("{user1000}.followers"));
        assert_eq!(of("foo{{bar}}zap"), of("{bar"));
        assert_eq!(of("foo{bar}{zap}"), of("bar"));
        assert_ne!(of("foo{}{bar}"), of("bar"));
        assert_eq!(of("open{only"), Slot(crc16(b"open{only") % SLOT_COUNT));
    }
}
