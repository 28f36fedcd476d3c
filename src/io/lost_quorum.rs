//! Works on the data directory of a node that does not run: the last resort after a lost quorum.
//!
//! Everything here blocks, one write after the other, each flushed before the next: it is done once
//! in a cluster's life, if ever.

use super::clock::Clock;
use super::data_dir::DataDir;
use super::kept_map::{kept_map, newer};
use super::node::reactor_config;
use super::offline_log::{create_segment, write_durably};
use super::progress::Progress;
use super::recover::recover;
use super::{DataDirError, NodeConfig, RunError};
use crate::base::{CoreId, GroupId, NodeId};
use crate::placement::ShardMap;
use crate::raft::ForceError;
use crate::reactor::{Effects, Offline, Survivor};

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
    /// With as many cores as the directory has logs of, whatever it was started with.
    config: NodeConfig,
    data_dir: DataDir,
    clock: Clock,
}

impl OfflineNode {
    /// Locks the directory; changes nothing in it.
    ///
    /// # Errors
    /// If a node runs on it, if it is another's, or blank.
    pub fn open(mut config: NodeConfig) -> Result<Self, RecoverQuorumError> {
        let data_dir = DataDir::open_formatted(&config)?;
        config.shard_map = newer(kept_map(&config.data_dir, config.cluster)?, &config.shard_map);
        config.smp = usize::from(data_dir.cores());
        config.segment_bytes = data_dir.segment_bytes();
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
        let directory = self.data_dir.layout().core_dir(core.0);
        while !offline.is_durable() {
            let mut effects = Effects::default();
            offline.issue(&mut effects);
            assert!(!effects.is_empty(), "what is staged can be written, or a segment is missing");
            for prepare in effects.prepare_segments {
                create_segment(&directory, prepare.segment, self.config.segment_bytes)?;
                offline.segment_ready(prepare.segment);
            }
            for write in effects.log_writes {
                write_durably(&directory, write.segment, write.offset, &write.bytes)?;
                offline.written(write.write);
            }
        }
        Ok(forced)
    }

    fn recover(&self, core: CoreId) -> Result<Offline, RunError> {
        let superblock = self.data_dir.superblock();
        let directory = self.data_dir.layout().core_dir(core.0);
        let progress = Progress::default();
        let mut found = recover(&directory, superblock.log_config(core), &progress)
            .map_err(|source| RunError::RecoverFiles { core, source })?;
        let config = reactor_config(&self.config, &superblock, &self.clock, core);
        let recovered = found.restore(core, &progress)?;
        Offline::recover(config, recovered).map_err(|source| RunError::Recover {
            core,
            directory,
            source,
        })
    }
}
