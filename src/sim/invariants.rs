//! What must hold between replicas after every turn, beside what each reactor asserts of itself.
//!
//! - One leader at most per group and term.
//! - Within the life of a process no term and no commit index falls.
//! - After the same entry all replicas of a group hold the same: keys, values, sessions.

use std::collections::BTreeMap;

use super::event::Life;
use super::node::Node;
use super::surroundings::Surroundings;
use crate::base::{CoreId, GroupId, Index, NodeId, Term};
use crate::reactor::ReplicaView;

/// What was seen of the replicas so far.
#[derive(Debug, Default)]
pub(super) struct Invariants {
    /// Who led in each term.
    leaders: BTreeMap<(GroupId, Term), NodeId>,
    /// The state after each entry, as the first replica that applied it had it.
    states: BTreeMap<(GroupId, Index), (u64, NodeId)>,
    /// How far each replica was when it was last seen, in the life of its process.
    latest: BTreeMap<(NodeId, GroupId), Progress>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Progress {
    life: Life,
    term: Term,
    commit_index: Index,
    applied_index: Index,
}

impl Invariants {
    /// Looks at the replicas of a core that took a turn.
    ///
    /// # Panics
    /// If they contradict what was seen of others, or of themselves before.
    pub(super) fn observe(&mut self, out: &mut Surroundings, node: &Node, core: CoreId) {
        let Some(process) = &node.process else { return };
        let Some(core) = process.cores().nth(usize::from(core.0)) else { return };
        for replica in core.reactor.replicas() {
            self.observe_replica(out, (node.id, process.life), &replica);
        }
    }

    fn observe_replica(
        &mut self,
        out: &mut Surroundings,
        (id, life): (NodeId, Life),
        replica: &ReplicaView,
    ) {
        let ReplicaView { group, term, commit_index, applied_index, .. } = *replica;
        if replica.leads {
            let first = *self.leaders.entry((group, term)).or_insert(id);
            assert_eq!(first, id, "two leaders of {group} in {term}");
        }
        let seen = Progress { life, term, commit_index, applied_index };
        let before = self.latest.insert((id, group), seen);
        if before == Some(seen) {
            return;
        }
        out.trace.say(out.now, || {
            let ReplicaView { leads, last_index, state_hash, .. } = *replica;
            let leads = if leads { ", leads" } else { "" };
            format!(
                "{id} {group} in term {term}{leads}: commit {commit_index}, applied {applied_index} \
                 ({state_hash:016x}), last {last_index}"
            )
        });
        if let Some(before) = before.filter(|before| before.life == life) {
            // One that was put out and taken in again begins with nothing.
            let behind = commit_index < before.commit_index && commit_index > Index(0);
            let falls = term < before.term || behind;
            assert!(!falls, "{id}, {group}: {seen:?} after {before:?}");
        }
        self.compare(id, replica);
    }

    fn compare(&mut self, id: NodeId, replica: &ReplicaView) {
        let ReplicaView { group, applied_index, state_hash, .. } = *replica;
        let (first, by) = *self.states.entry((group, applied_index)).or_insert((state_hash, id));
        let same = state_hash == first;
        assert!(same, "{id} and {by} hold different states of {group} after entry {applied_index}");
    }
}
