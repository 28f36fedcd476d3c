//! What all nodes share: time, the plan of what happens next, the network, and who keeps account.

use std::rc::Rc;

use super::event::{Event, Life, Place};
use super::letter::Letter;
use super::network::{Network, Side, Wire};
use super::packet::Packet;
use super::schedule::Schedule;
use super::trace::Trace;
use crate::base::{ConnectionId, Micros, NodeId, Time};
use crate::placement::ShardMap;

/// What all nodes share.
#[derive(Debug)]
pub(super) struct Surroundings {
    /// The true time.
    pub(super) now: Time,
    pub(super) schedule: Schedule<Event>,
    pub(super) network: Network,
    pub(super) trace: Trace,
    /// The newest shard map that any core goes by, or did.
    pub(super) map: Rc<ShardMap>,
    /// How long a letter takes from core to core of one process.
    pub(super) mesh_delay: Micros,
    /// How long small things take.
    pub(super) random: fastrand::Rng,
    /// Processes started so far.
    lives: u64,
}

impl Surroundings {
    pub(super) fn new(
        network: Network,
        mesh_delay: Micros,
        random: fastrand::Rng,
        map: Rc<ShardMap>,
    ) -> Self {
        Self {
            now: Time(0),
            schedule: Schedule::new(),
            network,
            trace: Trace::default(),
            map,
            mesh_delay,
            random,
            lives: 0,
        }
    }

    /// One that no process had before.
    pub(super) fn next_life(&mut self) -> Life {
        self.lives += 1;
        Life(self.lives)
    }

    /// Plans what happens `after` from now.
    pub(super) fn plan_in(&mut self, after: Micros, event: Event) {
        self.schedule.plan(self.now + after, event);
    }

    /// A core goes by this map from now on.
    pub(super) fn adopted(&mut self, map: Rc<ShardMap>) {
        if map.epoch > self.map.epoch {
            self.map = map;
        }
    }

    /// Sends from one end of a connection.
    pub(super) fn send(&mut self, wire: Wire, from: Side, packet: Packet) {
        self.trace.note_bytes(packet.bytes());
        self.network.send(self.now, wire, from, packet);
    }

    /// Sends bytes of a client's connection, perhaps in two pieces.
    pub(super) fn send_bytes(&mut self, wire: Wire, from: Side, bytes: &[u8]) {
        let split = self.random.u32(0..8) == 0;
        let at = if split { self.random.usize(0..=bytes.len()) } else { bytes.len() };
        for piece in [&bytes[..at], &bytes[at..]] {
            if !piece.is_empty() {
                self.send(wire, from, Packet::Bytes(piece.to_vec()));
            }
        }
    }

    /// Ends a connection from one end.
    pub(super) fn close(&mut self, wire: Wire, side: Side) {
        self.network.close(self.now, wire, side);
    }

    /// Begins a connection.
    pub(super) fn open(&mut self, from: NodeId, to: NodeId) -> Wire {
        self.network.open(self.now, from, to)
    }

    /// Sends a letter from core to core.
    pub(super) fn post(&mut self, to: Place, letter: Letter) {
        self.plan_in(self.mesh_delay, Event::Letter(to, Box::new(letter)));
    }
}

/// The name by which a reactor knows a client's connection.
pub(super) fn token(wire: Wire) -> ConnectionId {
    ConnectionId(wire.0)
}

/// The connection that a reactor knows by this name.
pub(super) fn wire_of(token: ConnectionId) -> Wire {
    Wire(token.0)
}
