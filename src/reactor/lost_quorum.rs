//! A core that does not run: what its replicas have, and the last resort after a lost quorum.
//!
//! ```text
//!   recovered ──▶ Offline ──force──▶ staged ──issue──▶ writes, segments ──written──▶ is_durable
//! ```
//!
//! The log is written as a running core writes it, so that the node, started again, finds an entry
//! like any other. No time passes here and nobody is talked to: no replica stands for election.

use super::config::{ReactorConfig, RecoverError, Recovered};
use super::core::Core;
use super::effects::Effects;
use super::recovery;
use super::replica::Replica;
use crate::base::{GroupId, Index, NodeId, Term, Time};
use crate::raft::{Configuration, ForceError};
use crate::wal::{SegmentId, WriteId};

/// No time passes.
const NOW: Time = Time(0);

/// What one replica on a disk has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survivor {
    /// The group.
    pub group: GroupId,
    /// The latest term it has seen.
    pub term: Term,
    /// Its last entry; which survivor is furthest is told by the term, then the index.
    pub last_index: Index,
    /// That entry's term.
    pub last_term: Term,
    /// The members, as its log says.
    pub configuration: Configuration,
}

/// The replicas of a core whose node does not run.
pub struct Offline {
    core: Core,
    replicas: Vec<Replica>,
}

impl Offline {
    /// A core as it was when its process ended.
    ///
    /// # Errors
    /// If its node could not start from it either.
    pub fn recover(config: ReactorConfig, recovered: Recovered) -> Result<Self, RecoverError> {
        let (core, mut replicas) = recovery::recover(NOW, config, recovered)?;
        // Of a group that left, nothing survives here but a vote.
        replicas.retain(Replica::is_here);
        Ok(Self { core, replicas })
    }

    /// What the replicas have, by group.
    pub fn survivors(&self) -> Vec<Survivor> {
        self.replicas.iter().map(survivor).collect()
    }

    /// Makes `voters` the whole group: see `Raft::force_configuration`. Durable once what `issue`
    /// asks for is done.
    ///
    /// # Errors
    /// If it cannot be done; then nothing is to be written.
    ///
    /// # Panics
    /// If the group is not among the survivors.
    pub fn force(&mut self, group: GroupId, voters: &[NodeId]) -> Result<Survivor, ForceError> {
        let replica = self.replicas.iter_mut().find(|replica| replica.group == group);
        let replica = replica.expect("one of the survivors");
        replica.raft.force_configuration(voters, &mut replica.output)?;
        self.core.persistence.stage(group, &mut replica.output);
        Ok(survivor(replica))
    }

    /// Adds what is to be written, and the segments it needs, to `effects`.
    pub fn issue(&mut self, effects: &mut Effects) {
        self.core.persistence.issue(NOW, effects);
    }

    /// A segment that was asked for exists.
    pub fn segment_ready(&mut self, segment: SegmentId) {
        self.core.persistence.segment_ready(segment);
    }

    /// A write is durable.
    pub fn written(&mut self, write: WriteId) {
        // Nobody waits for it: what it releases are words to a Raft that ends here.
        drop(self.core.persistence.written(write));
    }

    /// Whether all that was forced is on the disk.
    pub fn is_durable(&self) -> bool {
        self.core.persistence.is_quiescent()
    }
}

fn survivor(replica: &Replica) -> Survivor {
    let (raft, last_index) = (&replica.raft, replica.raft.last_index());
    Survivor {
        group: replica.group,
        term: raft.term(),
        last_index,
        last_term: raft.term_at(last_index).expect("the last entry's, or the snapshot's"),
        configuration: raft.configuration().clone(),
    }
}
