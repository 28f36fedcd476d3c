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
//! same list of nodes. Deliberately absent so far: later epochs and the balancer that makes them.

mod initial;
mod shard_map;

pub use shard_map::{GroupInfo, NodeInfo, PlacementError, ShardMap};

/// Replicas of a group, where there are that many nodes.
pub const REPLICAS: usize = 3;
