//! Where to look: a data directory, or one file of it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::Wanted;
use crate::base::{CoreId, GroupId, Index};
use crate::io::{core_root, segment_of, snapshot_of};
use crate::server::failure::Failure;
use crate::wal::{BLOCK, SegmentId, Superblock};

/// A data directory, or one file.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    is_file: bool,
}

/// One core's directory.
#[derive(Debug)]
pub(super) struct CoreDirectory {
    /// Its name within the data directory.
    pub(super) name: String,
    pub(super) core: CoreId,
    /// Segment files, ascending.
    pub(super) segments: BTreeMap<SegmentId, PathBuf>,
    /// Snapshot files.
    pub(super) snapshots: BTreeMap<(GroupId, Index), PathBuf>,
}

impl Place {
    /// What is at `path`.
    ///
    /// # Errors
    /// If nothing is there.
    pub(super) fn at(path: &Path) -> Result<Self, Failure> {
        let is_file = fs::metadata(path).map_err(unreadable(path))?.is_file();
        Ok(Self { path: path.to_owned(), is_file })
    }

    /// The path, if one file was asked for.
    pub(super) fn file(&self) -> Option<&Path> {
        self.is_file.then_some(&self.path)
    }

    /// The superblock's file.
    pub(super) fn superblock(&self) -> PathBuf {
        if self.is_file { self.path.clone() } else { self.path.join("superblock") }
    }

    /// The file of the shard map.
    pub(super) fn map(&self) -> PathBuf {
        if self.is_file { self.path.clone() } else { self.path.join("map") }
    }

    /// What the superblock says, if it can be read.
    pub(super) fn identity(&self) -> Option<Superblock> {
        let mut bytes = fs::read(self.path.join("superblock")).ok()?;
        bytes.resize(2 * BLOCK, 0);
        Superblock::decode([&bytes[..BLOCK], &bytes[BLOCK..]]).ok().map(|(block, _)| block)
    }

    /// The directories of the cores that are wanted, of the layout that counts.
    ///
    /// # Errors
    /// If one cannot be listed, or there is none.
    pub(super) fn cores(&self, wanted: &Wanted) -> Result<Vec<CoreDirectory>, Failure> {
        let layout = self.identity().map_or(0, |superblock| superblock.layout);
        let root = core_root(&self.path, layout);
        let mut cores = Vec::new();
        for (name, path) in listed(&root)? {
            let core = name.strip_prefix("core-").and_then(|number| number.parse().ok());
            if let Some(core) = core.filter(|core| wanted.core.is_none_or(|one| one == *core)) {
                cores.push(CoreDirectory::list(name, CoreId(core), &path)?);
            }
        }
        cores.sort_by_key(|directory| directory.core);
        if cores.is_empty() {
            let path = root.display();
            return Err(Failure::usage(match wanted.core {
                Some(core) => format!("`{path}` has no directory of core {core}"),
                None => format!("`{path}` holds no node's data: it has no directory `core-0`"),
            }));
        }
        Ok(cores)
    }

    /// The process that holds the directory's lock, as far as the kernel tells. The lock is not
    /// touched: a node that starts meanwhile must not be turned away.
    pub(super) fn is_used_by(&self) -> Option<String> {
        let directory = if self.is_file { self.path.parent()? } else { &self.path };
        let mut lock = directory.ancestors().take(3).map(|above| above.join("lock"));
        let inode = lock.find_map(|path| fs::metadata(path).ok())?.ino();
        let locks = fs::read_to_string("/proc/locks").ok()?;
        locks.lines().find_map(|line| holder(line, inode))
    }
}

impl CoreDirectory {
    fn list(name: String, core: CoreId, path: &Path) -> Result<Self, Failure> {
        let (mut segments, mut snapshots) = (BTreeMap::new(), BTreeMap::new());
        for (name, path) in listed(path)? {
            if let Some(segment) = segment_of(&name) {
                segments.insert(segment, path);
            } else if let Some(of) = snapshot_of(&name) {
                snapshots.insert(of, path);
            }
        }
        Ok(Self { name, core, segments, snapshots })
    }

    /// The newest snapshot of each group.
    pub(super) fn newest_snapshots(&self) -> BTreeMap<GroupId, &Path> {
        self.snapshots.iter().map(|((group, _), path)| (*group, path.as_path())).collect()
    }
}

/// Reads a file whole.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(unreadable(path))
}

/// A path's last part.
pub(super) fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn listed(directory: &Path) -> Result<Vec<(String, PathBuf)>, Failure> {
    let entries = fs::read_dir(directory).map_err(unreadable(directory))?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    let paths: Vec<PathBuf> = paths.collect::<Result<_, _>>().map_err(unreadable(directory))?;
    Ok(paths.into_iter().map(|path| (name_of(&path), path)).collect())
}

/// The process in a line of `/proc/locks`, if it says that one holds an exclusive lock on `inode`.
fn holder(line: &str, inode: u64) -> Option<String> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [_, "FLOCK", _, "WRITE", process, file, ..] = fields.as_slice() else { return None };
    let held: u64 = file.rsplit(':').next()?.parse().ok()?;
    (held == inode).then(|| (*process).to_owned())
}

fn unreadable(path: &Path) -> impl Fn(std::io::Error) -> Failure {
    let path = path.to_path_buf();
    move |error| Failure::usage(format!("cannot read `{}`: {error}", path.display()))
}
