//! Whole files, read ahead of whoever works on them.
//!
//! A thread of its own reads, past the page cache, into a few buffers that go round: while one file
//! is worked on, the next is read. Recovery is then as slow as the slower of disk and core, not as
//! both together.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::thread;

use rustix::fs::{Mode, OFlags};

use super::clock::Clock;
use crate::base::Micros;
use crate::wal::BLOCK;

/// Files read and not yet asked for, at most, beside the one being read. With none, two buffers go
/// round: a file may be as large as a group's whole state.
const AHEAD_MAX: usize = 0;

/// Bytes asked of the disk at a time.
const READ_BYTES: usize = 4 << 20;

/// Files on their way.
pub(super) struct ReadAhead {
    contents: Receiver<io::Result<Content>>,
    /// How long the disk was waited for.
    waited: Micros,
    clock: Clock,
}

/// What a file holds. Given back for the next file when dropped.
pub(super) struct Content {
    memory: Memory,
    length: usize,
    used: Sender<Memory>,
}

/// Bytes as `O_DIRECT` wants them.
#[derive(Default)]
struct Memory {
    storage: Vec<u8>,
    /// Where in `storage` the first block begins.
    aligned: usize,
}

impl ReadAhead {
    /// Begins to read `files`, in this order. `durably`: what was read is on the disk, not only in
    /// its cache, before it is handed out.
    ///
    /// # Errors
    /// If the system refuses a thread.
    pub(super) fn begin(files: Vec<PathBuf>, durably: bool) -> io::Result<Self> {
        let (filled, contents) = mpsc::sync_channel(AHEAD_MAX);
        let (used, free) = mpsc::channel();
        thread::Builder::new()
            .name("read-ahead".to_owned())
            .spawn(move || read_all(&files, durably, &filled, &free, &used))?;
        Ok(Self { contents, waited: Micros(0), clock: Clock::start() })
    }

    /// The next file.
    ///
    /// # Errors
    /// If it cannot be read.
    ///
    /// # Panics
    /// If all were handed out, or one could not be read before.
    pub(super) fn next(&mut self) -> io::Result<Content> {
        let began = self.clock.now();
        let content = self.contents.recv().expect("only as many are asked for as were named");
        self.waited.0 += self.clock.now().since(began).0;
        content
    }

    /// How long the disk was waited for so far.
    pub(super) fn waited(&self) -> Micros {
        self.waited
    }
}

impl Deref for Content {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory.storage[self.memory.aligned..][..self.length]
    }
}

impl Drop for Content {
    fn drop(&mut self) {
        // There may be no file left to read.
        let _ = self.used.send(std::mem::take(&mut self.memory));
    }
}

fn read_all(
    files: &[PathBuf],
    durably: bool,
    filled: &SyncSender<io::Result<Content>>,
    free: &Receiver<Memory>,
    used: &Sender<Memory>,
) {
    for path in files {
        let memory = free.try_recv().unwrap_or_default();
        let content = read(path, durably, memory).map(|(memory, length)| Content {
            memory,
            length,
            used: used.clone(),
        });
        let failed = content.is_err();
        // Nobody waits any more if recovery was given up.
        if filled.send(content).is_err() || failed {
            return;
        }
    }
}

fn read(path: &Path, durably: bool, mut memory: Memory) -> io::Result<(Memory, usize)> {
    let flags = OFlags::RDONLY | OFlags::DIRECT | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let length = usize::try_from(file.metadata()?.len()).expect("a file that fits memory");
    memory.make_room(length.next_multiple_of(BLOCK));
    let bytes = &mut memory.storage[memory.aligned..];
    let mut filled = 0;
    while filled < length {
        let end = (filled + READ_BYTES).min(length.next_multiple_of(BLOCK));
        match file.read(&mut bytes[filled..end])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => filled += read,
        }
        // Past a read that was cut short in the file, `O_DIRECT` cannot go on.
        if filled < length && !filled.is_multiple_of(BLOCK) {
            return Err(io::Error::other("the file changed while it was read"));
        }
    }
    if durably {
        file.sync_data()?;
    }
    Ok((memory, length))
}

impl Memory {
    /// Sees to it that `length` bytes fit behind `aligned`.
    fn make_room(&mut self, length: usize) {
        if self.storage.len() < self.aligned + length {
            self.storage = vec![0; length + BLOCK];
            self.aligned = self.storage.as_ptr().align_offset(BLOCK);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_any_length_come_whole_and_in_order() {
        let tree = Path::new(env!("CARGO_MANIFEST_DIR"));
        let directory = tempfile::tempdir_in(tree).expect("the tree is writable");
        let lengths = [0, 1, BLOCK, 3 * BLOCK - 1, READ_BYTES + 5, 7];
        let content = |length: usize| (0..=250).cycle().take(length).collect::<Vec<u8>>();
        let paths: Vec<PathBuf> =
            (0..lengths.len()).map(|number| directory.path().join(number.to_string())).collect();
        for (path, &length) in paths.iter().zip(&lengths) {
            std::fs::write(path, content(length)).expect("written");
        }
        let mut files = ReadAhead::begin(paths, true).expect("a thread");
        for &length in &lengths {
            let found = files.next().expect("it is there");
            assert!(*found == content(length)[..], "the file of {length} bytes");
        }
    }

    #[test]
    fn a_missing_file_is_an_error_in_its_turn() {
        let tree = Path::new(env!("CARGO_MANIFEST_DIR"));
        let directory = tempfile::tempdir_in(tree).expect("the tree is writable");
        let there = directory.path().join("there");
        std::fs::write(&there, b"something").expect("written");
        let files = vec![there, directory.path().join("missing")];
        let mut files = ReadAhead::begin(files, false).expect("a thread");
        assert_eq!(&files.next().expect("it is there")[..], b"something");
        let missing = files.next().map(|_| ());
        assert_eq!(missing.expect_err("it is not").kind(), io::ErrorKind::NotFound);
    }
}
