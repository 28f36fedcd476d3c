//! All that the shard master keeps.

use flatbuffers::{Push, Vector, WIPOffset};

use super::{
    Body, Group, Map, Node, aligned, finish, group_ids_built, group_ids_of, groups_built,
    groups_of, node_ids_built, node_ids_of, nodes_built, nodes_of, runs_built, runs_of,
};
use crate::base::limits::EPOCHS_MAX;
use crate::base::{GroupId, NodeId, WallTime};
use crate::wire::WireError;
use crate::wire::error::{check_count, verified_root};
use crate::wire::generated::map as schema;
use crate::wire::map::SlotRun;

/// What began an epoch, and how all that changed was before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The epoch that began.
    pub epoch: u64,
    /// When, by the log.
    pub at: WallTime,
    /// By which command.
    pub reason: Reason,
    /// The slots that changed hands, and whose they were.
    pub slots: Vec<SlotRun>,
    /// Nodes that were not there.
    pub new_nodes: Vec<NodeId>,
    /// Nodes that went or are otherwise, as they were.
    pub old_nodes: Vec<Node>,
    /// Groups that were not there.
    pub new_groups: Vec<GroupId>,
    /// Groups that went or are otherwise, as they were.
    pub old_groups: Vec<Group>,
    /// The meta group as it was, if it is otherwise.
    pub meta: Option<Group>,
    /// Nodes that were to hold nothing and no longer are, or the other way round.
    pub draining: Vec<NodeId>,
    /// Groups that were to own nothing and no longer are, or the other way round.
    pub leaving: Vec<GroupId>,
}

/// The command that began an epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// Which of the fields below mean something depends on it.
    pub kind: ReasonKind,
    /// How many.
    pub count: u32,
    /// The group that it is about.
    pub group: GroupId,
    /// The node that it is about.
    pub node: NodeId,
    /// The groups that are to own nothing since.
    pub left: Vec<GroupId>,
}

/// The commands there are; the numbers are those of the schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ReasonKind {
    /// `count` groups came.
    Join = 1,
    /// Those of `left` are to own nothing.
    Leave = 2,
    /// `count` slots became the `group`'s.
    Move = 3,
    /// The `node` came, or listens elsewhere.
    AddNode = 4,
    /// The `node` is to hold nothing.
    Drain = 5,
    /// The `node` may hold replicas again.
    Undrain = 6,
    /// The `node` went.
    RemoveNode = 7,
    /// The `group` went.
    Forget = 8,
}

impl ReasonKind {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Join,
        Self::Leave,
        Self::Move,
        Self::AddNode,
        Self::Drain,
        Self::Undrain,
        Self::RemoveNode,
        Self::Forget,
    ];

    fn of(number: u8) -> Result<Self, WireError> {
        let what = "the shard master's command";
        let known = Self::ALL.into_iter().find(|&kind| kind as u8 == number);
        known.ok_or(WireError::Unknown { what, number })
    }
}

/// All that the shard master keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Master {
    /// The latest epoch.
    pub map: Map,
    /// The epochs that are remembered, the oldest first.
    pub history: Vec<Change>,
    /// No group ever had this id or a higher one.
    pub next_group: GroupId,
}

impl Master {
    /// The bytes of this state.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Body::new();
        let map = Some(self.map.build(&mut body));
        let history: Vec<_> = self.history.iter().map(|change| change.build(&mut body)).collect();
        let history = Some(body.create_vector(&history));
        let args = schema::MasterArgs { map, history, next_group: self.next_group.0 };
        let root = schema::Master::create(&mut body, &args);
        finish(body, root)
    }

    /// Reads a state.
    ///
    /// # Errors
    /// If the bytes break the schema or a limit, or an epoch began by a command that is not known here.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let bytes = aligned(bytes);
        let master = verified_root::<schema::Master<'_>>(&bytes)?;
        check_count("epochs", master.history().len(), EPOCHS_MAX)?;
        Ok(Self {
            map: Map::of(&master.map())?,
            history: master.history().iter().map(Change::of).collect::<Result<_, _>>()?,
            next_group: GroupId(master.next_group()),
        })
    }
}

/// What most changes have none of takes no room.
fn unless_empty<T, B: Push>(
    list: &[T],
    body: &mut Body,
    build: impl Fn(&[T], &mut Body) -> WIPOffset<Vector<'static, B>>,
) -> Option<WIPOffset<Vector<'static, B>>> {
    (!list.is_empty()).then(|| build(list, body))
}

impl Change {
    fn build(&self, body: &mut Body) -> WIPOffset<schema::Change<'static>> {
        let args = schema::ChangeArgs {
            epoch: self.epoch,
            at: self.at.0,
            reason: schema::Reason(self.reason.kind as u8),
            count: self.reason.count,
            group: self.reason.group.0,
            node: self.reason.node.0,
            left: unless_empty(&self.reason.left, body, group_ids_built),
            slots: unless_empty(&self.slots, body, runs_built),
            new_nodes: unless_empty(&self.new_nodes, body, node_ids_built),
            old_nodes: unless_empty(&self.old_nodes, body, nodes_built),
            new_groups: unless_empty(&self.new_groups, body, group_ids_built),
            old_groups: unless_empty(&self.old_groups, body, groups_built),
            meta: self.meta.as_ref().map(|meta| meta.build(body)),
            draining: unless_empty(&self.draining, body, node_ids_built),
            leaving: unless_empty(&self.leaving, body, group_ids_built),
        };
        schema::Change::create(body, &args)
    }

    fn of(change: schema::Change<'_>) -> Result<Self, WireError> {
        let reason = Reason {
            kind: ReasonKind::of(change.reason().0)?,
            count: change.count(),
            group: GroupId(change.group()),
            node: NodeId(change.node()),
            left: group_ids_of(change.left())?,
        };
        Ok(Self {
            epoch: change.epoch(),
            at: WallTime(change.at()),
            reason,
            slots: runs_of(change.slots())?,
            new_nodes: node_ids_of(change.new_nodes())?,
            old_nodes: nodes_of(change.old_nodes())?,
            new_groups: group_ids_of(change.new_groups())?,
            old_groups: groups_of(change.old_groups())?,
            meta: change.meta().map(|meta| Group::of(&meta)).transpose()?,
            draining: node_ids_of(change.draining())?,
            leaving: group_ids_of(change.leaving())?,
        })
    }
}
