//! Snapshots in the making, on their way to a follower, and on their way in.
//!
//! A snapshot is the file of `schema/snapshot.md`, whether it goes to our disk or over a peer link:
//! the receiver verifies it whole before it believes any of it. Contents come from copy-on-write
//! clones, in pieces, between turns: writes go on meanwhile.

use crate::base::{GroupId, Index, Micros, NodeId, Time};
use crate::kv::{self, Machine};
use crate::raft::{Configuration, SnapshotMeta};
use crate::wal::{self, SnapshotHeader, SnapshotWriter};

/// Bytes of one piece, about: what one turn spends on a snapshot.
pub(super) const PIECE_BYTES: usize = 256 << 10;

/// Bytes on their way to one follower, at most.
const WINDOW_BYTES: u64 = 4 * PIECE_BYTES as u64;

/// A follower that acknowledges nothing for this long has lost the transfer.
const TRANSFER_TIMEOUT: Micros = Micros::from_secs(10);

/// A snapshot as a stream of file bytes.
pub(super) struct SnapshotStream {
    pub meta: SnapshotMeta,
    writer: SnapshotWriter,
    contents: kv::Snapshot,
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
        Self { meta, writer, contents: machine.snapshot(), begun: false }
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

/// A snapshot on its way to a follower.
pub(super) struct Sending {
    /// Names this sending among all of this group.
    pub transfer: u64,
    pub stream: SnapshotStream,
    sent: u64,
    acknowledged: u64,
    ended: bool,
    deadline: Time,
}

impl Sending {
    pub(super) fn new(transfer: u64, stream: SnapshotStream, now: Time) -> Self {
        let deadline = now + TRANSFER_TIMEOUT;
        Self { transfer, stream, sent: 0, acknowledged: 0, ended: false, deadline }
    }

    /// The next piece to send now, with its offset and whether it is the last.
    pub(super) fn next_piece(&mut self) -> Option<(u64, Vec<u8>, bool)> {
        if self.ended || self.sent - self.acknowledged >= WINDOW_BYTES {
            return None;
        }
        let (bytes, last) = self.stream.next_piece();
        let offset = self.sent;
        self.sent += bytes.len() as u64;
        self.ended = last;
        Some((offset, bytes, last))
    }

    /// Everything below `next_offset` arrived. Returns whether that was all.
    pub(super) fn acknowledged(&mut self, next_offset: u64, now: Time) -> bool {
        if next_offset > self.acknowledged && next_offset <= self.sent {
            self.acknowledged = next_offset;
            self.deadline = now + TRANSFER_TIMEOUT;
        }
        self.ended && self.acknowledged == self.sent
    }

    pub(super) fn deadline(&self) -> Time {
        self.deadline
    }
}

/// A snapshot on its way in, from the group's leader.
#[derive(Debug)]
pub(super) struct Receiving {
    pub from: NodeId,
    pub transfer: u64,
    pub bytes: Vec<u8>,
}

/// What a received or stored snapshot file says.
pub(super) struct Loaded {
    pub group: GroupId,
    pub meta: SnapshotMeta,
    pub machine: Machine,
}

/// Why a snapshot file could not be loaded.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    #[error(transparent)]
    File(#[from] wal::SnapshotError),
    #[error("{0}")]
    Contents(GroupId, kv::RestoreError),
}

/// Verifies a whole snapshot file and restores the state in it.
pub(super) fn load(
    bytes: &[u8],
    owned: impl Fn(GroupId) -> crate::base::SlotSet,
) -> Result<Loaded, LoadError> {
    let (header, chunks) = wal::read_snapshot(bytes)?;
    let group = header.group;
    let contents = |error| LoadError::Contents(group, error);
    let mut restore = kv::Restore::new(group, &owned(group));
    for chunk in chunks {
        restore.chunk(chunk).map_err(contents)?;
    }
    let machine = restore.finish().map_err(contents)?;
    Ok(Loaded { group, meta: meta_of(header), machine })
}

fn header_of(identity: wal::Identity, group: GroupId, meta: &SnapshotMeta) -> SnapshotHeader {
    let SnapshotMeta { index, term, timestamp, configuration } = meta.clone();
    let Configuration { voters, outgoing, learners, voters_next } = configuration;
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
    }
}

fn meta_of(header: SnapshotHeader) -> SnapshotMeta {
    let SnapshotHeader { voters, outgoing, learners, voters_next, .. } = header;
    let configuration = Configuration { voters, outgoing, learners, voters_next };
    let SnapshotHeader { index, term, timestamp, .. } = header;
    SnapshotMeta { index, term, timestamp, configuration }
}

/// Where trailing entries begin: how far back the log is kept in memory for slow followers.
///
/// Keeps a mark about every mebibyte of applied payload; `keep_from` finds the one that leaves the
/// wanted number of bytes behind it.
#[derive(Debug, Default)]
pub(super) struct Trailing {
    /// (first index of a stretch, bytes applied before it), ascending.
    marks: std::collections::VecDeque<(Index, u64)>,
    applied_bytes: u64,
}

const MARK_EVERY: u64 = 1 << 20;

impl Trailing {
    pub(super) fn applied(&mut self, index: Index, bytes: usize) {
        let last = self.marks.back().map_or(0, |(_, before)| *before);
        if self.marks.is_empty() || self.applied_bytes - last >= MARK_EVERY {
            self.marks.push_back((index, self.applied_bytes));
        }
        self.applied_bytes += bytes as u64;
    }

    /// The first index to keep so that about `bytes` of payload stay; forgets older marks.
    pub(super) fn keep_from(&mut self, bytes: u64) -> Option<Index> {
        let excess = self.applied_bytes.saturating_sub(bytes);
        while self.marks.len() > 1 && self.marks[1].1 <= excess {
            self.marks.pop_front();
        }
        self.marks.front().map(|(index, _)| *index)
    }
}
