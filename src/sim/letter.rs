//! What waits for a core's next turn.

use super::disk::Done;
use super::network::Wire;
use crate::base::{AlignedBuf, ConnectionId, CoreId, Incarnation, NodeId, PeerCore};
use crate::reactor::{CoreMessage, Input};

/// What waits for a core's next turn.
#[derive(Debug)]
pub(super) enum Letter {
    /// Something for the reactor as it is.
    Input(Input<'static>),
    /// A frame of a client's.
    Client { connection: ConnectionId, frame: AlignedBuf },
    /// A batch that came on a link.
    Batch { from: PeerCore, bytes: Vec<u8> },
    /// From another core of the process.
    Core { from: CoreId, message: CoreMessage },
    /// The disk is done with something.
    Disk(Done),
    /// The failure detector reached a node.
    NodeUp { node: NodeId, incarnation: Incarnation, first: bool, smp: u16 },
    /// The failure detector lost a node.
    NodeDown { node: NodeId },
    /// Another node answered a link's call.
    LinkUp { peer: PeerCore, wire: Wire, incarnation: Incarnation },
}
