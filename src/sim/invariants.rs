//! What must hold between replicas after every turn, beside what each reactor asserts of itself.
//!
//! - One leader at most per group and term.
//! - Within the life of a process no term and no commit index falls.
//! - After the same entry all replicas of a group hold the same: keys, values, sessions.
//! - Never two groups serve one slot (`owners`).

use std::collections::{BTreeMap, BTreeSet};

use super::event::Life;
use super::node::Node;
use super::owners::Owners;
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
    /// Who serves what.
    pub(super) owners: Owners,
    /// Who leads a group that has slots on their way, and of which group.
    movers: BTreeMap<NodeId, BTreeSet<GroupId>>,
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
            if self.observe_replica(out, (node.id, process.life), &replica) {
                let served = core.reactor.served_slots(replica.group);
                let served = served.expect("a group of this core");
                self.owners.observe(replica.group, replica.applied_index, served);
            }
            self.note_mover(node.id, &replica);
        }
    }

    fn note_mover(&mut self, id: NodeId, replica: &ReplicaView) {
        let moves = replica.leads && replica.arriving + replica.leaving > 0;
        if moves {
            self.movers.entry(id).or_default().insert(replica.group);
        } else if let Some(groups) = self.movers.get_mut(&id) {
            groups.remove(&replica.group);
        }
    }

    /// Who leads groups that have slots on their way, as far as was seen.
    pub(super) fn movers(&self) -> Vec<NodeId> {
        let moving = self.movers.iter().filter(|(_, groups)| !groups.is_empty());
        moving.map(|(&id, _)| id).collect()
    }

    /// The groups that have slots on their way, as far as was seen.
    pub(super) fn moving(&self) -> Vec<GroupId> {
        self.movers.values().flatten().copied().collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Returns whether it is further than it was.
    fn observe_replica(
        &mut self,
        out: &mut Surroundings,
        (id, life): (NodeId, Life),
        replica: &ReplicaView,
    ) -> bool {
        let ReplicaView { group, term, commit_index, applied_index, .. } = *replica;
        if replica.leads {
            let first = *self.leaders.entry((group, term)).or_insert(id);
            assert_eq!(first, id, "two leaders of {group} in {term}");
        }
        let seen = Progress { life, term, commit_index, applied_index };
        let before = self.latest.insert((id, group), seen);
        if before == Some(seen) {
            return false;
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
        true
    }

    fn compare(&mut self, id: NodeId, replica: &ReplicaView) {
        let ReplicaView { group, applied_index, state_hash, .. } = *replica;
        let (first, by) = *self.states.entry((group, applied_index)).or_insert((state_hash, id));
        let same = state_hash == first;
        assert!(same, "{id} and {by} hold different states of {group} after entry {applied_index}");
    }
}
