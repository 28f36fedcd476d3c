//! What is asked of the shard master, and what it answers.

use flatbuffers::{UnionWIPOffset, Vector, WIPOffset};

use super::{Body, Node, SLOTS_MAX, address_of, aligned, finish, group_ids_built, group_ids_of};
use crate::base::{GroupId, NodeId, SLOT_COUNT, Slot, SlotSet};
use crate::wire::WireError;
use crate::wire::error::{check_count, verified_root};
use crate::wire::generated::map as schema;

/// What an administrator asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// So many new groups.
    Join {
        /// How many.
        groups: u32,
    },
    /// These groups are to own nothing.
    Leave {
        /// Which.
        groups: Vec<GroupId>,
    },
    /// These slots are to be this group's.
    Move {
        /// Which; read back ascending.
        slots: Vec<Slot>,
        /// Whose they become.
        to: GroupId,
    },
    /// A new node, or other addresses of one that is known.
    AddNode(Node),
    /// A node is to hold nothing.
    Drain(NodeId),
    /// It may hold replicas again.
    Undrain(NodeId),
    /// It belongs to the cluster no longer.
    RemoveNode(NodeId),
    /// A group that has left is listed no longer.
    Forget(GroupId),
}

impl Command {
    /// The bytes of this command.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Body::new();
        let (order_type, order) = self.order(&mut body);
        let args = schema::CommandArgs { order_type, order: Some(order) };
        let root = schema::Command::create(&mut body, &args);
        finish(body, root)
    }

    /// Reads a command.
    ///
    /// # Errors
    /// If the bytes break the schema or a limit, or ask for something that is not known here.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let bytes = aligned(bytes);
        Self::of(&verified_root::<schema::Command<'_>>(&bytes)?)
    }

    fn order(&self, body: &mut Body) -> (schema::Order, WIPOffset<UnionWIPOffset>) {
        use schema::Order;
        match self {
            &Self::Join { groups } => {
                let order = schema::Join::create(body, &schema::JoinArgs { groups });
                (Order::Join, order.as_union_value())
            }
            Self::Leave { groups } => {
                let groups = Some(group_ids_built(groups, body));
                let order = schema::Leave::create(body, &schema::LeaveArgs { groups });
                (Order::Leave, order.as_union_value())
            }
            Self::Move { slots, to } => {
                let slots = Some(body.create_vector(&runs_of_set(slots)));
                let order = schema::Move::create(body, &schema::MoveArgs { slots, to: to.0 });
                (Order::Move, order.as_union_value())
            }
            Self::AddNode(node) => {
                let node = Some(node.build(body));
                let order = schema::AddNode::create(body, &schema::AddNodeArgs { node });
                (Order::AddNode, order.as_union_value())
            }
            &Self::Drain(NodeId(node)) => {
                let order = schema::Drain::create(body, &schema::DrainArgs { node });
                (Order::Drain, order.as_union_value())
            }
            &Self::Undrain(NodeId(node)) => {
                let order = schema::Undrain::create(body, &schema::UndrainArgs { node });
                (Order::Undrain, order.as_union_value())
            }
            &Self::RemoveNode(NodeId(node)) => {
                let order = schema::RemoveNode::create(body, &schema::RemoveNodeArgs { node });
                (Order::RemoveNode, order.as_union_value())
            }
            &Self::Forget(GroupId(group)) => {
                let order = schema::Forget::create(body, &schema::ForgetArgs { group });
                (Order::Forget, order.as_union_value())
            }
        }
    }

    fn of(command: &schema::Command<'_>) -> Result<Self, WireError> {
        Ok(match command.order_type() {
            schema::Order::Join => {
                Self::Join { groups: command.order_as_join().expect(THERE).groups() }
            }
            schema::Order::Leave => {
                let groups = command.order_as_leave().expect(THERE).groups();
                Self::Leave { groups: group_ids_of(Some(groups))? }
            }
            schema::Order::Move => {
                let order = command.order_as_move().expect(THERE);
                Self::Move { slots: slots_of(order.slots())?, to: GroupId(order.to()) }
            }
            schema::Order::AddNode => {
                Self::AddNode(Node::of(&command.order_as_add_node().expect(THERE).node())?)
            }
            schema::Order::Drain => {
                Self::Drain(NodeId(command.order_as_drain().expect(THERE).node()))
            }
            schema::Order::Undrain => {
                Self::Undrain(NodeId(command.order_as_undrain().expect(THERE).node()))
            }
            schema::Order::RemoveNode => {
                Self::RemoveNode(NodeId(command.order_as_remove_node().expect(THERE).node()))
            }
            schema::Order::Forget => {
                Self::Forget(GroupId(command.order_as_forget().expect(THERE).group()))
            }
            other => {
                let what = "the shard master's command";
                return Err(WireError::Unknown { what, number: other.0 });
            }
        })
    }
}

/// Verified: what the order's type says is there.
const THERE: &str = "the verifier requires the order that its type names";

/// These slots, ascending, in runs.
fn runs_of_set(slots: &[Slot]) -> Vec<schema::Slots> {
    let set: SlotSet = slots.iter().copied().collect();
    let mut runs: Vec<(u16, u16)> = Vec::new();
    for number in set.iter().map(Slot::number) {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => runs.push((number, number)),
        }
    }
    runs.into_iter().map(|(first, last)| schema::Slots::new(first, last)).collect()
}

/// The slots of runs that ascend without overlap, so that they are no more than there are.
fn slots_of(runs: Vector<'_, schema::Slots>) -> Result<Vec<Slot>, WireError> {
    check_count("runs of slots", runs.len(), SLOTS_MAX)?;
    let mut slots = Vec::new();
    let mut free_from = 0;
    for (first, last) in runs.iter().map(|run| (run.first(), run.last())) {
        if !(free_from <= first && first <= last && last < SLOT_COUNT) {
            return Err(WireError::SlotRange { first, last });
        }
        slots.extend((first..=last).filter_map(Slot::new));
        free_from = last + 1;
    }
    Ok(slots)
}

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// This epoch began.
    Epoch(u64),
    /// Nothing changed.
    Refused(Refusal),
}

/// Why a command changed nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Which of the fields below mean something depends on it.
    pub reason: RefusalReason,
    /// The group that it is about.
    pub group: GroupId,
    /// The node that it is about.
    pub node: NodeId,
    /// How much or many there is.
    pub count: u32,
    /// How many would be left.
    pub left: u32,
    /// The address that it is about.
    pub address: String,
}

/// The reasons there are; the numbers are those of the schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RefusalReason {
    /// All is so already.
    NoChange = 1,
    /// It is about the meta group.
    MetaGroup = 2,
    /// There is no such `group`.
    UnknownGroup = 3,
    /// The `group` is on its way out.
    Leaving = 4,
    /// The `group` is not.
    NotLeaving = 5,
    /// No group would be left to own the slots.
    LastGroup = 6,
    /// More groups than a cluster may have.
    TooManyGroups = 7,
    /// There is no such `node`.
    UnknownNode = 8,
    /// More nodes than a cluster may have.
    TooManyNodes = 9,
    /// Zero is never a node.
    ZeroNode = 10,
    /// An address of `count` bytes.
    LongAddress = 11,
    /// The `node` listens on the `address`.
    AddressTaken = 12,
    /// The `group` would have `left` of `count` replicas.
    TooFewNodes = 13,
    /// The `node` may hold replicas.
    NotDrained = 14,
}

impl RefusalReason {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::NoChange,
        Self::MetaGroup,
        Self::UnknownGroup,
        Self::Leaving,
        Self::NotLeaving,
        Self::LastGroup,
        Self::TooManyGroups,
        Self::UnknownNode,
        Self::TooManyNodes,
        Self::ZeroNode,
        Self::LongAddress,
        Self::AddressTaken,
        Self::TooFewNodes,
        Self::NotDrained,
    ];

    fn of(number: u8) -> Result<Self, WireError> {
        let what = "the shard master's refusal";
        let known = Self::ALL.into_iter().find(|&reason| reason as u8 == number);
        known.ok_or(WireError::Unknown { what, number })
    }
}

impl Answer {
    /// The bytes of this answer.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Body::new();
        let args = match self {
            &Self::Epoch(epoch) => schema::AnswerArgs { epoch, ..Default::default() },
            Self::Refused(refusal) => schema::AnswerArgs {
                epoch: 0,
                refusal: schema::Refusal(refusal.reason as u8),
                group: refusal.group.0,
                node: refusal.node.0,
                count: refusal.count,
                left: refusal.left,
                address: Some(body.create_string(&refusal.address)),
            },
        };
        let root = schema::Answer::create(&mut body, &args);
        finish(body, root)
    }

    /// Reads an answer.
    ///
    /// # Errors
    /// If the bytes break the schema or a limit, or refuse for a reason that is not known here.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let bytes = aligned(bytes);
        let answer = verified_root::<schema::Answer<'_>>(&bytes)?;
        if answer.refusal() == schema::Refusal::None {
            return Ok(Self::Epoch(answer.epoch()));
        }
        Ok(Self::Refused(Refusal {
            reason: RefusalReason::of(answer.refusal().0)?,
            group: GroupId(answer.group()),
            node: NodeId(answer.node()),
            count: answer.count(),
            left: answer.left(),
            address: address_of(answer.address().unwrap_or_default())?,
        }))
    }
}
