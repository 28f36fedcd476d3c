//! The fuzz targets of `tools/fuzz` over valid inputs and a few thousand seeded mutations of each: what
//! `tools/fuzz/run` does for hours without knowing, in seconds and always the same.
//!
//! `SUNSTAR_FUZZ=20000` tries so many mutations of each target.

#[path = "../../tools/fuzz/bodies/mod.rs"]
mod bodies;
mod found;

use std::panic::catch_unwind;

use bodies::TARGETS;

#[test]
fn mutations_of_valid_inputs_do_no_harm() {
    let rounds =
        std::env::var("SUNSTAR_FUZZ").map_or(5_000, |text| text.parse().expect("a number"));
    for target in &TARGETS {
        let seeds = (target.seeds)();
        assert!(!seeds.is_empty(), "{}", target.name);
        for seed in &seeds {
            (target.body)(seed);
        }
        for seed in 0..rounds {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut input = seeds[random.usize(..seeds.len())].clone();
            for _ in 0..random.u32(1..6) {
                mutate(&mut input, &mut random);
            }
            let is_harmless = catch_unwind(|| (target.body)(&input)).is_ok();
            assert!(is_harmless, "{}, mutation {seed}: {}", target.name, hex(&input));
        }
    }
}

fn mutate(input: &mut Vec<u8>, random: &mut fastrand::Rng) {
    if input.is_empty() {
        input.push(random.u8(..));
    }
    let at = random.usize(..input.len());
    match random.u32(..8) {
        0 => input[at] = random.u8(..),
        1 => input[at] ^= 1 << random.u32(..8),
        2 => input[at] = [0, 1, 0x7F, 0x80, 0xFF][random.usize(..5)],
        3 => input.truncate(at),
        4 => input.insert(at, random.u8(..)),
        5 => {
            input.remove(at);
        }
        6 => {
            let end = (at + random.usize(..64)).min(input.len());
            let copy = input[at..end].to_vec();
            let to = random.usize(..=input.len());
            input.splice(to..to, copy);
        }
        _ => input.extend((0..random.usize(..64)).map(|_| random.u8(..))),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
}
