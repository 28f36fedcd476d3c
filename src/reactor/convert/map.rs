//! Maps, and the shard master's words and state, as bytes and back.
//!
//! The wire says what the bytes hold, the placement whether that can be: what these functions give can be
//! relied on, whoever sent it.

use crate::base::limits::ADDRESS_MAX;
use crate::base::{GroupId, NodeId};
use crate::placement::{
    Change, Command, Former, GroupInfo, Handover, MapParts, Master, MasterParts, NodeInfo,
    PlacementError, Reason, Refusal, ShardMap,
};
use crate::wire::WireError;
use crate::wire::map::SlotRun;
use crate::wire::placement::{self as wire, ReasonKind, RefusalReason};

/// Why bytes are no map, and nothing of the shard master's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MapBytesError {
    /// They are not what they should be.
    #[error("the bytes of the shard map are not of this version, or damaged: {0}")]
    Wire(#[from] WireError),
    /// They are, but what they say cannot be.
    #[error("a shard map that cannot be: {0}")]
    Placement(#[from] PlacementError),
}

/// The bytes of a map; the same for the same map.
pub fn encode_map(map: &ShardMap) -> Vec<u8> {
    wire_map(map.parts()).encode()
}

/// Reads a map.
///
/// # Errors
/// If the bytes are none, or what they say cannot be.
pub fn decode_map(bytes: &[u8]) -> Result<ShardMap, MapBytesError> {
    Ok(ShardMap::from_parts(map_parts(wire::Map::decode(bytes)?))?)
}

/// The bytes of a command.
pub fn encode_command(command: &Command) -> Vec<u8> {
    wire_command(command.clone()).encode()
}

/// Reads a command; whether it is accepted is for the master to say.
///
/// # Errors
/// If the bytes are none that is known here.
pub fn decode_command(bytes: &[u8]) -> Result<Command, MapBytesError> {
    Ok(command_of(wire::Command::decode(bytes)?))
}

/// The bytes of what [`Master::apply`] answered.
pub fn encode_answer(answer: &Result<u64, Refusal>) -> Vec<u8> {
    let answer = match answer {
        Ok(epoch) => wire::Answer::Epoch(*epoch),
        Err(refusal) => wire::Answer::Refused(wire_refusal(refusal.clone())),
    };
    answer.encode()
}

/// Reads an answer.
///
/// # Errors
/// If the bytes are none that is known here.
pub fn decode_answer(bytes: &[u8]) -> Result<Result<u64, Refusal>, MapBytesError> {
    Ok(match wire::Answer::decode(bytes)? {
        wire::Answer::Epoch(epoch) => Ok(epoch),
        wire::Answer::Refused(refusal) => Err(refusal_of(refusal)),
    })
}

/// The bytes of all that a shard master keeps; the same for the same state.
pub fn encode_master(master: &Master) -> Vec<u8> {
    let map = wire_map(master.latest().parts());
    let history = master.history().map(|change| wire_change(change.clone())).collect();
    wire::Master { map, history, next_group: master.next_group() }.encode()
}

/// Reads a shard master.
///
/// # Errors
/// If the bytes are none, or what they say cannot be.
pub fn decode_master(bytes: &[u8]) -> Result<Master, MapBytesError> {
    let wire::Master { map, history, next_group } = wire::Master::decode(bytes)?;
    let (map, history) = (map_parts(map), history.into_iter().map(change_of).collect());
    Ok(Master::from_parts(MasterParts { map, history, next_group })?)
}

fn wire_map(parts: MapParts) -> wire::Map {
    let MapParts { epoch, nodes, meta, groups, draining, leaving, ranges, handovers } = parts;
    wire::Map {
        epoch,
        nodes: nodes.into_iter().map(wire_node).collect(),
        meta: wire_group(meta),
        groups: groups.into_iter().map(wire_group).collect(),
        slots: ranges.into_iter().map(wire_run).collect(),
        draining,
        leaving,
        handovers: handovers.into_iter().map(wire_handover).collect(),
    }
}

fn map_parts(map: wire::Map) -> MapParts {
    let wire::Map { epoch, nodes, meta, groups, slots, draining, leaving, handovers } = map;
    MapParts {
        epoch,
        nodes: nodes.into_iter().map(node_of).collect(),
        meta: group_of(meta),
        groups: groups.into_iter().map(group_of).collect(),
        draining,
        leaving,
        ranges: slots.into_iter().map(range_of).collect(),
        handovers: handovers.into_iter().map(handover_of).collect(),
    }
}

fn wire_handover(Handover { epoch, ranges }: Handover) -> wire::Handover {
    wire::Handover { epoch, slots: ranges.into_iter().map(wire_run).collect() }
}

fn handover_of(wire::Handover { epoch, slots }: wire::Handover) -> Handover {
    Handover { epoch, ranges: slots.into_iter().map(range_of).collect() }
}

fn wire_node(node: NodeInfo) -> wire::Node {
    let NodeInfo { id, client_address, peer_address } = node;
    wire::Node { id, client_address, peer_address }
}

fn node_of(node: wire::Node) -> NodeInfo {
    let wire::Node { id, client_address, peer_address } = node;
    NodeInfo { id, client_address, peer_address }
}

fn wire_group(group: GroupInfo) -> wire::Group {
    let GroupInfo { id, members, preferred_leader: leader, founders, born, members_epoch } = group;
    wire::Group { id, members, leader, founders, born, members_epoch }
}

fn group_of(group: wire::Group) -> GroupInfo {
    let wire::Group { id, members, leader: preferred_leader, founders, born, members_epoch } =
        group;
    GroupInfo { id, members, preferred_leader, founders, born, members_epoch }
}

fn wire_run((first, last, group): (u16, u16, GroupId)) -> SlotRun {
    SlotRun { first, last, group }
}

fn range_of(SlotRun { first, last, group }: SlotRun) -> (u16, u16, GroupId) {
    (first, last, group)
}

fn wire_command(command: Command) -> wire::Command {
    match command {
        Command::Join { groups } => wire::Command::Join { groups },
        Command::Leave { groups } => wire::Command::Leave { groups },
        Command::Move { slots, to } => wire::Command::Move { slots, to },
        Command::AddNode(node) => wire::Command::AddNode(wire_node(node)),
        Command::Drain(node) => wire::Command::Drain(node),
        Command::Undrain(node) => wire::Command::Undrain(node),
        Command::RemoveNode(node) => wire::Command::RemoveNode(node),
        Command::Forget(group) => wire::Command::Forget(group),
    }
}

fn command_of(command: wire::Command) -> Command {
    match command {
        wire::Command::Join { groups } => Command::Join { groups },
        wire::Command::Leave { groups } => Command::Leave { groups },
        wire::Command::Move { slots, to } => Command::Move { slots, to },
        wire::Command::AddNode(node) => Command::AddNode(node_of(node)),
        wire::Command::Drain(node) => Command::Drain(node),
        wire::Command::Undrain(node) => Command::Undrain(node),
        wire::Command::RemoveNode(node) => Command::RemoveNode(node),
        wire::Command::Forget(group) => Command::Forget(group),
    }
}

fn wire_refusal(refusal: Refusal) -> wire::Refusal {
    let plain = |reason| wire::Refusal {
        reason,
        group: GroupId(0),
        node: NodeId(0),
        count: 0,
        left: 0,
        address: String::new(),
    };
    let of_group = |reason, group| wire::Refusal { group, ..plain(reason) };
    let of_node = |reason, node| wire::Refusal { node, ..plain(reason) };
    match refusal {
        Refusal::NoChange => plain(RefusalReason::NoChange),
        Refusal::MetaGroup => plain(RefusalReason::MetaGroup),
        Refusal::UnknownGroup(group) => of_group(RefusalReason::UnknownGroup, group),
        Refusal::Leaving(group) => of_group(RefusalReason::Leaving, group),
        Refusal::NotLeaving(group) => of_group(RefusalReason::NotLeaving, group),
        Refusal::LastGroup => plain(RefusalReason::LastGroup),
        Refusal::TooManyGroups => plain(RefusalReason::TooManyGroups),
        Refusal::UnknownNode(node) => of_node(RefusalReason::UnknownNode, node),
        Refusal::TooManyNodes => plain(RefusalReason::TooManyNodes),
        Refusal::ZeroNode => plain(RefusalReason::ZeroNode),
        Refusal::LongAddress { length } => {
            wire::Refusal { count: count_of(length), ..plain(RefusalReason::LongAddress) }
        }
        Refusal::AddressTaken { node, address } => {
            assert!(address.len() <= ADDRESS_MAX, "{} bytes were refused", address.len());
            wire::Refusal { address, ..of_node(RefusalReason::AddressTaken, node) }
        }
        Refusal::TooFewNodes { group, replicas, left } => wire::Refusal {
            count: count_of(replicas),
            left: count_of(left),
            ..of_group(RefusalReason::TooFewNodes, group)
        },
        Refusal::NotDrained(node) => of_node(RefusalReason::NotDrained, node),
    }
}

/// Far below the largest there is, but for what a stranger's command claims.
fn count_of(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn refusal_of(refusal: wire::Refusal) -> Refusal {
    let wire::Refusal { reason, group, node, count, left, address } = refusal;
    let (count, left) = (count as usize, left as usize);
    match reason {
        RefusalReason::NoChange => Refusal::NoChange,
        RefusalReason::MetaGroup => Refusal::MetaGroup,
        RefusalReason::UnknownGroup => Refusal::UnknownGroup(group),
        RefusalReason::Leaving => Refusal::Leaving(group),
        RefusalReason::NotLeaving => Refusal::NotLeaving(group),
        RefusalReason::LastGroup => Refusal::LastGroup,
        RefusalReason::TooManyGroups => Refusal::TooManyGroups,
        RefusalReason::UnknownNode => Refusal::UnknownNode(node),
        RefusalReason::TooManyNodes => Refusal::TooManyNodes,
        RefusalReason::ZeroNode => Refusal::ZeroNode,
        RefusalReason::LongAddress => Refusal::LongAddress { length: count },
        RefusalReason::AddressTaken => Refusal::AddressTaken { node, address },
        RefusalReason::TooFewNodes => Refusal::TooFewNodes { group, replicas: count, left },
        RefusalReason::NotDrained => Refusal::NotDrained(node),
    }
}

fn wire_change(change: Change) -> wire::Change {
    let Change { epoch, at, reason, ranges, nodes, groups, meta, draining, leaving } = change;
    wire::Change {
        epoch,
        at,
        reason: wire_reason(reason),
        slots: ranges.into_iter().map(wire_run).collect(),
        new_nodes: nodes.new,
        old_nodes: nodes.old.into_iter().map(wire_node).collect(),
        new_groups: groups.new,
        old_groups: groups.old.into_iter().map(wire_group).collect(),
        meta: meta.map(wire_group),
        draining,
        leaving,
    }
}

fn change_of(change: wire::Change) -> Change {
    Change {
        epoch: change.epoch,
        at: change.at,
        reason: reason_of(change.reason),
        ranges: change.slots.into_iter().map(range_of).collect(),
        nodes: Former {
            new: change.new_nodes,
            old: change.old_nodes.into_iter().map(node_of).collect(),
        },
        groups: Former {
            new: change.new_groups,
            old: change.old_groups.into_iter().map(group_of).collect(),
        },
        meta: change.meta.map(group_of),
        draining: change.draining,
        leaving: change.leaving,
    }
}

fn wire_reason(reason: Reason) -> wire::Reason {
    let plain = |kind| wire::Reason {
        kind,
        count: 0,
        group: GroupId(0),
        node: NodeId(0),
        left: Vec::new(),
    };
    let of_node = |kind, node| wire::Reason { node, ..plain(kind) };
    match reason {
        Reason::Join { groups } => wire::Reason { count: groups, ..plain(ReasonKind::Join) },
        Reason::Leave { groups } => wire::Reason { left: groups, ..plain(ReasonKind::Leave) },
        Reason::Move { slots, to } => {
            wire::Reason { count: slots, group: to, ..plain(ReasonKind::Move) }
        }
        Reason::AddNode(node) => of_node(ReasonKind::AddNode, node),
        Reason::Drain(node) => of_node(ReasonKind::Drain, node),
        Reason::Undrain(node) => of_node(ReasonKind::Undrain, node),
        Reason::RemoveNode(node) => of_node(ReasonKind::RemoveNode, node),
        Reason::Forget(group) => wire::Reason { group, ..plain(ReasonKind::Forget) },
    }
}

fn reason_of(reason: wire::Reason) -> Reason {
    let wire::Reason { kind, count, group, node, left } = reason;
    match kind {
        ReasonKind::Join => Reason::Join { groups: count },
        ReasonKind::Leave => Reason::Leave { groups: left },
        ReasonKind::Move => Reason::Move { slots: count, to: group },
        ReasonKind::AddNode => Reason::AddNode(node),
        ReasonKind::Drain => Reason::Drain(node),
        ReasonKind::Undrain => Reason::Undrain(node),
        ReasonKind::RemoveNode => Reason::RemoveNode(node),
        ReasonKind::Forget => Reason::Forget(group),
    }
}

#[cfg(test)]
mod tests;
