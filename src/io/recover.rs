//! Reads what one core left on its disk: its log's segments, its groups' snapshots.
//!
//! Runs on the core's own thread before it serves, so reading may block. Another thread reads ahead.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::mem;
use std::path::{Path, PathBuf};

use super::RunError;
use super::clock::Clock;
use super::disk::{is_disk_full, segment_name, segment_of};
use super::progress::Progress;
use super::read_ahead::ReadAhead;
use super::snapshots::{snapshot_name, snapshot_of};
use crate::base::{CoreId, GroupId, Index, Micros};
use crate::reactor::{RecoverError, Recovered, SnapshotLoader};
use crate::wal::{self, BLOCK, LogConfig, LogError, Recovery, SegmentId, SnapshotError};

/// Why a core cannot read its own data.
#[derive(Debug, thiserror::Error)]
pub enum RecoverFilesError {
    /// The file system said no.
    #[error("cannot read `{}`: {source}", path.display())]
    Io {
        /// What was read.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The log is damaged or another's.
    #[error(
        "the log in `{}` cannot be used: {source}. The other replicas have this data; keep the \
         directory aside and the node stopped: from a damaged log it could forget its votes",
        directory.display()
    )]
    Log {
        /// The core's directory.
        directory: PathBuf,
        /// What is wrong.
        source: LogError,
    },
}

/// What was found, and what is needed to go on writing.
pub(super) struct Found {
    directory: PathBuf,
    /// What the log holds; empty once taken by `restore`.
    log: wal::Recovered,
    /// All segment files, used or blank.
    pub(super) segments: Vec<SegmentId>,
    /// The newest snapshot of each group.
    pub(super) snapshots: Vec<(GroupId, PathBuf)>,
    /// What reading took so far.
    pub(super) spent: Spent,
}

/// Of a snapshot so much is read at a time.
const SNAPSHOT_PIECE_BYTES: usize = 8 << 20;

/// What reading took.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spent {
    /// Bytes read.
    pub(super) bytes: u64,
    /// Waiting for the disk.
    pub(super) waited: Micros,
    /// Verifying the log and taking it in.
    pub(super) log: Micros,
    /// Verifying the snapshots and restoring what is in them.
    pub(super) snapshots: Micros,
}

/// Reads the log in a core's directory, and lists its snapshots.
///
/// # Errors
/// If a file cannot be read or the log is damaged.
pub(super) fn recover(
    directory: &Path,
    log: LogConfig,
    progress: &Progress,
) -> Result<Found, RecoverFilesError> {
    let listed = list(directory)?;
    // A file may have got its name just before the process died, and not durably: what counts from
    // now on must not lose it to a power failure.
    File::open(directory).and_then(|it| it.sync_all()).map_err(at(directory))?;
    let mut snapshots = Vec::new();
    for (&group, &index) in &listed.snapshots {
        let path = directory.join(snapshot_name(group, index));
        progress.expect(fs::metadata(&path).map_err(at(&path))?.len());
        snapshots.push((group, path));
    }
    let segments = listed.segments;
    let (log, spent) = read_log(directory, &segments, log, progress)?;
    Ok(Found { directory: directory.into(), log, segments, snapshots, spent })
}

impl Found {
    /// Reads the snapshots, restores the state in each that is whole, and adds the log.
    ///
    /// # Errors
    /// If one cannot be read, or is not what this version writes.
    pub(super) fn restore(
        &mut self,
        core: CoreId,
        progress: &Progress,
    ) -> Result<Recovered, RunError> {
        let clock = Clock::start();
        let unread = |source| RunError::RecoverFiles { core, source };
        let paths = self.snapshots.iter().map(|(_, path)| path.clone()).collect();
        let files = ReadAhead::begin(paths, SNAPSHOT_PIECE_BYTES, false);
        let mut files = files.map_err(at(&self.directory)).map_err(unread)?;
        let mut recovered = Recovered { log: mem::take(&mut self.log), ..Recovered::default() };
        for (group, path) in &self.snapshots {
            let mut loader = SnapshotLoader::default();
            let mut last = false;
            while !last {
                let piece = files.next().map_err(at(path)).map_err(unread)?;
                progress.advance(piece.len() as u64);
                self.spent.bytes += piece.len() as u64;
                last = piece.last;
                let began = clock.now();
                loader.feed(&piece);
                self.spent.snapshots.0 += clock.now().since(began).0;
            }
            let began = clock.now();
            match loader.finish() {
                Ok(snapshot) => recovered.snapshots.push(snapshot),
                Err(RecoverError::Snapshot(error)) => {
                    set_aside(path, &error).map_err(unread)?;
                    recovered.snapshots_lost.push(*group);
                }
                Err(source) => {
                    let directory = self.directory.clone();
                    return Err(RunError::Recover { core, directory, source });
                }
            }
            self.spent.snapshots.0 += clock.now().since(began).0;
        }
        self.spent.waited.0 += files.waited().0;
        Ok(recovered)
    }
}

/// Keeps a damaged snapshot for who wants to look at it, if there is room; the group gets another from its
/// leader.
///
/// The file keeps its name: until the log says that the group begins with nothing, the next start
/// must find that something is lost.
fn set_aside(path: &Path, error: &SnapshotError) -> Result<(), RecoverFilesError> {
    let aside = path.with_extension("snap.damaged");
    let kept = match fs::copy(path, &aside) {
        Err(full) if is_disk_full(&full) => {
            // What there is of the copy is of no use, and the new snapshot wants the room.
            let _ = fs::remove_file(&aside);
            "no copy: the disk is full".to_owned()
        }
        copied => copied.map(|_| aside.display().to_string()).map_err(at(&aside))?,
    };
    let path = path.display();
    tracing::warn!(%path, aside = %kept, %error, "a snapshot is damaged: another comes from the leader");
    Ok(())
}

/// Reads the log made of `segments`; returns it and what that took.
///
/// # Errors
/// If a file cannot be read or the log is damaged.
pub(super) fn read_log(
    directory: &Path,
    segments: &[SegmentId],
    config: LogConfig,
    progress: &Progress,
) -> Result<(wal::Recovered, Spent), RecoverFilesError> {
    let log_error = |source| RecoverFilesError::Log { directory: directory.into(), source };
    let mut recovery = Recovery::new(config);
    let mut spent = Spent::default();
    feed(directory, segments, &mut recovery, progress, &mut spent)?;
    if let Some(mut second) = recovery.second_reading() {
        feed(directory, segments, &mut second, progress, &mut spent)?;
        recovery = second;
    }
    let log = recovery.finish().map_err(log_error)?;
    for damage in &log.damage {
        let directory = directory.display();
        tracing::warn!(%directory, %damage, "the log is damaged: to be repaired from peers");
    }
    Ok((log, spent))
}

/// Gives a recovery all it asks for.
fn feed(
    directory: &Path,
    segments: &[SegmentId],
    recovery: &mut Recovery,
    progress: &Progress,
    spent: &mut Spent,
) -> Result<(), RecoverFilesError> {
    let log_error = |source| RecoverFilesError::Log { directory: directory.into(), source };
    let mut ordered = BTreeSet::new();
    let mut longest = BLOCK;
    for &segment in segments {
        let path = directory.join(segment_name(segment));
        let (head, length) = read_head(&path)?;
        let order = recovery.inspect_head(segment, &head).map_err(log_error)?;
        ordered.insert((order.unwrap_or(u64::MAX), segment, path));
        progress.expect(length);
        longest = longest.max(usize::try_from(length).expect("a file that fits memory"));
    }
    let clock = Clock::start();
    // Writes that were in flight when the process died may be in the device's cache only: they
    // count from now on, so they must stay.
    let paths = ordered.iter().map(|(_, _, path)| path.clone()).collect();
    let mut files =
        ReadAhead::begin(paths, longest.next_multiple_of(BLOCK), true).map_err(at(directory))?;
    for (_, segment, path) in &ordered {
        let content = files.next().map_err(at(path))?;
        progress.advance(content.len() as u64);
        spent.bytes += content.len() as u64;
        let began = clock.now();
        recovery.feed(*segment, &content).map_err(log_error)?;
        spent.log.0 += clock.now().since(began).0;
    }
    spent.waited.0 += files.waited().0;
    Ok(())
}

/// What is in a core's directory.
#[derive(Default)]
pub(super) struct Listed {
    /// Ascending.
    pub(super) segments: Vec<SegmentId>,
    /// The newest of each group.
    pub(super) snapshots: BTreeMap<GroupId, Index>,
}

/// Lists a core's directory and removes what a crash left unfinished.
///
/// # Errors
/// If the file system fails.
pub(super) fn list(directory: &Path) -> Result<Listed, RecoverFilesError> {
    let mut listed = Listed::default();
    for entry in fs::read_dir(directory).map_err(at(directory))? {
        let entry = entry.map_err(at(directory))?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if entry.path().extension().is_some_and(|extension| extension == "tmp") {
            fs::remove_file(entry.path()).map_err(at(&entry.path()))?;
        } else if let Some(segment) = segment_of(name) {
            listed.segments.push(segment);
        } else if let Some((group, index)) = snapshot_of(name) {
            let newest = listed.snapshots.entry(group).or_insert(index);
            *newest = index.max(*newest);
        }
    }
    listed.segments.sort_unstable();
    Ok(listed)
}

/// The first block of a file, and how long the file is.
fn read_head(path: &Path) -> Result<(Vec<u8>, u64), RecoverFilesError> {
    let mut head = Vec::with_capacity(BLOCK);
    let file = File::open(path).map_err(at(path))?;
    let length = file.metadata().map_err(at(path))?.len();
    file.take(BLOCK as u64).read_to_end(&mut head).map_err(at(path))?;
    Ok((head, length))
}

fn at(path: &Path) -> impl Fn(io::Error) -> RecoverFilesError {
    let path = path.to_path_buf();
    move |source| RecoverFilesError::Io { path: path.clone(), source }
}
