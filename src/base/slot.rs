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
fn hashed_part(key: &[u8]) -> &[u8] {
    let Some(open) = key.iter().position(|&byte| byte == b'{') else { return key };
    let tail = &key[open + 1..];
    match tail.iter().position(|&byte| byte == b'}') {
        Some(length) if length > 0 => &tail[..length],
        _ => key,
    }
}

/// CRC16-CCITT (XMODEM), polynomial 0x1021.
fn crc16(bytes: &[u8]) -> u16 {
    bytes
        .iter()
        .fold(0, |crc, &byte| (crc << 8) ^ CRC16_TABLE[usize::from((crc >> 8) as u8 ^ byte)])
}

static CRC16_TABLE: [u16; 256] = crc16_table();

const fn crc16_table() -> [u16; 256] {
    let mut table = [0; 256];
    let mut byte: u16 = 0;
    while byte < 256 {
        let mut crc = byte << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 != 0 { (crc << 1) ^ 0x1021 } else { crc << 1 };
            bit += 1;
        }
        table[byte as usize] = crc;
        byte += 1;
    }
    table
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
