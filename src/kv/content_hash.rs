//! A 64-bit hash of content, defined here so that it is the same on every machine and in every
//! version: replicas are compared by it, also while a cluster is being upgraded.
//!
//! Not for use against an adversary. Each word is multiplied into the state and the two halves of the
//! 128-bit product are folded together, as in wyhash and foldhash.

const LENGTH: u64 = 0x9e37_79b9_7f4a_7c15;
const WORD: u64 = 0xd6e8_feb8_6659_fd93;
const FINISH: u64 = 0xa076_1d64_78bd_642f;
/// From one word's place to the next.
const PLACE: u64 = 0x9e37_79b9_7f4a_7c15;

/// The hash of `bytes` after `seed`.
#[inline]
pub(super) fn of_bytes(seed: u64, bytes: &[u8]) -> u64 {
    let mut state = fold(seed ^ LENGTH, bytes.len() as u64 ^ WORD);
    let (words, tail) = bytes.as_chunks();
    for &word in words {
        state = fold(state ^ u64::from_le_bytes(word), WORD);
    }
    if !tail.is_empty() {
        let mut last = [0; 8];
        last[..tail.len()].copy_from_slice(tail);
        state = fold(state ^ u64::from_le_bytes(last), WORD);
    }
    fold(state ^ FINISH, LENGTH)
}

/// The hash of `words` after `seed`.
#[inline]
pub(super) fn of_words(seed: u64, words: &[u64]) -> u64 {
    let state = words.iter().fold(seed ^ LENGTH, |state, &word| fold(state ^ word, WORD));
    fold(state ^ FINISH, LENGTH)
}

/// The hash of `value` under a key of hash `key`: a sum over its words and its length.
///
/// Each word counts by its place alone, so that the sums run side by side in the processor, and an
/// append needs [`of_value_end`] only.
#[inline]
pub(super) fn of_value(key: u64, value: &[u8]) -> u64 {
    of_value_end(key, value, 0)
}

/// What of [`of_value`] depends on the bytes at and behind `position`: an append changes nothing else.
#[inline]
pub(super) fn of_value_end(key: u64, value: &[u8], position: usize) -> u64 {
    let first = position / 8;
    let (words, tail) = value[first * 8..].as_chunks();
    let mut place = key.wrapping_add((first as u64).wrapping_mul(PLACE));
    let mut sum = fold(key ^ FINISH, value.len() as u64 ^ LENGTH);
    for &word in words {
        sum = sum.wrapping_add(fold(place ^ u64::from_le_bytes(word), WORD));
        place = place.wrapping_add(PLACE);
    }
    if !tail.is_empty() {
        let mut last = [0; 8];
        last[..tail.len()].copy_from_slice(tail);
        sum = sum.wrapping_add(fold(place ^ u64::from_le_bytes(last), WORD));
    }
    sum
}

#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let (low, high) = a.carrying_mul(b, 0);
    low ^ high
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_fixed_for_ever() {
        let text = b"sunstar, a sea star";
        let of_first = |length: usize| of_bytes(1, &text[..length]);
        assert_eq!(of_first(1), 9_512_985_204_167_281_278);
        assert_eq!(of_first(7), 4_047_727_596_222_003_601);
        assert_eq!(of_first(13), 17_130_155_142_815_021_202);
        assert_eq!(of_first(19), 3_560_663_780_393_249_036);
        assert_eq!(of_words(1, &[2, 3]), 10_763_595_839_679_664_797);
        assert_eq!(of_value(1, text), 10_008_202_055_879_059_329);
    }

    #[test]
    fn an_append_changes_the_end_alone() {
        let text = b"sunstar, a sea star, many-armed";
        for old in 0..text.len() {
            for new in old..text.len() {
                let (before, after) = (&text[..old], &text[..new]);
                let start = of_value(7, before).wrapping_sub(of_value_end(7, before, old));
                let whole = start.wrapping_add(of_value_end(7, after, old));
                assert_eq!(whole, of_value(7, after), "{old} to {new}");
            }
        }
    }

    #[test]
    fn every_bit_of_a_value_its_key_and_its_length_matter() {
        let bytes = [0; 19];
        let mut seen = std::collections::BTreeSet::new();
        for length in 0..=19 {
            assert!(seen.insert(of_value(5, &bytes[..length])), "length {length}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(seen.insert(of_value(5, &flipped)), "bit {bit}");
        }
        assert!(seen.insert(of_value(6, &bytes)), "another key");
        let (ab, ba) = (b"word onetwo word", b"two wordword one");
        assert_ne!(of_value(5, ab), of_value(5, ba), "words have their places");
    }

    #[test]
    fn every_bit_and_the_length_matter() {
        let bytes = [0; 19];
        let mut seen = std::collections::BTreeSet::new();
        for length in 0..=19 {
            assert!(seen.insert(of_bytes(0, &bytes[..length])), "length {length}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(seen.insert(of_bytes(0, &flipped)), "bit {bit}");
        }
    }
}
