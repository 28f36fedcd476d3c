//! A bare loop of durable writes, `O_DIRECT|O_DSYNC`, over blocks that were written before: what the
//! disk gives to whoever does nothing else.

use std::fs::File;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use super::{Appender, Work};
use crate::error::BenchError;

/// The loop's file.
pub(super) struct Bare {
    file: File,
    length: u64,
    /// Where the next write goes.
    offset: u64,
    /// Zeros, aligned as `O_DIRECT` wants it.
    memory: Vec<u8>,
    /// Where in `memory` the aligned part begins.
    aligned: usize,
}

impl Bare {
    /// # Errors
    /// If the file system refuses, such as one without `O_DIRECT`.
    pub(super) fn open(path: &Path, length: u64) -> Result<Self, BenchError> {
        let mut options = File::options();
        options.create(true).truncate(true).read(true).write(true);
        // As the server's log; what `rustix` calls DSYNC is O_SYNC.
        options.custom_flags(libc::O_DIRECT | libc::O_DSYNC);
        let what = format!("{}: O_DIRECT refused? choose another --dir", path.display());
        let file = options.open(path).map_err(BenchError::io(what))?;
        let memory = vec![0; WRITE_MAX + BLOCK];
        let aligned = memory.as_ptr().align_offset(BLOCK);
        let bare = Self { file, length, offset: 0, memory, aligned };
        for offset in (0..length).step_by(WRITE_MAX) {
            bare.write_at(WRITE_MAX, offset)?;
        }
        Ok(bare)
    }

    fn write_at(&self, bytes: usize, offset: u64) -> Result<(), BenchError> {
        let bytes = &self.memory[self.aligned..self.aligned + bytes];
        self.file.write_all_at(bytes, offset).map_err(BenchError::io("a durable write"))
    }

    /// Writes every `stride`-th of `offsets`, from the `first` on.
    fn every(
        &self,
        bytes: usize,
        offsets: &[u64],
        first: usize,
        stride: usize,
    ) -> Result<(), BenchError> {
        let mut mine = offsets.iter().skip(first).step_by(stride);
        mine.try_for_each(|&offset| self.write_at(bytes, offset))
    }
}

impl Appender for Bare {
    fn append(&mut self, work: Work, batches: u64, depth: usize) -> Result<(), BenchError> {
        let bytes = work.batch_bytes();
        let offsets: Vec<u64> = (0..batches)
            .map(|_| {
                let fits = self.offset + bytes as u64 <= self.length;
                let offset = if fits { self.offset } else { 0 };
                self.offset = offset + bytes as u64;
                offset
            })
            .collect();
        if depth == 1 {
            return self.every(bytes, &offsets, 0, 1);
        }
        let this = &*self;
        let offsets = &offsets;
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..depth)
                .map(|first| scope.spawn(move || this.every(bytes, offsets, first, depth)))
                .collect();
            threads.into_iter().try_for_each(|thread| thread.join().expect("no thread panics"))
        })
    }
}

const BLOCK: usize = sunstar::wal::BLOCK;
const WRITE_MAX: usize = 1 << 20;
