//! What can happen in a world, at a moment.

use super::faults::Fault;
use super::letter::Letter;
use super::network::Way;
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
    /// A process that was told to stop ends, if it still runs.
    Stop { node: NodeId, life: Life },
    /// Ways are cut again.
    Cut(Vec<Way>),
    /// Something goes wrong.
    Harm(Fault),
    /// Something is well again.
    Relief(Relief),
    /// Somebody looks after nodes whose disks were harmed.
    Round,
    /// Somebody looks after changes of the shard map.
    Govern,
}

/// What ends a fault.
#[derive(Clone, Debug)]
pub(super) enum Relief {
    /// These ways are mended.
    Mend(Vec<Way>),
    /// These ways, cut just now, are mended and cut again, so often.
    Flap(Vec<Way>, u32),
    /// A process goes on.
    Resume(NodeId, Life),
    /// The weather is fair.
    Fair,
    /// A disk has room again.
    Room(NodeId),
    /// A disk completes what it was asked.
    Release(NodeId),
    /// Cores pass on what they are given.
    Drained(NodeId),
    /// A disk is as fast as it was.
    Fast(NodeId),
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
            Self::Harm(fault) => [7, fault as u64, 0],
            Self::Relief(_) => [8, 0, 0],
            Self::Stop { node, life } => [9, node.0, life.0],
            Self::Cut(_) => [10, 0, 0],
            Self::Round => [11, 0, 0],
            Self::Govern => [12, 0, 0],
        }
    }
}
