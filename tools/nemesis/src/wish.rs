//! What is wanted of the shard map: chosen by what is known of it, asked for by `governor`.

use std::fmt;

use fastrand::Rng;
use sunstar::base::SLOT_COUNT;

use crate::kind::Kind;
use crate::node::name;
use crate::schedule::Known;

/// A change of the map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// A run of slots, both ends included, goes to a group, whoever has them.
    Move {
        first: u16,
        last: u16,
        to: u32,
    },
    /// Half of a group's slots go to another.
    MoveHalf {
        of: u32,
        to: u32,
    },
    JoinGroup,
    /// A group gives its slots away, and is listed no more.
    LeaveGroup(u32),
    JoinNode,
    /// A node, by position, is to hold nothing, and is removed then.
    DrainNode(usize),
}

/// Groups, at most.
const GROUPS_MAX: usize = 6;

/// Groups that go on owning slots, at least.
const SERVING_MIN: usize = 2;

/// Slots moved at once, at most, unless it is half of a group.
const RUN_MAX: u16 = 4_096;

impl Wish {
    /// What to want of this kind, if it can be.
    ///
    /// # Panics
    /// If the kind is a fault.
    pub(crate) fn choose(kind: Kind, known: &Known, random: &mut Rng) -> Option<Self> {
        let serving: Vec<u32> = known.map.serving().iter().map(|group| group.group).collect();
        if kind != Kind::MoveSlots && known.busy.contains(&kind) {
            return None;
        }
        match kind {
            Kind::MoveSlots => choose_move(known, &serving, random),
            // Refused, but for a leader who is that node itself: a group does not form with a founder that
            // was replaced before. A known limit of Sunstar's.
            Kind::JoinGroup if !known.replaced.is_empty() => None,
            Kind::JoinGroup => (known.map.groups().len() < GROUPS_MAX).then_some(Self::JoinGroup),
            Kind::LeaveGroup => {
                let group = random.choice(serving.iter().copied())?;
                (serving.len() > SERVING_MIN).then_some(Self::LeaveGroup(group))
            }
            Kind::JoinNode => (known.hosts.len() <= known.nodes_at_first).then_some(Self::JoinNode),
            Kind::DrainNode => {
                // Rather one in whose presence no group can join.
                let replaced = random.choice(known.replaced.iter().copied());
                let node = replaced.or_else(|| random.choice(known.hosts.iter().copied()))?;
                let can_spare = known.hosts.len() > known.nodes_at_first;
                can_spare.then_some(Self::DrainNode(node))
            }
            fault => unreachable!("{fault} changes no map"),
        }
    }
}

fn choose_move(known: &Known, serving: &[u32], random: &mut Rng) -> Option<Wish> {
    let to = random.choice(serving.iter().copied())?;
    if random.bool() {
        let groups = known.map.groups().iter();
        let others = groups.filter(|group| group.group != to && group.slot_count > 1);
        let of = random.choice(others.collect::<Vec<_>>())?.group;
        return Some(Wish::MoveHalf { of, to });
    }
    let first = random.u16(0..SLOT_COUNT);
    let last = (first + random.u16(0..RUN_MAX)).min(SLOT_COUNT - 1);
    Some(Wish::Move { first, last, to })
}

impl fmt::Display for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Move { first, last, to } => write!(f, "move {first}-{last} to g{to}"),
            Self::MoveHalf { of, to } => write!(f, "move half of g{of} to g{to}"),
            Self::JoinGroup => f.write_str("join a group"),
            Self::LeaveGroup(group) => write!(f, "g{group} leaves"),
            Self::JoinNode => f.write_str("join a node"),
            Self::DrainNode(node) => write!(f, "drain {}", name(*node)),
        }
    }
}
