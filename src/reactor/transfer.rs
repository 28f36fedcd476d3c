//! Snapshots between replicas: sent by a leader whose follower needs entries that are gone, received
//! in order, verified whole, made durable here, and only then put in the place of our state.

use super::core::Core;
use super::replica::Replica;
use super::snapshots::{self, Install, Receiving, Sending, SnapshotStream};
use crate::base::{Index, NodeId, Term, Time};
use crate::raft;
use crate::wire::peer::PeerBody;

/// Bytes of a snapshot that a replica takes in, at most, beyond what the node may hold anyway.
const RECEIVED_SLACK: u64 = 64 << 20;

/// A piece of a snapshot. Pieces come in order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunk<'a> {
    /// Names the sending.
    pub transfer: u64,
    /// The last entry the snapshot covers, and its term.
    pub index: Index,
    pub term: Term,
    pub offset: u64,
    pub last: bool,
    pub data: &'a [u8],
}

/// Everything below `next_offset` arrived; `failed`: the sending is of no use.
#[derive(Clone, Copy, Debug)]
pub(super) struct ChunkAck {
    pub transfer: u64,
    pub next_offset: u64,
    pub failed: bool,
}

impl Replica {
    /// Raft asks for a snapshot to be sent: begins, unless one is on its way already.
    pub(super) fn begin_sending(&mut self, core: &mut Core, to: NodeId, now: Time) {
        if self.sending.contains_key(&to) {
            return;
        }
        if !core.peers.is_up(to) {
            self.step(now, raft::Input::SnapshotFailed { to });
            return;
        }
        let stream = SnapshotStream::new(
            core.config.identity(),
            self.group,
            &self.machine,
            self.raft.configuration_at(self.applied_index()),
        );
        core.sends_snapshots = true;
        let transfer = core.next_transfer();
        self.sending.insert(to, Sending::new(transfer, stream, now));
        self.send_pieces(core);
    }

    /// Sends as many pieces as the windows allow.
    pub(super) fn send_pieces(&mut self, core: &mut Core) {
        let (group, term) = (self.group, self.raft.term());
        for (&to, sending) in &mut self.sending {
            while let Some((offset, data, last)) = sending.next_piece() {
                let (transfer, meta) = (sending.transfer, &sending.stream.meta);
                let (index, covered) = (meta.index, meta.term);
                let data = &data[..];
                let chunk =
                    PeerBody::SnapshotChunk { transfer, index, term: covered, offset, last, data };
                core.peers.send_body(to, group, term, &chunk);
            }
        }
    }

    /// A follower acknowledged pieces, or gave up.
    pub(super) fn snapshot_acknowledged(
        &mut self,
        core: &mut Core,
        from: NodeId,
        ack: ChunkAck,
        now: Time,
    ) {
        let Some(sending) = self.sending.get_mut(&from) else { return };
        if sending.transfer != ack.transfer {
            return;
        }
        if ack.failed {
            self.sending_failed(from, now);
        } else if sending.acknowledged(ack.next_offset, now) {
            // Installed when the follower's Raft says so; until then its log does not match.
            self.sending.remove(&from);
        } else {
            self.send_pieces(core);
        }
    }

    /// Gives up what has been sent to `to`: Raft will ask again.
    pub(super) fn sending_failed(&mut self, to: NodeId, now: Time) {
        if self.sending.remove(&to).is_some() {
            self.step(now, raft::Input::SnapshotFailed { to });
        }
    }

    /// Gives up transfers that make no progress, and all of them once this replica leads no more.
    pub(super) fn expire_sendings(&mut self, now: Time) {
        let leads = self.is_leader();
        let lost = |sending: &Sending| !leads || sending.deadline() <= now;
        let lost: Vec<NodeId> =
            self.sending.iter().filter(|(_, s)| lost(s)).map(|(&to, _)| to).collect();
        for to in lost {
            self.sending_failed(to, now);
        }
    }

    /// A piece of a snapshot came in.
    pub(super) fn snapshot_chunk(
        &mut self,
        core: &mut Core,
        from: NodeId,
        term: Term,
        chunk: &Chunk<'_>,
        now: Time,
    ) {
        let current = term == self.raft.term();
        if current && !self.raft.wants_snapshot(chunk.index) {
            self.step(now, raft::Input::SnapshotRefused { from });
        }
        if !current || !self.raft.wants_snapshot(chunk.index) {
            self.acknowledge(core, from, chunk.transfer, 0, true);
            return;
        }
        if chunk.offset == 0 {
            self.receiving = Some(Receiving { from, transfer: chunk.transfer, bytes: Vec::new() });
        }
        let memory_max = core.config.memory_max.saturating_add(RECEIVED_SLACK);
        let Some(receiving) = &mut self.receiving else {
            self.acknowledge(core, from, chunk.transfer, 0, true);
            return;
        };
        let expected = (receiving.from, receiving.transfer, receiving.bytes.len() as u64);
        let too_large = expected.2 + chunk.data.len() as u64 > memory_max;
        if (from, chunk.transfer, chunk.offset) != expected || too_large {
            self.receiving = None;
            self.acknowledge(core, from, chunk.transfer, 0, true);
            return;
        }
        receiving.bytes.extend_from_slice(chunk.data);
        let next_offset = receiving.bytes.len() as u64;
        let failed = chunk.last && !self.received(core, chunk);
        self.acknowledge(core, from, chunk.transfer, next_offset, failed);
    }

    /// The last piece came in: verifies the whole and has it written. Returns whether it was good.
    fn received(&mut self, core: &mut Core, chunk: &Chunk<'_>) -> bool {
        let Some(Receiving { from, bytes, .. }) = self.receiving.take() else { return false };
        let group = self.group;
        match snapshots::load(&bytes, |group| core.config.shard_map.owned(group)) {
            Ok(loaded)
                if loaded.group == group
                    && (loaded.meta.index, loaded.meta.term) == (chunk.index, chunk.term) =>
            {
                let install = Install { from, machine: loaded.machine };
                core.install_wanted(group, loaded.meta, install);
                true
            }
            Ok(loaded) => {
                tracing::warn!(%group, %from, sent = %loaded.group, "a snapshot other than announced is refused");
                false
            }
            Err(error) => {
                tracing::warn!(%group, %from, %error, "snapshot refused");
                false
            }
        }
    }

    fn acknowledge(&self, core: &mut Core, to: NodeId, transfer: u64, next: u64, failed: bool) {
        let ack = PeerBody::SnapshotAck { transfer, next_offset: next, failed };
        core.peers.send_body(to, self.group, self.raft.term(), &ack);
    }
}
