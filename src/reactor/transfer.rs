//! Snapshots between replicas: sent by a leader whose follower needs entries that are gone, received
//! in order, verified whole, made durable here, and only then put in the place of our state.
//!
//! The receiver says after each piece how much it has, be the piece the next one, a repetition or
//! one after a gap; the sender goes on from there (`sendings`). The last piece is acknowledged when
//! the state is installed: until then nobody need send the same again.

use super::core::Core;
use super::replica::Replica;
use super::sendings::{FrozenMax, Progress};
use super::snapshots::{self, Install, SnapshotStream};
use crate::base::{Index, NodeId, Term, Time};
use crate::raft;
use crate::wire::peer::PeerBody;

/// Bytes of snapshots that a core takes in, at most, beyond what it may hold anyway.
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

/// A snapshot on its way in, from the leader of a term. Ends with that term.
#[derive(Debug)]
pub(super) struct Receiving {
    sender: Sender,
    /// What arrived, without gaps; empty once it is verified.
    bytes: Vec<u8>,
    /// How much is acknowledged: all that arrived but the last piece.
    next_offset: u64,
    /// Whether all of it arrived and is about to be installed.
    whole: bool,
    /// Bytes of the state that was made of it and waits to be installed.
    state_bytes: u64,
}

/// A leader numbers its sendings in ascending order within its term, being one process for so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sender {
    node: NodeId,
    term: Term,
    transfer: u64,
}

/// What becomes of a piece.
enum Taken {
    /// It was the next one, or it is not: this is how much there is.
    Has(u64),
    /// It was the last, and everything is there.
    Whole,
    /// The snapshot is of no use.
    Useless,
}

impl Receiving {
    fn new(sender: Sender) -> Self {
        Self { sender, bytes: Vec::new(), next_offset: 0, whole: false, state_bytes: 0 }
    }

    /// Bytes held of it.
    pub(super) fn held(&self) -> u64 {
        self.bytes.len() as u64 + self.state_bytes
    }

    /// Takes a piece of this sending, `bytes_max` being the most that is held.
    fn take(&mut self, chunk: &Chunk<'_>, bytes_max: u64) -> Taken {
        if self.whole || chunk.offset != self.next_offset {
            return Taken::Has(self.next_offset);
        }
        if chunk.offset + chunk.data.len() as u64 > bytes_max {
            return Taken::Useless;
        }
        self.bytes.extend_from_slice(chunk.data);
        if chunk.last {
            self.whole = true;
            return Taken::Whole;
        }
        self.next_offset = self.bytes.len() as u64;
        Taken::Has(self.next_offset)
    }
}

impl Replica {
    /// Raft asks for a snapshot to be sent: begins, unless one is on its way already.
    pub(super) fn begin_sending(&mut self, core: &mut Core, to: NodeId, now: Time) {
        if core.sendings.contains(self.group, to) {
            return;
        }
        let frozen_max = FrozenMax(core.config.memory_max);
        if !core.peers.is_up(to) || core.sendings.is_full(self.machine.bytes(), frozen_max) {
            self.step(now, raft::Input::SnapshotFailed { to });
            return;
        }
        let stream = SnapshotStream::new(
            core.config.identity(),
            self.group,
            &self.machine,
            self.raft.configuration_at(self.applied_index()),
        );
        let name = (core.next_transfer(), self.raft.term());
        core.sendings.begin(now, (self.group, to), name, stream);
    }

    /// A follower acknowledged pieces, or gave up.
    pub(super) fn snapshot_acknowledged(
        &mut self,
        core: &mut Core,
        from: NodeId,
        ack: ChunkAck,
        now: Time,
    ) {
        match core.sendings.acknowledged(now, (self.group, from), ack) {
            // Whether it is installed, the follower's Raft says.
            Progress::Continues | Progress::Finished => {}
            Progress::Failed => self.step(now, raft::Input::SnapshotFailed { to: from }),
        }
    }

    /// Ends transfers of another term: their sender leads no more.
    pub(super) fn end_transfers_of_other_terms(&mut self, core: &mut Core) {
        let term = self.raft.term();
        core.sendings.end_but_of(self.group, self.is_leader().then_some(term));
        self.receiving.take_if(|receiving| receiving.sender.term != term);
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
        let sender = Sender { node: from, term, transfer: chunk.transfer };
        let current = term == self.raft.term();
        let wanted = self.wants_state(chunk.index);
        if current && !wanted {
            self.step(now, raft::Input::SnapshotRefused { from });
        }
        if !current || !wanted || self.is_past(sender) {
            return self.acknowledge(core, sender, 0, true);
        }
        let receiving = match &mut self.receiving {
            Some(receiving) if receiving.sender == sender => receiving,
            // What came before is gone, here or on its way.
            _ if chunk.offset > 0 => return self.acknowledge(core, sender, 0, false),
            other => other.insert(Receiving::new(sender)),
        };
        let others = core.held.received - self.counted.received;
        let bytes_max = core.config.memory_max.saturating_add(RECEIVED_SLACK);
        match receiving.take(chunk, bytes_max.saturating_sub(others)) {
            Taken::Has(next_offset) => self.acknowledge(core, sender, next_offset, false),
            Taken::Whole if self.install_received(core, chunk) => {}
            Taken::Whole | Taken::Useless => {
                self.receiving = None;
                self.acknowledge(core, sender, 0, true);
            }
        }
    }

    /// A received snapshot is in the place of our state, or is not needed any more.
    pub(super) fn end_receiving(
        &mut self,
        core: &mut Core,
        (from, transfer, bytes): (NodeId, u64, u64),
        installed: bool,
    ) {
        let ended = |r: &mut Receiving| (r.sender.node, r.sender.transfer) == (from, transfer);
        if let Some(Receiving { sender, .. }) = self.receiving.take_if(ended) {
            self.acknowledge(core, sender, bytes, !installed);
        }
    }

    /// Whether its sender has begun another since.
    fn is_past(&self, sender: Sender) -> bool {
        self.receiving.as_ref().is_some_and(|Receiving { sender: newest, .. }| {
            (newest.node, newest.term) == (sender.node, sender.term)
                && newest.transfer > sender.transfer
        })
    }

    /// The last piece came in: verifies the whole and has it written. Returns whether it was good.
    fn install_received(&mut self, core: &mut Core, chunk: &Chunk<'_>) -> bool {
        let Some(Receiving { sender, bytes, .. }) = &mut self.receiving else { return false };
        let (from, bytes, group) = (sender.node, std::mem::take(bytes), self.group);
        match snapshots::load(&bytes) {
            Ok(loaded)
                if loaded.group == group
                    && (loaded.meta.index, loaded.meta.term) == (chunk.index, chunk.term) =>
            {
                let (transfer, bytes, machine) =
                    (chunk.transfer, bytes.len() as u64, loaded.machine);
                self.receiving.as_mut().expect("looked at above").state_bytes = machine.bytes();
                let install = Install { from, transfer, bytes, machine };
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

    fn acknowledge(&self, core: &mut Core, to: Sender, next_offset: u64, failed: bool) {
        let ack = PeerBody::SnapshotAck { transfer: to.transfer, next_offset, failed };
        core.peers.send_body(to.node, self.group, self.raft.term(), &ack);
    }
}
