//! Which command comes next.

use super::keys::{KEY_SIZE, Keys};
use super::options::{LoadOptions, Workload};
use crate::client::{Applied, Command};

/// Chooses commands, seeded.
#[derive(Debug)]
pub(super) struct Mix {
    workload: Workload,
    read_percent: u32,
    keys: Keys,
    random: fastrand::Rng,
    value_size: usize,
    /// Values are windows on it, so that they differ without being made one by one.
    pattern: Vec<u8>,
    /// Keys whose values have grown long enough and are to be emptied.
    to_empty: Vec<u64>,
}

/// A command chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    /// The key's number.
    pub(super) key: u64,
    pub(super) kind: Kind,
    /// Where in the pattern the value begins.
    window: usize,
}

/// What is done with the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Get,
    Put,
    Append,
    /// A put of nothing: an appended value begins anew.
    Empty,
}

/// A value that appends have made this long is emptied: otherwise a load of appends would fill any
/// memory.
const APPENDED_MAX: i64 = 1024;

/// How many different values there are.
const WINDOWS: usize = 251;

impl Mix {
    pub(super) fn new(options: &LoadOptions) -> Self {
        let mut random = fastrand::Rng::with_seed(options.seed);
        let length = options.value_size + WINDOWS;
        Self {
            workload: options.workload,
            read_percent: options.read_percent,
            keys: Keys::new(options.keys, options.distribution, &options.slots),
            value_size: options.value_size,
            pattern: (0..length).map(|_| random.alphanumeric() as u8).collect(),
            random,
            to_empty: Vec::new(),
        }
    }

    /// The next command of the workload.
    pub(super) fn choose(&mut self) -> Choice {
        if let Some(key) = self.to_empty.pop() {
            return Choice { key, kind: Kind::Empty, window: 0 };
        }
        let kind = match self.workload {
            Workload::Append => Kind::Append,
            Workload::Get => Kind::Get,
            Workload::Mixed if self.random.u32(0..100) < self.read_percent => Kind::Get,
            Workload::Put | Workload::Mixed => Kind::Put,
        };
        let window = self.random.usize(0..WINDOWS);
        Choice { key: self.keys.choose(&mut self.random), kind, window }
    }

    /// The command that writes the key numbered `key` for the first time.
    pub(super) fn first_write(&mut self, key: u64) -> Choice {
        Choice { key, kind: Kind::Put, window: self.random.usize(0..WINDOWS) }
    }

    /// Calls `submit` with the command chosen.
    pub(super) fn command<R>(&self, choice: Choice, submit: impl FnOnce(Command<'_>) -> R) -> R {
        let key: &[u8; KEY_SIZE] = &self.keys.key(choice.key);
        let value = &self.pattern[choice.window..choice.window + self.value_size];
        submit(match choice.kind {
            Kind::Get => Command::Get { key },
            Kind::Put => Command::Put { key, value },
            Kind::Append => Command::Append { key, value },
            Kind::Empty => Command::Put { key, value: &[] },
        })
    }

    /// Learns from an answer.
    pub(super) fn learn(&mut self, choice: Choice, applied: &Applied<'_>) {
        if choice.kind == Kind::Append && applied.number > APPENDED_MAX {
            self.to_empty.push(choice.key);
        }
    }
}
