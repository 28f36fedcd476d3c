//! The data directory: its lock, its formatting and its identity.
//!
//! ```text
//! <data>/lock          held for the life of the process
//! <data>/superblock    two slots of 4096 bytes; its presence means "formatted"
//! <data>/peers         which incarnation of each other node was seen (`registry`)
//! <data>/map           the newest shard map (`kept_map`)
//! <data>/core-<c>/     one core's segments and snapshots (or elsewhere: `layout`)
//! ```
//!
//! Formatting creates the superblock last, under a temporary name, and makes every directory entry
//! durable before it: a crash at any point leaves a directory that is formatted again or one that is
//! whole. Once a core directory holds a segment, a missing superblock means a lost node, not a blank one.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::NodeConfig;
use super::kept_map::KeptMapError;
use super::layout::{Layout, holds_log};
use crate::base::{ClusterId, Incarnation, NodeId};
use crate::wal::{BLOCK, Superblock, SuperblockError};

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// The file system said no.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process works in it.
    #[error(
        "the data directory `{}` is in use by another process: stop that one, or give this node a \
         directory of its own with --data-dir", path.display()
    )]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// There is nothing in it.
    #[error("`{}` holds no node's data: check --data-dir", path.display())]
    Blank {
        /// The directory.
        path: PathBuf,
    },
    /// A formatted directory without its superblock.
    #[error(
        "`{}` holds a log but no superblock: its identity is lost. Restore the file `superblock` \
         from a copy (not older than the last change of --smp), or keep the directory aside, start the \
         node without it, and let it in anew with `sunstar ctl member replace`",
        path.display()
    )]
    SuperblockMissing {
        /// The directory.
        path: PathBuf,
    },
    /// Neither slot of the superblock can be read.
    #[error(
        "the superblock of `{}` cannot be used: {source}. If both copies are damaged, this \
         node's data is lost: keep the directory aside, start the node without it, and let it in anew \
         with `sunstar ctl member replace`",
        path.display()
    )]
    Superblock {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        source: SuperblockError,
    },
    /// Data of another cluster.
    #[error(
        "the data directory `{}` belongs to cluster {found:016x}, not to {expected:016x}: check \
         --data-dir, --cluster-name, --groups and --initial-nodes (they name the cluster and must \
         stay as they were at the first start)",
        path.display()
    )]
    OtherCluster {
        /// The directory.
        path: PathBuf,
        /// Whose data it is.
        found: u64,
        /// Who we are.
        expected: u64,
    },
    /// Data of another node.
    #[error(
        "the data directory `{}` belongs to node {found}, not to {expected}: check --data-dir and \
         --node-id", path.display()
    )]
    OtherNode {
        /// The directory.
        path: PathBuf,
        /// Whose data it is.
        found: NodeId,
        /// Who we are.
        expected: NodeId,
    },
    /// Data of a node that joined a cluster, which is now to be one of its first.
    #[error(
        "the data directory `{}` belongs to a node that joined its cluster: start it with --join \
         HOST:PORT, the administration address of any other node, and without --initial-nodes and \
         --groups; or check --data-dir", path.display()
    )]
    Joined {
        /// The directory.
        path: PathBuf,
    },
    /// Data of one of a cluster's first nodes, which is now to join.
    #[error(
        "the data directory `{}` belongs to one of its cluster's first nodes: start it as at its first \
         start, with the same --initial-nodes and without --join; or check --data-dir", path.display()
    )]
    DidNotJoin {
        /// The directory.
        path: PathBuf,
    },
    /// The cluster has taken the node out.
    #[error(
        "{node} was removed from the cluster, says the shard map of epoch {epoch} in `{}`. To add it \
         again keep the directory aside, start it without and with --join HOST:PORT, the administration \
         address of another node, and let it in with `sunstar ctl member replace {node}`", path.display()
    )]
    Removed {
        /// The directory.
        path: PathBuf,
        /// This node.
        node: NodeId,
        /// Since this epoch at least.
        epoch: u64,
    },
    /// The shard map cannot be used.
    #[error(
        "the shard map `{}` cannot be used: {source}. Move the file aside and start again: the other nodes \
         tell the map anew", path.display()
    )]
    Map {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: KeptMapError,
    },
    /// The directory of a core is not there.
    #[error(
        "`{}` is missing, with a part of this node's log: restore it from a copy, or keep the whole data \
         directory aside, start the node without it, and let it in anew with `sunstar ctl member \
         replace`", path.display()
    )]
    CoreMissing {
        /// The core's directory.
        path: PathBuf,
    },
    /// The logs cannot be written anew beside the old ones.
    #[error(
        "the data directory `{}` holds logs for --smp {smp} and --log-segment-bytes {segment_bytes}. To \
         write them anew for other values takes {needed} bytes more on its disk, and {available} are \
         free: make room, or start with the values above", path.display()
    )]
    NoRoom {
        /// The directory.
        path: PathBuf,
        /// Bytes that the new logs take.
        needed: u64,
        /// Bytes that are free.
        available: u64,
        /// Cores that there are logs of.
        smp: u16,
        /// Bytes of their segments.
        segment_bytes: u64,
    },
    /// A setting that is fixed at the first start has changed.
    #[error(
        "the data directory `{}` was formatted with {setting} {found}, but {expected} is asked \
         for: start with {setting} {found}, which is fixed at the first start",
        path.display()
    )]
    Changed {
        /// The directory.
        path: PathBuf,
        /// The flag.
        setting: &'static str,
        /// What it was.
        found: u64,
        /// What it is.
        expected: u64,
    },
}

/// An open, locked, formatted data directory.
#[derive(Debug)]
pub(super) struct DataDir {
    /// Dropping it unlocks.
    _lock: File,
    path: PathBuf,
    /// As it is on the disk; changed by `move_to` alone.
    superblock: Superblock,
    /// Whether this start formatted it.
    pub(super) formatted: bool,
}

const SUPERBLOCK: &str = "superblock";

impl DataDir {
    /// Locks the directory and reads its superblock, formatting it at the first start. Removes what an
    /// interrupted change of layout left behind.
    ///
    /// # Errors
    /// If the directory is another's, in use, damaged, or the file system fails.
    pub(super) fn open(config: &NodeConfig) -> Result<Self, DataDirError> {
        create_directory(&config.data_dir)?;
        let lock = lock(&config.data_dir)?;
        let found = read_superblock(config)?;
        let formatted = found.is_none();
        let superblock = found.map_or_else(|| format(config), Ok)?;
        let path = config.data_dir.clone();
        // A process that died may have left names that only the cache knows: the superblock's, that of
        // what is known of other nodes. They count from now on, so they must stay.
        sync_directory(&path)?;
        let data_dir = Self { _lock: lock, path, superblock, formatted };
        data_dir.discard_other_layouts()?;
        Ok(data_dir)
    }

    /// Locks a directory that was formatted before, and reads its superblock.
    ///
    /// # Errors
    /// As `open`; and if it is blank.
    pub(super) fn open_formatted(config: &NodeConfig) -> Result<Self, DataDirError> {
        let path = config.data_dir.clone();
        let blank = || DataDirError::Blank { path: path.clone() };
        if !path.exists() {
            return Err(blank());
        }
        let lock = lock(&path)?;
        let superblock = read_superblock(config)?.ok_or_else(blank)?;
        Ok(Self { _lock: lock, path, superblock, formatted: false })
    }

    /// Whether `open` would succeed on what is there now; changes nothing but the lock file.
    ///
    /// # Errors
    /// As `open`.
    pub(super) fn check(config: &NodeConfig) -> Result<(), DataDirError> {
        if !config.data_dir.exists() {
            return Ok(());
        }
        lock(&config.data_dir)?;
        read_superblock(config).map(drop)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whose it is, and what is in it.
    pub(super) fn superblock(&self) -> Superblock {
        self.superblock
    }

    /// Cores that it holds logs of.
    pub(super) fn cores(&self) -> u16 {
        self.superblock.smp
    }

    /// Bytes of their segments.
    pub(super) fn segment_bytes(&self) -> u64 {
        self.superblock.segment_bytes
    }

    /// Where their directories are.
    pub(super) fn layout(&self) -> Layout {
        Layout::new(&self.path, self.superblock.layout)
    }

    /// From now on `superblock` counts, but for its sequence, and the layout it names, which is there and
    /// durable. Both slots say so, lest damage to one bring back a layout that is no more.
    ///
    /// # Errors
    /// If the file system fails; either layout may count then, at the next start.
    pub(super) fn move_to(&mut self, superblock: Superblock) -> Result<(), DataDirError> {
        let sequence = self.superblock.sequence;
        self.superblock = write_superblock(&self.path, Superblock { sequence, ..superblock })?;
        Ok(())
    }

    /// Removes the layouts that do not count.
    ///
    /// # Errors
    /// If the one that counts is not whole, or the file system fails.
    pub(super) fn discard_other_layouts(&self) -> Result<(), DataDirError> {
        let layout = self.layout();
        layout.check(self.cores())?;
        layout.discard_others()
    }
}

/// Creates `path` and what leads to it, each entry durable.
pub(super) fn create_directory(path: &Path) -> Result<(), DataDirError> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => Path::new("/"),
    };
    create_directory(parent)?;
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(at("create the directory", path)(error))
        }
        _ => sync_directory(parent),
    }
}

/// Makes the entries of a directory durable.
pub(super) fn sync_directory(path: &Path) -> Result<(), DataDirError> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(at("sync", path))
}

/// Replaces the file `name` in `directory` whole: after a crash it is the old one or the new one.
pub(super) fn replace_file(directory: &Path, name: &str, bytes: &[u8]) -> Result<(), DataDirError> {
    put_file(directory, name, bytes)?;
    sync_directory(directory)
}

/// The same, until the directory is synced only as far as this process sees. On error the old file is
/// in its place, and what was begun of the new one takes no room.
pub(super) fn put_file(directory: &Path, name: &str, bytes: &[u8]) -> Result<(), DataDirError> {
    let temporary = directory.join(format!("{name}.tmp"));
    let write = || -> io::Result<()> {
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    let path = directory.join(name);
    let put = write()
        .map_err(at("write", &temporary))
        .and_then(|()| fs::rename(&temporary, &path).map_err(at("rename to", &path)));
    if put.is_err() {
        // It is written over the next time if it cannot be removed.
        let _ = fs::remove_file(&temporary);
    }
    put
}

fn lock(data_dir: &Path) -> Result<File, DataDirError> {
    let path = data_dir.join("lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(at("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(DataDirError::Locked { path: data_dir.into() }),
        Err(TryLockError::Error(error)) => Err(at("lock", &path)(error)),
    }
}

/// The superblock, verified to be this node's; nothing if the directory is blank.
fn read_superblock(config: &NodeConfig) -> Result<Option<Superblock>, DataDirError> {
    let path = config.data_dir.join(SUPERBLOCK);
    let mut bytes = Vec::new();
    match File::open(&path).and_then(|mut file| file.read_to_end(&mut bytes)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return if holds_log(&config.data_dir)? {
                Err(DataDirError::SuperblockMissing { path: config.data_dir.clone() })
            } else {
                Ok(None)
            };
        }
        Err(error) => return Err(at("read", &path)(error)),
        Ok(_) => {}
    }
    bytes.resize(2 * BLOCK, 0);
    let (superblock, _) = Superblock::decode([&bytes[..BLOCK], &bytes[BLOCK..]])
        .map_err(|source| DataDirError::Superblock { path: config.data_dir.clone(), source })?;
    verify(config, &superblock)?;
    Ok(Some(superblock))
}

/// Whose data `data_dir` holds; nothing if it has none that can be read.
pub fn identity_of(data_dir: &Path) -> Option<Superblock> {
    let mut bytes = fs::read(data_dir.join(SUPERBLOCK)).ok()?;
    bytes.resize(2 * BLOCK, 0);
    let (superblock, _) = Superblock::decode([&bytes[..BLOCK], &bytes[BLOCK..]]).ok()?;
    Some(superblock)
}

fn verify(config: &NodeConfig, found: &Superblock) -> Result<(), DataDirError> {
    let path = || config.data_dir.clone();
    if found.node != config.node {
        let (found, expected) = (found.node, config.node);
        return Err(DataDirError::OtherNode { path: path(), found, expected });
    }
    match (found.groups, config.groups) {
        (found, expected) if found == expected => {}
        (0, _) => return Err(DataDirError::Joined { path: path() }),
        (_, 0) => return Err(DataDirError::DidNotJoin { path: path() }),
        (found, expected) => {
            let (setting, found, expected) = ("--groups", found.into(), expected.into());
            return Err(DataDirError::Changed { path: path(), setting, found, expected });
        }
    }
    let (ClusterId(found), ClusterId(expected)) = (found.cluster, config.cluster);
    if found != expected {
        return Err(DataDirError::OtherCluster { path: path(), found, expected });
    }
    Ok(())
}

fn format(config: &NodeConfig) -> Result<Superblock, DataDirError> {
    let layout = Layout::new(&config.data_dir, 0);
    for core in 0..config.cores() {
        create_directory(&layout.core_dir(core))?;
    }
    sync_directory(&config.data_dir)?;
    let superblock = Superblock {
        sequence: 0,
        cluster: config.cluster,
        node: config.node,
        incarnation: Incarnation(random()?),
        smp: config.cores(),
        groups: config.groups,
        segment_bytes: config.segment_bytes,
        layout: layout.number(),
        log_seed: random()?,
    };
    write_superblock(&config.data_dir, superblock)
}

/// Replaces both slots, the second being the newer one. Returns that.
fn write_superblock(data_dir: &Path, before: Superblock) -> Result<Superblock, DataDirError> {
    let first = Superblock { sequence: before.sequence + 1, ..before };
    let second = Superblock { sequence: before.sequence + 2, ..before };
    let mut bytes = first.encode(0);
    bytes.extend(second.encode(1));
    replace_file(data_dir, SUPERBLOCK, &bytes)?;
    Ok(second)
}

/// A number that no other formatting has, not zero.
pub(super) fn random() -> Result<u64, DataDirError> {
    let path = Path::new("/dev/urandom");
    let mut bytes = [0; 8];
    File::open(path).and_then(|mut file| file.read_exact(&mut bytes)).map_err(at("read", path))?;
    Ok(u64::from_le_bytes(bytes).max(1))
}

/// Names what was attempted when the system says no.
pub(super) fn at(action: &'static str, path: &Path) -> impl Fn(io::Error) -> DataDirError {
    let path = path.to_path_buf();
    move |source| DataDirError::Io { action, path: path.clone(), source }
}

#[cfg(test)]
mod tests;
