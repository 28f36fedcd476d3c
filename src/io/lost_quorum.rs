//! Works on the data directory of a node that does not run: the last resort after a lost quorum.
//!
//! Everything here blocks, one write after the other, each flushed before the next: it is done once
//! in a cluster's life, if ever.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::clock::Clock;
use super::data_dir::{DataDir, at, sync_directory};
use super::disk::segment_name;
use super::node::{core_identity, reactor_config};
use super::recover::recover;
use super::{DataDirError, NodeConfig, RunError};
use crate::base::{CoreId, GroupId, NodeId};
use crate::placement::ShardMap;
use crate::raft::ForceError;
use crate::reactor::{Effects, LogWrite, Offline, Survivor};
use crate::wal::SegmentId;

/// Bytes of zeros written at a time.
const ZEROES: usize = 1 << 20;

/// Why a group's members could not be rewritten.
#[derive(Debug, thiserror::Error)]
pub enum RecoverQuorumError {
    /// The directory cannot be used, or its data not be read.
    #[error(transparent)]
    Data(#[from] RunError),
    /// The members asked for are none that this replica could lead.
    #[error("group {group}: {source}")]
    Force {
        /// The group.
        group: GroupId,
        /// Why.
        source: ForceError,
    },
}

impl From<DataDirError> for RecoverQuorumError {
    fn from(error: DataDirError) -> Self {
        Self::Data(error.into())
    }
}

/// The data directory of a node that does not run, held so that it cannot be started meanwhile.
pub struct OfflineNode {
    config: NodeConfig,
    data_dir: DataDir,
    clock: Clock,
}

impl OfflineNode {
    /// Locks the directory; changes nothing in it.
    ///
    /// # Errors
    /// If a node runs on it, if it is another's, or blank.
    pub fn open(config: NodeConfig) -> Result<Self, RecoverQuorumError> {
        let data_dir = DataDir::open_formatted(&config)?;
        Ok(Self { config, data_dir, clock: Clock::start() })
    }

    /// What the node's replicas have, by group.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn survivors(&self) -> Result<Vec<Survivor>, RecoverQuorumError> {
        let mut survivors = Vec::new();
        for core in (0..self.config.cores()).map(CoreId) {
            survivors.extend(self.recover(core)?.survivors());
        }
        survivors.sort_unstable_by_key(|survivor| survivor.group);
        Ok(survivors)
    }

    /// Makes `voters` the whole of `group`, durably. Returns what the replica has then.
    ///
    /// # Errors
    /// If it cannot be done. Unless writing failed, nothing has changed.
    ///
    /// # Panics
    /// If it is not the group of one of the survivors.
    pub fn force(&self, group: GroupId, voters: &[NodeId]) -> Result<Survivor, RecoverQuorumError> {
        let core = ShardMap::home_core(group, self.config.cores());
        let mut offline = self.recover(core)?;
        let forced = offline.force(group, voters);
        let forced = forced.map_err(|source| RecoverQuorumError::Force { group, source })?;
        let directory = self.config.core_dir(core.0);
        while !offline.is_durable() {
            let mut effects = Effects::default();
            offline.issue(&mut effects);
            assert!(!effects.is_empty(), "what is staged can be written, or a segment is missing");
            for prepare in effects.prepare_segments {
                create_segment(&directory, prepare.segment, self.config.segment_bytes)?;
                offline.segment_ready(prepare.segment);
            }
            for write in effects.log_writes {
                write_durably(&directory, &write)?;
                offline.written(write.write);
            }
        }
        Ok(forced)
    }

    fn recover(&self, core: CoreId) -> Result<Offline, RunError> {
        let (config, incarnation) = (&self.config, self.data_dir.incarnation);
        let directory = config.core_dir(core.0);
        let identity = core_identity(config, incarnation, core);
        let found = recover(&directory, identity, config.segment_bytes)
            .map_err(|source| RunError::RecoverFiles { core, source })?;
        let config = reactor_config(config, incarnation, &self.clock, core);
        Offline::recover(config, found.recovered).map_err(|source| RunError::Recover {
            core,
            directory,
            source,
        })
    }
}

/// Creates a segment of zeros, durable with its name.
fn create_segment(directory: &Path, segment: SegmentId, length: u64) -> Result<(), DataDirError> {
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

fn write_durably(directory: &Path, write: &LogWrite) -> Result<(), DataDirError> {
    let path = directory.join(segment_name(write.segment));
    let written = OpenOptions::new().write(true).open(&path).and_then(|file| {
        file.write_all_at(&write.bytes, write.offset)?;
        file.sync_data()
    });
    written.map_err(at("write", &path))
}
