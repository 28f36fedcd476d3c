//! What goes wrong between nodes: ways that are cut, and connections that break.

use super::event::{Event, Relief};
use super::faults::Fault;
use super::network::{CLIENTS, Way};
use super::swarm::span;
use super::world::World;
use crate::base::{Micros, NodeId};

/// How long a way is cut.
const CUT: (Micros, Micros) = (Micros::from_millis(20), Micros::from_secs(8));
/// How long each part of a flapping takes.
const FLAP: (Micros, Micros) = (Micros::from_millis(50), Micros::from_millis(1_500));

impl World {
    /// From now on nothing arrives from the one node at the other.
    pub fn cut(&mut self, from: NodeId, to: NodeId) {
        self.cut_ways(Fault::OneWayCut, &[(from, to)]);
    }

    /// Undoes every cut.
    pub fn mend_all(&mut self) {
        self.out.trace.say(self.out.now, || "all ways are mended".to_owned());
        self.out.network.mend_all(self.out.now);
    }

    /// All connections between two nodes break.
    pub fn break_between(&mut self, one: NodeId, other: NodeId) {
        for wire in self.out.network.between(one, other) {
            self.tally.count(Fault::Break);
            self.out.trace.say(self.out.now, || format!("{wire:?} of {one} and {other} breaks"));
            self.out.network.break_down(self.out.now, wire);
        }
    }

    /// Ways are cut for a while.
    pub(super) fn cut_somewhere(&mut self, fault: Fault, id: NodeId) {
        let ways = match fault {
            Fault::Partition => self.between_two_sides(),
            Fault::Bridge => self.around_a_bridge(id),
            Fault::OneWayCut => self.one_way(id),
            _ => self.all_of(id),
        };
        let random = self.swarm.random(fault);
        let (long, times) = (span(random, CUT), random.u32(2..8));
        self.cut_ways(fault, &ways);
        let relief = match fault {
            Fault::Flap => Relief::Flap(ways, times),
            _ => Relief::Mend(ways),
        };
        self.out.plan_in(long, Event::Relief(relief));
    }

    /// Ways that were cut are mended, and cut again after a while, so often.
    pub(super) fn flap(&mut self, ways: Vec<Way>, left: u32) {
        for &way in &ways {
            self.out.network.mend(self.out.now, way);
        }
        if left == 0 || !self.swarm.storms {
            return;
        }
        let random = self.swarm.random(Fault::Flap);
        let (pause, long) = (span(random, FLAP), span(random, FLAP));
        self.out.plan_in(pause, Event::Cut(ways.clone()));
        let after = Micros(pause.0 + long.0);
        self.out.plan_in(after, Event::Relief(Relief::Flap(ways, left - 1)));
    }

    pub(super) fn cut_ways(&mut self, fault: Fault, ways: &[Way]) {
        self.tally.count(fault);
        self.out.trace.say(self.out.now, || format!("{fault}: {ways:?}"));
        for &way in ways {
            self.out.network.cut(way);
        }
    }

    /// One connection of a node's breaks, or all to some other host.
    pub(super) fn break_somewhere(&mut self, id: NodeId) {
        let others: Vec<NodeId> = self.hosts().filter(|&other| other != id).collect();
        let random = self.swarm.random(Fault::Break);
        let (nth, which) = (random.usize(..) % others.len(), random.usize(..));
        let other = others[nth];
        let wires = self.out.network.between(id, other);
        if wires.is_empty() {
            return;
        }
        if which.is_multiple_of(8) {
            return self.break_between(id, other);
        }
        self.tally.count(Fault::Break);
        let wire = wires[which % wires.len()];
        self.out.trace.say(self.out.now, || format!("{wire:?} of {id} and {other} breaks"));
        self.out.network.break_down(self.out.now, wire);
    }

    /// All nodes, and where the clients are.
    fn hosts(&self) -> impl Iterator<Item = NodeId> {
        [CLIENTS].into_iter().chain(self.nodes.keys().copied())
    }

    /// Each host is on one side, or the clients on both.
    fn between_two_sides(&mut self) -> Vec<Way> {
        let sides = self.swarm.random(Fault::Partition).u64(..);
        let side = |host: NodeId| sides >> host.0 & 1;
        let everywhere = sides >> 63 == 1;
        let cut = |&(from, to): &Way| {
            side(from) != side(to) && !(everywhere && (from == CLIENTS || to == CLIENTS))
        };
        self.ways().filter(cut).collect()
    }

    /// Two halves of the nodes see each other only through one.
    fn around_a_bridge(&mut self, bridge: NodeId) -> Vec<Way> {
        let sides = self.swarm.random(Fault::Bridge).u64(..);
        let side = |host: NodeId| sides >> host.0 & 1;
        let whole = |host| host == bridge || host == CLIENTS;
        let cut = |&(from, to): &Way| !whole(from) && !whole(to) && side(from) != side(to);
        self.ways().filter(cut).collect()
    }

    fn one_way(&mut self, id: NodeId) -> Vec<Way> {
        let (there, with) = {
            let random = self.swarm.random(Fault::OneWayCut);
            (random.bool(), random.u64(..))
        };
        let others = self.hosts().filter(|&other| other != id);
        let meant = others.filter(|other| with >> other.0 & 1 == 1);
        meant.map(|other| if there { (id, other) } else { (other, id) }).collect()
    }

    fn all_of(&self, id: NodeId) -> Vec<Way> {
        self.ways().filter(|&(from, to)| from == id || to == id).collect()
    }

    fn ways(&self) -> impl Iterator<Item = Way> {
        let hosts: Vec<NodeId> = self.hosts().collect();
        let from = hosts.clone();
        from.into_iter().flat_map(move |from| {
            let others = hosts.clone().into_iter().filter(move |&to| to != from);
            others.map(move |to| (from, to))
        })
    }
}
