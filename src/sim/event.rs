//! What can happen in a world, at a moment.

use super::letter::Letter;
use crate::base::{CoreId, NodeId, Time};

/// What happens by itself; what arrives on the network is the network's.
#[derive(Debug)]
pub(super) enum Event {
    /// A core takes a turn, if its process still runs.
    Turn(Place),
    /// A letter from another core of the same process arrives.
    Letter(Place, Box<Letter>),
    /// A process looks at its clock.
    Tick { node: NodeId, life: Life },
    /// A disk is done with something, unless it is later by now.
    Disk { node: NodeId, at: Time },
    /// A client wanted to be woken, unless it wants to be at another time by now.
    Timer { client: u64, at: Time },
    /// A node's process is started, if none runs.
    Start { node: NodeId },
}

/// One run of one process: never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Life(pub(super) u64);

/// A core of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) node: NodeId,
    pub(super) life: Life,
    pub(super) core: CoreId,
}

impl Event {
    /// What distinguishes it, for the trace.
    pub(super) fn mark(&self) -> [u64; 3] {
        match *self {
            Self::Turn(Place { node, life, core }) => {
                [1 + (u64::from(core.0) << 8), node.0, life.0]
            }
            Self::Letter(Place { node, life, core }, _) => {
                [2 + (u64::from(core.0) << 8), node.0, life.0]
            }
            Self::Tick { node, life } => [3, node.0, life.0],
            Self::Disk { node, at } => [4, node.0, at.0],
            Self::Timer { client, at } => [5, client, at.0],
            Self::Start { node } => [6, node.0, 0],
        }
    }
}
