//! A log's files on a node that does not run: every write is durable before the next.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::data_dir::{DataDirError, at, sync_directory};
use super::disk::segment_name;
use crate::wal::SegmentId;

/// Bytes of zeros written at a time.
const ZEROES: usize = 1 << 20;

/// Creates a segment of zeros, durable with its name.
///
/// # Errors
/// If the file system fails.
pub(super) fn create_segment(
    directory: &Path,
    segment: SegmentId,
    length: u64,
) -> Result<(), DataDirError> {
    let name = segment_name(segment);
    let (temporary, path) = (directory.join(format!("{name}.tmp")), directory.join(name));
    write_zeroes(&temporary, length).map_err(at("write", &temporary))?;
    fs::rename(&temporary, &path).map_err(at("rename to", &path))?;
    sync_directory(directory)
}

fn write_zeroes(path: &Path, length: u64) -> io::Result<()> {
    let file = File::create(path)?;
    let zeroes = vec![0; ZEROES];
    let mut offset = 0;
    while offset < length {
        let rest = usize::try_from(length - offset).unwrap_or(usize::MAX);
        let bytes = &zeroes[..ZEROES.min(rest)];
        file.write_all_at(bytes, offset)?;
        offset += bytes.len() as u64;
    }
    file.sync_all()
}

/// Writes into a segment.
///
/// # Errors
/// If the file system fails.
pub(super) fn write_durably(
    directory: &Path,
    segment: SegmentId,
    offset: u64,
    bytes: &[u8],
) -> Result<(), DataDirError> {
    let path = directory.join(segment_name(segment));
    let written = OpenOptions::new().write(true).open(&path).and_then(|file| {
        file.write_all_at(bytes, offset)?;
        file.sync_data()
    });
    written.map_err(at("write", &path))
}
