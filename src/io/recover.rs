//! Reads what one core left on its disk: its log's segments, its groups' snapshots.
//!
//! Runs on the core's own thread before it serves, so reading may block.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::disk::{segment_name, segment_of};
use super::progress::Progress;
use super::snapshots::{snapshot_name, snapshot_of};
use crate::base::{GroupId, Index};
use crate::reactor::Recovered;
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
    pub(super) recovered: Recovered,
    /// All segment files, used or blank.
    pub(super) segments: Vec<SegmentId>,
    /// Bytes read.
    pub(super) bytes: u64,
}

/// Reads everything in a core's directory.
///
/// # Errors
/// If a file cannot be read or the log is damaged.
pub(super) fn recover(
    directory: &Path,
    log: LogConfig,
    progress: &Progress,
) -> Result<Found, RecoverFilesError> {
    let listed = list(directory)?;
    let mut paths = Vec::new();
    for (&group, &index) in &listed.snapshots {
        let path = directory.join(snapshot_name(group, index));
        progress.expect(fs::metadata(&path).map_err(at(&path))?.len());
        paths.push((group, path));
    }
    let (log, mut bytes) = read_log(directory, &listed.segments, log, progress)?;
    let (mut snapshots, mut snapshots_lost) = (Vec::new(), Vec::new());
    for (group, path) in paths {
        let content = read(&path)?;
        progress.advance(content.len() as u64);
        bytes += content.len() as u64;
        if let Err(error) = wal::read_snapshot(&content) {
            set_aside(&path, &error)?;
            snapshots_lost.push(group);
        } else {
            snapshots.push(content);
        }
    }
    let recovered = Recovered { log, snapshots, snapshots_lost };
    Ok(Found { recovered, segments: listed.segments, bytes })
}

/// Keeps a damaged snapshot for who wants to look at it; the group gets another from its leader.
///
/// The file keeps its name: until the log says that the group begins with nothing, the next start
/// must find that something is lost.
fn set_aside(path: &Path, error: &SnapshotError) -> Result<(), RecoverFilesError> {
    let aside = path.with_extension("snap.damaged");
    fs::copy(path, &aside).map_err(at(&aside))?;
    let (path, aside) = (path.display(), aside.display());
    tracing::warn!(%path, %aside, %error, "a snapshot is damaged: another comes from the leader");
    Ok(())
}

/// Reads the log made of `segments`; returns it and how many bytes were read.
///
/// # Errors
/// If a file cannot be read or the log is damaged.
pub(super) fn read_log(
    directory: &Path,
    segments: &[SegmentId],
    config: LogConfig,
    progress: &Progress,
) -> Result<(wal::Recovered, u64), RecoverFilesError> {
    let log_error = |source| RecoverFilesError::Log { directory: directory.into(), source };
    let mut recovery = Recovery::new(config);
    let mut bytes = feed(directory, segments, &mut recovery, progress)?;
    if let Some(mut second) = recovery.second_reading() {
        bytes += feed(directory, segments, &mut second, progress)?;
        recovery = second;
    }
    let log = recovery.finish().map_err(log_error)?;
    for damage in &log.damage {
        let directory = directory.display();
        tracing::warn!(%directory, %damage, "the log is damaged: to be repaired from peers");
    }
    Ok((log, bytes))
}

/// Gives a recovery all it asks for; returns how many bytes that was.
fn feed(
    directory: &Path,
    segments: &[SegmentId],
    recovery: &mut Recovery,
    progress: &Progress,
) -> Result<u64, RecoverFilesError> {
    let log_error = |source| RecoverFilesError::Log { directory: directory.into(), source };
    let mut ordered = BTreeSet::new();
    for &segment in segments {
        let path = directory.join(segment_name(segment));
        let order = recovery.inspect_head(segment, &read_head(&path)?).map_err(log_error)?;
        ordered.insert((order.unwrap_or(u64::MAX), segment));
        progress.expect(fs::metadata(&path).map_err(at(&path))?.len());
    }
    let mut bytes = 0;
    for (_, segment) in ordered {
        let content = read_durable(&directory.join(segment_name(segment)))?;
        progress.advance(content.len() as u64);
        bytes += content.len() as u64;
        recovery.feed(segment, &content).map_err(log_error)?;
    }
    Ok(bytes)
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

fn read_head(path: &Path) -> Result<Vec<u8>, RecoverFilesError> {
    let mut head = Vec::with_capacity(BLOCK);
    File::open(path)
        .and_then(|file| file.take(BLOCK as u64).read_to_end(&mut head))
        .map_err(at(path))?;
    Ok(head)
}

/// Reads a segment and makes sure that what was read is on the disk. Writes that were in flight when
/// the process died may be in the device's cache only: they count from now on, so they must stay.
fn read_durable(path: &Path) -> Result<Vec<u8>, RecoverFilesError> {
    let content = read(path)?;
    File::open(path).and_then(|file| file.sync_data()).map_err(at(path))?;
    Ok(content)
}

fn read(path: &Path) -> Result<Vec<u8>, RecoverFilesError> {
    fs::read(path).map_err(at(path))
}

fn at(path: &Path) -> impl Fn(io::Error) -> RecoverFilesError {
    let path = path.to_path_buf();
    move |source| RecoverFilesError::Io { path: path.clone(), source }
}
