//! Files, read ahead of whoever works on them.
//!
//! A thread of its own reads, past the page cache, into two buffers that go round: while one piece
//! is worked on, the next is read. Recovery is then as slow as the slower of disk and core, not as
//! both together.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::thread;

use rustix::fs::{Mode, OFlags};

use super::block_memory::BlockMemory;
use super::clock::Clock;
use crate::base::Micros;
use crate::wal::BLOCK;

/// Pieces read and not yet asked for, at most, beside the one being read: with none, two buffers go
/// round.
const AHEAD_MAX: usize = 0;

/// Bytes asked of the disk at a time.
const READ_BYTES: usize = 4 << 20;

/// Files on their way, piece by piece.
pub(super) struct ReadAhead {
    contents: Receiver<io::Result<Content>>,
    /// How long the disk was waited for.
    waited: Micros,
    clock: Clock,
}

/// A piece of a file. Its memory is given back for another when it is dropped.
pub(super) struct Content {
    memory: BlockMemory,
    length: usize,
    /// Whether the file ends with it.
    pub(super) last: bool,
    used: Sender<BlockMemory>,
}

impl ReadAhead {
    /// Begins to read `files`, in this order, each in pieces of `piece_bytes`, but for the last; one of
    /// no bytes in one. `durably`: what is handed out is on the disk, not only in its cache.
    ///
    /// # Errors
    /// If the system refuses a thread.
    ///
    /// # Panics
    /// If a piece has no bytes, or parts of a block.
    pub(super) fn begin(
        files: Vec<PathBuf>,
        piece_bytes: usize,
        durably: bool,
    ) -> io::Result<Self> {
        assert!(piece_bytes > 0 && piece_bytes.is_multiple_of(BLOCK), "{piece_bytes}");
        let (filled, contents) = mpsc::sync_channel(AHEAD_MAX);
        let (used, free) = mpsc::channel();
        thread::Builder::new().name("read-ahead".to_owned()).spawn(move || {
            let pieces = Pieces { bytes_max: piece_bytes, filled, free, used };
            let read = files.iter().try_for_each(|path| pieces.read(path, durably));
            if let Err(Stop::Failed(error)) = read {
                // Nobody waits any more if recovery was given up.
                let _ = pieces.filled.send(Err(error));
            }
        })?;
        Ok(Self { contents, waited: Micros(0), clock: Clock::start() })
    }

    /// The next piece.
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
        &self.memory[..self.length]
    }
}

impl Drop for Content {
    fn drop(&mut self) {
        // There may be no file left to read.
        let _ = self.used.send(std::mem::take(&mut self.memory));
    }
}

/// The reading side.
struct Pieces {
    /// Of each piece, at most; whole blocks.
    bytes_max: usize,
    filled: SyncSender<io::Result<Content>>,
    free: Receiver<BlockMemory>,
    used: Sender<BlockMemory>,
}

/// Why no more is read.
enum Stop {
    Failed(io::Error),
    /// Nobody asks any more.
    Unwanted,
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

impl Pieces {
    fn read(&self, path: &Path, durably: bool) -> Result<(), Stop> {
        let flags = OFlags::RDONLY | OFlags::DIRECT | OFlags::CLOEXEC;
        let opened = rustix::fs::open(path, flags, Mode::empty()).map_err(io::Error::from)?;
        let mut file = File::from(opened);
        if durably {
            // Whoever wrote it is gone: what is there now is what will be read.
            file.sync_data()?;
        }
        let mut left = usize::try_from(file.metadata()?.len()).expect("a file that fits memory");
        loop {
            let length = left.min(self.bytes_max);
            let mut memory = self.free.try_recv().unwrap_or_default();
            let whole = length.next_multiple_of(BLOCK);
            memory.make_room(whole);
            fill(&mut memory[..whole], &mut file, length)?;
            left -= length;
            let content = Content { memory, length, last: left == 0, used: self.used.clone() };
            self.filled.send(Ok(content)).map_err(|_| Stop::Unwanted)?;
            if left == 0 {
                return Ok(());
            }
        }
    }
}

/// Reads the next `length` bytes of a file; `bytes`: aligned, with room for whole blocks.
fn fill(bytes: &mut [u8], file: &mut File, length: usize) -> io::Result<()> {
    let mut filled = 0;
    while filled < length {
        let end = (filled + READ_BYTES).min(bytes.len());
        match file.read(&mut bytes[filled..end])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => filled += read,
        }
        // Past a read that was cut short in the file, `O_DIRECT` cannot go on.
        if filled < length && !filled.is_multiple_of(BLOCK) {
            return Err(io::Error::other("the file changed while it was read"));
        }
    }
    Ok(())
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
        for piece_bytes in [BLOCK, 2 * BLOCK, 2 * READ_BYTES] {
            let mut files = ReadAhead::begin(paths.clone(), piece_bytes, true).expect("a thread");
            for &length in &lengths {
                let (mut found, mut last) = (Vec::new(), false);
                while !last {
                    let piece = files.next().expect("it is there");
                    found.extend_from_slice(&piece);
                    last = piece.last;
                    assert!(last || piece.len() == piece_bytes, "{} bytes", piece.len());
                }
                assert!(found == content(length), "the file of {length} bytes");
            }
        }
    }

    #[test]
    fn a_missing_file_is_an_error_in_its_turn() {
        let tree = Path::new(env!("CARGO_MANIFEST_DIR"));
        let directory = tempfile::tempdir_in(tree).expect("the tree is writable");
        let there = directory.path().join("there");
        std::fs::write(&there, b"something").expect("written");
        let files = vec![there, directory.path().join("missing")];
        let mut files = ReadAhead::begin(files, BLOCK, false).expect("a thread");
        assert_eq!(&files.next().expect("it is there")[..], b"something");
        let missing = files.next().map(|_| ());
        assert_eq!(missing.expect_err("it is not").kind(), io::ErrorKind::NotFound);
    }
}
