//! The shard map as clients see it. Format: `MapReply` in `schema/client.fbs`.

use super::WireError;
use super::error::{check_count, verified_root};
use super::frame::{Frame, FrameEncoder, FrameKind};
use super::generated::client as schema;
use crate::base::limits::{CORES_MAX, NODES_MAX};
use crate::base::{ClusterId, GroupId, NodeId, SLOT_COUNT};

/// Who serves what, as one node knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterView {
    /// The cluster.
    pub cluster: ClusterId,
    /// The map's number: a higher one is newer.
    pub epoch: u64,
    /// The nodes.
    pub nodes: Vec<NodeView>,
    /// The groups.
    pub groups: Vec<GroupView>,
    /// Which group owns which slots: ascending, not overlapping. Slots in no run have no owner.
    pub slots: Vec<SlotRun>,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeView {
    /// The node.
    pub node: NodeId,
    /// Where clients connect: `host:port`.
    pub client_address: String,
    /// How many cores it runs: its replica of group `g` lives on core `g mod smp`.
    pub smp: u16,
}

/// One group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupView {
    /// The group.
    pub group: GroupId,
    /// Who holds a replica.
    pub members: Vec<NodeId>,
    /// Who leads as far as the answering node knows; else who leads by preference.
    pub leader: NodeId,
}

/// A run of slots of one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotRun {
    /// The first.
    pub first: u16,
    /// The last, inclusive.
    pub last: u16,
    /// Whose they are.
    pub group: GroupId,
}

/// Groups in a map, at most.
const GROUPS_MAX: usize = NODES_MAX * CORES_MAX;

impl ClusterView {
    /// Appends a `MapReply` frame that answers `request` to `out`.
    pub fn encode(&self, request: u64, out: &mut Vec<u8>) {
        let mut encoder = FrameEncoder::default();
        let body = encoder.body();
        let nodes: Vec<_> = self.nodes.iter().map(|node| node.encode(body)).collect();
        let groups: Vec<_> = self.groups.iter().map(|group| group.encode(body)).collect();
        let slots: Vec<_> = self
            .slots
            .iter()
            .map(|run| schema::SlotRange::new(run.first, run.last, run.group.0))
            .collect();
        let args = schema::MapReplyArgs {
            request,
            cluster: self.cluster.0,
            epoch: self.epoch,
            nodes: Some(body.create_vector(&nodes)),
            groups: Some(body.create_vector(&groups)),
            slots: Some(body.create_vector(&slots)),
        };
        let root = schema::MapReply::create(body, &args);
        encoder.finish(FrameKind::MapReply, root, out);
    }
}

type Body = flatbuffers::FlatBufferBuilder<'static>;

impl NodeView {
    fn encode(&self, body: &mut Body) -> flatbuffers::WIPOffset<schema::Node<'static>> {
        let client_address = Some(body.create_string(&self.client_address));
        let args = schema::NodeArgs { id: self.node.0, client_address, smp: self.smp };
        schema::Node::create(body, &args)
    }

    fn of(node: &schema::Node<'_>) -> Self {
        Self {
            node: NodeId(node.id()),
            client_address: node.client_address().to_owned(),
            smp: node.smp(),
        }
    }
}

impl GroupView {
    fn encode(&self, body: &mut Body) -> flatbuffers::WIPOffset<schema::Group<'static>> {
        let members = self.members.iter().map(|member| member.0);
        let members = Some(body.create_vector_from_iter(members));
        let args = schema::GroupArgs { id: self.group.0, members, leader: self.leader.0 };
        schema::Group::create(body, &args)
    }

    fn of(group: &schema::Group<'_>) -> Result<Self, WireError> {
        check_count("members of a group", group.members().len(), NODES_MAX)?;
        Ok(Self {
            group: GroupId(group.id()),
            members: group.members().iter().map(NodeId).collect(),
            leader: NodeId(group.leader()),
        })
    }
}

/// Reads a map and the number of the request it answers.
///
/// # Errors
/// If the frame is no map, breaks the schema or a limit, or its runs of slots are out of order,
/// overlap, lie beyond the last slot or name a group that is not in it.
pub fn parse_map_reply(frame: &Frame<'_>) -> Result<(u64, ClusterView), WireError> {
    let body = frame.body_of(FrameKind::MapReply)?;
    let map = verified_root::<schema::MapReply<'_>>(body)?;
    check_count("nodes", map.nodes().len(), NODES_MAX)?;
    check_count("groups", map.groups().len(), GROUPS_MAX)?;
    check_count("runs of slots", map.slots().len(), usize::from(SLOT_COUNT))?;
    let view = ClusterView {
        cluster: ClusterId(map.cluster()),
        epoch: map.epoch(),
        nodes: map.nodes().iter().map(|node| NodeView::of(&node)).collect(),
        groups: map.groups().iter().map(|group| GroupView::of(&group)).collect::<Result<_, _>>()?,
        slots: map.slots().iter().copied().map(SlotRun::of).collect(),
    };
    check_slots(&view)?;
    Ok((map.request(), view))
}

impl SlotRun {
    fn of(range: schema::SlotRange) -> Self {
        Self { first: range.first(), last: range.last(), group: GroupId(range.group()) }
    }
}

fn check_slots(view: &ClusterView) -> Result<(), WireError> {
    let mut groups: Vec<GroupId> = view.groups.iter().map(|group| group.group).collect();
    groups.sort_unstable();
    let mut free_from = 0;
    for &SlotRun { first, last, group } in &view.slots {
        let in_order = free_from <= first && first <= last && last < SLOT_COUNT;
        if !in_order || groups.binary_search(&group).is_err() {
            return Err(WireError::SlotRange { first, last });
        }
        free_from = last + 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
