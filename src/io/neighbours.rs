//! The other nodes, as a core's shard map names them: they come, and they go.
//!
//! Each core goes by a map of its own, since nothing is shared. Core 0 adopts a map first; what it then
//! says of a new node follows that map on every way between cores.

use std::rc::Rc;

use super::core::Core;
use super::handshake::Local;
use super::sockets::{CloseReason, Role};
use crate::base::{CoreId, NodeId};
use crate::placement::ShardMap;
use crate::reactor::Input;

/// The nodes of `map` but `me`; none if `me` was removed: nobody would have it.
pub(super) fn others(map: &ShardMap, me: NodeId) -> Vec<NodeId> {
    if map.node(me).is_none() {
        return Vec::new();
    }
    map.nodes.iter().map(|node| node.id).filter(|&node| node != me).collect()
}

impl Core {
    /// Who this node is, for handshakes.
    pub(super) fn local(&self) -> Local<'_> {
        self.node.local(&self.map)
    }

    /// Goes by another map from now on: meets the nodes that came, and parts with those that went. One
    /// that listens elsewhere now is found there when it is called next.
    pub(super) fn adopt_map(&mut self, map: Rc<ShardMap>) {
        let before = std::mem::replace(&mut self.map, map);
        let me = self.node.config.node;
        let stay = others(&self.map, me);
        for node in others(&before, me).into_iter().filter(|node| !stay.contains(node)) {
            self.forget(node);
        }
        for node in stay {
            self.peers.entry(node).or_default();
            if self.id == CoreId(0) {
                self.detectors.entry(node).or_default();
            }
        }
        if self.id == CoreId(0) {
            let epoch = self.map.epoch;
            tracing::info!(epoch, nodes = self.map.nodes.len(), "goes by a new shard map");
            if self.map.node(me).is_none() && before.node(me).is_some() {
                tracing::warn!(epoch, "this node was removed from the cluster: it may be stopped");
            }
        }
    }

    /// A node is none of the cluster's any more.
    fn forget(&mut self, node: NodeId) {
        let tokens = self.sockets.tokens(|socket| match socket.role {
            Role::LinkIn(peer) | Role::LinkCalling(peer) | Role::LinkOut(peer) => peer.node == node,
            Role::DetectorIn(other) | Role::DetectorCalling(other) | Role::DetectorOut(other) => {
                other == node
            }
            Role::Client | Role::ClientGreeting | Role::PeerGreeting => false,
        });
        // What their ends are told to is gone.
        self.detectors.remove(&node);
        self.links.retain(|peer, _| peer.node != node);
        let known = self.peers.remove(&node);
        for token in tokens {
            self.close(token, &CloseReason::Removed);
        }
        if known.is_some_and(|peer| peer.up) {
            self.step(Input::NodeDown { node });
        }
    }
}
