//! One core's snapshot files: written piece by piece under a temporary name, then renamed.
//!
//! One task writes all pieces in the order they were given, past the page cache: what a snapshot
//! leaves there would have to be flushed at once in the end, and every log write would wait behind it.
//! After each piece it leaves the disk to others for as long as the piece took.
//!
//! A file bears its final name only once
//! it is durable whole; only then are older ones of its group removed, and only then does the reactor
//! hear that the last piece was written, on which it trims the log. A group that left this node has its
//! files removed in the same order.
//!
//! A snapshot that the disk has no room for is given up, its file removed: it will be begun again. Any
//! other failure ends the process.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use glommio::io::DmaFile;
use glommio::timer::sleep;

use super::clock::Clock;
use super::disk::{die, is_disk_full, sync_directory};
use super::inbox::{Event, Inbox};
use crate::base::{GroupId, Index};
use crate::reactor::SnapshotWrite;
use crate::wal::BLOCK;

/// What there is to do for the writing task.
pub(super) enum Task {
    /// Write a piece.
    Write(SnapshotWrite),
    /// Remove what there is of a group.
    Remove(GroupId),
}

/// The disk is left to others after a piece, at most.
const REST_MAX: Duration = Duration::from_millis(50);

/// A file being written.
struct Unfinished {
    file: DmaFile,
    /// Bytes written: whole blocks.
    written: u64,
    /// The bytes after them, less than a block between pieces.
    rest: Vec<u8>,
}

/// What waits for the writing task.
pub(super) struct SnapshotFiles {
    directory: Rc<Path>,
    tasks: RefCell<VecDeque<Task>>,
    /// The task, while it waits.
    writer: Cell<Option<Waker>>,
}

impl SnapshotFiles {
    pub(super) fn new(directory: Rc<Path>) -> Self {
        Self { directory, tasks: RefCell::default(), writer: Cell::default() }
    }

    /// Leaves something to be done after what was left before.
    pub(super) fn push(&self, task: Task) {
        self.tasks.borrow_mut().push_back(task);
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
    }

    async fn next(&self) -> Task {
        poll_fn(|context| {
            let task = self.tasks.borrow_mut().pop_front();
            if task.is_none() {
                self.writer.set(Some(context.waker().clone()));
            }
            task.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

/// The name of a snapshot's file.
pub(super) fn snapshot_name(group: GroupId, index: Index) -> String {
    format!("{}-{}.snap", group.0, index.0)
}

/// The group and index of the snapshot whose file is so named.
pub fn snapshot_of(name: &str) -> Option<(GroupId, Index)> {
    let (group, index) = name.strip_suffix(".snap")?.split_once('-')?;
    Some((GroupId(group.parse().ok()?), Index(index.parse().ok()?)))
}

/// Writes pieces for ever.
pub(super) async fn write_snapshots(files: Rc<SnapshotFiles>, inbox: Rc<Inbox>) {
    let mut open = BTreeMap::new();
    loop {
        let done = match files.next().await {
            Task::Write(write) => write_or_give_up(&files.directory, &mut open, write).await,
            Task::Remove(group) => {
                let done = Event::SnapshotsRemoved(group);
                remove_all(&files.directory, group).await.map(|()| done)
            }
        };
        match done {
            Ok(done) => inbox.push(done),
            Err(error) => die("writing a snapshot", &error),
        }
    }
}

/// Writes a piece. If there is no room for it, removes what there is of the snapshot.
async fn write_or_give_up(
    directory: &Path,
    open: &mut BTreeMap<u64, Unfinished>,
    write: SnapshotWrite,
) -> io::Result<Event> {
    let (snapshot, group, index) = (write.snapshot, write.group, write.index);
    match write_piece(directory, open, write).await {
        Ok(()) => Ok(Event::SnapshotWritten(snapshot)),
        Err(error) if is_disk_full(&error) => {
            tracing::warn!(%group, %index, %error, "no room for a snapshot");
            // Closed, or its room would not come back; whether that succeeds does not matter to a
            // file that is removed.
            if let Some(unfinished) = open.remove(&snapshot) {
                let _ = unfinished.file.close().await;
            }
            let temporary = temporary_name(&directory.join(snapshot_name(group, index)));
            match glommio::io::remove(&temporary).await.map_err(io::Error::from) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(Event::SnapshotFailed(snapshot)),
            }
        }
        Err(error) => Err(error),
    }
}

async fn write_piece(
    directory: &Path,
    open: &mut BTreeMap<u64, Unfinished>,
    write: SnapshotWrite,
) -> io::Result<()> {
    let SnapshotWrite { snapshot, group, index, offset, bytes, last } = write;
    let path = directory.join(snapshot_name(group, index));
    let temporary = temporary_name(&path);
    if offset == 0 {
        open.insert(snapshot, Unfinished::create(&temporary).await?);
    }
    let file = open.get_mut(&snapshot).expect("a snapshot's first piece is at offset 0");
    let clock = Clock::start();
    let began = clock.now();
    file.append(offset, &bytes).await?;
    if last {
        file.finish().await?;
        open.remove(&snapshot).expect("written just now").file.close().await?;
        glommio::io::rename(&temporary, &path).await?;
        sync_directory(directory).await?;
        remove(directory, |its_group, its| its_group == group && its < index).await?;
    } else {
        let took = Duration::from_micros(clock.now().since(began).0);
        sleep(took.min(REST_MAX)).await;
    }
    Ok(())
}

impl Unfinished {
    async fn create(path: &Path) -> io::Result<Self> {
        Ok(Self { file: DmaFile::create(path).await?, written: 0, rest: Vec::new() })
    }

    async fn append(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let end = self.written + self.rest.len() as u64;
        assert!(offset == end, "a piece for {offset} of a snapshot of {end} bytes");
        self.rest.extend_from_slice(bytes);
        self.write(self.rest.len() / BLOCK * BLOCK).await
    }

    /// Writes the first `length` bytes of the rest, whole blocks.
    async fn write(&mut self, length: usize) -> io::Result<()> {
        if length == 0 {
            return Ok(());
        }
        let mut buffer = self.file.alloc_dma_buffer(length);
        buffer.as_bytes_mut().copy_from_slice(&self.rest[..length]);
        let written = self.file.write_at(buffer, self.written).await?;
        if written != length {
            // A file takes part of a write when there is no room for the rest.
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        self.rest.drain(..length);
        self.written += length as u64;
        Ok(())
    }

    /// Writes what is left, and makes all of it durable.
    async fn finish(&mut self) -> io::Result<()> {
        let length = self.written + self.rest.len() as u64;
        self.rest.resize(self.rest.len().next_multiple_of(BLOCK), 0);
        self.write(self.rest.len()).await?;
        self.file.truncate(length).await?;
        Ok(self.file.fdatasync().await?)
    }
}

fn temporary_name(path: &Path) -> PathBuf {
    path.with_extension("snap.tmp")
}

/// The files of a group that left; after this they stay away.
async fn remove_all(directory: &Path, group: GroupId) -> io::Result<()> {
    remove(directory, |its_group, _| its_group == group).await?;
    Ok(sync_directory(directory).await?)
}

/// Removes the snapshots whose group and index are so.
async fn remove(directory: &Path, wanted: impl Fn(GroupId, Index) -> bool) -> io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let name = entry?.file_name();
        let snapshot = name.to_str().and_then(snapshot_of);
        if snapshot.is_some_and(|(group, index)| wanted(group, index)) {
            glommio::io::remove(directory.join(name)).await?;
        }
    }
    Ok(())
}
