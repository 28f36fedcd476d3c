//! What load to make.

use std::path::PathBuf;

use super::keys::Distribution;
use crate::base::Micros;
use crate::base::limits::VALUE_MAX;
use crate::base::slot_runs;
use crate::client::Options;

/// What load to make. `LoadOptions::default()` with `targets` set is a sound beginning.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Addresses for clients, `host:port`; one is enough.
    pub targets: Vec<String>,
    /// What the commands are.
    pub workload: Workload,
    /// Of `Workload::Mixed`: reads, in percent.
    pub read_percent: u32,
    /// Clients, each with sessions and sockets of its own.
    pub connections: usize,
    /// Commands outstanding in all, at most; spread evenly over the clients.
    pub in_flight: usize,
    /// How long to begin commands, without the warm-up.
    pub duration: Micros,
    /// For how long before that commands are executed but not counted.
    pub warmup: Micros,
    /// Commands per second to begin, whatever the cluster does (open loop). `None`: closed loop.
    pub rate: Option<u64>,
    /// How many keys there are.
    pub keys: u64,
    /// Only keys of these slots, both ends of each run included; empty for those of all slots.
    pub slots: Vec<slot_runs::Run>,
    /// How often each key is chosen.
    pub distribution: Distribution,
    /// Bytes of each value written, or appended.
    pub value_size: usize,
    /// Where workloads that read first write every key. Without, absent keys are read too.
    pub preload: bool,
    /// Equal seeds choose equal commands.
    pub seed: u64,
    /// Where to write a record of every command, for `sunstar-check`; the keys must not exist before.
    pub history: Option<PathBuf>,
    /// How the clients behave.
    pub client: Options,
}

/// Keys of chosen slots are looked for before the load begins, and kept.
const KEYS_OF_SLOTS_MAX: usize = 10_000_000;

/// What the commands are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// Sets whole values.
    Put,
    /// Appends; a value that has grown past 1 KiB is emptied by a put.
    Append,
    /// Reads.
    Get,
    /// Reads and puts.
    Mixed,
}

/// Why there was no load.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Nobody to load.
    #[error("no target: name at least one node's client address, as in --target 127.0.0.1:7101")]
    NoTarget,
    /// A value outside of its range.
    #[error("{flag} {value} is out of range: {remedy}")]
    OutOfRange {
        /// Which option, as a flag.
        flag: &'static str,
        /// Its value.
        value: u64,
        /// What would do.
        remedy: &'static str,
    },
    /// The system refuses what is needed.
    #[error("cannot wait for sockets: {0} (is the limit of open files reached?)")]
    System(#[from] std::io::Error),
    /// The history cannot be written, or not to its end: what there is of it says nothing.
    #[error("cannot write the history {}: {cause}", path.display())]
    History {
        /// Where to.
        path: PathBuf,
        /// Why not.
        cause: std::io::Error,
    },
    /// No node answered.
    #[error(
        "none of {targets} answered as a Sunstar node within {seconds} s: are these the addresses \
         given to --client-addr, and do the nodes run?"
    )]
    Unreachable {
        /// Who was asked.
        targets: String,
        /// For how long.
        seconds: u64,
    },
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            targets: Vec::new(),
            workload: Workload::Put,
            read_percent: 50,
            connections: 4,
            in_flight: 256,
            duration: Micros::from_secs(10),
            warmup: Micros(0),
            rate: None,
            keys: 100_000,
            slots: Vec::new(),
            distribution: Distribution::Uniform,
            value_size: 16,
            preload: true,
            seed: 1,
            history: None,
            client: Options::default(),
        }
    }
}

impl LoadOptions {
    /// Refuses what cannot be done.
    pub(super) fn check(&self) -> Result<(), LoadError> {
        if self.targets.is_empty() {
            return Err(LoadError::NoTarget);
        }
        let within = |flag, value: usize, min: usize, max: usize, remedy| {
            let value = value as u64;
            if (min as u64..=max as u64).contains(&value) {
                return Ok(());
            }
            Err(LoadError::OutOfRange { flag, value, remedy })
        };
        let percent = self.read_percent as usize;
        within("--read-percent", percent, 0, 100, "it is 0 to 100")?;
        within("--connections", self.connections, 1, 10_000, "it is 1 to 10000")?;
        let least = self.connections;
        let remedy = "each connection needs one command at least, and 10 million are the most";
        within("--in-flight", self.in_flight, least, 10_000_000, remedy)?;
        within("--value-size", self.value_size, 0, VALUE_MAX, "a value has at most 1 MiB")?;
        let rate = self.rate.unwrap_or(1);
        let remedy = "it is 1 to 100000000 a second";
        within("--rate", usize::try_from(rate).unwrap_or(usize::MAX), 1, 100_000_000, remedy)?;
        let keys = usize::try_from(self.keys).unwrap_or(usize::MAX);
        within("--keys", keys, 1, 100_000_000_000, "it is 1 to 100 billion")?;
        if !self.slots.is_empty() {
            within("--keys", keys, 1, KEYS_OF_SLOTS_MAX, "of chosen slots it is 1 to 10 million")?;
        }
        let duration = usize::try_from(self.duration.0).unwrap_or(usize::MAX);
        within("--duration", duration, 1, usize::MAX, "nothing can be measured in no time")
    }

    /// Whether the workload reads.
    pub(super) const fn reads_occur(&self) -> bool {
        match self.workload {
            Workload::Get => true,
            Workload::Mixed => self.read_percent > 0,
            Workload::Put | Workload::Append => false,
        }
    }
}
