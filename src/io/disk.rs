//! One core's log segments on disk: created whole, written with `O_DIRECT`, durable on completion.
//!
//! A segment file appears under its name only at its full length with every block written, because a
//! durable write into blocks written before is the cheapest there is. Only when the log stands still
//! for want of it is a file taken into use with blocks that are allocated and not yet written: slower
//! writes are better than none. How writes become durable is decided in one place, [`SYNCING`].
//!
//! After a failed write or flush nothing about the file is known, and the next flush may claim
//! success: the process dies at once and recovers from what is on disk.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use glommio::GlommioError;
use glommio::io::{Directory, DmaFile, OpenOptions};

use super::inbox::{Event, Inbox};
use super::log_ring::{LogRing, watch};
use super::snapshots::{SnapshotFiles, Task, write_snapshots};
use crate::base::GroupId;
use crate::reactor::{LogRead, LogWrite, SnapshotWrite};
use crate::wal::{BLOCK, SegmentId};

/// How log writes become durable: each is when it completes. Into blocks written before, one operation
/// is cheaper than a write and a flush. Not `O_SYNC`, which `rustix` calls by this name: it would have
/// ext4 commit its journal for the time stamp of every write.
const SYNCING: i32 = libc::O_DSYNC;

/// Bytes zeroed at a time: other writes go between.
const ZEROES: usize = 512 << 10;

/// One core's files.
pub(super) struct Disk {
    directory: Rc<Path>,
    segment_bytes: u64,
    /// Segments ready to be written.
    files: BTreeMap<SegmentId, Rc<DmaFile>>,
    /// The segment being created that the log waits for: what is left of it is not zeroed.
    hurried: Rc<Cell<Option<SegmentId>>>,
    ring: Rc<LogRing>,
    snapshots: Rc<SnapshotFiles>,
    inbox: Rc<Inbox>,
}

/// The name of a segment's file.
pub(super) fn segment_name(segment: SegmentId) -> String {
    format!("segment-{}.log", segment.0)
}

/// The segment whose file is so named.
pub fn segment_of(name: &str) -> Option<SegmentId> {
    let number = name.strip_prefix("segment-")?.strip_suffix(".log")?;
    Some(SegmentId(number.parse().ok()?))
}

/// Ends the process: the environment failed in a way that nothing can be promised after.
pub(super) fn die(what: &str, error: &dyn Display) -> ! {
    tracing::error!(%error, "{what} failed: the process stops at once; restart it once the cause is removed");
    std::process::abort();
}

impl Disk {
    /// Opens the segments found in `directory`.
    ///
    /// # Errors
    /// If one cannot be opened.
    pub(super) async fn open(
        directory: &Path,
        segment_bytes: u64,
        segments: &[SegmentId],
        inbox: Rc<Inbox>,
    ) -> io::Result<Self> {
        let mut files = BTreeMap::new();
        for &segment in segments {
            let path = directory.join(segment_name(segment));
            files.insert(segment, Rc::new(open_segment(&path).await?));
        }
        let directory: Rc<Path> = directory.into();
        let snapshots = Rc::new(SnapshotFiles::new(directory.clone()));
        glommio::spawn_local(write_snapshots(snapshots.clone(), inbox.clone())).detach();
        let ring = Rc::new(LogRing::new(inbox.clone())?);
        glommio::spawn_local(watch(ring.clone())).detach();
        let hurried = Rc::default();
        Ok(Self { directory, segment_bytes, files, hurried, ring, snapshots, inbox })
    }

    /// Begins a log write; `Event::LogWritten` follows once it is durable.
    ///
    /// # Panics
    /// If the segment was never ready or the write leaves it.
    pub(super) fn write(&self, write: LogWrite) {
        let LogWrite { write, segment, offset, bytes } = write;
        let file = self.files.get(&segment).expect("only segments that are ready are written");
        let end = offset + bytes.len() as u64;
        assert!(end <= self.segment_bytes, "{segment} is written up to {end}");
        assert!(offset % BLOCK as u64 == 0, "a write at {offset} of {segment}");
        assert!(bytes.len() % BLOCK == 0, "a write of {} bytes to {segment}", bytes.len());
        self.ring.begin(write, file, offset, &bytes);
    }

    /// Begins to read a part of a segment; `Event::LogRead` follows. A read that fails says nothing of
    /// what was written: the entries are to be had elsewhere.
    ///
    /// # Panics
    /// If the segment was never ready or the read leaves it.
    pub(super) fn read(&self, read: LogRead) {
        let LogRead { read, segment, offset, length } = read;
        let file = self.files.get(&segment).expect("only segments that are ready are read");
        assert!(offset + length as u64 <= self.segment_bytes, "{segment} is read past its end");
        let (file, inbox) = (file.clone(), self.inbox.clone());
        let done = async move {
            let result = file.read_at_aligned(offset, length).await;
            if let Err(error) = &result {
                tracing::warn!(%segment, offset, %error, "reading the log back failed");
            }
            inbox.push(Event::LogRead(read, result.ok()));
        };
        glommio::spawn_local(done).detach();
    }

    /// Begins to create a segment; `Event::SegmentReady` or `Event::SegmentFailed` follows.
    pub(super) fn prepare(&self, segment: SegmentId) {
        let (directory, length) = (self.directory.clone(), self.segment_bytes);
        let (inbox, hurried) = (self.inbox.clone(), self.hurried.clone());
        let prepared = async move {
            let is_hurried = || hurried.get() == Some(segment);
            match create_segment(&directory, segment, length, is_hurried).await {
                Ok(file) => inbox.push(Event::SegmentReady(segment, Rc::new(file))),
                Err(error) if is_disk_full(&error) => {
                    // Tried every second: that it is so was said, and is in the status.
                    tracing::debug!(%segment, %error, "no room for a log segment");
                    inbox.push(Event::SegmentFailed(segment));
                }
                Err(error) => die("creating a log segment", &error),
            }
        };
        glommio::spawn_local(prepared).detach();
    }

    /// The log waits for a segment that is being created.
    pub(super) fn hurry(&self, segment: SegmentId) {
        self.hurried.set(Some(segment));
    }

    /// Takes in a segment that is ready.
    pub(super) fn opened(&mut self, segment: SegmentId, file: Rc<DmaFile>) {
        self.files.insert(segment, file);
    }

    /// Begins to remove a segment that nobody writes or reads. If that fails, or is forgotten in a crash,
    /// it is found as a spare at the next start.
    ///
    /// # Panics
    /// If it was never ready.
    pub(super) fn remove_segment(&mut self, segment: SegmentId) {
        let file = self.files.remove(&segment).expect("only segments that are ready are removed");
        let path = self.directory.join(segment_name(segment));
        let removed = async move {
            // The name last: then it is the thread for file names that gives the blocks back.
            if let Ok(file) = Rc::try_unwrap(file) {
                let _ = file.close().await;
            }
            if let Err(error) = glommio::io::remove(&path).await {
                tracing::debug!(%segment, %error, "a spare log segment could not be removed");
            }
        };
        glommio::spawn_local(removed).detach();
    }

    /// Begins to remove a group's snapshots; `Event::SnapshotsRemoved` follows.
    pub(super) fn remove_snapshots(&self, group: GroupId) {
        self.snapshots.push(Task::Remove(group));
    }

    /// Begins to write a piece of a snapshot; `Event::SnapshotWritten` or `Event::SnapshotFailed`
    /// follows.
    pub(super) fn snapshot(&self, write: SnapshotWrite) {
        self.snapshots.push(Task::Write(write));
    }
}

async fn open_segment(path: &Path) -> io::Result<DmaFile> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(SYNCING);
    Ok(options.dma_open(path).await?)
}

/// Creates a segment of zeros, durable with its name; once `is_hurried`, no more of it is written.
async fn create_segment(
    directory: &Path,
    segment: SegmentId,
    length: u64,
    is_hurried: impl Fn() -> bool,
) -> io::Result<DmaFile> {
    let path = directory.join(segment_name(segment));
    let temporary = directory.join(format!("{}.tmp", segment_name(segment)));
    if let Err(error) = write_zeroes(&temporary, length, is_hurried).await {
        // The room is wanted back; that the file may stay does no harm.
        let _ = glommio::io::remove(&temporary).await;
        return Err(error);
    }
    glommio::io::rename(&temporary, &path).await?;
    if let Err(error) = sync_directory(directory).await {
        die("syncing the log's directory", &error);
    }
    open_segment(&path).await
}

async fn write_zeroes(
    path: &PathBuf,
    length: u64,
    is_hurried: impl Fn() -> bool,
) -> io::Result<()> {
    let file = DmaFile::create(path).await?;
    file.pre_allocate(length, false).await?;
    let mut zeroes = file.alloc_dma_buffer(ZEROES);
    zeroes.as_bytes_mut().fill(0);
    let zeroes = Rc::new(zeroes);
    let mut offset = 0;
    while offset < length && !is_hurried() {
        let rest = length - offset;
        let written = if rest >= ZEROES as u64 {
            file.write_rc_at(zeroes.clone(), offset).await?
        } else {
            let mut tail = file.alloc_dma_buffer(usize::try_from(rest).expect("below a slice"));
            tail.as_bytes_mut().fill(0);
            file.write_at(tail, offset).await?
        };
        if written == 0 || written % BLOCK != 0 {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        offset += written as u64;
    }
    file.fdatasync().await?;
    file.close().await?;
    Ok(())
}

pub(super) async fn sync_directory(path: &Path) -> Result<(), GlommioError<()>> {
    let directory = Directory::open(path).await?;
    directory.sync().await?;
    directory.close().await
}

/// Whether what failed may succeed later, once there is room.
pub(super) fn is_disk_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        || error.raw_os_error() == Some(rustix::io::Errno::NOSPC.raw_os_error())
        || error.raw_os_error() == Some(rustix::io::Errno::DQUOT.raw_os_error())
}

#[cfg(test)]
mod tests;
