//! Who may connect: the rules of both handshakes, as functions of what was said.

use crate::base::{ClusterId, CoreId, Incarnation, NodeId};
use crate::placement::ShardMap;
use crate::wire::frame::PROTOCOL_VERSION;
use crate::wire::handshake::{ClientHello, PeerHello, PeerHelloReply, PeerPurpose};

/// Who this node is, for handshakes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Local<'a> {
    pub(super) cluster: ClusterId,
    pub(super) node: NodeId,
    pub(super) incarnation: Incarnation,
    pub(super) smp: u16,
    pub(super) shard_map: &'a ShardMap,
}

/// Why a connection is not accepted; the text goes to both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("protocol version {0}; this node speaks version {PROTOCOL_VERSION}")]
    Protocol(u32),
    #[error("cluster {theirs:016x}; this node belongs to cluster {ours:016x}")]
    Cluster { theirs: u64, ours: u64 },
    #[error("node {wanted} was meant; this is node {actual}")]
    WrongNode { wanted: NodeId, actual: NodeId },
    #[error("node {0} is this node itself: two nodes share a node id or an address")]
    Myself(NodeId),
    #[error(
        "node {node} is not in this cluster's map of epoch {epoch}: it has not joined (`sunstar start \
         --join`), or was removed"
    )]
    Unknown { node: NodeId, epoch: u64 },
    #[error("core {wanted} of {smp} was meant")]
    NoSuchCore { wanted: CoreId, smp: u16 },
    #[error("the failure detector's connection belongs to core 0, not to {0}")]
    DetectorCore(CoreId),
}

impl Local<'_> {
    /// Whether a client may stay.
    pub(super) fn judge_client(&self, hello: &ClientHello) -> Result<(), Refusal> {
        check_protocol(hello.protocol)?;
        if hello.cluster == ClusterId(0) { Ok(()) } else { self.check_cluster(hello.cluster) }
    }

    /// Whether another node may connect. Its incarnation is the registry's concern.
    pub(super) fn judge_peer(&self, hello: &PeerHello) -> Result<(), Refusal> {
        check_protocol(hello.protocol)?;
        self.check_cluster(hello.cluster)?;
        if hello.wanted_node != self.node {
            return Err(Refusal::WrongNode { wanted: hello.wanted_node, actual: self.node });
        }
        self.check_other(hello.node)?;
        if hello.wanted_core.0 >= self.smp {
            return Err(Refusal::NoSuchCore { wanted: hello.wanted_core, smp: self.smp });
        }
        if hello.purpose == PeerPurpose::Detector && hello.wanted_core != CoreId(0) {
            return Err(Refusal::DetectorCore(hello.wanted_core));
        }
        Ok(())
    }

    /// Whether the node that answered is the one that was called.
    pub(super) fn judge_answer(
        &self,
        called: NodeId,
        reply: &PeerHelloReply,
    ) -> Result<(), Refusal> {
        check_protocol(reply.protocol)?;
        self.check_cluster(reply.cluster)?;
        self.check_other(reply.node)?;
        if reply.node != called {
            return Err(Refusal::WrongNode { wanted: called, actual: reply.node });
        }
        Ok(())
    }

    fn check_cluster(&self, theirs: ClusterId) -> Result<(), Refusal> {
        if theirs == self.cluster {
            return Ok(());
        }
        Err(Refusal::Cluster { theirs: theirs.0, ours: self.cluster.0 })
    }

    fn check_other(&self, node: NodeId) -> Result<(), Refusal> {
        if node == self.node {
            return Err(Refusal::Myself(node));
        }
        let epoch = self.shard_map.epoch;
        self.shard_map.node(node).map(drop).ok_or(Refusal::Unknown { node, epoch })
    }
}

fn check_protocol(protocol: u32) -> Result<(), Refusal> {
    if protocol == PROTOCOL_VERSION { Ok(()) } else { Err(Refusal::Protocol(protocol)) }
}

#[cfg(test)]
mod tests;
