//! What the clients ask: commands on keys that are soon left for others.
//!
//! The search for an order of a key's commands grows with their number, and faster with those of unknown
//! outcome; so each key sees only some hundred. Three sorts of keys: registers, which see all commands but
//! appends and increments; lists, to which unique tokens are appended; counters. The checkers of
//! exactly-once know lists and counters by that.

use fastrand::Rng;
use sunstar::client::Command;

/// Chooses commands, seeded.
#[derive(Debug)]
pub(crate) struct Workload {
    random: Rng,
    /// The first key in use; the others follow.
    first: u64,
    /// Commands on the keys in use.
    given: usize,
    /// Makes values and tokens unique; only grows.
    serial: u64,
    /// What was last written to each register in use, as far as anybody here knows.
    last: Vec<Vec<u8>>,
}

/// Keys in use at a time.
const KEYS: u64 = 40;
/// Commands before others are used.
const COMMANDS: usize = 4_000;

/// What a key is for, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    Register,
    List,
    Counter,
}

const fn sort(key: u64) -> Sort {
    match key % 5 {
        0 => Sort::Counter,
        1 => Sort::List,
        _ => Sort::Register,
    }
}

/// The bytes of a key.
pub(crate) fn key(number: u64) -> Vec<u8> {
    let sort = match sort(number) {
        Sort::Register => 'r',
        Sort::List => 'l',
        Sort::Counter => 'c',
    };
    format!("{sort}{number}").into_bytes()
}

impl Workload {
    /// Nothing was asked yet.
    pub(crate) fn new(seed: u64) -> Self {
        let last = vec![Vec::new(); usize::try_from(KEYS).expect("few")];
        Self { random: Rng::with_seed(seed), first: 0, given: 0, serial: 0, last }
    }

    /// Keys that may have been used: from 0 to below this.
    pub(crate) const fn keys(&self) -> u64 {
        self.first + KEYS
    }

    /// Chooses a command of `client` and hands it to `submit`.
    pub(crate) fn next(&mut self, client: u64, submit: impl FnOnce(Command<'_>)) {
        self.turn_page();
        self.serial += 1;
        let place = self.random.u64(0..KEYS);
        let number = self.first + place;
        let key = &key(number)[..];
        if self.random.u32(0..100) < READ_PERCENT {
            return submit(Command::Get { key });
        }
        let serial = self.serial;
        match sort(number) {
            Sort::List => {
                let token = format!("{client}-{serial};");
                submit(Command::Append { key, value: token.as_bytes() });
            }
            Sort::Counter => submit(Command::Increment { key, delta: self.random.i64(1..10) }),
            Sort::Register => self.write_register(key, place, submit),
        }
    }

    fn write_register(&mut self, key: &[u8], place: u64, submit: impl FnOnce(Command<'_>)) {
        let last = &mut self.last[usize::try_from(place).expect("few keys")];
        let value = format!("v{}", self.serial).into_bytes();
        match self.random.u32(0..10) {
            0 => {
                last.clear();
                submit(Command::Delete { key });
            }
            1..4 => {
                let expected = std::mem::replace(last, value);
                let expected = (!expected.is_empty()).then_some(&expected[..]);
                submit(Command::CompareAndSet { key, expected, value: last });
            }
            _ => {
                *last = value;
                submit(Command::Put { key, value: last });
            }
        }
    }

    fn turn_page(&mut self) {
        self.given += 1;
        if self.given > COMMANDS {
            self.given = 1;
            self.first += KEYS;
            self.last.iter_mut().for_each(Vec::clear);
        }
    }
}

const READ_PERCENT: u32 = 35;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn each_key_sees_some_hundred_commands_of_its_sort() {
        let mut workload = Workload::new(1);
        let mut seen: BTreeMap<Vec<u8>, Vec<char>> = BTreeMap::new();
        for _ in 0..3 * COMMANDS {
            workload.next(1, |command| {
                let (key, sort) = match command {
                    Command::Get { key } => (key, 'g'),
                    Command::Append { key, .. } => (key, 'l'),
                    Command::Increment { key, .. } => (key, 'c'),
                    Command::Put { key, .. }
                    | Command::Delete { key }
                    | Command::CompareAndSet { key, .. }
                    | Command::Compare { key, .. } => (key, 'r'),
                };
                seen.entry(key.to_vec()).or_default().push(sort);
            });
        }
        assert_eq!(seen.len() as u64, workload.keys());
        for (key, sorts) in &seen {
            assert!((50..200).contains(&sorts.len()), "{} commands", sorts.len());
            assert!(sorts.iter().all(|sort| *sort == 'g' || *sort == char::from(key[0])));
        }
    }
}
