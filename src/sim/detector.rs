//! A process's failure detector: calls, asks and gives up on other nodes, as `io/detector.rs` does.

use std::rc::Rc;

use super::letter::Letter;
use super::network::Wire;
use super::packet::{Hello, Packet, Purpose, Welcome};
use super::process::{Process, Role};
use super::registry::Registry;
use super::surroundings::Surroundings;
use crate::base::{CoreId, Micros, NodeId, PeerCore, Time};
use crate::peering::{Incarnations, Wish, silence_max};
use crate::placement::ShardMap;

impl Process {
    /// Calls, asks and gives up on other nodes; `now` by its own clock.
    pub(super) fn watch_peers(
        &mut self,
        out: &mut Surroundings,
        incarnations: &Incarnations,
        now: Time,
    ) {
        let silence_max = silence_max(self.election_timeout);
        for (node, wish) in self.wishes(now, silence_max) {
            match wish {
                Wish::Nothing => {}
                Wish::Call => {
                    let peer = PeerCore { node, core: CoreId(0) };
                    let wire = self.call_peer(out, (now, CoreId(0)), peer, Purpose::Detector);
                    self.detectors.entry(node).or_default().called(now, wire);
                }
                Wish::GiveUp(wire) => {
                    out.trace.say(out.now, || format!("{} loses {node}", self.node));
                    self.close(out, now, wire);
                }
                Wish::Ask(wire, _) => self.send(out, wire, Packet::Ping(incarnations.replaced())),
            }
        }
    }

    fn wishes(&mut self, now: Time, silence_max: Micros) -> Vec<(NodeId, Wish<Wire>)> {
        let detectors = self.detectors.iter_mut();
        let wishes = detectors.map(|(&node, detector)| (node, detector.wish(now, silence_max)));
        wishes.filter(|&(_, wish)| wish != Wish::Nothing).collect()
    }

    /// Calls another node; it is told who calls once its system has accepted.
    pub(super) fn call_peer(
        &mut self,
        out: &mut Surroundings,
        (now, core): (Time, CoreId),
        to: PeerCore,
        purpose: Purpose,
    ) -> Wire {
        let wire = out.open(self.node, to.node);
        let role = match purpose {
            Purpose::Link => Role::LinkCalling(core, to),
            Purpose::Detector => Role::DetectorCalling(to.node),
        };
        self.calls(now, wire, role);
        let from = PeerCore { node: self.node, core };
        let incarnation = self.incarnation;
        let hello = Packet::Hello(Hello { from, incarnation, wanted: to, purpose });
        self.send(out, wire, hello);
        wire
    }

    /// The node answered the detector's call. Returns whether it may stay.
    pub(super) fn detector_answered(
        &mut self,
        out: &mut Surroundings,
        registry: &mut Registry<'_>,
        wire: Wire,
        node: NodeId,
        welcome: &Welcome,
    ) -> bool {
        let Welcome { incarnation, smp, refused, .. } = *welcome;
        if refused || welcome.node != node || !registry.admit(node, incarnation) {
            return false;
        }
        self.set_role(wire, Role::DetectorOut(node));
        let detector = self.detectors.entry(node).or_default();
        detector.answered(registry.now, wire);
        let first = registry.incarnations.is_first(node);
        out.trace.say(out.now, || format!("{} reaches {node} ({incarnation})", self.node));
        self.tell_cores(out, || Letter::NodeUp { node, incarnation, first, smp });
        true
    }

    /// The node answered a question.
    pub(super) fn take_pong(&mut self, now: Time, node: NodeId) {
        if let Some(detector) = self.detectors.get_mut(&node) {
            detector.heard(now);
        }
    }

    /// Nodes come and go as the map of core 0 says.
    pub(super) fn go_by_map(
        &mut self,
        out: &mut Surroundings,
        (now, core): (Time, CoreId),
        map: Rc<ShardMap>,
    ) {
        out.trace.say(out.now, || format!("{} {core} goes by epoch {}", self.node, map.epoch));
        if core == CoreId(0) {
            for info in map.nodes.iter().filter(|info| info.id != self.node) {
                self.detectors.entry(info.id).or_default();
            }
            let known: Vec<NodeId> = self.detectors.keys().copied().collect();
            for node in known.into_iter().filter(|&node| map.node(node).is_none()) {
                self.part_for_good(out, now, node);
            }
        }
        out.adopted(map);
    }

    /// A node belongs to the cluster no longer.
    fn part_for_good(&mut self, out: &mut Surroundings, now: Time, node: NodeId) {
        let its = self.wires(|role| match *role {
            Role::DetectorIn(other) | Role::DetectorCalling(other) | Role::DetectorOut(other) => {
                other == node
            }
            Role::LinkIn(_, peer) => peer.node == node,
            _ => false,
        });
        for wire in its {
            self.close(out, now, wire);
        }
        self.detectors.remove(&node);
    }

    /// The detector's call failed or its connection ended.
    pub(super) fn detector_closed(&mut self, out: &mut Surroundings, now: Time, node: NodeId) {
        let Some(detector) = self.detectors.get_mut(&node) else { return };
        if detector.ended(now) {
            for wire in self.wires(|role| *role == Role::DetectorIn(node)) {
                self.close(out, now, wire);
            }
            self.tell_cores(out, || Letter::NodeDown { node });
        }
    }
}
