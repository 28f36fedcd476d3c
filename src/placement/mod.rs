//! Who owns what: slots, groups, nodes.

/// Slot → group and group → members, numbered by epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardMap {}
