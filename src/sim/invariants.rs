//! What must hold between replicas after every turn.

use std::collections::BTreeMap;

use super::node::Node;
use crate::base::{CoreId, GroupId, Index, NodeId, Term};
use crate::reactor::ReplicaView;

/// What was seen of the replicas so far.
#[derive(Debug, Default)]
pub(super) struct Invariants {
    /// Who led in each term.
    leaders: BTreeMap<(GroupId, Term), NodeId>,
    /// The state after each entry, as the first replica that applied it had it.
    states: BTreeMap<(GroupId, Index), (u64, NodeId)>,
}

impl Invariants {
    /// Looks at the replicas of a core that took a turn.
    ///
    /// # Panics
    /// If they contradict what was seen of others.
    pub(super) fn observe(&mut self, node: &Node, core: CoreId) {
        let Some(process) = &node.process else { return };
        let Some(core) = process.cores().nth(usize::from(core.0)) else { return };
        for replica in core.reactor.replicas() {
            self.observe_replica(node.id, &replica);
        }
    }

    fn observe_replica(&mut self, id: NodeId, replica: &ReplicaView) {
        let ReplicaView { group, term, leads, applied_index, state_hash, .. } = *replica;
        if leads {
            let first = *self.leaders.entry((group, term)).or_insert(id);
            assert_eq!(first, id, "two leaders of {group} in {term}");
        }
        let (first, by) = *self.states.entry((group, applied_index)).or_insert((state_hash, id));
        assert_eq!(
            state_hash, first,
            "{id} and {by} differ in {group} after entry {applied_index}"
        );
    }
}
