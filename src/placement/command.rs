//! What is asked of the shard master, and why it may refuse.

use std::fmt;

use super::{GROUPS_MAX, NodeInfo};
use crate::base::limits::{ADDRESS_MAX, NODES_MAX};
use crate::base::{GroupId, NodeId, Slot};

/// What an administrator asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// So many new groups, with an even share of the slots.
    Join {
        /// How many.
        groups: u32,
    },
    /// These groups are to own nothing; their slots go to the others.
    Leave {
        /// Which.
        groups: Vec<GroupId>,
    },
    /// These slots are to be this group's. The next join or leave evens out again.
    Move {
        /// Which.
        slots: Vec<Slot>,
        /// Whose they become.
        to: GroupId,
    },
    /// A new node; or one that is known, with other addresses.
    AddNode(NodeInfo),
    /// A node is to hold nothing.
    Drain(NodeId),
    /// A node that was to hold nothing may hold replicas again.
    Undrain(NodeId),
    /// A drained node belongs to the cluster no longer.
    RemoveNode(NodeId),
    /// A group that has left is listed no longer.
    Forget(GroupId),
}

/// Why a command changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// All that the command asks for is so already, whoever saw to it. So whoever repeats a command whose
    /// answer was lost may take it for done; a `Join` alone asks for more each time.
    #[error("nothing would change")]
    NoChange,
    /// The meta group owns no slots and never leaves.
    #[error("g0 keeps the shard map: it owns no slots, and cannot leave")]
    MetaGroup,
    /// There is no such group.
    #[error("there is no {0}")]
    UnknownGroup(GroupId),
    /// The group is on its way out.
    #[error("{0} is leaving")]
    Leaving(GroupId),
    /// The group owns slots, or may be given some.
    #[error("{0} is not leaving")]
    NotLeaving(GroupId),
    /// No group would be left to own the slots.
    #[error("no group would be left to own the slots")]
    LastGroup,
    /// More groups than a cluster may have.
    #[error("a cluster has at most {GROUPS_MAX} groups")]
    TooManyGroups,
    /// There is no such node.
    #[error("there is no {0}")]
    UnknownNode(NodeId),
    /// More nodes than a cluster may have.
    #[error("a cluster has at most {NODES_MAX} nodes")]
    TooManyNodes,
    /// Zero is never a node.
    #[error("0 is no node's id")]
    ZeroNode,
    /// No address is so long.
    #[error("an address of {length} bytes; at most {ADDRESS_MAX} are accepted")]
    LongAddress {
        /// Its bytes.
        length: usize,
    },
    /// Another node listens there.
    #[error("{node} listens on {address} already")]
    AddressTaken {
        /// Who does.
        node: NodeId,
        /// Where.
        address: String,
    },
    /// Groups would be left with fewer replicas.
    #[error("{group} would be left with {left} of its {replicas} replicas")]
    TooFewNodes {
        /// One of them.
        group: GroupId,
        /// How many it has.
        replicas: usize,
        /// How many there is room for.
        left: usize,
    },
    /// The node may hold replicas.
    #[error("{0} is not drained")]
    NotDrained(NodeId),
}

impl Refusal {
    /// What whoever asked can do about it.
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::NoChange => "nothing is left to do",
            Self::MetaGroup => "name another group: `sunstar ctl groups` lists them",
            Self::UnknownGroup(_) => "`sunstar ctl groups` lists the groups",
            Self::Leaving(_) => "name a group that stays: `sunstar ctl groups` lists them",
            Self::NotLeaving(_) => "have it give its slots away first: `sunstar ctl leave`",
            Self::LastGroup => "add another one first: `sunstar ctl join`",
            Self::TooManyGroups => "have fewer, or have some leave first: `sunstar ctl leave`",
            Self::UnknownNode(_) => "`sunstar ctl nodes` lists the nodes",
            Self::TooManyNodes => "remove one first: `sunstar ctl decommission`",
            Self::ZeroNode => "number nodes from 1",
            Self::LongAddress { .. } => "give the node a shorter name",
            Self::AddressTaken { .. } => "see which of the two is to listen there",
            Self::TooFewNodes { .. } => "let another node join first: `sunstar start --join`",
            Self::NotDrained(_) => {
                "drain it first: `sunstar ctl drain`, or `decommission` for both"
            }
        }
    }
}

/// Which command began an epoch, in little room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// [`Command::Join`].
    Join {
        /// How many came.
        groups: u32,
    },
    /// [`Command::Leave`].
    Leave {
        /// Who had not been leaving before.
        groups: Vec<GroupId>,
    },
    /// [`Command::Move`].
    Move {
        /// How many changed hands.
        slots: u32,
        /// Whose they became.
        to: GroupId,
    },
    /// [`Command::AddNode`].
    AddNode(NodeId),
    /// [`Command::Drain`].
    Drain(NodeId),
    /// [`Command::Undrain`].
    Undrain(NodeId),
    /// [`Command::RemoveNode`].
    RemoveNode(NodeId),
    /// [`Command::Forget`].
    Forget(GroupId),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Join { groups } => write!(f, "join {groups}"),
            Self::Leave { groups } => {
                write!(f, "leave")?;
                groups.iter().try_for_each(|group| write!(f, " {group}"))
            }
            Self::Move { slots, to } => write!(f, "move {slots} slots to {to}"),
            Self::AddNode(node) => write!(f, "add node {node}"),
            Self::Drain(node) => write!(f, "drain {node}"),
            Self::Undrain(node) => write!(f, "undrain {node}"),
            Self::RemoveNode(node) => write!(f, "remove node {node}"),
            Self::Forget(group) => write!(f, "forget {group}"),
        }
    }
}
