//! What is asked of the shard master, and what it answers, as the administration port has it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::super::admin::{GroupReason, GroupRefusal, refusal};
use crate::base::{GroupId, NodeId, Slot};
use crate::placement::{Command, NodeInfo, Refusal};

/// What is asked of the shard master.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "operation", rename_all = "kebab-case", deny_unknown_fields)]
pub enum PlacementOperation {
    /// Who owns what?
    Query {
        /// In which epoch; the latest if none is named.
        #[serde(default)]
        epoch: Option<u64>,
    },
    /// What did the latest epochs change?
    History {
        /// How many of them.
        last: usize,
    },
    /// Add so many groups, with an even share of the slots.
    Join {
        /// How many.
        groups: u32,
    },
    /// Have these groups own nothing.
    Leave {
        /// Which.
        groups: Vec<GroupId>,
    },
    /// Give slots to a group.
    Move {
        /// Runs of slots, both ends included.
        slots: Vec<(u16, u16)>,
        /// Whose they become.
        to: GroupId,
    },
    /// Add a node, or say where one listens now.
    AddNode {
        /// The node.
        node: NodeId,
        /// Where clients reach it, `host:port`.
        client_address: String,
        /// Where other nodes reach it, `host:port`.
        peer_address: String,
    },
    /// Have a node hold nothing.
    Drain {
        /// The node.
        node: NodeId,
    },
    /// Let a node hold replicas again.
    Undrain {
        /// The node.
        node: NodeId,
    },
    /// Remove a drained node.
    RemoveNode {
        /// The node.
        node: NodeId,
    },
    /// List a group no longer that has left.
    Forget {
        /// The group.
        group: GroupId,
    },
}

/// The shard map of an epoch, as the shard master sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacementView {
    /// Which epoch.
    pub epoch: u64,
    /// Its nodes, ascending.
    pub nodes: Vec<NodePlacement>,
    /// The meta group: it owns no slots.
    pub meta: GroupPlacement,
    /// The groups that own slots or have left, ascending.
    pub groups: Vec<GroupPlacement>,
    /// What the latest epochs changed, if that was asked for; the latest last.
    pub history: Vec<EpochView>,
}

/// A node, as the shard master sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodePlacement {
    /// The node.
    pub node: NodeId,
    /// Where clients reach it.
    pub client_address: String,
    /// Where other nodes reach it.
    pub peer_address: String,
    /// Whether it is to hold nothing.
    pub draining: bool,
}

/// A group, as the shard master sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupPlacement {
    /// The group.
    pub group: GroupId,
    /// Who is to hold it.
    pub members: Vec<NodeId>,
    /// Since which epoch.
    #[serde(default)]
    pub members_epoch: u64,
    /// Who is to lead it.
    pub preferred_leader: NodeId,
    /// Whether it is to own nothing.
    pub leaving: bool,
    /// How many slots it is to own.
    pub slot_count: usize,
    /// Which: runs, both ends included.
    pub slots: Vec<(u16, u16)>,
    /// How far it is, as its leader said last; nothing if it has not said so to this leader of the meta
    /// group.
    pub progress: Option<GroupProgress>,
}

/// How far a group is behind the map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupProgress {
    /// The epoch that it has begun.
    pub epoch: u64,
    /// The members of which epoch it has.
    pub members_epoch: u64,
    /// Slots on their way in.
    pub arriving: u32,
    /// Slots not given up yet.
    pub leaving: u32,
}

/// What an epoch changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochView {
    /// Which.
    pub epoch: u64,
    /// When it began, ms since 1970.
    pub at_ms: u64,
    /// By what.
    pub what: String,
}

/// What became of a request to the shard master.
pub type PlacementAnswer = Result<PlacementView, GroupRefusal>;

/// The shard master's command for what is asked; nothing for a question.
pub(super) fn command_of(operation: &PlacementOperation) -> Result<Option<Command>, GroupRefusal> {
    Ok(Some(match operation {
        PlacementOperation::Query { .. } | PlacementOperation::History { .. } => return Ok(None),
        PlacementOperation::Join { groups } => Command::Join { groups: *groups },
        PlacementOperation::Leave { groups } => Command::Leave { groups: groups.clone() },
        PlacementOperation::Move { slots, to } => {
            Command::Move { slots: slots_of(slots)?, to: *to }
        }
        PlacementOperation::AddNode { node, client_address, peer_address } => {
            Command::AddNode(NodeInfo {
                id: *node,
                client_address: client_address.clone(),
                peer_address: peer_address.clone(),
            })
        }
        PlacementOperation::Drain { node } => Command::Drain(*node),
        PlacementOperation::Undrain { node } => Command::Undrain(*node),
        PlacementOperation::RemoveNode { node } => Command::RemoveNode(*node),
        PlacementOperation::Forget { group } => Command::Forget(*group),
    }))
}

/// The slots of runs that may overlap, ascending.
fn slots_of(runs: &[(u16, u16)]) -> Result<Vec<Slot>, GroupRefusal> {
    let mut slots = BTreeSet::new();
    for &(first, last) in runs {
        let run = (first..=last).map(Slot::new).collect::<Option<Vec<Slot>>>();
        let Some(run) = run.filter(|run| !run.is_empty()) else {
            let message =
                format!("{first}-{last} is no run of slots: they are numbered 0 to 16383");
            return Err(refusal(GroupReason::Invalid, message));
        };
        slots.extend(run);
    }
    Ok(slots.into_iter().collect())
}

pub(super) fn refused_by_master(refused: &Refusal) -> GroupRefusal {
    let reason = match refused {
        Refusal::NoChange => GroupReason::NoChange,
        Refusal::UnknownNode(_) => GroupReason::UnknownNode,
        Refusal::UnknownGroup(_) => GroupReason::UnknownGroup,
        _ => GroupReason::Refused,
    };
    GroupRefusal { reason, message: refused.to_string(), remedy: refused.remedy().to_owned() }
}
