//! Our log: `src/wal` on `src/io`'s files, as a core drives them.

use std::path::Path;

use sunstar::base::Bytes;
use sunstar::io::bench::LogAppender;

use super::{Appender, Work};
use crate::error::BenchError;

/// Our log.
pub(super) struct Ours {
    log: LogAppender,
}

impl Ours {
    /// # Errors
    /// If the directory cannot be made or the executor does not start.
    pub(super) fn open(directory: &Path, segment_bytes: u64) -> Result<Self, BenchError> {
        let what = || BenchError::io(directory.display().to_string());
        std::fs::create_dir(directory).map_err(what())?;
        Ok(Self { log: LogAppender::open(directory, segment_bytes).map_err(what())? })
    }
}

impl Appender for Ours {
    fn append(&mut self, work: Work, batches: u64, depth: usize) -> Result<(), BenchError> {
        let payload = Bytes::copy_of(&vec![0xA5; work.entry_size]);
        self.log.append(work.groups, &payload, batches, depth);
        Ok(())
    }
}
