//! The crate `raft-engine`, TiKV's log, with what makes it fastest: files filled ahead and recycled,
//! no compression (these entries do not compress, and ours does not try).

use std::path::Path;

use raft::eraftpb::Entry;
use raft_engine::{Config, Engine, LogBatch, MessageExt, ReadableSize};

use super::{Appender, Work};
use crate::error::BenchError;

/// Their log.
pub(super) struct Theirs {
    engine: Engine,
    /// The last entry of every group.
    last: u64,
}

/// What they call an entry: that of their Raft library.
struct Entries;

impl MessageExt for Entries {
    type Entry = Entry;

    fn index(entry: &Entry) -> u64 {
        entry.index
    }
}

impl Theirs {
    /// # Errors
    /// If it does not open.
    pub(super) fn open(directory: &Path) -> Result<Self, BenchError> {
        let config = Config {
            dir: directory.display().to_string(),
            batch_compression_threshold: ReadableSize(0),
            target_file_size: ReadableSize::mb(64),
            purge_threshold: ReadableSize::mb(256),
            enable_log_recycle: true,
            prefill_for_recycle: true,
            ..Config::default()
        };
        Ok(Self { engine: Engine::open(config)?, last: 0 })
    }

    fn write(&self, work: Work, indices: impl Iterator<Item = u64>) -> Result<(), BenchError> {
        let mut batch = LogBatch::default();
        let data = vec![0xA5; work.entry_size];
        for index in indices {
            for group in 0..u64::from(work.groups) {
                let entry = Entry { index, term: 1, data: data.clone().into(), ..Entry::default() };
                batch.add_entries::<Entries>(group + 1, &[entry])?;
            }
            self.engine.write(&mut batch, true)?;
        }
        Ok(())
    }
}

impl Appender for Theirs {
    fn append(&mut self, work: Work, batches: u64, depth: usize) -> Result<(), BenchError> {
        let (first, last) = (self.last + 1, self.last + batches);
        self.last = last;
        if depth == 1 {
            self.write(work, first..=last)?;
        } else {
            self.write_from_threads(work, batches, depth)?;
        }
        for group in 0..u64::from(work.groups) {
            self.engine.compact_to(group + 1, last);
        }
        self.engine.purge_expired_files()?;
        Ok(())
    }
}

impl Theirs {
    /// Each thread has groups of its own, since a group's entries must come in their order.
    fn write_from_threads(
        &mut self,
        work: Work,
        batches: u64,
        depth: usize,
    ) -> Result<(), BenchError> {
        let this = &*self;
        let share = batches.div_ceil(depth as u64);
        std::thread::scope(|scope| {
            let threads: Vec<_> = (1..=depth as u64)
                .map(|thread| {
                    scope.spawn(move || this.write_apart(work, thread << 32, batches, share))
                })
                .collect();
            threads.into_iter().try_for_each(|thread| thread.join().expect("no thread panics"))
        })
    }

    /// Writes `share` batches into groups from `base` on, and lets go of them.
    fn write_apart(
        &self,
        work: Work,
        base: u64,
        batches: u64,
        share: u64,
    ) -> Result<(), BenchError> {
        let mut batch = LogBatch::default();
        let data = vec![0xA5; work.entry_size];
        // Every round uses indices of its own; those in between were compacted away.
        let start = self.last - batches;
        for index in start + 1..=start + share {
            for group in base..base + u64::from(work.groups) {
                let entry = Entry { index, term: 1, data: data.clone().into(), ..Entry::default() };
                batch.add_entries::<Entries>(group, &[entry])?;
            }
            self.engine.write(&mut batch, true)?;
        }
        let mut clean = LogBatch::default();
        for group in base..base + u64::from(work.groups) {
            clean.add_command(group, raft_engine::Command::Clean);
        }
        self.engine.write(&mut clean, false)?;
        Ok(())
    }
}

impl From<raft_engine::Error> for BenchError {
    fn from(error: raft_engine::Error) -> Self {
        Self::Failed(format!("raft-engine: {error}"))
    }
}
