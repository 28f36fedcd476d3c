//! Which incarnation of each other node counts.

use std::collections::BTreeMap;

use crate::base::{Incarnation, NodeId, Time};

/// The incarnations seen.
#[derive(Debug, Default)]
pub(super) struct Registry {
    known: BTreeMap<NodeId, Incarnation>,
}

impl Registry {
    pub(super) fn admit(&mut self, _now: Time, node: NodeId, incarnation: Incarnation) -> bool {
        *self.known.entry(node).or_insert(incarnation) == incarnation
    }
}
