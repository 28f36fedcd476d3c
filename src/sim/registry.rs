//! Which incarnation of each other node counts.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::{Incarnation, NodeId, Time};

/// The incarnations seen.
#[derive(Debug, Default)]
pub(super) struct Registry {
    known: BTreeMap<NodeId, Incarnation>,
    /// Of whom another was known before.
    replaced: BTreeSet<NodeId>,
}

impl Registry {
    pub(super) fn admit(&mut self, _now: Time, node: NodeId, incarnation: Incarnation) -> bool {
        *self.known.entry(node).or_insert(incarnation) == incarnation
    }

    /// Whether no other incarnation of `node` is known to have been before.
    pub(super) fn is_first(&self, node: NodeId) -> bool {
        !self.replaced.contains(&node)
    }

    /// From now on this incarnation counts.
    pub(super) fn replace(&mut self, node: NodeId, incarnation: Incarnation) {
        self.known.insert(node, incarnation);
        self.replaced.insert(node);
    }
}
