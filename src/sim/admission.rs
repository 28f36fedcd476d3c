//! How a process learns that another incarnation of a node counts, as in `io/replacement.rs`.

use super::letter::Letter;
use super::network::Wire;
use super::process::{Process, Role};
use super::registry::Registry;
use super::surroundings::Surroundings;
use crate::base::{CoreId, NodeId};
use crate::wire::handshake::Replaced;

impl Process {
    /// Another node tells which ones were replaced.
    pub(super) fn learn_replaced(
        &mut self,
        out: &mut Surroundings,
        registry: &mut Registry<'_>,
        replaced: &[Replaced],
    ) {
        for told in replaced {
            if self.detectors.contains_key(&told.node) && registry.learn(told) {
                self.node_replaced(out, registry, told.node);
            }
        }
    }

    /// Another incarnation of a node counts from now on: connections of the old one end.
    pub(super) fn node_replaced(
        &mut self,
        out: &mut Surroundings,
        registry: &Registry<'_>,
        node: NodeId,
    ) {
        let known = registry.incarnations.known(node).expect("just stored");
        let incarnation = known.incarnation;
        out.trace.say(out.now, || format!("{} lets {node} in as {incarnation}", self.node));
        if let Some(detector) = self.detectors.get_mut(&node) {
            detector.call_soon();
        }
        self.part_with(out, registry, node);
        let peer = self.core(CoreId(0)).peers.get(&node).copied().filter(|peer| peer.up);
        match peer {
            Some(peer) if peer.incarnation != incarnation => {
                self.close_all(out, registry, |role| *role == Role::DetectorOut(node));
            }
            // It was taken for the first one.
            Some(peer) => self.tell_cores(out, || Letter::NodeUp {
                node,
                incarnation,
                first: false,
                smp: peer.smp,
            }),
            None => {}
        }
    }

    /// Ends what a node sends: who it is, is to be said anew.
    fn part_with(&mut self, out: &mut Surroundings, registry: &Registry<'_>, node: NodeId) {
        self.close_all(out, registry, |role| match *role {
            Role::LinkIn(_, peer) => peer.node == node,
            Role::DetectorIn(from) => from == node,
            _ => false,
        });
    }

    fn close_all(
        &mut self,
        out: &mut Surroundings,
        registry: &Registry<'_>,
        wanted: impl Fn(&Role) -> bool,
    ) {
        let wires: Vec<Wire> = self.wires(wanted);
        for wire in wires {
            self.close(out, registry.now, wire);
        }
    }
}
