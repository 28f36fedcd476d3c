//! Other nodes as this core sees them: which are up, how many cores they run, and one batch of
//! messages per peer core and turn.

use std::collections::BTreeMap;

use super::convert;
use super::effects::{Effects, PeerSend};
use crate::base::{GroupId, Incarnation, NodeId, PeerCore, Term, Time};
use crate::placement::ShardMap;
use crate::raft;
use crate::wire::peer::{PeerBatchBuilder, PeerBody};

/// Bytes of messages after which a batch is closed and the next begun: far below the frame limit,
/// so that one more largest entry still fits.
const BATCH_BYTES: usize = 4 << 20;

/// What the failure detector says of a node that is up.
#[derive(Clone, Copy, Debug)]
struct Peer {
    incarnation: Incarnation,
    smp: u16,
    /// Since when it is up as this process.
    since: Time,
}

/// The other nodes, and what this turn says to them.
#[derive(Default)]
pub(super) struct Peers {
    /// Which incarnation each node was when it was last reached, and whether none was known before.
    identities: BTreeMap<NodeId, (Incarnation, bool)>,
    up: BTreeMap<NodeId, Peer>,
    batches: BTreeMap<PeerCore, Outgoing>,
}

/// One peer core's batch in the making; its builder is reused from turn to turn.
#[derive(Default)]
struct Outgoing {
    builder: PeerBatchBuilder,
    /// Whole frames of this turn, closed already.
    frames: Vec<u8>,
}

impl Peers {
    /// A node was reached. Returns whether it was down before, or came back as another process.
    pub(super) fn up(
        &mut self,
        now: Time,
        node: NodeId,
        (incarnation, smp): (Incarnation, u16),
    ) -> bool {
        let same = |peer: &Peer| peer.incarnation == incarnation && peer.smp == smp;
        if self.up.get(&node).is_some_and(same) {
            return false;
        }
        self.up.insert(node, Peer { incarnation, smp, since: now });
        true
    }

    /// A node is reached as this incarnation.
    pub(super) fn identified(&mut self, node: NodeId, incarnation: Incarnation, first: bool) {
        self.identities.insert(node, (incarnation, first));
    }

    /// Which incarnation a node was when it was last reached, and whether none was known before.
    pub(super) fn identity(&self, node: NodeId) -> Option<(Incarnation, bool)> {
        self.identities.get(&node).copied()
    }

    /// What replicas are to know of a node. A process that came back was down meanwhile, so that
    /// the time of its coming tells its lives apart.
    pub(super) fn liveness(&self, node: NodeId) -> raft::Input {
        self.up.get(&node).map_or(raft::Input::PeerDown { peer: node }, |peer| {
            raft::Input::PeerUp { peer: node, incarnation: peer.since.0 }
        })
    }

    pub(super) fn down(&mut self, node: NodeId) {
        self.up.remove(&node);
    }

    pub(super) fn is_up(&self, node: NodeId) -> bool {
        self.up.contains_key(&node)
    }

    /// The nodes that are up, in order.
    pub(super) fn nodes(&self) -> Vec<NodeId> {
        self.up.keys().copied().collect()
    }

    /// Since when a node is up, if it is.
    pub(super) fn up_since(&self, node: NodeId) -> Option<Time> {
        self.up.get(&node).map(|peer| peer.since)
    }

    /// How many cores a node runs, if it is up.
    pub(super) fn smp(&self, node: NodeId) -> Option<u16> {
        self.up.get(&node).map(|peer| peer.smp)
    }

    /// Queues a Raft message. One to a node that is not up is dropped: Raft sends again.
    pub(super) fn send(&mut self, group: GroupId, message: &raft::Message) {
        if let Some(outgoing) = self.outgoing(message.to, group) {
            convert::push_message(&mut outgoing.builder, group, message);
        }
    }

    /// Queues a piece of a snapshot or its answer. Returns whether the node is up.
    pub(super) fn send_body(
        &mut self,
        to: NodeId,
        group: GroupId,
        term: Term,
        body: &PeerBody<'_>,
    ) -> bool {
        self.outgoing(to, group).is_some_and(|outgoing| {
            outgoing.builder.push(group, term, body);
            true
        })
    }

    /// Hands the turn's batches out.
    pub(super) fn take(&mut self, effects: &mut Effects) {
        for (&to, outgoing) in &mut self.batches {
            if !outgoing.builder.is_empty() {
                outgoing.builder.finish(&mut outgoing.frames);
            }
            if !outgoing.frames.is_empty() {
                let bytes = std::mem::take(&mut outgoing.frames);
                effects.peer_sends.push(PeerSend { to, bytes });
            }
        }
    }

    fn outgoing(&mut self, node: NodeId, group: GroupId) -> Option<&mut Outgoing> {
        let smp = self.up.get(&node)?.smp;
        let to = PeerCore { node, core: ShardMap::home_core(group, smp) };
        let outgoing = self.batches.entry(to).or_default();
        if outgoing.builder.len_bytes() > BATCH_BYTES {
            outgoing.builder.finish(&mut outgoing.frames);
        }
        Some(outgoing)
    }
}
