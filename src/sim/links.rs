//! A core's links to other nodes' cores: made when first needed, one way, lossy, as in `io/links.rs`.

use std::collections::VecDeque;

use super::network::Wire;
use super::packet::{Packet, Purpose};
use super::process::{Process, Role};
use super::surroundings::Surroundings;
use crate::base::{CoreId, Incarnation, PeerCore, Time};
use crate::peering::Call;
use crate::reactor::PeerSend;

/// Bytes that wait for a link being made, at most, unless it is one frame.
const QUEUED_MAX: usize = 1 << 20;

/// What the failure detector says of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PeerNode {
    pub(super) up: bool,
    pub(super) incarnation: Incarnation,
    pub(super) smp: u16,
}

/// A link to one core of another node.
#[derive(Debug, Default)]
pub(super) struct Link {
    pub(super) call: Call<Wire>,
    /// What waits for the handshake.
    pub(super) queue: VecDeque<Vec<u8>>,
    /// Bytes in `queue`.
    queued: usize,
}

impl Link {
    /// The call failed or the connection ended.
    pub(super) fn ended(&mut self, now: Time) {
        self.call.ended(now);
        self.queue.clear();
        self.queued = 0;
    }

    fn put(&mut self, bytes: Vec<u8>) {
        if self.queue.is_empty() || self.queued + bytes.len() <= QUEUED_MAX {
            self.queued += bytes.len();
            self.queue.push_back(bytes);
        }
    }
}

impl Process {
    /// Sends to another node's core, now or once its link is up, or never.
    pub(super) fn send_to_peer(
        &mut self,
        out: &mut Surroundings,
        (now, core): (Time, CoreId),
        PeerSend { to, bytes }: PeerSend,
    ) {
        let own = self.core(core);
        if !own.peers.get(&to.node).is_some_and(|peer| peer.up) {
            return;
        }
        let link = own.links.entry(to).or_default();
        if let Some(wire) = link.call.up() {
            return self.send(out, wire, Packet::Batch(bytes));
        }
        if link.call.begin(now) {
            let wire = self.call_peer(out, (now, core), to, Purpose::Link);
            self.core(core).links.entry(to).or_default().call.called(wire);
        }
        let link = self.core(core).links.entry(to).or_default();
        if !link.call.is_down() {
            link.put(bytes);
        }
    }

    /// The other side answered a link's call. Returns whether it is the one that is known to be up.
    pub(super) fn link_up(
        &mut self,
        out: &mut Surroundings,
        core: CoreId,
        peer: PeerCore,
        (wire, incarnation): (Wire, Incarnation),
    ) -> bool {
        let own = self.core(core);
        let known = own.peers.get(&peer.node).copied().unwrap_or_default();
        let link = own.links.entry(peer).or_default();
        if link.call.socket() != Some(wire) {
            return true;
        }
        if !known.up || known.incarnation != incarnation {
            return false;
        }
        link.call.answered(wire);
        link.queued = 0;
        let queue = std::mem::take(&mut link.queue);
        self.set_role(wire, Role::LinkOut(core, peer));
        for bytes in queue {
            self.send(out, wire, Packet::Batch(bytes));
        }
        true
    }
}
