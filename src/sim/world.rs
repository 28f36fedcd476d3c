//! A cluster, its network and its clients' connections, under one virtual time.
//!
//! ```text
//!   loop { world.step() }      one event: a core's turn, an arrival, a disk's completion, a tick
//!     ├─ what happened to a client's connection, or its timer ──▶ the caller's clients
//!     └─ world.connect / send / close / set_timer ◀── what they do about it
//! ```

use std::collections::BTreeMap;
use std::rc::Rc;

use super::clock::NodeClock;
use super::event::Event;
use super::faults::{Fault, Tally};
use super::governor::Governor;
use super::illness::Ward;
use super::invariants::Invariants;
use super::network::{CLIENTS, Delivery, Network, Side, Wire};
use super::node::{Node, Standing, Turned};
use super::packet::Packet;
use super::shape::{Shape, node_info};
use super::surroundings::Surroundings;
use super::swarm::Swarm;
use crate::base::{ConnectionId, Micros, NodeId, Time};
use crate::placement::ShardMap;

/// A simulated cluster with its clients' connections.
#[derive(Debug)]
pub struct World {
    pub(super) shape: Shape,
    pub(super) out: Surroundings,
    pub(super) nodes: BTreeMap<NodeId, Node>,
    /// Clients' connections, by the clients' names for them.
    wires: BTreeMap<ConnectionId, Wire>,
    /// The same by the network's.
    connections: BTreeMap<Wire, ConnectionId>,
    /// When each client wants to be woken.
    timers: BTreeMap<u64, Time>,
    pub(super) invariants: Invariants,
    /// Faults done to it; the network keeps its own account.
    pub(super) tally: Tally,
    /// What goes wrong by itself, and how often.
    pub(super) swarm: Swarm,
    /// Whose disks were harmed, and what is done about it.
    pub(super) ward: Ward,
    /// Who changes the shard map.
    pub(super) governor: Governor,
}

/// What a client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happened {
    /// A connection stands.
    Connected {
        /// Which.
        connection: ConnectionId,
    },
    /// Bytes came.
    Received {
        /// On which connection.
        connection: ConnectionId,
        /// In order.
        bytes: Vec<u8>,
    },
    /// A connection ended, or never came to be; it is forgotten.
    Closed {
        /// Which.
        connection: ConnectionId,
    },
    /// The time has come that a client had set.
    Timer {
        /// Whose.
        client: u64,
    },
}

impl World {
    /// A cluster of that shape about to start for the first time; everything random in it comes from
    /// `seed`.
    pub fn new(seed: u64, shape: Shape) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let map = Rc::new(shape.map());
        let network = Network::new(shape.weather, shape.harsh_links, random.fork());
        let mesh_delay = Micros(random.u64(1..20));
        let mut out = Surroundings::new(network, mesh_delay, random.fork(), map.clone());
        let mut nodes = BTreeMap::new();
        for (info, &smp) in map.nodes.iter().zip(&shape.cores) {
            let clock = NodeClock::new(Time(0), Micros(random.u64(0..1_000_000_000)));
            let first = (smp, ShardMap::clone(&map));
            nodes.insert(info.id, Node::new(info.id, first, clock, &mut random));
            out.plan_in(Micros(random.u64(0..200_000)), Event::Start { node: info.id });
        }
        let (wires, connections, timers) = Default::default();
        let invariants = Invariants::default();
        let (tally, swarm) = (Tally::default(), Swarm::new(&shape, random.fork()));
        let ward = Ward::new(random.fork());
        let governor = Governor::new(random.fork());
        Self {
            shape,
            out,
            nodes,
            wires,
            connections,
            timers,
            invariants,
            tally,
            swarm,
            ward,
            governor,
        }
    }

    /// The true time: no clock of any node shows it.
    pub fn now(&self) -> Time {
        self.out.now
    }

    /// The newest map that any node goes by, or did.
    pub fn map(&self) -> &ShardMap {
        &self.out.map
    }

    /// From everything observable so far.
    pub fn trace_hash(&self) -> u64 {
        self.out.trace.hash()
    }

    /// From now on a readable account is kept.
    pub fn begin_trace(&mut self) {
        self.out.trace.begin();
    }

    /// What was added to the account since this was last asked.
    pub fn take_trace(&mut self) -> Vec<String> {
        self.out.trace.take_lines()
    }

    /// Begins a connection of a client to a node's address. `Happened::Connected` or
    /// `Happened::Closed` may follow.
    ///
    /// # Panics
    /// If no node has that address, or the name is in use.
    pub fn connect(&mut self, connection: ConnectionId, address: &str) {
        let mut ids = self.nodes.keys();
        let node = ids.find(|&&node| node_info(node).client_address == address);
        let node = *node.unwrap_or_else(|| panic!("nobody has the address {address}"));
        let wire = self.out.open(CLIENTS, node);
        let before = self.wires.insert(connection, wire);
        assert!(before.is_none(), "{connection} is in use");
        self.connections.insert(wire, connection);
    }

    /// Sends on a connection; nothing if that is no more.
    pub fn send(&mut self, connection: ConnectionId, bytes: &[u8]) {
        if let Some(&wire) = self.wires.get(&connection) {
            self.out.send_bytes(wire, Side::Caller, bytes);
        }
    }

    /// Ends a connection; nothing more is told of it.
    pub fn close(&mut self, connection: ConnectionId) {
        if let Some(wire) = self.wires.remove(&connection) {
            self.connections.remove(&wire);
            self.out.close(wire, Side::Caller);
        }
    }

    /// Has a client woken at `at`, instead of when it said before.
    pub fn set_timer(&mut self, client: u64, at: Time) {
        if self.timers.get(&client) != Some(&at) {
            self.timers.insert(client, at);
            self.out.schedule.plan(at.max(self.out.now), Event::Timer { client, at });
        }
    }

    /// Lets the next event happen. Returns what a client is to be told of it, if anything.
    ///
    /// # Panics
    /// If a promise between replicas is broken, or the product panics.
    pub fn step(&mut self) -> Option<Happened> {
        let arrives = self.out.network.deadline();
        let planned = self.out.schedule.next_at();
        match (arrives, planned) {
            (Some(arrives), planned) if planned.is_none_or(|planned| arrives <= planned) => {
                self.out.now = arrives.max(self.out.now);
                let delivery = self.out.network.poll(arrives)?;
                self.deliver(delivery)
            }
            (_, Some(at)) => {
                let (_, event) = self.out.schedule.pop().expect("just seen");
                self.out.now = at.max(self.out.now);
                self.happen(event)
            }
            (_, None) => None,
        }
    }

    fn deliver(&mut self, delivery: Delivery) -> Option<Happened> {
        let Delivery { wire, host, ref packet, .. } = delivery;
        self.out.trace.note(&[self.out.now.0, wire.0, host.0, packet.bytes().len() as u64]);
        self.out.trace.say(self.out.now, || format!("{host}: {} on {wire:?}", packet.name()));
        if host == CLIENTS {
            return self.deliver_to_client(wire, delivery.packet);
        }
        let node = self.nodes.get_mut(&host).expect("only nodes are called");
        node.deliver(&mut self.out, delivery);
        None
    }

    fn deliver_to_client(&mut self, wire: Wire, packet: Packet) -> Option<Happened> {
        let &connection = self.connections.get(&wire)?;
        match packet {
            Packet::Accepted => Some(Happened::Connected { connection }),
            Packet::Bytes(bytes) => Some(Happened::Received { connection, bytes }),
            Packet::End => {
                self.close(connection);
                Some(Happened::Closed { connection })
            }
            packet => panic!("{packet:?} for a client"),
        }
    }

    fn happen(&mut self, event: Event) -> Option<Happened> {
        self.out.trace.note(&[self.out.now.0]);
        self.out.trace.note(&event.mark());
        match event {
            Event::Turn(place) => {
                let node = self.nodes.get_mut(&place.node).expect("a node's place");
                let turned = node.turn(&mut self.out, place.life, place.core);
                if turned != Turned::Nothing {
                    self.invariants.observe(&mut self.out, node, place.core);
                }
                if turned == Turned::Died {
                    node.kill(&mut self.out);
                    self.died(place.node, Fault::Crash);
                }
            }
            Event::Letter(place, letter) => {
                let node = self.nodes.get_mut(&place.node).expect("a node's place");
                node.letter(&mut self.out, (place.life, place.core), *letter);
            }
            Event::Tick { node, life } => {
                self.nodes.get_mut(&node).expect("a node's tick").tick(&mut self.out, life);
            }
            Event::Disk { node, at } => {
                let died =
                    self.nodes.get_mut(&node).expect("a node's disk").disk_done(&mut self.out, at);
                if died {
                    self.died(node, Fault::WriteError);
                }
            }
            Event::Timer { client, at } => {
                if self.timers.get(&client) == Some(&at) {
                    self.timers.remove(&client);
                    return Some(Happened::Timer { client });
                }
            }
            Event::Start { node } => self.start(node),
            Event::Stop { node, life } => {
                let running = self.nodes[&node].process.as_ref().map(|process| process.life);
                if running == Some(life) {
                    self.stopped(node);
                }
            }
            Event::Cut(ways) if self.swarm.storms => self.cut_ways(Fault::Flap, &ways),
            Event::Cut(_) => {}
            Event::Harm(fault) => self.harm(fault),
            Event::Relief(relief) => self.relieve(relief),
            Event::Round => self.round(),
            Event::Govern => self.planned_governor_round(),
        }
        None
    }

    fn start(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(&id).expect("a node that is to start");
        if node.process.is_none() && node.standing == Standing::Member {
            let started = node.start(&mut self.out, &self.shape);
            if let Err(failure) = started {
                self.refused(id, &failure);
            }
        }
    }
}
