//! The disk's own figure: how long a bare durable write takes right now.
//!
//! Shared machines have spells, of seconds to minutes, in which it is ten times its usual; a result
//! means little without it. A probe writes one 4 KiB block at a time, `O_DIRECT|O_DSYNC`, over
//! blocks that were written before: what a log at its best does.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::report::median;
use crate::error::BenchError;

/// Returns the median of the time a bare durable overwrite of 4 KiB takes in `directory`, in µs.
///
/// # Errors
/// If the file system refuses, such as one without `O_DIRECT`.
pub(crate) fn durable_write_us(directory: &Path) -> Result<f64, BenchError> {
    let path = directory.join("probe");
    let result = probe(&path);
    // What cannot be removed now goes with the directory.
    let _ = std::fs::remove_file(&path);
    result
}

fn probe(path: &Path) -> Result<f64, BenchError> {
    let mut options = File::options();
    options.create(true).truncate(true).read(true).write(true);
    // As the server's log; what `rustix` calls DSYNC is O_SYNC.
    options.custom_flags(libc::O_DIRECT | libc::O_DSYNC);
    let what = || format!("{}: O_DIRECT refused? choose another --dir", path.display());
    let file = options.open(path).map_err(|error| BenchError::io(what())(error))?;
    let mut memory = vec![0xA5; BLOCK * (BLOCKS + 1)];
    let start = memory.as_ptr().align_offset(BLOCK);
    let blocks = &mut memory[start..start + BLOCK * BLOCKS];
    write_at(&file, blocks, 0)?;
    let samples: Result<Vec<_>, _> = (0..SAMPLES)
        .map(|sample| {
            let started = Instant::now();
            write_at(&file, &blocks[..BLOCK], sample % BLOCKS)?;
            Ok::<_, BenchError>(started.elapsed())
        })
        .scan(Instant::now() + PATIENCE, |deadline, sample| {
            (Instant::now() < *deadline).then_some(sample)
        })
        .collect();
    Ok(median(samples?.iter().map(|time| time.as_secs_f64() * 1e6)))
}

fn write_at(file: &File, bytes: &[u8], block: usize) -> Result<(), BenchError> {
    use std::os::unix::fs::FileExt;
    file.write_all_at(bytes, (block * BLOCK) as u64).map_err(BenchError::io("a durable write"))
}

const BLOCK: usize = 4096;
const BLOCKS: usize = 64;
const SAMPLES: usize = 200;
/// On a slow disk, fewer samples.
const PATIENCE: Duration = Duration::from_secs(2);
