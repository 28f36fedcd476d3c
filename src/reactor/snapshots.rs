//! Snapshots as streams of bytes, in the making, and as they are found again.
//!
//! A snapshot is the file of `schema/snapshot.md`, whether it goes to our disk or over a peer link:
//! the receiver verifies it whole before it believes any of it. Contents come from copy-on-write
//! clones, in pieces, between turns: writes go on meanwhile.

use std::fmt;

use super::config::RecoverError;
use super::governance::master_of;
use super::movement::GroupState;
use crate::base::{GroupId, NodeId};
use crate::kv::{self, Machine};
use crate::raft::{Configuration, SnapshotMeta};
use crate::wal::{self, SnapshotHeader, SnapshotWriter};

/// Bytes of one piece, about: what one turn spends on a snapshot.
pub(super) const PIECE_BYTES: usize = 256 << 10;

/// A snapshot as a stream of file bytes.
pub(super) struct SnapshotStream {
    pub meta: SnapshotMeta,
    writer: SnapshotWriter,
    contents: kv::Snapshot,
    /// Bytes of the state it is of.
    frozen_bytes: u64,
    begun: bool,
}

impl SnapshotStream {
    /// A snapshot of `machine` as it is now.
    pub(super) fn new(
        identity: wal::Identity,
        group: GroupId,
        machine: &Machine,
        configuration: &Configuration,
    ) -> Self {
        let (index, term, timestamp) = machine.applied();
        let configuration = configuration.clone();
        let meta = SnapshotMeta { index, term, timestamp, configuration };
        let writer = SnapshotWriter::new(&header_of(identity, group, &meta));
        let frozen_bytes = machine.bytes();
        Self { meta, writer, contents: machine.snapshot(), frozen_bytes, begun: false }
    }

    /// Bytes of state that it may hold on to.
    pub(super) fn frozen_bytes(&self) -> u64 {
        self.frozen_bytes
    }

    /// The next piece, and whether it is the last.
    pub(super) fn next_piece(&mut self) -> (Vec<u8>, bool) {
        if !self.begun {
            self.begun = true;
            return (self.writer.header(), false);
        }
        match self.contents.next_chunk(PIECE_BYTES) {
            Some(chunk) => (self.writer.chunk(&chunk), false),
            None => (self.writer.footer(), true),
        }
    }
}

/// Why a snapshot is written to our disk.
pub(super) enum Purpose {
    /// To free log segments.
    Trim,
    /// To take the place of our state, which fell behind.
    Install(Box<Install>),
}

/// A received state that takes the place of ours once it is durable.
pub(super) struct Install {
    pub from: NodeId,
    /// The sending it came by.
    pub transfer: u64,
    /// Its bytes as they were sent: acknowledged when it is installed.
    pub bytes: u64,
    pub machine: Machine,
}

/// A snapshot being written to our disk; one at a time on a core.
pub(super) struct Making {
    pub number: u64,
    pub group: GroupId,
    pub purpose: Purpose,
    pub stream: SnapshotStream,
    pub offset: u64,
    /// Whether the last piece was handed out.
    pub ended: bool,
}

/// What a received or stored snapshot file says.
pub(super) struct Loaded {
    pub group: GroupId,
    pub meta: SnapshotMeta,
    pub machine: Machine,
}

/// The state that a stored snapshot holds: of a file, it is all that is needed.
pub struct LoadedSnapshot(pub(super) Loaded);

impl LoadedSnapshot {
    /// Verifies a whole snapshot file and restores the state in it.
    ///
    /// # Errors
    /// As those of [`SnapshotLoader::finish`].
    pub fn load(file: &[u8]) -> Result<Self, RecoverError> {
        let mut loader = SnapshotLoader::default();
        loader.feed(file);
        loader.finish()
    }
}

/// Loads a stored snapshot as its bytes are read.
#[derive(Default)]
pub struct SnapshotLoader(Loader);

impl SnapshotLoader {
    /// Takes in the bytes of the file that come next.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.0.feed(bytes);
    }

    /// The state, once all of the file was taken in.
    ///
    /// # Errors
    /// [`RecoverError::Snapshot`] if it is damaged: its group goes to `Recovered::snapshots_lost`. Others
    /// if it is not what this version writes.
    pub fn finish(self) -> Result<LoadedSnapshot, RecoverError> {
        Ok(LoadedSnapshot(self.0.finish()?))
    }
}

impl fmt::Debug for LoadedSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the snapshot of {} at {}", self.0.group, self.0.meta.index)
    }
}

/// Why a snapshot file could not be loaded.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    #[error(transparent)]
    File(#[from] wal::SnapshotError),
    #[error("{0}")]
    Contents(GroupId, kv::RestoreError),
    #[error("{0}")]
    Annex(GroupId, String),
}

/// Verifies a whole snapshot file and restores the state in it.
pub(super) fn load(bytes: &[u8]) -> Result<Loaded, LoadError> {
    let mut loader = Loader::default();
    loader.feed(bytes);
    loader.finish()
}

/// Verifies a snapshot file and restores the state in it, as its bytes come.
#[derive(Default)]
struct Loader {
    reader: wal::SnapshotReader,
    /// The state in the making, once it is known of which group.
    restore: Option<kv::Restore>,
    /// Why it cannot be used. What is wrong with the contents counts only if the file is as it was
    /// written: they are read on for that.
    failed: Option<LoadError>,
}

impl Loader {
    fn feed(&mut self, bytes: &[u8]) {
        self.reader.feed(bytes);
        while !matches!(self.failed, Some(LoadError::File(_))) {
            match self.take_chunk() {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => self.failed = Some(error),
            }
        }
    }

    /// Restores the next chunk; false if it has not come yet.
    fn take_chunk(&mut self) -> Result<bool, LoadError> {
        let Some(group) = self.reader.header()?.map(|header| header.group) else {
            return Ok(false);
        };
        let Some(chunk) = self.reader.chunk()? else { return Ok(false) };
        if self.failed.is_none() {
            let restore = self.restore.get_or_insert_with(|| kv::Restore::new(group));
            restore.chunk(chunk).map_err(|error| LoadError::Contents(group, error))?;
        }
        Ok(true)
    }

    fn finish(self) -> Result<Loaded, LoadError> {
        if let Some(error @ LoadError::File(_)) = self.failed {
            return Err(error);
        }
        let header = self.reader.finish()?;
        if let Some(error) = self.failed {
            return Err(error);
        }
        let group = header.group;
        let contents = |error| LoadError::Contents(group, error);
        let restore = self.restore.ok_or(contents(kv::RestoreError::Incomplete))?;
        let machine = restore.finish().map_err(contents)?;
        let annex = |error: String| LoadError::Annex(group, error);
        GroupState::of(&machine).map_err(|error| annex(error.to_string()))?;
        master_of(&machine).map_err(|error| annex(error.to_string()))?;
        Ok(Loaded { group, meta: meta_of(header), machine })
    }
}

fn header_of(identity: wal::Identity, group: GroupId, meta: &SnapshotMeta) -> SnapshotHeader {
    let SnapshotMeta { index, term, timestamp, configuration } = meta.clone();
    let Configuration { voters, outgoing, learners, voters_next, incarnations } = configuration;
    SnapshotHeader {
        identity,
        group,
        index,
        term,
        timestamp,
        voters,
        outgoing,
        learners,
        voters_next,
        incarnations,
    }
}

fn meta_of(header: SnapshotHeader) -> SnapshotMeta {
    let SnapshotHeader { voters, outgoing, learners, voters_next, incarnations, .. } = header;
    let configuration = Configuration { voters, outgoing, learners, voters_next, incarnations };
    let SnapshotHeader { index, term, timestamp, .. } = header;
    SnapshotMeta { index, term, timestamp, configuration }
}

#[cfg(test)]
mod tests;
