//! Who owns what: which group owns a hash slot, which nodes hold a group, which core runs it.
//!
//! ```text
//! key ──CRC16──▶ slot ──shard map──▶ group ──shard map──▶ members, preferred leader
//!                                      └── group mod smp ──▶ home core, on each member by itself
//! ```
//!
//! Slot → group and group → nodes are the cluster's and numbered by epoch; group → core is each
//! node's own decision, since nodes may run different numbers of cores.
//!
//! A first start has no shard master yet: every node computes the same [`ShardMap::initial`] from the
//! same list of nodes. Every later map is made by the [`Master`], the state of the meta group, by one
//! command from the one before.

mod balance;
mod command;
mod handovers;
mod initial;
mod master;
mod past;
mod shard_map;
mod transition;

pub use command::{Command, Reason, Refusal};
pub use handovers::{HANDOVER_RUNS_KEPT, HANDOVERS_KEPT, Handover};
pub use master::{GROUPS_MAX, Master, MasterParts};
pub use past::{Change, Former, PIECES_KEPT};
pub use shard_map::{GroupInfo, MapParts, NodeInfo, PlacementError, ShardMap, SlotRange};
pub use transition::Transition;

use crate::base::GroupId;

/// The group that keeps the map.
pub const META: GroupId = GroupId(0);

/// The epoch of a first start.
pub const FIRST_EPOCH: u64 = 1;

/// Replicas of a group, where there are that many nodes.
pub const REPLICAS: usize = 3;
