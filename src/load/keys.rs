//! Which key a command is for, and what keys look like.

use crate::base::Slot;
use crate::base::slot_runs::Run;

/// How often each key is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distribution {
    /// Each as often as any other.
    Uniform,
    /// A few very often, as in YCSB: zipfian with exponent 0.99, the frequent keys scattered over
    /// all.
    Zipfian,
}

/// Chooses keys.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    count: u64,
    distribution: Distribution,
    /// The digits of each key, where they are not its number: those of chosen slots.
    digits: Vec<u64>,
}

/// Bytes of a key.
pub(super) const KEY_SIZE: usize = 16;

/// What every key begins with; the rest are decimal digits.
const PREFIX: &[u8; 5] = b"load-";

impl Keys {
    /// `count` keys of these slots; of all, if none are named.
    pub(super) fn new(count: u64, distribution: Distribution, slots: &[Run]) -> Self {
        let mut digits = Vec::new();
        if !slots.is_empty() {
            let is_wanted = |digits: &u64| {
                let slot = Slot::of_key(&spelled(*digits)).number();
                slots.iter().any(|&(first, last)| (first..=last).contains(&slot))
            };
            let count = usize::try_from(count).expect("checked with the options");
            digits = (0..).filter(is_wanted).take(count).collect();
        }
        Self { count, distribution, digits }
    }

    /// The bytes of the key numbered `number`.
    pub(super) fn key(&self, number: u64) -> [u8; KEY_SIZE] {
        let listed = usize::try_from(number).ok().and_then(|number| self.digits.get(number));
        spelled(listed.copied().unwrap_or(number))
    }

    /// The number of the next key, `0..count`.
    pub(super) fn choose(&self, random: &mut fastrand::Rng) -> u64 {
        match self.distribution {
            Distribution::Uniform => random.u64(0..self.count),
            Distribution::Zipfian => scramble(zipfian(random.f64())) % self.count,
        }
    }
}

/// A key with such digits.
fn spelled(number: u64) -> [u8; KEY_SIZE] {
    let mut bytes = [b'0'; KEY_SIZE];
    bytes[..PREFIX.len()].copy_from_slice(PREFIX);
    let mut rest = number;
    for digit in bytes[PREFIX.len()..].iter_mut().rev() {
        *digit = b'0' + u8::try_from(rest % 10).expect("a digit");
        rest /= 10;
    }
    bytes
}

/// YCSB's exponent.
const THETA: f64 = 0.99;

/// Items that ranks are drawn from before they are scattered, whatever the number of keys.
const RANKS: f64 = 10_000_000_000.0;

/// The sum of `1 / i^THETA` for `i` up to `RANKS`.
const ZETA_RANKS: f64 = 26.469_028_201_783_02;

/// A rank, from 0, the frequent ones first. `uniform`: from 0 to 1.
///
/// Source: Gray et al., "Quickly Generating Billion-Record Synthetic Databases", section 3.2;
/// constants as in YCSB's `ScrambledZipfianGenerator`.
fn zipfian(uniform: f64) -> u64 {
    let scaled = uniform * ZETA_RANKS;
    if scaled < 1.0 {
        return 0;
    }
    let zeta_two = 1.0 + 0.5_f64.powf(THETA);
    if scaled < zeta_two {
        return 1;
    }
    let eta = (1.0 - (2.0 / RANKS).powf(1.0 - THETA)) / (1.0 - zeta_two / ZETA_RANKS);
    let rank = RANKS * (eta * uniform - eta + 1.0).powf(1.0 / (1.0 - THETA));
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rank is not negative and below RANKS"
    )]
    let rank = rank as u64;
    rank
}

/// Scatters ranks over all numbers: FNV-1a of its eight bytes, as YCSB does.
fn scramble(rank: u64) -> u64 {
    const OFFSET: u64 = 0xCBF2_9CE4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01B3;
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(PRIME);
    rank.to_le_bytes().into_iter().fold(OFFSET, step)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    #[test]
    fn keys_have_their_size_and_differ() {
        let keys = Keys::new(100_000_000_000, Distribution::Uniform, &[]);
        assert_eq!(&keys.key(0), b"load-00000000000");
        assert_eq!(&keys.key(98_765_432_109), b"load-98765432109");
    }

    #[test]
    fn keys_of_chosen_slots_are_in_these_and_differ() {
        let keys = Keys::new(1_000, Distribution::Uniform, &[(5, 9), (16_383, 16_383)]);
        let all: BTreeSet<_> = (0..1_000).map(|number| keys.key(number)).collect();
        assert_eq!(all.len(), 1_000);
        let slots: BTreeSet<_> = all.iter().map(|key| Slot::of_key(key).number()).collect();
        assert_eq!(slots, BTreeSet::from([5, 6, 7, 8, 9, 16_383]));
    }

    #[test]
    fn zipfian_prefers_as_ycsb_does() {
        let keys = Keys::new(1_000, Distribution::Zipfian, &[]);
        let mut random = fastrand::Rng::with_seed(1);
        let mut counts = BTreeMap::new();
        let draws = 200_000;
        for _ in 0..draws {
            *counts.entry(keys.choose(&mut random)).or_insert(0_u32) += 1;
        }
        let mut counts: Vec<u32> = counts.into_values().collect();
        counts.sort_unstable_by(|a, b| b.cmp(a));
        // Rank 0 has 1 / zeta of all draws; rank 1 about half of that.
        assert!((7_000..8_300).contains(&counts[0]), "{}", counts[0]);
        assert!((3_400..4_500).contains(&counts[1]), "{}", counts[1]);
        assert!(counts.len() > 900, "every key is drawn at times: {}", counts.len());
    }

    #[test]
    fn uniform_prefers_none() {
        let keys = Keys::new(10, Distribution::Uniform, &[]);
        let mut random = fastrand::Rng::with_seed(1);
        let mut counts = [0_u32; 10];
        for _ in 0..100_000 {
            counts[usize::try_from(keys.choose(&mut random)).expect("small")] += 1;
        }
        assert!(counts.iter().all(|count| (9_500..10_500).contains(count)), "{counts:?}");
    }
}
