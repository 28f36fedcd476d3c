//! The shard master's words: maps, commands, answers, and all that it keeps. Format: `schema/map.fbs`.
//!
//! Each `encode` gives the bytes of one `FlatBuffer`, the same for the same value, and each `decode` takes
//! them back, wherever they lie in memory. In which frame, entry or annex they travel is their user's choice.
//! The types mirror the placement's but are not the placement's: `wire` and `placement` do not know each
//! other. What is checked here is that the bytes hold what they claim, in numbers that can be; whether that
//! is a map is for the placement to say.

mod command;
mod state;

pub use command::{Answer, Command, Refusal, RefusalReason};
pub use state::{Change, Master, Reason, ReasonKind};

use flatbuffers::{FlatBufferBuilder, ForwardsUOffset, Vector, WIPOffset};

use super::WireError;
use super::error::{check_count, verified_root};
use super::generated::map as schema;
use super::map::SlotRun;
use crate::base::limits::{ADDRESS_MAX, EPOCHS_MAX, NODES_MAX};
use crate::base::{AlignedBuf, GroupId, NodeId, SLOT_COUNT};

/// A node and where it listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The node.
    pub id: NodeId,
    /// Where clients reach it.
    pub client_address: String,
    /// Where other nodes reach it.
    pub peer_address: String,
}

/// A group and who holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The group.
    pub id: GroupId,
    /// The nodes with a replica.
    pub members: Vec<NodeId>,
    /// Who is to lead while all is well.
    pub leader: NodeId,
    /// Who held it at first.
    pub founders: Vec<NodeId>,
    /// The epoch in which it began.
    pub born: u64,
    /// The epoch in which it was given other members last.
    pub members_epoch: u64,
}

/// One epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Map {
    /// Which.
    pub epoch: u64,
    /// The nodes.
    pub nodes: Vec<Node>,
    /// The group that keeps the map.
    pub meta: Group,
    /// The groups that may own slots.
    pub groups: Vec<Group>,
    /// Which group owns which slots.
    pub slots: Vec<SlotRun>,
    /// Nodes that are to hold nothing.
    pub draining: Vec<NodeId>,
    /// Groups that are to own nothing.
    pub leaving: Vec<GroupId>,
    /// What changed hands of late.
    pub handovers: Vec<Handover>,
}

/// What changed hands when an epoch began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handover {
    /// The epoch.
    pub epoch: u64,
    /// Slots, and whose they were.
    pub slots: Vec<SlotRun>,
}

/// Groups and runs of slots in one list, at most.
const SLOTS_MAX: usize = SLOT_COUNT as usize;

impl Map {
    /// The bytes of this map.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Body::new();
        let root = self.build(&mut body);
        finish(body, root)
    }

    /// Reads a map.
    ///
    /// # Errors
    /// If the bytes break the schema or a limit.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let bytes = aligned(bytes);
        Self::of(&verified_root::<schema::Map<'_>>(&bytes)?)
    }

    fn build(&self, body: &mut Body) -> WIPOffset<schema::Map<'static>> {
        let nodes = nodes_built(&self.nodes, body);
        let groups = groups_built(&self.groups, body);
        let meta = self.meta.build(body);
        let handovers = (!self.handovers.is_empty()).then(|| {
            let built: Vec<_> = self.handovers.iter().map(|it| it.build(body)).collect();
            body.create_vector(&built)
        });
        let args = schema::MapArgs {
            epoch: self.epoch,
            nodes: Some(nodes),
            meta: Some(meta),
            groups: Some(groups),
            slots: Some(runs_built(&self.slots, body)),
            draining: Some(node_ids_built(&self.draining, body)),
            leaving: Some(group_ids_built(&self.leaving, body)),
            handovers,
        };
        schema::Map::create(body, &args)
    }

    fn of(map: &schema::Map<'_>) -> Result<Self, WireError> {
        Ok(Self {
            epoch: map.epoch(),
            nodes: nodes_of(Some(map.nodes()))?,
            meta: Group::of(&map.meta())?,
            groups: groups_of(Some(map.groups()))?,
            slots: runs_of(Some(map.slots()))?,
            draining: node_ids_of(Some(map.draining()))?,
            leaving: group_ids_of(Some(map.leaving()))?,
            handovers: handovers_of(map.handovers())?,
        })
    }
}

impl Handover {
    fn build(&self, body: &mut Body) -> WIPOffset<schema::Handover<'static>> {
        let slots = Some(runs_built(&self.slots, body));
        schema::Handover::create(body, &schema::HandoverArgs { epoch: self.epoch, slots })
    }
}

fn handovers_of(all: Tables<'_, schema::Handover<'_>>) -> Result<Vec<Handover>, WireError> {
    check_count("epochs", all.map_or(0, |all| all.len()), EPOCHS_MAX)?;
    let handover = |it: schema::Handover<'_>| {
        Ok(Handover { epoch: it.epoch(), slots: runs_of(Some(it.slots()))? })
    };
    all.into_iter().flatten().map(handover).collect()
}

type Body = FlatBufferBuilder<'static>;
type Built<T> = WIPOffset<Vector<'static, T>>;
type BuiltTables<T> = Built<ForwardsUOffset<T>>;
type Tables<'a, T> = Option<Vector<'a, ForwardsUOffset<T>>>;

fn finish<T>(mut body: Body, root: WIPOffset<T>) -> Vec<u8> {
    body.finish_minimal(root);
    body.finished_data().to_vec()
}

/// The same bytes where integers of eight bytes can be read in place.
fn aligned(bytes: &[u8]) -> AlignedBuf {
    AlignedBuf::copy_of(bytes)
}

impl Node {
    fn build(&self, body: &mut Body) -> WIPOffset<schema::Node<'static>> {
        let client_address = Some(body.create_string(&self.client_address));
        let peer_address = Some(body.create_string(&self.peer_address));
        schema::Node::create(
            body,
            &schema::NodeArgs { id: self.id.0, client_address, peer_address },
        )
    }

    fn of(node: &schema::Node<'_>) -> Result<Self, WireError> {
        Ok(Self {
            id: NodeId(node.id()),
            client_address: address_of(node.client_address())?,
            peer_address: address_of(node.peer_address())?,
        })
    }
}

fn address_of(address: &str) -> Result<String, WireError> {
    let length = address.len();
    if length <= ADDRESS_MAX {
        Ok(address.to_owned())
    } else {
        Err(WireError::LongAddress { length })
    }
}

impl Group {
    fn build(&self, body: &mut Body) -> WIPOffset<schema::Group<'static>> {
        let have_changed = self.founders != self.members;
        let args = schema::GroupArgs {
            id: self.id.0,
            members: Some(node_ids_built(&self.members, body)),
            leader: self.leader.0,
            founders: have_changed.then(|| node_ids_built(&self.founders, body)),
            born: self.born,
            members_epoch: self.members_epoch,
        };
        schema::Group::create(body, &args)
    }

    fn of(group: &schema::Group<'_>) -> Result<Self, WireError> {
        Ok(Self {
            id: GroupId(group.id()),
            members: node_ids_of(Some(group.members()))?,
            leader: NodeId(group.leader()),
            founders: node_ids_of(Some(group.founders().unwrap_or(group.members())))?,
            born: group.born(),
            members_epoch: group.members_epoch(),
        })
    }
}

fn nodes_built(nodes: &[Node], body: &mut Body) -> BuiltTables<schema::Node<'static>> {
    let nodes: Vec<_> = nodes.iter().map(|node| node.build(body)).collect();
    body.create_vector(&nodes)
}

fn nodes_of(nodes: Tables<'_, schema::Node<'_>>) -> Result<Vec<Node>, WireError> {
    check_count("nodes", nodes.map_or(0, |nodes| nodes.len()), NODES_MAX)?;
    nodes.into_iter().flatten().map(|node| Node::of(&node)).collect()
}

fn groups_built(groups: &[Group], body: &mut Body) -> BuiltTables<schema::Group<'static>> {
    let groups: Vec<_> = groups.iter().map(|group| group.build(body)).collect();
    body.create_vector(&groups)
}

fn groups_of(groups: Tables<'_, schema::Group<'_>>) -> Result<Vec<Group>, WireError> {
    check_count("groups", groups.map_or(0, |groups| groups.len()), SLOTS_MAX)?;
    groups.into_iter().flatten().map(|group| Group::of(&group)).collect()
}

fn runs_built(runs: &[SlotRun], body: &mut Body) -> Built<schema::SlotRun> {
    let runs = runs.iter().map(|run| schema::SlotRun::new(run.first, run.last, run.group.0));
    let runs: Vec<_> = runs.collect();
    body.create_vector(&runs)
}

fn runs_of(runs: Option<Vector<'_, schema::SlotRun>>) -> Result<Vec<SlotRun>, WireError> {
    check_count("runs of slots", runs.map_or(0, |runs| runs.len()), SLOTS_MAX)?;
    let run = |run: &schema::SlotRun| SlotRun {
        first: run.first(),
        last: run.last(),
        group: GroupId(run.group()),
    };
    Ok(runs.into_iter().flatten().map(run).collect())
}

fn node_ids_built(ids: &[NodeId], body: &mut Body) -> Built<u64> {
    body.create_vector_from_iter(ids.iter().map(|id| id.0))
}

fn node_ids_of(ids: Option<Vector<'_, u64>>) -> Result<Vec<NodeId>, WireError> {
    check_count("nodes", ids.map_or(0, |ids| ids.len()), NODES_MAX)?;
    Ok(ids.into_iter().flatten().map(NodeId).collect())
}

fn group_ids_built(ids: &[GroupId], body: &mut Body) -> Built<u32> {
    body.create_vector_from_iter(ids.iter().map(|id| id.0))
}

fn group_ids_of(ids: Option<Vector<'_, u32>>) -> Result<Vec<GroupId>, WireError> {
    check_count("groups", ids.map_or(0, |ids| ids.len()), SLOTS_MAX)?;
    Ok(ids.into_iter().flatten().map(GroupId).collect())
}

#[cfg(test)]
mod tests;
