//! What goes wrong in a world: every fault as one thing that is done to it.

use super::event::Event;
use super::faults::{Fault, Tally};
use super::network::Mishaps;
use super::node::Node;
use super::world::World;
use crate::base::{Micros, NodeId};

impl World {
    /// How often each fault happened so far.
    pub fn faults(&self) -> Tally {
        let mut tally = self.tally.clone();
        let Mishaps { resent, lost, doubled, overtaken, stalled } = self.out.network.mishaps;
        tally.add(Fault::PacketResent, resent);
        tally.add(Fault::BatchLost, lost);
        tally.add(Fault::BatchDoubled, doubled);
        tally.add(Fault::BatchOvertaken, overtaken);
        tally.add(Fault::PacketStalled, stalled);
        tally
    }

    /// A node's process dies, if it runs.
    pub fn kill(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(&id).expect("a node of the cluster");
        if node.kill(&mut self.out) {
            self.out.trace.say(self.out.now, || format!("{id} is killed"));
            self.tally.count(Fault::Crash);
        }
    }

    /// A node's process is started after a while, if none runs then.
    pub fn restart_in(&mut self, after: Micros, node: NodeId) {
        self.out.plan_in(after, Event::Start { node });
    }

    /// From now on nothing arrives from the one node at the other.
    pub fn cut(&mut self, from: NodeId, to: NodeId) {
        self.tally.count(Fault::OneWayCut);
        self.out.trace.say(self.out.now, || format!("nothing arrives from {from} at {to}"));
        self.out.network.cut((from, to));
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
            self.out.network.break_down(self.out.now, wire);
        }
    }

    /// A node's clock runs at another rate from now on, in thousandths of the true one.
    pub fn run_clock(&mut self, node: NodeId, rate: u64) {
        self.tally.count(Fault::ClockRate);
        let now = self.out.now;
        self.node_mut(node).clock.run_at(now, rate);
    }

    /// A node's clock jumps ahead.
    pub fn jump_clock(&mut self, node: NodeId, by: Micros) {
        self.tally.count(Fault::ClockJump);
        let now = self.out.now;
        self.node_mut(node).clock.jump(now, by);
    }

    /// A node's wall clock is so far ahead of the true time, as its next process will see.
    pub fn set_wall_clock(&mut self, node: NodeId, ahead: i64) {
        self.tally.count(Fault::ClockSet);
        self.node_mut(node).clock.set_wall(ahead);
    }

    fn node_mut(&mut self, id: NodeId) -> &mut Node {
        self.nodes.get_mut(&id).expect("a node of the cluster")
    }

    /// No fault happens from now on, and what can be mended is: every node runs before long.
    pub fn heal(&mut self) {
        self.mend_all();
        let down: Vec<NodeId> =
            self.nodes.values().filter(|node| node.process.is_none()).map(|node| node.id).collect();
        for node in down {
            self.restart_in(Micros::from_millis(100), node);
        }
    }

    /// Whether every node runs, and in each group all replicas know the same leader, doubt nothing, and
    /// have applied all there is.
    pub fn is_steady(&self) -> bool {
        let mut groups = std::collections::BTreeMap::new();
        for node in self.nodes.values() {
            let Some(process) = &node.process else { return false };
            for replica in process.cores().flat_map(|core| core.reactor.replicas()) {
                let settled = replica.certain && replica.applied_index == replica.last_index;
                let seen = (replica.leader, replica.applied_index);
                let first = *groups.entry(replica.group).or_insert(seen);
                if !settled || replica.leader.is_none() || first != seen {
                    return false;
                }
            }
        }
        groups.len() == self.map.groups.len()
    }
}
